//! HWGQ (Cai et al., "Deep Learning with Low Precision by Half-Wave Gaussian Quantization", CVPR
//! 2017), its binary weights: BWN's form with the plain straight-through gradient.
//!
//! ```text
//! α_i = mean|W_i|,   Ŵ_i = α_i · sign(W_i),   sign(0) = +1,   dL/dW = g
//! ```
//!
//! No centring, no clipping, no gradient of α. The paper's row is the one with full-precision
//! activations; `activation_bits = 2` adds the half-wave Gaussian quantizer before each quantized
//! product. Its step is the optimum for a normal variable of variance 1, which batch norms with a
//! trained gain only start from.

use crate::activation::{half_wave, to_levels};
use crate::filters::{binary_codes, filter_len, like, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Needs, Params, Quantizer, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of HWGQ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hwgq {
    /// Bits of the inputs of quantized layers, 2; absent: full precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_bits: Option<u32>,
}

impl MethodConfig for Hwgq {
    const NAME: &'static str = "hwgq";
    const SUMMARY: &'static str = "HWGQ's binary weights, one scale a filter";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        match self.activation_bits {
            None | Some(2) => Ok(()),
            Some(bits) => Err(format!("activation_bits: expected 2, got {bits}")),
        }
    }
}

impl Method for Hwgq {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        Ok(Box::new(Binary {
            w: weight_latent(layer, params)?,
            quantizes_inputs: self.activation_bits.is_some(),
        }))
    }
}

struct Binary {
    w: Var,
    quantizes_inputs: bool,
}

impl Binary {
    fn frozen(&self) -> Result<Codes> {
        let w = values(&self.w)?;
        Ok(binary_codes(&w, filter_len(&self.w), self.w.dims()))
    }
}

impl Quantizer for Binary {
    fn weight(&self) -> Result<Tensor> {
        ste::identity(&like(self.frozen()?.decode(), &self.w)?, &self.w)
    }

    fn needs(&self) -> Needs {
        Needs {
            inputs: self.quantizes_inputs,
            ..Needs::default()
        }
    }

    fn quantize_input(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        if self.quantizes_inputs {
            to_levels(x, &half_wave())
        } else {
            Ok(x.clone())
        }
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(1, KernelOp::SignFlip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_gradient_passes_unchanged_beyond_one_too() -> Result<()> {
        let w = Var::new(&[[2.5f32, -0.5], [0.0, -0.25]], &Device::Cpu)?;
        let q = Binary {
            w: w.clone(),
            quantizes_inputs: false,
        };
        let y = q.weight()?;
        assert_eq!(y.to_vec2::<f32>()?, [[1.5, -1.5], [0.125, -0.125]]);
        let g = (y * 3.0)?.sum_all()?.backward()?;
        assert_eq!(values(g.get(&w).expect("grad"))?, [3.0; 4]);
        Ok(())
    }
}
