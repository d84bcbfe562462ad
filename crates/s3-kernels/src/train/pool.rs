//! Max pooling and global average pooling over NHWC activations, with their gradients.
//!
//! ```text
//! max:  y[n,i,j,c] = max over the window's pixels inside the image of x[n,h,w,c]
//! mean: y[n,c]     = Σ_{h,w} x[n,h,w,c] / (height·width)
//! ```

use rayon::prelude::*;

use super::arch::LANES;
use super::element::Element;
use super::scratch::{Block, with_blocks};

use crate::error::{Error, check_len};
use crate::shape::ConvShape;

/// Shape of a square max pooling. `out = floor((in + 2 padding - kernel) / stride) + 1`.
///
/// ```
/// use s3_kernels::train::PoolShape;
/// let stem = PoolShape { batch: 8, height: 112, width: 112, channels: 64, kernel: 3, stride: 2, padding: 1 };
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
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Pixels added on each side, which never win. At most half the kernel.
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
            kernel_h: self.kernel,
            kernel_w: self.kernel,
            stride: self.stride,
            padding: self.padding,
            ..ConvShape::default()
        }
    }

    fn check(
        &self,
        input: (&'static str, usize),
        outputs: [(&'static str, usize); 2],
    ) -> Result<(), Error> {
        if self.padding > self.kernel / 2 {
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
        check_len(input.0, self.as_conv().input_len()?, input.1)?;
        let expected = self.as_conv().output_len()?;
        outputs
            .iter()
            .try_for_each(|&(what, got)| check_len(what, expected, got))
    }
}

/// Max pooling. `argmax` is the winning pixel, `h · width + w` within its image.
///
/// The first of equal values wins, and a NaN beats every number, as in torch.
///
/// # Shapes
///
/// `x: [batch, height, width, channels]`; `y`, `argmax`: `[batch, out_height, out_width, channels]`.
///
/// # Errors
///
/// [`Error::Unsupported`] where the padding exceeds half the kernel; [`Error::Length`]; those of
/// [`ConvShape::output_len`].
///
/// ```
/// use s3_kernels::train::{PoolShape, max_pool2d_forward};
/// let shape = PoolShape { batch: 1, height: 2, width: 2, channels: 1, kernel: 2, stride: 2, padding: 0 };
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
    shape.check(("x", x.len()), [("y", y.len()), ("argmax", argmax.len())])?;
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
            let window = |i: usize, len: usize| {
                let start = (i * shape.stride) as isize - shape.padding as isize;
                let end = (start + shape.kernel as isize).max(0) as usize;
                start.max(0) as usize..end.min(len)
            };
            for (j, (y, argmax)) in y
                .chunks_mut(channels)
                .zip(argmax.chunks_mut(channels))
                .enumerate()
            {
                let (hs, ws) = (window(i, shape.height), window(j, width));
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
/// let shape = PoolShape { batch: 1, height: 2, width: 2, channels: 1, kernel: 2, stride: 2, padding: 0 };
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
    shape.check(
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
