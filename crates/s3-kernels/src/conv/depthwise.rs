//! Convolution of channels that do not see each other: no product of matrices, one vector of
//! channels at a time.
//!
//! ```text
//! for each 64 channels, for each output pixel:
//!     for each two taps: interleave their activations, multiply with two levels, add
//!     for 24 pixels at a time: epilogue, store
//! ```
//!
//! A channel with several outputs is repeated, so that outputs and channels are one to one. Of 32
//! channels or less several neighbouring pixels are one tile: channels are next to each other, and
//! pixels too.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::activation::sealed::Activation;
use super::geometry::Geometry;
use super::weights::{Panels, Weights, correction, words};
use crate::ConvShape;
use crate::epilogue::{Epilogue, Narrow, Place, Steps};
use crate::micro::bytes::{AccRow, DepthwiseKernel, HELD, MR, NR, Operands, Taps, panel_lines};
use crate::packed::lines::Line;
use crate::packed::unpack::{QUAD, Unpack};
use crate::parallel::Outputs;
use crate::scratch::{Scratch, with_scratch};

/// Bytes of bordered images that are held at a time, where one image is not more.
const IMAGES: usize = 1 << 20;

/// Fills `panel` with the levels of the 64 lanes of tile `tile`, by way of `plain`. Lane `n` is
/// channel `n % period` of the tile.
fn fill_panel(
    unpack: Unpack,
    w: &dyn Weights,
    operands: usize,
    period: usize,
    plain: &mut [Line],
    panel: &mut [Line],
) {
    w.unpack(unpack, operands, plain);
    // Four taps of each channel, then two lines for each two of them.
    for (four, pairs) in plain.chunks_exact(QUAD).zip(panel.chunks_mut(4)) {
        let mut lanes = words(four);
        for lane in period..NR {
            lanes[lane] = lanes[lane - period];
        }
        for (pair, lines) in pairs.chunks_exact_mut(2).enumerate() {
            for (half, line) in lines.iter_mut().enumerate() {
                for (n, levels) in line.0.as_chunks_mut().0.iter_mut().enumerate() {
                    let lane = n / 8 * 16 + half * 8 + n % 8;
                    *levels = ((lanes[lane] >> (16 * pair)) as u16).to_le_bytes();
                }
            }
        }
    }
}

/// Whether `geometry` is a convolution for this module.
pub(crate) fn serves(geometry: &Geometry) -> bool {
    geometry.group_in == 1 && geometry.shape.groups > 1 && geometry.group_out < 16
}

/// Convolves; the arguments are checked, `y` is not empty and [`serves`] holds.
pub(crate) fn run<X: Activation, E: Epilogue>(
    kernel: &DepthwiseKernel,
    w: &dyn Weights,
    x: &[X],
    geometry: &Geometry,
    epilogue: &E,
    narrow: Narrow,
    y: &mut [E::Output],
) {
    let (x, geometry) = one_to_one(X::bytes(x), geometry);
    let (shape, channels) = (geometry.shape, geometry.shape.out_channels);
    let layout = Layout::new(&geometry, epilogue.repeats());
    let job = Job {
        kernel,
        w,
        geometry: &geometry,
        taps: &Taps::new(layout.taps(&shape), NR),
        layout,
        epilogue,
        narrow,
        flip: X::FLIP,
    };
    let outputs = Outputs {
        rows: geometry.rows,
        groups: 1,
        group_out: channels,
    };
    // Every thread copies the images that its rows lie in, and unpacking costs next to nothing.
    outputs.for_each_part(w.cols(), 0, y, |rows, _, y| job.run(&x, rows, y));
}

/// The same convolution with as many channels as outputs: each channel as often as it has outputs.
pub(crate) fn one_to_one<'a, X: Copy + Default>(
    x: &'a [X],
    geometry: &Geometry,
) -> (Cow<'a, [X]>, Geometry) {
    let x = match geometry.group_out {
        1 => Cow::Borrowed(x),
        times => {
            let mut all = vec![X::default(); x.len() * times];
            for (to, &x) in all.chunks_exact_mut(times).zip(x) {
                to.fill(x);
            }
            Cow::Owned(all)
        }
    };
    let channels = geometry.shape.out_channels;
    let shape = ConvShape {
        in_channels: channels,
        groups: channels,
        ..geometry.shape
    };
    let Ok(geometry) = Geometry::new(&shape) else {
        unreachable!("the repeated channels are in memory")
    };
    (x, geometry)
}

