//! [`Requantize`] on sixteen lanes. Called only where its table is narrow.

use core::arch::x86_64::{
    __m512i, _mm_cvtsi32_si128, _mm_min_epu8, _mm_set1_epi8, _mm512_add_epi32, _mm512_add_epi64,
    _mm512_and_si512, _mm512_cmplt_epi32_mask, _mm512_cvtusepi32_epi8, _mm512_mask_blend_epi32,
    _mm512_max_epi32, _mm512_min_epi32, _mm512_mul_epi32, _mm512_mullo_epi32, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_sll_epi32, _mm512_sllv_epi32,
    _mm512_sllv_epi64, _mm512_srai_epi32, _mm512_srav_epi32, _mm512_srli_epi32, _mm512_srli_epi64,
    _mm512_srlv_epi64, _mm512_sub_epi32,
};

use super::epilogue::{CPU, block, block_mut, load_acc, load_i32, load_u8, store_bytes};
use crate::epilogue::Place;
use crate::epilogue::requant::{Requantize, TERMS};
use crate::micro::bytes::AccRow;
use crate::model::FRACTION;

/// Lanes of one register.
const LANES: usize = 16;

/// Stores a tile.
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn store(e: &Requantize<'_>, tile: &[AccRow], place: &Place, y: &mut [u8]) {
    CPU.assert();
    match e.table.places {
        // SAFETY: the CPU has the features.
        None => unsafe { store_tile::<false>(e, tile, place, y) },
        // SAFETY: the CPU has the features.
        Some(_) => unsafe { store_tile::<true>(e, tile, place, y) },
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn store_tile<const SHIFTS: bool>(
    e: &Requantize<'_>,
    tile: &[AccRow],
    place: &Place,
    y: &mut [u8],
) {
    let table = e.table;
    let zero = _mm512_setzero_si512();
    // Narrow: it fits.
    let offset = _mm512_set1_epi32(table.offset as i32);
    let low = _mm512_set1_epi32(table.low.into());
    let high = _mm_set1_epi8(table.high.cast_signed());
    let n = place.column..place.column + place.columns;
    for b in 0..place.columns.div_ceil(LANES) {
        let load = |all: &[i32]| load_i32(block(&all[n.clone()], b));
        let (bias, limit) = (load(&table.bias), load(&table.limit));
        let least = _mm512_sub_epi32(zero, limit);
        let shift = load_u8(block(&table.shift[n.clone()], b));
        // (1 << s) >> 1, the shifts logical: 2^(s-1), or 0 where s = 0.
        let half = _mm512_srli_epi32::<1>(_mm512_sllv_epi32(_mm512_set1_epi32(1), shift));
        let factor = Wide::new(load(&table.factor));
        let wide_half = Wide::new(half);
        let up = _mm512_sub_epi32(_mm512_set1_epi32(32), shift);
        let wide_shift = Wide(Wide::new(shift).0, Wide::new(up).1);
        let mut places = [zero; TERMS];
        let mut negative = [0; TERMS];
        if let (true, Some(all)) = (SHIFTS, &table.places) {
            for t in 0..TERMS {
                places[t] = load(&all[t]);
                negative[t] = _mm512_cmplt_epi32_mask(load(&table.signs[t]), zero);
            }
        }
        for (r, row) in tile.iter().enumerate() {
            let v = _mm512_add_epi32(load_acc(row, b), bias);
            let v = _mm512_max_epi32(_mm512_min_epi32(v, limit), least);
            let mut v = if SHIFTS {
                let minus = _mm512_sub_epi32(zero, v);
                let mut sum = half;
                for t in 0..TERMS {
                    let v = _mm512_mask_blend_epi32(negative[t], v, minus);
                    sum = _mm512_add_epi32(sum, _mm512_sllv_epi32(v, places[t]));
                }
                _mm512_srav_epi32(sum, shift)
            } else {
                scaled(v, factor, wide_half, wide_shift)
            };
            if let Some(residual) = e.residual {
                let row = &residual[place.index(r)..][..place.columns];
                let x = load_u8(block(row, b));
                if SHIFTS {
                    for &(place, negative) in &table.residual_terms {
                        let term = _mm512_sll_epi32(x, _mm_cvtsi32_si128(place.into()));
                        v = match negative {
                            true => _mm512_sub_epi32(v, term),
                            false => _mm512_add_epi32(v, term),
                        };
                    }
                } else {
                    let factor = _mm512_set1_epi32(table.residual_factor);
                    v = _mm512_add_epi32(v, _mm512_mullo_epi32(x, factor));
                }
            }
            let v = _mm512_srai_epi32::<FRACTION>(_mm512_add_epi32(v, offset));
            let bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(v, low));
            // Between the two: as one instruction they are slow on Zen 4.
            let bytes = _mm_min_epu8(bytes, high);
            store_bytes(bytes, block_mut(&mut y[place.stored(r)], b));
        }
    }
}

/// Sixteen lanes of 32 bits as two registers of 64: even and odd ones, zero-extended.
#[derive(Clone, Copy)]
struct Wide(__m512i, __m512i);

impl Wide {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(lanes: __m512i) -> Wide {
        let even = _mm512_and_si512(lanes, _mm512_set1_epi64(0xffff_ffff));
        Wide(even, _mm512_srli_epi64::<32>(lanes))
    }
}

/// The low 32 bits of `(v factor + half) >> shift`; the odd lanes of `shift` are 32 less that.
#[inline]
#[target_feature(enable = "avx512f")]
fn scaled(v: __m512i, factor: Wide, half: Wide, shift: Wide) -> __m512i {
    // A logical shift by at most 31 has the low 32 bits of the arithmetic one, and a shift to the left by 32
    // less it has them in the upper half.
    let even = _mm512_add_epi64(_mm512_mul_epi32(v, factor.0), half.0);
    let even = _mm512_srlv_epi64(even, shift.0);
    let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(v), factor.1);
    let odd = _mm512_sllv_epi64(_mm512_add_epi64(odd, half.1), shift.1);
    _mm512_mask_blend_epi32(0xaaaa, even, odd)
}
