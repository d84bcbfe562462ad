//! Batch norm over channels-last rows, fused with the residual sum and the ReLU that follow it.
//!
//! ```text
//! mean[c] = Σ_r x[r,c] / R      var[c] = Σ_r (x[r,c] - mean[c])² / R      inv_std = 1/√(var + eps)
//! y = act(gamma·(x - mean)·inv_std + beta + residual)           act = identity or max(·, 0)
//! ```
//!
//! Backward, with `g = 0` where the ReLU gave `y <= 0` and `g = dy` elsewhere and
//! `x̂ = (x - mean)·inv_std`:
//!
//! ```text
//! dbeta = Σ_r g      dgamma = Σ_r g·x̂      dresidual = g
//! dx = gamma·inv_std·(g - dbeta/R - x̂·dgamma/R)
//! ```
//!
//! `R` counts rows: batch × height × width. The variance is the biased one; a running average of
//! the unbiased one multiplies it by `R / (R - 1)`.

use rayon::prelude::*;

use crate::error::{Error, check_len};

/// Rows whose sums form one partial; fixed, so that the order of additions does not depend on the
/// number of threads.
const ROWS_PER_PARTIAL: usize = 1024;

/// Per-channel statistics of one batch, each of length `channels`; outputs of [`batch_norm_forward`].
#[derive(Debug)]
pub struct BatchStats<'a> {
    /// Mean over the rows.
    pub mean: &'a mut [f32],
    /// Biased variance over the rows.
    pub var: &'a mut [f32],
    /// `1 / sqrt(var + eps)`.
    pub inv_std: &'a mut [f32],
}

/// What [`batch_norm_backward`] needs of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormSaved<'a> {
    /// The input, `[rows, channels]`.
    pub x: &'a [f32],
    /// The output, `[rows, channels]`, where it ended in a ReLU; `None` where it did not.
    pub y: Option<&'a [f32]>,
    /// Scale, `[channels]`.
    pub gamma: &'a [f32],
    /// Batch mean, `[channels]`.
    pub mean: &'a [f32],
    /// Inverse standard deviation, `[channels]`.
    pub inv_std: &'a [f32],
}

/// Outputs of [`batch_norm_backward`]; each is overwritten.
#[derive(Debug)]
pub struct BatchNormGrads<'a> {
    /// Gradient of the input, `[rows, channels]`.
    pub dx: &'a mut [f32],
    /// Gradient of the residual, `[rows, channels]`, where there was one and it is wanted.
    pub dresidual: Option<&'a mut [f32]>,
    /// Gradient of gamma, `[channels]`.
    pub dgamma: &'a mut [f32],
    /// Gradient of beta, `[channels]`.
    pub dbeta: &'a mut [f32],
}

