//! A convolution, its batch norm, the residual sum and the ReLU: forward, and backward from what
//! the forward pass kept.

use super::scratch::{Buffer, Scratch};
use crate::ops::kernel_error;
use candle_core::Result;
use s3_kernels::train::Element;
use s3_kernels::{ConvShape, train};
use std::sync::Arc;

/// A batch's mean and biased variance per channel, over `rows` values each.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) var: Vec<f32>,
    pub(crate) rows: usize,
}

/// What the backward pass needs of the forward pass.
pub(crate) struct Kept<T> {
    shape: ConvShape,
    conv: Buffer<T>,
    pub(crate) y: Buffer<T>,
    inv_std: Vec<f32>,
    pub(crate) moments: Moments,
    relu: bool,
}

/// `(weight, gain, bias)` of a layer's parameters.
fn split(parameters: &[f32], channels: usize) -> (&[f32], &[f32], &[f32]) {
    let (weight, affine) = parameters.split_at(parameters.len() - 2 * channels);
    let (gamma, beta) = affine.split_at(channels);
    (weight, gamma, beta)
}

/// `act(bn(conv(x)) + residual)`; `parameters` are weight, gain, bias, in this order.
pub(crate) fn forward<T: Element>(
    shape: ConvShape,
    parameters: &[f32],
    x: &[T],
    residual: Option<&[T]>,
    (relu, eps): (bool, f32),
    scratch: &Arc<Scratch<T>>,
) -> Result<Kept<T>> {
    let (weight, gamma, beta) = split(parameters, shape.out_channels);
    let len = shape.output_len().map_err(kernel_error)?;
    let (mut conv, mut y) = (scratch.take(len), scratch.take(len));
    train::conv2d_forward(&shape, x, weight, &mut conv).map_err(kernel_error)?;
    let channel = || vec![0f32; shape.out_channels];
    let (mut mean, mut var, mut inv_std) = (channel(), channel(), channel());
    let stats = train::BatchStats {
        mean: &mut mean,
        var: &mut var,
        inv_std: &mut inv_std,
    };
    train::batch_norm_forward(&conv, residual, (gamma, beta), eps, relu, &mut y, stats)
        .map_err(kernel_error)?;
    let moments = Moments {
        mean,
        var,
        rows: len / shape.out_channels.max(1),
    };
    Ok(Kept {
        shape,
        conv,
        y,
        inv_std,
        moments,
        relu,
    })
}

/// Where the gradient of the input goes.
pub(crate) enum InputGrad<'a, T> {
    /// Nowhere: it is not wanted.
    None,
    /// Over what is there.
    Write(&'a mut [T]),
    /// Onto what is there.
    Add(&'a mut [T]),
}

/// Where gradients go: `parameters` and `residual` are overwritten.
pub(crate) struct Grads<'a, T> {
    pub(crate) parameters: &'a mut [f32],
    pub(crate) x: InputGrad<'a, T>,
    pub(crate) residual: Option<&'a mut [T]>,
}

/// The gradients of [`forward`] given that of its result.
pub(crate) fn backward<T: Element>(
    parameters: &[f32],
    x: &[T],
    kept: &Kept<T>,
    dy: &[T],
    grads: Grads<'_, T>,
    scratch: &Arc<Scratch<T>>,
) -> Result<()> {
    let channels = kept.shape.out_channels;
    let (weight, gamma, _) = split(parameters, channels);
    let (dw, affine) = grads.parameters.split_at_mut(weight.len());
    let (dgamma, dbeta) = affine.split_at_mut(channels);
    let mut d_conv = scratch.take(kept.conv.len());
    let saved = train::BatchNormSaved {
        x: &kept.conv,
        y: kept.relu.then_some(&*kept.y),
        gamma,
        mean: &kept.moments.mean,
        inv_std: &kept.inv_std,
    };
    let out = train::BatchNormGrads {
        dx: &mut d_conv,
        dresidual: grads.residual,
        dgamma,
        dbeta,
    };
    train::batch_norm_backward(saved, dy, out).map_err(kernel_error)?;
    train::conv2d_backward_weight(&kept.shape, x, &d_conv, dw).map_err(kernel_error)?;
    match grads.x {
        InputGrad::None => Ok(()),
        InputGrad::Write(dx) => train::conv2d_backward_input(&kept.shape, &d_conv, weight, dx),
        InputGrad::Add(dx) => train::conv2d_backward_input_add(&kept.shape, &d_conv, weight, dx),
    }
    .map_err(kernel_error)
}
