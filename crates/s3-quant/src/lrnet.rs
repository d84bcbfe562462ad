//! LR-Net (Shayer, Levi and Fetaya, "Learning Discrete Weights Using the Local Reparameterization
//! Trick", ICLR 2018), ternary: a distribution over {-1, 0, 1} is trained for each weight.
//!
//! ```text
//! p0 = sigmoid(c), q = sigmoid(a):   P(0) = p0,  P(+1) = q (1 - p0),  P(-1) = (1 - q)(1 - p0)
//! μ = P(+1) - P(-1),   σ² = P(+1) + P(-1) - μ²
//! training:  y = x * μ + ε √(x² * σ² + 1e-3),  ε ~ N(0, 1) for each output
//! frozen:    the likeliest value
//! ```
//!
//! The output is drawn instead of the weight (local reparametrization), by a second product in the
//! layer; gradients go to c and a through μ and σ². The original evaluates seven samples on the
//! test images and keeps the best; here the likeliest value is frozen, and no sample is chosen on
//! any image.
//!
//! Batch norms that have seen draws alone do not fit the frozen weight. In the last `settle_share`
//! of the run, which the original does not have, training passes multiply with the likeliest
//! values, and their gradient goes to μ.
//!
//! Logits start from a float weight: `W' = clip(W/std W, -1, 1)`, `p0 = 0.95 - 0.9|W'|`,
//! `q = clip((1 + W'/(1 - p0))/2, 0.05, 0.95)`.

use crate::filters::{like, values};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, Needs, ParamKind, Params, Progress,
    Quantizer, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of LR-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LrNet {
    /// The share of the run, at its end, that trains with the likeliest values.
    #[serde(default = "fifth")]
    pub settle_share: f64,
}

fn fifth() -> f64 {
    0.2
}

impl MethodConfig for LrNet {
    const NAME: &'static str = "lrnet";
    const SUMMARY: &'static str = "LR-Net: a trained distribution over {-1, 0, 1} a weight";
    const BITS: &'static [u32] = &[2];
    const OPERATION: KernelOp = KernelOp::SignFlip;
    const START: &'static str = "float";

    fn validate(&self) -> std::result::Result<(), String> {
        if (0.0..=1.0).contains(&self.settle_share) {
            return Ok(());
        }
        Err(format!(
            "settle_share: expected 0 <= x <= 1, got {}",
            self.settle_share
        ))
    }
}

impl Method for LrNet {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let shape = layer.shape.as_slice();
        let q = Stochastic {
            settle_share: self.settle_share,
            settled: false,
            zero: params.get("logit_zero", shape, Init::Const(0.0), ParamKind::Latent)?,
            plus: params.get("logit_plus", shape, Init::weight(shape), ParamKind::Latent)?,
        };
        q.start_from(&q.plus.detach().copy()?)?;
        Ok(Box::new(q))
    }
}

struct Stochastic {
    settle_share: f64,
    /// Follows from the progress alone: no state to save.
    settled: bool,
    /// c
    zero: Var,
    /// a
    plus: Var,
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    // By tanh, whose derivative stays finite where exp overflows.
    (x * 0.5)?.tanh()?.affine(0.5, 0.5)
}

impl Stochastic {
    /// P(+1) and P(-1).
    fn probabilities(&self) -> Result<(Tensor, Tensor)> {
        let nonzero = sigmoid(&self.zero.neg()?)?;
        let q = sigmoid(&self.plus)?;
        let plus = q.mul(&nonzero)?;
        Ok((plus, (1.0 - q)?.mul(&nonzero)?))
    }
}

impl Quantizer for Stochastic {
    fn weight(&self) -> Result<Tensor> {
        let (plus, minus) = self.probabilities()?;
        let pairs = values(&plus)?.into_iter().zip(values(&minus)?);
        // Equal probabilities: a sign before zero, plus before minus.
        let likeliest = |(p, m): (f32, f32)| {
            if 1.0 - p - m > p.max(m) {
                0.0
            } else if p >= m {
                1.0
            } else {
                -1.0
            }
        };
        like(pairs.map(likeliest).collect(), &plus)
    }

    fn training_weight(&self) -> Result<Tensor> {
        let (plus, minus) = self.probabilities()?;
        let mean = (plus - minus)?;
        if self.settled {
            return ste::identity(&self.weight()?, &mean);
        }
        Ok(mean)
    }

    fn needs(&self) -> Needs {
        Needs {
            draws: true,
            ..Needs::default()
        }
    }

    fn training_variance(&self) -> Result<Option<Tensor>> {
        if self.settled {
            return Ok(None);
        }
        let (plus, minus) = self.probabilities()?;
        let mean = (&plus - &minus)?;
        let variance = ((plus + minus)? - mean.sqr()?)?;
        // At least 0 but for rounding.
        variance.relu().map(Some)
    }

