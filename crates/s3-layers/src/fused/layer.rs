//! A convolution and what follows it, a batch norm or a bias, a sum and an activation: forward, and
//! backward from what the forward pass kept.

use super::front::{Share, Then};
use super::norm;
use super::scratch::{Buffer, Scratch};
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
    /// Its weight, then gains and biases, or biases.
    pub(crate) parameters: &'a [f32],
    pub(crate) scratch: &'a Arc<Scratch<T>>,
}

impl<T: Element> At<'_, T> {
    /// Where the weight ends among the parameters.
    fn weight_end(&self) -> usize {
        let then = self.layer.holds.then.parameters(self.layer.channels);
        self.parameters.len() - then
    }

    /// Writes `y = act(then(conv(x)) + residual)`.
    pub(crate) fn forward(&self, x: &[T], residual: Option<&[T]>, y: &mut [T]) -> Result<Kept<T>> {
        let (layer, shape) = (self.layer, self.layer.shape(self.batch, self.from));
        let (weight, then) = self.parameters.split_at(self.weight_end());
        let mut sums = self.scratch.take(y.len());
        train::conv2d_forward(&shape, x, weight, &mut sums).map_err(kernel_error)?;
        if layer.holds.then == Then::Norm {
            let kept = norm::forward(&sums, residual, then, layer.act, y)?;
            return Ok(Kept(Some((sums, kept))));
        }
        let mut bias = then.to_vec();
        bias.resize(layer.channels, 0.0);
        let affine = (&*vec![1.0; layer.channels], &*bias);
        train::scale_shift(&sums, residual, affine, layer.act, y).map_err(kernel_error)?;
        Ok(Kept(None))
    }

    /// The gradient of the sums, given that of the result `y`. Those of the residual and of what
    /// follows the sums among the parameters are overwritten.
    pub(crate) fn backward(
        &self,
        y: &[T],
        kept: &Kept<T>,
        dy: &[T],
        residual: Option<&mut [T]>,
        d_parameters: &mut [f32],
    ) -> Result<Buffer<T>> {
        let (act, then) = (self.layer.act, &self.parameters[self.weight_end()..]);
        let d_then = &mut d_parameters[self.weight_end()..];
        let mut d_sums = self.scratch.take(dy.len());
        if let Some((sums, kept)) = &kept.0 {
            let grads = norm::Grads {
                x: &mut d_sums,
                residual,
                affine: d_then,
            };
            norm::backward([sums, y], then, act, kept, dy, grads)?;
            return Ok(d_sums);
        }
        train::act_backward(y, act, dy, &mut d_sums, d_then).map_err(kernel_error)?;
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
        d_parameters: &mut [f32],
    ) -> Result<()> {
        let shape = self.layer.shape(self.batch, self.from);
        let d_weight = &mut d_parameters[..self.weight_end()];
        train::conv2d_backward_weight(&shape, x, d_sums, d_weight).map_err(kernel_error)
    }

    /// The gradient of the input, given that of the sums: written, or added to what `dx` holds.
    pub(crate) fn backward_input(&self, d_sums: &[T], dx: &mut [T], add: bool) -> Result<()> {
        let shape = self.layer.shape(self.batch, self.from);
        let weight = &self.parameters[..self.weight_end()];
        match add {
            true => train::conv2d_backward_input_add(&shape, d_sums, weight, dx),
            false => train::conv2d_backward_input(&shape, d_sums, weight, dx),
        }
        .map_err(kernel_error)
    }
}
