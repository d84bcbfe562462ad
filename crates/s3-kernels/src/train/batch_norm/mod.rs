//! Batch norm over channels-last rows, fused with the residual sum and the activation that follow
//! it.
//!
//! ```text
//! mean[c] = Σ_r x[r,c] / R      var[c] = Σ_r (x[r,c] - mean[c])² / R      inv_std = 1/√(var + eps)
//! y = act(gamma·(x - mean)·inv_std + beta + residual)           act: see [`Act`]
//! ```
//!
//! Backward, with `g = 0` where the activation gave an end of its range (a ReLU 0, a ReLU6 0 or 6)
//! and `g = dy` elsewhere and `x̂ = (x - mean)·inv_std`:
//!
//! ```text
//! dbeta = Σ_r g      dgamma = Σ_r g·x̂      dresidual = g
//! dx = gamma·inv_std·(g - dbeta/R - x̂·dgamma/R)
//! ```
//!
//! `R` counts rows: batch × height × width. The variance is the biased one; a running average of
//! the unbiased one multiplies it by `R / (R - 1)`.

pub(super) mod rows;
pub(super) mod saved;

use rayon::prelude::*;

use self::rows::{Apply, GradApply, GradSums, Moments, repeat};
use self::saved::{BatchNormGrads, BatchNormSaved, BatchStats};
use super::arch::dispatch;
use super::element::Element;
use crate::act::Act;
use crate::error::{Error, check_len};
use crate::isa::Isa;

/// Batch norm with the statistics of this batch: the training forward pass.
///
/// # Shapes
///
/// `x`, `residual`, `y`: `[rows, channels]`; `gamma`, `beta` and the statistics: `[channels]`.
/// The number of channels is `gamma.len()`. With no rows the statistics are 0, 0 and `1/√eps`.
///
/// # Exactness
///
/// f32 within chunks of a fixed number of rows, f64 between them; the variance is never a
/// difference of large squares; `y` is rounded once. The same bytes on every instruction set and
/// any number of threads.
///
/// # Errors
///
/// [`Error::Length`]; [`Error::Unsupported`] where `gamma` is empty.
///
/// ```
/// use s3_kernels::train::{Act, BatchStats, batch_norm_forward};
///
/// let (mut mean, mut var, mut inv_std) = ([0.0], [0.0], [0.0]);
/// let stats = BatchStats { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
/// let mut y = [0.0; 2];
/// batch_norm_forward(&[1.0, 5.0], None, (&[3.0], &[1.0]), 0.0, Act::Relu, &mut y, stats)?;
/// assert_eq!((mean, var, inv_std), ([3.0], [4.0], [0.5]));
/// assert_eq!(y, [0.0, 4.0]); // 3·(-1) + 1 is cut off by the ReLU
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn batch_norm_forward<T: Element>(
    x: &[T],
    residual: Option<&[T]>,
    (gamma, beta): (&[f32], &[f32]),
    eps: f32,
    act: Act,
    y: &mut [T],
    stats: BatchStats<'_>,
) -> Result<(), Error> {
    T::batch_norm_forward(
        Isa::detect(),
        x,
        residual,
        [gamma, beta],
        eps,
        act,
        y,
        stats,
    )
}

/// [`batch_norm_forward`] on one instruction set.
#[expect(
    clippy::too_many_arguments,
    reason = "those of the public function, and the ISA"
)]
pub(super) fn batch_norm_forward_on<T: Element>(
    isa: Isa,
    x: &[T],
    residual: Option<&[T]>,
    [gamma, beta]: [&[f32]; 2],
    eps: f32,
    act: Act,
    y: &mut [T],
    stats: BatchStats<'_>,
) -> Result<(), Error> {
    let channels = check_rows(x, gamma)?;
    check_len("beta", channels, beta.len())?;
    check_len("mean", channels, stats.mean.len())?;
    check_len("var", channels, stats.var.len())?;
    check_len("inv_std", channels, stats.inv_std.len())?;
    check_len("y", x.len(), y.len())?;
    check_len("residual", x.len(), residual.map_or(x.len(), <[T]>::len))?;

    moments(isa, x, channels, stats.mean, stats.var);
    let (mut a, mut b) = (vec![0.0; channels], vec![0.0; channels]);
    for c in 0..channels {
        stats.inv_std[c] = 1.0 / (stats.var[c] + eps).sqrt();
        a[c] = gamma[c] * stats.inv_std[c];
        b[c] = beta[c] - a[c] * stats.mean[c];
    }
    apply(isa, x, residual, [&a, &b], act, y);
    Ok(())
}

