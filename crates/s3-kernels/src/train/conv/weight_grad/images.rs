//! The inner loops of backward-weight: a group of images in scratch, chunk by chunk, tap by tap, in
//! register tiles as wide as the registers allow.

use super::bf16::{PairInput, PairLayout, weight_pairs};
use crate::isa::Isa;
use crate::train::arch::Stored;
use crate::train::conv::geometry::{InputLayout, Pass, TapGroup, ungroup};
use crate::train::conv::tile::{WeightInput, weights};
use crate::train::prefetch::Prefetch;
use crate::train::scratch::Block;
use crate::train::simd::{LANES, Simd, Task};

/// Pixels of a chunk of rows: their gradients and activations stay in the first-level cache while
/// every tap reads them.
const CHUNK_PIXELS: usize = 128;

/// What every part of the work needs to know.
pub(super) struct Job<'a> {
    pub(super) isa: Isa,
    pub(super) pass: &'a Pass,
    /// How the output gradients lie in scratch.
    pub(super) gradient: InputLayout,
    /// Where lanes hold two pixels, how those lie.
    pub(super) pairs: Option<PairLayout>,
}

/// One strip of rows of a group of images, in scratch.
pub(super) struct Group<'a, T> {
    pub(super) job: &'a Job<'a>,
    pub(super) images: usize,
    pub(super) rows: [usize; 2],
    /// Operand blocks, from and to; `dw` holds theirs.
    pub(super) lane_blocks: [usize; 2],
    /// The inputs that will be packed after these, if there are any.
    pub(super) next: [&'a [T]; 2],
    pub(super) x_scratch: &'a [Block],
    pub(super) dy_scratch: &'a [Block],
    pub(super) dw: &'a mut [Block],
    /// Whether to add to what `dw` holds.
    pub(super) add: bool,
}

impl<T: Stored> Group<'_, T> {
    pub(super) fn run(self) {
        // Compiled for the one or the other.
        if !T::PAIRS {
            T::dispatch(self.job.isa, SingleGroup(self));
        } else if let Some(layout) = &self.job.pairs {
            T::dispatch(self.job.isa, PairGroup(layout, self));
        }
    }

    /// Hands every lane block or two, channel block, chunk of rows and tap to `tiles`.
    #[inline(always)]
    fn walk(&mut self, taps: &[TapGroup], most: usize, mut tiles: impl Tiles) {
        let Job {
            pass,
            gradient,
            pairs,
            ..
        } = self.job;
        let layout = &pass.input;
        let (images, rows) = (self.images, self.rows);
        let [x_image, dy_image] = self.job.blocks(rows[1]);
        let [x_row, dy_row] = match pairs {
            None => [layout.row_blocks(), gradient.cols],
            Some(p) => [p.x_row, p.dy_row],
        };
        let [x_step, dy_step] = [layout.rows(rows[1]) * x_row, rows[1] * dy_row];
        let mut places = [[0; 2]; CHUNK_PIXELS];
        let panel = pass.weights.panel_blocks();
        let weights = pass.weights.tap.len();
        let per_chunk = (CHUNK_PIXELS / gradient.cols).clamp(1, CHUNK_PIXELS);
        let all = images * rows[1];
        let [first, end] = self.lane_blocks;
        let mut lane_block = first;
        while lane_block < end {
            let width = most.min(end - lane_block);
            let dw = &mut self.dw[(lane_block - first) * panel..][..width * panel];
            for block in 0..layout.channel_blocks() {
                let mut row = 0;
                while row < all {
                    let count = per_chunk.min(all - row);
                    for tap in taps {
                        // Rows at which the tap reads padding add nothing.
                        let mut inside = 0;
                        for i in row..row + count {
                            let (image, line) = (i / rows[1], i % rows[1]);
                            let [above, below] = layout.inside_rows(rows[0] + line);
                            if (above..below).contains(&tap.at[0]) {
                                places[inside] = [
                                    image * x_image + line * layout.row_step * x_row,
                                    image * dy_image + line * dy_row,
                                ];
                                inside += 1;
                            }
                        }
                        tiles.run(Tile {
                            tap,
                            rows: &places[..inside],
                            channels: (layout.channels() - block * LANES).min(LANES),
                            x_offset: block * x_step + tap.at[0] * x_row,
                            dy_offset: [lane_block * dy_step, (lane_block + 1) * dy_step],
                            dw: &mut *dw,
                            panel,
                            places: tap.weights.map(|tap| (block * weights + tap) * LANES),
                            add: self.add || row > 0,
                        });
                    }
                    row += count;
                }
            }
            lane_block += width;
        }
    }

    /// As many as there are calls of a tile, times its rows, or fewer.
    fn steps(&self, taps: &[TapGroup], most: usize) -> usize {
        let [first, end] = self.lane_blocks;
        let rows = self.images * self.rows[1];
        let blocks = self.job.pass.input.channel_blocks() * (end - first).div_ceil(most);
        rows * taps.len() * blocks
    }
}