/// How output pixels are divided into tiles, and how images are copied for that.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Neighbouring output pixels of a tile: one, or of few channels as many as 64 lanes hold.
    pixels: usize,
    /// Parts that a line is copied in: where a tile has several pixels and the stride is `s`, all
    /// columns `0, s, 2 s, ..`, then all columns `1, s + 1, ..`, so that what neighbouring outputs
    /// see are neighbours.
    phases: usize,
    /// Bytes of each of them.
    phase: usize,
    /// Bytes of all of them.
    line: usize,
    /// Bytes of an image.
    image: usize,
    /// Bytes from what an output pixel sees to what the next one does.
    step: usize,
}

impl Layout {
    /// `repeats`: whether an epilogue stores several pixels of few channels as one.
    fn new(geometry: &Geometry, repeats: bool) -> Layout {
        let shape = &geometry.shape;
        let channels = shape.out_channels;
        let several = repeats && geometry.out_width > 1;
        let pixels = if several { (NR / channels).max(1) } else { 1 };
        // Where there are two outputs on a line, the stride is shorter than the line.
        let phases = if pixels > 1 { shape.stride } else { 1 };
        let phase = geometry.bordered.1.div_ceil(phases) * channels;
        Layout {
            pixels,
            phases,
            phase,
            line: phases * phase,
            image: geometry.bordered.0 * phases * phase,
            step: shape.stride / phases * channels,
        }
    }

    /// The offset of every tap, in the order of the weight's columns.
    fn taps(&self, shape: &ConvShape) -> Vec<usize> {
        let tap = |i: usize, j: usize| {
            let (i, j) = (i * shape.dilation, j * shape.dilation);
            let (phase, column) = (j % self.phases, j / self.phases);
            i * self.line + phase * self.phase + column * shape.in_channels
        };
        (0..shape.kernel_h)
            .flat_map(|i| (0..shape.kernel_w).map(move |j| tap(i, j)))
            .collect()
    }

    /// Copies `images` of `x` with their border to the front of `to`, each byte XORed with `flip`.
    fn copy(&self, geometry: &Geometry, x: &[u8], images: Range<usize>, flip: u8, to: &mut [u8]) {
        if self.phases == 1 {
            return geometry.copy_bordered(x, images, flip, |x| x ^ flip, to);
        }
        let shape = &geometry.shape;
        let channels = shape.in_channels;
        let row = shape.width * channels;
        for (image, to) in images.zip(to.chunks_exact_mut(self.image)) {
            to.fill(flip);
            let from = x[image * shape.height * row..].chunks_exact(row.max(1));
            let lines = to.chunks_exact_mut(self.line).skip(shape.padding);
            for (from, line) in from.take(shape.height).zip(lines) {
                for (phase, to) in line.chunks_exact_mut(self.phase).enumerate() {
                    // Behind the border, in steps from the first column of the phase.
                    let border = shape.padding.saturating_sub(phase).div_ceil(self.phases);
                    let first = phase + border * self.phases - shape.padding;
                    let pixels = from.chunks_exact(channels).skip(first).step_by(self.phases);
                    let to = to[border * channels..].chunks_exact_mut(channels);
                    to.zip(pixels).for_each(|(to, from)| copy(from, flip, to));
                }
            }
        }
    }
}

/// Copies the few bytes of a pixel, each XORed with `flip`.
#[inline]
fn copy(from: &[u8], flip: u8, to: &mut [u8]) {
    let (eights, rest) = from.as_chunks::<8>();
    let (to_eights, to_rest) = to.as_chunks_mut::<8>();
    for (to, from) in to_eights.iter_mut().zip(eights) {
        *to = (u64::from_ne_bytes(*from) ^ u64::from_ne_bytes([flip; 8])).to_ne_bytes();
    }
    for (to, from) in to_rest.iter_mut().zip(rest) {
        *to = from ^ flip;
    }
}

/// What does not change while a convolution runs.
struct Job<'a, E> {
    kernel: &'a DepthwiseKernel,
    w: &'a dyn Weights,
    geometry: &'a Geometry,
    layout: Layout,
    taps: &'a Taps,
    epilogue: &'a E,
    narrow: Narrow,
    flip: u8,
}