/// Mean and biased variance. Each chunk takes its own mean first, so that a mean far from zero
/// costs no digits; the chunks are merged in order, in f64, by
///
/// ```text
/// n = n₁ + n₂      δ = mean₂ - mean₁      mean = mean₁ + δ·n₂/n      M = M₁ + M₂ + δ²·n₁·n₂/n
/// ```
fn moments<T: Element>(isa: Isa, x: &[T], channels: usize, mean: &mut [f32], var: &mut [f32]) {
    let chunks: Vec<[Vec<f32>; 2]> = x
        .par_chunks(rows::chunk(channels))
        .map(|x| {
            let [mut mean, mut deviation] = [Vec::new(), Vec::new()];
            dispatch(
                isa,
                Moments {
                    x,
                    channels,
                    mean: &mut mean,
                    deviation: &mut deviation,
                },
            );
            [mean, deviation]
        })
        .collect();
    let sizes = || {
        x.chunks(rows::chunk(channels))
            .map(|x| (x.len() / channels) as f64)
    };
    for c in 0..channels {
        let (mut n, mut merged, mut deviation) = (0.0, 0.0, 0.0);
        for (more, [m, d]) in sizes().zip(&chunks) {
            let delta = f64::from(m[c]) - merged;
            merged += delta * more / (n + more);
            deviation += f64::from(d[c]) + delta * delta * n * more / (n + more);
            n += more;
        }
        mean[c] = merged as f32;
        var[c] = if n > 0.0 { (deviation / n) as f32 } else { 0.0 };
    }
}

/// `y = act(x·scale + shift + residual)`.
fn apply<T: Element>(
    isa: Isa,
    x: &[T],
    residual: Option<&[T]>,
    [scale, shift]: [&[f32]; 2],
    act: Act,
    y: &mut [T],
) {
    let chunk = rows::chunk(scale.len());
    let (scale, shift) = (&*repeat(scale), &*repeat(shift));
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .enumerate()
        .for_each(|(i, (y, x))| {
            let residual = residual.map(|r| &r[i * chunk..][..x.len()]);
            dispatch(
                isa,
                Apply {
                    x,
                    residual,
                    scale,
                    shift,
                    act,
                    y,
                },
            );
        });
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
/// use s3_kernels::train::{Act, scale_shift};
///
/// let mut y = [0.0; 2];
/// scale_shift(&[1.0, 2.0], Some(&[10.0, -10.0]), (&[2.0], &[0.5]), Act::Relu, &mut y)?;
/// assert_eq!(y, [12.5, 0.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn scale_shift<T: Element>(
    x: &[T],
    residual: Option<&[T]>,
    (scale, shift): (&[f32], &[f32]),
    act: Act,
    y: &mut [T],
) -> Result<(), Error> {
    T::scale_shift(Isa::detect(), x, residual, [scale, shift], act, y)
}

