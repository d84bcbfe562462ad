//! Incremental network quantization (Zhou et al., ICLR 2017): the largest weights become powers of
//! two and are frozen, portion by portion, while the others go on training.
//!
//! ```text
//! s = max|W| of the layer at its first freezing,  n1 = floor(log2(4s/3)),  n2 = n1 + 1 - 2^{b-1}/2
//! levels {0, ±2^{n2}, .., ±2^{n1}}:  0 where |w| < 2^{n2}/2,
//!     else ±2^p where 1.5·2^{p-1} <= |w| < 1.5·2^p
//! ```
//!
//! One of the b bits is charged to zero, so that 3 bits have 5 levels. Weights above `1.5·2^{n1}`
//! take the largest level (a public port loses them), and a frozen weight stays frozen (a mask
//! computed anew from |w| sets small levels free again). A frozen weight is a constant: it gets no
//! gradient, and weight decay of its latent changes nothing. The original starts from a
//! full-precision network; `float_share` trains one in the same run instead.

use crate::entry::bits_among;
use crate::filters::{like, values, weight_latent};
use crate::power::{nearest_exponent, pow2};
use crate::stages;
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of INQ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inq {
    /// Bits a weight, 2 to 5, zero included.
    pub bits: u32,
    /// The shares of each layer that are frozen after each of the stages, which have equal lengths;
    /// by default the authors' portions for `bits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portions: Option<Vec<f64>>,
    /// The share of the run that trains in full precision before the first stage.
    #[serde(default)]
    pub float_share: f64,
}

impl Inq {
    fn portions(&self) -> Vec<f64> {
        let of_bits: &[f64] = match self.bits {
            2 => &[0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 1.0],
            3 => &[0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0],
            4 => &[0.3, 0.5, 0.8, 0.9, 0.95, 1.0],
            _ => &[0.5, 0.75, 0.875, 1.0],
        };
        self.portions.clone().unwrap_or_else(|| of_bits.to_vec())
    }
}

impl MethodConfig for Inq {
    const NAME: &'static str = "inq";
    const SUMMARY: &'static str = "incremental quantization: powers of two, frozen by portions";
    const BITS: &'static [u32] = &[2, 3, 4, 5];
    const OPERATION: KernelOp = KernelOp::ShiftSignFlip;
    const START: &'static str = "float";

    fn validate(&self) -> std::result::Result<(), String> {
        bits_among(self.bits, Self::BITS)?;
        stages::check("portions", &self.portions())?;
        if (0.0..1.0).contains(&self.float_share) {
            return Ok(());
        }
        Err(format!(
            "float_share: expected 0 <= x < 1, got {}",
            self.float_share
        ))
    }
}

impl Method for Inq {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let shape = layer.shape.as_slice();
        let buffer = |name: &str| params.get(name, shape, Init::Const(0.0), ParamKind::Buffer);
        Ok(Box::new(Incremental {
            w: weight_latent(layer, params)?,
            frozen: buffer("frozen")?,
            fixed: buffer("fixed")?,
            stage: params.get("stage", 2, Init::Const(0.0), ParamKind::Buffer)?,
            bits: self.bits,
            portions: self.portions(),
            float_share: self.float_share,
        }))
    }
}

struct Incremental {
    w: Var,
    /// 1 where a weight is frozen.
    frozen: Var,
    /// The value of each frozen weight.
    fixed: Var,
    /// Stages begun, and n1 once the first has.
    stage: Var,
    bits: u32,
    portions: Vec<f64>,
    float_share: f64,
}

/// The level of `x` among 0 and `±2^n2 .. ±2^n1`.
fn level(x: f32, n1: i32, bits: u32) -> f32 {
    let n2 = n1 + 1 - (1 << (bits - 1)) / 2;
    match nearest_exponent(x) {
        Some(k) if x.abs() >= pow2(n2 - 1) => pow2(k.clamp(n2, n1)).copysign(x),
        _ => 0.0,
    }
}

impl Incremental {
    /// Stages begun and n1.
    fn stage(&self) -> Result<(usize, i32)> {
        let stage = values(&self.stage)?;
        if stage[0] > 0.0 {
            return Ok((stage[0] as usize, stage[1] as i32));
        }
        let largest = values(&self.w)?.iter().fold(0f32, |m, x| m.max(x.abs()));
        // floor(log2(4s/3)) is the exponent nearest to s; the clamp keeps every level a normal
        // number.
        Ok((0, nearest_exponent(largest).unwrap_or(0).clamp(-100, 100)))
    }

    /// The weight with `free` applied to what is not frozen.
    fn with(&self, free: impl Fn(f32) -> f32) -> Result<Tensor> {
        let (w, frozen, fixed) = (
            values(&self.w)?,
            values(&self.frozen)?,
            values(&self.fixed)?,
        );
        let pairs = w.iter().zip(frozen.iter().zip(&fixed));
        let q = pairs.map(|(&w, (&frozen, &fixed))| if frozen == 1.0 { fixed } else { free(w) });
        let pass = frozen.iter().map(|f| 1.0 - f).collect();
        let w = self.w.as_tensor();
        ste::ste(&like(q.collect(), w)?, &[(&like(pass, w)?, w)])
    }
}

