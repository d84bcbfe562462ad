//! What a batch norm's passes return, and what the backward pass needs of the forward one.

use crate::act::Act;

/// Per-channel statistics of one batch, each of length `channels`; outputs of
/// [`batch_norm_forward`](super::batch_norm_forward).
#[derive(Debug)]
pub struct BatchStats<'a> {
    /// Mean over the rows.
    pub mean: &'a mut [f32],
    /// Biased variance over the rows.
    pub var: &'a mut [f32],
    /// `1 / sqrt(var + eps)`.
    pub inv_std: &'a mut [f32],
}

/// What [`batch_norm_backward`](super::batch_norm_backward) needs of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormSaved<'a, T> {
    /// The input, `[rows, channels]`.
    pub x: &'a [T],
    /// The output, `[rows, channels]`; not read where `act` is none.
    pub y: &'a [T],
    /// What the output ended in.
    pub act: Act,
    /// Scale, `[channels]`.
    pub gamma: &'a [f32],
    /// Batch mean, `[channels]`.
    pub mean: &'a [f32],
    /// Inverse standard deviation, `[channels]`.
    pub inv_std: &'a [f32],
}

/// Outputs of [`batch_norm_backward`](super::batch_norm_backward); each is overwritten.
#[derive(Debug)]
pub struct BatchNormGrads<'a, T> {
    /// Gradient of the input, `[rows, channels]`.
    pub dx: &'a mut [T],
    /// Gradient of the residual, `[rows, channels]`, where there was one and it is wanted.
    pub dresidual: Option<&'a mut [T]>,
    /// Gradient of gamma, `[channels]`.
    pub dgamma: &'a mut [f32],
    /// Gradient of beta, `[channels]`.
    pub dbeta: &'a mut [f32],
}
