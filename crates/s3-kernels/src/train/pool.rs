//! Max pooling, average pooling and the mean over all pixels of NHWC activations, with their
//! gradients.
//!
//! ```text
//! max:     y[n,i,j,c] = max over the window's pixels inside the image of x[n,h,w,c]
//! average: y[n,i,j,c] = Σ over the same pixels of x[n,h,w,c] / pixels of a window
//! mean:    y[n,c]     = Σ_{h,w} x[n,h,w,c] / (height·width)
//! ```

use core::ops::Range;

use rayon::prelude::*;

use super::element::Element;
use super::scratch::{Block, with_blocks};
use super::simd::LANES;

use crate::error::{Error, check_len};
use crate::shape::ConvShape;

/// Shape of a pooling of windows. `out = floor((in + 2 padding - kernel) / stride) + 1`.
///
/// ```
/// use s3_kernels::train::PoolShape;
/// let stem = PoolShape {
///     batch: 8, height: 112, width: 112, channels: 64, kernel: [3, 3], stride: 2, padding: 1,
/// };
/// assert_eq!(stem.out_height(), Ok(56));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: usize,
    /// Pixels added on each side: in a max pooling they never win, and there are at most half as
    /// many as the window has rows or columns; in an average they are zeros.
    pub padding: usize,
}

impl PoolShape {
    /// Output height in pixels.
    ///
    /// # Errors
    ///
    /// As [`ConvShape::out_height`].
    pub fn out_height(&self) -> Result<usize, Error> {
        self.as_conv().out_height()
    }

    /// Output width in pixels.
    ///
    /// # Errors
    ///
    /// As [`ConvShape::out_height`].
    pub fn out_width(&self) -> Result<usize, Error> {
        self.as_conv().out_width()
    }

    fn as_conv(&self) -> ConvShape {
        ConvShape {
            batch: self.batch,
            height: self.height,
            width: self.width,
            in_channels: self.channels,
            out_channels: self.channels,
            kernel_h: self.kernel[0],
            kernel_w: self.kernel[1],
            stride: self.stride,
            padding: self.padding,
            ..ConvShape::default()
        }
    }

