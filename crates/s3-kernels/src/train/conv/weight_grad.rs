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

use super::geometry::{InputLayout, Pass, ungroup};
use super::pack::{UnpackPanel, pack_rows};
use super::tile::{WeightInput, weights};
use crate::dispatch::Isa;
use crate::train::ahead::Ahead;
use crate::train::arch::{LANES, Simd, Task, dispatch};
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

/// `dw = Σ x · dy`; `pass` is the forward pass, and no argument is empty.
pub(super) fn run(isa: Isa, pass: &Pass, batch: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let map = &pass.weights;
    let panel = map.panel_blocks();
    let partial = panel * map.panels();
    if partial > LARGE_BLOCKS {
        return run_by_lanes(isa, pass, batch, x, dy, dw);
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
                part_sums(isa, pass, images, x, dy, dw);
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
        image: [rows, cols, pass.out_channels],
        origin: [0, 0],
        phases: 1,
        cols,
        fold: None,
        row_step: 1,
        reach: 1,
    }
}

/// `dw = Σ x · dy` with pairs of lane blocks in parallel.
fn run_by_lanes(isa: Isa, pass: &Pass, batch: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let map = &pass.weights;
    let panel = map.panel_blocks();
    let gradient = &gradient_layout(pass);
    let all_rows = pass.grids[0].size[0];
    let strip = pass.input.strip(all_rows);
    let per_image = [pass.input.blocks(strip), gradient.blocks(strip)];
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
                    let pack = |layout: &InputLayout, from: &[f32], to: &mut [Block]| {
                        to.par_chunks_mut(layout.blocks(rows[1]))
                            .zip(from.par_chunks(from.len() / images))
                            .for_each(|(to, from)| {
                                let images = [(from, to)];
                                dispatch(
                                    isa,
                                    Pack {
                                        layout,
                                        rows,
                                        images,
                                    },
                                );
                            });
                    };
                    let x_scratch = &mut x_scratch[..images * pass.input.blocks(rows[1])];
                    let dy_scratch = &mut dy_scratch[..images * gradient.blocks(rows[1])];
                    pack(&pass.input, x, x_scratch);
                    pack(gradient, dy, dy_scratch);
                    let (x_scratch, dy_scratch) = (&*x_scratch, &*dy_scratch);
                    let last = first + images == batch && start + strip >= all_rows;
                    sums.par_chunks_mut(2 * panel)
                        .zip(dw.par_chunks_mut(2 * LANES * map.lane_step))
                        .enumerate()
                        .for_each(|(pair, (sums, dw))| {
                            let lane_blocks = [2 * pair, 2 * pair + sums.len() / panel];
                            let group = Group {
                                pass,
                                gradient,
                                images,
                                rows,
                                lane_blocks,
                                next: [&[], &[]],
                                x_scratch,
                                dy_scratch,
                                dw: sums,
                                add: first > 0 || start > 0,
                            };
                            dispatch(isa, group);
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
fn part_sums(isa: Isa, pass: &Pass, images: usize, x: &[f32], dy: &[f32], dw: &mut [Block]) {
    let rows = pass.grids[0].size[0];
    let (x_len, dy_len) = (x.len() / images, dy.len() / images);
    let gradient = gradient_layout(pass);
    let lane_blocks = [0, pass.weights.panels()];
    let strip = pass.input.strip(rows);
    let group = GROUP_PIXELS.div_ceil(strip * gradient.cols).min(images);
    let group = if strip < rows {
        1
    } else {
        images.div_ceil(images.div_ceil(group))
    };
    let x_blocks = group * pass.input.blocks(strip);
    let dy_blocks = group * gradient.blocks(strip);
    with_blocks(x_blocks + dy_blocks, |scratch| {
        let (x_scratch, dy_scratch) = scratch.split_at_mut(x_blocks);
        let mut add = false;
        for first in (0..images).step_by(group) {
            let count = group.min(images - first);
            let (x, dy) = (&x[first * x_len..], &dy[first * dy_len..]);
            for start in (0..rows).step_by(strip) {
                let rows = [start, strip.min(rows - start)];
                let [x_image, dy_image] = [&pass.input, &gradient].map(|l| l.blocks(rows[1]));
                let x_images = x.chunks(x_len).zip(x_scratch.chunks_mut(x_image));
                let dy_images = dy.chunks(dy_len).zip(dy_scratch.chunks_mut(dy_image));
                dispatch(
                    isa,
                    Pack {
                        layout: &pass.input,
                        rows,
                        images: x_images.take(count),
                    },
                );
                dispatch(
                    isa,
                    Pack {
                        layout: &gradient,
                        rows,
                        images: dy_images.take(count),
                    },
                );
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
                    pass,
                    gradient: &gradient,
                    images: count,
                    rows,
                    lane_blocks,
                    next,
                    x_scratch,
                    dy_scratch,
                    dw,
                    add,
                };
                dispatch(isa, group);
                add = true;
            }
        }
    });
}

/// Copies a strip of rows of images into scratch.
struct Pack<'a, I> {
    layout: &'a InputLayout,
    rows: [usize; 2],
    images: I,
}

impl<'a, I: IntoIterator<Item = (&'a [f32], &'a mut [Block])>> Task for Pack<'_, I> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (from, to) in self.images {
            pack_rows(self.layout, from, self.rows[0], self.rows[1], to);
        }
    }
}