/// One or two lane blocks, one channel block, one chunk of rows, one group of taps.
struct Tile<'a> {
    tap: &'a TapGroup,
    /// For each row that the taps read its first block in `x` and in `dy`.
    rows: &'a [[usize; 2]],
    /// Channels of the block.
    channels: usize,
    /// Blocks to add to a row's place in `x`: the channel block's and the tap row's.
    x_offset: usize,
    /// And in `dy`: the lane blocks'.
    dy_offset: [usize; 2],
    /// The sums of the lane blocks, one panel each.
    dw: &'a mut [Block],
    panel: usize,
    /// Where in a panel each tap's sums are.
    places: [usize; 3],
    add: bool,
}

/// What runs the register tiles of a [`Tile`]. Not a closure: one that is not inlined would be
/// compiled for the baseline.
trait Tiles {
    /// Implementations are `#[inline(always)]`.
    fn run(&mut self, tile: Tile<'_>);
}

/// Lanes of one pixel.
struct SingleGroup<'a, T>(Group<'a, T>);

impl<T: Stored> Task for SingleGroup<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SingleGroup(mut group) = self;
        let (pass, cols) = (group.job.pass, group.job.gradient.cols);
        // Three taps together need three gradients, besides the sums, in registers.
        let taps = &*ungroup(&pass.grids[0].groups, S::ACCUMULATORS >= 24);
        let most = if S::ACCUMULATORS >= 16 { 2 } else { 1 };
        let tiles = SingleTiles {
            simd,
            ahead: Prefetch::new(group.next, group.steps(taps, most)),
            scratch: [group.x_scratch, group.dy_scratch],
            cols,
        };
        group.walk(taps, most, tiles);
    }
}

struct SingleTiles<'a, S, T> {
    simd: S,
    ahead: Prefetch<'a, T>,
    scratch: [&'a [Block]; 2],
    cols: usize,
}

impl<S: Simd, T: Stored> Tiles for SingleTiles<'_, S, T> {
    #[inline(always)]
    fn run(&mut self, tile: Tile<'_>) {
        let (simd, ahead) = (self.simd, &mut self.ahead);
        let (tap, at) = (tile.tap, tile.tap.at);
        let width = tile.dw.len() / tile.panel;
        let most = match [width, tap.count] {
            [1, 1] => 16,
            [2, 3] => 4,
            _ => 8,
        };
        let limit = most.min(S::ACCUMULATORS / (width * tap.count)).max(1);
        let step = tile.channels.div_ceil(tile.channels.div_ceil(limit));
        let (w0, w1) = tile.dw.split_at_mut(tile.panel);
        let [t0, t1, t2] = tile.places;
        let mut channel = 0;
        while channel < tile.channels {
            let wide = step.min(tile.channels - channel);
            let input = WeightInput {
                x: self.scratch[0],
                dy: self.scratch[1],
                rows: tile.rows,
                cols: self.cols,
                inside: tap.inside.map(|block| block.saturating_sub(at[1])),
                x_offset: tile.x_offset + at[1],
                dy_offset: tile.dy_offset,
                channel,
                add: tile.add,
            };
            match [width, tap.count] {
                [1, 1] => single(simd, ahead, wide, input, [&mut *w0], [t0]),
                [1, _] => single_of_three(simd, ahead, wide, input, [&mut *w0], [t0, t1, t2]),
                [_, 1] => pair(simd, ahead, wide, input, [&mut *w0, &mut *w1], [t0]),
                _ => {
                    let dw = [&mut *w0, &mut *w1];
                    pair_of_three(simd, ahead, wide, input, dw, [t0, t1, t2]);
                }
            }
            channel += wide;
        }
    }
}

/// Lanes of two pixels.
struct PairGroup<'a, T>(&'a PairLayout, Group<'a, T>);

