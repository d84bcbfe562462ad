//! Batch norm over the last dimension, with the residual sum and the activation that follow it.

use super::kernel_error;
use super::relu::activated;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor, bail,
};
use s3_core::backend::is_fused;
use s3_core::host::{Host, slice};
use s3_kernels::train::{self, Act};
use std::sync::{Arc, OnceLock};

/// `act(gamma · (x - mean)/√(var + eps) + beta + residual)` with the batch's own statistics, and
/// those statistics: `(y, mean, biased variance)`.
///
/// # Shapes
/// `x, residual: [.., channels]`; `gamma, beta: [channels]`; statistics `[channels]`, without a
/// graph.
///
/// # Errors
/// Shapes that do not fit.
pub fn batch_norm(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    residual: Option<&Tensor>,
    act: Act,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    if !is_fused(x.device()) {
        let mean = |v: &Tensor| v.mean_keepdim(0);
        return composed(x, (gamma, beta), residual, (act, eps), mean);
    }
    let stats = Arc::new(OnceLock::new());
    let op = BatchNorm {
        eps: eps as f32,
        act,
        stats: stats.clone(),
    };
    let affine = Tensor::stack(&[gamma, beta], 0)?;
    let y = match residual {
        None => x.contiguous()?.apply_op2(&affine, op)?,
        Some(r) => x.contiguous()?.apply_op3(&affine, &r.contiguous()?, op)?,
    };
    let Some(Stats { mean, var, .. }) = stats.get() else {
        bail!("batch_norm: no statistics")
    };
    let tensor = |v: &[f32]| Tensor::new(v, x.device());
    Ok((y, tensor(mean)?, tensor(var)?))
}

/// [`batch_norm`] of candle's ops, where `mean_of` is the mean over the rows of a
/// `[rows, channels]` tensor, as `[1, channels]`. Activations of bf16 are taken to f32 here and
/// rounded once, at the end.
pub(super) fn composed(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    residual: Option<&Tensor>,
    (act, eps): (Act, f64),
    mean_of: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Tensor, Tensor, Tensor)> {
    let rows = x.to_dtype(DType::F32)?.flatten_to(D::Minus2)?;
    let mean = mean_of(&rows)?;
    let centred = rows.broadcast_sub(&mean)?;
    let var = mean_of(&centred.sqr()?)?;
    let normal = centred.broadcast_div(&(&var + eps)?.sqrt()?)?;
    let mut y = normal
        .broadcast_mul(gamma)?
        .broadcast_add(beta)?
        .reshape(x.shape())?;
    if let Some(r) = residual {
        y = (y + r.to_dtype(DType::F32)?)?;
    }
    let y = activated(y, act)?.to_dtype(x.dtype())?;
    Ok((y, mean.flatten_all()?.detach(), var.flatten_all()?.detach()))
}

/// Batch norm in evaluation: `act(scale · x + shift + residual)` per channel. Records no graph.
///
/// # Shapes
/// As [`batch_norm`].
///
/// # Errors
/// Shapes that do not fit.
pub fn scale_shift(
    x: &Tensor,
    (scale, shift): (&Tensor, &Tensor),
    residual: Option<&Tensor>,
    act: Act,
) -> Result<Tensor> {
    if !is_fused(x.device()) {
        let mut y = x.broadcast_mul(scale)?.broadcast_add(shift)?;
        if let Some(r) = residual {
            y = (y + r)?;
        }
        return activated(y, act);
    }
    let x = x.contiguous()?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let residual = residual.as_ref().map(Host::new).transpose()?;
    let mut y = vec![0f32; x.elem_count()];
    train::scale_shift(
        &Host::new(&x)?,
        residual.as_deref(),
        (&Host::new(scale)?, &Host::new(shift)?),
        act,
        &mut y,
    )
    .map_err(kernel_error)?;
    Tensor::from_vec(y, x.shape(), x.device())
}

/// Per-channel statistics of the batch that a forward pass saw.
struct Stats {
    mean: Vec<f32>,
    var: Vec<f32>,
    inv_std: Vec<f32>,
}

/// The fused op on `(x, [gamma; beta])` or `(x, [gamma; beta], residual)`. One value serves one
/// forward pass, whose statistics it keeps for the backward pass.
struct BatchNorm {
    eps: f32,
    act: Act,
    stats: Arc<OnceLock<Stats>>,
}

