//! A linear layer whose weight is what a [`Quantizer`](s3_core::Quantizer) says.

use crate::layer::{Mode, QuantLayer, in_layer};
use candle_core::{Result, Tensor, Var};
use candle_nn::ModuleT;
use s3_core::{Init, LayerSpec, Method, ParamKind, Params, Role};
use std::fmt;

/// `y = x wᵀ + b`.
///
/// # Shapes
/// `x: [n, in]`, weight `[out, in]`, bias `[out]`, result `[n, out]`.
pub struct QuantLinear {
    /// Name, shape, role and quantizer.
    pub layer: QuantLayer,
    bias: Var,
}

impl fmt::Debug for QuantLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("QuantLinear");
        shown.field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl QuantLinear {
    /// `inputs -> outputs`, at `params` + `.weight` and `.bias` (a float, `U(±1/√in)` as in torch).
    ///
    /// # Errors
    /// Those of the method.
    pub fn new(
        inputs: usize,
        outputs: usize,
        role: Role,
        method: &dyn Method,
        params: &Params,
    ) -> Result<Self> {
        let spec = LayerSpec {
            name: params.path().to_string(),
            shape: vec![outputs, inputs],
            role,
        };
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        let init = Init::Uniform {
            low: -bound,
            high: bound,
        };
        Ok(Self {
            layer: QuantLayer::new(spec, method, &params.pp("weight"))?,
            bias: params.get("bias", outputs, init, ParamKind::Bias)?,
        })
    }

    /// The affine map of `x`.
    ///
    /// # Errors
    /// A shape that does not fit; the message names the layer.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let bias = match mode {
            Mode::Train => self.bias.as_tensor().clone(),
            Mode::Eval => self.bias.as_detached_tensor(),
        };
        let y = self.layer.apply(x, mode, |x, w| x.matmul(&w.t()?))?;
        in_layer(&self.layer.spec.name, y.broadcast_add(&bias))
    }
}

impl ModuleT for QuantLinear {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.forward(xs, Mode::of(train))
    }
}
