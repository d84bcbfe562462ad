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
#![allow(
    unsafe_code,
    reason = "changes of type; the intrinsics are in the submodules"
)]

mod scalar;
mod tiles;
mod walk;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use tiles::{FULL, Registers, Sum, has_tiles};
pub(super) use walk::Walk;

use super::element::Bf16;
use crate::isa::Isa;

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
    fn prefetch<T>(self, x: &[T]);

    /// Lane `i` of vector `j` from lane `j` of vector `i`.
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES];

    /// `a·b + c`, rounded once where the instruction set fuses and twice where it does not.
    ///
    /// On [`Avx512Pairs`](x86::Avx512Pairs) a lane of `a` and `b` holds two bf16, and both products
    /// are added.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// Lane `i` from `x[i]`; exact.
    #[inline(always)]
    fn load_bf16(self, x: &[Bf16; LANES]) -> Self::F {
        let mut values = [0.0; LANES];
        for (value, x) in values.iter_mut().zip(x) {
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

/// How elements go into vectors and blocks. Public in name only: it seals [`Element`].
pub trait Stored: Copy + Default + Send + Sync + 'static {
    /// Whether unfinished sums may be kept in elements: not where that would round them.
    const HOLDS_SUMS: bool;

    /// Whether a lane holds two elements.
    const PAIRS: bool;

    /// Runs a task whose lanes hold these elements: one f32, or two bf16.
    fn dispatch<K: Task>(isa: Isa, task: K);

    /// Lane `i` from `x[i]`.
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F {
        Self::load_first(simd, x, LANES)
    }

    /// Lane `i` from `x[i]` for `i < lanes`, 0 in the others.
    fn load_first<S: Simd>(simd: S, x: &[Self], lanes: usize) -> S::F;

    /// Lane `i` to `y[i]`.
    #[inline(always)]
    fn store<S: Simd>(simd: S, x: S::F, y: &mut [Self; LANES]) {
        Self::store_first(simd, x, y, LANES);
    }

    /// Lane `i` to `y[i]` for `i < lanes`.
    fn store_first<S: Simd>(simd: S, x: S::F, y: &mut [Self], lanes: usize);

    /// Fills lanes from `from`, one f32 or two bf16 a lane; zeros where it ends.
    fn fill(to: &mut [f32; LANES], from: &[Self]);

    /// The lane that holds two elements, where that can be.
    fn pair(low: Self, high: Self) -> f32;
}

impl Stored for f32 {
    const HOLDS_SUMS: bool = true;
    const PAIRS: bool = false;

    fn dispatch<K: Task>(isa: Isa, task: K) {
        dispatch(isa, task);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[f32; LANES]) -> S::F {
        simd.load(x)
    }

    #[inline(always)]
    fn load_first<S: Simd>(simd: S, x: &[f32], lanes: usize) -> S::F {
        simd.load_first(x, lanes)
    }

    #[inline(always)]
    fn store<S: Simd>(simd: S, x: S::F, y: &mut [f32; LANES]) {
        simd.store(x, y);
    }

    #[inline(always)]
    fn store_first<S: Simd>(simd: S, x: S::F, y: &mut [f32], lanes: usize) {
        simd.store_first(x, y, lanes);
    }

    #[inline(always)]
    fn fill(to: &mut [f32; LANES], from: &[f32]) {
        match from.first_chunk() {
            Some(full) => *to = *full,
            None => {
                *to = [0.0; LANES];
                to[..from.len()].copy_from_slice(from);
            }
        }
    }

    fn pair(_: f32, _: f32) -> f32 {
        unreachable!("a lane holds one f32")
    }
}

impl Stored for Bf16 {
    const HOLDS_SUMS: bool = false;
    const PAIRS: bool = true;

    fn dispatch<K: Task>(_: Isa, task: K) {
        dispatch_pairs(task);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Bf16; LANES]) -> S::F {
        simd.load_bf16(x)
    }

    #[inline(always)]
    fn load_first<S: Simd>(simd: S, x: &[Bf16], lanes: usize) -> S::F {
        let mut values = [0.0; LANES];
        for (value, x) in values.iter_mut().zip(&x[..lanes]) {
            *value = x.to_f32();
        }
        simd.load(&values)
    }

    #[inline(always)]
    fn store_first<S: Simd>(simd: S, x: S::F, y: &mut [Bf16], lanes: usize) {
        simd.store_bf16(x, y, lanes);
    }

    #[inline(always)]
    fn fill(to: &mut [f32; LANES], from: &[Bf16]) {
        if let Some(from) = from.first_chunk::<{ 2 * LANES }>() {
            // SAFETY: both are 64 bytes without invalid values (`Bf16` is a transparent `u16`), and
            // on x86-64, the one target with pairs, `pair` is the order of memory.
            *to = unsafe { core::mem::transmute::<[Bf16; 2 * LANES], [f32; LANES]>(*from) };
            return;
        }
        *to = [0.0; LANES];
        if let Ok(from) = <&[Bf16; LANES]>::try_from(from) {
            // SAFETY: as above, of 32 bytes.
            let half = unsafe { core::mem::transmute::<[Bf16; LANES], [f32; LANES / 2]>(*from) };
            to[..LANES / 2].copy_from_slice(&half);
            return;
        }
        for (to, from) in to.iter_mut().zip(from.chunks(2)) {
            *to = Bf16::pair(from[0], from.get(1).copied().unwrap_or_default());
        }
    }

    /// The first of a pair is the lower half: the order of the instruction, and of memory.
    #[inline(always)]
    fn pair(low: Bf16, high: Bf16) -> f32 {
        f32::from_bits(u32::from(high.to_bits()) << 16 | u32::from(low.to_bits()))
    }
}

