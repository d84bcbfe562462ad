//! SQ-TWN (Dong et al., "Learning Accurate Low-Bit Deep Neural Networks with Stochastic
//! Quantization", BMVC 2017): at each step a part of the filters is ternary, the others are float.
//!
//! ```text
//! Δ = 0.7 · mean|W - mean W| of the layer
//! T_i = sign(W_i)·1[|W_i| > Δ],  α_i = mean|W_i| over |W_i| > Δ
//! e_i = ‖W_i - α_i T_i‖₁ / ‖W_i‖₁;   floor((1 - r)·c_out) filters stay float, drawn without
//! replacement with probability ∝ e_i
//! ```
//!
//! The threshold comes from the centred weight and is applied to the weight itself, as in the
//! authors' code. The gradient goes to W unchanged for all filters. The ratio r grows over stages
//! of equal length and ends at 1. What is evaluated and frozen is the ternary weight of all
//! filters; before the last stage its accuracy is poor.

use crate::filters::{filter_len, like, mean_above, mean_abs, signs_above, values, weight_latent};
use crate::stages;
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of SQ-TWN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sq {
    /// The ternary share of the filters in each stage.
    #[serde(default = "default_ratios")]
    pub ratios: Vec<f64>,
}

fn default_ratios() -> Vec<f64> {
    vec![0.5, 0.75, 0.875, 1.0]
}

impl MethodConfig for Sq {
    const NAME: &'static str = "sq";
    const SUMMARY: &'static str = "stochastic quantization to ternary filters (SQ-TWN)";
    const BITS: &'static [u32] = &[2];
    const OPERATION: KernelOp = KernelOp::SignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        stages::check("ratios", &self.ratios)
    }
}

impl Method for Sq {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let filters = layer.shape.first().copied().unwrap_or(1);
        let ones = Init::Const(1.0);
        Ok(Box::new(Stochastic {
            layer: layer.name.clone(),
            w: weight_latent(layer, params)?,
            ternary: params.get("ternary", filters, ones, ParamKind::Buffer)?,
            ratios: self.ratios.clone(),
        }))
    }
}

struct Stochastic {
    layer: String,
    w: Var,
    /// 1 for each filter that this step quantizes.
    ternary: Var,
    ratios: Vec<f64>,
}

impl Stochastic {
    fn frozen(&self) -> Result<Codes> {
        let (w, n) = (values(&self.w)?, filter_len(&self.w));
        let mean = w.iter().map(|&x| f64::from(x)).sum::<f64>() / w.len().max(1) as f64;
        let centred: Vec<f32> = w.iter().map(|x| x - mean as f32).collect();
        let delta = (0.7 * f64::from(mean_abs(&centred))) as f32;
        Ok(Codes {
            shape: self.w.dims().to_vec(),
            levels: signs_above(&w, delta).collect(),
            scale: Scale::Filter(w.chunks(n).map(|w| mean_above(w, delta)).collect()),
        })
    }

    /// `e_i` of each filter; 0 for a filter of zeros.
    fn errors(&self) -> Result<Vec<f64>> {
        let (w, q, n) = (
            values(&self.w)?,
            self.frozen()?.decode(),
            filter_len(&self.w),
        );
        let error = |(w, q): (&[f32], &[f32])| {
            let off: f64 = w.iter().zip(q).map(|(w, q)| f64::from((w - q).abs())).sum();
            let all: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
            if all > 0.0 { off / all } else { 0.0 }
        };
        Ok(w.chunks(n).zip(q.chunks(n)).map(error).collect())
    }
}

/// Draws as many of `weights` as there are `draws` from [0, 1), without replacement, each with
/// probability proportional to its weight among those left; uniformly where all are 0.
fn roulette(weights: &[f64], draws: &[f32]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..weights.len()).collect();
    let mut taken = Vec::with_capacity(draws.len());
    for &u in draws.iter().take(weights.len()) {
        let total: f64 = left.iter().map(|&i| weights[i]).sum();
        let weight = |i: usize| if total > 0.0 { weights[i] } else { 1.0 };
        let mut rest = f64::from(u)
            * if total > 0.0 {
                total
            } else {
                left.len() as f64
            };
        let mut at = left.len() - 1;
        for (k, &i) in left.iter().enumerate() {
            rest -= weight(i);
            if rest < 0.0 {
                at = k;
                break;
            }
        }
        taken.push(left.remove(at));
    }
    taken
}

