//! The pixel tile of [`super`] in matrix registers.
//!
//! ```text
//! c[q][v] += x[pixel q + tap][pairs] · w[tap][v][pairs]       over taps and blocks of pairs
//! ```
//!
//! Scratch is laid out for it: neighbouring pixels of a channel block are the rows of a tile, the
//! depths of a weight block those of the other. Padding columns are multiplied too, as zeros.

#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays, as in the tiles of vectors"
)]

use super::{PixelInput, PixelOutput};
use crate::train::arch::{FULL, Registers, Stored, Sum};
use crate::train::scratch::Block;
use crate::train::simd::{LANES, Simd};

/// Pixels of two tiles, side by side.
pub(in crate::train::conv) const MOST_PIXELS: usize = 2 * FULL;

/// The registers, and where their sums are stored: of tile `i` of pixels and lane block `v` in
/// `2i + v`.
pub(in crate::train::conv) struct Matrix {
    registers: Registers,
    sums: [[Block; FULL]; 4],
}

impl Matrix {
    /// # Panics
    ///
    /// As [`Registers::new`].
    pub(in crate::train::conv) fn new() -> Self {
        Matrix {
            registers: Registers::new(),
            sums: [[Block::ZERO; FULL]; 4],
        }
    }
}

/// `V` lane blocks × `wide` pixels of a row.
#[inline(always)]
pub(in crate::train::conv) fn pixels<S: Simd, T: Stored, const V: usize>(
    simd: S,
    matrix: &mut Matrix,
    wide: usize,
    input: PixelInput<'_>,
    w: [&[Block]; V],
    out: PixelOutput<'_, T>,
) {
    if wide > FULL {
        let half = wide.div_ceil(2);
        product::<S, T, 2, V>(simd, matrix, [half, wide - half], input, w, out);
    } else {
        product::<S, T, 1, V>(simd, matrix, [wide], input, w, out);
    }
}

#[inline(always)]
fn product<S: Simd, T: Stored, const A: usize, const V: usize>(
    simd: S,
    matrix: &mut Matrix,
    wide: [usize; A],
    input: PixelInput<'_>,
    w: [&[Block]; V],
    out: PixelOutput<'_, T>,
) {
    let PixelOutput { y, at, lanes, add } = out;
    if add {
        for a in 0..A {
            for v in 0..V {
                let lanes = if v + 1 == V { lanes } else { LANES };
                for q in 0..wide[a] {
                    let y = &y[at[0] + (a * wide[0] + q) * at[1] + v * LANES..];
                    let sum = T::load_first(simd, y, lanes);
                    simd.store(sum, &mut matrix.sums[2 * a + v][q].0);
                }
            }
        }
    }
    sums(matrix, wide, input, w, add);
    for a in 0..A {
        for v in 0..V {
            let lanes = if v + 1 == V { lanes } else { LANES };
            for q in 0..wide[a] {
                let y = &mut y[at[0] + (a * wide[0] + q) * at[1] + v * LANES..];
                let sum = simd.load(&matrix.sums[2 * a + v][q].0);
                T::store_first(simd, sum, y, lanes);
            }
        }
    }
}

/// Sets or adds to the sums: full blocks of pairs first, then what the last block holds.
#[inline(always)]
fn sums<const A: usize, const V: usize>(
    Matrix { registers, sums }: &mut Matrix,
    wide: [usize; A],
    input: PixelInput<'_>,
    w: [&[Block]; V],
    mut add: bool,
) {
    let full = input.channels / LANES;
    let rest = input.channels % LANES;
    for (blocks, depth) in [(0..full, LANES), (full..full + 1, rest)] {
        if blocks.is_empty() || depth == 0 {
            continue;
        }
        let mut sum = Sum::<A, V>::new(wide, 1, depth);
        for block in blocks {
            for tap in input.taps {
                if sum.is_full() {
                    sum.finish(registers, sums.each_mut().map(|s| &mut s[..]), add);
                    add = true;
                }
                let from = block * input.depth_step + tap.at[0] * input.row_step + tap.at[1];
                let mut a = [(input.x, from * LANES); A];
                if let Some(second) = a.get_mut(1) {
                    second.1 += wide[0] * LANES;
                }
                let weight = block * input.weight_step + tap.weights[0] * LANES;
                sum.push(a, w.map(|w| &w[weight..]));
            }
        }
        sum.finish(registers, sums.each_mut().map(|s| &mut s[..]), add);
        add = true;
    }
}
