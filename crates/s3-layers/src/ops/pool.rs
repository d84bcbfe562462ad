//! Max pooling and global average pooling of NHWC activations.

use super::{indices, kernel_error};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use s3_core::backend::is_fused;
use s3_core::host::{Host, slice};
use s3_kernels::train;
use std::sync::OnceLock;

/// The largest value of each `kernel`x`kernel` window, `stride` apart, over an image padded with
/// `-inf`. The gradient goes to the first maximum of the window in row order, as in torch (candle's
/// own gradient is wrong, and refuses `stride != kernel`). NaN propagates.
///
/// # Shapes
/// `x: [n, h, w, c]`, result `[n, (h + 2·padding - kernel)/stride + 1, .., c]`.
///
/// # Errors
/// A rank other than 4, a window that does not fit, or a padding above half of it.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::from_tensor(&Tensor::arange(0f32, 9., &Device::Cpu)?.reshape((1, 3, 3, 1))?)?;
/// let y = s3_layers::ops::max_pool2d(&x, 3, 2, 1)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [4., 5., 7., 8.]);
/// let g = y.sum_all()?.backward()?;
/// assert_eq!(
///     g.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?,
///     [0., 0., 0., 0., 1., 1., 0., 1., 1.],
/// );
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    if is_fused(x.device()) {
        let op = MaxPool2d {
            kernel,
            stride,
            padding,
            argmax: OnceLock::new(),
        };
        return x.contiguous()?.apply_op1(op);
    }
    composed_max_pool2d(x, kernel, stride, padding)
}

/// The maximum over the `kernel²` shifted views of the padded image, one after the other; where two
/// are equal the earlier keeps the gradient.
fn composed_max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    if h + 2 * padding < kernel || w + 2 * padding < kernel {
        bail!("max_pool2d: a window of {kernel} does not fit {h}x{w} padded by {padding}")
    }
    let pad = |t: &Tensor| {
        t.pad_with_zeros(1, padding, padding)?
            .pad_with_zeros(2, padding, padding)
    };
    let (padded, inside) = (pad(x)?, pad(&x.ones_like()?)?.gt(0.5)?);
    let floor = Tensor::full(f32::NEG_INFINITY, padded.shape(), x.device())?.to_dtype(x.dtype())?;
    let padded = inside.where_cond(&padded, &floor)?;
    let rows = |o: usize, len: usize| -> Result<Tensor> {
        let n = (len + 2 * padding - kernel) / stride + 1;
        indices(o, stride, n, x.device())
    };
    let mut best: Option<Tensor> = None;
    for i in 0..kernel {
        for j in 0..kernel {
            let view = padded
                .index_select(&rows(i, h)?, 1)?
                .index_select(&rows(j, w)?, 2)?;
            best = Some(match best {
                None => view,
                Some(b) => {
                    let (v, held) = (view.detach(), b.detach());
                    // A NaN is above all, and stays.
                    let is_above = (v.gt(&held)? + v.ne(&v)?)?;
                    is_above.where_cond(&view, &b)?
                }
            });
        }
    }
    best.map_or_else(|| bail!("max_pool2d: an empty window"), Ok)
}

struct MaxPool2d {
    kernel: usize,
    stride: usize,
    padding: usize,
    argmax: OnceLock<Vec<u32>>,
}

impl MaxPool2d {
    fn shape(&self, dims: &[usize]) -> Result<train::PoolShape> {
        let &[batch, height, width, channels] = dims else {
            bail!("max_pool2d: x has shape {dims:?}, expected [n, h, w, c]")
        };
        let (kernel, stride, padding) = (self.kernel, self.stride, self.padding);
        Ok(train::PoolShape {
            batch,
            height,
            width,
            channels,
            kernel,
            stride,
            padding,
        })
    }
}

