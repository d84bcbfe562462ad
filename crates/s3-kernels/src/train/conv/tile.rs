//! The two register tiles: everything that runs per multiplication.
//!
//! Both hold their sums in registers and read one activation, broadcast, and `V` weight or gradient
//! vectors per step:
//!
//! ```text
//! pixels:   acc[q][v] += x[pixel q + k][c] · w[k][v][c]       over taps k and channels c
//! weights:  acc[c][v] += x[pixel][c] · dy[v][pixel]           over pixels
//! ```
//!
//! A CPU that starts two multiply-adds a cycle starts two loads at best, so a multiply-add must
//! cost much less than a load. `V` lane blocks share a broadcast; so do the `K` taps that read the
//! same pixel for neighbouring outputs.
#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays; iterator adaptors might not inline into the tile"
)]

pub(super) mod amx;

use super::geometry::TapGroup;
use crate::train::arch::Stored;
use crate::train::prefetch::Prefetch;
use crate::train::scratch::Block;
use crate::train::simd::{LANES, Simd};

/// The inputs of a pixel tile: some channel blocks of one image.
#[derive(Clone, Copy)]
pub(super) struct PixelInput<'a> {
    /// Scratch from the tile's first pixel on, in the first channel block.
    pub(super) x: &'a [Block],
    /// The tile's first pixel in its row.
    pub(super) col: usize,
    /// Blocks from a scratch row to the next.
    pub(super) row_step: usize,
    /// Blocks from a channel block to the next.
    pub(super) depth_step: usize,
    /// Channels to sum over, all channel blocks together.
    pub(super) channels: usize,
    pub(super) taps: &'a [TapGroup],
    /// Weight blocks of one depth block, all taps.
    pub(super) weight_step: usize,
}

/// The outputs of a pixel tile.
pub(super) struct PixelOutput<'a, T> {
    /// The output image.
    pub(super) y: &'a mut [T],
    /// Element of the first pixel's first lane, and the step from pixel to pixel.
    pub(super) at: [usize; 2],
    /// Lanes of the last vector that exist.
    pub(super) lanes: usize,
    /// Whether to add to what `y` holds.
    pub(super) add: bool,
}

/// `V` lane blocks × `Q` pixels of a row.
#[inline(always)]
pub(super) fn pixels<S: Simd, T: Stored, const V: usize, const Q: usize>(
    simd: S,
    input: PixelInput<'_>,
    w: [&[Block]; V],
    out: PixelOutput<'_, T>,
) {
    if V * Q > S::ACCUMULATORS {
        unreachable!("a tile beyond the instruction set's registers");
    }
    let mut acc = [[simd.splat(0.0); V]; Q];
    let PixelOutput { y, at, lanes, add } = out;
    if add {
        acc = before::<S, T, V, Q>(simd, y, at, lanes);
    }
    let mut left = input.channels;
    let mut block = 0;
    while left > 0 {
        let channels = left.min(LANES);
        let x = &input.x[block * input.depth_step..];
        let mut w_block: [&[Block]; V] = [&[]; V];
        for v in 0..V {
            w_block[v] = &w[v][block * input.weight_step..];
        }
        for taps in input.taps {
            let x = &x[taps.at[0] * input.row_step + taps.at[1]..];
            let first = input.col + taps.at[1];
            let zero = [
                first < taps.inside[0],
                first + Q + taps.count - 1 > taps.inside[1],
            ];
            let [t0, t1, t2] = taps.weights;
            match taps.count {
                1 => taps_of::<S, V, Q, 1>(simd, &mut acc, x, zero, w_block, [t0], channels),
                2 => taps_of::<S, V, Q, 2>(simd, &mut acc, x, zero, w_block, [t0, t1], channels),
                _ => {
                    taps_of::<S, V, Q, 3>(simd, &mut acc, x, zero, w_block, [t0, t1, t2], channels)
                }
            }
        }
        left -= channels;
        block += 1;
    }
    after::<S, T, V, Q>(simd, acc, y, at, lanes);
}

