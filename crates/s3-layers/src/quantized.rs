//! What a convolution and a linear layer have in common: a named quantizer.

use candle_core::{Error, Result, Tensor};
use s3_core::{LayerSpec, Method, Params, Quantizer};

/// Whether a forward pass trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, running statistics updated, gradients recorded.
    Train,
    /// Running statistics; no graph is recorded, so memory stays flat.
    Eval,
}

impl Mode {
    /// The mode of candle's `ModuleT::forward_t`.
    pub fn of(train: bool) -> Self {
        if train { Self::Train } else { Self::Eval }
    }
}

/// `result` with the layer's name before its error, as one line.
pub(crate) fn in_layer<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|e| {
        let e = match e {
            Error::WithBacktrace { inner, .. } => *inner,
            other => other,
        };
        Error::Msg(format!("layer {name}: {e}"))
    })
}

/// A layer's name, shape and role with the quantizer that holds its latents.
pub struct QuantLayer {
    /// Name, weight shape and role.
    pub spec: LayerSpec,
    /// The latents and the weight they stand for.
    pub quantizer: Box<dyn Quantizer>,
}

impl QuantLayer {
    /// Lets `method` make the latents of `spec` at `params` (the path of the weight).
    ///
    /// # Errors
    /// Those of the method, with the layer's name.
    pub fn new(spec: LayerSpec, method: &dyn Method, params: &Params) -> Result<Self> {
        let quantizer = in_layer(&spec.name, method.quantizer(&spec, params))?;
        Ok(Self { spec, quantizer })
    }

    /// The weight of a forward pass: the quantizer's training weight, or in [`Mode::Eval`] the one
    /// that would be frozen, without its graph.
    ///
    /// # Errors
    /// Those of the quantizer, with the layer's name.
    pub fn weight(&self, mode: Mode) -> Result<Tensor> {
        let w = match mode {
            Mode::Train => self.quantizer.training_weight(),
            Mode::Eval => self.quantizer.weight().map(|w| w.detach()),
        };
        in_layer(&self.spec.name, w)
    }
}
