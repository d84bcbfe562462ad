//! A batch norm, the sum and the activation behind it: forward, and backward from what the forward
//! pass kept.

use crate::norm::EPS;
use crate::ops::kernel_error;
use candle_core::Result;
use s3_kernels::model::Act;
use s3_kernels::train::{self, Element};

/// A batch's mean and biased variance per channel, over `rows` values each.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) var: Vec<f32>,
    pub(crate) rows: usize,
}

/// What the backward pass needs of the forward pass, beside `x` and `y`.
pub(crate) struct Kept {
    inv_std: Vec<f32>,
    pub(crate) moments: Moments,
}

/// Writes `act(bn(x) + residual)` to `y`.
pub(crate) fn forward<T: Element>(
    x: &[T],
    residual: Option<&[T]>,
    [gains, biases]: [&[f32]; 2],
    act: Act,
    y: &mut [T],
) -> Result<Kept> {
    let channel = || vec![0f32; gains.len()];
    let (mut mean, mut var, mut inv_std) = (channel(), channel(), channel());
    let stats = train::BatchStats {
        mean: &mut mean,
        var: &mut var,
        inv_std: &mut inv_std,
    };
    train::batch_norm_forward(x, residual, (gains, biases), EPS as f32, act, y, stats)
        .map_err(kernel_error)?;
    let rows = x.len() / gains.len().max(1);
    let moments = Moments { mean, var, rows };
    Ok(Kept { inv_std, moments })
}

/// Where gradients go; all are overwritten.
pub(crate) struct Grads<'a, T> {
    pub(crate) x: &'a mut [T],
    pub(crate) residual: Option<&'a mut [T]>,
    /// Of gains and biases.
    pub(crate) affine: [&'a mut [f32]; 2],
}

/// The gradients of [`forward`], which made `y` of `x`, given that of its result.
pub(crate) fn backward<T: Element>(
    [x, y]: [&[T]; 2],
    gains: &[f32],
    act: Act,
    kept: &Kept,
    dy: &[T],
    grads: Grads<'_, T>,
) -> Result<()> {
    let saved = train::BatchNormSaved {
        x,
        y,
        act,
        gamma: gains,
        mean: &kept.moments.mean,
        inv_std: &kept.inv_std,
    };
    let [dgamma, dbeta] = grads.affine;
    let out = train::BatchNormGrads {
        dx: grads.x,
        dresidual: grads.residual,
        dgamma,
        dbeta,
    };
    train::batch_norm_backward(saved, dy, out).map_err(kernel_error)
}