// A loop over all sums must be unrolled by the compiler, or an index that it does not know keeps
// them in memory from the first product on, which takes twice the time. Loops that convert
// elements are too long for that, so only plain ones touch the sums of such elements.

/// The sums that `y` holds.
#[inline(always)]
fn before<S: Simd, T: Stored, const V: usize, const Q: usize>(
    simd: S,
    y: &[T],
    at: [usize; 2],
    lanes: usize,
) -> [[S::F; V]; Q] {
    let mut acc = [[simd.splat(0.0); V]; Q];
    let mut sums = [[Block::ZERO; V]; Q];
    for q in 0..Q {
        for v in 0..V {
            let y = &y[at[0] + q * at[1] + v * LANES..];
            let sum = T::load_first(simd, y, if v + 1 == V { lanes } else { LANES });
            if T::HOLDS_SUMS {
                acc[q][v] = sum;
            } else {
                simd.store(sum, &mut sums[q][v].0);
            }
        }
    }
    if !T::HOLDS_SUMS {
        for q in 0..Q {
            for v in 0..V {
                acc[q][v] = simd.load(&sums[q][v].0);
            }
        }
    }
    acc
}

/// Stores the sums in `y`.
#[inline(always)]
fn after<S: Simd, T: Stored, const V: usize, const Q: usize>(
    simd: S,
    acc: [[S::F; V]; Q],
    y: &mut [T],
    at: [usize; 2],
    lanes: usize,
) {
    let mut sums = [[Block::ZERO; V]; Q];
    if !T::HOLDS_SUMS {
        for q in 0..Q {
            for v in 0..V {
                simd.store(acc[q][v], &mut sums[q][v].0);
            }
        }
    }
    for q in 0..Q {
        for v in 0..V {
            let sum = if T::HOLDS_SUMS {
                acc[q][v]
            } else {
                simd.load(&sums[q][v].0)
            };
            let y = &mut y[at[0] + q * at[1] + v * LANES..];
            T::store_first(simd, sum, y, if v + 1 == V { lanes } else { LANES });
        }
    }
}