    fn check_max(
        &self,
        input: (&'static str, usize),
        outputs: [(&'static str, usize); 2],
    ) -> Result<(), Error> {
        if self.padding > self.kernel[0].min(self.kernel[1]) / 2 {
            let expected = "at most half the kernel";
            return Err(Error::Unsupported {
                what: "padding",
                expected,
                got: self.padding,
            });
        }
        if self
            .height
            .checked_mul(self.width)
            .is_none_or(|pixels| pixels > u32::MAX as usize)
        {
            return Err(Error::Overflow { what: "argmax" });
        }
        self.check(input, &outputs)
    }

    fn check(
        &self,
        input: (&'static str, usize),
        outputs: &[(&'static str, usize)],
    ) -> Result<(), Error> {
        check_len(input.0, self.as_conv().input_len()?, input.1)?;
        let expected = self.as_conv().output_len()?;
        outputs
            .iter()
            .try_for_each(|&(what, got)| check_len(what, expected, got))
    }

    /// The pixels along an axis, 0 of the rows and 1 of the columns, that output `i` sees.
    fn seen(&self, axis: usize, i: usize) -> Range<usize> {
        let end = (i * self.stride + self.kernel[axis]).saturating_sub(self.padding);
        let start = (i * self.stride).saturating_sub(self.padding);
        let end = end.min([self.height, self.width][axis]);
        start.min(end)..end
    }

    /// The outputs along an axis, of which there are so many, that see pixel `at`.
    fn seeing(&self, axis: usize, outputs: usize, at: usize) -> Range<usize> {
        let at = at + self.padding;
        let end = (at / self.stride + 1).min(outputs);
        let start = (at + 1).saturating_sub(self.kernel[axis]);
        start.div_ceil(self.stride).min(end)..end
    }
}

/// Max pooling. `argmax` is the winning pixel, `h · width + w` within its image.
///
/// The first of equal values wins, and a NaN beats every number, as in torch.
///
/// # Shapes
///
/// `x: [batch, height, width, channels]`; `y`, `argmax`:
/// `[batch, out_height, out_width, channels]`.
///
/// # Errors
///
/// [`Error::Unsupported`] where the padding exceeds half the kernel; [`Error::Length`]; those of
/// [`ConvShape::output_len`].
///
/// ```
/// use s3_kernels::train::{PoolShape, max_pool2d_forward};
/// let shape = PoolShape {
///     batch: 1, height: 2, width: 2, channels: 1, kernel: [2, 2], stride: 2, padding: 0,
/// };
/// let (mut y, mut argmax) = ([0.0], [0]);
/// max_pool2d_forward(&shape, &[1.0, 7.0, 7.0, 3.0], &mut y, &mut argmax)?;
/// assert_eq!((y, argmax), ([7.0], [1]));
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn max_pool2d_forward<T: Element>(
    shape: &PoolShape,
    x: &[T],
    y: &mut [T],
    argmax: &mut [u32],
) -> Result<(), Error> {
    shape.check_max(("x", x.len()), [("y", y.len()), ("argmax", argmax.len())])?;
    if y.is_empty() {
        return Ok(());
    }
    let (rows, cols) = (shape.out_height()?, shape.out_width()?);
    let (width, channels) = (shape.width, shape.channels);
    let row = cols * channels;
    y.par_chunks_mut(row)
        .zip(argmax.par_chunks_mut(row))
        .enumerate()
        .for_each(|(r, (y, argmax))| {
            let (n, i) = (r / rows, r % rows);
            let image =
                &x[n * shape.height * width * channels..][..shape.height * width * channels];
            for (j, (y, argmax)) in y
                .chunks_mut(channels)
                .zip(argmax.chunks_mut(channels))
                .enumerate()
            {
                let (hs, ws) = (shape.seen(0, i), shape.seen(1, j));
                y.fill(T::from_f32(f32::NEG_INFINITY));
                argmax.fill((hs.start * width + ws.start) as u32);
                for h in hs {
                    for w in ws.clone() {
                        let pixel = h * width + w;
                        let x = &image[pixel * channels..][..channels];
                        for ((y, a), &x) in y.iter_mut().zip(argmax.iter_mut()).zip(x) {
                            if x.to_f32() > y.to_f32() || x.to_f32().is_nan() {
                                *y = x;
                                *a = pixel as u32;
                            }
                        }
                    }
                }
            }
        });
    Ok(())
}

/// The gradient of [`max_pool2d_forward`]: each `dy` is added to the pixel that won.
///
/// # Shapes
///
/// `dy`, `argmax`: `[batch, out_height, out_width, channels]`;
/// `dx: [batch, height, width, channels]`, overwritten.
///
/// # Errors
///
/// As [`max_pool2d_forward`].
///
/// # Panics
///
/// Where `argmax` names a pixel outside the image: it did not come from the forward pass.
///
/// ```
/// use s3_kernels::train::{PoolShape, max_pool2d_backward};
/// let shape = PoolShape {
///     batch: 1, height: 2, width: 2, channels: 1, kernel: [2, 2], stride: 2, padding: 0,
/// };
/// let mut dx = [9.0; 4];
/// max_pool2d_backward(&shape, &[5.0], &[1], &mut dx)?;
/// assert_eq!(dx, [0.0, 5.0, 0.0, 0.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn max_pool2d_backward<T: Element>(
    shape: &PoolShape,
    dy: &[T],
    argmax: &[u32],
    dx: &mut [T],
) -> Result<(), Error> {
    shape.check_max(
        ("dx", dx.len()),
        [("dy", dy.len()), ("argmax", argmax.len())],
    )?;
    if dx.is_empty() {
        return Ok(());
    }
    let channels = shape.channels;
    let image = dy.len() / shape.batch;
    dx.par_chunks_mut(dx.len() / shape.batch)
        .enumerate()
        .for_each(|(n, dx)| {
            let dy = dy[n * image..][..image].chunks(channels);
            let argmax = argmax[n * image..][..image].chunks(channels);
            // Overlapping windows add up in f32.
            with_blocks(dx.len().div_ceil(LANES), |sums| {
                sums.fill(Block::ZERO);
                for (dy, argmax) in dy.zip(argmax) {
                    for (c, (dy, &pixel)) in dy.iter().zip(argmax).enumerate() {
                        let at = pixel as usize * channels + c;
                        sums[at / LANES].0[at % LANES] += dy.to_f32();
                    }
                }
                for (dx, sums) in dx.chunks_mut(LANES).zip(sums) {
                    for (dx, sum) in dx.iter_mut().zip(sums.0) {
                        *dx = T::from_f32(sum);
                    }
                }
            });
        });
    Ok(())
}

/// Average pooling: the mean of each window, zeros of the padding included.
///
/// # Shapes
///
/// `x: [batch, height, width, channels]`, `y: [batch, out_height, out_width, channels]`; `y` is
/// overwritten.
///
/// # Exactness
///
/// f32 sums, row by row; `y` is rounded once.
///
/// # Errors
///
/// [`Error::Length`]; those of [`ConvShape::output_len`].
///
/// ```
/// use s3_kernels::train::{PoolShape, avg_pool2d_forward};
/// let shape = PoolShape {
///     batch: 1, height: 2, width: 2, channels: 1, kernel: [2, 1], stride: 1, padding: 0,
/// };
/// let mut y = [0.0; 2];
/// avg_pool2d_forward(&shape, &[1.0, 7.0, 5.0, 3.0], &mut y)?;
/// assert_eq!(y, [3.0, 5.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn avg_pool2d_forward<T: Element>(
    shape: &PoolShape,
    x: &[T],
    y: &mut [T],
) -> Result<(), Error> {
    shape.check(("x", x.len()), &[("y", y.len())])?;
    let sides = [shape.out_height()?, shape.out_width()?];
    means(
        shape,
        (x, [shape.height, shape.width]),
        (y, sides),
        |axis, i| shape.seen(axis, i),
    );
    Ok(())
}

/// The gradient of [`avg_pool2d_forward`]: each pixel gets its share of every window that sees it.
///
/// # Shapes
///
/// `dy: [batch, out_height, out_width, channels]`; `dx: [batch, height, width, channels]`,
/// overwritten.
///
/// # Errors
///
/// As [`avg_pool2d_forward`].
///
/// ```
/// use s3_kernels::train::{PoolShape, avg_pool2d_backward};
/// let shape = PoolShape {
///     batch: 1, height: 1, width: 3, channels: 1, kernel: [1, 2], stride: 1, padding: 0,
/// };
/// let mut dx = [9.0; 3];
/// avg_pool2d_backward(&shape, &[2.0, 4.0], &mut dx)?;
/// assert_eq!(dx, [1.0, 3.0, 2.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn avg_pool2d_backward<T: Element>(
    shape: &PoolShape,
    dy: &[T],
    dx: &mut [T],
) -> Result<(), Error> {
    shape.check(("dx", dx.len()), &[("dy", dy.len())])?;
    let sides = [shape.out_height()?, shape.out_width()?];
    means(
        shape,
        (dy, sides),
        (dx, [shape.height, shape.width]),
        |axis, at| shape.seeing(axis, sides[axis], at),
    );
    Ok(())
}

/// Each pixel of `to` becomes the sum of the pixels of `from` in two `ranges`, of rows and of
/// columns, over the size of a window.
fn means<T: Element>(
    shape: &PoolShape,
    (from, [height, width]): (&[T], [usize; 2]),
    (to, [rows, cols]): (&mut [T], [usize; 2]),
    ranges: impl Fn(usize, usize) -> Range<usize> + Sync,
) {
    if to.is_empty() {
        return;
    }
    let channels = shape.channels;
    let scale = 1.0 / (shape.kernel[0] * shape.kernel[1]) as f32;
    to.par_chunks_mut(cols * channels)
        .enumerate()
        .for_each(|(r, to)| {
            let image = &from[r / rows * height * width * channels..];
            let hs = ranges(0, r % rows);
            with_blocks(channels.div_ceil(LANES), |sums| {
                for (j, to) in to.chunks_mut(channels).enumerate() {
                    sums.fill(Block::ZERO);
                    for h in hs.clone() {
                        for w in ranges(1, j) {
                            let from = &image[(h * width + w) * channels..][..channels];
                            for (sums, from) in sums.iter_mut().zip(from.chunks(LANES)) {
                                for (sum, from) in sums.0.iter_mut().zip(from) {
                                    *sum += from.to_f32();
                                }
                            }
                        }
                    }
                    for (to, sums) in to.chunks_mut(LANES).zip(sums.iter()) {
                        for (to, sum) in to.iter_mut().zip(sums.0) {
                            *to = T::from_f32(sum * scale);
                        }
                    }
                }
            });
        });
}

/// The mean of each channel over the pixels of each image.
///
/// # Shapes
///
/// `x: [batch, pixels, channels]`, `y: [batch, channels]`. `channels` and `pixels` must be at
/// least 1; the batch is `y.len() / channels`.
///
/// # Errors
///
/// [`Error::Length`]; [`Error::Unsupported`] where `pixels` or `channels` is 0.
///
/// ```
/// let mut y = [0.0; 2];
/// s3_kernels::train::global_avg_pool_forward(&[1.0, 10.0, 3.0, 30.0], 2, 2, &mut y)?;
/// assert_eq!(y, [2.0, 20.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn global_avg_pool_forward<T: Element>(
    x: &[T],
    pixels: usize,
    channels: usize,
    y: &mut [f32],
) -> Result<(), Error> {
    check_mean(("x", x.len()), ("y", y.len()), pixels, channels)?;
    let scale = 1.0 / pixels as f32;
    y.par_chunks_mut(channels)
        .zip(x.par_chunks(pixels * channels))
        .for_each(|(y, x)| {
            y.fill(0.0);
            for x in x.chunks(channels) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x.to_f32());
            }
            y.iter_mut().for_each(|y| *y *= scale);
        });
    Ok(())
}

