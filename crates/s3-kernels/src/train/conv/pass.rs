//! Drives a forward or backward-input pass: images in parallel, each through cache-sized pieces.
//!
//! ```text
//! for a group of images (parallel)
//!   for a strip of rows
//!     copy the strip's input into scratch
//!     for a pair of lane blocks (32 output channels)
//!       for as many depth blocks as keep their weights in the first-level cache
//!         for each image, grid, row, and tile of pixels: multiply and add
//! ```
//!
//! Every output is summed in one order, whatever the tiles are: depth block, tap, channel; in
//! matrix registers what a step adds is summed first.

use rayon::prelude::*;

use super::geometry::{Grid, Pass};
use super::pack::{PackPanel, pack_rows};
use super::tile::amx::{self, Matrix};
use super::tile::{PixelInput, PixelOutput, pixels};
use crate::isa::Isa;
use crate::train::arch::{Stored, dispatch};
use crate::train::prefetch::Prefetch;
use crate::train::scratch::{Block, with_blocks};
use crate::train::simd::{LANES, Operand, Simd, Task};

/// Images are grouped until a group has this many output pixels: below it, reading the weights
/// from memory would take longer than using them.
const GROUP_PIXELS: usize = 196;

/// Weight blocks that stay in the first-level cache: 20 KiB of a common 32 or 48.
const WEIGHT_BLOCKS: usize = 320;

/// `out = pass(input, w)`, whose lanes hold what `T` says, for a whole batch, or `out +=` where
/// `add`; no argument empty. Every element of `out` is written.
pub(in crate::train) fn run<T: Stored>(
    isa: Isa,
    (pass, add): (&Pass, bool),
    batch: usize,
    input: &[T],
    w: &[f32],
    out: &mut [T],
) {
    let map = &pass.weights;
    let panel = map.panel_blocks();
    with_blocks(panel * map.panels(), |panels| {
        panels
            .par_chunks_mut(panel)
            .enumerate()
            .for_each(|(index, panel)| {
                let task = PackPanel {
                    map,
                    index,
                    w,
                    panel,
                };
                dispatch(isa, task);
            });
        let panels = &*panels;
        let (in_len, out_len) = (input.len() / batch, out.len() / batch);
        let rows = pass.grids.iter().map(|grid| grid.size[0]).max();
        let rows = rows.unwrap_or(0);
        // As many as keep every thread busy; no sum depends on it.
        let group = GROUP_PIXELS.div_ceil(pass.out_pixels);
        let group = group.min(batch.div_ceil(rayon::current_num_threads()));
        let strip = pass.input.strip(rows);
        out.par_chunks_mut(group * out_len)
            .enumerate()
            .for_each(|(i, out)| {
                let images = out.len() / out_len;
                let rest = &input[i * group * in_len..];
                let (input, next) = rest.split_at(images * in_len);
                with_blocks(images * pass.input.blocks(strip), |scratch| {
                    for start in (0..rows).step_by(strip) {
                        let next = if images == 1 {
                            pass.input.upcoming(rest, start + strip, strip)
                        } else if start + strip >= rows {
                            &next[..next.len().min(input.len())]
                        } else {
                            &[]
                        };
                        let rows = [start, strip.min(rows - start)];
                        let strip = Strip {
                            pass,
                            panels,
                            images,
                            rows,
                            input,
                            next,
                            out,
                            add,
                            scratch,
                        };
                        // Compiled for the one or the other.
                        if T::PAIRS && pass.lane() == Operand::Bf16Matrix {
                            T::dispatch(isa, InMatrix(strip));
                        } else {
                            T::dispatch(isa, strip);
                        }
                    }
                });
            });
    });
}

/// One strip of rows of a group of images.
struct Strip<'a, T> {
    pass: &'a Pass,
    panels: &'a [Block],
    images: usize,
    /// First grid row and number of grid rows.
    rows: [usize; 2],
    input: &'a [T],
    /// What will be packed after this strip, if that is known.
    next: &'a [T],
    out: &'a mut [T],
    /// Whether to add to what `out` holds.
    add: bool,
    scratch: &'a mut [Block],
}

