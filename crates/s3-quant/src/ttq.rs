//! Trained ternary quantization (Zhu, Han, Mao and Dally, ICLR 2017): a threshold relative to the
//! largest weight and two trained factors a layer.
//!
//! ```text
//! Δ = t · max|W|;   Ŵ = W_p on W > Δ,  -W_n on W < -Δ,  0 between
//! dL/dW   = W_p g  |  W_n g  |  g            on the three parts
//! dL/dW_p = Σ_{W > Δ} g,    dL/dW_n = -Σ_{W < -Δ} g
//! ```
//!
//! The minus sign of the last line is missing in the paper's eq. 7 and in ports that follow it. A
//! factor that becomes negative swaps signs and costs points; factors are kept at 0 or above.
//!
//! The weight is two masked sums, so that it has two planes and no single code; the first start of
//! the original is a full-precision network.

use crate::filters::{like, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of TTQ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ttq {
    /// The threshold over max |W|: 0.05 in the authors' code.
    #[serde(default = "default_threshold")]
    pub threshold: f32,
}

fn default_threshold() -> f32 {
    0.05
}

impl MethodConfig for Ttq {
    const NAME: &'static str = "ttq";
    const SUMMARY: &'static str = "trained ternary quantization: two trained factors a layer";
    const BITS: &'static [u32] = &[2];
    const OPERATION: KernelOp = KernelOp::SumOfSignFlips;
    const START: &'static str = "float";

    fn validate(&self) -> std::result::Result<(), String> {
        if (0.0..1.0).contains(&self.threshold) {
            return Ok(());
        }
        Err(format!(
            "threshold: expected 0 <= x < 1, got {}",
            self.threshold
        ))
    }
}

impl Method for Ttq {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let factor = |name| params.get(name, 1, Init::Const(1.0), ParamKind::Scale);
        Ok(Box::new(Trained {
            w: weight_latent(layer, params)?,
            positive: factor("w_p")?,
            negative: factor("w_n")?,
            threshold: self.threshold,
        }))
    }
}

struct Trained {
    w: Var,
    positive: Var,
    negative: Var,
    threshold: f32,
}

impl Trained {
    fn frozen(&self) -> Result<Vec<Codes>> {
        let w = values(&self.w)?;
        let delta = self.threshold * w.iter().fold(0f32, |m, x| m.max(x.abs()));
        let plane = |factor: &Var, levels: Vec<i32>| -> Result<Codes> {
            Ok(Codes {
                shape: self.w.dims().to_vec(),
                levels,
                scale: Scale::Layer(values(factor)?[0].max(0.0)),
            })
        };
        let positive = w.iter().map(|&x| i32::from(x > delta)).collect();
        let negative = w.iter().map(|&x| -i32::from(x < -delta)).collect();
        Ok(vec![
            plane(&self.positive, positive)?,
            plane(&self.negative, negative)?,
        ])
    }
}

impl Quantizer for Trained {
    fn weight(&self) -> Result<Tensor> {
        let (planes, w) = (self.frozen()?, self.w.as_tensor());
        let q = like(Codes::decode_sum(&planes), w)?;
        let mask = |plane: &Codes| like(plane.levels.iter().map(|&l| l as f32).collect(), w);
        let (up, down) = (mask(&planes[0])?, mask(&planes[1])?);
        let d = q.abs()?.add(&(1.0 - up.sub(&down)?)?)?;
        let spread = |factor: &Var| factor.flatten_all()?.broadcast_as(w.shape());
        let (p, n) = (spread(&self.positive)?, spread(&self.negative)?);
        ste::ste(&q, &[(&d, w), (&up, &p), (&down, &n)])
    }

    fn advance(&mut self, _: Progress) -> Result<()> {
        for factor in [&self.positive, &self.negative] {
            factor.set(&factor.detach().clamp(0f32, f32::INFINITY)?)?;
        }
        Ok(())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn planes(&self) -> Result<Option<Vec<Codes>>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(2, KernelOp::SumOfSignFlips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn trained(w: &[f32], positive: f32, negative: f32) -> Result<Trained> {
        Ok(Trained {
            w: Var::new(w, &Device::Cpu)?,
            positive: Var::new(&[positive], &Device::Cpu)?,
            negative: Var::new(&[negative], &Device::Cpu)?,
            threshold: 0.05,
        })
    }

    #[test]
    fn the_negative_factor_has_a_minus_sign_in_its_gradient() -> Result<()> {
        // Δ = 0.05: 0.04 is zero, the others are not.
        let q = trained(&[1.0, 0.04, -0.5, -0.06, 0.3], 2.0, 3.0)?;
        let y = q.weight()?;
        assert_eq!(y.to_vec1::<f32>()?, [2.0, 0.0, -3.0, -3.0, 2.0]);
        let g = Tensor::new(&[1f32, 2., 4., 8., 16.], &Device::Cpu)?;
        let g = (y * g)?.sum_all()?.backward()?;
        let grad = |v: &Var| values(g.get(v).expect("grad"));
        assert_eq!(grad(&q.w)?, [2.0, 2.0, 12.0, 24.0, 32.0]);
        assert_eq!(grad(&q.positive)?, [17.0]);
        assert_eq!(grad(&q.negative)?, [-12.0]);
        Ok(())
    }

    #[test]
    fn factors_stay_at_zero_or_above() -> Result<()> {
        let mut q = trained(&[1.0, -1.0], -0.5, 0.25)?;
        assert_eq!(values(&q.weight()?)?, [0.0, -0.25]);
        q.advance(Progress {
            step: 1,
            steps: 2,
            epoch: 0,
            epochs: 1,
            seed: 0,
        })?;
        assert_eq!(values(&q.positive)?, [0.0]);
        Ok(())
    }
}
