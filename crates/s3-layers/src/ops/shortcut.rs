//! The parameter-free shortcut between two stages (option A of He et al., 2015).

use super::indices;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use s3_core::backend::is_fused;
use s3_core::host::{Host, slice};
use s3_kernels::train::Element;

/// Every `stride`-th pixel of each row and column, with zero channels added on both sides so that
/// there are `channels` (the widespread PyTorch form of option A: half before, half after).
///
/// # Shapes
/// `x: [n, h, w, c]`, result `[n, ⌈h/stride⌉, ⌈w/stride⌉, channels]`.
///
/// # Errors
/// A rank other than 4, or fewer channels than `x` has.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::arange(0f32, 9., &Device::Cpu)?.reshape((1, 3, 3, 1))?;
/// let y = s3_layers::ops::subsample_and_pad(&x, 2, 3)?;
/// let y = y.flatten_all()?.to_vec1::<f32>()?;
/// assert_eq!(y, [0., 0., 0., 0., 2., 0., 0., 6., 0., 0., 8., 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn subsample_and_pad(x: &Tensor, stride: usize, channels: usize) -> Result<Tensor> {
    if is_fused(x.device()) {
        x.contiguous()?
            .apply_op1(SubsampleAndPad { stride, channels })
    } else {
        composed(x, stride, channels)
    }
}

fn composed(x: &Tensor, stride: usize, channels: usize) -> Result<Tensor> {
    let out = SubsampleAndPad { stride, channels }.out_shape(x.dims())?;
    let (_, h, w, _) = out.dims4()?;
    let (c, device) = (x.dim(3)?, x.device());
    let before = (channels - c) / 2;
    x.contiguous()?
        .index_select(&indices(0, stride, h, device)?, 1)?
        .index_select(&indices(0, stride, w, device)?, 2)?
        .pad_with_zeros(3, before, channels - c - before)
}

/// The op on plain slices.
#[derive(Clone, Debug)]
pub(crate) struct SubsampleAndPad {
    pub(crate) stride: usize,
    pub(crate) channels: usize,
}

impl SubsampleAndPad {
    /// The shape of the result for an `x` of `dims`.
    pub(crate) fn out_shape(&self, dims: &[usize]) -> Result<Shape> {
        let &[n, h, w, c] = dims else {
            bail!("subsample_and_pad: x has shape {dims:?}, expected [n, h, w, c]")
        };
        if self.channels < c || self.stride == 0 {
            bail!(
                "subsample_and_pad: {c} channels cannot become {}",
                self.channels
            )
        }
        Ok(Shape::from((
            n,
            h.div_ceil(self.stride),
            w.div_ceil(self.stride),
            self.channels,
        )))
    }

    /// Calls `f(start in x, start in y)` for each run of channels that the two share.
    fn for_each_pixel(&self, dims: &[usize], mut f: impl FnMut(usize, usize)) -> Result<()> {
        let (n, out_h, out_w, channels) = self.out_shape(dims)?.dims4()?;
        let (h, w, c) = (dims[1], dims[2], dims[3]);
        let before = (channels - c) / 2;
        for i in 0..n * out_h {
            let row = (i / out_h) * h + (i % out_h) * self.stride;
            for j in 0..out_w {
                f(
                    (row * w + j * self.stride) * c,
                    (i * out_w + j) * channels + before,
                );
            }
        }
        Ok(())
    }

    /// Writes every value of `y`.
    pub(crate) fn forward<T: Element>(&self, x: &[T], dims: &[usize], y: &mut [T]) -> Result<()> {
        y.fill(T::default());
        let c = dims[3];
        self.for_each_pixel(dims, |from, to| {
            y[to..to + c].copy_from_slice(&x[from..from + c])
        })
    }

    /// Adds the gradient of `x` to `dx`.
    pub(crate) fn add_gradient<T: Element>(
        &self,
        dy: &[T],
        dims: &[usize],
        dx: &mut [T],
    ) -> Result<()> {
        let c = dims[3];
        self.for_each_pixel(dims, |to, from| {
            dx[to..to + c]
                .iter_mut()
                .zip(&dy[from..from + c])
                .for_each(|(a, b)| *a = T::from_f32(a.to_f32() + b.to_f32()));
        })
    }
}

impl CustomOp1 for SubsampleAndPad {
    fn name(&self) -> &'static str {
        "subsample-and-pad"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.out_shape(layout.dims())?;
        let mut y = vec![0f32; out.elem_count()];
        self.forward(slice(x, layout)?, layout.dims(), &mut y)?;
        Ok((CpuStorage::F32(y), out))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let mut dx = vec![0f32; x.elem_count()];
        self.add_gradient(&Host::new(&dy)?, x.dims(), &mut dx)?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Rng, close_with_gradients};
    use candle_core::Var;

    #[test]
    fn the_fused_op_equals_candles_own_ops() -> Result<()> {
        let mut rng = Rng::new(6);
        for (hw, c, stride, channels) in [(8, 4, 2, 8), (7, 3, 2, 8), (4, 5, 1, 5)] {
            let x = Var::from_tensor(&rng.normal((2, hw, hw, c))?)?;
            let (ours, theirs) = (
                subsample_and_pad(&x, stride, channels)?,
                composed(&x, stride, channels)?,
            );
            close_with_gradients(&mut rng, &[&x], &ours, &theirs)?;
        }
        Ok(())
    }
}
