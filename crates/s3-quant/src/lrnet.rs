//! LR-Net (Shayer, Levi and Fetaya, "Learning Discrete Weights Using the Local Reparameterization
//! Trick", ICLR 2018), ternary: a distribution over {-1, 0, 1} is trained for each weight.
//!
//! ```text
//! p0 = sigmoid(c), q = sigmoid(a):   P(0) = p0,  P(+1) = q (1 - p0),  P(-1) = (1 - q)(1 - p0)
//! μ = P(+1) - P(-1),   σ² = P(+1) + P(-1) - μ²
//! training:  W = μ + σ·ε,  ε ~ N(0, 1) for each weight, once a step;     frozen: the likeliest value
//! ```
//!
//! The original draws ε for each output of the layer (local reparametrization), which needs a second
//! convolution; here the weight itself is drawn, with the same mean and variance of each output and
//! one draw for the whole batch. Gradients go to c and a through μ and σ. The original evaluates
//! seven samples on the test images and keeps the best; here the likeliest value is frozen, and no
//! sample is chosen on any image.
//!
//! Batch norms that have seen draws alone do not fit the frozen weight. In the last `settle_share` of
//! the run, which the original does not have, training passes multiply with the likeliest values, and
//! their gradient goes to μ.
//!
//! Logits start from a float weight: `W' = clip(W/std W, -1, 1)`, `p0 = 0.95 - 0.9|W'|`,
//! `q = clip((1 + W'/(1 - p0))/2, 0.05, 0.95)`.

use crate::filters::{like, values};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// Keeps the derivative of σ finite where a distribution has collapsed.
const LEAST_VARIANCE: f64 = 1e-6;

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
        let zeros = Init::Const(0.0);
        let q = Stochastic {
            layer: layer.name.clone(),
            settle_share: self.settle_share,
            settled: false,
            zero: params.get("logit_zero", shape, zeros, ParamKind::Latent)?,
            plus: params.get("logit_plus", shape, Init::weight(shape), ParamKind::Latent)?,
            noise: params.get("noise", shape, zeros, ParamKind::Buffer)?,
        };
        q.start_from(&q.plus.detach().copy()?)?;
        Ok(Box::new(q))
    }
}

struct Stochastic {
    layer: String,
    settle_share: f64,
    /// Follows from the progress alone: no state to save.
    settled: bool,
    /// c
    zero: Var,
    /// a
    plus: Var,
    /// ε
    noise: Var,
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
        let mean = (&plus - &minus)?;
        if self.settled {
            return ste::identity(&self.weight()?, &mean);
        }
        let variance = ((plus + minus)? - mean.sqr()?)?;
        // The variance is at least 0 but for rounding; `relu` keeps it there.
        let sigma = (variance.relu()? + LEAST_VARIANCE)?.sqrt()?;
        mean + sigma.mul(&self.noise.detach())?
    }

    fn advance(&mut self, p: Progress) -> Result<()> {
        self.settled = p.step as f64 >= (1.0 - self.settle_share) * p.steps as f64;
        let stream = format!("{}@{}", self.layer, p.step);
        let normal = Init::Normal { std: 1.0 };
        let noise = normal.draw(p.seed, &stream, self.noise.elem_count());
        self.noise.set(&like(noise, &self.noise)?)
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
        WeightForm::Discrete {
            bits: 2,
            op: KernelOp::SignFlip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn stochastic(zero: &[f32], plus: &[f32]) -> Result<Stochastic> {
        Ok(Stochastic {
            layer: "conv".into(),
            settle_share: 0.0,
            settled: false,
            zero: Var::new(zero, &Device::Cpu)?,
            plus: Var::new(plus, &Device::Cpu)?,
            noise: Var::new(vec![0f32; zero.len()].as_slice(), &Device::Cpu)?,
        })
    }

    #[test]
    fn the_draw_has_the_moments_of_the_distribution() -> Result<()> {
        // p0 = 1/2, q = 3/4: P(+1) = 3/8, P(-1) = 1/8, μ = 1/4, σ² = 1/2 - 1/16.
        let n = 40_000;
        let mut q = stochastic(&vec![0.0; n], &vec![3f32.ln(); n])?;
        q.advance(Progress {
            step: 0,
            steps: 1,
            epoch: 0,
            epochs: 1,
            seed: 3,
        })?;
        let w = values(&q.training_weight()?)?;
        let mean = w.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let var = w
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n as f64;
        // Four standard errors of a mean and a variance of n normal draws.
        assert!(
            (mean - 0.25).abs() < 4.0 * (0.4375 / n as f64).sqrt(),
            "{mean}"
        );
        assert!(
            (var / 0.4375 - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(),
            "{var}"
        );
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
        }
        let g = q.training_weight()?.sum_all()?.backward()?;
        let g = values(g.get(&q.plus).expect("grad"))?;
        assert!(g.iter().all(|&x| x > 0.0), "{g:?}");
        Ok(())
    }

    #[test]
    fn a_collapsed_distribution_has_a_finite_gradient() -> Result<()> {
        let q = stochastic(&[-90.0, 90.0], &[90.0, 0.0])?;
        q.noise.set(&Tensor::new(&[1f32, -1.0], &Device::Cpu)?)?;
        let g = q.training_weight()?.sum_all()?.backward()?;
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
