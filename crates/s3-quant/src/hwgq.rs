//! HWGQ (Cai et al., "Deep Learning with Low Precision by Half-Wave Gaussian Quantization", CVPR
//! 2017), its binary weights: BWN's form with the plain straight-through gradient.
//!
//! ```text
//! α_i = mean|W_i|,   Ŵ_i = α_i · sign(W_i),   sign(0) = +1,   dL/dW = g
//! ```
//!
//! No centring, no clipping, no gradient of α. The half-wave Gaussian activations are not built:
//! the paper's row is the one with full-precision activations.

use crate::filters::{binary_codes, filter_len, like, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Params, Quantizer, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// HWGQ's weights have no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hwgq {}

impl MethodConfig for Hwgq {
    const NAME: &'static str = "hwgq";
    const SUMMARY: &'static str = "HWGQ's binary weights, one scale a filter";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for Hwgq {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        Ok(Box::new(Binary(weight_latent(layer, params)?)))
    }
}

struct Binary(Var);

impl Binary {
    fn frozen(&self) -> Result<Codes> {
        let w = values(&self.0)?;
        Ok(binary_codes(&w, filter_len(&self.0), self.0.dims()))
    }
}

impl Quantizer for Binary {
    fn weight(&self) -> Result<Tensor> {
        ste::identity(&like(self.frozen()?.decode(), &self.0)?, &self.0)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.0.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::Discrete {
            bits: 1,
            op: KernelOp::SignFlip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_gradient_passes_unchanged_beyond_one_too() -> Result<()> {
        let w = Var::new(&[[2.5f32, -0.5], [0.0, -0.25]], &Device::Cpu)?;
        let y = Binary(w.clone()).weight()?;
        assert_eq!(y.to_vec2::<f32>()?, [[1.5, -1.5], [0.125, -0.125]]);
        let g = (y * 3.0)?.sum_all()?.backward()?;
        assert_eq!(values(g.get(&w).expect("grad"))?, [3.0; 4]);
        Ok(())
    }
}
