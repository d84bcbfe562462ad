//! Ternary weight networks (Li, Zhang and Liu, 2016; the paper's ref. 15 and its section 5.2
//! comparison): a threshold and a scale.
//!
//! ```text
//! Δ = factor · mean|W|,  T = sign(W)·1[|W| > Δ],  α = mean of |W| over |W| > Δ,  Ŵ = α T
//! ```
//!
//! The authors published two readings: one threshold and one scale a layer with factor 0.7 (the
//! paper and its Caffe code; the row of the tables), and one of each a filter with factor 0.75
//! (their later PyTorch code). The gradient of Ŵ goes to W unchanged (identity STE, no clipping).

use crate::filters::{filter_len, like, mean_above, mean_abs, signs_above, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Params, Quantizer, Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// What shares a threshold and a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Granularity {
    /// The layer.
    #[default]
    Layer,
    /// Each filter.
    Filter,
}

/// The settings of TWN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twn {
    /// The threshold over mean |W|: 0.7 in the paper; the reading per filter takes 0.75.
    #[serde(default = "default_factor")]
    pub threshold_factor: f32,
    /// What shares a threshold and a scale.
    #[serde(default)]
    pub granularity: Granularity,
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
        Ok(Box::new(Ternary {
            w: weight_latent(layer, params)?,
            factor: self.threshold_factor,
            granularity: self.granularity,
        }))
    }
}

struct Ternary {
    w: Var,
    factor: f32,
    granularity: Granularity,
}

impl Ternary {
    fn frozen(&self) -> Result<Codes> {
        let w = values(&self.w)?;
        let group = match self.granularity {
            Granularity::Layer => w.len().max(1),
            Granularity::Filter => filter_len(&self.w),
        };
        let (mut levels, mut scales) = (Vec::with_capacity(w.len()), Vec::new());
        for group in w.chunks(group) {
            let delta = (f64::from(self.factor) * f64::from(mean_abs(group))) as f32;
            levels.extend(signs_above(group, delta));
            scales.push(mean_above(group, delta));
        }
        Ok(Codes {
            shape: self.w.dims().to_vec(),
            levels,
            scale: match self.granularity {
                Granularity::Layer => Scale::Layer(scales.first().copied().unwrap_or(0.0)),
                Granularity::Filter => Scale::Filter(scales),
            },
        })
    }
}

impl Quantizer for Ternary {
    fn weight(&self) -> Result<Tensor> {
        ste::identity(&like(self.frozen()?.decode(), &self.w)?, &self.w)
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

    fn ternary(w: &Var, factor: f32, granularity: Granularity) -> Ternary {
        Ternary {
            w: w.clone(),
            factor,
            granularity,
        }
    }

    #[test]
    fn threshold_and_scale_on_a_hand_case() -> Result<()> {
        // mean|W| = 0.5, Δ = 0.35: 0.9, -0.6 and 0.4 stay; α = 1.9 / 3.
        let w = Var::new(&[[0.9f32, -0.6, 0.4, -0.1]], &Device::Cpu)?;
        let q = ternary(&w, 0.7, Granularity::Layer);
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
    fn filters_have_thresholds_and_scales_of_their_own() -> Result<()> {
        // Filter 0: mean 1, Δ = 0.75; filter 1: mean 0.125, Δ = 0.09375. The layer's mean is
        // 0.5625.
        let w = Var::new(&[[1.75f32, -0.25], [0.125, -0.125]], &Device::Cpu)?;
        let by_filter = ternary(&w, 0.75, Granularity::Filter).weight()?;
        assert_eq!(by_filter.to_vec2::<f32>()?, [[1.75, 0.0], [0.125, -0.125]]);
        let by_layer = ternary(&w, 0.75, Granularity::Layer).weight()?;
        assert_eq!(by_layer.to_vec2::<f32>()?, [[1.75, 0.0], [0.0, 0.0]]);
        Ok(())
    }

    #[test]
    fn an_all_zero_layer_stays_finite() -> Result<()> {
        let w = Var::new(&[[0f32; 4]], &Device::Cpu)?;
        for granularity in [Granularity::Layer, Granularity::Filter] {
            let zero = ternary(&w, 0.7, granularity).weight()?;
            assert_eq!(values(&zero)?, [0.0; 4]);
        }
        Ok(())
    }
}
