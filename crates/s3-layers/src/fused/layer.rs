//! A convolution and what follows it, a batch norm or a bias, a sum and an activation: forward, and
//! backward from what the forward pass kept.

use super::front::Share;
use super::norm;
use super::workspace::{Buffer, Workspace};
use crate::ops::kernel_error;
use candle_core::Result;
use s3_kernels::model::{Layer, Size};
use s3_kernels::train::{self, Element};
use std::sync::Arc;

/// What the backward pass needs of the forward pass, beside `x` and `y`: where a batch norm
/// follows, the sums and what it keeps of them.
pub(crate) struct Kept<T>(pub(crate) Option<(Buffer<T>, norm::Kept)>);

/// A layer that reads images of size `from`.
#[derive(Clone, Copy)]
pub(crate) struct At<'a, T> {
    pub(crate) layer: &'a Layer<Share>,
    pub(crate) batch: usize,
    pub(crate) from: &'a Size,
    pub(crate) weight: &'a [f32],
    /// What follows the sums: gains and biases, or biases, or nothing.
    pub(crate) then: &'a [&'a [f32]],
    pub(crate) workspace: &'a Arc<Workspace<T>>,
}

impl<T: Element> At<'_, T> {
    /// Writes `y = act(then(conv(x)) + residual)`.
    pub(crate) fn forward(&self, x: &[T], residual: Option<&[T]>, y: &mut [T]) -> Result<Kept<T>> {
        let (layer, shape) = (self.layer, self.layer.shape(self.batch, self.from));
        let mut sums = self.workspace.take(y.len());
        train::conv2d_forward(&shape, x, self.weight, &mut sums).map_err(kernel_error)?;
        if let &[gains, biases] = self.then {
            let kept = norm::forward(&sums, residual, [gains, biases], layer.act, y)?;
            return Ok(Kept(Some((sums, kept))));
        }
        let (ones, zeros) = (vec![1.0; layer.channels], vec![0.0; layer.channels]);
        let biases = self.then.first().copied().unwrap_or(&zeros);
        train::scale_shift(&sums, residual, (&ones, biases), layer.act, y).map_err(kernel_error)?;
        Ok(Kept(None))
    }

    /// The gradient of the sums, given that of the result `y`. Those of the residual and of what
    /// follows the sums are overwritten.
    pub(crate) fn backward(
        &self,
        y: &[T],
        kept: &Kept<T>,
        dy: &[T],
        residual: Option<&mut [T]>,
        d_then: &mut [Vec<f32>],
    ) -> Result<Buffer<T>> {
        let act = self.layer.act;
        let mut d_sums = self.workspace.take(dy.len());
        if let (Some((sums, kept)), [gains, _], [d_gains, d_biases]) =
            (&kept.0, self.then, &mut *d_then)
        {
            let grads = norm::Grads {
                x: &mut d_sums,
                residual,
                affine: [d_gains, d_biases],
            };
            norm::backward([sums, y], gains, act, kept, dy, grads)?;
            return Ok(d_sums);
        }
        let d_biases = d_then.first_mut().map_or(&mut [][..], |biases| biases);
        train::act_backward(y, act, dy, &mut d_sums, d_biases).map_err(kernel_error)?;
        if let Some(residual) = residual {
            residual.copy_from_slice(&d_sums);
        }
        Ok(d_sums)
    }

    /// The gradient of the weight, which is overwritten, given that of the sums.
    pub(crate) fn backward_weight(
        &self,
        x: &[T],
        d_sums: &[T],
        d_weight: &mut [f32],
    ) -> Result<()> {
        let shape = self.layer.shape(self.batch, self.from);
        train::conv2d_backward_weight(&shape, x, d_sums, d_weight).map_err(kernel_error)
    }

    /// The gradient of the input, given that of the sums: written, or added to what `dx` holds.
    pub(crate) fn backward_input(&self, d_sums: &[T], dx: &mut [T], add: bool) -> Result<()> {
        let shape = self.layer.shape(self.batch, self.from);
        match add {
            true => train::conv2d_backward_input_add(&shape, d_sums, self.weight, dx),
            false => train::conv2d_backward_input(&shape, d_sums, self.weight, dx),
        }
        .map_err(kernel_error)
    }
}
