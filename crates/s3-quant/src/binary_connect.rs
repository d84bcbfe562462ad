//! BinaryConnect (Courbariaux, Bengio and David, NIPS 2015): weights are ±1, no scale.
//!
//! ```text
//! deterministic: W_b = sign(w), sign(0) = +1
//! stochastic:    W_b = +1 with probability clip((w + 1)/2, 0, 1), else -1
//! ```
//!
//! The gradient of W_b goes to w unchanged, and w is clipped to [-1, 1] after each update (here:
//! before the next step, which is the same). Stochastic weights are those of training passes alone;
//! what is evaluated and frozen is the sign.

use crate::filters::{like, sign, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of BinaryConnect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinaryConnect {
    /// Whether training passes draw the signs.
    #[serde(default)]
    pub stochastic: bool,
}

impl MethodConfig for BinaryConnect {
    const NAME: &'static str = "binary_connect";
    const SUMMARY: &'static str = "BinaryConnect: weights ±1 without a scale";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for BinaryConnect {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let draw = || {
            let (shape, half) = (layer.shape.as_slice(), Init::Const(0.5));
            params.get("draw", shape, half, ParamKind::Buffer)
        };
        Ok(Box::new(Signs {
            layer: layer.name.clone(),
            w: weight_latent(layer, params)?,
            draw: self.stochastic.then(draw).transpose()?,
        }))
    }
}

struct Signs {
    layer: String,
    w: Var,
    /// U(0, 1) for each weight: drawn once a step, so that the weight is pure. At 1/2 the draw is
    /// the sign.
    draw: Option<Var>,
}

impl Quantizer for Signs {
    fn weight(&self) -> Result<Tensor> {
        let signs = values(&self.w)?.into_iter().map(sign).collect();
        ste::identity(&like(signs, &self.w)?, &self.w)
    }

    fn training_weight(&self) -> Result<Tensor> {
        let Some(draw) = &self.draw else {
            return self.weight();
        };
        let pairs = values(&self.w)?.into_iter().zip(values(draw)?);
        let drawn = pairs
            .map(|(w, u)| sign(((w + 1.0) / 2.0).clamp(0.0, 1.0) - u))
            .collect();
        ste::identity(&like(drawn, &self.w)?, &self.w)
    }

    fn advance(&mut self, p: Progress) -> Result<()> {
        self.w.set(&self.w.detach().clamp(-1f32, 1f32)?)?;
        if let Some(draw) = &self.draw {
            let unit = Init::Uniform {
                low: 0.0,
                high: 1.0,
            };
            let stream = format!("{}@{}", self.layer, p.step);
            draw.set(&like(unit.draw(p.seed, &stream, draw.elem_count()), draw)?)?;
        }
        Ok(())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_levels(&self.weight()?.detach()).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(1, KernelOp::SignFlip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn latents_are_clipped_and_signs_are_drawn_with_their_probability() -> Result<()> {
        let n = 20_000;
        let w = [vec![0.5f32; n], vec![-3.0; 8]].concat();
        let mut q = Signs {
            layer: "conv".into(),
            w: Var::new(w.as_slice(), &Device::Cpu)?,
            draw: Some(Var::new(vec![0.5f32; n + 8].as_slice(), &Device::Cpu)?),
        };
        q.advance(Progress {
            step: 3,
            steps: 9,
            epoch: 0,
            epochs: 1,
            seed: 2,
        })?;
        assert_eq!(values(&q.w)?[n..], [-1.0; 8]);
        let drawn = values(&q.training_weight()?)?;
        assert_eq!(drawn[n..], [-1.0; 8]);
        let plus = drawn.iter().filter(|&&x| x == 1.0).count() as f64 / n as f64;
        // Four standard errors of a share of 3/4.
        assert!(
            (plus - 0.75).abs() < 4.0 * (0.1875 / n as f64).sqrt(),
            "{plus}"
        );
        assert!(values(&q.weight()?)?[..n].iter().all(|&x| x == 1.0));
        Ok(())
    }
}