/// Batch norm with the statistics of this batch: the training forward pass.
///
/// # Shapes
///
/// `x`, `residual`, `y`: `[rows, channels]`; `gamma`, `beta` and the statistics: `[channels]`.
/// The number of channels is `gamma.len()`. With no rows the statistics are 0, 0 and `1/√eps`.
///
/// # Exactness
///
/// f32, partial sums of a fixed number of rows; the variance is taken around a shift, not as a
/// difference of large squares.
///
/// # Errors
///
/// [`Error::Length`]; [`Error::Unsupported`] where `gamma` is empty.
///
/// ```
/// use s3_kernels::train::{BatchStats, batch_norm_forward};
///
/// let (mut mean, mut var, mut inv_std) = ([0.0], [0.0], [0.0]);
/// let stats = BatchStats { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
/// let mut y = [0.0; 2];
/// batch_norm_forward(&[1.0, 5.0], None, (&[3.0], &[1.0]), 0.0, true, &mut y, stats)?;
/// assert_eq!((mean, var, inv_std), ([3.0], [4.0], [0.5]));
/// assert_eq!(y, [0.0, 4.0]); // 3·(-1) + 1 is cut off by the ReLU
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn batch_norm_forward(
    x: &[f32],
    residual: Option<&[f32]>,
    (gamma, beta): (&[f32], &[f32]),
    eps: f32,
    relu: bool,
    y: &mut [f32],
    stats: BatchStats<'_>,
) -> Result<(), Error> {
    let channels = check_rows(x, gamma)?;
    check_len("beta", channels, beta.len())?;
    check_len("mean", channels, stats.mean.len())?;
    check_len("var", channels, stats.var.len())?;
    check_len("inv_std", channels, stats.inv_std.len())?;
    check_len("y", x.len(), y.len())?;
    check_len("residual", x.len(), residual.map_or(x.len(), <[f32]>::len))?;

    let rows = x.len() / channels;
    let scale = if rows == 0 { 0.0 } else { 1.0 / rows as f32 };
    let sums = sum_rows(rows, channels, |r, acc| {
        acc.iter_mut()
            .zip(&x[r * channels..])
            .for_each(|(a, x)| *a += x);
    });
    stats
        .mean
        .iter_mut()
        .zip(sums)
        .for_each(|(m, s)| *m = s * scale);
    let mean = &*stats.mean;
    let squares = sum_rows(rows, channels, |r, acc| {
        for ((a, x), m) in acc.iter_mut().zip(&x[r * channels..]).zip(mean) {
            *a += (x - m) * (x - m);
        }
    });
    let (mut a, mut b) = (vec![0.0; channels], vec![0.0; channels]);
    for c in 0..channels {
        stats.var[c] = squares[c] * scale;
        stats.inv_std[c] = 1.0 / (stats.var[c] + eps).sqrt();
        a[c] = gamma[c] * stats.inv_std[c];
        b[c] = beta[c] - a[c] * mean[c];
    }
    scale_shift(x, residual, (&a, &b), relu, y)
}

/// `y = act(scale·x + shift + residual)` per channel: batch norm in inference, where
/// `scale = gamma·inv_std` and `shift = beta - mean·scale` come from running statistics.
///
/// # Shapes
///
/// `x`, `residual`, `y`: `[rows, channels]`; `scale`, `shift`: `[channels]`.
///
/// # Errors
///
/// [`Error::Length`]; [`Error::Unsupported`] where `scale` is empty.
///
/// ```
/// use s3_kernels::train::scale_shift;
///
/// let mut y = [0.0; 2];
/// scale_shift(&[1.0, 2.0], Some(&[10.0, -10.0]), (&[2.0], &[0.5]), true, &mut y)?;
/// assert_eq!(y, [12.5, 0.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn scale_shift(
    x: &[f32],
    residual: Option<&[f32]>,
    (scale, shift): (&[f32], &[f32]),
    relu: bool,
    y: &mut [f32],
) -> Result<(), Error> {
    let channels = check_rows(x, scale)?;
    check_len("shift", channels, shift.len())?;
    check_len("y", x.len(), y.len())?;
    check_len("residual", x.len(), residual.map_or(x.len(), <[f32]>::len))?;
    y.par_chunks_mut(channels * ROWS_PER_PARTIAL)
        .enumerate()
        .for_each(|(i, y)| {
            let start = i * channels * ROWS_PER_PARTIAL;
            for (j, y) in y.iter_mut().enumerate() {
                let c = j % channels;
                let v = x[start + j] * scale[c] + shift[c] + residual.map_or(0.0, |r| r[start + j]);
                *y = if relu && v < 0.0 { 0.0 } else { v };
            }
        });
    Ok(())
}

