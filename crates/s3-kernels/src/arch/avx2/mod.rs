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
pub(crate) mod gemm;
pub(crate) mod gemv;
mod simd;

use core::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};

pub(crate) use simd::Avx2;

use super::x86::{depthwise, float_strip, madd, unpack};
use crate::isa::Isa;
use crate::micro::bytes::{DepthwiseKernel, Microkernel};
use crate::micro::float::{FloatKernel, How, StripKernel};

/// Six windows by 16 outputs, products summed in i16 for as long as they fit.
pub(crate) const MADD: Microkernel = Microkernel {
    name: "avx2-u8s8-madd",
    isa: Isa::Avx2,
    available: || Isa::Avx2.is_available(),
    unpack: unpack::unpack::<Avx2>,
    depthwise: &DepthwiseKernel {
        isa: Isa::Avx2,
        unpack: unpack::unpack::<Avx2>,
        run: depthwise::depthwise::<Avx2>,
    },
    order: |_| (),
    run: madd::multiply::<Avx2, 2>,
};

/// Three rows of f32 by 16 outputs.
pub(crate) const FMA: FloatKernel = FloatKernel {
    name: "avx2-f32-fma",
    isa: Isa::Avx2,
    unpack: unpack::unpack::<Avx2>,
    how: How::Strip(
        StripKernel {
            lines: 1,
            rows: [3, 0],
            run: float_strip::narrow::<Avx2, float_strip::Triples>,
        },
        float_strip::widen::<Avx2>,
    ),
};

/// The same, of weights that are any f32.
#[cfg(feature = "model")]
pub(crate) const DENSE: StripKernel = StripKernel {
    lines: 1,
    rows: [3, 0],
    run: float_strip::narrow::<Avx2, float_strip::Singles>,
};

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
