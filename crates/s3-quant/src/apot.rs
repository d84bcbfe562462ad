//! Additive powers of two (Li, Dong and Wang, "APoT", ICLR 2020), weights alone: sums of powers of
//! two of a normalised weight, with a trained clip.
//!
//! ```text
//! ŵ = (W - mean)/std of the layer, both held fixed (unbiased std);   x = ŵ/α
//! W_q = α · sign(x) · nearest level to min(|x|, 1)
//! dL/dŵ = g,   dL/dα = Σ g · (sign(x) where |x| > 1, q - x elsewhere)     q the level of x
//! ```
//!
//! | bits | levels of \|x\| |
//! | --- | --- |
//! | 2 | 0, 1 |
//! | 3 | 0, 1/4, 1/2, 1 |
//! | 4 | {0, 1/2, 1/4, 1/16} + {0, 1/8}, over 0.625 |
//! | 5 | {0, 1/2, 1/8, 1/32} + {0, 1/4, 1/16, 1/64}, over 0.75 |
//!
//! At 2 and 3 bits a weight is one shift (at 3 bits S3's levels times a scale); at 4 and 5 it is
//! two, one plane each. Without the normalisation training becomes NaN, as a public issue reports.
//! The original trains 5, 4, 3 and 2 bits in a row, each from the one before, with 8-bit first and
//! last layers; activations are full precision here.

use crate::entry::bits_among;
use crate::filters::{like, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Progress, Quantizer,
    Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The clip is kept above this.
const LEAST_CLIP: f32 = 1e-2;

/// The settings of APoT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apot {
    /// Bits a weight, 2 to 5.
    pub bits: u32,
    /// The clip at the start, in standard deviations.
    #[serde(default = "three")]
    pub clip: f32,
}

fn three() -> f32 {
    3.0
}

impl MethodConfig for Apot {
    const NAME: &'static str = "apot";
    const SUMMARY: &'static str = "additive powers of two with a trained clip (APoT)";
    const BITS: &'static [u32] = &[2, 3, 4, 5];
    const OPERATION: KernelOp = KernelOp::SumOfTwoShifts;
    const START: &'static str = "float";

    fn validate(&self) -> std::result::Result<(), String> {
        bits_among(self.bits, Self::BITS)?;
        if self.clip.is_finite() && self.clip >= LEAST_CLIP {
            return Ok(());
        }
        Err(format!(
            "clip: expected a number >= {LEAST_CLIP}, got {}",
            self.clip
        ))
    }
}

impl Method for Apot {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let clip = Init::Const(self.clip.into());
        Ok(Box::new(Additive {
            w: weight_latent(layer, params)?,
            clip: params.get("clip", 1, clip, ParamKind::Scale)?,
            levels: Levels::of(self.bits),
            bits: self.bits,
        }))
    }
}

/// The levels of |x| as sums of two integers, in units of 2^-shift over `most`.
struct Levels {
    /// `(first, second)`, by growing sum; every entry 0 or a power of two.
    pairs: Vec<(i32, i32)>,
    /// The largest sum.
    most: i32,
}

impl Levels {
    fn of(bits: u32) -> Self {
        let (first, second): (&[i32], &[i32]) = match bits {
            2 => (&[0, 1], &[0]),
            3 => (&[0, 1, 2, 4], &[0]),
            4 => (&[0, 8, 4, 1], &[0, 2]),
            _ => (&[0, 32, 8, 2], &[0, 16, 4, 1]),
        };
        let sums = first
            .iter()
            .flat_map(|&a| second.iter().map(move |&b| (a, b)));
        let mut pairs: Vec<(i32, i32)> = sums.collect();
        pairs.sort_by_key(|(a, b)| a + b);
        let most = pairs.last().map_or(1, |(a, b)| a + b);
        Self { pairs, most }
    }

    /// The level nearest to `x` in [0, 1]; halfway between two, the upper one.
    fn nearest(&self, x: f32) -> (i32, i32) {
        let twice = 2.0 * f64::from(x) * f64::from(self.most);
        let below = |w: &[(i32, i32)]| f64::from(w[0].0 + w[0].1 + w[1].0 + w[1].1) <= twice;
        self.pairs[self.pairs.windows(2).take_while(|w| below(w)).count()]
    }

    fn value(&self, (a, b): (i32, i32)) -> f32 {
        (a + b) as f32 / self.most as f32
    }
}

struct Additive {
    w: Var,
    clip: Var,
    levels: Levels,
    bits: u32,
}

impl Additive {
    fn clip(&self) -> Result<f32> {
        Ok(values(&self.clip)?[0].max(LEAST_CLIP))
    }

    /// x, and 1/std.
    fn normalised(&self) -> Result<(Vec<f32>, f32)> {
        let (w, clip) = (values(&self.w)?, f64::from(self.clip()?));
        let n = w.len() as f64;
        let mean = w.iter().map(|&x| f64::from(x)).sum::<f64>() / n.max(1.0);
        let squares = w
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>();
        let std = (squares / (n - 1.0).max(1.0)).sqrt();
        let rate = if std > 0.0 { 1.0 / std } else { 0.0 };
        let x = w
            .iter()
            .map(|&x| ((f64::from(x) - mean) * rate / clip) as f32);
        Ok((x.collect(), rate as f32))
    }