/// A bf16 that is multiplied as the f32 that it stands for, one a lane.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub(super) struct Widened(Bf16);

impl Widened {
    /// The same elements.
    pub(super) fn of(x: &[Bf16]) -> &[Widened] {
        let pointer: *const [Widened] = core::ptr::from_ref(x) as _;
        // SAFETY: `Widened` is a transparent `Bf16`, and the slice is borrowed as long as before.
        unsafe { &*pointer }
    }

    /// The elements themselves.
    #[inline(always)]
    fn inner_mut(x: &mut [Widened]) -> &mut [Bf16] {
        let pointer: *mut [Bf16] = core::ptr::from_mut(x) as _;
        // SAFETY: `Widened` is a transparent `Bf16`, and the slice is borrowed as long as before.
        unsafe { &mut *pointer }
    }

    /// The same elements.
    pub(super) fn of_mut(x: &mut [Bf16]) -> &mut [Widened] {
        let pointer: *mut [Widened] = core::ptr::from_mut(x) as _;
        // SAFETY: `Widened` is a transparent `Bf16`, and the slice is borrowed as long as before.
        unsafe { &mut *pointer }
    }
}

/// Products of two bf16 are exact in f32, and a result is rounded once, when it is stored.
impl Stored for Widened {
    const HOLDS_SUMS: bool = false;
    const PAIRS: bool = false;

    fn dispatch<K: Task>(isa: Isa, task: K) {
        dispatch(isa, task);
    }

    #[inline(always)]
    fn load_first<S: Simd>(simd: S, x: &[Widened], lanes: usize) -> S::F {
        let mut values = [0.0; LANES];
        Self::fill(&mut values, &x[..lanes]);
        simd.load(&values)
    }

    #[inline(always)]
    fn store_first<S: Simd>(simd: S, x: S::F, y: &mut [Widened], lanes: usize) {
        simd.store_bf16(x, Widened::inner_mut(y), lanes);
    }

    #[inline(always)]
    fn fill(to: &mut [f32; LANES], from: &[Widened]) {
        match from.first_chunk::<LANES>() {
            Some(full) => {
                for (to, from) in to.iter_mut().zip(full) {
                    *to = from.0.to_f32();
                }
            }
            None => {
                *to = [0.0; LANES];
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from.0.to_f32();
                }
            }
        }
    }

    fn pair(_: Widened, _: Widened) -> f32 {
        unreachable!("a lane holds one f32")
    }
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

/// `transpose` by way of memory.
#[inline(always)]
fn transpose_by_copy<S: Simd>(simd: S, rows: [S::F; LANES]) -> [S::F; LANES] {
    let mut from = [[0.0; LANES]; LANES];
    for (from, row) in from.iter_mut().zip(rows) {
        simd.store(row, from);
    }
    let mut columns = rows;
    for (i, column) in columns.iter_mut().enumerate() {
        let mut to = [0.0; LANES];
        for (to, from) in to.iter_mut().zip(&from) {
            *to = from[i];
        }
        *column = simd.load(&to);
    }
    columns
}

/// A kernel that runs on any instruction set.
pub trait Task {
    /// Runs it; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S);
}

/// What a lane of the operands of [`Simd::mul_add`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// One f32, or a bf16 as one.
    One,
    /// Two bf16.
    Pair,
    /// Two bf16, multiplied in tiles where the shape allows it.
    Tile,
}

impl Lane {
    /// Elements a lane.
    pub(super) const fn elements(self) -> usize {
        match self {
            Lane::One => 1,
            Lane::Pair | Lane::Tile => 2,
        }
    }
}

/// Whether the CPU multiplies pairs of bf16.
pub(super) fn has_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::Avx512Pairs::new().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Runs `task`, whose operands hold pairs of bf16.
///
/// # Panics
///
/// Where the CPU does not multiply them: see [`has_pairs`].
pub(super) fn dispatch_pairs<T: Task>(task: T) {
    #[cfg(target_arch = "x86_64")]
    x86::Avx512Pairs::new()
        .expect("the CPU has AVX512-BF16")
        .run(task);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = task;
        panic!("pairs of bf16 on another architecture");
    }
}

/// Runs `task` on `isa`.
///
/// # Panics
///
/// Where the CPU has no such instruction set; [`Isa::detect`] never returns one.
pub(super) fn dispatch<T: Task>(isa: Isa, task: T) {
    match isa {
        Isa::Scalar | Isa::Neon => task.run(scalar::Scalar),
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
