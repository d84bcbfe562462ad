//! Convolution of NHWC activations with OIHW weights: of one group, and depthwise.

mod composed;
mod shape;

use super::{kernel_error, windows};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use s3_core::backend::is_fused;
use s3_core::host::{Host, slice};
use s3_kernels::train;
use shape::Conv2d;

/// `y[n,i,j,o] = Σ x[n, i·stride + a - padding, j·stride + b - padding, c] · w[o,c,a,b]`.
///
/// # Shapes
/// `x: [n, h, w, c_in]`, `w: [c_out, c_in, kh, kw]`, result `[n, h', w', c_out]`, of the type of
/// `x`.
///
/// Gradients to `x` (only where a variable stands behind it) and `w`.
///
/// # Errors
/// Channels that differ, a kernel larger than the padded image, or a rank other than 4.
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    if !is_fused(x.device()) {
        return composed::conv2d(x, w, stride, padding);
    }
    let op = Conv2d {
        stride,
        padding,
        groups: 1,
    };
    x.contiguous()?.apply_op2(&w.contiguous()?, op)
}

/// `y[n,i,j,c] = Σ x[n, i·stride + a - padding, j·stride + b - padding, c] · w[c,0,a,b]`: a
/// convolution in which each channel sees itself.
///
/// # Shapes
/// `x: [n, h, w, c]`, `w: [c, 1, kh, kw]`, result `[n, h', w', c]`, of the type of `x`.
///
/// Gradients to `x` (only where a variable stands behind it) and `w`.
///
/// # Errors
/// Channels that differ, a window that does not fit, or a rank other than 4.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 10.], [2., 20.]]]], &Device::Cpu)?;
/// let w = Tensor::new(&[[[[3f32, 1.]]], [[[0., 2.]]]], &Device::Cpu)?;
/// let y = s3_layers::ops::depthwise_conv2d(&x, &w, 1, 0)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5., 40.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn depthwise_conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let (groups, ..) = w.dims4()?;
    if x.rank() != 4 || x.dim(3)? != groups || w.dim(1)? != 1 {
        bail!(
            "depthwise_conv2d: x has shape {:?} and w {:?}, \
             expected [n, h, w, c] and [c, 1, kh, kw]",
            x.dims(),
            w.dims()
        )
    }
    if !is_fused(x.device()) {
        return windows::depthwise_conv2d(x, w, stride, padding);
    }
    let op = Conv2d {
        stride,
        padding,
        groups,
    };
    x.contiguous()?.apply_op2(&w.contiguous()?, op)
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-nhwc"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = self.shape(x_layout.dims(), w_layout.dims())?;
        let (h, w_out) = (
            shape.out_height().map_err(kernel_error)?,
            shape.out_width().map_err(kernel_error)?,
        );
        let mut y = vec![0f32; shape.output_len().map_err(kernel_error)?];
        train::conv2d_forward(&shape, slice(x, x_layout)?, slice(w, w_layout)?, &mut y)
            .map_err(kernel_error)?;
        Ok((
            CpuStorage::F32(y),
            Shape::from((shape.batch, h, w_out, shape.out_channels)),
        ))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = self.shape(x.dims(), w.dims())?;
        let dy = dy.contiguous()?;
        let dy = Host::new(&dy)?;
        let dx = if x.track_op() {
            let mut dx = vec![0f32; x.elem_count()];
            train::conv2d_backward_input(&shape, &dy, &Host::new(w)?, &mut dx)
                .map_err(kernel_error)?;
            Some(Tensor::from_vec(dx, x.shape(), x.device())?)
        } else {
            None
        };
        let dw = if w.track_op() {
            let mut dw = vec![0f32; w.elem_count()];
            train::conv2d_backward_weight(&shape, &Host::new(x)?, &dy, &mut dw)
                .map_err(kernel_error)?;
            Some(Tensor::from_vec(dw, w.shape(), w.device())?)
        } else {
            None
        };
        Ok((dx, dw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Rng, close_with_gradients};
    use candle_core::{DType, Device, Var};

    /// `(images, [height, width], c_in, c_out, kernel, stride, padding)`.
    type Case = (usize, [usize; 2], usize, usize, usize, usize, usize);
    const CASES: [Case; 9] = [
        (3, [9, 9], 5, 7, 3, 1, 1),
        (2, [8, 8], 16, 32, 3, 2, 1),
        (2, [8, 8], 16, 32, 1, 2, 0),
        (1, [13, 13], 3, 16, 7, 2, 3),
        (2, [1, 1], 4, 4, 3, 1, 1),
        (2, [6, 6], 3, 8, 5, 1, 2),
        (2, [8, 7], 3, 4, 3, 2, 1),
        (1, [5, 10], 2, 3, 3, 3, 0),
        (2, [5, 4], 1, 1, 2, 1, 1),
    ];

    #[test]
    fn kernels_equal_candles_own_ops() -> Result<()> {
        let mut rng = Rng::new(1);
        for (n, [height, width], c_in, c_out, k, stride, padding) in CASES {
            let x = Var::from_tensor(&rng.normal((n, height, width, c_in))?)?;
            let w = Var::from_tensor(&rng.normal((c_out, c_in, k, k))?)?;
            let (ours, theirs) = (
                conv2d(&x, &w, stride, padding)?,
                composed::conv2d(&x, &w, stride, padding)?,
            );
            close_with_gradients(&mut rng, &[&x, &w], &ours, &theirs)?;
        }
        Ok(())
    }

    /// Against candle's own gradients, which are right where height and width are the same.
    #[test]
    fn composed_gradients_equal_candles() -> Result<()> {
        let mut rng = Rng::new(7);
        for (n, [height, width], c_in, c_out, k, stride, padding) in CASES {
            if height != width {
                continue;
            }
            let x = Var::from_tensor(&rng.normal((n, height, width, c_in))?)?;
            let w = Var::from_tensor(&rng.normal((c_out, c_in, k, k))?)?;
            let ours = composed::conv2d(&x, &w, stride, padding)?;
            let nchw = x.permute((0, 3, 1, 2))?.contiguous()?;
            let theirs = nchw.conv2d(&w, padding, stride, 1, 1)?;
            let theirs = theirs.permute((0, 2, 3, 1))?;
            close_with_gradients(&mut rng, &[&x, &w], &ours, &theirs)?;
        }
        Ok(())
    }

    #[test]
    fn depthwise_kernels_equal_candles_own_ops() -> Result<()> {
        let mut rng = Rng::new(9);
        for (n, [height, width], c, _, k, stride, padding) in CASES {
            for kernel in [[k, k], [k, 2], [1, k]] {
                let x = Var::from_tensor(&rng.normal((n, height, width, c))?)?;
                let w = Var::from_tensor(&rng.normal((c, 1, kernel[0], kernel[1]))?)?;
                if kernel[1] > width + 2 * padding {
                    continue;
                }
                let ours = depthwise_conv2d(&x, &w, stride, padding)?;
                let theirs = windows::depthwise_conv2d(&x, &w, stride, padding)?;
                close_with_gradients(&mut rng, &[&x, &w], &ours, &theirs)?;
            }
        }
        Ok(())
    }

    /// Half a unit in the last place of bf16 is 2^-9 of a value; a sum is rounded once, and its
    /// terms, rounded already, are the same.
    #[test]
    fn composed_in_bf16_is_the_rounded_convolution_of_rounded_numbers() -> Result<()> {
        let mut rng = Rng::new(8);
        let rounded = |t: &Tensor| t.to_dtype(DType::BF16)?.to_dtype(DType::F32);
        for (n, [height, width], c_in, c_out, k, stride, padding) in CASES {
            let x = Var::from_tensor(&rounded(&rng.normal((n, height, width, c_in))?)?)?;
            let w = Var::from_tensor(&rounded(&rng.normal((c_out, c_in, k, k))?)?)?;
            let exact = conv2d(&x, &w, stride, padding)?;
            let ours = composed::conv2d(&x.to_dtype(DType::BF16)?, &w, stride, padding)?;
            assert_eq!(ours.dtype(), DType::BF16);
            let g = rounded(&rng.normal(exact.shape().clone())?)?;
            let loss = |y: &Tensor| (y.to_dtype(DType::F32)? * &g)?.sum_all();
            let (a, b) = (loss(&exact)?.backward()?, loss(&ours)?.backward()?);
            let near = |exact: &Tensor, ours: &Tensor| -> Result<()> {
                let largest = exact.abs()?.max_all()?.to_scalar::<f32>()?.max(1.0);
                let apart = (exact - ours.to_dtype(DType::F32)?)?.abs()?.max_all()?;
                assert!(
                    apart.to_scalar::<f32>()? <= largest / 256.0,
                    "{n} {height} {width}"
                );
                Ok(())
            };
            near(&exact, &ours)?;
            for v in [&x, &w] {
                assert_eq!(b.get(v).expect("a gradient").dtype(), DType::F32);
                near(a.get(v).expect("a gradient"), b.get(v).expect("a gradient"))?;
            }
        }
        Ok(())
    }

    #[test]
    fn an_input_without_variables_gets_no_gradient_work() -> Result<()> {
        let mut rng = Rng::new(2);
        let x = rng.normal((1, 4, 4, 2))?;
        let w = Var::from_tensor(&rng.normal((2, 2, 3, 3))?)?;
        for y in [conv2d(&x, &w, 1, 1)?, composed::conv2d(&x, &w, 1, 1)?] {
            let grads = y.sum_all()?.backward()?;
            assert!(grads.get(&x).is_none() && grads.get(&w).is_some());
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let zeros = |s: &[usize]| Tensor::zeros(s, candle_core::DType::F32, &Device::Cpu);
        for conv in [conv2d, composed::conv2d] {
            let err =
                conv(&zeros(&[1, 4, 4, 3])?, &zeros(&[8, 2, 3, 3])?, 1, 1).expect_err("channels");
            assert!(
                err.to_string().contains("3 channels, the weight expects 2"),
                "{err}"
            );
            assert!(conv(&zeros(&[1, 2, 2, 2])?, &zeros(&[8, 2, 7, 7])?, 1, 0).is_err());
        }
        for w in [[8, 1, 3, 3], [2, 2, 3, 3]] {
            let err = depthwise_conv2d(&zeros(&[1, 4, 4, 2])?, &zeros(&w)?, 1, 1);
            let err = err.expect_err("channels").to_string();
            assert!(err.contains("[n, h, w, c] and [c, 1, kh, kw]"), "{err}");
        }
        assert!(depthwise_conv2d(&zeros(&[1, 2, 2, 2])?, &zeros(&[2, 1, 7, 7])?, 1, 0).is_err());
        Ok(())
    }
}
