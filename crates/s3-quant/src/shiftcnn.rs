//! ShiftCNN (Gudovskiy and Rigazio, 2017): after training, each weight becomes a sum of two powers
//! of two.
//!
//! ```text
//! r = W / max|W|;   for n = 0, 1:  q_n = sign(r) · 2^k,  1.5·2^{k-1} <= |r| < 1.5·2^k,
//!                                  k in -n-6 ..= -n, q_n = 0 below;   r <- r - q_n
//! Ŵ = max|W| · (q_0 + q_1)
//! ```
//!
//! These are the original's N = 2 terms of B = 4 bits. Training is in full precision: only what is
//! evaluated and frozen is quantized. `straight_through = true`, which the original does not have,
//! trains with the quantized weight and the identity STE.

use crate::filters::{like, values, weight_latent};
use crate::power::{nearest_exponent, pow2};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Params, Quantizer, Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// Magnitudes of a term: 2^{B-1} - 1 for B = 4.
const MAGNITUDES: i32 = 7;

/// The settings of ShiftCNN.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShiftCnn {
    /// Whether training passes multiply with the quantized weight.
    #[serde(default)]
    pub straight_through: bool,
}

impl MethodConfig for ShiftCnn {
    const NAME: &'static str = "shiftcnn";
    const SUMMARY: &'static str = "ShiftCNN: two powers of two a weight, after training";
    const BITS: &'static [u32] = &[8];
    const OPERATION: KernelOp = KernelOp::SumOfTwoShifts;
    const START: &'static str = "float";
}

impl Method for ShiftCnn {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        Ok(Box::new(Sum {
            w: weight_latent(layer, params)?,
            straight_through: self.straight_through,
        }))
    }
}

struct Sum {
    w: Var,
    straight_through: bool,
}

/// The term nearest to `r` whose largest exponent is `most`, as an integer in units of its least.
fn term(r: f32, most: i32) -> i32 {
    let least = most + 1 - MAGNITUDES;
    match nearest_exponent(r) {
        Some(k) if k >= least => {
            let size = 1 << (k.min(most) - least);
            if r < 0.0 { -size } else { size }
        }
        _ => 0,
    }
}

impl Sum {
    fn frozen(&self) -> Result<Vec<Codes>> {
        let w = values(&self.w)?;
        let largest = w.iter().fold(0f32, |m, x| m.max(x.abs()));
        let unit = if largest > 0.0 { largest } else { 1.0 };
        let mut rest: Vec<f32> = w.iter().map(|x| x / unit).collect();
        let mut plane = |most: i32| {
            let step = pow2(most + 1 - MAGNITUDES);
            let levels: Vec<i32> = rest.iter().map(|&r| term(r, most)).collect();
            for (r, &l) in rest.iter_mut().zip(&levels) {
                *r -= l as f32 * step;
            }
            Codes {
                shape: self.w.dims().to_vec(),
                levels,
                scale: Scale::Layer(largest * step),
            }
        };
        Ok(vec![plane(0), plane(-1)])
    }
}

impl Quantizer for Sum {
    fn weight(&self) -> Result<Tensor> {
        let q = Codes::decode_sum(&self.frozen()?);
        ste::identity(&like(q, &self.w)?, &self.w)
    }

    fn training_weight(&self) -> Result<Tensor> {
        if self.straight_through {
            return self.weight();
        }
        Ok(self.w.as_tensor().clone())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn planes(&self) -> Result<Option<Vec<Codes>>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(8, KernelOp::SumOfTwoShifts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn two_terms_on_a_hand_case() -> Result<()> {
        // 0.7 = 1/2 + 1/4 - ..: nearest to 0.7 is 1/2, the rest 0.2 gives 1/4. 0.8: 1, then -1/4.
        let w = Var::new(&[2f32, 1.4, -1.6, 0.02, 0.001, 0.0], &Device::Cpu)?;
        let q = Sum {
            w,
            straight_through: false,
        };
        // 0.01: 2^-7 is below the first term's 2^-6 (0.01 < 0.75/64) and the second's least level.
        assert_eq!(
            values(&q.weight()?)?,
            [2.0, 1.5, -1.5, 2.0 / 128.0, 0.0, 0.0]
        );
        assert_eq!(values(&q.training_weight()?)?, values(&q.w)?);
        Ok(())
    }

    #[test]
    fn the_error_is_below_a_quarter_of_the_first_rounding() -> Result<()> {
        let w: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 1000.0).collect();
        let q = Sum {
            w: Var::new(w.as_slice(), &Device::Cpu)?,
            straight_through: true,
        };
        for (x, y) in w.iter().zip(values(&q.weight()?)?) {
            // |r| < 1.5·2^k leaves at most 2^{k-1}, of which the second term leaves a third, or the
            // half of its least level.
            let bound = (x.abs() / 6.0).max(0.75 / 128.0);
            assert!((x - y).abs() <= bound + 1e-6, "{x} {y}");
        }
        Ok(())
    }
}
