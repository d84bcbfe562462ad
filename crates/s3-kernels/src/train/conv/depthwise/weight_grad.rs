//! Drives the gradient of a depthwise weight: parts of the batch in parallel, their sums added in
//! order.
//!
//! ```text
//! for a part of the batch (parallel; the number of parts depends on the shape alone)
//!   for an image, some rows of a run of rows, a vector of channels, a run of columns
//!     for a few of the taps that the runs meet
//!       for a pixel: multiply and add
//!       add the sums to the part's
//! dw = Σ parts, in f64
//! ```
#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays; iterator adaptors might not inline into the tile"
)]

use core::ops::Range;

use rayon::prelude::*;

use super::geometry::{Pass, Taps};
use crate::isa::Isa;
use crate::train::arch::{Walk, dispatch};
use crate::train::element::Element;
use crate::train::scratch::{Block, with_blocks};
use crate::train::simd::{LANES, Simd, Task};

/// The most parts of a batch.
const MOST_PARTS: usize = 16;

/// Elements of the rows that stay in the first-level cache for one vector of channels after the
/// other, about.
const STRIP: usize = 8 * 1024;

/// `dw = Σ x · dy`; `pass` is the forward pass, and no argument is empty.
pub(in crate::train) fn run<T: Element>(
    isa: Isa,
    pass: &Pass,
    batch: usize,
    x: &[T],
    dy: &[T],
    dw: &mut [f32],
) {
    let per_part = batch.div_ceil(MOST_PARTS);
    let lens = [x.len() / batch, dy.len() / batch];
    let vectors = pass.vectors();
    let sums = pass.kernel[1] * vectors;
    with_blocks(batch.div_ceil(per_part) * sums, |parts| {
        parts
            .par_chunks_mut(sums)
            .enumerate()
            .for_each(|(i, sums)| {
                let images = i * per_part..batch.min((i + 1) * per_part);
                let part = Part {
                    pass,
                    images,
                    lens,
                    x,
                    dy,
                    sums,
                };
                dispatch(isa, part);
            });
        // Of few channels every place in a vector that holds them.
        let step = if pass.flat { pass.channels } else { LANES };
        for (channel, dw) in dw.chunks_exact_mut(pass.kernel[1]).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                let mut sum = 0.0;
                for part in parts.chunks_exact(sums) {
                    let block = &part[tap * vectors + channel / LANES].0;
                    for lane in (channel % LANES..LANES).step_by(step) {
                        sum += f64::from(block[lane]);
                    }
                }
                *dw = sum as f32;
            }
        }
    });
}

/// Some images of a batch, and the sums over them.
struct Part<'a, T> {
    pass: &'a Pass,
    images: Range<usize>,
    /// Elements of an image, of the activations and of the output gradients.
    lens: [usize; 2],
    x: &'a [T],
    dy: &'a [T],
    /// `[tap][vector]`.
    sums: &'a mut [Block],
}

impl<T: Element> Task for Part<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.sums.fill(Block::ZERO);
        let (pass, grid) = (self.pass, &self.pass.grids[0]);
        let lines = pass.widths.map(|width| width * pass.channels);
        let strip = (STRIP / (pass.step * lines[0])).max(1);
        let group = (STRIP / self.lens[0]).max(1);
        for first in self.images.clone().step_by(group) {
            let images = self.images.end.min(first + group) - first;
            for rows in &grid.rows.runs {
                for start in rows.outputs.clone().step_by(strip) {
                    for vector in 0..pass.vectors() {
                        for cols in &grid.cols.runs {
                            let mut region = Region {
                                pass,
                                lens: self.lens,
                                lines,
                                images,
                                rows: start..rows.outputs.end.min(start + strip),
                                cols: cols.outputs.clone(),
                                vector,
                                x: &self.x[first * self.lens[0]..],
                                dy: &self.dy[first * self.lens[1]..],
                                sums: &mut *self.sums,
                            };
                            region.run(simd, &rows.taps, &cols.taps);
                        }
                    }
                }
            }
        }
    }
}

/// Outputs that meet the same taps, one vector of their channels.
struct Region<'a, T> {
    pass: &'a Pass,
    /// Elements of an image, and of a row, of the activations and of the output gradients.
    lens: [usize; 2],
    lines: [usize; 2],
    images: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    vector: usize,
    /// The images, and what follows them.
    x: &'a [T],
    dy: &'a [T],
    sums: &'a mut [Block],
}

