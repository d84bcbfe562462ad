//! The pixel tile of [`super::tile`] in matrix registers.
//!
//! ```text
//! c[q][v] += x[pixel q + tap][pairs] · w[tap][v][pairs]       over taps and blocks of pairs
//! ```
//!
//! Scratch is laid out for it: neighbouring pixels of a channel block are the rows of a tile, the depths of
//! a weight block those of the other.

use super::tile::{PixelInput, PixelOutput};
use crate::train::arch::{FULL, LANES, Simd, Sum, Tiles};
use crate::train::element::Element;
use crate::train::scratch::Block;

/// Pixels of two tiles, side by side.
pub(super) const MOST_PIXELS: usize = 2 * FULL;

/// `V` lane blocks × `wide` pixels of a row.
#[inline(always)]
pub(super) fn pixels<S: Simd, T: Element, const V: usize>(
    simd: S,
    tiles: &mut Tiles,
    wide: usize,
    input: PixelInput<'_>,
    w: [&[Block]; V],
    out: PixelOutput<'_, T>,
) {
    if wide > FULL {
        let half = wide.div_ceil(2);
        product::<S, T, 2, V>(simd, tiles, [half, wide - half], input, w, out);
    } else {
        product::<S, T, 1, V>(simd, tiles, [wide], input, w, out);
    }
}

#[inline(always)]
fn product<S: Simd, T: Element, const A: usize, const V: usize>(
    simd: S,
    tiles: &mut Tiles,
    wide: [usize; A],
    input: PixelInput<'_>,
    w: [&[Block]; V],
    out: PixelOutput<'_, T>,
) {
    let PixelOutput { y, at, lanes, add } = out;
    let lanes = |v| if v + 1 == V { lanes } else { LANES };
    let place = |q: usize, v: usize| at[0] + q * at[1] + v * LANES;
    let mut c = [[[Block::ZERO; FULL]; V]; A];
    if add {
        for a in 0..A {
            for v in 0..V {
                for (q, c) in c[a][v][..wide[a]].iter_mut().enumerate() {
                    let y = &y[place(a * wide[0] + q, v)..];
                    simd.store(T::load_first(simd, y, lanes(v)), &mut c.0);
                }
            }
        }
    }
    sums(tiles, wide, input, w, &mut c, add);
    for a in 0..A {
        for v in 0..V {
            for (q, c) in c[a][v][..wide[a]].iter().enumerate() {
                let y = &mut y[place(a * wide[0] + q, v)..];
                T::store_first(simd, simd.load(&c.0), y, lanes(v));
            }
        }
    }
}

/// Sets or adds to `c`: full blocks of pairs first, then what the last block holds.
#[inline(always)]
fn sums<const A: usize, const V: usize>(
    tiles: &mut Tiles,
    wide: [usize; A],
    input: PixelInput<'_>,
    w: [&[Block]; V],
    c: &mut [[[Block; FULL]; V]; A],
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
                    sum.finish(
                        tiles,
                        c.each_mut().map(|c| c.each_mut().map(|c| &mut c[..])),
                        add,
                    );
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
        sum.finish(
            tiles,
            c.each_mut().map(|c| c.each_mut().map(|c| &mut c[..])),
            add,
        );
        add = true;
    }
}
