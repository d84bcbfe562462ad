//! Batch norm with torch's semantics, fused with the residual sum and the activation that follow
//! it.

use crate::layer::{Mode, in_layer};
use crate::ops::{self, AllReduce};
use candle_core::{Result, Tensor, Var, bail};
use s3_core::{Init, ParamKind, Params};
use s3_kernels::model::Act;
use std::fmt;

/// torch's default: running = 0.9 · running + 0.1 · batch.
const MOMENTUM: f64 = 0.1;
/// torch's default.
pub(crate) const EPS: f64 = 1e-5;

/// `y = act(weight · (x - mean) / √(var + 1e-5) + bias + residual)` over the last dimension.
///
/// In training `mean` and `var` (biased) are the batch's, and the running statistics move by 0.1
/// towards the batch's mean and **unbiased** variance; in evaluation they are the running ones.
///
/// # Shapes
/// `x: [.., channels]`; parameters `weight, bias, running_mean, running_var: [channels]`.
pub struct BatchNorm {
    name: String,
    weight: Var,
    bias: Var,
    running_mean: Var,
    running_var: Var,
    /// Where statistics are those of several processes' batches.
    across: Option<AllReduce>,
}

impl fmt::Debug for BatchNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("BatchNorm");
        shown.field("name", &self.name);
        shown.field("channels", &self.weight.elem_count());
        shown.finish_non_exhaustive()
    }
}

impl BatchNorm {
    /// Weight 1, bias 0, running mean 0, running variance 1, at `params`.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn new(channels: usize, params: &Params) -> Result<Self> {
        let get = |name, value, kind| params.get(name, channels, Init::Const(value), kind);
        Ok(Self {
            name: params.path().to_string(),
            weight: get("weight", 1.0, ParamKind::Norm)?,
            bias: get("bias", 0.0, ParamKind::Norm)?,
            running_mean: get("running_mean", 0.0, ParamKind::Buffer)?,
            running_var: get("running_var", 1.0, ParamKind::Buffer)?,
            across: None,
        })
    }

    /// The layer's path, `layer1.0.bn1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Normalises `x`, adds `residual` where there is one, and applies `act`.
    ///
    /// # Errors
    /// A shape that does not fit, or fewer than two values a channel in training.
    pub fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        act: Act,
        mode: Mode,
    ) -> Result<Tensor> {
        let y = match mode {
            Mode::Train => self.train(x, residual, act),
            Mode::Eval => self.eval(x, residual, act),
        };
        in_layer(&self.name, y)
    }

    fn train(&self, x: &Tensor, residual: Option<&Tensor>, act: Act) -> Result<Tensor> {
        let affine = (self.weight.as_tensor(), self.bias.as_tensor());
        if let Some(across) = &self.across {
            let (y, mean, var, rows) =
                ops::batch_norm_across(x, affine, residual, act, EPS, across)?;
            self.update(mean, var, rows)?;
            return Ok(y);
        }
        let rows = x.elem_count() / x.dims().last().copied().unwrap_or(1).max(1);
        let (y, mean, var) = ops::batch_norm(x, affine, residual, act, EPS)?;
        self.update(mean, var, rows)?;
        Ok(y)
    }

    /// Takes the statistics of training over all processes, or over this one's batch alone.
    pub(crate) fn synchronise(&mut self, across: Option<AllReduce>) {
        self.across = across;
    }

    /// Whether its statistics are those of several processes.
    pub(crate) fn is_synchronised(&self) -> bool {
        self.across.is_some()
    }

    /// Gain and bias.
    pub(crate) fn affine(&self) -> [&Tensor; 2] {
        [self.weight.as_tensor(), self.bias.as_tensor()]
    }

    /// Moves the running statistics a tenth towards a batch's mean and biased variance.
    pub(crate) fn update(&self, mean: Tensor, var: Tensor, rows: usize) -> Result<()> {
        if rows < 2 {
            bail!("batch norm needs at least 2 values a channel to train, got {rows}")
        }
        let unbiased = (var * (rows as f64 / (rows - 1) as f64))?;
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
            let old = running.as_detached_tensor();
            running.set(&((old * (1.0 - MOMENTUM))? + (batch * MOMENTUM)?)?)?;
        }
        Ok(())
    }

    fn eval(&self, x: &Tensor, residual: Option<&Tensor>, act: Act) -> Result<Tensor> {
        let (scale, shift) = self.scale_shift()?;
        ops::scale_shift(x, (&scale, &shift), residual, act)
    }

    /// Evaluation as one affine map per channel: `scale = weight/√(running_var + eps)`,
    /// `shift = bias - running_mean · scale`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn scale_shift(&self) -> Result<(Tensor, Tensor)> {
        let deviation = (self.running_var.as_detached_tensor() + EPS)?.sqrt()?;
        let scale = (self.weight.as_detached_tensor() / deviation)?;
        let shift =
            (self.bias.as_detached_tensor() - (self.running_mean.as_detached_tensor() * &scale)?)?;
        Ok((scale, shift))
    }
}
