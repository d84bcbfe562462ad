//! Convolution of channels that do not see each other: no product of matrices, one vector of
//! channels at a time.
//!
//! ```text
//! for each 64 channels, for each 6 output pixels:
//!     for each two taps: interleave their activations, multiply with two levels, add
//!     epilogue, store
//! ```
//!
//! A channel with several outputs is repeated, so that outputs and channels are one to one.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::activation::sealed::Activation;
use super::geometry::Geometry;
use super::weights::correction;
use crate::epilogue::{Epilogue, Narrow, Place};
use crate::micro::bytes::{AccRow, DepthwiseKernel, MR, NR, Tile, Window, panel_lines, position};
use crate::packed::lines::Line;
use crate::packed::unpack::Unpack;
use crate::parallel::Outputs;
use crate::scratch::{Scratch, with_scratch};
use crate::{ConvShape, PackedMatrix};

/// Bytes of bordered images that are held at a time, where one image is not more.
const IMAGES: usize = 1 << 20;

/// Fills `panel` with the levels of the 64 channels of tile `tile`, by way of `plain`.
fn fill_panel(
    unpack: Unpack,
    w: &PackedMatrix,
    tile: usize,
    plain: &mut [Line],
    panel: &mut [Line],
) {
    w.unpack(unpack, tile, plain);
    panel.fill(Line([0; 64]));
    for tap in 0..w.cols() {
        for channel in 0..NR {
            let level = plain[tap / 4 * 4 + channel / 16].0[channel % 16 * 4 + tap % 4];
            let (line, byte) = position(channel, tap);
            panel[line].0[byte] = level;
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
    w: &PackedMatrix,
    x: &[X],
    geometry: &Geometry,
    epilogue: &E,
    narrow: Narrow,
    y: &mut [E::Output],
) {
    let times = geometry.group_out;
    let x = X::bytes(x);
    let x: Cow<'_, [u8]> = match times {
        1 => Cow::Borrowed(x),
        _ => x
            .iter()
            .flat_map(|&x| core::iter::repeat_n(x, times))
            .collect(),
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
    let job = Job {
        kernel,
        w,
        geometry: &geometry,
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
    outputs.split(w.cols(), 0, y, |rows, _, y| job.run(&x, rows, y));
}

/// Every value `times` times.
pub(crate) fn repeated<X: Copy + Default>(x: &[X], times: usize) -> Vec<X> {
    let mut all = vec![X::default(); x.len() * times];
    for (to, &x) in all.chunks_exact_mut(times).zip(x) {
        to.fill(x);
    }
    all
}

/// What does not change while a convolution runs.
struct Job<'a, E> {
    kernel: &'a DepthwiseKernel,
    w: &'a PackedMatrix,
    geometry: &'a Geometry,
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
        let geometry = self.geometry;
        let channels = geometry.shape.out_channels;
        let taps = geometry.taps();
        let panel_lines = panel_lines(taps.len());
        // A tap reads the bytes of 64 channels, of which the last ones may be behind the image.
        let window = Window::new(taps, NR);
        let (bytes, lines) = scratch.get(
            images.len() * geometry.image + NR,
            panel_lines + self.w.cols().div_ceil(4) * 4,
        );
        let (panel, plain) = lines.split_at_mut(panel_lines);
        let flip = self.flip;
        geometry.copy_bordered(x, images.clone(), flip, |x| x ^ flip, bytes);
        let mut sums = [AccRow::ZERO; MR];
        for column in (0..channels).step_by(NR) {
            let columns = (channels - column).min(NR);
            fill_panel(self.kernel.unpack, self.w, column / NR, plain, panel);
            let init = correction(self.w, column, self.flip);
            let mut windows = geometry.windows(rows.start, images.start);
            let mut row = rows.start;
            while row < rows.end {
                let count = (rows.end - row).min(MR);
                let mut offsets = [0; MR];
                for offset in &mut offsets[..count] {
                    *offset = windows.next() + column;
                }
                let tile = Tile {
                    x: bytes,
                    flip: 0,
                    windows: &offsets[..count],
                    window: &window,
                    panel,
                    init: &init,
                    columns,
                    width: self.w.bit_width(),
                };
                (self.kernel.run)(&tile, &mut sums);
                let place = Place {
                    row,
                    first: rows.start,
                    column,
                    columns,
                    channels,
                    origin: 0,
                    pitch: channels,
                };
                let tile = &sums[..count];
                self.epilogue
                    .store(self.kernel.isa, self.narrow, tile, &place, y);
                row += count;
            }
        }
    }
}