impl BatchNorm {
    fn forward(
        &self,
        x: &[f32],
        shape: &Shape,
        affine: &[f32],
        residual: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let c = affine.len() / 2;
        let (mut mean, mut var, mut inv_std) = (vec![0f32; c], vec![0f32; c], vec![0f32; c]);
        let mut y = vec![0f32; x.len()];
        let stats = train::BatchStats {
            mean: &mut mean,
            var: &mut var,
            inv_std: &mut inv_std,
        };
        let (gamma, beta) = affine.split_at(c);
        train::batch_norm_forward(
            x,
            residual,
            (gamma, beta),
            self.eps,
            self.act,
            &mut y,
            stats,
        )
        .map_err(kernel_error)?;
        if self.stats.set(Stats { mean, var, inv_std }).is_err() {
            bail!("batch_norm: an op value serves one forward pass")
        }
        Ok((CpuStorage::F32(y), shape.clone()))
    }

    /// Gradients to `x`, `[gamma; beta]` and, where `with_residual`, the residual.
    fn backward(
        &self,
        [x, affine, y, dy]: [&Tensor; 4],
        with_residual: bool,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let Some(stats) = self.stats.get() else {
            bail!("batch_norm: backward before forward")
        };
        let c = stats.mean.len();
        let n = x.elem_count();
        let (mut dx, mut d_affine) = (vec![0f32; n], vec![0f32; 2 * c]);
        let mut d_residual = with_residual.then(|| vec![0f32; n]);
        let dy = dy.contiguous()?;
        let (xs, ys, affines) = (Host::new(x)?, Host::new(y)?, Host::new(affine)?);
        let saved = train::BatchNormSaved {
            x: &xs,
            y: &ys,
            act: self.act,
            gamma: &affines[..c],
            mean: &stats.mean,
            inv_std: &stats.inv_std,
        };
        let (dgamma, dbeta) = d_affine.split_at_mut(c);
        let grads = train::BatchNormGrads {
            dx: &mut dx,
            dresidual: d_residual.as_deref_mut(),
            dgamma,
            dbeta,
        };
        train::batch_norm_backward(saved, &Host::new(&dy)?, grads).map_err(kernel_error)?;
        let tensor = |v, like: &Tensor| Tensor::from_vec(v, like.shape(), like.device());
        Ok((
            tensor(dx, x)?,
            tensor(d_affine, affine)?,
            d_residual.map(|d| tensor(d, x)).transpose()?,
        ))
    }
}

impl CustomOp2 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let affine = slice(affine, affine_layout)?;
        self.forward(slice(x, x_layout)?, x_layout.shape(), affine, None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, d_affine, _) = self.backward([x, affine, y, dy], false)?;
        Ok((Some(dx), Some(d_affine)))
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let affine = slice(affine, affine_layout)?;
        let residual = slice(residual, residual_layout)?;
        self.forward(
            slice(x, x_layout)?,
            x_layout.shape(),
            affine,
            Some(residual),
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _residual: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, d_affine, d_residual) = self.backward([x, affine, y, dy], true)?;
        Ok((Some(dx), Some(d_affine), d_residual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Rng, assert_close, close_with_gradients};
    use candle_core::Var;

    #[test]
    fn the_fused_op_equals_candles_own_ops() -> Result<()> {
        let mut rng = Rng::new(3);
        let acts = [Act::None, Act::Relu, Act::Relu6];
        for (with_residual, act) in acts.into_iter().flat_map(|act| [(false, act), (true, act)]) {
            let x = Var::from_tensor(&rng.normal((4, 5, 3, 7))?.affine(2.0, 1.0)?)?;
            // Numbers from below 0 to above 6.
            let gamma = Var::from_tensor(&rng.normal(7)?.affine(2.0, 1.0)?)?;
            let beta = Var::from_tensor(&rng.normal(7)?.affine(3.0, 2.0)?)?;
            let residual = Var::from_tensor(&rng.normal((4, 5, 3, 7))?)?;
            let r = with_residual.then_some(residual.as_tensor());
            let ours = batch_norm(&x, (&gamma, &beta), r, act, 1e-5)?;
            let theirs = composed(&x, (&gamma, &beta), r, (act, 1e-5), |v| v.mean_keepdim(0))?;
            assert_close(&ours.1, &theirs.1)?;
            assert_close(&ours.2, &theirs.2)?;
            let vars = if with_residual {
                vec![&x, &gamma, &beta, &residual]
            } else {
                vec![&x, &gamma, &beta]
            };
            close_with_gradients(&mut rng, &vars, &ours.0, &theirs.0)?;
        }
        Ok(())
    }
}
