//! Kernels for AVX-512.
//!
//! * [`fused`]: integer products whose weights are unpacked in registers, where the batch is small.
//! * `table`: ternary products by look-up, without a multiplication.
//! * [`unpack`]: weights to one byte a level, once for many rows of activations.
//! * [`tile`]: the microkernel over such bytes, for products and convolutions.
//! * [`depthwise`], [`epilogue`], [`float_panel`], [`float_table`]: depthwise convolutions, what is
//!   done with the sums, and f32 activations.

pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod float_panel;
pub(crate) mod float_table;
pub(crate) mod fused;
#[cfg(feature = "model")]
pub(crate) mod requant;
#[cfg(feature = "std")]
pub(crate) mod table;
pub(crate) mod tile;
pub(crate) mod unpack;

use core::arch::x86_64::*;

use crate::micro::loops;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;

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

/// The loops of [`loops::depthwise`].
pub(crate) fn float_depthwise(strip: &loops::Strip<'_>, y: &mut [f32]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn compiled(strip: &loops::Strip<'_>, y: &mut [f32]) {
        loops::depthwise(strip, y);
    }
    assert!(crate::Isa::Avx512.is_available());
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
    static CPU: crate::arch::Once = crate::arch::Once::new(|| crate::Isa::Avx512.is_available());
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
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
