//! The loops around the microkernel.
//!
//! A *block* is a panel of up to 64 outputs of one group. Its weights are unpacked into the
//! second-level cache, and every window meets them there.

use core::ops::Range;

use super::activation::sealed::Activation;
use super::geometry::Geometry;
use super::weights::{Panels, Weights, correction};
use crate::epilogue::{Epilogue, Narrow, Place, Steps};
use crate::micro::bytes::{AccRow, HELD, MR, Microkernel, NR, Operands};
use crate::scratch::{Scratch, with_scratch};

/// Bytes of bordered images that are held at a time, where one image is not more.
const IMAGES: usize = 4 << 20;

/// Windows from which on threads share them: with fewer, the time to unpack weights counts.
const MANY: usize = 192;

/// What does not change while a convolution runs.
struct Job<'a, E> {
    kernel: &'static Microkernel,
    w: &'a dyn Weights,
    /// What the microkernel computes.
    geometry: &'a Geometry,
    /// What was asked for: the same, or with smaller groups.
    asked: &'a Geometry,
    epilogue: &'a E,
    narrow: Narrow,
    flip: u8,
}

/// Convolves; the arguments are checked and `y` is not empty.
pub(crate) fn run<X: Activation, E: Epilogue>(
    kernel: &'static Microkernel,
    w: &dyn Weights,
    x: &[X],
    geometry: &Geometry,
    epilogue: &E,
    narrow: Narrow,
    y: &mut [E::Output],
) {
    let merged = geometry.merged();
    let job = Job {
        kernel,
        w,
        geometry: &merged,
        asked: geometry,
        epilogue,
        narrow,
        flip: X::FLIP,
    };
    let x = X::bytes(x);
    let outputs = merged.outputs();
    outputs.for_each_part(w.cols(), MANY, y, |rows, blocks, y| {
        job.part(x, rows, blocks, y)
    });
}

impl<E: Epilogue> Job<'_, E> {
    /// The output rows `rows` of the channels of `blocks`, all of which `y` holds.
    fn part(&self, x: &[u8], rows: Range<usize>, blocks: Range<usize>, y: &mut [E::Output]) {
        let pitch = self.geometry.outputs().span(&blocks).len();
        with_scratch(|scratch| {
            for (images, part) in self.geometry.parts(rows.clone(), IMAGES) {
                let held = (part.start - rows.start) * pitch..(part.end - rows.start) * pitch;
                self.images(scratch, x, images, part, blocks.clone(), &mut y[held]);
            }
        });
    }

    /// The output rows `rows`, all of them of `images`, of the channels of `blocks`.
    fn images(
        &self,
        scratch: &mut Scratch,
        x: &[u8],
        images: Range<usize>,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [E::Output],
    ) {
        let geometry = self.geometry;
        let channels = geometry.shape.out_channels;
        let taps = geometry.taps();
        let panel_lines = Panels::lines(&taps);
        let in_place = geometry.shape.padding == 0 && taps.segment().is_multiple_of(4);
        // The microkernel reads up to three bytes behind the last segment.
        let copied = if in_place {
            0
        } else {
            images.len() * geometry.image + 3
        };
        let (bytes, lines) = scratch.get(copied, panel_lines + Panels::plain_lines(self.w));
        let x = if in_place {
            &x[images.start * geometry.image..]
        } else {
            let flip = self.flip;
            geometry.copy_bordered(x, images.clone(), flip, |x| x ^ flip, bytes);
            &*bytes
        };
        let (panel, plain) = lines.split_at_mut(panel_lines);
        let mut panels = Panels::new(self.kernel.unpack, self.w, &taps, plain);
        let mut sums = [AccRow::ZERO; HELD];
        let tiles = rows.len().div_ceil(MR);
        let outputs = geometry.outputs();
        let span = outputs.span(&blocks);
        for block in blocks {
            let group = outputs.group(block);
            let column = outputs.channel(block);
            let columns = ((group + 1) * geometry.group_out - column).min(NR);
            let init = correction(self.w, column, self.flip);
            if geometry.shape.groups == self.asked.shape.groups {
                panels.fill(column, columns, panel);
            } else {
                panels.fill_diagonal(self.asked, geometry, column, columns, panel);
            }
            (self.kernel.order)(panel);
            let mut windows = geometry.windows(rows.start, images.start);
            let mut held = 0;
            for t in 0..tiles {
                // Of as equal sizes as possible: a tile of one window loads weights for nothing.
                let row = rows.start + rows.len() * t / tiles;
                let count = rows.start + rows.len() * (t + 1) / tiles - row;
                let mut offsets = [0; MR];
                for offset in &mut offsets[..count] {
                    *offset = windows.next() + group * geometry.group_in;
                }
                let operands = Operands {
                    x,
                    flip: if in_place { self.flip } else { 0 },
                    windows: &offsets[..count],
                    taps: &taps,
                    panel,
                    init: &init,
                    columns,
                    width: self.w.bit_width(),
                };
                (self.kernel.run)(&operands, &mut sums[held..][..count]);
                held += count;
                if held + MR <= HELD && t + 1 < tiles {
                    continue;
                }
                let first = row + count - held;
                let place = Place {
                    column,
                    columns,
                    whole: Steps {
                        first: first * channels + column,
                        step: channels,
                    },
                    slice: Steps {
                        first: (first - rows.start) * span.len() + column - span.start,
                        step: span.len(),
                    },
                };
                let sums = &sums[..held];
                self.epilogue
                    .store(self.kernel.isa, self.narrow, sums, &place, y);
                held = 0;
            }
        }
    }
}
