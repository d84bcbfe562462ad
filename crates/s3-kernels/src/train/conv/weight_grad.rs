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

use rayon::prelude::*;

use super::geometry::{InputLayout, Pass, ungroup};
use super::pack::pack_rows;
use super::tile::{WeightInput, weights};
use crate::dispatch::Isa;
use crate::train::arch::{Ahead, LANES, Simd, Task, dispatch};
use crate::train::scratch::{Block, with_blocks};

/// The most parts of a batch.
const MOST_PARTS: usize = 16;

/// Blocks that the sums of all parts may take together, if more than two: 16 MiB.
const PARTS_BLOCKS: usize = 256 * 1024;

/// Images are grouped until a group has this many output pixels, to load and store sums rarely.
const GROUP_PIXELS: usize = 256;

/// Pixels of a chunk of rows: their gradients and activations stay in the first-level cache while
/// every tap reads them.
const CHUNK_PIXELS: usize = 128;

/// `dw = Σ x · dy`; `pass` is the forward pass, and no argument is empty.
pub(super) fn run(isa: Isa, pass: &Pass, batch: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let map = &pass.weights;
    let partial = map.panel_blocks() * map.panels();
    let parts = (PARTS_BLOCKS / partial).clamp(2, MOST_PARTS).min(batch);
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
            .for_each(|(i, dw)| map.unpack_panel(i, partials, dw));
    });
}

/// The sums over one part, in packed layout.
fn part_sums(isa: Isa, pass: &Pass, images: usize, x: &[f32], dy: &[f32], dw: &mut [Block]) {
    let [rows, cols] = pass.grids[0].size;
    let (x_len, dy_len) = (x.len() / images, dy.len() / images);
    let group = GROUP_PIXELS.div_ceil(pass.out_pixels).min(images);
    let group = images.div_ceil(images.div_ceil(group));
    let strip = pass.input.strip(rows);
    let gradient = InputLayout {
        image: [rows, cols, pass.out_channels],
        origin: [0, 0],
        phases: 1,
        cols,
        fold: None,
        row_step: 1,
        reach: 1,
    };
    let x_blocks = group * pass.input.blocks(strip);
    let dy_blocks = group * gradient.blocks(strip);
    with_blocks(x_blocks + dy_blocks, |scratch| {
        let (x_scratch, dy_scratch) = scratch.split_at_mut(x_blocks);
        let mut add = false;
        let (mut x_rest, mut dy_rest) = (x, dy);
        while !x_rest.is_empty() {
            let count = group.min(x_rest.len() / x_len);
            let (x, dy);
            (x, x_rest) = x_rest.split_at(count * x_len);
            (dy, dy_rest) = dy_rest.split_at(count * dy_len);
            for start in (0..rows).step_by(strip) {
                let group = Group {
                    pass,
                    gradient: &gradient,
                    images: count,
                    rows: [start, strip.min(rows - start)],
                    x,
                    dy,
                    next: if start + strip < rows {
                        [&[], &[]]
                    } else {
                        [
                            &x_rest[..x.len().min(x_rest.len())],
                            &dy_rest[..dy.len().min(dy_rest.len())],
                        ]
                    },
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

/// One strip of rows of a group of images.
struct Group<'a> {
    pass: &'a Pass,
    gradient: &'a InputLayout,
    images: usize,
    rows: [usize; 2],
    x: &'a [f32],
    dy: &'a [f32],
    /// The inputs that will be packed after these, if there are any.
    next: [&'a [f32]; 2],
    x_scratch: &'a mut [Block],
    dy_scratch: &'a mut [Block],
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
            x,
            dy,
            next,
            x_scratch,
            dy_scratch,
            dw,
            add,
        } = self;
        let layout = &pass.input;
        let [x_image, dy_image] = [layout, gradient].map(|l| l.blocks(rows[1]));
        let (x_len, dy_len) = (x.len() / images, dy.len() / images);
        let mut places = [[0; 2]; CHUNK_PIXELS];
        for i in 0..images {
            let to = &mut x_scratch[i * x_image..][..x_image];
            pack_rows(layout, &x[i * x_len..][..x_len], rows[0], rows[1], to);
            let to = &mut dy_scratch[i * dy_image..][..dy_image];
            pack_rows(gradient, &dy[i * dy_len..][..dy_len], rows[0], rows[1], to);
        }
        let cols = gradient.cols;
        let [x_step, dy_step] = [layout, gradient].map(|l| l.rows(rows[1]) * l.row_blocks());
        let (panel, lane_blocks) = (pass.weights.panel_blocks(), pass.weights.panels());
        let weights = pass.weights.tap.len();
        // Three taps together need three gradients, besides the sums, in registers.
        let taps = &*ungroup(&pass.grids[0].groups, S::ACCUMULATORS >= 24);
        let most = if S::ACCUMULATORS >= 16 { 2 } else { 1 };
        let per_chunk = (CHUNK_PIXELS / cols).clamp(1, CHUNK_PIXELS);
        let all = images * rows[1];
        let mut ahead = Ahead::new(next, all.div_ceil(per_chunk) * taps.len());
        let mut lane_block = 0;
        while lane_block < lane_blocks {
            let width = most.min(lane_blocks - lane_block);
            let (w0, w1) = dw[lane_block * panel..][..width * panel].split_at_mut(panel);
            for block in 0..layout.channel_blocks() {
                let channels = (layout.channels() - block * LANES).min(LANES);
                let mut row = 0;
                while row < all {
                    let count = per_chunk.min(all - row);
                    for tap in taps {
                        ahead.fetch(simd);
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
                                [1, 1] => single(simd, wide, input, [&mut *w0], [t0]),
                                [1, _] => {
                                    single_of_three(simd, wide, input, [&mut *w0], [t0, t1, t2]);
                                }
                                [_, 1] => pair(simd, wide, input, [&mut *w0, &mut *w1], [t0]),
                                _ => pair_of_three(
                                    simd,
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
            wide: usize,
            input: WeightInput<'_>,
            mut dw: [&mut [Block]; $v],
            taps: [usize; $k],
        ) {
            match wide {
                $($c => weights::<S, $v, $c, $k>(simd, input, &mut dw, taps),)*
                _ => unreachable!("wider than the widest tile"),
            }
        }
    };
}

by_width!(single, 1 lane blocks, 1 taps, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]);
by_width!(pair, 2 lane blocks, 1 taps, [1 2 3 4 5 6 7 8]);
by_width!(single_of_three, 1 lane blocks, 3 taps, [1 2 3 4 5 6 7 8]);
by_width!(pair_of_three, 2 lane blocks, 3 taps, [1 2 3 4]);
