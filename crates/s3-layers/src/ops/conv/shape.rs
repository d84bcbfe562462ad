//! The shape of a convolution: what its images and its weight must agree on.

use candle_core::{Result, bail};
use s3_kernels::ConvShape;

/// How windows lie on an image.
pub(super) struct Conv2d {
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// 1, or the channels of `x` and of the result.
    pub(super) groups: usize,
}

impl Conv2d {
    /// Of images and weights of these dimensions.
    pub(super) fn shape(&self, x: &[usize], w: &[usize]) -> Result<ConvShape> {
        let (&[batch, height, width, in_channels], &[out_channels, c_in, kernel_h, kernel_w]) =
            (x, w)
        else {
            bail!(
                "conv2d: x has shape {x:?} and w {w:?}, expected [n, h, w, c_in] and [c_out, c_in, \
                 kh, kw]"
            )
        };
        if in_channels != c_in * self.groups {
            bail!("conv2d: x has {in_channels} channels, the weight expects {c_in}")
        }
        let &Self {
            stride,
            padding,
            groups,
        } = self;
        Ok(ConvShape {
            batch,
            height,
            width,
            in_channels,
            out_channels,
            kernel_h,
            kernel_w,
            stride,
            padding,
            groups,
            ..ConvShape::default()
        })
    }
}