impl<T: Stored> Task for Strip<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.run_in::<S, false>(simd);
    }
}

/// The same in matrix registers.
struct InMatrix<'a, T>(Strip<'a, T>);

impl<T: Stored> Task for InMatrix<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run_in::<S, true>(simd);
    }
}

impl<T: Stored> Strip<'_, T> {
    #[inline(always)]
    fn run_in<S: Simd, const MATRIX: bool>(self, simd: S) {
        let Strip {
            pass,
            panels,
            images,
            rows,
            input,
            next,
            out,
            add,
            scratch,
        } = self;
        let layout = &pass.input;
        let image_blocks = layout.blocks(rows[1]);
        let in_len = input.len() / images;
        for i in 0..images {
            let to = &mut scratch[i * image_blocks..][..image_blocks];
            pack_rows(layout, &input[i * in_len..][..in_len], rows[0], rows[1], to);
        }
        let panel = pass.weights.panel_blocks();
        let lane_blocks = pass.weights.panels();
        let taps = pass.weights.tap.len();
        let pair = if S::ACCUMULATORS >= 16 { 2 } else { 1 };
        let mut matrix = MATRIX.then(Matrix::new);
        let tiles: usize = pass
            .grids
            .iter()
            .map(|grid| {
                let rows = grid.size[0].saturating_sub(rows[0]).min(rows[1]);
                rows * grid.size[1].div_ceil(tile_cols(simd, grid, pair.min(lane_blocks), MATRIX))
            })
            .sum();
        let depth_of = |width: usize| depth::<T>(layout.channel_blocks(), taps, width);
        let passes = lane_blocks.div_ceil(pair) * layout.channel_blocks().div_ceil(depth_of(pair));
        let mut ahead = Prefetch::new([next, &[]], images * tiles * passes);
        let mut lane_block = 0;
        while lane_block < lane_blocks {
            let width = pair.min(lane_blocks - lane_block);
            let depth = depth_of(width);
            let w = &panels[lane_block * panel..][..width * panel];
            let step = taps * LANES;
            let mut block = 0;
            while block < layout.channel_blocks() {
                // The weights after these, of this pair of lane blocks or of the next.
                let later = (block + depth) * step;
                let coming = if later < panel {
                    &w[later..]
                } else {
                    &panels[lane_block * panel + w.len()..]
                };
                let weights = [0, (width - 1) * panel].map(|v| {
                    let coming = &coming[v.min(coming.len())..];
                    &coming[..(depth * step).min(coming.len())]
                });
                ahead.weights(weights, images * tiles);
                for i in 0..images {
                    let out_len = out.len() / images;
                    let piece = Piece {
                        pass,
                        scratch: &scratch[i * image_blocks..][..image_blocks],
                        rows,
                        block,
                        channels: (layout.channels() - block * LANES).min(depth * LANES),
                        w,
                        lane_block,
                        width,
                        out: &mut out[i * out_len..][..out_len],
                        add: add || block > 0,
                    };
                    piece.run::<S, MATRIX>(simd, &mut matrix, &mut ahead);
                }
                block += depth;
            }
            lane_block += width;
        }
    }
}

/// How many of `blocks` depth blocks a tile sums at a time, for `width` lane blocks. Where elements
/// cannot hold unfinished sums, all; then the weights come from the second-level cache, which a
/// tile of many pixels can afford.
#[inline(always)]
fn depth<T: Stored>(blocks: usize, taps: usize, width: usize) -> usize {
    if T::HOLDS_SUMS {
        (WEIGHT_BLOCKS / (taps * LANES * width)).max(1)
    } else {
        blocks.max(1)
    }
}

/// Columns of a tile of `width` lane blocks, in vector registers or those of a matrix.
#[inline(always)]
fn tile_cols<S: Simd>(_: S, grid: &Grid, width: usize, in_matrix: bool) -> usize {
    let grouped = grid.groups.iter().any(|g| g.count > 1);
    let registers = if grouped {
        S::GROUPED_ACCUMULATORS
    } else {
        S::ACCUMULATORS
    };
    let limit = if in_matrix {
        amx::MOST_PIXELS
    } else {
        (registers / width).min(if grouped { 12 } else { 16 })
    };
    let tiles = grid.size[1].div_ceil(limit).max(1);
    grid.size[1].div_ceil(tiles).max(1)
}

