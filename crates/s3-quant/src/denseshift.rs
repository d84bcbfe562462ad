//! DenseShift (Li et al., CVPR 2023), by the authors of S3: S3 without zeros and with a gentler
//! gradient.
//!
//! ```text
//! W = s · 2^{S_t},  t = 2^{b-1} - 1          S_t by eq. 8 of the S3 paper
//! the gradient is that of s · √(S_t + 1)
//! ```
//!
//! Every one of the 2^b codes is a level; every latent starts from N(0, 1e-3²); there is no
//! penalty.

use crate::entry::bits_among;
use candle_core::{Result, Tensor, Var};
use s3_core::reparam::{ShiftGradient, Surrogate, shift_weight_with};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Quantizer,
    WeightForm,
};
use serde::{Deserialize, Serialize};

/// The settings of DenseShift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseShift {
    /// Bits a weight: 2 ({±1, ±2}), 3 ({±1, .., ±8}) or 4 ({±1, .., ±128}).
    pub bits: u32,
}

impl MethodConfig for DenseShift {
    const NAME: &'static str = "denseshift";
    const SUMMARY: &'static str = "DenseShift: signed powers of two without zero";
    const BITS: &'static [u32] = &[2, 3, 4];
    const OPERATION: KernelOp = KernelOp::ShiftSignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        bits_among(self.bits, Self::BITS)
    }
}

impl Method for DenseShift {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let shape = layer.shape.as_slice();
        let init = Init::Normal { std: 1e-3 };
        let latent = |name: &str, depth| {
            let kind = ParamKind::Gate { depth };
            params.get(name, shape, init, kind)
        };
        let t = (1 << (self.bits - 1)) - 1;
        let sign = latent("w_sign", 0)?;
        Ok(Box::new(Latents {
            open: sign.ones_like()?,
            sign,
            shifts: (1..=t)
                .map(|j| Ok(latent(&format!("w_{j}"), t - j)?.into_inner()))
                .collect::<Result<_>>()?,
            bits: self.bits,
        }))
    }
}

struct Latents {
    sign: Var,
    shifts: Vec<Tensor>,
    /// The sparsity gate of S3, open for good.
    open: Tensor,
    bits: u32,
}

impl Quantizer for Latents {
    fn weight(&self) -> Result<Tensor> {
        let surrogate = Surrogate {
            sign_slope: 1.0,
            shift: ShiftGradient::SquareRoot,
            closed: 0.0,
        };
        shift_weight_with(&self.sign, &self.open, &self.shifts, surrogate)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_levels(&self.weight()?.detach()).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(self.bits, KernelOp::ShiftSignFlip)
    }

    fn sign_latent(&self) -> Option<&Tensor> {
        Some(self.sign.as_tensor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn three_bits_reach_eight_and_the_gradient_is_the_square_roots() -> Result<()> {
        let var = |x: f32| Var::new(&[x], &Device::Cpu);
        let (sign, gates) = (var(-0.5)?, [var(0.5)?, var(0.5)?, var(0.5)?]);
        let q = Latents {
            open: sign.ones_like()?,
            sign: sign.clone(),
            shifts: gates.iter().map(|g| g.as_tensor().clone()).collect(),
            bits: 3,
        };
        let y = q.weight()?;
        assert_eq!(y.to_vec1::<f32>()?, [-8.0]);
        let g = y.sum_all()?.backward()?;
        let grad = |v: &Var| g.get(v).expect("grad").to_vec1::<f32>();
        // S = 3: √4 = 2; dS = 1, 2, 3 for w_1, w_2, w_3, each over 2·2.
        assert_eq!(grad(&sign)?, [2.0]);
        for (gate, want) in gates.iter().zip([-0.25, -0.5, -0.75]) {
            assert_eq!(grad(gate)?, [want]);
        }
        Ok(())
    }
}
