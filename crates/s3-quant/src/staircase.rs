//! The staircase quantizer of the paper's appendix A.1 (Table 5): S3 with one latent `p` for the
//! shift in the place of its gates, at 3 bits.
//!
//! ```text
//! u = 3 (p - p_min)/(p_max - p_min) - 1/2,   S = clamp(round(u), 0, 2),   W = s · m · 2^S
//! dW/dp = s · m · ln2 · 2^S · dS/dp
//! ```
//!
//! Minimum and maximum are the layer's. At both ends u is half a step outside, where half to even
//! gives 0 and 2 but half away from zero gives -1 and 3: hence the clamp. The paper does not say
//! dS/dp: here `3/(p_max - p_min)` with both ends held fixed (STE across the rounding alone), or 1
//! (STE across the whole staircase). `init` is S3's: the latents start as those of S3 do.

use crate::filters::{like, values};
use crate::power::pow2;
use candle_core::{Result, Tensor, Var};
use s3_core::penalty::dense_weight_penalty;
use s3_core::s3::Start;
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Quantizer, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// What dS/dp is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Slope {
    /// `3/(p_max - p_min)`.
    #[default]
    Rescaled,
    /// 1.
    One,
}

/// The settings of the staircase quantizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staircase {
    /// What dS/dp is.
    #[serde(default)]
    pub slope: Slope,
    /// How the latents start, `w_shift` as S3's gates.
    #[serde(default = "authors", skip_serializing_if = "is_authors")]
    pub init: Start,
}

fn authors() -> Start {
    Start::Authors
}

fn is_authors(init: &Start) -> bool {
    *init == Start::Authors
}

impl MethodConfig for Staircase {
    const NAME: &'static str = "staircase";
    const SUMMARY: &'static str = "the paper's appendix A.1: one rounded latent for the shift";
    const BITS: &'static [u32] = &[3];
    const OPERATION: KernelOp = KernelOp::ShiftSignFlip;
}

impl Method for Staircase {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let shape = layer.shape.as_slice();
        let [sparse, others] = self.init.inits(shape);
        let latent = |name, init, kind| params.get(name, shape, init, kind);
        Ok(Box::new(Latents {
            sign: latent("w_sign", others, ParamKind::Gate { depth: 0 })?,
            sparse: latent("w_sparse", sparse, ParamKind::Gate { depth: 0 })?,
            shift: latent("w_shift", others, ParamKind::Latent)?,
            slope: self.slope,
        }))
    }
}

struct Latents {
    sign: Var,
    sparse: Var,
    shift: Var,
    slope: Slope,
}

impl Latents {
    /// S of each weight and dS/dp.
    fn shifts(&self) -> Result<(Vec<f32>, f64)> {
        let p = values(&self.shift)?;
        let low = p.iter().copied().fold(f32::INFINITY, f32::min);
        let high = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // One value alone is in the middle, and its slope is 0.
        let rate = if high > low { 3.0 / (high - low) } else { 0.0 };
        let middle = if high > low { 0.0 } else { 1.5 };
        let shift = |p: f32| {
            (rate * (p - low) + middle - 0.5)
                .round_ties_even()
                .clamp(0.0, 2.0)
        };
        let slope = match self.slope {
            Slope::Rescaled => f64::from(rate),
            Slope::One => 1.0,
        };
        Ok((p.into_iter().map(shift).collect(), slope))
    }
}

impl Quantizer for Latents {
    fn weight(&self) -> Result<Tensor> {
        let (shifts, slope) = self.shifts()?;
        let powers = like(
            shifts.iter().map(|&s| pow2(s as i32)).collect(),
            &self.shift,
        )?;
        let (s, m) = (ste::sign(&self.sign)?, ste::heaviside(&self.sparse)?);
        let (d_sign, d_sparse) = (m.mul(&powers)?, s.mul(&powers)?);
        let q = s.mul(&d_sign)?;
        let d_shift = (&q * (std::f64::consts::LN_2 * slope))?;
        ste::ste(
            &q,
            &[
                (&d_sign, &self.sign),
                (&d_sparse, &self.sparse),
                (&d_shift, &self.shift),
            ],
        )
    }

    fn penalty(&self) -> Result<Option<Tensor>> {
        dense_weight_penalty(&self.sparse).map(Some)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_levels(&self.weight()?.detach()).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(3, KernelOp::ShiftSignFlip)
    }

    fn sign_latent(&self) -> Option<&Tensor> {
        Some(self.sign.as_tensor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn latents(sign: &[f32], sparse: &[f32], shift: &[f32], slope: Slope) -> Result<Latents> {
        let var = |x: &[f32]| Var::new(x, &Device::Cpu);
        Ok(Latents {
            sign: var(sign)?,
            sparse: var(sparse)?,
            shift: var(shift)?,
            slope,
        })
    }

    #[test]
    fn both_ends_of_the_range_are_inside_the_codebook() -> Result<()> {
        let q = latents(
            &[1.0; 5],
            &[1.0; 5],
            &[-3.0, -1.1, 0.0, 1.1, 3.0],
            Slope::One,
        )?;
        assert_eq!(values(&q.weight()?)?, [1.0, 1.0, 2.0, 4.0, 4.0]);
        Ok(())
    }

    #[test]
    fn gradients_on_a_hand_case() -> Result<()> {
        for (slope, rate) in [(Slope::Rescaled, 1.5), (Slope::One, 1.0)] {
            // Range 2: dS/dp = 3/2.
            let q = latents(
                &[0.5, -0.5, -0.5],
                &[0.5, 0.5, -0.5],
                &[1.0, 0.0, -1.0],
                slope,
            )?;
            let y = q.weight()?;
            assert_eq!(values(&y)?, [4.0, -2.0, 0.0]);
            let g = y.sum_all()?.backward()?;
            let grad = |v: &Var| values(g.get(v).expect("grad"));
            assert_eq!(grad(&q.sign)?, [4.0, 2.0, 0.0]);
            assert_eq!(grad(&q.sparse)?, [4.0, -2.0, -1.0]);
            let ln2 = (std::f64::consts::LN_2 * rate) as f32;
            assert_eq!(grad(&q.shift)?, [4.0 * ln2, -2.0 * ln2, 0.0]);
        }
        Ok(())
    }

    #[test]
    fn equal_latents_stay_finite() -> Result<()> {
        let q = latents(&[1.0; 2], &[1.0; 2], &[0.25; 2], Slope::Rescaled)?;
        assert_eq!(values(&q.weight()?)?, [2.0, 2.0]);
        Ok(())
    }
}
