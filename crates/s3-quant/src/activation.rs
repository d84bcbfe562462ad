//! Quantized inputs: the half-wave Gaussian quantizer of HWGQ and the learned basis of LQ-Net.
//!
//! Both take what a ReLU gives, x >= 0, to few levels and pass the gradient through up to the
//! largest:
//!
//! ```text
//! Q(x) = 0 for x <= 0, else the nearest level;    dQ/dx = 1 for 0 < x <= the largest level, else 0
//! ```
//!
//! The originals put them in the place of the ReLU, behind a batch norm; here they stand before
//! each quantized product, and shortcuts stay in full precision.

use crate::filters::{like, values};
use candle_core::{Result, Tensor};
use s3_core::ste;

/// `x` at its nearest level of `levels`, which grow from 0; halfway between two, the upper one.
///
/// # Shapes
/// Any; the result has that of `x`.
pub(crate) fn to_levels(x: &Tensor, levels: &[f32]) -> Result<Tensor> {
    let middles: Vec<f32> = levels.windows(2).map(|l| (l[0] + l[1]) / 2.0).collect();
    let most = levels.last().copied().unwrap_or(0.0);
    let numbers = values(x)?;
    let nearest = |&v: &f32| levels[middles.partition_point(|&m| m <= v)];
    let passes = |&v: &f32| f32::from(u8::from(v > 0.0 && v <= most));
    let q = like(numbers.iter().map(nearest).collect(), x)?;
    let d = like(numbers.iter().map(passes).collect(), x)?;
    ste::ste(&q, &[(&d, x)])
}

/// The step that is optimal for the positive half of N(0, 1) in 2 bits.
const STEP: f32 = 0.538;

/// HWGQ's levels: 0 and three steps of 0.538.
pub(crate) fn half_wave() -> [f32; 4] {
    [0.0, STEP, 2.0 * STEP, 3.0 * STEP]
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn half_wave_levels_meet_at_the_middles_and_clip_the_gradient() -> Result<()> {
        let x = [
            -0.5f32, 0.0, 0.268, 0.27, 0.806, 0.808, 1.344, 1.346, 1.614, 1.7, 9.0,
        ];
        let x = Var::new(&x, &Device::Cpu)?;
        let y = to_levels(&x, &half_wave())?;
        let steps: Vec<f32> = values(&y)?.iter().map(|v| (v / STEP).round()).collect();
        assert_eq!(steps, [0., 0., 0., 1., 1., 2., 2., 3., 3., 3., 3.]);
        let g = y.sum_all()?.backward()?;
        let g = values(g.get(&x).expect("grad"))?;
        assert_eq!(g, [0., 0., 1., 1., 1., 1., 1., 1., 1., 0., 0.]);
        Ok(())
    }
}
