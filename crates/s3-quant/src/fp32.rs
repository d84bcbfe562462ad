//! Full precision: the reference every table needs. The latent is the weight.

use crate::filters::weight_latent;
use candle_core::{Result, Tensor, Var};
use s3_core::{KernelOp, LayerSpec, Method, MethodConfig, Params, Quantizer, WeightForm};
use serde::{Deserialize, Serialize};

/// Plain float weights, `N(0, 2/(k·k·c_out))` at the start (He, fan-out).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fp32 {}

impl MethodConfig for Fp32 {
    const NAME: &'static str = "fp32";
    const SUMMARY: &'static str = "full-precision weights (the reference)";
    const BITS: &'static [u32] = &[32];
    const OPERATION: KernelOp = KernelOp::Multiply;
}

impl Method for Fp32 {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        Ok(Box::new(Weight(weight_latent(layer, params)?)))
    }
}

struct Weight(Var);

impl Quantizer for Weight {
    fn weight(&self) -> Result<Tensor> {
        Ok(self.0.as_tensor().clone())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.0.set(weight)
    }

    fn form(&self) -> WeightForm {
        WeightForm::Float
    }
}