    fn frozen(&self, x: &[f32]) -> Result<Vec<Codes>> {
        let scale = Scale::Layer(self.clip()? / self.levels.most as f32);
        let pick = |term: fn((i32, i32)) -> i32| {
            let level = |x: &f32| {
                let size = term(self.levels.nearest(x.abs().min(1.0)));
                if *x < 0.0 { -size } else { size }
            };
            Codes {
                shape: self.w.dims().to_vec(),
                levels: x.iter().map(level).collect(),
                scale: scale.clone(),
            }
        };
        let mut planes = vec![pick(|p| p.0)];
        if self.bits > 3 {
            planes.push(pick(|p| p.1));
        }
        Ok(planes)
    }
}

impl Quantizer for Additive {
    fn weight(&self) -> Result<Tensor> {
        let (x, rate) = self.normalised()?;
        let w = self.w.as_tensor();
        let q = like(Codes::decode_sum(&self.frozen(&x)?), w)?;
        let d_clip = x.iter().map(|&x| {
            if x.abs() > 1.0 {
                1f32.copysign(x)
            } else {
                self.levels.value(self.levels.nearest(x.abs())).copysign(x) - x
            }
        });
        let d_clip = like(d_clip.collect(), w)?;
        let rate = like(vec![rate; x.len()], w)?;
        let clip = self.clip.flatten_all()?.broadcast_as(w.shape())?;
        ste::ste(&q, &[(&rate, w), (&d_clip, &clip)])
    }

    fn advance(&mut self, _: Progress) -> Result<()> {
        self.clip.set(&like(vec![self.clip()?], &self.clip)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        let planes = self.frozen(&self.normalised()?.0)?;
        Ok(<[Codes; 1]>::try_from(planes).ok().map(|[codes]| codes))
    }

    fn planes(&self) -> Result<Option<Vec<Codes>>> {
        self.frozen(&self.normalised()?.0).map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::Discrete {
            bits: self.bits,
            op: match self.bits {
                2 => KernelOp::SignFlip,
                3 => KernelOp::ShiftSignFlip,
                _ => KernelOp::SumOfTwoShifts,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_level_sets_are_the_tables() {
        let set = |bits| {
            let l = Levels::of(bits);
            l.pairs.iter().map(|&p| l.value(p)).collect::<Vec<_>>()
        };
        assert_eq!(set(2), [0.0, 1.0]);
        assert_eq!(set(3), [0.0, 0.25, 0.5, 1.0]);
        let four = [0.0, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.625].map(|x| x / 0.625);
        assert_eq!(set(4), four);
        assert_eq!(set(5).len(), 16);
        for l in [2, 3, 4, 5].map(Levels::of) {
            assert_eq!(l.nearest(1.0), l.pairs[l.pairs.len() - 1]);
            assert_eq!(l.nearest(0.0), (0, 0));
        }
        assert_eq!(Levels::of(3).nearest(0.374), (1, 0));
        assert_eq!(Levels::of(3).nearest(0.376), (2, 0));
    }

    #[test]
    fn values_and_gradients_on_a_hand_case() -> Result<()> {
        // Mean 0, unbiased variance 20/3; the clip lies at |W| = 2.
        let w = Var::new(&[1f32, -1., 3., -3.], &Device::Cpu)?;
        let std = (20f32 / 3.0).sqrt();
        let q = Additive {
            w: w.clone(),
            clip: Var::new(&[2.0 / std], &Device::Cpu)?,
            levels: Levels::of(3),
            bits: 3,
        };
        // x = (1/2, -1/2, 3/2, -3/2): levels 1/2, -1/2, 1, -1.
        let y = q.weight()?;
        let a = 2.0 / std;
        assert_eq!(values(&y)?, [a / 4.0 * 2.0, -(a / 4.0 * 2.0), a, -a]);
        let g = Tensor::new(&[1f32, 2., 4., 8.], &Device::Cpu)?;
        let g = (y * g)?.sum_all()?.backward()?;
        let grad = values(g.get(&w).expect("grad"))?;
        for (got, want) in grad.iter().zip([1.0, 2.0, 4.0, 8.0]) {
            assert!((got - want / std).abs() < 1e-6);
        }
        // Inside the clip q - x is 0 up to the rounding of x; outside it is the sign.
        assert!((values(g.get(&q.clip).expect("grad"))?[0] - (4.0 - 8.0)).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn a_constant_layer_stays_finite() -> Result<()> {
        let q = Additive {
            w: Var::new(&[0.5f32; 4], &Device::Cpu)?,
            clip: Var::new(&[3f32], &Device::Cpu)?,
            levels: Levels::of(4),
            bits: 4,
        };
        assert_eq!(values(&q.weight()?)?, [0.0; 4]);
        Ok(())
    }
}
