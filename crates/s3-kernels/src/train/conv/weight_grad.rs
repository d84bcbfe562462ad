//! Drives backward-weight: parts of the batch in parallel, their sums added in order.
//!
//! ```text
//! for a part of the batch (parallel; the number of parts depends on the shape alone)
//!   for a group of images, a strip of rows
//!     copy their activations and output gradients into scratch
//!     for a pair of lane blocks, a channel block, a chunk of rows that stays in cache, a tap
//!       for each tile of channels: multiply and add over the chunk's pixels
//! dw = Σ parts
//! ```
//!
//! Where the sums are large ([`LARGE_BLOCKS`]), there are no parts: pairs of lane blocks go in
//! parallel, each over the whole batch.

use rayon::prelude::*;

use super::geometry::{InputLayout, Pass, TapGroup, ungroup};
use super::pack::{UnpackPanel, pack_rows};
use super::pixel_pairs::{PairInput, PairLayout, weight_pairs};
use super::tile::{WeightInput, weights};
use crate::dispatch::Isa;
use crate::train::ahead::Ahead;
use crate::train::arch::{LANES, Lane, Simd, Task, dispatch};
use crate::train::element::Element;
use crate::train::scratch::{Block, with_blocks};

/// The most parts of a batch.
const MOST_PARTS: usize = 16;

/// Images are grouped until a group has this many output pixels, to load and store sums rarely.
const GROUP_PIXELS: usize = 256;

/// Pixels of a chunk of rows: their gradients and activations stay in the first-level cache while
/// every tap reads them.
const CHUNK_PIXELS: usize = 128;

/// Above this many blocks of sums, 1 MiB, lane blocks instead of parts of the batch go in parallel,
/// so that the sums exist once.
const LARGE_BLOCKS: usize = 16 * 1024;

/// Then images are grouped until their scratch takes this many blocks: 4 MiB.
const GROUP_BLOCKS: usize = 64 * 1024;

/// What every part of the work needs to know.
struct Job<'a> {
    isa: Isa,
    pass: &'a Pass,
    /// How the output gradients lie in scratch.
    gradient: InputLayout,
    /// Where lanes hold two pixels, how those lie.
    pairs: Option<PairLayout>,
}

/// `dw = Σ x · dy`; `pass` is the forward pass with single channels, a lane of scratch holds an f32
/// or the bf16 of two pixels, and no argument is empty.
pub(in crate::train) fn run<T: Element>(
    isa: Isa,
    pass: &Pass,
    batch: usize,
    x: &[T],
    dy: &[T],
    dw: &mut [f32],
) {
    let gradient = gradient_layout(pass);
    let pairs = (!T::HOLDS_SUMS).then(|| PairLayout::new(&pass.input, gradient.cols));
    let job = &Job {
        isa,
        pass,
        gradient,
        pairs,
    };
    let map = &pass.weights;
    let panel = map.panel_blocks();
    let partial = panel * map.panels();
    if partial > LARGE_BLOCKS {
        return run_by_lanes(job, batch, x, dy, dw);
    }
    let parts = MOST_PARTS.min(batch);
    let per_part = batch.div_ceil(parts);
    let parts = batch.div_ceil(per_part);
    let (x_len, dy_len) = (x.len() / batch, dy.len() / batch);
    with_blocks(parts * partial, |partials| {
        partials
            .par_chunks_mut(partial)
            .enumerate()
            .for_each(|(part, dw)| {
                let images = per_part.min(batch - part * per_part);
                let x = &x[part * per_part * x_len..][..images * x_len];
                let dy = &dy[part * per_part * dy_len..][..images * dy_len];
                part_sums(job, images, x, dy, dw);
            });
        let partials = &*partials;
        dw.par_chunks_mut(LANES * map.lane_step)
            .enumerate()
            .for_each(|(index, dw)| {
                let panels = &partials[index * panel..];
                let step = partial;
                dispatch(
                    isa,
                    UnpackPanel {
                        map,
                        index,
                        panels,
                        step,
                        dw,
                    },
                );
            });
    });
}