    fn advance(&mut self, p: Progress) -> Result<()> {
        self.settled = p.step as f64 >= (1.0 - self.settle_share) * p.steps as f64;
        Ok(())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        let w: Vec<f64> = values(weight)?.into_iter().map(f64::from).collect();
        let n = w.len().max(1) as f64;
        let mean = w.iter().sum::<f64>() / n;
        let std = (w.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        let logit = |p: f64| (p / (1.0 - p)).ln() as f32;
        let start = |x: &f64| {
            let x = (x / std.max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0);
            let p0 = 0.95 - 0.9 * x.abs();
            let q = (0.5 * (1.0 + x / (1.0 - p0))).clamp(0.05, 0.95);
            (logit(p0), logit(q))
        };
        let (zero, plus) = w.iter().map(start).unzip();
        self.zero.set(&like(zero, weight)?)?;
        self.plus.set(&like(plus, weight)?)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_levels(&self.weight()?).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(2, KernelOp::SignFlip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn stochastic(zero: &[f32], plus: &[f32]) -> Result<Stochastic> {
        Ok(Stochastic {
            settle_share: 0.0,
            settled: false,
            zero: Var::new(zero, &Device::Cpu)?,
            plus: Var::new(plus, &Device::Cpu)?,
        })
    }

    #[test]
    fn the_moments_are_those_of_the_distribution() -> Result<()> {
        // p0 = 1/2, q = 3/4: P(+1) = 3/8, P(-1) = 1/8, μ = 1/4, σ² = 1/2 - 1/16.
        let q = stochastic(&[0.0], &[3f32.ln()])?;
        let mean = values(&q.training_weight()?)?[0];
        let variance = values(&q.training_variance()?.expect("draws"))?[0];
        assert!((mean - 0.25).abs() < 1e-6, "{mean}");
        assert!((variance - 0.4375).abs() < 1e-6, "{variance}");
        // Draws of the weight itself agree: four standard errors of a mean and a variance of n
        // draws.
        let n = 40_000;
        let uniform = Init::Uniform {
            low: 0.0,
            high: 1.0,
        };
        let draw = |u: f32| match u {
            u if u < 0.375 => 1.0,
            u if u < 0.5 => -1.0,
            _ => 0.0,
        };
        let w: Vec<f64> = uniform.draw(3, "w", n).into_iter().map(draw).collect();
        let drawn = w.iter().sum::<f64>() / n as f64;
        let spread = w.iter().map(|x| (x - drawn).powi(2)).sum::<f64>() / n as f64;
        assert!((drawn - 0.25).abs() < 4.0 * (0.4375 / n as f64).sqrt());
        assert!((spread / 0.4375 - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt());
        Ok(())
    }

    #[test]
    fn a_start_from_weights_keeps_large_ones_and_zeroes_small_ones() -> Result<()> {
        let q = stochastic(&[0.0; 4], &[0.0; 4])?;
        q.start_from(&Tensor::new(&[2f32, -2., 0.1, -0.1], &Device::Cpu)?)?;
        assert_eq!(values(&q.weight()?)?, [1.0, -1.0, 0.0, 0.0]);
        // p0 is 0.05 at W' = ±1.
        assert!((values(&sigmoid(&q.zero)?)?[0] - 0.05).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn the_end_of_a_run_trains_with_what_is_frozen() -> Result<()> {
        let mut q = stochastic(&[-1.0, 2.0], &[1.0, 0.5])?;
        q.settle_share = 0.25;
        for (step, settled) in [(74, false), (75, true)] {
            q.advance(Progress {
                step,
                steps: 100,
                epoch: 0,
                epochs: 1,
                seed: 0,
            })?;
            let same = values(&q.training_weight()?)? == values(&q.weight()?)?;
            assert_eq!(same, settled);
            assert_eq!(q.training_variance()?.is_none(), settled);
        }
        let g = q.training_weight()?.sum_all()?.backward()?;
        let g = values(g.get(&q.plus).expect("grad"))?;
        assert!(g.iter().all(|&x| x > 0.0), "{g:?}");
        Ok(())
    }

    #[test]
    fn a_collapsed_distribution_has_a_finite_gradient() -> Result<()> {
        let q = stochastic(&[-90.0, 90.0], &[90.0, 0.0])?;
        let variance = q.training_variance()?.expect("draws");
        assert!(values(&variance)?.iter().all(|&v| v >= 0.0));
        let root = (variance + 1e-3)?.sqrt()?;
        let g = (q.training_weight()? + root)?.sum_all()?.backward()?;
        for v in [&q.zero, &q.plus] {
            assert!(
                values(g.get(v).expect("grad"))?
                    .iter()
                    .all(|x| x.is_finite())
            );
        }
        Ok(())
    }
}
