//! Backward-weight over pairs of bf16: the layout that pairs *pixels*, and its tile.
//!
//! The sum of a weight's gradient runs over pixels, so a lane of its operands holds two
//! neighbouring pixels of one channel. Activations are paired once, `X[i] = (x[2i], x[2i+1])`;
//! gradients twice, because a tap `s` columns to the right pairs pixel `j` of `x` with pixel
//! `j - s` of `dy`:
//!
//! ```text
//! E[j] = (dy[2j], dy[2j+1])     O[j] = (dy[2j-1], dy[2j])
//! dw[s] = Σ_i X[i] · (s even: E[i - s/2], s odd: O[i - (s-1)/2])
//! ```
//!
//! Around the row `dy` is zero, so every tap reads the same pairs of `x`.
#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays; iterator adaptors might not inline into the tile"
)]

use crate::train::arch::Stored;
use crate::train::conv::geometry::InputLayout;
use crate::train::prefetch::Prefetch;
use crate::train::scratch::Block;
use crate::train::simd::{LANES, Simd};

/// Where pairs lie in scratch; all counts are blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairLayout {
    /// Pairs of a row of one remainder of `x`.
    pub(super) pairs: usize,
    /// Pairs of `dy` before its row: what the widest tap reads.
    pub(super) front: usize,
    /// A scratch row of `x`, all remainders.
    pub(super) x_row: usize,
    /// A row of `dy`, `E` then `O`.
    pub(super) dy_row: usize,
}

impl PairLayout {
    /// For the input layout of a forward pass whose rows have `cols` outputs.
    pub(super) fn new(input: &InputLayout, cols: usize) -> Self {
        let pairs = input.cols.div_ceil(2);
        let front = (input.cols - cols) / 2;
        PairLayout {
            pairs,
            front,
            x_row: input.phases * pairs,
            dy_row: 2 * (pairs + front),
        }
    }

    /// Pairs up the scratch rows of grid rows `start..start + grid_rows` of one image of `x`.
    #[inline(always)]
    pub(super) fn pack_x<T: Stored>(
        &self,
        layout: &InputLayout,
        image: &[T],
        [start, grid_rows]: [usize; 2],
        scratch: &mut [Block],
    ) {
        let [height, width, channels] = layout.image;
        let rows = layout.rows(grid_rows);
        for row in 0..rows {
            let from = layout.origin[0] + (start * layout.row_step + row) as isize;
            if from < 0 || from as usize >= height {
                continue;
            }
            let line = &image[from as usize * width * channels..][..width * channels];
            for block in 0..layout.channel_blocks() {
                let to = &mut scratch[(block * rows + row) * self.x_row..][..self.x_row];
                for (phase, to) in to.chunks_exact_mut(self.pairs).enumerate() {
                    let line = Line {
                        layout,
                        line,
                        block,
                        phase,
                    };
                    line.pair_up(0, to);
                }
            }
        }
    }

    /// Pairs up rows `start..start + rows` of one image of `dy`, twice.
    #[inline(always)]
    pub(super) fn pack_dy<T: Stored>(
        &self,
        layout: &InputLayout,
        image: &[T],
        [start, rows]: [usize; 2],
        scratch: &mut [Block],
    ) {
        let [_, width, channels] = layout.image;
        for row in 0..rows {
            let line = &image[(start + row) * width * channels..][..width * channels];
            for block in 0..layout.channel_blocks() {
                let to = &mut scratch[(block * rows + row) * self.dy_row..][..self.dy_row];
                let (even, odd) = to.split_at_mut(self.dy_row / 2);
                let line = Line {
                    layout,
                    line,
                    block,
                    phase: 0,
                };
                let first = -2 * self.front as isize;
                line.pair_up(first, even);
                line.pair_up(first - 1, odd);
            }
        }
    }
}

/// One image row, one channel block, the columns of one remainder.
struct Line<'a, T> {
    layout: &'a InputLayout,
    line: &'a [T],
    block: usize,
    phase: usize,
}

