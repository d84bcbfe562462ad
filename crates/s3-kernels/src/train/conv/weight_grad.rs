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
//! In matrix registers a part goes image by image instead ([`amx`]).
//!
//! Where the sums are large ([`LARGE_BLOCKS`]), there are no parts: pairs of lane blocks go in
//! parallel, each over the whole batch.

mod amx;
mod bf16;
mod images;

use rayon::prelude::*;

use super::geometry::{InputLayout, Pass};
use super::pack::{UnpackPanel, pack_rows};
use crate::isa::Isa;
use crate::train::arch::{Stored, dispatch};
use crate::train::scratch::{Block, with_blocks};
use crate::train::simd::{LANES, Operand, Simd, Task};
use bf16::PairLayout;
use images::{Group, Job};

/// The most parts of a batch.
const MOST_PARTS: usize = 16;

/// Images are grouped until a group has this many output pixels, to load and store sums rarely.
const GROUP_PIXELS: usize = 256;

/// Above this many blocks of sums, 1 MiB, lane blocks instead of parts of the batch go in parallel,
/// so that the sums exist once.
const LARGE_BLOCKS: usize = 16 * 1024;

/// Then images are grouped until their scratch takes this many blocks: 4 MiB.
const GROUP_BLOCKS: usize = 64 * 1024;

/// `dw = Σ x · dy`; `pass` is the forward pass with single channels, a lane of scratch holds an f32
/// or the bf16 of two pixels, and no argument is empty.
pub(in crate::train) fn run<T: Stored>(
    (isa, lane): (Isa, Operand),
    pass: &Pass,
    batch: usize,
    x: &[T],
    dy: &[T],
    dw: &mut [f32],
) {
    let gradient = gradient_layout(pass);
    let pairs = T::PAIRS.then(|| PairLayout::new(&pass.input, gradient.cols));
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
    let in_matrix = lane == Operand::Bf16Matrix && amx::serves(pass);
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
                if in_matrix {
                    with_blocks(amx::blocks(pass), |scratch| {
                        let sums = amx::Sums {
                            pass,
                            x,
                            dy,
                            dw,
                            scratch,
                        };
                        T::dispatch(isa, sums);
                    });
                } else {
                    part_sums(job, images, x, dy, dw);
                }
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
        lane: Operand::F32,
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
    pub(super) fn blocks(&self, rows: usize) -> [usize; 2] {
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
    fn pack_x<'a, T: Stored>(
        &self,
        rows: [usize; 2],
        images: impl Iterator<Item = (&'a [T], &'a mut [Block])>,
    ) {
        let layout = &self.pass.input;
        let pairs = self.pairs.as_ref().map(|p| (p, Source::X));
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
    fn pack_dy<'a, T: Stored>(
        &self,
        rows: [usize; 2],
        images: impl Iterator<Item = (&'a [T], &'a mut [Block])>,
    ) {
        let layout = &self.gradient;
        let pairs = self.pairs.as_ref().map(|p| (p, Source::Dy));
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
fn run_by_lanes<T: Stored>(job: &Job<'_>, batch: usize, x: &[T], dy: &[T], dw: &mut [f32]) {
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
fn part_sums<T: Stored>(job: &Job<'_>, images: usize, x: &[T], dy: &[T], dw: &mut [Block]) {
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

/// Which of the two is copied.
#[derive(Clone, Copy)]
enum Source {
    X,
    Dy,
}

/// Copies a strip of rows of images into scratch.
struct Pack<'a, I> {
    layout: &'a InputLayout,
    pairs: Option<(&'a PairLayout, Source)>,
    rows: [usize; 2],
    images: I,
}

impl<'a, T: Stored, I: Iterator<Item = (&'a [T], &'a mut [Block])>> Task for Pack<'_, I> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (from, to) in self.images {
            match self.pairs {
                None => pack_rows(self.layout, from, self.rows[0], self.rows[1], to),
                Some((pairs, Source::X)) => pairs.pack_x(self.layout, from, self.rows, to),
                Some((pairs, Source::Dy)) => pairs.pack_dy(self.layout, from, self.rows, to),
            }
        }
    }
}
