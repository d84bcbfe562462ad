//! Max pooling, average pooling and the mean over all pixels of NHWC activations.

use super::{indices, kernel_error, windows};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use s3_core::backend::is_fused;
use s3_core::host::{Host, slice};
use s3_kernels::train;
use std::sync::OnceLock;

/// The largest value of each `kernel[0]` x `kernel[1]` window, `stride` apart, over an image padded
/// with `-inf`. The gradient goes to the first maximum of the window in row order, as in torch
/// (candle's own gradient is wrong, and refuses `stride != kernel`). NaN propagates.
///
/// # Shapes
/// `x: [n, h, w, c]`, result `[n, (h + 2·padding - kernel[0])/stride + 1, .., c]`.
///
/// # Errors
/// A rank other than 4, a window that does not fit, or a padding above half of it.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::from_tensor(&Tensor::arange(0f32, 9., &Device::Cpu)?.reshape((1, 3, 3, 1))?)?;
/// let y = s3_layers::ops::max_pool2d(&x, [3, 3], 2, 1)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [4., 5., 7., 8.]);
/// let g = y.sum_all()?.backward()?;
/// assert_eq!(
///     g.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?,
///     [0., 0., 0., 0., 1., 1., 0., 1., 1.],
/// );
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_pool2d(x: &Tensor, kernel: [usize; 2], stride: usize, padding: usize) -> Result<Tensor> {
    if is_fused(x.device()) {
        let op = MaxPool2d {
            windows: Windows {
                kernel,
                stride,
                padding,
            },
            argmax: OnceLock::new(),
        };
        return x.contiguous()?.apply_op1(op);
    }
    composed_max_pool2d(x, kernel, stride, padding)
}

/// The maximum over the shifted views, one a pixel of the window, of the padded image, one after
/// the other; where two are equal the earlier keeps the gradient.
fn composed_max_pool2d(
    x: &Tensor,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    if h + 2 * padding < kernel[0] || w + 2 * padding < kernel[1] {
        bail!("max_pool2d: a window of {kernel:?} does not fit {h}x{w} padded by {padding}")
    }
    let pad = |t: &Tensor| {
        t.pad_with_zeros(1, padding, padding)?
            .pad_with_zeros(2, padding, padding)
    };
    let (padded, inside) = (pad(x)?, pad(&x.ones_like()?)?.gt(0.5)?);
    let floor = Tensor::full(f32::NEG_INFINITY, padded.shape(), x.device())?.to_dtype(x.dtype())?;
    let padded = inside.where_cond(&padded, &floor)?;
    let every = |o: usize, len: usize, kernel: usize| -> Result<Tensor> {
        let n = (len + 2 * padding - kernel) / stride + 1;
        indices(o, stride, n, x.device())
    };
    let mut best: Option<Tensor> = None;
    for i in 0..kernel[0] {
        for j in 0..kernel[1] {
            let view = padded
                .index_select(&every(i, h, kernel[0])?, 1)?
                .index_select(&every(j, w, kernel[1])?, 2)?;
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

/// The windows of a pool.
struct Windows {
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

impl Windows {
    fn shape(&self, name: &str, dims: &[usize]) -> Result<train::PoolShape> {
        let &[batch, height, width, channels] = dims else {
            bail!("{name}: x has shape {dims:?}, expected [n, h, w, c]")
        };
        Ok(train::PoolShape {
            batch,
            height,
            width,
            channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        })
    }
}

/// The shape of a pool's result.
fn made(shape: &train::PoolShape) -> Result<Shape> {
    let height = shape.out_height().map_err(kernel_error)?;
    let width = shape.out_width().map_err(kernel_error)?;
    Ok(Shape::from((shape.batch, height, width, shape.channels)))
}

struct MaxPool2d {
    windows: Windows,
    argmax: OnceLock<Vec<u32>>,
}

impl CustomOp1 for MaxPool2d {
    fn name(&self) -> &'static str {
        "max-pool2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.windows.shape("max_pool2d", layout.dims())?;
        let out = made(&shape)?;
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
        let shape = self.windows.shape("max_pool2d", x.dims())?;
        let mut dx = vec![0f32; x.elem_count()];
        let dy = dy.contiguous()?;
        train::max_pool2d_backward(&shape, &Host::new(&dy)?, argmax, &mut dx)
            .map_err(kernel_error)?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

/// The mean of each `kernel[0]` x `kernel[1]` window, `stride` apart, zeros of the padding
/// included.
///
/// # Shapes
/// `x: [n, h, w, c]`, result `[n, (h + 2·padding - kernel[0])/stride + 1, .., c]`.
///
/// # Errors
/// A rank other than 4, or a window that does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::arange(0f32, 6., &Device::Cpu)?.reshape((1, 2, 3, 1))?;
/// let y = s3_layers::ops::avg_pool2d(&x, [2, 1], 1, 0)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 2.5, 3.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn avg_pool2d(x: &Tensor, kernel: [usize; 2], stride: usize, padding: usize) -> Result<Tensor> {
    if !is_fused(x.device()) {
        return windows::avg_pool2d(x, kernel, stride, padding);
    }
    let windows = Windows {
        kernel,
        stride,
        padding,
    };
    x.contiguous()?.apply_op1(AvgPool2d(windows))
}

struct AvgPool2d(Windows);

impl CustomOp1 for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg-pool2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.0.shape("avg_pool2d", layout.dims())?;
        let out = made(&shape)?;
        let mut y = vec![0f32; out.elem_count()];
        train::avg_pool2d_forward(&shape, slice(x, layout)?, &mut y).map_err(kernel_error)?;
        Ok((CpuStorage::F32(y), out))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let shape = self.0.shape("avg_pool2d", x.dims())?;
        let mut dx = vec![0f32; x.elem_count()];
        let dy = dy.contiguous()?;
        train::avg_pool2d_backward(&shape, &Host::new(&dy)?, &mut dx).map_err(kernel_error)?;
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
    use crate::ops::testing::{Rng, close_with_gradients};
    use candle_core::Var;

    /// `([height, width], kernel, stride, padding)`.
    const CASES: [([usize; 2], [usize; 2], usize, usize); 6] = [
        ([7, 7], [3, 3], 2, 1),
        ([8, 8], [2, 2], 2, 0),
        ([5, 5], [3, 3], 1, 1),
        ([6, 6], [3, 3], 2, 0),
        ([6, 9], [2, 3], 2, 1),
        ([5, 4], [1, 4], 3, 0),
    ];

    #[test]
    fn max_pool_equals_the_composed_op() -> Result<()> {
        equal(4, max_pool2d, composed_max_pool2d)
    }

    #[test]
    fn avg_pool_equals_the_composed_op() -> Result<()> {
        equal(6, avg_pool2d, windows::avg_pool2d)
    }

    type Pool = fn(&Tensor, [usize; 2], usize, usize) -> Result<Tensor>;

    fn equal(seed: u64, ours: Pool, theirs: Pool) -> Result<()> {
        let mut rng = Rng::new(seed);
        for ([height, width], kernel, stride, padding) in CASES {
            let x = Var::from_tensor(&rng.normal((2, height, width, 3))?)?;
            let ours = ours(&x, kernel, stride, padding)?;
            let theirs = theirs(&x, kernel, stride, padding)?;
            close_with_gradients(&mut rng, &[&x], &ours, &theirs)?;
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
            for pool in [max_pool2d, composed_max_pool2d] {
                let y = pool(&x, [2, 2], 2, 0)?;
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
        close_with_gradients(&mut rng, &[&x], &ours, &theirs)
    }
}