/// One strip of rows of a group of images, in scratch.
struct Group<'a> {
    pass: &'a Pass,
    gradient: &'a InputLayout,
    images: usize,
    rows: [usize; 2],
    /// Lane blocks, from and to; `dw` holds theirs.
    lane_blocks: [usize; 2],
    /// The inputs that will be packed after these, if there are any.
    next: [&'a [f32]; 2],
    x_scratch: &'a [Block],
    dy_scratch: &'a [Block],
    dw: &'a mut [Block],
    /// Whether to add to what `dw` holds.
    add: bool,
}

impl Task for Group<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Group {
            pass,
            gradient,
            images,
            rows,
            lane_blocks,
            next,
            x_scratch,
            dy_scratch,
            dw,
            add,
        } = self;
        let layout = &pass.input;
        let [x_image, dy_image] = [layout, gradient].map(|l| l.blocks(rows[1]));
        let mut places = [[0; 2]; CHUNK_PIXELS];
        let cols = gradient.cols;
        let [x_step, dy_step] = [layout, gradient].map(|l| l.rows(rows[1]) * l.row_blocks());
        let panel = pass.weights.panel_blocks();
        let weights = pass.weights.tap.len();
        // Three taps together need three gradients, besides the sums, in registers.
        let taps = &*ungroup(&pass.grids[0].groups, S::ACCUMULATORS >= 24);
        let most = if S::ACCUMULATORS >= 16 { 2 } else { 1 };
        let per_chunk = (CHUNK_PIXELS / cols).clamp(1, CHUNK_PIXELS);
        let all = images * rows[1];
        let [first, end] = lane_blocks;
        // As many as there are calls of a tile, times its rows, or fewer.
        let steps = all * taps.len() * layout.channel_blocks() * (end - first).div_ceil(most);
        let mut ahead = Ahead::new(next, steps);
        let mut lane_block = first;
        while lane_block < end {
            let width = most.min(end - lane_block);
            let (w0, w1) = dw[(lane_block - first) * panel..][..width * panel].split_at_mut(panel);
            for block in 0..layout.channel_blocks() {
                let channels = (layout.channels() - block * LANES).min(LANES);
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
                                    image * x_image + line * layout.row_step * layout.row_blocks(),
                                    image * dy_image + line * cols,
                                ];
                                inside += 1;
                            }
                        }
                        let at = tap.at;
                        let most = match [width, tap.count] {
                            [1, 1] => 16,
                            [2, 3] => 4,
                            _ => 8,
                        };
                        let limit = most.min(S::ACCUMULATORS / (width * tap.count)).max(1);
                        let step = channels.div_ceil(channels.div_ceil(limit));
                        let place = |tap: usize| (block * weights + tap) * LANES;
                        let mut channel = 0;
                        while channel < channels {
                            let wide = step.min(channels - channel);
                            let input = WeightInput {
                                x: x_scratch,
                                dy: dy_scratch,
                                rows: &places[..inside],
                                cols,
                                inside: tap.inside.map(|block| block.saturating_sub(at[1])),
                                x_offset: block * x_step + at[0] * layout.row_blocks() + at[1],
                                dy_offset: [lane_block * dy_step, (lane_block + 1) * dy_step],
                                channel,
                                add: add || row > 0,
                            };
                            let [t0, t1, t2] = tap.weights.map(place);
                            match [width, tap.count] {
                                [1, 1] => single(simd, &mut ahead, wide, input, [&mut *w0], [t0]),
                                [1, _] => {
                                    single_of_three(
                                        simd,
                                        &mut ahead,
                                        wide,
                                        input,
                                        [&mut *w0],
                                        [t0, t1, t2],
                                    );
                                }
                                [_, 1] => {
                                    pair(simd, &mut ahead, wide, input, [&mut *w0, &mut *w1], [t0])
                                }
                                _ => pair_of_three(
                                    simd,
                                    &mut ahead,
                                    wide,
                                    input,
                                    [&mut *w0, &mut *w1],
                                    [t0, t1, t2],
                                ),
                            }
                            channel += wide;
                        }
                    }
                    row += count;
                }
            }
            lane_block += width;
        }
    }
}

/// A function that calls the tile of a width known at run time.
macro_rules! by_width {
    ($name:ident, $v:literal lane blocks, $k:literal taps, [$($c:literal)*]) => {
        #[inline(always)]
        fn $name<S: Simd>(
            simd: S,
            ahead: &mut Ahead<'_>,
            wide: usize,
            input: WeightInput<'_>,
            mut dw: [&mut [Block]; $v],
            taps: [usize; $k],
        ) {
            match wide {
                $($c => weights::<S, $v, $c, $k>(simd, ahead, input, &mut dw, taps),)*
                _ => unreachable!("wider than the widest tile"),
            }
        }
    };
}

by_width!(single, 1 lane blocks, 1 taps, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]);
by_width!(pair, 2 lane blocks, 1 taps, [1 2 3 4 5 6 7 8]);
by_width!(single_of_three, 1 lane blocks, 3 taps, [1 2 3 4 5 6 7 8]);
by_width!(pair_of_three, 2 lane blocks, 3 taps, [1 2 3 4]);