/// How the output gradients lie in scratch.
fn gradient_layout(pass: &Pass) -> InputLayout {
    let [rows, cols] = pass.grids[0].size;
    InputLayout {
        lane: Lane::One,
        image: [rows, cols, pass.out_channels],
        origin: [0, 0],
        phases: 1,
        cols,
        fold: None,
        row_step: 1,
        reach: 1,
    }
}

impl Job<'_> {
    /// Blocks of `rows` grid rows of an image's activations and gradients.
    fn blocks(&self, rows: usize) -> [usize; 2] {
        let (x, dy) = (&self.pass.input, &self.gradient);
        match &self.pairs {
            None => [x.blocks(rows), dy.blocks(rows)],
            Some(p) => [
                x.rows(rows) * p.x_row * x.channel_blocks(),
                rows * p.dy_row * dy.channel_blocks(),
            ],
        }
    }

    /// Copies rows of images of activations into scratch.
    fn pack_x<'a, T: Element>(
        &self,
        rows: [usize; 2],
        images: impl Iterator<Item = (&'a [T], &'a mut [Block])>,
    ) {
        let layout = &self.pass.input;
        let pairs = self.pairs.as_ref().map(|p| (p, Operand::X));
        dispatch(
            self.isa,
            Pack {
                layout,
                pairs,
                rows,
                images,
            },
        );
    }

    /// Copies rows of images of gradients into scratch.
    fn pack_dy<'a, T: Element>(
        &self,
        rows: [usize; 2],
        images: impl Iterator<Item = (&'a [T], &'a mut [Block])>,
    ) {
        let layout = &self.gradient;
        let pairs = self.pairs.as_ref().map(|p| (p, Operand::Dy));
        dispatch(
            self.isa,
            Pack {
                layout,
                pairs,
                rows,
                images,
            },
        );
    }
}

/// `dw = Σ x · dy` with pairs of lane blocks in parallel.
fn run_by_lanes<T: Element>(job: &Job<'_>, batch: usize, x: &[T], dy: &[T], dw: &mut [f32]) {
    let (isa, pass) = (job.isa, job.pass);
    let map = &pass.weights;
    let panel = map.panel_blocks();
    let all_rows = pass.grids[0].size[0];
    let strip = pass.input.strip(all_rows);
    let per_image = job.blocks(strip);
    let group = (GROUP_BLOCKS / (per_image[0] + per_image[1])).clamp(1, batch);
    let group = batch.div_ceil(batch.div_ceil(group));
    let (x_len, dy_len) = (x.len() / batch, dy.len() / batch);
    with_blocks(panel * map.panels(), |sums| {
        with_blocks(group * (per_image[0] + per_image[1]), |scratch| {
            for first in (0..batch).step_by(group) {
                let images = group.min(batch - first);
                let x = &x[first * x_len..][..images * x_len];
                let dy = &dy[first * dy_len..][..images * dy_len];
                for start in (0..all_rows).step_by(strip) {
                    let rows = [start, strip.min(all_rows - start)];
                    let (x_scratch, dy_scratch) = scratch.split_at_mut(images * per_image[0]);
                    let [x_image, dy_image] = job.blocks(rows[1]);
                    let x_scratch = &mut x_scratch[..images * x_image];
                    let dy_scratch = &mut dy_scratch[..images * dy_image];
                    x_scratch
                        .par_chunks_mut(x_image)
                        .zip(x.par_chunks(x_len))
                        .for_each(|(to, from)| job.pack_x(rows, std::iter::once((from, to))));
                    dy_scratch
                        .par_chunks_mut(dy_image)
                        .zip(dy.par_chunks(dy_len))
                        .for_each(|(to, from)| job.pack_dy(rows, std::iter::once((from, to))));
                    let (x_scratch, dy_scratch) = (&*x_scratch, &*dy_scratch);
                    let last = first + images == batch && start + strip >= all_rows;
                    sums.par_chunks_mut(2 * panel)
                        .zip(dw.par_chunks_mut(2 * LANES * map.lane_step))
                        .enumerate()
                        .for_each(|(pair, (sums, dw))| {
                            let lane_blocks = [2 * pair, 2 * pair + sums.len() / panel];
                            let group = Group::<T> {
                                job,
                                images,
                                rows,
                                lane_blocks,
                                next: [&[], &[]],
                                x_scratch,
                                dy_scratch,
                                dw: sums,
                                add: first > 0 || start > 0,
                            };
                            group.run();
                            if last {
                                let dw = dw.chunks_mut(LANES * map.lane_step);
                                for (i, (sum, dw)) in sums.chunks(panel).zip(dw).enumerate() {
                                    let index = lane_blocks[0] + i;
                                    let (panels, step) = (sum, panel);
                                    dispatch(
                                        isa,
                                        UnpackPanel {
                                            map,
                                            index,
                                            panels,
                                            step,
                                            dw,
                                        },
                                    );
                                }
                            }
                        });
                }
            }
        });
    });
}

