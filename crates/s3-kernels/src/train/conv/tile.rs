//! The two register tiles: everything that runs per multiplication.
//!
//! Both hold their sums in registers and read one activation, broadcast, and `V` weight or gradient
//! vectors per step:
//!
//! ```text
//! pixels:   acc[v][r][q] += x[row r, pixel q][c] · w[v][c]        over taps and channels c
//! weights:  acc[v][c]    += x[pixel][c] · dy[v][pixel]            over pixels
//! ```
//!
//! A step of `V·P` multiply-adds needs `V + P` loads. CPUs that start two multiply-adds a cycle
//! also start two loads, so tiles near `V = 2`, `P = 14` are bound by arithmetic, and `V = 1` tiles
//! stay within `P / (P + 1)` of it.

#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays; iterator adaptors might not inline into the tile"
)]

use super::geometry::Tap;
use crate::train::arch::{LANES, Simd};
use crate::train::scratch::Block;

/// The inputs of a pixel tile: `depth` channel blocks of one image.
#[derive(Clone, Copy)]
pub(super) struct PixelInput<'a> {
    /// Scratch from the tile's first pixel on, in the first channel block.
    pub(super) x: &'a [Block],
    /// Blocks from a grid row to the next, and from a scratch row to the next.
    pub(super) row_step: [usize; 2],
    /// Blocks from a channel block to the next.
    pub(super) depth_step: usize,
    /// Channels to sum over, all channel blocks together.
    pub(super) channels: usize,
    pub(super) taps: &'a [Tap],
    /// Weight blocks of one depth block, all taps.
    pub(super) weight_step: usize,
}

/// The outputs of a pixel tile.
pub(super) struct PixelOutput<'a> {
    /// The output image.
    pub(super) y: &'a mut [f32],
    /// Element of the first pixel's first lane; steps from row to row and pixel to pixel.
    pub(super) at: [usize; 3],
    /// Lanes of the last vector that exist.
    pub(super) lanes: usize,
    /// Whether to add to what `y` holds.
    pub(super) add: bool,
}

/// `V` lane blocks × `R` rows × `Q` pixels.
#[inline(always)]
pub(super) fn pixels<S: Simd, const V: usize, const R: usize, const Q: usize>(
    simd: S,
    input: PixelInput<'_>,
    w: [&[Block]; V],
    out: PixelOutput<'_>,
) {
    if V * R * Q > S::ACCUMULATORS {
        unreachable!("a tile beyond the instruction set's registers");
    }
    let mut acc = [[[simd.splat(0.0); V]; Q]; R];
    let PixelOutput { y, at, lanes, add } = out;
    if add {
        for r in 0..R {
            for q in 0..Q {
                for v in 0..V {
                    let y = &y[at[0] + r * at[1] + q * at[2] + v * LANES..];
                    acc[r][q][v] = simd.load_first(y, if v + 1 == V { lanes } else { LANES });
                }
            }
        }
    }
    let mut left = input.channels;
    let mut block = 0;
    while left > 0 {
        let channels = left.min(LANES);
        let x = &input.x[block * input.depth_step..];
        for tap in input.taps {
            let offset = tap.at[0] * input.row_step[1] + tap.at[1];
            let mut xs: [&[Block]; R] = [&[]; R];
            for r in 0..R {
                xs[r] = &x[offset + r * input.row_step[0]..][..Q];
            }
            let mut ws: [&[Block]; V] = [&[]; V];
            for v in 0..V {
                ws[v] = &w[v][block * input.weight_step + tap.weight * LANES..][..LANES];
            }
            for c in 0..channels {
                let mut wv = [simd.splat(0.0); V];
                for v in 0..V {
                    wv[v] = simd.load(&ws[v][c].0);
                }
                for r in 0..R {
                    for q in 0..Q {
                        let x = simd.splat(xs[r][q].0[c]);
                        for v in 0..V {
                            acc[r][q][v] = simd.mul_add(wv[v], x, acc[r][q][v]);
                        }
                    }
                }
            }
        }
        left -= channels;
        block += 1;
    }
    for r in 0..R {
        for q in 0..Q {
            for v in 0..V {
                let y = &mut y[at[0] + r * at[1] + q * at[2] + v * LANES..];
                simd.store_first(acc[r][q][v], y, if v + 1 == V { lanes } else { LANES });
            }
        }
    }
}

/// The inputs of a weight tile.
#[derive(Clone, Copy)]
pub(super) struct WeightInput<'a> {
    /// Scratch of the activations and of the output gradients.
    pub(super) x: &'a [Block],
    pub(super) dy: &'a [Block],
    /// For each grid row its first block in `x` and in `dy`.
    pub(super) rows: &'a [[usize; 2]],
    /// Pixels of a row.
    pub(super) cols: usize,
    /// Added to each row's place in `x`: the tap and the channel block.
    pub(super) x_offset: usize,
    /// Added to each row's place in `dy`, one for each lane block.
    pub(super) dy_offset: [usize; 2],
    /// The first of the tile's channels within its block.
    pub(super) channel: usize,
}

/// `V` lane blocks × `C` channels; adds to `dw[v][channel..channel + C]`.
#[inline(always)]
pub(super) fn weights<S: Simd, const V: usize, const C: usize>(
    simd: S,
    input: WeightInput<'_>,
    dw: [&mut [Block]; V],
) {
    if V * C > S::ACCUMULATORS {
        unreachable!("a tile beyond the instruction set's registers");
    }
    let mut acc = [[simd.splat(0.0); V]; C];
    for v in 0..V {
        for c in 0..C {
            acc[c][v] = simd.load(&dw[v][input.channel + c].0);
        }
    }
    for row in input.rows {
        let x = &input.x[row[0] + input.x_offset..][..input.cols];
        let mut dy: [&[Block]; V] = [&[]; V];
        for v in 0..V {
            dy[v] = &input.dy[row[1] + input.dy_offset[v]..][..input.cols];
        }
        for i in 0..input.cols {
            let mut g = [simd.splat(0.0); V];
            for v in 0..V {
                g[v] = simd.load(&dy[v][i].0);
            }
            let x = &x[i].0[input.channel..][..C];
            for c in 0..C {
                let x = simd.splat(x[c]);
                for v in 0..V {
                    acc[c][v] = simd.mul_add(g[v], x, acc[c][v]);
                }
            }
        }
    }
    for (v, dw) in dw.into_iter().enumerate() {
        for c in 0..C {
            simd.store(acc[c][v], &mut dw[input.channel + c].0);
        }
    }
}
