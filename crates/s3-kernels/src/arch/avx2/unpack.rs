//! Unpacking on AVX2: shifts and masks, then a table of sixteen levels by `vpshufb`.

use core::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_load_si256,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_store_si256,
};

use crate::code::BitWidth;
use crate::dispatch::Isa;
use crate::tiles::Line;
use crate::unpack::{QUAD, levels};

pub(crate) fn unpack(width: BitWidth, from: &[Line], to: &mut [Line]) {
    assert!(Isa::Avx2.is_available());
    // SAFETY: the CPU has the features.
    unsafe { unpack_lines(width, from, to) }
}

#[target_feature(enable = "avx2")]
fn unpack_lines(width: BitWidth, from: &[Line], to: &mut [Line]) {
    let levels = table(&levels(width));
    let bits = width.bits() as usize;
    let steps = from.chunks_exact(bits);
    for (lines, to) in steps.zip(to.chunks_mut(2 * QUAD)) {
        for half in [0, 32] {
            let mut packed = [_mm256_setzero_si256(); 4];
            for (packed, line) in packed.iter_mut().zip(lines) {
                *packed = load(line, half);
            }
            let codes = codes(width, packed);
            for (to, codes) in to.iter_mut().zip(codes) {
                store(_mm256_shuffle_epi8(levels, codes), to, half);
            }
        }
    }
}

/// Sixteen levels, in each part of 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn table(levels: &[i8; 16]) -> __m256i {
    // SAFETY: sixteen bytes.
    let levels = unsafe { _mm_loadu_si128(levels.as_ptr().cast()) };
    _mm256_broadcastsi128_si256(levels)
}

/// The half of a line that begins at byte `half`, 0 or 32.
#[inline]
#[target_feature(enable = "avx2")]
fn load(line: &Line, half: usize) -> __m256i {
    let bytes = line.0[half..half + 32].as_ptr();
    // SAFETY: 32 bytes begin there, at a multiple of 32 in an aligned line.
    unsafe { _mm256_load_si256(bytes.cast()) }
}

/// Stores the half of a line that begins at byte `half`, 0 or 32.
#[inline]
#[target_feature(enable = "avx2")]
fn store(levels: __m256i, line: &mut Line, half: usize) {
    let bytes = line.0[half..half + 32].as_mut_ptr();
    // SAFETY: 32 bytes begin there, at a multiple of 32 in an aligned line.
    unsafe { _mm256_store_si256(bytes.cast(), levels) }
}

/// The codes of the eight lines that a step of packed lines stands for. Shifts move 16 bits; the
/// masks drop what comes from the neighbouring byte.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(width: BitWidth, packed: [__m256i; 4]) -> [__m256i; 8] {
    match width {
        BitWidth::B2 => {
            let mask = _mm256_set1_epi8(3);
            let fields = |line| {
                [
                    _mm256_and_si256(line, mask),
                    _mm256_and_si256(_mm256_srli_epi16::<2>(line), mask),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(line), mask),
                    _mm256_and_si256(_mm256_srli_epi16::<6>(line), mask),
                ]
            };
            let [a, b, c, d] = fields(packed[0]);
            let [e, f, g, h] = fields(packed[1]);
            [a, b, c, d, e, f, g, h]
        }
        BitWidth::B3 => {
            let mask = _mm256_set1_epi8(7);
            let top = |line, place: i8| {
                // Bits 6 and 7, to `place` and `place + 1`.
                let moved = match place {
                    0 => _mm256_srli_epi16::<6>(line),
                    2 => _mm256_srli_epi16::<4>(line),
                    _ => _mm256_srli_epi16::<2>(line),
                };
                _mm256_and_si256(moved, _mm256_set1_epi8(3 << place))
            };
            let low = _mm256_or_si256(top(packed[0], 0), top(packed[1], 2));
            let last = _mm256_or_si256(low, top(packed[2], 4));
            let pair = |pair| {
                [
                    _mm256_and_si256(pair, mask),
                    _mm256_and_si256(_mm256_srli_epi16::<3>(pair), mask),
                ]
            };
            let [[a, b], [c, d], [e, f], [g, h]] =
                [packed[0], packed[1], packed[2], last].map(pair);
            [a, b, c, d, e, f, g, h]
        }
        BitWidth::B4 => {
            let mask = _mm256_set1_epi8(15);
            let pair = |pair| {
                [
                    _mm256_and_si256(pair, mask),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(pair), mask),
                ]
            };
            let [[a, b], [c, d], [e, f], [g, h]] = packed.map(pair);
            [a, b, c, d, e, f, g, h]
        }
    }
}
