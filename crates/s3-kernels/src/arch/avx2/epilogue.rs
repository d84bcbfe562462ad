//! Epilogues on eight lanes: the definitions of [`crate::epilogue`], in i32 or f32 registers.
//!
//! The integer ones are called only where the sums were shown to stay in i32 (`Narrow`). A block of
//! fewer than eight columns passes through padded copies of its operands.

use core::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm_packs_epi32, _mm_packus_epi16, _mm_storel_epi64,
    _mm256_add_epi32, _mm256_add_ps, _mm256_castsi256_si128, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_max_epi32, _mm256_max_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_sllv_epi32, _mm256_srav_epi32, _mm256_srli_epi32,
    _mm256_storeu_ps,
};

use crate::arch::Once;
use crate::epilogue::{Place, Residual, Scale, ShiftRequant};
use crate::isa::Isa;
use crate::micro::bytes::AccRow;

pub(super) static CPU: Once = Once::new(|| Isa::Avx2.is_available());

/// Lanes of one register.
const LANES: usize = 8;

/// How many columns the block that begins at `c` has, at most [`LANES`].
pub(super) fn width(place: &Place, c: usize) -> usize {
    (place.columns - c).min(LANES)
}

/// The first lanes of `from`, zeros after its end.
#[inline]
fn padded<T: Copy + Default>(from: &[T]) -> [T; LANES] {
    match from.first_chunk() {
        Some(&all) => all,
        None => {
            let mut lanes = [T::default(); LANES];
            lanes[..from.len()].copy_from_slice(from);
            lanes
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i32(from: &[i32]) -> __m256i {
    let lanes = padded(from);
    // SAFETY: `lanes` holds 32 bytes.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_f32(from: &[f32]) -> __m256 {
    let lanes = padded(from);
    // SAFETY: `lanes` holds eight floats.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

/// Eight bytes, widened.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_u8(from: &[u8]) -> __m256i {
    let lanes = padded(from);
    // SAFETY: `lanes` holds eight bytes.
    let bytes = unsafe { _mm_loadl_epi64(lanes.as_ptr().cast()) };
    _mm256_cvtepu8_epi32(bytes)
}

/// The accumulators of block `c` of a row.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_acc(row: &AccRow, c: usize) -> __m256i {
    load_i32(&row.0[c..c + LANES])
}

/// Stores lanes that are at least 0 as bytes, those above 255 as 255.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_u8(v: __m256i, to: &mut [u8]) {
    // Both packs saturate: lanes above 32767 end at 255 all the same.
    let words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let bytes = _mm_packus_epi16(words, words);
    if let Some(to) = to.first_chunk_mut::<LANES>() {
        // SAFETY: `to` holds eight bytes.
        unsafe { _mm_storel_epi64(to.as_mut_ptr().cast(), bytes) }
    } else {
        let mut lanes = [0u8; LANES];
        // SAFETY: `lanes` holds eight bytes.
        unsafe { _mm_storel_epi64(lanes.as_mut_ptr().cast(), bytes) }
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_f32(v: __m256, to: &mut [f32]) {
    if let Some(to) = to.first_chunk_mut::<LANES>() {
        // SAFETY: `to` holds eight floats.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
    } else {
        let mut lanes = [0f32; LANES];
        // SAFETY: `lanes` holds eight floats.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), v) }
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

/// `v + (residual << shift)`, the residual's values of row `r` from column `c` on.
#[inline]
#[target_feature(enable = "avx2")]
fn add_residual(
    v: __m256i,
    residual: Option<Residual<'_>>,
    place: &Place,
    r: usize,
    c: usize,
) -> __m256i {
    let Some(residual) = residual else { return v };
    let from = place.index(r) + c;
    let values = load_u8(&residual.values[from..from + width(place, c)]);
    let count = _mm256_set1_epi32(i32::from(residual.shift));
    _mm256_add_epi32(v, _mm256_sllv_epi32(values, count))
}

/// [`ShiftRequant`] of a tile.
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn shift(e: &ShiftRequant<'_>, tile: &[AccRow], place: &Place, y: &mut [u8]) {
    CPU.assert();
    // SAFETY: the CPU has the features.
    unsafe { shift_tile(e, tile, place, y) }
}

#[target_feature(enable = "avx2")]
fn shift_tile(e: &ShiftRequant<'_>, tile: &[AccRow], place: &Place, y: &mut [u8]) {
    let one = _mm256_set1_epi32(1);
    for c in (0..place.columns).step_by(LANES) {
        let n = place.column + c..place.column + c + width(place, c);
        let shift = load_u8(&e.shift[n.clone()]);
        // (1 << s) >> 1, the shifts logical: 2^(s-1), or 0 where s = 0.
        let half = _mm256_srli_epi32::<1>(_mm256_sllv_epi32(one, shift));
        let bias = _mm256_add_epi32(load_i32(&e.bias[n]), half);
        for (r, row) in tile.iter().enumerate() {
            let v = _mm256_add_epi32(load_acc(row, c), bias);
            let v = add_residual(v, e.residual, place, r, c);
            let v = _mm256_max_epi32(_mm256_srav_epi32(v, shift), _mm256_setzero_si256());
            store_u8(v, &mut y[place.stored(r)][c..][..width(place, c)]);
        }
    }
}

/// [`Scale`] of a tile.
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn scale(e: &Scale<'_>, tile: &[AccRow], place: &Place, y: &mut [f32]) {
    CPU.assert();
    // SAFETY: the CPU has the features.
    unsafe { scale_tile(e, tile, place, y) }
}

#[target_feature(enable = "avx2")]
fn scale_tile(e: &Scale<'_>, tile: &[AccRow], place: &Place, y: &mut [f32]) {
    for c in (0..place.columns).step_by(LANES) {
        let n = place.column + c..place.column + c + width(place, c);
        let scale = load_f32(&e.scale[n.clone()]);
        let bias = load_f32(&e.bias[n]);
        for (r, row) in tile.iter().enumerate() {
            let v = _mm256_cvtepi32_ps(load_acc(row, c));
            // Two roundings: contraction to one would differ from other instruction sets.
            let mut v = _mm256_add_ps(_mm256_mul_ps(v, scale), bias);
            if let Some(residual) = e.residual {
                let from = place.index(r) + c;
                v = _mm256_add_ps(v, load_f32(&residual[from..from + width(place, c)]));
            }
            if e.relu {
                // The second operand where the first is NaN or a zero: `v > 0 ? v : 0`.
                v = _mm256_max_ps(v, _mm256_setzero_ps());
            }
            store_f32(v, &mut y[place.stored(r)][c..][..width(place, c)]);
        }
    }
}
