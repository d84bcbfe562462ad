//! Unpacking on AVX2: shifts and masks, then a table of sixteen levels by `vpshufb`.

use core::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_load_si256,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_store_si256,
};

use crate::isa::Isa;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;
use crate::packed::unpack::{QUAD, levels};

pub(crate) fn unpack(width: BitWidth, from: &[Line], to: &mut [Line]) {
    assert!(Isa::Avx2.is_available());
    // SAFETY: the CPU has the features.
    unsafe { unpack_lines(width, from, to) }
}

#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
fn steps<const BITS: usize>(
    codes: impl Fn([__m256i; BITS]) -> [__m256i; 8],
    levels: __m256i,
    from: &[Line],
    to: &mut [Line],
) {
    let (from, _) = from.as_chunks::<BITS>();
    for (lines, to) in from.iter().zip(to.chunks_mut(2 * QUAD)) {
        for half in [0, 32] {
            let codes = codes(core::array::from_fn(|i| load(&lines[i], half)));
            // The last step may be asked for one quad only.
            if let Ok(to) = <&mut [Line; 8]>::try_from(&mut *to) {
                for i in 0..8 {
                    store(_mm256_shuffle_epi8(levels, codes[i]), &mut to[i], half);
                }
            } else {
                for i in 0..to.len() {
                    store(_mm256_shuffle_epi8(levels, codes[i]), &mut to[i], half);
                }
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

crate::arch::x86::step_codes!(
    "avx2",
    __m256i,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_srli_epi16,
    _mm256_set1_epi8
);