/// [`scale_shift`] on one instruction set.
pub(super) fn scale_shift_on<T: Element>(
    isa: Isa,
    x: &[T],
    residual: Option<&[T]>,
    [scale, shift]: [&[f32]; 2],
    act: Act,
    y: &mut [T],
) -> Result<(), Error> {
    let channels = check_rows(x, scale)?;
    check_len("shift", channels, shift.len())?;
    check_len("y", x.len(), y.len())?;
    check_len("residual", x.len(), residual.map_or(x.len(), <[T]>::len))?;
    apply(isa, x, residual, [scale, shift], act, y);
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
/// use s3_kernels::train::{Act, BatchNormGrads, BatchNormSaved, batch_norm_backward};
///
/// // x = [1, 5] normalises to [-1, 1]; the gradient [0, 1] has no component left in dx.
/// let (x, y) = (&[1.0, 5.0], &[-3.0, 3.0]);
/// let (act, gamma, mean, inv_std) = (Act::None, &[3.0], &[3.0], &[0.5]);
/// let saved = BatchNormSaved { x, y, act, gamma, mean, inv_std };
/// let (mut dx, mut dgamma, mut dbeta) = ([9.0; 2], [9.0], [9.0]);
/// let grads =
///     BatchNormGrads { dx: &mut dx, dresidual: None, dgamma: &mut dgamma, dbeta: &mut dbeta };
/// batch_norm_backward(saved, &[0.0, 1.0], grads)?;
/// assert_eq!((dx, dgamma, dbeta), ([0.0, 0.0], [1.0], [1.0]));
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn batch_norm_backward<T: Element>(
    saved: BatchNormSaved<'_, T>,
    dy: &[T],
    grads: BatchNormGrads<'_, T>,
) -> Result<(), Error> {
    T::batch_norm_backward(Isa::detect(), saved, dy, grads)
}

/// [`batch_norm_backward`] on one instruction set.
pub(super) fn batch_norm_backward_on<T: Element>(
    isa: Isa,
    saved: BatchNormSaved<'_, T>,
    dy: &[T],
    grads: BatchNormGrads<'_, T>,
) -> Result<(), Error> {
    let BatchNormSaved {
        x,
        y,
        act,
        gamma,
        mean,
        inv_std,
    } = saved;
    let channels = check_rows(x, gamma)?;
    check_len("mean", channels, mean.len())?;
    check_len("inv_std", channels, inv_std.len())?;
    check_len("dgamma", channels, grads.dgamma.len())?;
    check_len("dbeta", channels, grads.dbeta.len())?;
    check_len("y", x.len(), y.len())?;
    check_len("dy", x.len(), dy.len())?;
    check_len("dx", x.len(), grads.dx.len())?;
    let dresidual_len = grads.dresidual.as_ref().map_or(x.len(), |d| d.len());
    check_len("dresidual", x.len(), dresidual_len)?;

    let [sum, product] = grad_sums(isa, saved, dy);
    let per_row = 1.0 / (x.len() / channels).max(1) as f64;
    let [mut scale, mut offset, mut slope] = [(); 3].map(|()| vec![0.0; channels]);
    for c in 0..channels {
        let inv_std = f64::from(inv_std[c]);
        let k = f64::from(gamma[c]) * inv_std;
        grads.dbeta[c] = sum[c] as f32;
        grads.dgamma[c] = (product[c] * inv_std) as f32;
        scale[c] = k as f32;
        offset[c] = (k * sum[c] * per_row) as f32;
        slope[c] = (k * product[c] * inv_std * inv_std * per_row) as f32;
    }
    let [scale, offset, slope, mean] = [&*scale, &*offset, &*slope, mean].map(repeat);
    let (scale, offset, slope, mean) = (&*scale, &*offset, &*slope, &*mean);
    let chunk = rows::chunk(channels);
    let mut dresidual: Vec<Option<&mut [T]>> = match grads.dresidual {
        Some(d) => d.chunks_mut(chunk).map(Some).collect(),
        None => x.chunks(chunk).map(|_| None).collect(),
    };
    grads
        .dx
        .par_chunks_mut(chunk)
        .zip(dresidual.par_iter_mut())
        .enumerate()
        .for_each(|(i, (dx, dresidual))| {
            let range = i * chunk..i * chunk + dx.len();
            let (x, dy, y) = (&x[range.clone()], &dy[range.clone()], &y[range]);
            let dresidual = dresidual.take();
            dispatch(
                isa,
                GradApply {
                    x,
                    y,
                    act,
                    dy,
                    mean,
                    scale,
                    offset,
                    slope,
                    dx,
                    dresidual,
                },
            );
        });
    Ok(())
}

/// `Σ g` and `Σ g·(x - mean)`: chunks summed in f32, and in order in f64.
fn grad_sums<T: Element>(isa: Isa, saved: BatchNormSaved<'_, T>, dy: &[T]) -> [Vec<f64>; 2] {
    let BatchNormSaved {
        x, y, act, mean, ..
    } = saved;
    let channels = mean.len();
    let chunk = rows::chunk(channels);
    let mean = &*repeat(mean);
    let chunks: Vec<[Vec<f32>; 2]> = x
        .par_chunks(chunk)
        .zip(dy.par_chunks(chunk))
        .enumerate()
        .map(|(i, (x, dy))| {
            let y = &y[i * chunk..][..x.len()];
            let [mut sum, mut product] = [Vec::new(), Vec::new()];
            let (sums, products) = (&mut sum, &mut product);
            dispatch(
                isa,
                GradSums {
                    x,
                    y,
                    act,
                    dy,
                    mean,
                    channels,
                    sum: sums,
                    product: products,
                },
            );
            [sum, product]
        })
        .collect();
    [0, 1].map(|which| {
        let mut total = vec![0.0; channels];
        for chunk in &chunks {
            total
                .iter_mut()
                .zip(&chunk[which])
                .for_each(|(t, s)| *t += f64::from(*s));
        }
        total
    })
}

/// The number of channels, which must divide the length of `x`.
fn check_rows<T>(x: &[T], per_channel: &[f32]) -> Result<usize, Error> {
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