impl Quantizer for Incremental {
    fn weight(&self) -> Result<Tensor> {
        let (_, n1) = self.stage()?;
        self.with(|w| level(w, n1, self.bits))
    }

    fn training_weight(&self) -> Result<Tensor> {
        self.with(|w| w)
    }

    fn advance(&mut self, p: Progress) -> Result<()> {
        let due = stages::begun(&p, self.portions.len(), self.float_share);
        let (done, n1) = self.stage()?;
        if due <= done {
            return Ok(());
        }
        let w = values(&self.w)?;
        let (mut frozen, mut fixed) = (values(&self.frozen)?, values(&self.fixed)?);
        let count = (self.portions[due - 1] * w.len() as f64).round() as usize;
        let already = frozen.iter().filter(|&&f| f == 1.0).count();
        let mut free: Vec<usize> = (0..w.len()).filter(|&i| frozen[i] == 0.0).collect();
        free.sort_by(|&a, &b| w[b].abs().total_cmp(&w[a].abs()));
        for &i in free.iter().take(count.saturating_sub(already)) {
            (frozen[i], fixed[i]) = (1.0, level(w[i], n1, self.bits));
        }
        self.frozen.set(&like(frozen, &self.w)?)?;
        self.fixed.set(&like(fixed, &self.w)?)?;
        self.stage
            .set(&like(vec![due as f32, n1 as f32], &self.stage)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn inq(w: &[f32], bits: u32, portions: &[f64]) -> Result<Incremental> {
        let zeros = |n: usize| Var::new(vec![0f32; n].as_slice(), &Device::Cpu);
        Ok(Incremental {
            w: Var::new(w, &Device::Cpu)?,
            frozen: zeros(w.len())?,
            fixed: zeros(w.len())?,
            stage: zeros(2)?,
            bits,
            portions: portions.to_vec(),
            float_share: 0.0,
        })
    }

    fn at(step: u64) -> Progress {
        Progress {
            step,
            steps: 4,
            epoch: 0,
            epochs: 1,
            seed: 0,
        }
    }

    #[test]
    fn levels_are_the_nearest_and_saturate() {
        // b = 3, n1 = 0: {0, ±1/2, ±1}.
        for (x, want) in [
            (0.249, 0.0),
            (0.25, 0.5),
            (0.3, 0.5),
            (-0.749, -0.5),
            (0.75, 1.0),
            (1.49, 1.0),
            (-7.0, -1.0),
            (0.0, 0.0),
        ] {
            assert_eq!(level(x, 0, 3), want, "{x}");
        }
        // The number of magnitudes: 1, 2, 4, 8.
        for (bits, n) in [(2, 1), (3, 2), (4, 4), (5, 8)] {
            let mut seen: Vec<u32> = (1..4000)
                .map(|i| level(i as f32 / 1000.0, 0, bits).to_bits())
                .filter(|&b| b != 0)
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), n, "{bits} bits");
        }
    }

    #[test]
    fn weights_that_grow_after_the_range_is_fixed_are_not_deleted() -> Result<()> {
        let mut q = inq(&[1.0, 0.5], 3, &[0.5, 1.0])?;
        q.advance(at(0))?;
        q.w.set(&Tensor::new(&[1f32, 9.0], &Device::Cpu)?)?;
        assert_eq!(values(&q.weight()?)?, [1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn a_frozen_zero_stays_frozen_and_gets_no_gradient() -> Result<()> {
        // b = 2, n1 = 0: {0, ±1}; 0.4 is frozen to 0 by the first portion of 2/4.
        let mut q = inq(&[1.0, 0.4, 0.3, 0.2], 2, &[0.5, 1.0])?;
        q.advance(at(0))?;
        assert_eq!(values(&q.training_weight()?)?, [1.0, 0.0, 0.3, 0.2]);
        let g = q.training_weight()?.sum_all()?.backward()?;
        assert_eq!(values(g.get(&q.w).expect("grad"))?, [0., 0., 1., 1.]);
        // The free ones outgrow the frozen zero; it stays.
        q.w.set(&Tensor::new(&[0.9f32, 0.1, 0.8, 0.7], &Device::Cpu)?)?;
        q.advance(at(1))?;
        assert_eq!(values(&q.training_weight()?)?, [1.0, 0.0, 0.8, 0.7]);
        q.advance(at(2))?;
        assert_eq!(values(&q.training_weight()?)?, [1.0, 0.0, 1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn the_largest_are_frozen_first() -> Result<()> {
        let mut q = inq(&[0.1, -0.9, 0.2, 0.5], 5, &[0.25, 1.0])?;
        q.advance(at(0))?;
        assert_eq!(values(&q.frozen)?, [0., 1., 0., 0.]);
        Ok(())
    }

    #[test]
    fn portions_that_do_not_end_at_one_are_refused() {
        let bad = Inq {
            bits: 5,
            portions: Some(vec![0.5, 0.9]),
            float_share: 0.0,
        };
        assert!(bad.validate().expect_err("refused").starts_with("portions"));
    }
}