/// One image, one pair of lane blocks, a run of depth blocks.
struct Piece<'a, T> {
    pass: &'a Pass,
    scratch: &'a [Block],
    rows: [usize; 2],
    block: usize,
    channels: usize,
    w: &'a [Block],
    lane_block: usize,
    width: usize,
    out: &'a mut [T],
    /// Whether to add to what `out` holds.
    add: bool,
}

impl<T: Stored> Piece<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const MATRIX: bool>(
        self,
        simd: S,
        matrix: &mut Option<Matrix>,
        ahead: &mut Prefetch<'_, T>,
    ) {
        let layout = &self.pass.input;
        let row_blocks = layout.row_blocks();
        let depth_step = layout.rows(self.rows[1]) * row_blocks;
        let weight_step = self.pass.weights.tap.len() * LANES;
        let panel = self.pass.weights.panel_blocks();
        let [w0, w1] =
            [0, self.width - 1].map(|v| &self.w[v * panel..][self.block * weight_step..panel]);
        let x = &self.scratch[self.block * depth_step..];
        let channels = self.pass.out_channels;
        let first = self.lane_block * LANES;
        let lanes = (channels - first - (self.width - 1) * LANES).min(LANES);
        for grid in &self.pass.grids {
            let [mut row, end] = [
                self.rows[0],
                (self.rows[0] + self.rows[1]).min(grid.size[0]),
            ];
            let cols = tile_cols(simd, grid, self.width, MATRIX);
            while row < end {
                let [above, below] = layout
                    .inside_rows(row)
                    .map(|line| grid.groups.iter().take_while(|g| g.at[0] < line).count());
                let mut col = 0;
                while col < grid.size[1] {
                    ahead.fetch(simd);
                    let wide = cols.min(grid.size[1] - col);
                    let from = (row - self.rows[0]) * layout.row_step * row_blocks + col;
                    let [base, down, right] = grid.place;
                    let pixel = base + row * down + col * right;
                    let input = PixelInput {
                        x: &x[from..],
                        col,
                        row_step: row_blocks,
                        depth_step,
                        channels: self.channels,
                        taps: &grid.groups[above..below],
                        weight_step,
                    };
                    let out = PixelOutput {
                        y: self.out,
                        at: [pixel * channels + first, right * channels],
                        lanes,
                        add: self.add,
                    };
                    if MATRIX {
                        let matrix = matrix.as_mut().expect("the registers of a matrix");
                        match self.width {
                            1 => amx::pixels(simd, matrix, wide, input, [w0], out),
                            _ => amx::pixels(simd, matrix, wide, input, [w0, w1], out),
                        }
                    } else if self.width == 1 {
                        single(simd, wide, input, w0, out);
                    } else {
                        pair(simd, wide, input, [w0, w1], out);
                    }
                    col += wide;
                }
                row += 1;
            }
        }
    }
}

macro_rules! by_width {
    ($v:literal, $wide:expr, [$($q:literal)*], $args:tt) => {
        match $wide {
            $($q => pixels::<S, T, $v, $q> $args,)*
            _ => unreachable!("wider than the widest tile"),
        }
    };
}

#[inline(always)]
fn single<S: Simd, T: Stored>(
    simd: S,
    wide: usize,
    x: PixelInput<'_>,
    w: &[Block],
    y: PixelOutput<'_, T>,
) {
    by_width!(1, wide, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], (simd, x, [w], y));
}

#[inline(always)]
fn pair<S: Simd, T: Stored>(
    simd: S,
    wide: usize,
    x: PixelInput<'_>,
    w: [&[Block]; 2],
    y: PixelOutput<'_, T>,
) {
    by_width!(2, wide, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], (simd, x, w, y));
}
