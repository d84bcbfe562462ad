//! Unpacking on AVX-512: shifts and masks, then a table of sixteen levels by `vpshufb`.

use core::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_load_si512,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_srli_epi16, _mm512_store_si512,
};

use crate::code::BitWidth;
use crate::dispatch::Isa;
use crate::tiles::Line;
use crate::unpack::{QUAD, levels};

pub(crate) fn unpack(width: BitWidth, from: &[Line], to: &mut [Line]) {
    assert!(Isa::Avx512.is_available());
    // SAFETY: the CPU has the features.
    unsafe { unpack_lines(width, from, to) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_lines(width: BitWidth, from: &[Line], to: &mut [Line]) {
    let levels = table(&levels(width));
    let bits = width.bits() as usize;
    let steps = from.chunks_exact(bits);
    for (lines, to) in steps.zip(to.chunks_mut(2 * QUAD)) {
        let mut packed = [_mm512_setzero_si512(); 4];
        for (packed, line) in packed.iter_mut().zip(lines) {
            *packed = load(line);
        }
        let codes = codes(width, packed);
        for (to, codes) in to.iter_mut().zip(codes) {
            store(_mm512_shuffle_epi8(levels, codes), to);
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

/// The codes of the eight lines that a step of packed lines stands for. Shifts move 16 bits; the
/// masks drop what comes from the neighbouring byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn codes(width: BitWidth, packed: [__m512i; 4]) -> [__m512i; 8] {
    match width {
        BitWidth::B2 => {
            let mask = _mm512_set1_epi8(3);
            let fields = |line| {
                [
                    _mm512_and_si512(line, mask),
                    _mm512_and_si512(_mm512_srli_epi16::<2>(line), mask),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(line), mask),
                    _mm512_and_si512(_mm512_srli_epi16::<6>(line), mask),
                ]
            };
            let [a, b, c, d] = fields(packed[0]);
            let [e, f, g, h] = fields(packed[1]);
            [a, b, c, d, e, f, g, h]
        }
        BitWidth::B3 => {
            let mask = _mm512_set1_epi8(7);
            let top = |line, place: i8| {
                // Bits 6 and 7, to `place` and `place + 1`.
                let moved = match place {
                    0 => _mm512_srli_epi16::<6>(line),
                    2 => _mm512_srli_epi16::<4>(line),
                    _ => _mm512_srli_epi16::<2>(line),
                };
                _mm512_and_si512(moved, _mm512_set1_epi8(3 << place))
            };
            let low = _mm512_or_si512(top(packed[0], 0), top(packed[1], 2));
            let last = _mm512_or_si512(low, top(packed[2], 4));
            let pair = |pair| {
                [
                    _mm512_and_si512(pair, mask),
                    _mm512_and_si512(_mm512_srli_epi16::<3>(pair), mask),
                ]
            };
            let [[a, b], [c, d], [e, f], [g, h]] =
                [packed[0], packed[1], packed[2], last].map(pair);
            [a, b, c, d, e, f, g, h]
        }
        BitWidth::B4 => {
            let mask = _mm512_set1_epi8(15);
            let pair = |pair| {
                [
                    _mm512_and_si512(pair, mask),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(pair), mask),
                ]
            };
            let [[a, b], [c, d], [e, f], [g, h]] = packed.map(pair);
            [a, b, c, d, e, f, g, h]
        }
    }
}
