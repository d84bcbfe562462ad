//! The narrow trait between the training kernels and the instruction sets, and its dispatch.
//!
//! Every vector has 16 lanes of f32, whatever the registers are, so that one packed layout and one
//! generic kernel serve all instruction sets. A value of a type that implements [`Simd`] is the
//! proof that the CPU has its instructions: the constructors are the only way to one.
//!
//! A [`Task`] is a kernel that is generic over `Simd`. [`dispatch`] runs it inside a function that
//! is compiled for the instruction set. Everything a task calls per element must be
//! `#[inline(always)]` and free of closures that might not be inlined, because code outside that
//! function is compiled for the baseline.

mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::dispatch::Isa;

/// Lanes of every vector.
pub(super) const LANES: usize = 16;

/// Sixteen f32 and the operations that the kernels need.
pub(super) trait Simd: Copy + Send + Sync {
    /// Sixteen f32.
    type F: Copy;

    /// How many `F` a kernel may accumulate into and still keep everything in registers.
    const ACCUMULATORS: usize;

    /// The same where three weight vectors, or three pairs, must stay in registers besides.
    const GROUPED_ACCUMULATORS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;

    /// Lane `i` from `x[i]`.
    fn load(self, x: &[f32; LANES]) -> Self::F;

    /// Lane `i` to `y[i]`.
    fn store(self, x: Self::F, y: &mut [f32; LANES]);

    /// Lane `i` from `x[i]` for `i < lanes`, 0 in the others. `lanes` is at most 16.
    fn load_first(self, x: &[f32], lanes: usize) -> Self::F;

    /// Lane `i` to `y[i]` for `i < lanes`. `lanes` is at most 16.
    fn store_first(self, x: Self::F, y: &mut [f32], lanes: usize);

    /// Asks for the cache line of `x[0]`, where there is one; changes nothing.
    fn prefetch(self, x: &[f32]);

    /// `a·b + c`, rounded once where the instruction set fuses and twice where it does not.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}

/// `load_first` by way of a full load.
#[inline(always)]
fn load_by_copy<S: Simd>(simd: S, x: &[f32], lanes: usize) -> S::F {
    match x.first_chunk() {
        Some(full) if lanes == LANES => simd.load(full),
        _ => {
            let mut part = [0.0; LANES];
            part[..lanes].copy_from_slice(&x[..lanes]);
            simd.load(&part)
        }
    }
}

/// `store_first` by way of a full store.
#[inline(always)]
fn store_by_copy<S: Simd>(simd: S, x: S::F, y: &mut [f32], lanes: usize) {
    match y.first_chunk_mut() {
        Some(full) if lanes == LANES => simd.store(x, full),
        _ => {
            let mut part = [0.0; LANES];
            simd.store(x, &mut part);
            y[..lanes].copy_from_slice(&part[..lanes]);
        }
    }
}

/// Input that will be packed next, fetched into cache a little at a time while arithmetic runs:
/// a layer of few channels would otherwise wait for memory a fifth of its time.
pub(super) struct Ahead<'a> {
    rest: [&'a [f32]; 2],
    step: [usize; 2],
}

impl<'a> Ahead<'a> {
    /// Two inputs, to be fetched in `steps` steps.
    #[inline(always)]
    pub(super) fn new(inputs: [&'a [f32]; 2], steps: usize) -> Self {
        let step = inputs.map(|x| x.len().div_ceil(steps.max(1)).next_multiple_of(LANES));
        Ahead { rest: inputs, step }
    }

    /// Takes one step.
    #[inline(always)]
    pub(super) fn fetch<S: Simd>(&mut self, simd: S) {
        for (rest, step) in self.rest.iter_mut().zip(self.step) {
            let (now, later) = rest.split_at(step.min(rest.len()));
            *rest = later;
            for line in now.chunks(LANES) {
                simd.prefetch(line);
            }
        }
    }
}

/// A kernel that runs on any instruction set.
pub(super) trait Task {
    /// Runs it; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S);
}

/// Runs `task` on `isa`.
///
/// # Panics
///
/// Where the CPU has no such instruction set; [`Isa::detect`] never returns one.
pub(super) fn dispatch<T: Task>(isa: Isa, task: T) {
    match isa {
        Isa::Scalar => task.run(scalar::Scalar),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::Avx2::new()
            .expect("the CPU has AVX2 and FMA")
            .run(task),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::Avx512::new().expect("the CPU has AVX-512").run(task),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => panic!("{} on another architecture", isa.name()),
    }
}
