//! Where the windows of a convolution lie in memory.
//!
//! An image is copied once into a buffer with its border, channels last. From then on output pixel
//! `(oy, ox)` is a window at offset `(oy stride W + ox stride) C`, and every kernel tap is one
//! constant offset further: the convolution is a matrix product whose rows are read in place. Where
//! nothing has to be added and no byte changed, the copy is left out.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::check_len;
use crate::micro::bytes::Taps;
use crate::parallel::Outputs;
use crate::{ConvShape, Error};

/// Lengths of a convolution that was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) shape: ConvShape,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
    /// Output pixels of all images.
    pub(crate) rows: usize,
    /// Channels that one output sees.
    pub(crate) group_in: usize,
    /// Outputs that see the same channels.
    pub(crate) group_out: usize,
    /// Height and width with the border.
    pub(crate) bordered: (usize, usize),
    /// Bytes of one image with its border.
    pub(crate) image: usize,
}

impl Geometry {
    /// # Errors
    ///
    /// As the lengths of [`ConvShape`].
    pub(crate) fn new(shape: &ConvShape) -> Result<Geometry, Error> {
        shape.weight_len()?;
        shape.input_len()?;
        shape.output_len()?;
        let (out_height, out_width) = (shape.out_height()?, shape.out_width()?);
        // `out_height` has shown that neither sum overflows.
        let bordered = (
            shape.height + 2 * shape.padding,
            shape.width + 2 * shape.padding,
        );
        // A border that does not fit memory is not copied: see `is_compact`.
        let image = bordered.0.saturating_mul(bordered.1);
        Ok(Geometry {
            shape: *shape,
            out_height,
            out_width,
            rows: shape
                .batch
                .saturating_mul(out_height.saturating_mul(out_width)),
            group_in: shape.in_channels / shape.groups,
            group_out: shape.out_channels / shape.groups,
            bordered,
            image: image.saturating_mul(shape.in_channels),
        })
    }

    /// # Errors
    ///
    /// [`Error::Length`] where a matrix of `rows` by `cols` is not the weight of this convolution.
    pub(crate) fn check_weight(&self, rows: usize, cols: usize) -> Result<(), Error> {
        let taps = self.shape.kernel_h.saturating_mul(self.shape.kernel_w);
        let columns = taps.saturating_mul(self.group_in);
        check_len("weight rows", self.shape.out_channels, rows)?;
        check_len("weight columns", columns, cols)
    }

