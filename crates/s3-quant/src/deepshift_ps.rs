//! DeepShift-PS (Elhoushi et al., CVPR workshops 2021): a sign and a shift are trained for each
//! weight.
//!
//! ```text
//! P is clamped to [s_min, 0] in place,  s_min = -(2^{b-1} - 2)
//! W = sign(round(F)) · 2^{round(P)}                          0 where |F| <= 1/2
//! dL/dP = g · W · ln2,   dL/dF = g                           (F's is not multiplied by 2^P)
//! ```
//!
//! There are 2^b - 1 values. Rounding is half to even. Weight decay acts on the weights and not on
//! the latents: the penalty of a layer is `½ Σ (2^P)²` over the unrounded P, weights that are zero
//! included, and the config's `alpha` is its decay. The authors train with RAdam; SGD does poorly.

use crate::entry::bits_among;
use crate::filters::{like, values};
use crate::power::{pow2, rounded_log2};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// How latents start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Start {
    /// From a drawn float weight: `P = round(log2|w|)`, `F = sign(w)`. What the authors' CIFAR
    /// script does, from scratch too.
    #[default]
    Weight,
    /// `P ~ U(-10, -1)`, `F ~ U(-1, 1)`: the authors' module.
    Uniform,
}

/// The settings of DeepShift-PS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepShiftPs {
    /// Bits a weight, 2 to 6.
    pub bits: u32,
    /// How latents start.
    #[serde(default)]
    pub init: Start,
}

impl MethodConfig for DeepShiftPs {
    const NAME: &'static str = "deepshift_ps";
    const SUMMARY: &'static str = "DeepShift-PS: a trained sign and a trained shift a weight";
    const BITS: &'static [u32] = &[2, 3, 4, 5, 6];
    const OPERATION: KernelOp = KernelOp::ShiftSignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        bits_among(self.bits, Self::BITS)
    }
}

impl Method for DeepShiftPs {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let (shift, sign) = match self.init {
            // The drawn weight stands in the sign for a moment.
            Start::Weight => (Init::Const(0.0), Init::weight(&layer.shape)),
            Start::Uniform => (
                Init::Uniform {
                    low: -10.0,
                    high: -1.0,
                },
                Init::Uniform {
                    low: -1.0,
                    high: 1.0,
                },
            ),
        };
        let shape = layer.shape.as_slice();
        let q = Signed {
            shift: params.get("shift", shape, shift, ParamKind::Latent)?,
            sign: params.get("sign", shape, sign, ParamKind::Latent)?,
            bits: self.bits,
        };
        if self.init == Start::Weight {
            q.start_from(&q.sign.detach().copy()?)?;
        }
        Ok(Box::new(q))
    }
}

struct Signed {
    shift: Var,
    sign: Var,
    bits: u32,
}

impl Signed {
    fn least(&self) -> f32 {
        -(((1 << (self.bits - 1)) - 2) as f32)
    }

    fn clamped(&self) -> Result<Vec<f32>> {
        let least = self.least();
        let shift = values(&self.shift)?.into_iter();
        Ok(shift.map(|p| p.clamp(least, 0.0)).collect())
    }
}

impl Quantizer for Signed {
    fn weight(&self) -> Result<Tensor> {
        let pairs = self.clamped()?.into_iter().zip(values(&self.sign)?);
        let q = pairs.map(|(p, f)| match f.round_ties_even() {
            0.0 => 0.0,
            f => pow2(p.round_ties_even() as i32).copysign(f),
        });
        let q = like(q.collect(), &self.shift)?;
        let d = (&q * f64::from(std::f32::consts::LN_2))?;
        ste::ste(&q, &[(&d, &self.shift), (&q.ones_like()?, &self.sign)])
    }

    fn penalty(&self) -> Result<Option<Tensor>> {
        let squares = (self.shift.as_tensor() * (2.0 * std::f64::consts::LN_2))?.exp()?;
        (squares.sum_all()? * 0.5).map(Some)
    }

    fn advance(&mut self, _: Progress) -> Result<()> {
        self.shift.set(&like(self.clamped()?, &self.shift)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        let least = self.least();
        let w = values(weight)?;
        let shift = w
            .iter()
            .map(|&x| rounded_log2(x).map_or(least, |k| k as f32));
        let sign = w
            .iter()
            .map(|&x| if x == 0.0 { 0.0 } else { 1f32.copysign(x) });
        self.shift.set(&like(shift.collect(), weight)?)?;
        self.sign.set(&like(sign.collect(), weight)?)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_powers(&self.weight()?.detach()).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::Discrete {
            bits: self.bits,
            op: match self.bits {
                2 => KernelOp::SignFlip, // its one magnitude is the layer's scale
                _ => KernelOp::ShiftSignFlip,
            },
        }
    }

    fn sign_latent(&self) -> Option<&Tensor> {
        Some(self.sign.as_tensor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn signed(shift: &[f32], sign: &[f32], bits: u32) -> Result<Signed> {
        Ok(Signed {
            shift: Var::new(shift, &Device::Cpu)?,
            sign: Var::new(sign, &Device::Cpu)?,
            bits,
        })
    }

    #[test]
    fn values_and_gradients_on_a_hand_case() -> Result<()> {
        // 3 bits: shifts -2..0; round half to even: -0.5 -> 0, -1.5 -> -2; |F| = 1/2 is zero.
        let q = signed(
            &[-0.5, -1.5, 3.0, -9.0, -1.0],
            &[1.0, -0.6, 2.0, -1.0, 0.5],
            3,
        )?;
        let y = q.weight()?;
        let w = [1.0, -0.25, 1.0, -0.25, 0.0];
        assert_eq!(values(&y)?, w);
        let g = (y * 2.0)?.sum_all()?.backward()?;
        let shift = values(g.get(&q.shift).expect("grad"))?;
        let want = w.map(|w| 2.0 * (w * std::f32::consts::LN_2));
        assert_eq!(shift, want);
        assert_eq!(values(g.get(&q.sign).expect("grad"))?, [2.0; 5]);
        Ok(())
    }

    #[test]
    fn the_penalty_decays_the_weight_and_counts_zeros() -> Result<()> {
        let q = signed(&[0.0, -1.0], &[0.0, 1.0], 4)?;
        let r = q.penalty()?.expect("one");
        // exp(2·ln2·P) is 2^{2P} up to a rounding of the exponent.
        assert!((r.to_scalar::<f32>()? - 0.625).abs() < 1e-6);
        let g = r.backward()?;
        let g = values(g.get(&q.shift).expect("grad"))?;
        let ln2 = std::f32::consts::LN_2;
        assert!((g[0] - ln2).abs() < 1e-6 && (g[1] - ln2 / 4.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn a_shift_beyond_its_range_comes_back() -> Result<()> {
        let mut q = signed(&[4.0, -7.0], &[1.0, 1.0], 3)?;
        q.advance(Progress {
            step: 0,
            steps: 1,
            epoch: 0,
            epochs: 1,
            seed: 0,
        })?;
        assert_eq!(values(&q.shift)?, [0.0, -2.0]);
        Ok(())
    }
}
