//! Kernels for x86-64 with AVX2, where there is no dot product.
//!
//! # Matrix products
//!
//! `vpmaddubsw` multiplies 32 unsigned by 32 signed bytes and adds neighbours to 16 bits, 32
//! products an instruction as `vpdpbusd` does on half a register, but the sums overflow soon: for
//! weights of 8 bits at once. Small weights leave room. With the codes `level + offset` as the
//! unsigned operand a sum of two products lies in `[-256 max, 254 max]`, `max` being the largest
//! code, so that [`flush`] of them stay in 16 bits whatever the activations are. The offset times
//! the sum of the activations is taken away at the end.

mod decode;
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod float_panel;
pub(crate) mod gemm;
pub(crate) mod gemv;
#[cfg(feature = "model")]
pub(crate) mod requant;
pub(crate) mod tile;
pub(crate) mod unpack;

use core::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};

use crate::micro::loops;

/// What is added to a level so that it becomes an unsigned code.
const fn offset(bits: u32) -> i32 {
    match bits {
        2 => 1,
        3 => 4,
        _ => 64,
    }
}

/// Results of `vpmaddubsw` on codes of `bits` that fit 16 bits when added: `-256 max flush >=
/// -2^15` and `254 max flush < 2^15`, where the largest code is `max = 2 offset`.
const fn flush(bits: u32) -> usize {
    match bits {
        2 => 64,
        3 => 16,
        _ => 1,
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array has the 32 bytes that are read; no alignment is asked for.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the array has the 32 bytes that are written; no alignment is asked for.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_i32(words: &[i32; 8]) -> __m256i {
    // SAFETY: the array has the 32 bytes that are read; no alignment is asked for.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_i32(words: &mut [i32; 8], value: __m256i) {
    // SAFETY: the array has the 32 bytes that are written; no alignment is asked for.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), value) }
}

/// The loops of [`loops::depthwise`].
pub(crate) fn float_depthwise(strip: &loops::Strip<'_>, y: &mut [f32]) {
    #[target_feature(enable = "avx2")]
    fn compiled(strip: &loops::Strip<'_>, y: &mut [f32]) {
        loops::depthwise(strip, y);
    }
    assert!(crate::Isa::Avx2.is_available());
    // SAFETY: the CPU has the features.
    unsafe { compiled(strip, y) }
}

/// The loops of [`loops::dense`].
#[cfg(feature = "model")]
pub(crate) fn float_dense(
    windows: &[f32],
    panel: &[[f32; loops::LANES]],
    sums: &mut [[f32; loops::LANES]; loops::ROWS],
) {
    static CPU: crate::arch::Once = crate::arch::Once::new(|| crate::Isa::Avx2.is_available());
    #[target_feature(enable = "avx2")]
    fn compiled(
        windows: &[f32],
        panel: &[[f32; loops::LANES]],
        sums: &mut [[f32; loops::LANES]; loops::ROWS],
    ) {
        loops::dense(windows, panel, sums);
    }
    CPU.assert();
    // SAFETY: the CPU has the features.
    unsafe { compiled(windows, panel, sums) }
}