    /// The outputs.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs {
            rows: self.rows,
            groups: self.shape.groups,
            group_out: self.group_out,
        }
    }

    /// The index in `length` inputs that tap `tap` of output `out` sees, unless it is padding.
    pub(crate) fn input(&self, out: usize, tap: usize, length: usize) -> Option<usize> {
        (out * self.shape.stride + tap * self.shape.dilation)
            .checked_sub(self.shape.padding)
            .filter(|&at| at < length)
    }

    /// Copies the window of output `row`, in the order of the weight's columns, to `to`; padding
    /// becomes `zero`.
    pub(crate) fn copy_window<X: Copy>(
        &self,
        x: &[X],
        row: usize,
        group: usize,
        zero: X,
        to: &mut [X],
    ) {
        let shape = &self.shape;
        let pixels = self.out_height * self.out_width;
        let (image, pixel) = (row / pixels, row % pixels);
        let (oy, ox) = (pixel / self.out_width, pixel % self.out_width);
        let mut taps = to.chunks_exact_mut(self.group_in.max(1));
        for i in 0..shape.kernel_h {
            let y = self.input(oy, i, shape.height);
            for (j, to) in (0..shape.kernel_w).zip(&mut taps) {
                match (y, self.input(ox, j, shape.width)) {
                    (Some(y), Some(x_at)) => {
                        let pixel = (image * shape.height + y) * shape.width + x_at;
                        let first = pixel * shape.in_channels + group * self.group_in;
                        to.copy_from_slice(&x[first..first + self.group_in]);
                    }
                    _ => to.fill(zero),
                }
            }
        }
    }

    /// The same convolution with as many groups taken as one as fill a register of 16 outputs:
    /// their weights are then the diagonal blocks of a matrix of zeros. A microkernel call costs as
    /// much for one of them as for all.
    pub(crate) fn merged(&self) -> Geometry {
        let groups = self.shape.groups;
        let fit = match self.group_in {
            0 => 1,
            _ => (16 / self.group_out.max(1)).clamp(1, groups),
        };
        let times = (1..=fit)
            .rev()
            .find(|&times| groups.is_multiple_of(times))
            .unwrap_or(1);
        let mut merged = *self;
        merged.shape.groups = groups / times;
        merged.group_in *= times;
        merged.group_out *= times;
        merged
    }

    /// Whether a bordered copy of one image is of the size of the image and the output: false for a
    /// border of millions of pixels that a stride as long skips.
    pub(crate) fn is_compact(&self) -> bool {
        let shape = &self.shape;
        let area = |height: usize, width: usize| {
            let pixels = height.saturating_mul(width);
            pixels.saturating_mul(8 * shape.in_channels.min(usize::MAX / 8))
        };
        let image = area(shape.height, shape.width);
        let out = area(self.out_height, self.out_width);
        self.image <= image.saturating_add(out).saturating_add(1 << 20)
    }

    /// The taps, in the order of the weight's columns. Those of a kernel row are one segment where
    /// their channels are neighbours.
    pub(crate) fn taps(&self) -> Taps {
        let shape = &self.shape;
        let channels = shape.in_channels;
        let row = shape.dilation * self.bordered.1 * channels;
        let merged = shape.groups == 1 && (shape.dilation == 1 || shape.kernel_w == 1);
        if merged {
            let offsets = (0..shape.kernel_h).map(|i| i * row).collect();
            return Taps::new(offsets, shape.kernel_w * channels);
        }
        Taps::new(self.offsets(), self.group_in)
    }

    /// The offset of every tap, in the order of the weight's columns.
    pub(crate) fn offsets(&self) -> Vec<usize> {
        let shape = &self.shape;
        let step = shape.dilation * shape.in_channels;
        (0..shape.kernel_h)
            .flat_map(|i| (0..shape.kernel_w).map(move |j| (i * self.bordered.1 + j) * step))
            .collect()
    }

    /// Divides the output `rows` by images, so that those held at a time take about `bytes` bytes:
    /// images and rows of each part.
    pub(crate) fn parts(
        &self,
        rows: Range<usize>,
        bytes: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let pixels = self.out_height * self.out_width;
        let held = (bytes / self.image.max(1)).max(1);
        let images = rows.start / pixels..rows.end.div_ceil(pixels);
        images.clone().step_by(held).map(move |first| {
            let last = (first + held).min(images.end);
            let part = rows.start.max(first * pixels)..rows.end.min(last * pixels);
            (first..last, part)
        })
    }

    /// The windows from output `row` on, in the bordered images from image `first` on.
    pub(crate) fn windows(&self, row: usize, first: usize) -> Windows {
        let pixels = self.out_height * self.out_width;
        let (image, pixel) = (row / pixels, row % pixels);
        let step = self.shape.stride * self.shape.in_channels;
        let line = self.shape.stride * self.bordered.1 * self.shape.in_channels;
        let (y, x) = (pixel / self.out_width, pixel % self.out_width);
        let base = (image - first) * self.image;
        Windows {
            geometry: *self,
            step,
            line,
            image: base,
            row: base + y * line,
            at: base + y * line + x * step,
            y,
            x,
        }
    }

    /// Copies `images` of `x` with their border to the front of `to`: `zero` there, and what
    /// `value` makes of each activation inside.
    pub(crate) fn copy_bordered<X: Copy>(
        &self,
        x: &[X],
        images: Range<usize>,
        zero: X,
        value: impl Fn(X) -> X,
        to: &mut [X],
    ) {
        let shape = &self.shape;
        let line = shape.width * shape.in_channels;
        let bordered_line = self.bordered.1 * shape.in_channels;
        let margin = shape.padding * shape.in_channels;
        for (image, to) in images.zip(to.chunks_exact_mut(self.image.max(1))) {
            let from = &x[image * shape.height * line..][..shape.height * line];
            let (top, rest) = to.split_at_mut(shape.padding * bordered_line);
            let (middle, bottom) = rest.split_at_mut(shape.height * bordered_line);
            top.fill(zero);
            bottom.fill(zero);
            for y in 0..shape.height {
                let to = &mut middle[y * bordered_line..][..bordered_line];
                to[..margin].fill(zero);
                to[margin + line..].fill(zero);
                for (to, &from) in to[margin..].iter_mut().zip(&from[y * line..][..line]) {
                    *to = value(from);
                }
            }
        }
    }
}

/// Walks over the windows of an output, in its order, without a division.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    geometry: Geometry,
    step: usize,
    line: usize,
    image: usize,
    row: usize,
    at: usize,
    y: usize,
    x: usize,
}

impl Windows {
    /// Offset of the current window; then goes on to the next.
    pub(crate) fn next(&mut self) -> usize {
        let at = self.at;
        self.x += 1;
        self.at += self.step;
        if self.x == self.geometry.out_width {
            self.x = 0;
            self.y += 1;
            self.row += self.line;
            if self.y == self.geometry.out_height {
                self.y = 0;
                self.image += self.geometry.image;
                self.row = self.image;
            }
            self.at = self.row;
        }
        at
    }
}
