//! Epilogues on sixteen lanes: the definitions of [`crate::epilogue`], in i32 or f32 registers.
//!
//! The integer ones are called only where the sums were shown to stay in i32 (`Narrow`).

use core::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_loadu_si128, _mm_mask_storeu_epi8, _mm_maskz_loadu_epi8,
    _mm_storeu_si128, _mm512_add_epi32, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtusepi32_epi8, _mm512_load_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_epi32,
    _mm512_maskz_loadu_ps, _mm512_max_epi32, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_sllv_epi32, _mm512_srav_epi32,
    _mm512_srli_epi32,
};

use crate::arch::Once;
use crate::epilogue::{Place, Residual, Scale, ShiftRequant};
use crate::isa::Isa;
use crate::micro::bytes::{AccRow, NR};

pub(super) static CPU: Once = Once::new(|| Isa::Avx512.is_available());

/// Lanes of one register.
const LANES: usize = 16;

/// Registers of one row of a tile.
const BLOCKS: usize = NR / LANES;

/// The part of a row of columns that register `b` holds, empty behind the last column.
#[inline]
pub(super) fn block<T>(row: &[T], b: usize) -> &[T] {
    let start = (LANES * b).min(row.len());
    &row[start..(start + LANES).min(row.len())]
}

/// The part of a row of outputs that register `b` holds, empty behind the last column.
#[inline]
pub(super) fn block_mut<T>(row: &mut [T], b: usize) -> &mut [T] {
    let start = (LANES * b).min(row.len());
    let end = (start + LANES).min(row.len());
    &mut row[start..end]
}

#[inline]
fn mask(count: usize) -> u16 {
    debug_assert!(count <= LANES);
    ((1u32 << count) - 1) as u16
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_i32(from: &[i32]) -> __m512i {
    let from = &from[..from.len().min(LANES)];
    // SAFETY: the mask keeps the first `from.len()` lanes, which lie in `from`.
    unsafe { _mm512_maskz_loadu_epi32(mask(from.len()), from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f32(from: &[f32]) -> __m512 {
    let from = &from[..from.len().min(LANES)];
    // SAFETY: the mask keeps the first `from.len()` lanes, which lie in `from`.
    unsafe { _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr()) }
}

/// Sixteen bytes, widened.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn load_u8(from: &[u8]) -> __m512i {
    let bytes = if from.len() >= LANES {
        // SAFETY: `from` has at least sixteen bytes.
        unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
    } else {
        // SAFETY: the mask keeps the first `from.len()` lanes, which lie in `from`.
        unsafe { _mm_maskz_loadu_epi8(mask(from.len()), from.as_ptr().cast()) }
    };
    _mm512_cvtepu8_epi32(bytes)
}

/// Register `b` of a row of accumulators.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_acc(row: &AccRow, b: usize) -> __m512i {
    let lanes = row.0[LANES * b..LANES * b + LANES].as_ptr();
    // SAFETY: sixteen i32 begin at `lanes`, at a multiple of 64 bytes in an aligned row.
    unsafe { _mm512_load_si512(lanes.cast()) }
}

/// Stores lanes that are at least 0 as bytes, those above 255 as 255.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store_u8(v: __m512i, to: &mut [u8]) {
    store_bytes(_mm512_cvtusepi32_epi8(v), to);
}

/// Stores bytes, as many as there is room for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn store_bytes(bytes: __m128i, to: &mut [u8]) {
    if to.len() >= LANES {
        // SAFETY: `to` has at least sixteen bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    } else {
        // SAFETY: the mask keeps the first `to.len()` lanes, which lie in `to`.
        unsafe { _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), mask(to.len()), bytes) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_f32(v: __m512, to: &mut [f32]) {
    // SAFETY: the mask keeps the first `to.len()` lanes, which lie in `to`.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), v) }
}

/// `residual << shift` of the columns of row `r` that register `b` holds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_residual(residual: Residual<'_>, place: &Place, r: usize, b: usize) -> __m512i {
    let row = &residual.values[place.index(r)..][..place.columns];
    let count = _mm512_set1_epi32(i32::from(residual.shift));
    _mm512_sllv_epi32(load_u8(block(row, b)), count)
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn shift_tile(e: &ShiftRequant<'_>, tile: &[AccRow], place: &Place, y: &mut [u8]) {
    let one = _mm512_set1_epi32(1);
    let n = place.column..place.column + place.columns;
    let (bias, shift) = (&e.bias[n.clone()], &e.shift[n]);
    let shift: [_; BLOCKS] = core::array::from_fn(|b| load_u8(block(shift, b)));
    // (1 << s) >> 1, the shifts logical: 2^(s-1), or 0 where s = 0.
    let half = shift.map(|s| _mm512_srli_epi32::<1>(_mm512_sllv_epi32(one, s)));
    let bias: [_; BLOCKS] =
        core::array::from_fn(|b| _mm512_add_epi32(load_i32(block(bias, b)), half[b]));
    for (r, row) in tile.iter().enumerate() {
        let y = &mut y[place.stored(r)];
        for b in 0..BLOCKS {
            let mut v = _mm512_add_epi32(load_acc(row, b), bias[b]);
            if let Some(residual) = e.residual {
                v = _mm512_add_epi32(v, load_residual(residual, place, r, b));
            }
            let v = _mm512_max_epi32(_mm512_srav_epi32(v, shift[b]), _mm512_setzero_si512());
            store_u8(v, block_mut(y, b));
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

#[target_feature(enable = "avx512f")]
fn scale_tile(e: &Scale<'_>, tile: &[AccRow], place: &Place, y: &mut [f32]) {
    let n = place.column..place.column + place.columns;
    for b in 0..place.columns.div_ceil(LANES) {
        let scale = load_f32(block(&e.scale[n.clone()], b));
        let bias = load_f32(block(&e.bias[n.clone()], b));
        for (r, row) in tile.iter().enumerate() {
            let v = _mm512_cvtepi32_ps(load_acc(row, b));
            // Two roundings: contraction to one would differ from other instruction sets.
            let mut v = _mm512_add_ps(_mm512_mul_ps(v, scale), bias);
            if let Some(residual) = e.residual {
                let row = &residual[place.index(r)..][..place.columns];
                v = _mm512_add_ps(v, load_f32(block(row, b)));
            }
            if e.relu {
                // The second operand where the first is NaN or a zero: `v > 0 ? v : 0`.
                v = _mm512_max_ps(v, _mm512_setzero_ps());
            }
            store_f32(v, block_mut(&mut y[place.stored(r)], b));
        }
    }
}
