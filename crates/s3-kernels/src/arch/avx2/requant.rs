//! [`Requantize`] on eight lanes. Called only where its table is narrow.

use core::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_si256,
    _mm256_blend_epi32, _mm256_max_epi32, _mm256_min_epi32, _mm256_mul_epi32, _mm256_mullo_epi32,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_sign_epi32,
    _mm256_sll_epi32, _mm256_slli_epi64, _mm256_sllv_epi32, _mm256_srai_epi32, _mm256_srav_epi32,
    _mm256_srli_epi32, _mm256_srli_epi64, _mm256_srlv_epi64, _mm256_sub_epi32,
};

use super::epilogue::{CPU, load_acc, load_i32, load_u8, store_u8, width};
use crate::epilogue::Place;
use crate::epilogue::requant::{Requantize, TERMS};
use crate::micro::bytes::AccRow;
use crate::model::FRACTION;

/// Lanes of one register.
const LANES: usize = 8;

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

#[target_feature(enable = "avx2")]
fn store_tile<const SHIFTS: bool>(
    e: &Requantize<'_>,
    tile: &[AccRow],
    place: &Place,
    y: &mut [u8],
) {
    let table = e.table;
    // Narrow: it fits.
    let offset = _mm256_set1_epi32(table.offset as i32);
    let low = _mm256_set1_epi32(table.low.into());
    let high = _mm256_set1_epi32(table.high.into());
    for c in (0..place.columns).step_by(LANES) {
        let n = place.column + c..place.column + c + width(place, c);
        let load = |all: &[i32]| load_i32(&all[n.clone()]);
        let (bias, limit) = (load(&table.bias), load(&table.limit));
        let least = _mm256_sub_epi32(_mm256_setzero_si256(), limit);
        let shift = load_u8(&table.shift[n.clone()]);
        // (1 << s) >> 1, the shifts logical: 2^(s-1), or 0 where s = 0.
        let half = _mm256_srli_epi32::<1>(_mm256_sllv_epi32(_mm256_set1_epi32(1), shift));
        let factor = Wide::new(load(&table.factor));
        let (wide_half, wide_shift) = (Wide::new(half), Wide::new(shift));
        let mut terms = [(half, half); TERMS];
        if let (true, Some(places)) = (SHIFTS, &table.places) {
            for t in 0..TERMS {
                terms[t] = (load(&places[t]), load(&table.signs[t]));
            }
        }
        for (r, row) in tile.iter().enumerate() {
            let v = _mm256_add_epi32(load_acc(row, c), bias);
            let v = _mm256_max_epi32(_mm256_min_epi32(v, limit), least);
            let mut v = if SHIFTS {
                let mut sum = half;
                for (places, signs) in terms {
                    let term = _mm256_sllv_epi32(_mm256_sign_epi32(v, signs), places);
                    sum = _mm256_add_epi32(sum, term);
                }
                _mm256_srav_epi32(sum, shift)
            } else {
                scaled(v, factor, wide_half, wide_shift)
            };
            if let Some(residual) = e.residual {
                let from = place.index(r) + c;
                let x = load_u8(&residual[from..from + width(place, c)]);
                if SHIFTS {
                    for &(place, negative) in &table.residual_terms {
                        let term = _mm256_sll_epi32(x, _mm_cvtsi32_si128(place.into()));
                        v = match negative {
                            true => _mm256_sub_epi32(v, term),
                            false => _mm256_add_epi32(v, term),
                        };
                    }
                } else {
                    let factor = _mm256_set1_epi32(table.residual_factor);
                    v = _mm256_add_epi32(v, _mm256_mullo_epi32(x, factor));
                }
            }
            let v = _mm256_srai_epi32::<{ FRACTION as i32 }>(_mm256_add_epi32(v, offset));
            let y = &mut y[place.stored(r)][c..][..width(place, c)];
            store_u8(_mm256_min_epi32(_mm256_max_epi32(v, low), high), y);
        }
    }
}

/// Eight lanes of 32 bits as two registers of 64: even and odd ones, zero-extended.
#[derive(Clone, Copy)]
struct Wide(__m256i, __m256i);

impl Wide {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(lanes: __m256i) -> Wide {
        let even = _mm256_and_si256(lanes, _mm256_set1_epi64x(0xffff_ffff));
        Wide(even, _mm256_srli_epi64::<32>(lanes))
    }
}

/// The low 32 bits of `(v factor + half) >> shift`.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled(v: __m256i, factor: Wide, half: Wide, shift: Wide) -> __m256i {
    // A logical shift by at most 31 has the low 32 bits of the arithmetic one.
    let even = _mm256_add_epi64(_mm256_mul_epi32(v, factor.0), half.0);
    let even = _mm256_srlv_epi64(even, shift.0);
    let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(v), factor.1);
    let odd = _mm256_srlv_epi64(_mm256_add_epi64(odd, half.1), shift.1);
    _mm256_blend_epi32::<0xaa>(even, _mm256_slli_epi64::<32>(odd))
}