/// The gradients of [`batch_norm_forward`].
///
/// # Shapes
///
/// `dy: [rows, channels]`; the others as their fields say.
///
/// # Errors
///
/// [`Error::Length`]; [`Error::Unsupported`] where `gamma` is empty.
///
/// ```
/// use s3_kernels::train::{BatchNormGrads, BatchNormSaved, batch_norm_backward};
///
/// // x = [1, 5] normalises to [-1, 1]; the gradient [0, 1] has no component left in dx.
/// let saved = BatchNormSaved { x: &[1.0, 5.0], y: None, gamma: &[3.0], mean: &[3.0], inv_std: &[0.5] };
/// let (mut dx, mut dgamma, mut dbeta) = ([9.0; 2], [9.0], [9.0]);
/// let grads =
///     BatchNormGrads { dx: &mut dx, dresidual: None, dgamma: &mut dgamma, dbeta: &mut dbeta };
/// batch_norm_backward(saved, &[0.0, 1.0], grads)?;
/// assert_eq!((dx, dgamma, dbeta), ([0.0, 0.0], [1.0], [1.0]));
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn batch_norm_backward(
    saved: BatchNormSaved<'_>,
    dy: &[f32],
    grads: BatchNormGrads<'_>,
) -> Result<(), Error> {
    let BatchNormSaved {
        x,
        y,
        gamma,
        mean,
        inv_std,
    } = saved;
    let channels = check_rows(x, gamma)?;
    check_len("mean", channels, mean.len())?;
    check_len("inv_std", channels, inv_std.len())?;
    check_len("dgamma", channels, grads.dgamma.len())?;
    check_len("dbeta", channels, grads.dbeta.len())?;
    check_len("y", x.len(), y.map_or(x.len(), <[f32]>::len))?;
    check_len("dy", x.len(), dy.len())?;
    check_len("dx", x.len(), grads.dx.len())?;
    let dresidual_len = grads.dresidual.as_ref().map_or(x.len(), |d| d.len());
    check_len("dresidual", x.len(), dresidual_len)?;

    let rows = x.len() / channels;
    let g = |i: usize| {
        if y.is_none_or(|y| y[i] > 0.0) {
            dy[i]
        } else {
            0.0
        }
    };
    let sums = sum_rows(rows, 2 * channels, |r, acc| {
        for c in 0..channels {
            let i = r * channels + c;
            acc[c] += g(i);
            acc[channels + c] += g(i) * ((x[i] - mean[c]) * inv_std[c]);
        }
    });
    grads.dbeta.copy_from_slice(&sums[..channels]);
    grads.dgamma.copy_from_slice(&sums[channels..]);
    if let Some(dresidual) = grads.dresidual {
        dresidual
            .par_iter_mut()
            .enumerate()
            .for_each(|(i, d)| *d = g(i));
    }
    let scale = if rows == 0 { 0.0 } else { 1.0 / rows as f32 };
    let (dbeta, dgamma) = (&*grads.dbeta, &*grads.dgamma);
    grads.dx.par_iter_mut().enumerate().for_each(|(i, dx)| {
        let c = i % channels;
        let x_hat = (x[i] - mean[c]) * inv_std[c];
        *dx = gamma[c] * inv_std[c] * (g(i) - dbeta[c] * scale - x_hat * dgamma[c] * scale);
    });
    Ok(())
}

/// Sums of `width` columns over the rows: partials of fixed size, added in order.
fn sum_rows(rows: usize, width: usize, add: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let partials: Vec<Vec<f32>> = (0..rows.div_ceil(ROWS_PER_PARTIAL))
        .into_par_iter()
        .map(|p| {
            let mut acc = vec![0.0; width];
            for r in p * ROWS_PER_PARTIAL..rows.min((p + 1) * ROWS_PER_PARTIAL) {
                add(r, &mut acc);
            }
            acc
        })
        .collect();
    let mut total = vec![0.0; width];
    for partial in partials {
        total.iter_mut().zip(partial).for_each(|(t, p)| *t += p);
    }
    total
}

/// The number of channels, which must divide the length of `x`.
fn check_rows(x: &[f32], per_channel: &[f32]) -> Result<usize, Error> {
    let channels = per_channel.len();
    if channels == 0 {
        return Err(Error::Unsupported {
            what: "channels",
            expected: "at least 1",
            got: 0,
        });
    }
    check_len("x", x.len() / channels * channels, x.len())?;
    Ok(channels)
}