impl Quantizer for Stochastic {
    fn weight(&self) -> Result<Tensor> {
        ste::identity(&like(self.frozen()?.decode(), &self.w)?, &self.w)
    }

    fn training_weight(&self) -> Result<Tensor> {
        let (mut q, n) = (self.frozen()?.decode(), filter_len(&self.w));
        let w = values(&self.w)?;
        for (i, _) in values(&self.ternary)?
            .iter()
            .enumerate()
            .filter(|(_, t)| **t == 0.0)
        {
            q[i * n..][..n].copy_from_slice(&w[i * n..][..n]);
        }
        ste::identity(&like(q, &self.w)?, &self.w)
    }

    fn advance(&mut self, p: Progress) -> Result<()> {
        let ratio = self.ratios[stages::begun(&p, self.ratios.len(), 0.0) - 1];
        let filters = self.ternary.elem_count();
        let floats = ((1.0 - ratio) * filters as f64).floor() as usize;
        let unit = Init::Uniform {
            low: 0.0,
            high: 1.0,
        };
        let draws = unit.draw(p.seed, &format!("{}@{}", self.layer, p.step), floats);
        let mut ternary = vec![1f32; filters];
        for i in roulette(&self.errors()?, &draws) {
            ternary[i] = 0.0;
        }
        self.ternary.set(&like(ternary, &self.ternary)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(2, KernelOp::SignFlip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn stochastic(w: &[[f32; 2]; 4]) -> Result<Stochastic> {
        Ok(Stochastic {
            layer: "conv".into(),
            w: Var::new(w, &Device::Cpu)?,
            ternary: Var::new(&[1f32; 4], &Device::Cpu)?,
            ratios: default_ratios(),
        })
    }

    #[test]
    fn the_threshold_is_the_centred_layers_and_the_scale_is_the_filters() -> Result<()> {
        // Mean 1, mean|W - 1| = 1.125, Δ = 0.7875; uncentred, mean|W| = 1.1875 would give 0.83.
        let q = stochastic(&[[3.0, 2.0], [0.8125, 2.5], [-0.5, -0.25], [0.25, 0.1875]])?;
        assert_eq!(
            values(&q.weight()?)?,
            [2.5, 2.5, 1.65625, 1.65625, 0.0, 0.0, 0.0, 0.0]
        );
        let errors = q.errors()?;
        assert_eq!(errors, [1.0 / 5.0, 1.6875 / 3.3125, 1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn half_of_the_filters_stay_float_at_first_and_none_at_last() -> Result<()> {
        let mut q = stochastic(&[[3.0, 2.0], [0.8125, 2.5], [-0.5, -0.25], [0.25, 0.1875]])?;
        let at = |step| Progress {
            step,
            steps: 400,
            epoch: 0,
            epochs: 1,
            seed: 1,
        };
        let mut float = [0u32; 4];
        for step in 0..100 {
            q.advance(at(step))?;
            let ternary = values(&q.ternary)?;
            assert_eq!(ternary.iter().sum::<f32>(), 2.0);
            for (n, t) in float.iter_mut().zip(&ternary) {
                *n += u32::from(*t == 0.0);
            }
            let (w, y) = (values(&q.w)?, values(&q.training_weight()?)?);
            for i in (0..4).filter(|&i| ternary[i] == 0.0) {
                assert_eq!(w[2 * i..][..2], y[2 * i..][..2]);
            }
        }
        assert!(float[0] < float[2] && float[0] < float[3], "{float:?}");
        q.advance(at(300))?;
        assert_eq!(values(&q.training_weight()?)?, values(&q.weight()?)?);
        Ok(())
    }

    #[test]
    fn the_roulette_takes_each_once_and_knows_its_ends() {
        assert_eq!(roulette(&[1.0, 2.0, 1.0], &[0.0, 0.999, 0.5]), [0, 2, 1]);
        assert_eq!(roulette(&[0.0, 0.0], &[0.75, 0.0]), [1, 0]);
        assert_eq!(roulette(&[0.0, 1.0], &[0.0]), [1]);
        assert!(roulette(&[1.0], &[]).is_empty());
    }
}