/// The sums over one part, in packed layout.
fn part_sums<T: Element>(job: &Job<'_>, images: usize, x: &[T], dy: &[T], dw: &mut [Block]) {
    let (pass, gradient) = (job.pass, &job.gradient);
    let rows = pass.grids[0].size[0];
    let (x_len, dy_len) = (x.len() / images, dy.len() / images);
    let lane_blocks = [0, pass.weights.panels()];
    let strip = pass.input.strip(rows);
    let group = GROUP_PIXELS.div_ceil(strip * gradient.cols).min(images);
    let group = if strip < rows {
        1
    } else {
        images.div_ceil(images.div_ceil(group))
    };
    let [x_blocks, dy_blocks] = job.blocks(strip).map(|blocks| group * blocks);
    with_blocks(x_blocks + dy_blocks, |scratch| {
        let (x_scratch, dy_scratch) = scratch.split_at_mut(x_blocks);
        let mut add = false;
        for first in (0..images).step_by(group) {
            let count = group.min(images - first);
            let (x, dy) = (&x[first * x_len..], &dy[first * dy_len..]);
            for start in (0..rows).step_by(strip) {
                let rows = [start, strip.min(rows - start)];
                let [x_image, dy_image] = job.blocks(rows[1]);
                let x_images = x.chunks(x_len).zip(x_scratch.chunks_mut(x_image));
                let dy_images = dy.chunks(dy_len).zip(dy_scratch.chunks_mut(dy_image));
                job.pack_x(rows, x_images.take(count));
                job.pack_dy(rows, dy_images.take(count));
                let next = if count == 1 {
                    [
                        pass.input.upcoming(x, start + strip, strip),
                        gradient.upcoming(dy, start + strip, strip),
                    ]
                } else {
                    let [x, dy] = [(x, x_len), (dy, dy_len)].map(|(z, len)| &z[count * len..]);
                    [
                        &x[..x.len().min(count * x_len)],
                        &dy[..dy.len().min(count * dy_len)],
                    ]
                };
                let group = Group {
                    job,
                    images: count,
                    rows,
                    lane_blocks,
                    next,
                    x_scratch,
                    dy_scratch,
                    dw,
                    add,
                };
                group.run();
                add = true;
            }
        }
    });
}

/// Which of the two operands.
#[derive(Clone, Copy)]
enum Operand {
    X,
    Dy,
}

/// Copies a strip of rows of images into scratch.
struct Pack<'a, I> {
    layout: &'a InputLayout,
    pairs: Option<(&'a PairLayout, Operand)>,
    rows: [usize; 2],
    images: I,
}

impl<'a, T: Element, I: Iterator<Item = (&'a [T], &'a mut [Block])>> Task for Pack<'_, I> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (from, to) in self.images {
            match self.pairs {
                None => pack_rows(self.layout, from, self.rows[0], self.rows[1], to),
                Some((pairs, Operand::X)) => pairs.pack_x(self.layout, from, self.rows, to),
                Some((pairs, Operand::Dy)) => pairs.pack_dy(self.layout, from, self.rows, to),
            }
        }
    }
}

