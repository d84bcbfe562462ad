//! IR-Net (Qin et al., "Forward and Backward Information Retention", CVPR 2020), weights alone:
//! signs of balanced, standardised filters, and a shift for each filter.
//!
//! ```text
//! ŵ = (W - mean)/std   per filter, unbiased std
//! Ŵ = sign(ŵ) · 2^sh,  sh = round(log2 mean|ŵ|)               sign(0) = +1
//! dsign/dŵ = k τ (1 - tanh²(τ ŵ)),  τ = 10^{-1 + 2 e/E},  k = max(1/τ, 1)
//! ```
//!
//! The gradient then goes through mean and std to W. `e` is the epoch of `E`: `k` and `τ` move with
//! training (the authors' modules show 10 and 0.1, which their trainer overwrites).

use crate::filters::{filter_len, values, weight_latent};
use crate::power::pow2;
use candle_core::{D, DType, Result, Tensor, Var, bail};
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Params, Progress, Quantizer, Scale,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// IR-Net has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IrNet {}

impl MethodConfig for IrNet {
    const NAME: &'static str = "irnet";
    const SUMMARY: &'static str = "IR-Net: balanced binary weights, one shift a filter";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for IrNet {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        if layer.shape.iter().skip(1).product::<usize>() < 2 {
            bail!(
                "{}: a filter of one weight has no standard deviation",
                layer.name
            )
        }
        Ok(Box::new(Balanced {
            w: weight_latent(layer, params)?,
            tau: temperature(0, 1),
        }))
    }
}

/// τ in the epoch `epoch` of `epochs`.
fn temperature(epoch: usize, epochs: usize) -> f64 {
    10f64.powf(-1.0 + 2.0 * epoch as f64 / epochs.max(1) as f64)
}

struct Balanced {
    w: Var,
    /// Follows from the progress alone and shapes the gradient alone: no state to save.
    tau: f64,
}

impl Balanced {
    /// ŵ, one filter a row.
    fn standardised(&self) -> Result<Tensor> {
        let n = filter_len(&self.w);
        let w = self.w.reshape((self.w.dim(0)?, n))?;
        let centred = w.broadcast_sub(&w.mean_keepdim(1)?)?;
        let variance = (centred.sqr()?.sum_keepdim(1)? / (n - 1) as f64)?;
        // The addend is lost in the rounding of any variance but 0, where it keeps ŵ finite.
        centred.broadcast_div(&(variance + 1e-24)?.sqrt()?)
    }

    fn signs_and_shifts(&self, standardised: &Tensor) -> Result<(Tensor, Vec<f32>)> {
        let signs = standardised
            .ge(0.0)?
            .to_dtype(DType::F32)?
            .affine(2.0, -1.0)?;
        let means = values(&standardised.detach().abs()?.mean(D::Minus1)?)?;
        let shifts = means.iter().map(|m| {
            let exponent = if *m > 0.0 {
                m.log2().round_ties_even()
            } else {
                0.0
            };
            pow2(exponent as i32)
        });
        Ok((signs, shifts.collect()))
    }
}

impl Quantizer for Balanced {
    fn weight(&self) -> Result<Tensor> {
        let x = self.standardised()?;
        let (signs, shifts) = self.signs_and_shifts(&x)?;
        let (tau, k) = (self.tau, (1.0 / self.tau).max(1.0));
        let slope = (x.detach() * tau)?
            .tanh()?
            .sqr()?
            .affine(-k * tau, k * tau)?;
        let shifts = Tensor::from_vec(shifts, (x.dim(0)?, 1), x.device())?;
        ste::ste(&signs, &[(&slope, &x)])?
            .broadcast_mul(&shifts)?
            .reshape(self.w.shape())
    }

    fn advance(&mut self, p: Progress) -> Result<()> {
        self.tau = temperature(p.epoch, p.epochs);
        Ok(())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        let (signs, shifts) = self.signs_and_shifts(&self.standardised()?)?;
        Ok(Some(Codes {
            shape: self.w.dims().to_vec(),
            levels: values(&signs)?.into_iter().map(|s| s as i32).collect(),
            scale: Scale::Filter(shifts),
        }))
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
    fn the_slope_at_zero_is_one_for_half_of_training_and_then_ten() {
        for (epoch, tau, slope) in [(0, 0.1, 1.0), (100, 10f64.powf(-0.5), 1.0), (200, 1.0, 1.0)] {
            let t = temperature(epoch, 400);
            assert!((t - tau).abs() < 1e-12);
            assert!(((1.0 / t).max(1.0) * t - slope).abs() < 1e-12);
        }
        let t = temperature(400, 400);
        assert!(((1.0 / t).max(1.0) * t - 10.0).abs() < 1e-12);
    }

    #[test]
    fn signs_are_those_of_the_balanced_filter() -> Result<()> {
        // All latents are positive; the means are 2 and 0.35.
        let w = Var::new(&[[1f32, 1., 3., 3.], [0.1, 0.2, 0.3, 0.8]], &Device::Cpu)?;
        let q = Balanced { w, tau: 1.0 };
        // mean|ŵ| is 0.87 and 0.72: both shifts are 0.
        assert_eq!(
            q.weight()?.to_vec2::<f32>()?,
            [[-1., -1., 1., 1.], [-1., -1., -1., 1.]]
        );
        Ok(())
    }

    #[test]
    fn the_gradient_of_a_filter_sums_to_zero_and_is_blind_to_its_size() -> Result<()> {
        let w = Var::new(&[[0.3f32, -0.2, 0.9, 0.4, -0.7]], &Device::Cpu)?;
        let g = Tensor::new(&[[1f32, -2., 0.5, 3., 1.]], &Device::Cpu)?;
        let q = Balanced {
            w: w.clone(),
            tau: 2.0,
        };
        let grads = (q.weight()? * g)?.sum_all()?.backward()?;
        let grad = values(grads.get(&w).expect("grad"))?;
        let sum: f32 = grad.iter().sum();
        let along: f32 = grad.iter().zip(values(&w)?).map(|(g, w)| g * w).sum();
        // f32 sums of five terms of size 10.
        assert!(sum.abs() < 1e-4 && along.abs() < 1e-4, "{sum} {along}");
        Ok(())
    }

    #[test]
    fn a_constant_filter_stays_finite() -> Result<()> {
        let w = Var::new(&[[0.5f32; 4]], &Device::Cpu)?;
        let y = Balanced {
            w: w.clone(),
            tau: 1.0,
        }
        .weight()?;
        let g = y.sum_all()?.backward()?;
        assert!(
            values(g.get(&w).expect("grad"))?
                .iter()
                .all(|g| g.is_finite())
        );
        Ok(())
    }
}