impl CustomOp1 for MaxPool2d {
    fn name(&self) -> &'static str {
        "max-pool2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.shape(layout.dims())?;
        let (h, w) = (
            shape.out_height().map_err(kernel_error)?,
            shape.out_width().map_err(kernel_error)?,
        );
        let out = Shape::from((shape.batch, h, w, shape.channels));
        let (mut y, mut argmax) = (vec![0f32; out.elem_count()], vec![0u32; out.elem_count()]);
        train::max_pool2d_forward(&shape, slice(x, layout)?, &mut y, &mut argmax)
            .map_err(kernel_error)?;
        if self.argmax.set(argmax).is_err() {
            bail!("max_pool2d: an op value serves one forward pass")
        }
        Ok((CpuStorage::F32(y), out))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Some(argmax) = self.argmax.get() else {
            bail!("max_pool2d: backward before forward")
        };
        let mut dx = vec![0f32; x.elem_count()];
        let dy = dy.contiguous()?;
        train::max_pool2d_backward(&self.shape(x.dims())?, &Host::new(&dy)?, argmax, &mut dx)
            .map_err(kernel_error)?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

/// The mean over height and width.
///
/// # Shapes
/// `x: [n, h, w, c]`, result `[n, c]`, f32.
///
/// # Errors
/// A rank other than 4.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    if is_fused(x.device()) {
        return x.contiguous()?.apply_op1(GlobalAvgPool);
    }
    let (n, h, w, c) = x.dims4()?;
    x.to_dtype(DType::F32)?.reshape((n, h * w, c))?.mean(1)
}

struct GlobalAvgPool;

/// `(pixels, channels)` of an NHWC shape.
fn pixels_and_channels(dims: &[usize]) -> Result<(usize, usize)> {
    match dims {
        &[_, h, w, c] => Ok((h * w, c)),
        _ => bail!("global_avg_pool: x has shape {dims:?}, expected [n, h, w, c]"),
    }
}

impl CustomOp1 for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global-avg-pool-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (pixels, c) = pixels_and_channels(layout.dims())?;
        let n = layout.dims()[0];
        let mut y = vec![0f32; n * c];
        train::global_avg_pool_forward(slice(x, layout)?, pixels, c, &mut y)
            .map_err(kernel_error)?;
        Ok((CpuStorage::F32(y), Shape::from((n, c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (pixels, c) = pixels_and_channels(x.dims())?;
        let mut dx = vec![0f32; x.elem_count()];
        let dy = dy.contiguous()?;
        train::global_avg_pool_backward(&Host::new(&dy)?, pixels, c, &mut dx)
            .map_err(kernel_error)?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Rng, assert_close, close_gradients};
    use candle_core::Var;

    #[test]
    fn max_pool_equals_the_composed_op() -> Result<()> {
        let mut rng = Rng::new(4);
        for (hw, kernel, stride, padding) in
            [(7, 3, 2, 1), (8, 2, 2, 0), (5, 3, 1, 1), (6, 3, 2, 0)]
        {
            let x = Var::from_tensor(&rng.normal((2, hw, hw, 3))?)?;
            let ours = max_pool2d(&x, kernel, stride, padding)?;
            let theirs = composed_max_pool2d(&x, kernel, stride, padding)?;
            assert_close(&ours, &theirs)?;
            let g = rng.normal(ours.shape().clone())?;
            close_gradients(&[&x], &(ours * &g)?.sum_all()?, &(theirs * &g)?.sum_all()?)?;
        }
        Ok(())
    }

    #[test]
    fn both_max_pools_give_ties_to_the_first_and_keep_a_nan() -> Result<()> {
        let nan = f32::NAN;
        for (values, best, first) in [
            ([1f32, 1., 1., 0.], Some(1.0), 0),
            ([0., 2., 2., 2.], Some(2.0), 1),
            ([3., nan, 4., 5.], None, 1),
            // The last of several, as in torch.
            ([nan, 3., nan, 5.], None, 2),
        ] {
            let x = Tensor::from_slice(&values, (1, 2, 2, 1), &candle_core::Device::Cpu)?;
            let x = Var::from_tensor(&x)?;
            for y in [max_pool2d(&x, 2, 2, 0)?, composed_max_pool2d(&x, 2, 2, 0)?] {
                let value = y.flatten_all()?.to_vec1::<f32>()?[0];
                assert!(best.map_or(value.is_nan(), |b| b == value), "{values:?}");
                let grads = y.sum_all()?.backward()?;
                let grad = grads.get(&x).expect("a gradient").flatten_all()?;
                let mut want = [0f32; 4];
                want[first] = 1.0;
                assert_eq!(grad.to_vec1::<f32>()?, want, "{values:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_mean_over_pixels_and_its_gradient() -> Result<()> {
        let mut rng = Rng::new(5);
        let x = Var::from_tensor(&rng.normal((3, 4, 2, 6))?)?;
        let ours = global_avg_pool(&x)?;
        let theirs = x.as_tensor().reshape((3, 8, 6))?.mean(1)?;
        assert_close(&ours, &theirs)?;
        let g = rng.normal((3, 6))?;
        close_gradients(&[&x], &(ours * &g)?.sum_all()?, &(theirs * &g)?.sum_all()?)
    }
}
