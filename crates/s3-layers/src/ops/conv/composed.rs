//! The convolution from candle's ops, for every device but the CPU.
//!
//! Forward it is candle's own, between two permutations. Its gradients are not: candle's (0.11)
//! take the height of the image for its width too, so that images whose sides differ fail at stride
//! 2; run kernels of one thread an output, even under cuDNN; and are computed for images, which
//! need none. Here, with `k` the kernel's size, `s` the stride, `p` the padding:
//!
//! ```text
//! dx = D ⋆ w mirrored      D: dy with s - 1 zeros between neighbours, k - 1 - p around; stride 1
//! dw[:,:,a,b] = dyᵀ x_ab   x_ab: the pixels that tap (a, b) meets; one matrix product a tap
//! ```

use super::shape::Conv2d;
use crate::ops::indices;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail,
};
use std::sync::{Mutex, PoisonError};

/// [`conv2d`](super::conv2d) of `x` in f32 or bf16; `w` is rounded to the type of `x`, and its
/// gradient goes back through that.
pub(super) fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let op = Conv2d {
        stride,
        padding,
        groups: 1,
    };
    let shape = op.shape(x.dims(), w.dims())?;
    let (height, width) = (shape.height + 2 * padding, shape.width + 2 * padding);
    if shape.kernel_h > height || shape.kernel_w > width || stride == 0 {
        bail!(
            "conv2d: a kernel of {}x{} at stride {stride} on an image of {height}x{width} with its \
             padding",
            shape.kernel_h,
            shape.kernel_w
        )
    }
    if padding >= shape.kernel_h.min(shape.kernel_w) {
        bail!("conv2d: padding {padding} is no less than the kernel")
    }
    let (x, w) = (x.contiguous()?, w.to_dtype(x.dtype())?.contiguous()?);
    let y = convolve(&to_nchw(&x.detach())?, &w.detach(), stride, padding)?;
    let op = Composed {
        stride,
        padding,
        y: Mutex::new(Some(to_nhwc(&y)?)),
    };
    x.apply_op2(&w, op)
}

fn to_nchw(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

fn to_nhwc(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}

/// candle's convolution of NCHW. On the CPU it has none of bf16: there the products, which f32
/// holds exactly, are summed in f32 and rounded once.
fn convolve(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::BF16 {
        let (x, w) = (x.to_dtype(DType::F32)?, w.to_dtype(DType::F32)?);
        return convolve(&x, &w, stride, padding)?.to_dtype(DType::BF16);
    }
    x.conv2d(w, padding, stride, 1, 1)
}

/// An op whose value is known: it gives `y` its gradients.
struct Composed {
    stride: usize,
    padding: usize,
    y: Mutex<Option<Tensor>>,
}

impl Composed {
    fn y(&self) -> Result<Tensor> {
        let y = self.y.lock().unwrap_or_else(PoisonError::into_inner).take();
        match y {
            Some(y) => Ok(y),
            None => bail!("conv2d: an op value serves one forward pass"),
        }
    }

    /// `[n, h, w, c_in]` from `dy: [n, h', w', c_out]`.
    fn input_gradient(&self, x: &[usize], w: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let mut spread = to_nchw(dy)?;
        for dim in [2, 3] {
            let (size, kernel) = (x[dim - 1], w.dim(dim)?);
            let around = (kernel - 1 - self.padding, size + kernel - 1);
            spread = spread_out(&spread, dim, self.stride, around)?;
        }
        let mirrored = w.transpose(0, 1)?.contiguous()?.flip(&[2, 3])?;
        to_nhwc(&convolve(&spread.contiguous()?, &mirrored, 1, 0)?)
    }

    /// `[c_out, c_in, kh, kw]` from `dy: [n, h', w', c_out]`.
    fn weight_gradient(&self, x: &Tensor, w: &[usize], dy: &Tensor) -> Result<Tensor> {
        let (n, out_h, out_w, c_out) = dy.dims4()?;
        let padded = x
            .pad_with_zeros(1, self.padding, self.padding)?
            .pad_with_zeros(2, self.padding, self.padding)?
            .contiguous()?;
        let pixels = n * out_h * out_w;
        let dy = dy.reshape((pixels, c_out))?.t()?;
        let every = |start, count| indices(start, self.stride, count, x.device());
        let mut taps = Vec::with_capacity(w[2] * w[3]);
        for a in 0..w[2] {
            let rows = padded.index_select(&every(a, out_h)?, 1)?;
            for b in 0..w[3] {
                let met = rows.index_select(&every(b, out_w)?, 2)?;
                taps.push(dy.matmul(&met.reshape((pixels, w[1]))?)?);
            }
        }
        Tensor::stack(&taps, 2)?.reshape(w)
    }
}

/// `t` with `stride - 1` zeros between neighbours along `dim`, `before` zeros before the first, and
/// so many behind the last that there are `total`.
fn spread_out(
    t: &Tensor,
    dim: usize,
    stride: usize,
    (before, total): (usize, usize),
) -> Result<Tensor> {
    let mut dims = t.dims().to_vec();
    let inner = (dims[dim] - 1) * stride + 1;
    dims[dim] *= stride;
    t.unsqueeze(dim + 1)?
        .pad_with_zeros(dim + 1, 0, stride - 1)?
        .reshape(dims)?
        .narrow(dim, 0, inner)?
        .pad_with_zeros(dim, before, total - before - inner)
}

impl CustomOp2 for Composed {
    fn name(&self) -> &'static str {
        "conv2d-composed"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.y()?;
        match &*y.storage_and_layout().0 {
            Storage::Cpu(s) => Ok((s.clone(), y.shape().clone())),
            _ => bail!("conv2d: the result is not on the device of x"),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let y = self.y()?;
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cuda(s) => Ok((s.try_clone(layout)?, y.shape().clone())),
            _ => bail!("conv2d: the result is not on the device of x"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x_value, w_value, dy) = (x.detach(), w.detach(), dy.contiguous()?);
        let dx = || self.input_gradient(x.dims(), &w_value, &dy);
        let dw = || self.weight_gradient(&x_value, w.dims(), &dy);
        Ok((
            x.track_op().then(dx).transpose()?,
            w.track_op().then(dw).transpose()?,
        ))
    }
}
