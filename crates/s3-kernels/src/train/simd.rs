//! The narrow trait between the training kernels and the instruction sets.
//!
//! Every vector has 16 lanes of f32, whatever the registers are, so that one packed layout and one
//! generic kernel serve all instruction sets. A value of a type that implements [`Simd`] is the
//! proof that the CPU has its instructions: the constructors are the only way to one.
//!
//! A [`Task`] is a kernel that is generic over `Simd`. [`dispatch`](super::arch::dispatch) runs it
//! inside a function that is compiled for the instruction set. Everything a task calls per element
//! must be `#[inline(always)]` and free of closures that might not be inlined, because code outside
//! that function is compiled for the baseline.

use super::bf16::Bf16;

/// Lanes of every vector.
pub(super) const LANES: usize = 16;

/// Sixteen f32 and the operations that the kernels need.
pub trait Simd: Copy + Send + Sync {
    /// Sixteen f32.
    type F: Copy;

    /// How many `F` a kernel may accumulate into and still keep everything in registers.
    const ACCUMULATORS: usize;

    /// The same where three weight vectors, or three pairs, must stay in registers besides.
    const GROUPED_ACCUMULATORS: usize;

    /// Whether a tile of pixels takes the taps that share pixels one after the other, and not
    /// together: for registers too few to hold the weights of three taps beside the sums.
    const TAP_BY_TAP: bool = false;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;

    /// Lane `i` from `x[i]`.
    fn load(self, x: &[f32; LANES]) -> Self::F;

    /// Lane `i` to `y[i]`.
    fn store(self, x: Self::F, y: &mut [f32; LANES]);

    /// Lane `i` from `x[i]` for `i < lanes`, 0 in the others. `lanes` is at most 16.
    #[inline(always)]
    fn load_first(self, x: &[f32], lanes: usize) -> Self::F {
        match x.first_chunk() {
            Some(full) if lanes == LANES => self.load(full),
            _ => {
                let mut part = [0.0; LANES];
                part[..lanes].copy_from_slice(&x[..lanes]);
                self.load(&part)
            }
        }
    }

    /// Lane `i` to `y[i]` for `i < lanes`. `lanes` is at most 16.
    #[inline(always)]
    fn store_first(self, x: Self::F, y: &mut [f32], lanes: usize) {
        match y.first_chunk_mut() {
            Some(full) if lanes == LANES => self.store(x, full),
            _ => {
                let mut part = [0.0; LANES];
                self.store(x, &mut part);
                y[..lanes].copy_from_slice(&part[..lanes]);
            }
        }
    }

    /// Asks for the cache line of `x[0]`, where there is one; changes nothing.
    fn prefetch<T>(self, x: &[T]);

    /// Lane `i` of vector `j` from lane `j` of vector `i`.
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        let mut from = [[0.0; LANES]; LANES];
        for (from, row) in from.iter_mut().zip(rows) {
            self.store(row, from);
        }
        let mut columns = rows;
        for (i, column) in columns.iter_mut().enumerate() {
            let mut to = [0.0; LANES];
            for (to, from) in to.iter_mut().zip(&from) {
                *to = from[i];
            }
            *column = self.load(&to);
        }
        columns
    }

    /// `a·b + c`, rounded once where the instruction set fuses and twice where it does not.
    ///
    /// On AVX512-BF16 a lane of `a` and `b` holds two bf16, and both products
    /// are added.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// Lane `i` from `x[i]` for `i < lanes`, 0 in the others; exact. `lanes` is at most 16.
    #[inline(always)]
    fn load_bf16(self, x: &[Bf16], lanes: usize) -> Self::F {
        let mut values = [0.0; LANES];
        for (value, x) in values.iter_mut().zip(&x[..lanes]) {
            *value = x.to_f32();
        }
        self.load(&values)
    }

    /// Lane `i`, rounded to the nearest bf16, to `y[i]` for `i < lanes`.
    #[inline(always)]
    fn store_bf16(self, x: Self::F, y: &mut [Bf16], lanes: usize) {
        let mut values = [0.0; LANES];
        self.store(x, &mut values);
        match y.first_chunk_mut::<LANES>() {
            Some(y) if lanes == LANES => {
                for (y, x) in y.iter_mut().zip(values) {
                    *y = Bf16::from_f32(x);
                }
            }
            _ => {
                for (y, x) in y[..lanes].iter_mut().zip(values) {
                    *y = Bf16::from_f32(x);
                }
            }
        }
    }
}

/// A kernel that runs on any instruction set.
pub trait Task {
    /// Runs it; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S);
}

/// What a lane of the operands of [`Simd::mul_add`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// One f32, or a bf16 as one.
    F32,
    /// Two bf16.
    Bf16Pair,
    /// Two bf16, multiplied in tiles where the shape allows it.
    Bf16Matrix,
}

impl Operand {
    /// Elements a lane.
    pub(super) const fn elements(self) -> usize {
        match self {
            Operand::F32 => 1,
            Operand::Bf16Pair | Operand::Bf16Matrix => 2,
        }
    }
}
