//! Unpacking on AVX-512: shifts and masks, then a table of sixteen levels by `vpshufb`.

use core::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_load_si512,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_shuffle_epi8, _mm512_srli_epi16, _mm512_store_si512,
};

use crate::isa::Isa;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;
use crate::packed::unpack::{QUAD, levels};

pub(crate) fn unpack(width: BitWidth, from: &[Line], to: &mut [Line]) {
    assert!(Isa::Avx512.is_available());
    // SAFETY: the CPU has the features.
    unsafe { unpack_lines(width, from, to) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_lines(width: BitWidth, from: &[Line], to: &mut [Line]) {
    let levels = table(&levels(width));
    match width {
        BitWidth::B2 => steps(|lines| codes2(lines), levels, from, to),
        BitWidth::B3 => steps(|lines| codes3(lines), levels, from, to),
        BitWidth::B4 => steps(|lines| codes4(lines), levels, from, to),
    }
}

/// Unpacks step by step: `BITS` lines become the codes of eight.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn steps<const BITS: usize>(
    codes: impl Fn([__m512i; BITS]) -> [__m512i; 8],
    levels: __m512i,
    from: &[Line],
    to: &mut [Line],
) {
    let (from, _) = from.as_chunks::<BITS>();
    for (lines, to) in from.iter().zip(to.chunks_mut(2 * QUAD)) {
        let codes = codes(core::array::from_fn(|i| load(&lines[i])));
        // The last step may be asked for one quad only.
        if let Ok(to) = <&mut [Line; 8]>::try_from(&mut *to) {
            for i in 0..8 {
                store(_mm512_shuffle_epi8(levels, codes[i]), &mut to[i]);
            }
        } else {
            for i in 0..to.len() {
                store(_mm512_shuffle_epi8(levels, codes[i]), &mut to[i]);
            }
        }
    }
}

/// Sixteen levels, in each part of 16 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn table(levels: &[i8; 16]) -> __m512i {
    // SAFETY: sixteen bytes.
    let levels = unsafe { _mm_loadu_si128(levels.as_ptr().cast()) };
    _mm512_broadcast_i32x4(levels)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a `Line` is 64 aligned bytes.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: __m512i, line: &mut Line) {
    // SAFETY: a `Line` is 64 aligned bytes.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), bytes) }
}

crate::arch::x86::step_codes!(
    "avx512f,avx512bw",
    __m512i,
    _mm512_and_si512,
    _mm512_or_si512,
    _mm512_srli_epi16,
    _mm512_set1_epi8
);