impl<E: Epilogue> Job<'_, E> {
    /// The output rows `rows`, which `y` holds.
    fn run(&self, x: &[u8], rows: Range<usize>, y: &mut [E::Output]) {
        let channels = self.geometry.shape.out_channels;
        with_scratch(|scratch| {
            for (images, part) in self.geometry.parts(rows.clone(), IMAGES) {
                let held = (part.start - rows.start) * channels..(part.end - rows.start) * channels;
                self.images(scratch, x, images, part, &mut y[held]);
            }
        });
    }

    /// The output rows `rows`, all of them of `images`.
    fn images(
        &self,
        scratch: &mut Scratch,
        x: &[u8],
        images: Range<usize>,
        rows: Range<usize>,
        y: &mut [E::Output],
    ) {
        let channels = self.geometry.shape.out_channels;
        let panel_lines = panel_lines(self.taps.offsets().len());
        // A tap reads the bytes of 64 lanes, of which the last ones may be behind the image.
        let (bytes, lines) = scratch.get(
            images.len() * self.layout.image + NR,
            panel_lines + Panels::plain_lines(self.w),
        );
        let (panel, plain) = lines.split_at_mut(panel_lines);
        self.layout
            .copy(self.geometry, x, images.clone(), self.flip, bytes);
        let mut held = Held {
            windows: [0; HELD],
            len: 0,
            pixel: 0,
            sums: [AccRow::ZERO; HELD],
        };
        for column in (0..channels).step_by(NR) {
            let columns = (channels - column).min(NR);
            // A tile of several pixels begins with channel 0 of each.
            let period = if self.layout.pixels > 1 { channels } else { NR };
            fill_panel(
                self.kernel.unpack,
                self.w,
                column / NR,
                period,
                plain,
                panel,
            );
            let mut init = correction(self.w, column, self.flip);
            for lane in period..NR {
                init.0[lane] = init.0[lane - period];
            }
            let block = Block {
                x: bytes,
                panel,
                init: &init,
                column,
                first: rows.start,
            };
            let mut at = self.start(rows.start, images.start);
            while at.pixel < rows.end {
                let left = (self.geometry.out_width - at.x).min(rows.end - at.pixel);
                let count = left.min(self.layout.pixels);
                let whole = count == self.layout.pixels;
                if !whole || held.len == HELD {
                    self.store(&block, columns * self.layout.pixels, &mut held, y);
                }
                if held.len == 0 {
                    held.pixel = at.pixel;
                }
                held.windows[held.len] = at.line + at.x * self.layout.step + column;
                held.len += 1;
                if !whole {
                    self.store(&block, columns * count, &mut held, y);
                }
                self.advance(&mut at, count);
            }
            self.store(&block, columns * self.layout.pixels, &mut held, y);
        }
    }

    /// Output pixel `pixel`, in the copies of the images from `first` on.
    fn start(&self, pixel: usize, first: usize) -> At {
        let (row, x) = (
            pixel / self.geometry.out_width,
            pixel % self.geometry.out_width,
        );
        let (image, y) = (
            row / self.geometry.out_height,
            row % self.geometry.out_height,
        );
        let image = (image - first) * self.layout.image;
        let line = image + y * self.geometry.shape.stride * self.layout.line;
        At {
            pixel,
            x,
            y,
            image,
            line,
        }
    }

    /// Goes on by `count` pixels of the line.
    fn advance(&self, at: &mut At, count: usize) {
        at.pixel += count;
        at.x += count;
        if at.x == self.geometry.out_width {
            (at.x, at.y) = (0, at.y + 1);
            at.line += self.geometry.shape.stride * self.layout.line;
            if at.y == self.geometry.out_height {
                at.y = 0;
                at.image += self.layout.image;
                at.line = at.image;
            }
        }
    }

    /// Computes and stores the tiles of `lanes` lanes that are held; then none are.
    fn store(&self, block: &Block<'_>, lanes: usize, held: &mut Held, y: &mut [E::Output]) {
        if held.len == 0 {
            return;
        }
        let windows = &held.windows[..held.len];
        let sums = &mut held.sums[..held.len];
        for (windows, sums) in windows.chunks(MR).zip(sums.chunks_mut(MR)) {
            let operands = Operands {
                x: block.x,
                flip: 0,
                windows,
                taps: self.taps,
                panel: block.panel,
                init: block.init,
                columns: lanes,
                width: self.w.bit_width(),
            };
            (self.kernel.run)(&operands, sums);
        }
        let channels = self.geometry.shape.out_channels;
        let steps = |pixel: usize| Steps {
            first: pixel * channels + block.column,
            step: self.layout.pixels * channels,
        };
        let place = Place {
            column: block.column,
            columns: lanes,
            whole: steps(held.pixel),
            slice: steps(held.pixel - block.first),
        };
        self.epilogue
            .store(self.kernel.isa, self.narrow, sums, &place, y);
        held.len = 0;
    }
}

/// An output pixel on its way through the images.
struct At {
    pixel: usize,
    x: usize,
    y: usize,
    /// Where its image begins, and the line of the first tap for `x = 0`.
    image: usize,
    line: usize,
}

/// What the tiles of the same channels share.
struct Block<'a> {
    x: &'a [u8],
    panel: &'a [Line],
    init: &'a AccRow,
    /// The first channel.
    column: usize,
    /// The output row that the slice of outputs begins with.
    first: usize,
}

/// Tiles that are stored together: equally far apart in the output.
struct Held {
    windows: [usize; HELD],
    len: usize,
    /// The first output pixel.
    pixel: usize,
    sums: [AccRow; HELD],
}