/// `acc[q] += Σ_k x[q + k] · w[weights[k]]` over `channels` channels of one block, where the first
/// and the last of `x` are left out if `zero`.
#[inline(always)]
fn taps_of<S: Simd, const V: usize, const Q: usize, const K: usize>(
    simd: S,
    acc: &mut [[S::F; V]; Q],
    x: &[Block],
    zero: [bool; 2],
    w: [&[Block]; V],
    weights: [usize; K],
    channels: usize,
) {
    if K > 1 && V * Q > S::GROUPED_ACCUMULATORS {
        unreachable!("a tile beyond the instruction set's registers");
    }
    let x = &x[..Q + K - 1];
    let mut ws: [[&[Block]; V]; K] = [[&[]; V]; K];
    for k in 0..K {
        for v in 0..V {
            ws[k][v] = &w[v][weights[k] * LANES..][..LANES];
        }
    }
    if S::TAP_BY_TAP {
        for c in 0..channels {
            for k in 0..K {
                let mut wv = [simd.splat(0.0); V];
                for v in 0..V {
                    wv[v] = simd.load(&ws[k][v][c].0);
                }
                for q in 0..Q {
                    if (q + k == 0 && zero[0]) || (q + k + 2 == Q + K && zero[1]) {
                        continue;
                    }
                    let x = simd.splat(x[q + k].0[c]);
                    for v in 0..V {
                        acc[q][v] = simd.mul_add(wv[v], x, acc[q][v]);
                    }
                }
            }
        }
        return;
    }
    for c in 0..channels {
        let mut wv = [[simd.splat(0.0); V]; K];
        for k in 0..K {
            for v in 0..V {
                wv[k][v] = simd.load(&ws[k][v][c].0);
            }
        }
        for i in 0..Q + K - 1 {
            if (i == 0 && zero[0]) || (i + 2 == Q + K && zero[1]) {
                continue;
            }
            let x = simd.splat(x[i].0[c]);
            for k in 0..K {
                if i >= k && i - k < Q {
                    for v in 0..V {
                        acc[i - k][v] = simd.mul_add(wv[k][v], x, acc[i - k][v]);
                    }
                }
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
    /// Of the `cols + K - 1` activations of a row, those that are not padding: from and to.
    pub(super) inside: [usize; 2],
    /// Added to each row's place in `x`: the tap and the channel block.
    pub(super) x_offset: usize,
    /// Added to each row's place in `dy`, one for each lane block.
    pub(super) dy_offset: [usize; 2],
    /// The first of the tile's channels within its block.
    pub(super) channel: usize,
    /// Whether to add to what `dw` holds.
    pub(super) add: bool,
}

/// `V` lane blocks × `C` channels × `K` neighbouring taps, which read pixels `i..i + K` for output
/// pixel `i`; sets or adds to `dw[k][v][channel..channel + C]`.
///
/// An input pixel `j` meets the gradients of pixels `j, j - 1, .., j - K + 1`, which stay in
/// registers from pixel to pixel.
#[inline(always)]
pub(super) fn weights<S: Simd, T, const V: usize, const C: usize, const K: usize>(
    simd: S,
    ahead: &mut Prefetch<'_, T>,
    input: WeightInput<'_>,
    dw: &mut [&mut [Block]; V],
    taps: [usize; K],
) {
    if V * C * K > S::ACCUMULATORS {
        unreachable!("a tile beyond the instruction set's registers");
    }
    let mut acc = [[[simd.splat(0.0); V]; C]; K];
    if input.add {
        for k in 0..K {
            for v in 0..V {
                let dw = &dw[v][taps[k] + input.channel..][..C];
                for c in 0..C {
                    acc[k][c][v] = simd.load(&dw[c].0);
                }
            }
        }
    }
    for row in input.rows {
        ahead.fetch(simd);
        let x = &input.x[row[0] + input.x_offset..][..input.cols + K - 1];
        let mut dy: [&[Block]; V] = [&[]; V];
        for v in 0..V {
            dy[v] = &input.dy[row[1] + input.dy_offset[v]..][..input.cols];
        }
        // g[k] is the gradient of pixel j - k, 0 outside the row.
        let mut g = [[simd.splat(0.0); V]; K];
        // Gradients that meet no activation yet.
        let begin = input.inside[0].min(input.cols);
        for j in begin.saturating_sub(K - 1)..begin {
            for k in (1..K).rev() {
                g[k] = g[k - 1];
            }
            for v in 0..V {
                g[0][v] = simd.load(&dy[v][j].0);
            }
        }
        for j in begin..input.cols.min(input.inside[1]) {
            for k in (1..K).rev() {
                g[k] = g[k - 1];
            }
            for v in 0..V {
                g[0][v] = simd.load(&dy[v][j].0);
            }
            let x = &x[j].0[input.channel..][..C];
            for c in 0..C {
                let x = simd.splat(x[c]);
                for k in 0..K {
                    for v in 0..V {
                        acc[k][c][v] = simd.mul_add(g[k][v], x, acc[k][c][v]);
                    }
                }
            }
        }
        for beyond in 1..K {
            if input.cols + beyond > input.inside[1] {
                break;
            }
            let x = &x[input.cols + beyond - 1].0[input.channel..][..C];
            for c in 0..C {
                let x = simd.splat(x[c]);
                for k in beyond..K {
                    for v in 0..V {
                        acc[k][c][v] = simd.mul_add(g[k - beyond][v], x, acc[k][c][v]);
                    }
                }
            }
        }
    }
    for k in 0..K {
        for v in 0..V {
            let dw = &mut dw[v][taps[k] + input.channel..][..C];
            for c in 0..C {
                simd.store(acc[k][c][v], &mut dw[c].0);
            }
        }
    }
}