impl<T: Stored> Task for PairGroup<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PairGroup(layout, mut group) = self;
        let pass = group.job.pass;
        let taps = &*pass.grids[0].groups;
        let tiles = PairTiles {
            simd,
            ahead: Prefetch::new(group.next, group.steps(taps, 2)),
            scratch: [group.x_scratch, group.dy_scratch],
            layout,
            cols: pass.input.cols,
        };
        group.walk(taps, 2, tiles);
    }
}

struct PairTiles<'a, S, T> {
    simd: S,
    ahead: Prefetch<'a, T>,
    scratch: [&'a [Block]; 2],
    layout: &'a PairLayout,
    /// Scratch columns of a remainder, before they are paired.
    cols: usize,
}

impl<S: Simd, T: Stored> Tiles for PairTiles<'_, S, T> {
    #[inline(always)]
    fn run(&mut self, tile: Tile<'_>) {
        let (simd, ahead) = (self.simd, &mut self.ahead);
        let tap = tile.tap;
        let (phase, shift) = (tap.at[1] / self.cols, tap.at[1] % self.cols);
        let width = tile.dw.len() / tile.panel;
        let limit = match [width, tap.count] {
            [1, 1] => 16,
            [1, _] | [_, 1] => 8,
            _ => 4,
        };
        let step = tile.channels.div_ceil(tile.channels.div_ceil(limit));
        let (w0, w1) = tile.dw.split_at_mut(tile.panel);
        let [t0, t1, t2] = tile.places;
        let mut channel = 0;
        while channel < tile.channels {
            let wide = step.min(tile.channels - channel);
            let input = PairInput {
                layout: self.layout,
                x: self.scratch[0],
                dy: self.scratch[1],
                rows: tile.rows,
                x_offset: tile.x_offset + phase * self.layout.pairs,
                dy_offset: tile.dy_offset,
                shift,
                channel,
                add: tile.add,
            };
            if width == 1 {
                let dw = [&mut *w0];
                match tap.count {
                    1 => pixels_1x1(simd, ahead, wide, input, dw, [t0]),
                    2 => pixels_1x2(simd, ahead, wide, input, dw, [t0, t1]),
                    _ => pixels_1x3(simd, ahead, wide, input, dw, [t0, t1, t2]),
                }
            } else {
                let dw = [&mut *w0, &mut *w1];
                match tap.count {
                    1 => pixels_2x1(simd, ahead, wide, input, dw, [t0]),
                    2 => pixels_2x2(simd, ahead, wide, input, dw, [t0, t1]),
                    _ => pixels_2x3(simd, ahead, wide, input, dw, [t0, t1, t2]),
                }
            }
            channel += wide;
        }
    }
}

/// A function that calls the tile of a width known at run time.
macro_rules! by_width {
    (
        $name:ident, $tile:ident, $input:ident, $v:literal lane blocks, $k:literal taps,
        [$($c:literal)*]
    ) => {
        #[inline(always)]
        fn $name<S: Simd, T>(
            simd: S,
            ahead: &mut Prefetch<'_, T>,
            wide: usize,
            input: $input<'_>,
            mut dw: [&mut [Block]; $v],
            taps: [usize; $k],
        ) {
            match wide {
                $($c => $tile::<S, T, $v, $c, $k>(simd, ahead, input, &mut dw, taps),)*
                _ => unreachable!("wider than the widest tile"),
            }
        }
    };
}

by_width!(
    single, weights, WeightInput, 1 lane blocks, 1 taps,
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]
);
by_width!(pair, weights, WeightInput, 2 lane blocks, 1 taps, [1 2 3 4 5 6 7 8]);
by_width!(single_of_three, weights, WeightInput, 1 lane blocks, 3 taps, [1 2 3 4 5 6 7 8]);
by_width!(pair_of_three, weights, WeightInput, 2 lane blocks, 3 taps, [1 2 3 4]);

by_width!(
    pixels_1x1, weight_pairs, PairInput, 1 lane blocks, 1 taps,
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]
);
by_width!(pixels_1x2, weight_pairs, PairInput, 1 lane blocks, 2 taps, [1 2 3 4 5 6 7 8]);
by_width!(pixels_1x3, weight_pairs, PairInput, 1 lane blocks, 3 taps, [1 2 3 4 5 6 7 8]);
by_width!(pixels_2x1, weight_pairs, PairInput, 2 lane blocks, 1 taps, [1 2 3 4 5 6 7 8]);
by_width!(pixels_2x2, weight_pairs, PairInput, 2 lane blocks, 2 taps, [1 2 3 4]);
by_width!(pixels_2x3, weight_pairs, PairInput, 2 lane blocks, 3 taps, [1 2 3 4]);