impl<T: Stored> Line<'_, T> {
    /// `to[i]` from columns `first + 2i` and `first + 2i + 1`.
    #[inline(always)]
    fn pair_up(&self, first: isize, to: &mut [Block]) {
        for (i, to) in to.iter_mut().enumerate() {
            let col = first + 2 * i as isize;
            let (low, high) = (self.column(col), self.column(col + 1));
            for l in 0..LANES {
                to.0[l] = T::pair(low[l], high[l]);
            }
        }
    }

    /// The channels of scratch column `col`; zeros outside the image.
    #[inline(always)]
    fn column(&self, col: isize) -> [T; LANES] {
        let layout = self.layout;
        let channels = layout.image[2] as isize;
        if col < 0 || col >= layout.cols as isize {
            return [T::default(); LANES];
        }
        let count = (layout.elements() - self.block * LANES).min(LANES);
        // The run of elements that the column may hold, in the image row.
        let (image_col, run) = match layout.fold {
            None => {
                let image_col = layout.origin[1] + self.phase as isize;
                let image_col = image_col + col * layout.phases as isize;
                if image_col < 0 || image_col >= layout.image[1] as isize {
                    return [T::default(); LANES];
                }
                (image_col, 1)
            }
            Some([kernel_w, step]) => (layout.origin[1] + col * step as isize, kernel_w),
        };
        let from = image_col * channels + (self.block * LANES) as isize;
        debug_assert!(count <= run * layout.image[2]);
        let at = usize::try_from(from).ok();
        if let Some(full) = at.and_then(|at| self.line.get(at..)?.first_chunk()) {
            // Lanes past the last channel are never read, so a whole vector may be copied.
            return *full;
        }
        let mut lanes = [T::default(); LANES];
        let skip = (-from).clamp(0, count as isize) as usize;
        let end = (self.line.len() as isize - from).clamp(skip as isize, count as isize) as usize;
        for (l, lane) in lanes.iter_mut().enumerate().take(end).skip(skip) {
            *lane = self.line[(from + l as isize) as usize];
        }
        lanes
    }
}

/// The inputs of a tile.
#[derive(Clone, Copy)]
pub(super) struct PairInput<'a> {
    pub(super) layout: &'a PairLayout,
    /// Scratch of the activations and of the output gradients.
    pub(super) x: &'a [Block],
    pub(super) dy: &'a [Block],
    /// For each grid row its first block in `x` and in `dy`.
    pub(super) rows: &'a [[usize; 2]],
    /// Added to each row's place in `x`: the tap's row, its remainder and the channel block.
    pub(super) x_offset: usize,
    /// Added to each row's place in `dy`, one for each lane block.
    pub(super) dy_offset: [usize; 2],
    /// Columns from the output pixel to the first tap's.
    pub(super) shift: usize,
    /// The first of the tile's channels within its block.
    pub(super) channel: usize,
    /// Whether to add to what `dw` holds.
    pub(super) add: bool,
}

/// `V` lane blocks × `C` channels × `K` neighbouring taps; sets or adds to
/// `dw[k][v][channel..channel + C]`.
#[inline(always)]
pub(super) fn weight_pairs<S: Simd, T, const V: usize, const C: usize, const K: usize>(
    simd: S,
    ahead: &mut Prefetch<'_, T>,
    input: PairInput<'_>,
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
    let layout = input.layout;
    for row in input.rows {
        ahead.fetch(simd);
        let x = &input.x[row[0] + input.x_offset..][..layout.pairs];
        let mut dy: [[&[Block]; V]; K] = [[&[]; V]; K];
        for k in 0..K {
            let shift = input.shift + k;
            let at = shift % 2 * (layout.dy_row / 2) + layout.front - shift / 2;
            for v in 0..V {
                dy[k][v] = &input.dy[row[1] + input.dy_offset[v] + at..][..layout.pairs];
            }
        }
        for i in 0..layout.pairs {
            let mut g = [[simd.splat(0.0); V]; K];
            for k in 0..K {
                for v in 0..V {
                    g[k][v] = simd.load(&dy[k][v][i].0);
                }
            }
            let x = &x[i].0[input.channel..][..C];
            for c in 0..C {
                let x = simd.splat(x[c]);
                for k in 0..K {
                    for v in 0..V {
                        acc[k][c][v] = simd.mul_add(g[k][v], x, acc[k][c][v]);
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
