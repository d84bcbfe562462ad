//! DeepShift-Q (Elhoushi et al., CVPR workshops 2021): each weight rounds to a power of two.
//!
//! ```text
//! |w| is clamped to [2^{s_min}, 1] in place,  s_min = -(2^{b-1} - 1)
//! W = sign(w) · 2^{round(log2|w|)};   dL/dw = g
//! ```
//!
//! There are 2^b values and no zero (a latent of exactly 0 stays 0); the boundary between powers is
//! `√2·2^k`. Because the clamp acts on the latent, a sign flips only in a step longer than
//! `2^{s_min}`: with few bits signs freeze. `range = "layer"`, which the original does not have,
//! moves the exponents of each layer by `round(log2 max|w|)` of its start.

use crate::entry::bits_among;
use crate::filters::{like, values, weight_latent};
use crate::power::{pow2, rounded_log2};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// Where a layer's largest level lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Range {
    /// At 1, as in the original.
    #[default]
    One,
    /// At the power of two nearest to the layer's largest weight at its start.
    Layer,
}

/// The settings of DeepShift-Q.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepShiftQ {
    /// Bits a weight, 2 to 6: a sign and `bits - 1` of shift.
    pub bits: u32,
    /// Where a layer's largest level lies.
    #[serde(default)]
    pub range: Range,
}

impl MethodConfig for DeepShiftQ {
    const NAME: &'static str = "deepshift_q";
    const SUMMARY: &'static str = "DeepShift-Q: weights round to ±2^-k";
    const BITS: &'static [u32] = &[2, 3, 4, 5, 6];
    const OPERATION: KernelOp = KernelOp::ShiftSignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        bits_among(self.bits, Self::BITS)
    }
}

impl Method for DeepShiftQ {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let q = Rounded {
            w: weight_latent(layer, params)?,
            top: params.get("top", 1, Init::Const(0.0), ParamKind::Buffer)?,
            bits: self.bits,
            range: self.range,
        };
        q.place_range()?;
        Ok(Box::new(q))
    }
}

struct Rounded {
    w: Var,
    /// The exponent of the largest level.
    top: Var,
    bits: u32,
    range: Range,
}

impl Rounded {
    fn place_range(&self) -> Result<()> {
        if self.range == Range::Layer {
            let largest = values(&self.w)?.iter().fold(0f32, |m, x| m.max(x.abs()));
            let top = rounded_log2(largest).unwrap_or(0).clamp(-60, 60) as f32;
            self.top.set(&like(vec![top], &self.top)?)?;
        }
        Ok(())
    }

    /// The latents after the clamp.
    fn clamped(&self) -> Result<Vec<f32>> {
        let top = values(&self.top)?[0] as i32;
        let (low, high) = (pow2(top - ((1 << (self.bits - 1)) - 1)), pow2(top));
        let clamp = |x: f32| match x {
            0.0 => 0.0,
            x => x.abs().clamp(low, high).copysign(x),
        };
        Ok(values(&self.w)?.into_iter().map(clamp).collect())
    }
}

impl Quantizer for Rounded {
    fn weight(&self) -> Result<Tensor> {
        let round = |x: f32| rounded_log2(x).map_or(0.0, |k| pow2(k).copysign(x));
        let q = self.clamped()?.into_iter().map(round).collect();
        ste::identity(&like(q, &self.w)?, &self.w)
    }

    fn advance(&mut self, _: Progress) -> Result<()> {
        self.w.set(&like(self.clamped()?, &self.w)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)?;
        self.place_range()
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_powers(&self.weight()?.detach()).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(self.bits, KernelOp::ShiftSignFlip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const PROGRESS: Progress = Progress {
        step: 0,
        steps: 1,
        epoch: 0,
        epochs: 1,
        seed: 0,
    };

    fn rounded(w: &[f32], bits: u32, range: Range) -> Result<Rounded> {
        let q = Rounded {
            w: Var::new(w, &Device::Cpu)?,
            top: Var::new(&[0f32], &Device::Cpu)?,
            bits,
            range,
        };
        q.place_range()?;
        Ok(q)
    }

    #[test]
    fn weights_are_clamped_and_round_at_root_two() -> Result<()> {
        let mut q = rounded(&[7.0, 0.70, 0.71, -0.01, 0.0, -0.3], 3, Range::One)?;
        let want = [1.0, 0.5, 1.0, -0.125, 0.0, -0.25];
        assert_eq!(values(&q.weight()?)?, want);
        q.advance(PROGRESS)?;
        assert_eq!(values(&q.w)?, [1.0, 0.70, 0.71, -0.125, 0.0, -0.3]);
        assert_eq!(values(&q.weight()?)?, want);
        Ok(())
    }

    #[test]
    fn a_step_shorter_than_the_least_level_flips_no_sign() -> Result<()> {
        let mut q = rounded(&[0.05], 3, Range::One)?;
        for _ in 0..10 {
            q.advance(PROGRESS)?;
            q.w.set(&(q.w.detach() - 0.1)?)?;
        }
        assert_eq!(values(&q.weight()?)?, [0.125]);
        let mut q = rounded(&[0.05], 3, Range::Layer)?;
        for _ in 0..2 {
            q.advance(PROGRESS)?;
            q.w.set(&(q.w.detach() - 0.1)?)?;
        }
        assert_eq!(values(&q.weight()?)?, [-0.0625]);
        Ok(())
    }
}
