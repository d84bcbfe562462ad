//! [`Requantize`] in registers. Called only where its table is narrow.

use super::epilogue::{Block, Vectorized, half};
use super::simd::Simd;
use crate::epilogue::Place;
use crate::epilogue::requant::{FRACTION, Requantize, TERMS};
use crate::micro::bytes::AccRow;

impl Vectorized for Requantize<'_> {
    #[inline(always)]
    fn store_on<S: Simd>(&self, simd: S, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        match self.table.places {
            None => self.store_by::<S, false>(simd, tile, place, y),
            Some(_) => self.store_by::<S, true>(simd, tile, place, y),
        }
    }
}

impl Requantize<'_> {
    #[inline(always)]
    fn store_by<S: Simd, const SHIFTS: bool>(
        &self,
        simd: S,
        tile: &[AccRow],
        place: &Place,
        y: &mut [u8],
    ) {
        let table = self.table;
        // Narrow: it fits.
        let offset = simd.splat(table.offset as i32);
        let low = simd.splat(table.low.into());
        let (residual, high, zero) = (self.residual, table.high, simd.splat(0));
        let residual_factor = simd.splat(table.residual_factor);
        for block in Block::all::<S>(*place) {
            let load = |all: &[i32]| simd.load_i32(&all[block.channels()]);
            let (bias, limit) = (load(&table.bias), load(&table.limit));
            let least = simd.sub_i32(zero, limit);
            let shift = simd.load_u8(&table.shift[block.channels()]);
            let half = half(simd, shift);
            let product = Product::new(simd, load(&table.factor), half, shift);
            let mut terms = [(zero, zero); TERMS];
            let mut start = half;
            if let (true, Some(places)) = (SHIFTS, &table.places) {
                for ((term, places), signs) in terms.iter_mut().zip(places).zip(&table.signs) {
                    // All bits of a term that is taken away are flipped, which is one less than -1
                    // times it.
                    let flip = simd.shr_i32(load(signs), simd.splat(31));
                    start = simd.sub_i32(start, flip);
                    *term = (load(places), flip);
                }
            }
            for (r, row) in tile.iter().enumerate() {
                let v = simd.add_i32(block.sums(simd, row), bias);
                let v = simd.max_i32(simd.min_i32(v, limit), least);
                let mut v = if SHIFTS {
                    let mut sum = start;
                    for (places, flip) in terms {
                        sum = simd.add_i32(sum, simd.xor(simd.shl_i32(v, places), flip));
                    }
                    simd.shr_i32(sum, shift)
                } else {
                    product.of(simd, v)
                };
                if let Some(residual) = residual {
                    let x = simd.load_u8(block.values(residual, r));
                    if SHIFTS {
                        for &(place, negative) in &table.residual_terms {
                            let term = simd.shl_i32(x, simd.splat(place.into()));
                            v = match negative {
                                true => simd.sub_i32(v, term),
                                false => simd.add_i32(v, term),
                            };
                        }
                    } else {
                        v = simd.add_i32(v, simd.mul_i32(x, residual_factor));
                    }
                }
                let v = simd.add_i32(v, offset);
                let v = simd.max_i32(simd.shr_i32(v, simd.splat(FRACTION as i32)), low);
                simd.store_u8(v, high, block.outputs(y, r));
            }
        }
    }
}

/// `(v factor + half) >> shift` through 64 bits: numbers for the even lanes of `v`, and for the odd
/// ones.
#[derive(Clone, Copy)]
struct Product<I> {
    factor: [I; 2],
    half: [I; 2],
    shift: [I; 2],
}

impl<I: Copy> Product<I> {
    #[inline(always)]
    fn new<S: Simd<I = I>>(simd: S, factor: I, half: I, shift: I) -> Self {
        let zero = simd.splat(0);
        let up = simd.sub_i32(simd.splat(32), shift);
        Product {
            factor: [factor, simd.odd(factor)],
            half: [simd.blend(half, zero), simd.odd(half)],
            shift: [simd.blend(shift, zero), simd.odd(up)],
        }
    }

    /// The low 32 bits.
    #[inline(always)]
    fn of<S: Simd<I = I>>(self, simd: S, v: I) -> I {
        // A logical shift by at most 31 has the low 32 bits of the arithmetic one, and a shift to
        // the left by 32 less it has them in the upper half.
        let even = simd.add_i64(simd.mul_even(v, self.factor[0]), self.half[0]);
        let even = simd.shr_u64(even, self.shift[0]);
        let odd = simd.mul_even(simd.odd(v), self.factor[1]);
        let odd = simd.shl_u64(simd.add_i64(odd, self.half[1]), self.shift[1]);
        simd.blend(even, odd)
    }
}