/// One strip of rows of a group of images, in scratch.
struct Group<'a, T> {
    job: &'a Job<'a>,
    images: usize,
    rows: [usize; 2],
    /// Lane blocks, from and to; `dw` holds theirs.
    lane_blocks: [usize; 2],
    /// The inputs that will be packed after these, if there are any.
    next: [&'a [T]; 2],
    x_scratch: &'a [Block],
    dy_scratch: &'a [Block],
    dw: &'a mut [Block],
    /// Whether to add to what `dw` holds.
    add: bool,
}

impl<T: Element> Group<'_, T> {
    fn run(self) {
        // Compiled for the one or the other.
        if T::HOLDS_SUMS {
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

impl<T: Element> Task for SingleGroup<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SingleGroup(mut group) = self;
        let (pass, cols) = (group.job.pass, group.job.gradient.cols);
        // Three taps together need three gradients, besides the sums, in registers.
        let taps = &*ungroup(&pass.grids[0].groups, S::ACCUMULATORS >= 24);
        let most = if S::ACCUMULATORS >= 16 { 2 } else { 1 };
        let tiles = SingleTiles {
            simd,
            ahead: Ahead::new(group.next, group.steps(taps, most)),
            scratch: [group.x_scratch, group.dy_scratch],
            cols,
        };
        group.walk(taps, most, tiles);
    }
}

struct SingleTiles<'a, S, T> {
    simd: S,
    ahead: Ahead<'a, T>,
    scratch: [&'a [Block]; 2],
    cols: usize,
}

impl<S: Simd, T: Element> Tiles for SingleTiles<'_, S, T> {
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

impl<T: Element> Task for PairGroup<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PairGroup(layout, mut group) = self;
        let pass = group.job.pass;
        let taps = &*pass.grids[0].groups;
        let tiles = PairTiles {
            simd,
            ahead: Ahead::new(group.next, group.steps(taps, 2)),
            scratch: [group.x_scratch, group.dy_scratch],
            layout,
            cols: pass.input.cols,
        };
        group.walk(taps, 2, tiles);
    }
}

struct PairTiles<'a, S, T> {
    simd: S,
    ahead: Ahead<'a, T>,
    scratch: [&'a [Block]; 2],
    layout: &'a PairLayout,
    /// Scratch columns of a remainder, before they are paired.
    cols: usize,
}

impl<S: Simd, T: Element> Tiles for PairTiles<'_, S, T> {
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
    ($name:ident, $tile:ident, $input:ident, $v:literal lane blocks, $k:literal taps, [$($c:literal)*]) => {
        #[inline(always)]
        fn $name<S: Simd, T>(
            simd: S,
            ahead: &mut Ahead<'_, T>,
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

by_width!(single, weights, WeightInput, 1 lane blocks, 1 taps, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]);
by_width!(pair, weights, WeightInput, 2 lane blocks, 1 taps, [1 2 3 4 5 6 7 8]);
by_width!(single_of_three, weights, WeightInput, 1 lane blocks, 3 taps, [1 2 3 4 5 6 7 8]);
by_width!(pair_of_three, weights, WeightInput, 2 lane blocks, 3 taps, [1 2 3 4]);

by_width!(pixels_1x1, weight_pairs, PairInput, 1 lane blocks, 1 taps, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]);
by_width!(pixels_1x2, weight_pairs, PairInput, 1 lane blocks, 2 taps, [1 2 3 4 5 6 7 8]);
by_width!(pixels_1x3, weight_pairs, PairInput, 1 lane blocks, 3 taps, [1 2 3 4 5 6 7 8]);
by_width!(pixels_2x1, weight_pairs, PairInput, 2 lane blocks, 1 taps, [1 2 3 4 5 6 7 8]);
by_width!(pixels_2x2, weight_pairs, PairInput, 2 lane blocks, 2 taps, [1 2 3 4]);
by_width!(pixels_2x3, weight_pairs, PairInput, 2 lane blocks, 3 taps, [1 2 3 4]);
