//! Binary weight networks (Rastegari et al., "XNOR-Net", ECCV 2016, section 3.1): a sign for each
//! weight, a scale for each filter.
//!
//! ```text
//! α_i = mean|W_i|,   Ŵ_i = α_i · sign(W_i),   sign(0) = +1
//! dL/dW_j = α · 1[|W_j| <= 1] · g_j + sign(W_j)/n · Σ_k g_k sign(W_k)     n weights a filter
//! ```
//!
//! The second line is the product rule; the paper's own formula, `g_j (1/n + α 1[|W_j| < 1])`,
//! drops the sum over the filter. Before each step the latents are centred over the input channels
//! and clamped to [-1, 1], as the authors' code does; its factor `1 - 1/c_in` of the gradient comes
//! with the centring. The weight centres and clamps once more, for the latents of the last update;
//! on latents that advance has just centred this moves rounding errors, and more only where the
//! clamp acted. Its factors `n` and 1e9 only change what weight decay means and are left out.

use crate::filters::{binary_codes, filter_len, like, sign, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Params, Progress, Quantizer, Scale,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of BWN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bwn {
    /// Whether latents are centred over the input channels, for each filter and position. The
    /// paper does not say it; the authors' code does it. Layers of one input channel are not.
    #[serde(default = "yes")]
    pub centre: bool,
}

fn yes() -> bool {
    true
}

impl MethodConfig for Bwn {
    const NAME: &'static str = "bwn";
    const SUMMARY: &'static str = "binary weights, one scale a filter (XNOR-Net's BWN)";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for Bwn {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let channels = layer.shape.get(1).copied().unwrap_or(1);
        Ok(Box::new(Binary {
            w: weight_latent(layer, params)?,
            centred_channels: if self.centre && channels > 1 {
                channels
            } else {
                1
            },
        }))
    }
}

struct Binary {
    w: Var,
    /// Input channels over which latents are centred; 1: not at all.
    centred_channels: usize,
}

impl Binary {
    /// The latents, centred.
    fn centred(&self) -> Result<Vec<f32>> {
        let mut w = values(&self.w)?;
        let channels = self.centred_channels;
        if channels == 1 {
            return Ok(w);
        }
        let n = filter_len(&self.w);
        let positions = n / channels;
        for filter in w.chunks_mut(n) {
            for at in 0..positions {
                let of = |c: usize| c * positions + at;
                let sum: f64 = (0..channels).map(|c| f64::from(filter[of(c)])).sum();
                let mean = (sum / channels as f64) as f32;
                (0..channels).for_each(|c| filter[of(c)] -= mean);
            }
        }
        Ok(w)
    }

    fn frozen(&self, centred: &[f32]) -> Codes {
        let clamped: Vec<f32> = centred.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        binary_codes(&clamped, filter_len(&self.w), self.w.dims())
    }
}

impl Quantizer for Binary {
    fn weight(&self) -> Result<Tensor> {
        let (w, n, centred) = (self.w.as_tensor(), filter_len(&self.w), self.centred()?);
        let codes = self.frozen(&centred);
        let factor = match self.centred_channels {
            1 => 1.0,
            c => 1.0 - 1.0 / c as f32,
        };
        let Scale::Filter(alpha) = &codes.scale else {
            candle_core::bail!("binary weights have one scale a filter")
        };
        let passes = |x: f32| if x.abs() <= 1.0 { factor } else { 0.0 };
        let d = centred.iter().enumerate();
        let d: Vec<f32> = d.map(|(i, &x)| alpha[i / n] * passes(x)).collect();
        let signs = like(centred.iter().map(|&x| sign(x)).collect(), w)?;
        let q = ste::ste(&like(codes.decode(), w)?, &[(&like(d, w)?, w)])?;

        // The scale's own gradient, through an exact zero as in `ste`: dα_i/dW_j = sign(W_j)/n.
        let rows = (w.dim(0)?, n);
        let zero = signs.mul(&(w - w.detach())?)?.reshape(rows)?;
        let alpha = (zero.sum_keepdim(1)? * (f64::from(factor) / n as f64))?;
        q + signs
            .reshape(rows)?
            .broadcast_mul(&alpha)?
            .reshape(w.shape())?
    }

    fn advance(&mut self, _: Progress) -> Result<()> {
        let clamped = self.centred()?.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        self.w.set(&like(clamped, &self.w)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Ok(Some(self.frozen(&self.centred()?)))
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
    fn the_gradient_is_the_product_rule_and_not_the_papers() -> Result<()> {
        // α = (0.5 + 0.25 + 1.5 clamped to 1 + 0) / 4 = 0.4375; Σ g sign = 1 - 2 + 4 + 8 = 11.
        let w = Var::new(&[[0.5f32, -0.25, 1.5, 0.0]], &Device::Cpu)?;
        let q = Binary {
            w: w.clone(),
            centred_channels: 1,
        };
        let y = q.weight()?;
        assert_eq!(y.to_vec2::<f32>()?, [[0.4375, -0.4375, 0.4375, 0.4375]]);
        let g = Tensor::new(&[[1f32, 2., 4., 8.]], &Device::Cpu)?;
        let g = (y * g)?.sum_all()?.backward()?;
        let want = [[
            0.4375 + 2.75,
            2.0 * 0.4375 - 2.75,
            2.75, // |W| > 1: only the scale's part
            8.0 * 0.4375 + 2.75,
        ]];
        assert_eq!(g.get(&w).expect("grad").to_vec2::<f32>()?, want);
        Ok(())
    }

    #[test]
    fn centring_takes_the_mean_over_input_channels_of_each_position() -> Result<()> {
        // [1, 2, 1, 2]: two channels, two positions.
        let w = Var::new(&[[[[3f32, -0.5]], [[1.0, 0.5]]]], &Device::Cpu)?;
        let mut q = Binary {
            w: w.clone(),
            centred_channels: 2,
        };
        q.advance(Progress {
            step: 0,
            steps: 1,
            epoch: 0,
            epochs: 1,
            seed: 0,
        })?;
        assert_eq!(values(&w)?, [1.0, -0.5, -1.0, 0.5]);
        assert_eq!(values(&q.weight()?)?, [0.75, -0.75, -0.75, 0.75]);
        Ok(())
    }
}
