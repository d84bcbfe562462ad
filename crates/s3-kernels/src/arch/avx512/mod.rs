//! Kernels for AVX-512.
//!
//! * [`fused`]: integer products whose weights are unpacked in registers, where the batch is small.
//! * `table`: ternary products by look-up, without a multiplication.
//! * [`vnni`]: the microkernel with a dot product, for products and convolutions.
//! * [`float_table`]: f32 activations, by look-up.
//! * [`super::x86`]: what is written for AVX2 as well.

pub(crate) mod float_table;
pub(crate) mod fused;
mod simd;
#[cfg(feature = "std")]
pub(crate) mod table;
pub(crate) mod vnni;

use core::arch::x86_64::*;

pub(crate) use simd::Avx512;

use super::x86;
use crate::isa::Isa;
use crate::micro::bytes::{DepthwiseKernel, Microkernel};
use crate::micro::float::{FloatKernel, How, StripKernel};
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;

/// Six windows by up to 64 outputs, products summed in i16 for as long as they fit: without VNNI.
pub(crate) const MADD: Microkernel = Microkernel {
    name: "avx512-u8s8-madd",
    isa: Isa::Avx512,
    available: || Isa::Avx512.is_available(),
    unpack: x86::unpack::unpack::<Avx512>,
    depthwise: &DEPTHWISE,
    order: |_| (),
    run: |tile, out| match tile.columns.div_ceil(16) {
        0 | 1 => x86::madd::multiply::<Avx512, 1>(tile, out),
        2 => x86::madd::multiply::<Avx512, 2>(tile, out),
        _ => x86::madd::multiply::<Avx512, 4>(tile, out),
    },
};

const DEPTHWISE: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Avx512,
    unpack: x86::unpack::unpack::<Avx512>,
    run: x86::depthwise::depthwise::<Avx512>,
};

/// Eleven rows of f32 by 32 outputs, or sixteen by 16.
pub(crate) const FMA: FloatKernel = FloatKernel {
    name: "avx512-f32-fma",
    isa: Isa::Avx512,
    unpack: x86::unpack::unpack::<Avx512>,
    how: How::Strip(
        StripKernel {
            lines: 2,
            rows: [16, 11],
            run: x86::float_strip::wide::<Avx512, x86::float_strip::Triples>,
        },
        x86::float_strip::widen::<Avx512>,
    ),
};

/// The same, of weights that are any f32.
#[cfg(feature = "model")]
pub(crate) const DENSE: StripKernel = StripKernel {
    lines: 2,
    rows: [16, 11],
    run: x86::float_strip::wide::<Avx512, x86::float_strip::Singles>,
};

/// The sixty-four bytes of a line.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a `Line` is 64 readable bytes on a 64-byte boundary.
    unsafe { _mm512_load_si512((&raw const *line).cast()) }
}

/// Asks for the line `ahead` lines after `line`, whether or not there is one.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(line: &Line, ahead: usize) {
    _mm_prefetch::<_MM_HINT_T0>((&raw const *line).wrapping_add(ahead).cast());
}

/// For each 6-bit index, `level + bias` of the 3-bit code in bits `shift..shift + 3`, or of the
/// 4-bit code in bits 0-3 where `bit_width` is 4: a table for `vpermb`.
const fn byte_table(bit_width: BitWidth, shift: u32, bias: i8) -> Line {
    let mut table = [0; 64];
    let mut index = 0;
    while index < 64 {
        let code = (index as u8 >> shift) & ((1 << bit_width.bits()) - 1);
        let level = match bit_width.decode(code) {
            Some(level) => level,
            None => 0,
        };
        table[index] = (level as u8).wrapping_add_signed(bias);
        index += 1;
    }
    Line(table)
}
