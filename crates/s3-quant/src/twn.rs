//! Ternary weight networks (Li, Zhang and Liu, 2016; the paper's ref. 15 and its section 5.2
//! comparison): one threshold and one scale a layer.
//!
//! ```text
//! Δ = factor · mean|W|,  T = sign(W)·1[|W| > Δ],  α = mean of |W| over |W| > Δ,  Ŵ = α T
//! ```
//!
//! The gradient of Ŵ goes to W unchanged (identity STE, no clipping), as in the authors' Caffe code.

use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Quantizer, Scale,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of TWN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twn {
    /// The threshold over mean |W|: 0.7 in the paper.
    #[serde(default = "default_factor")]
    pub threshold_factor: f32,
}

fn default_factor() -> f32 {
    0.7
}

impl MethodConfig for Twn {
    const NAME: &'static str = "twn";
    const SUMMARY: &'static str =
        "ternary weight networks: threshold 0.7 mean|W|, one scale a layer";
    const BITS: &'static [u32] = &[2];
    const OPERATION: KernelOp = KernelOp::SignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        if self.threshold_factor.is_finite() && self.threshold_factor >= 0.0 {
            return Ok(());
        }
        Err(format!(
            "threshold_factor: expected a number >= 0, got {}",
            self.threshold_factor
        ))
    }
}

impl Method for Twn {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let init = Init::weight(&layer.shape);
        let w = params.get("", layer.shape.as_slice(), init, ParamKind::Latent)?;
        Ok(Box::new(Ternary {
            w,
            factor: f64::from(self.threshold_factor),
        }))
    }
}

struct Ternary {
    w: Var,
    factor: f64,
}

impl Ternary {
    /// The levels in {-1, 0, 1} and the layer's scale, summed in f64 in index order.
    fn levels_and_scale(&self) -> Result<(Vec<f32>, f32)> {
        let w = self.w.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        let mean = w.iter().map(|x| f64::from(x.abs())).sum::<f64>() / w.len().max(1) as f64;
        let delta = (self.factor * mean) as f32;
        let (mut sum, mut kept) = (0f64, 0u64);
        let levels = w
            .iter()
            .map(|&x| {
                if x.abs() > delta {
                    sum += f64::from(x.abs());
                    kept += 1;
                    1f32.copysign(x)
                } else {
                    0.0
                }
            })
            .collect();
        Ok((
            levels,
            if kept == 0 {
                0.0
            } else {
                (sum / kept as f64) as f32
            },
        ))
    }
}

impl Quantizer for Ternary {
    fn weight(&self) -> Result<Tensor> {
        let (levels, scale) = self.levels_and_scale()?;
        let values: Vec<f32> = levels.into_iter().map(|t| t * scale).collect();
        let q = Tensor::from_vec(values, self.w.shape(), self.w.device())?;
        ste::identity(&q, self.w.as_tensor())
    }

    fn codes(&self) -> Result<Option<Codes>> {
        let (levels, scale) = self.levels_and_scale()?;
        Ok(Some(Codes {
            shape: self.w.dims().to_vec(),
            levels: levels.into_iter().map(|t| t as i32).collect(),
            scale: Scale::Layer(scale),
        }))
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

    #[test]
    fn threshold_and_scale_on_a_hand_case() -> Result<()> {
        // mean|W| = 0.5, Δ = 0.35: 0.9, -0.6 and 0.4 stay; α = 1.9 / 3.
        let w = Var::new(&[[0.9f32, -0.6, 0.4, -0.1]], &Device::Cpu)?;
        let q = Ternary {
            w: w.clone(),
            factor: 0.7,
        };
        let alpha = (1.9f64 / 3.0) as f32;
        // α is one f32 rounding of an f64 mean of f32 inputs.
        let got = q.weight()?.to_vec2::<f32>()?[0].clone();
        for (g, want) in got.iter().zip([alpha, -alpha, alpha, 0.0]) {
            assert!((g - want).abs() <= f32::EPSILON, "{got:?}");
        }
        let g = (q.weight()? * 3.0)?.sum_all()?.backward()?;
        assert_eq!(g.get(&w).expect("grad").to_vec2::<f32>()?, [[3.0; 4]]);
        Ok(())
    }

    #[test]
    fn an_all_zero_layer_stays_finite() -> Result<()> {
        let w = Var::new(&[0f32; 4], &Device::Cpu)?;
        assert_eq!(
            Ternary { w, factor: 0.7 }.weight()?.to_vec1::<f32>()?,
            [0.0; 4]
        );
        Ok(())
    }
}
