//! [`Requantize`] in registers. Called only where its table is narrow.
//!
//! There is no shift by a count of each lane: the factors are those of [`Shared`]. One that is a
//! sum of shifts is multiplied with as well, for the same reason.

use core::arch::wasm32::*;

use super::registers::load;
use crate::epilogue::Place;
use crate::epilogue::requant::{FRACTION, Requantize};
use crate::epilogue::shared::Shared;
use crate::micro::bytes::AccRow;

/// Stores the outputs of one tile.
pub(crate) fn store(epilogue: &Requantize<'_>, tile: &[AccRow], place: &Place, y: &mut [u8]) {
    match &epilogue.table.shared {
        Some(shared) if place.columns.is_multiple_of(4) => {
            for column in (0..place.columns).step_by(4) {
                columns(epilogue, shared, tile, place, column, y);
            }
        }
        _ => epilogue.store_narrow(tile, place, y),
    }
}

/// Four columns of a tile.
fn columns(
    epilogue: &Requantize<'_>,
    shared: &Shared,
    tile: &[AccRow],
    place: &Place,
    column: usize,
    y: &mut [u8],
) {
    let table = epilogue.table;
    let first = place.column + column;
    let four = |all: &[i32]| load(&of_four(all, first));
    let (bias, limit, factor) = (four(&table.bias), four(&table.limit), four(&shared.factor));
    let least = i32x4_neg(limit);
    let [a, b, c, d] = of_four(&shared.half, first);
    let half = [i64x2(a, b), i64x2(c, d)];
    // Narrow: it fits.
    let offset = i32x4_splat(table.offset as i32);
    let (low, high) = (
        i32x4_splat(table.low.into()),
        i32x4_splat(table.high.into()),
    );
    let residual_factor = i32x4_splat(table.residual_factor);
    for (r, row) in tile.iter().enumerate() {
        let v = i32x4_add(load(&of_four(&row.0, column)), bias);
        let v = i32x4_max(i32x4_min(v, limit), least);
        let products = [
            i64x2_add(i64x2_extmul_low_i32x4(v, factor), half[0]),
            i64x2_add(i64x2_extmul_high_i32x4(v, factor), half[1]),
        ];
        // A logical shift by at most 32 has the low 32 bits of the arithmetic one.
        let [a, b] = products.map(|product| u64x2_shr(product, shared.shift));
        let mut v = i32x4_shuffle::<0, 2, 4, 6>(a, b);
        if let Some(residual) = epilogue.residual {
            let bytes = of_four(residual, place.index(r) + column);
            let wide = u32x4_splat(u32::from_le_bytes(bytes));
            let wide = u32x4_extend_low_u16x8(u16x8_extend_low_u8x16(wide));
            v = i32x4_add(v, i32x4_mul(wide, residual_factor));
        }
        let v = i32x4_shr(i32x4_add(v, offset), FRACTION);
        let v = i32x4_min(i32x4_max(v, low), high);
        let words = i16x8_narrow_i32x4(v, v);
        let bytes = u32x4_extract_lane::<0>(u8x16_narrow_i16x8(words, words));
        let at = place.stored(r).start + column;
        y[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
    }
}

/// Four neighbours.
#[inline(always)]
fn of_four<T: Copy>(all: &[T], first: usize) -> [T; 4] {
    let neighbours = &all[first..first + 4];
    [neighbours[0], neighbours[1], neighbours[2], neighbours[3]]
}
