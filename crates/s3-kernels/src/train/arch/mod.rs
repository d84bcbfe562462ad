//! The instruction sets of the training kernels: each implements [`Simd`], and [`dispatch`] runs a
//! [`Task`] inside a function that is compiled for one.
#![allow(
    unsafe_code,
    reason = "changes of type; the intrinsics are in the submodules"
)]

mod matrix;
mod scalar;
mod walk;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use matrix::{FULL, Registers, Sum, has_tiles};
pub(super) use walk::Walk;

use super::bf16::Bf16;
use super::simd::{LANES, Simd, Task};
use crate::isa::Isa;

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
    fn load_first<S: Simd>(simd: S, x: &[Bf16], lanes: usize) -> S::F {
        simd.load_bf16(x, lanes)
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
    fn inner(x: &[Widened]) -> &[Bf16] {
        let pointer: *const [Bf16] = core::ptr::from_ref(x) as _;
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
        simd.load_bf16(Widened::inner(x), lanes)
    }

    #[inline(always)]
    fn store_first<S: Simd>(simd: S, x: S::F, y: &mut [Widened], lanes: usize) {
        simd.store_bf16(x, Widened::inner_mut(y), lanes);
    }

    #[inline(always)]
    fn fill(to: &mut [f32; LANES], from: &[Widened]) {
        match from.first_chunk::<LANES>() {
            // All are read before one is written: that is a vector.
            Some(&full) => *to = full.map(|from| from.0.to_f32()),
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
        Isa::Scalar | Isa::Neon | Isa::Simd128 => task.run(scalar::Scalar),
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