impl<T: Element> Region<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, rows: &[Taps], cols: &[Taps]) {
        let most = if S::ACCUMULATORS >= 16 { 3 } else { 1 };
        for rows in rows.chunks(most) {
            for cols in cols {
                macro_rules! by_size {
                    ($([$r:literal $g:literal])*) => {
                        match [rows.len(), cols.count] {
                            $([$r, $g] => self.sums::<S, $r, $g>(simd, rows, cols),)*
                            _ => unreachable!("more taps than a tile has"),
                        }
                    };
                }
                by_size!([1 1] [1 2] [1 3] [2 1] [2 2] [2 3] [3 1] [3 2] [3 3]);
            }
        }
    }

    /// The sums of `R` rows of the kernel and `G` of its columns.
    #[inline(always)]
    fn sums<S: Simd, const R: usize, const G: usize>(
        &mut self,
        simd: S,
        row_taps: &[Taps],
        col_taps: &Taps,
    ) {
        if R > 1 && S::ACCUMULATORS < 16 {
            unreachable!("a tile beyond the instruction set's registers");
        }
        let (pass, [line, dy_line]) = (self.pass, self.lines);
        let channels = pass.channels;
        // Whole vectors of a row, and parts with some lanes.
        let [steps, mut count, mut parts, mut lanes] =
            [pass.spacing * channels, self.cols.len(), 0, LANES];
        let mut dy_step = channels;
        if pass.flat {
            let elements = self.cols.len() * channels;
            dy_step = LANES;
            [count, lanes] = [elements / LANES, elements % LANES];
            parts = usize::from(lanes > 0);
        } else if channels - self.vector * LANES < LANES {
            [parts, count, lanes] = [count, 0, channels - self.vector * LANES];
        }
        let mut from = [0; R];
        for r in 0..R {
            let row = row_taps[r].input(self.rows.start * pass.step);
            let col = col_taps.input(self.cols.start * pass.step);
            from[r] = row * line + col * channels + self.vector * LANES;
        }
        let to = self.rows.start * dy_line + self.cols.start * channels + self.vector * LANES;
        let mut sums = [[simd.splat(0.0); G]; R];
        for image in 0..self.images {
            for row in 0..self.rows.len() {
                let x = &self.x[image * self.lens[0] + row * pass.step * line..];
                let dy = &self.dy[image * self.lens[1] + row * dy_line + to..];
                if count > 0 {
                    let Some(walk) = Walk::new(dy, dy_step, count) else {
                        unreachable!("whole vectors of gradients")
                    };
                    let mut walks = [walk; R];
                    for r in 0..R {
                        match Walk::new(&x[from[r]..], steps, count + G - 1) {
                            Some(walk) => walks[r] = walk,
                            None => unreachable!("whole vectors of activations"),
                        }
                    }
                    let mut window = [[simd.splat(0.0); G]; R];
                    for r in 0..R {
                        for g in 1..G {
                            window[r][g] = T::load(simd, walks[r].get(g - 1));
                        }
                    }
                    for i in 0..count {
                        let dy = T::load(simd, walk.get(i));
                        for r in 0..R {
                            for g in 1..G {
                                window[r][g - 1] = window[r][g];
                            }
                            window[r][G - 1] = T::load(simd, walks[r].get(i + G - 1));
                            for g in 0..G {
                                sums[r][g] = simd.mul_add(window[r][g], dy, sums[r][g]);
                            }
                        }
                    }
                }
                for i in 0..parts {
                    let dy = T::load_first(simd, &dy[(count + i) * dy_step..], lanes);
                    for r in 0..R {
                        for g in 0..G {
                            let x = &x[from[r] + (count + i + g) * steps..];
                            let x = T::load_first(simd, x, lanes);
                            sums[r][g] = simd.mul_add(x, dy, sums[r][g]);
                        }
                    }
                }
            }
        }
        for r in 0..R {
            for g in 0..G {
                let tap = row_taps[r].k[0] * pass.kernel[0] + col_taps.k[g];
                let sum = &mut self.sums[tap * pass.vectors() + self.vector].0;
                let mut region = [0.0; LANES];
                simd.store(sums[r][g], &mut region);
                for (sum, region) in sum.iter_mut().zip(region) {
                    *sum += region;
                }
            }
        }
    }
}