/// The gradient of [`global_avg_pool_forward`]: `dx = dy / pixels`, at every pixel.
///
/// # Shapes
///
/// `dy: [batch, channels]`, `dx: [batch, pixels, channels]`, overwritten.
///
/// # Errors
///
/// As [`global_avg_pool_forward`].
///
/// ```
/// let mut dx = [0.0; 4];
/// s3_kernels::train::global_avg_pool_backward(&[2.0, 20.0], 2, 2, &mut dx)?;
/// assert_eq!(dx, [1.0, 10.0, 1.0, 10.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn global_avg_pool_backward<T: Element>(
    dy: &[f32],
    pixels: usize,
    channels: usize,
    dx: &mut [T],
) -> Result<(), Error> {
    check_mean(("dx", dx.len()), ("dy", dy.len()), pixels, channels)?;
    let scale = 1.0 / pixels as f32;
    dx.par_chunks_mut(pixels * channels)
        .zip(dy.par_chunks(channels))
        .for_each(|(dx, dy)| {
            for dx in dx.chunks_mut(channels) {
                dx.iter_mut()
                    .zip(dy)
                    .for_each(|(dx, dy)| *dx = T::from_f32(dy * scale));
            }
        });
    Ok(())
}

fn check_mean(
    x: (&'static str, usize),
    y: (&'static str, usize),
    pixels: usize,
    channels: usize,
) -> Result<(), Error> {
    for (what, got) in [("pixels", pixels), ("channels", channels)] {
        if got == 0 {
            return Err(Error::Unsupported {
                what,
                expected: "at least 1",
                got,
            });
        }
    }
    check_len(y.0, y.1 / channels * channels, y.1)?;
    let expected =
        y.1.checked_mul(pixels)
            .ok_or(Error::Overflow { what: x.0 })?;
    check_len(x.0, expected, x.1)
}
