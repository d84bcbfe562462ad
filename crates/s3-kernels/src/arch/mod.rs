//! The kernels, one folder for each instruction set: they implement the contracts of
//! [`crate::micro`], and [`crate::select`] lists them.
#![allow(
    unsafe_code,
    reason = "intrinsics, and calls into code compiled for them"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers are walked side by side"
)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod wasm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// A check of the CPU that costs one load once it has succeeded: microkernels repeat it for each
/// tile.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Once {
    passed: core::sync::atomic::AtomicBool,
    check: fn() -> bool,
}

#[cfg(target_arch = "x86_64")]
impl Once {
    pub(crate) const fn new(check: fn() -> bool) -> Once {
        Once {
            passed: core::sync::atomic::AtomicBool::new(false),
            check,
        }
    }

    /// Whether the CPU passes.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        use core::sync::atomic::Ordering::Relaxed;
        if !self.passed.load(Relaxed) {
            self.passed.store((self.check)(), Relaxed);
        }
        self.passed.load(Relaxed)
    }
}

/// How many products of a level with an activation of at most `most` fit i16 when added:
/// `n most 2^t <= 32767`.
pub(crate) const fn products_in_i16(width: crate::BitWidth, most: usize) -> usize {
    i16::MAX as usize / (most << width.t())
}

/// The bytes of signed activations.
pub(crate) fn as_bytes(x: &[i8]) -> &[u8] {
    // SAFETY: i8 and u8 have the same size and alignment, and every pattern is a value of both.
    unsafe { core::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

/// The bytes of lines.
pub(crate) fn bytes_of(lines: &[crate::packed::lines::Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes and nothing else, and bytes ask for no alignment.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}
