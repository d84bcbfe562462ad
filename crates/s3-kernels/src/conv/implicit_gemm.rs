//! The loops around the microkernel.

use core::ops::Range;

use super::geometry::Geometry;
use super::panel::{Panels, correction};
use super::sealed::Activation;
use crate::PackedMatrix;
use crate::epilogue::{AccRow, Epilogue, NR, Narrow, Place};
use crate::scratch::{Scratch, with_scratch};
use crate::tile::{MR, Tile, TileKernel};

/// Bytes of bordered images that are held at a time, where one image is not more.
const IMAGES: usize = 4 << 20;

/// What does not change while a convolution runs.
struct Job<'a, E> {
    kernel: &'static TileKernel,
    w: &'a PackedMatrix,
    geometry: &'a Geometry,
    epilogue: &'a E,
    narrow: Narrow,
    flip: u8,
}

/// Convolves; the arguments are checked and `y` is not empty.
pub(crate) fn run<X: Activation, E: Epilogue>(
    kernel: &'static TileKernel,
    w: &PackedMatrix,
    x: &[X],
    geometry: &Geometry,
    epilogue: &E,
    narrow: Narrow,
    y: &mut [E::Output],
) {
    let job = Job {
        kernel,
        w,
        geometry,
        epilogue,
        narrow,
        flip: X::FLIP,
    };
    job.rows(X::bytes(x), 0..geometry.rows, y);
}

impl<E: Epilogue> Job<'_, E> {
    /// The output rows `rows`, which `y` holds.
    fn rows(&self, x: &[u8], rows: Range<usize>, y: &mut [E::Output]) {
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
        let window = geometry.window();
        let in_place =
            self.flip == 0 && geometry.shape.padding == 0 && window.segment().is_multiple_of(4);
        let panel_lines = Panels::lines(&window);
        // The microkernel reads up to three bytes behind the last segment.
        let copied = if in_place {
            0
        } else {
            images.len() * geometry.image + 3
        };
        let lines = panel_lines + Panels::plain_lines(self.w);
        let (bytes, lines) = scratch.get(copied, lines);
        let x = if in_place {
            &x[images.start * geometry.image..]
        } else {
            geometry.copy_bordered(x, images.clone(), self.flip, bytes);
            &*bytes
        };
        let (panel, plain) = lines.split_at_mut(panel_lines);
        let mut panels = Panels::new(self.kernel.isa, self.w, &window, plain);
        let mut sums = [AccRow::ZERO; MR];
        for group in 0..geometry.shape.groups {
            let first = group * geometry.group_out;
            for column in (0..geometry.group_out).step_by(NR) {
                let columns = (geometry.group_out - column).min(NR);
                panels.fill(first + column, columns, panel);
                let init = correction(self.w, first + column, self.flip);
                let mut windows = geometry.windows(rows.start, images.start);
                let mut row = rows.start;
                while row < rows.end {
                    let count = (rows.end - row).min(MR);
                    let mut offsets = [0; MR];
                    for offset in &mut offsets[..count] {
                        *offset = windows.next() + group * geometry.group_in;
                    }
                    let tile = Tile {
                        x,
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
                        column: first + column,
                        columns,
                        channels: geometry.shape.out_channels,
                    };
                    self.epilogue
                        .store(self.kernel.isa, self.narrow, &sums[..count], &place, y);
                    row += count;
                }
            }
        }
    }
}
