//! The S3 method: sign, sparsity and `t` shift latents a weight (paper, section 4).
//!
//! ```toml
//! [method]
//! name = "s3"
//! bits = 3                  # 2, 3 or 4: t = 0, 2, 6
//! init = "low_variance"     # how the latents start; "authors" is the authors' code,
//!                           # "dense" the paper's text
//! gradient = "analytic"     # or "finite_difference", "square_root"
//! gate_mean = 0.0           # ours: where shift gates start, in standard deviations
//! sign_slope = 1.0          # 2.0 is the literal derivative of eq. 9
//! closed_gradient = 0.0     # ours: the share of its gradient that passes a closed gate at first;
//! closed_until = 0.7        # it falls in a straight line to 0 at this share of the run
//! ```

use crate::params::{Init, ParamKind, Params};
use crate::penalty::dense_weight_penalty;
use crate::quantizer::{
    Codes, KernelOp, LayerSpec, Method, MethodConfig, Progress, Quantizer, WeightForm,
};
use crate::reparam::{ShiftGradient, Surrogate, shift_weight_with};
use candle_core::{Result, Tensor, Var, bail};
use s3_kernels::BitWidth;
use serde::{Deserialize, Serialize};

/// How latents start; the paper's text and its authors' code disagree, and a third way trains
/// better where it was measured (docs/results/init-cifar10.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Start {
    /// Every latent ~ N(0, 1e-3²): signs and gates move early, which short runs need. The default.
    #[default]
    LowVariance,
    /// The authors' code: every latent ~ N(0, 2/(k·k·c_out)), so half of the weights start at zero.
    Authors,
    /// The paper's text, "maximizing the l0 norm at initialization": as `Authors`, with
    /// `w_sparse = |N|`, so that no weight starts at zero.
    Dense,
    /// `LowVariance` with `w_sparse = |N|`.
    LowVarianceDense,
}

/// The standard deviation of the low-variance starts.
const LOW_STD: f64 = 1e-3;

impl Start {
    /// How the latents of a weight of this shape start: `w_sparse`, and each of the others.
    ///
    /// # Shapes
    /// `shape`: `[c_out, c_in, kh, kw]` or `[out, in]`.
    ///
    /// ```
    /// use s3_core::{Init, s3::Start};
    /// let [sparse, others] = Start::LowVarianceDense.inits(&[16, 8, 3, 3]);
    /// assert_eq!(sparse, Init::HalfNormal { std: 1e-3 });
    /// assert_eq!(others, Init::Normal { std: 1e-3 });
    /// ```
    pub fn inits(self, shape: &[usize]) -> [Init; 2] {
        let std = match self {
            Self::Authors | Self::Dense => Init::weight_std(shape),
            Self::LowVariance | Self::LowVarianceDense => LOW_STD,
        };
        let others = Init::Normal { std };
        let sparse = match self {
            Self::Authors | Self::LowVariance => others,
            Self::Dense | Self::LowVarianceDense => Init::HalfNormal { std },
        };
        [sparse, others]
    }
}

/// The settings of S3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Bits a weight: 2 (ternary), 3 ({0, ±1, ±2, ±4}) or 4 ({0, ±1, .., ±64}).
    pub bits: u32,
    /// The number `t` of shift latents, where it is not the one of `bits` (an ablation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shifts: Option<usize>,
    /// How the latents start.
    #[serde(default)]
    pub init: Start,
    /// The mean that latents of the shift gates start with, in their standard deviations: 0 opens
    /// half of the gates, -0.6745 a quarter. With a quarter open every level below 2^t carries the
    /// same energy `P(S) 4^S`; with half of them and t = 6 the 1.6 % at ±64 carry two thirds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gate_mean: f64,
    /// The derivative of the shift gates.
    #[serde(default)]
    pub gradient: ShiftGradient,
    /// The derivative of the sign: 1 (the authors' code) or 2 (the literal eq. 9).
    #[serde(default = "one")]
    pub sign_slope: f32,
    /// The share of its gradient that passes a closed gate at the start ([`Surrogate::closed`]);
    /// 0, the paper's: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed_gradient: f64,
    /// The share of the run after which none does.
    #[serde(default = "until", skip_serializing_if = "is_until")]
    pub closed_until: f64,
}

fn one() -> f32 {
    1.0
}
fn is_zero(x: &f64) -> bool {
    *x == 0.0
}
fn until() -> f64 {
    0.7
}
fn is_until(x: &f64) -> bool {
    *x == until()
}

impl S3 {
    /// S3 at `bits` as the recipes of this project train it: [`Start::LowVariance`], and the
    /// authors' choices everywhere else.
    ///
    /// ```
    /// use s3_core::s3::{S3, Start};
    ///
    /// assert_eq!(S3::new(3).init, Start::LowVariance);
    /// let authors = S3 { init: Start::Authors, ..S3::new(3) }; // what the authors' code does
    /// assert_eq!((authors.bits, authors.t()), (3, Ok(2)));
    /// ```
    pub fn new(bits: u32) -> Self {
        Self {
            bits,
            shifts: None,
            init: Start::default(),
            gate_mean: 0.0,
            gradient: ShiftGradient::Analytic,
            sign_slope: 1.0,
            closed_gradient: 0.0,
            closed_until: until(),
        }
    }

    /// What passes a closed gate where the share `done` of the run is done: a straight line from
    /// `closed_gradient` to 0 at `closed_until`, and 0 after that.
    ///
    /// ```
    /// use s3_core::s3::S3;
    /// let s3 = S3 { closed_gradient: 0.5, closed_until: 0.8, ..S3::new(3) };
    /// assert_eq!([0.0, 0.4, 0.8, 1.0].map(|done| s3.closed(done)), [0.5, 0.25, 0.0, 0.0]);
    /// ```
    pub fn closed(&self, done: f64) -> f32 {
        (self.closed_gradient * (1.0 - done / self.closed_until)).max(0.0) as f32
    }

    /// The number of shift latents.
    ///
    /// # Errors
    /// `bits` other than 2, 3, 4, or more shifts than they hold.
    pub fn t(&self) -> std::result::Result<usize, String> {
        let full = match self.bits {
            2 => BitWidth::B2.t() as usize,
            3 => BitWidth::B3.t() as usize,
            4 => BitWidth::B4.t() as usize,
            bits => return Err(format!("bits: expected 2, 3 or 4, got {bits}")),
        };
        let t = self.shifts.unwrap_or(full);
        if t > full {
            let levels = 2 * (t as u64 + 1) + 1;
            return Err(format!(
                "shifts: {t} give {levels} levels, more than {} bits hold (at most {full} shifts)",
                self.bits
            ));
        }
        Ok(t)
    }
}

impl MethodConfig for S3 {
    const NAME: &'static str = "s3";
    const SUMMARY: &'static str =
        "sign-sparse-shift reparametrization with the dense-weight penalty (the paper)";
    const BITS: &'static [u32] = &[2, 3, 4];
    const OPERATION: KernelOp = KernelOp::ShiftSignFlip;

    fn validate(&self) -> std::result::Result<(), String> {
        if !(self.sign_slope.is_finite() && self.sign_slope > 0.0) {
            return Err(format!(
                "sign_slope: expected a positive number, got {}",
                self.sign_slope
            ));
        }
        if !self.gate_mean.is_finite() {
            let got = self.gate_mean;
            return Err(format!("gate_mean: expected a finite number, got {got}"));
        }
        let share = |x: f64| (0.0..=1.0).contains(&x);
        if !share(self.closed_gradient) {
            let got = self.closed_gradient;
            return Err(format!("closed_gradient: expected 0 <= x <= 1, got {got}"));
        }
        if !share(self.closed_until) || self.closed_until == 0.0 {
            let got = self.closed_until;
            return Err(format!("closed_until: expected 0 < x <= 1, got {got}"));
        }
        self.t().map(|_| ())
    }
}

impl Method for S3 {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let t = match self.validate().and_then(|()| self.t()) {
            Ok(t) => t,
            Err(e) => bail!("{}: {e}", layer.name),
        };
        let shape = layer.shape.as_slice();
        let [sparse_init, init] = self.init.inits(shape);
        let gate_init = match init {
            Init::Normal { std } if self.gate_mean != 0.0 => Init::NormalAt {
                mean: self.gate_mean * std,
                std,
            },
            init => init,
        };
        let latent = |name: &str, init, depth| {
            let kind = ParamKind::Gate { depth };
            params.get(name, shape, init, kind)
        };
        let levels = 2 * (t as u32 + 1) + 1;
        Ok(Box::new(Latents {
            sign: latent("w_sign", init, 0)?,
            sparse: latent("w_sparse", sparse_init, 0)?,
            shifts: (1..=t)
                .map(|j| {
                    let depth = (t - j) as u32;
                    Ok(latent(&format!("w_{j}"), gate_init, depth)?.into_inner())
                })
                .collect::<Result<_>>()?,
            surrogate: Surrogate {
                sign_slope: self.sign_slope,
                shift: self.gradient,
                closed: self.closed(0.0),
            },
            method: self.clone(),
            form: WeightForm::Discrete {
                bits: u32::BITS - (levels - 1).leading_zeros(),
                op: if t == 0 {
                    KernelOp::SignFlip
                } else {
                    KernelOp::ShiftSignFlip
                },
            },
        }))
    }
}

/// One layer's S3 latents.
struct Latents {
    sign: Var,
    sparse: Var,
    shifts: Vec<Tensor>,
    surrogate: Surrogate,
    method: S3,
    form: WeightForm,
}

impl Quantizer for Latents {
    fn weight(&self) -> Result<Tensor> {
        shift_weight_with(&self.sign, &self.sparse, &self.shifts, self.surrogate)
    }

    fn penalty(&self) -> Result<Option<Tensor>> {
        dense_weight_penalty(&self.sparse).map(Some)
    }

    fn advance(&mut self, progress: Progress) -> Result<()> {
        let done = progress.step as f64 / progress.steps.max(1) as f64;
        self.surrogate.closed = self.method.closed(done);
        Ok(())
    }

    fn codes(&self) -> Result<Option<Codes>> {
        Codes::from_levels(&self.weight()?.detach()).map(Some)
    }

    fn form(&self) -> WeightForm {
        self.form
    }

    fn sign_latent(&self) -> Option<&Tensor> {
        Some(self.sign.as_tensor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use candle_core::Device;

    /// P(S) of a layer's weights at the start.
    fn exponents(method: &S3) -> Result<Vec<f64>> {
        let layer = LayerSpec {
            name: "conv".into(),
            shape: vec![64, 64, 5, 5],
            role: Role::Hidden,
        };
        let quantizer = method.quantizer(&layer, &Params::new(7, &Device::Cpu))?;
        let weight = quantizer.weight()?.flatten_all()?.to_vec1::<f32>()?;
        let mut shares = vec![0f64; 7];
        let nonzero: Vec<f32> = weight.into_iter().filter(|w| *w != 0.0).collect();
        for w in &nonzero {
            shares[w.abs().log2() as usize] += 1.0 / nonzero.len() as f64;
        }
        Ok(shares)
    }

    #[test]
    fn levels_start_with_the_energy_that_the_gates_mean_gives_them() -> Result<()> {
        for init in [Start::LowVariance, Start::Authors] {
            // The quartile of a normal distribution, and its middle.
            for (gate_mean, open) in [(-0.674_489_75, 0.25f64), (0.0, 0.5)] {
                let method = S3 {
                    init,
                    gate_mean,
                    ..S3::new(4)
                };
                for (s, share) in exponents(&method)?.into_iter().enumerate() {
                    let closed = if s < 6 { 1.0 - open } else { 1.0 };
                    let want = open.powi(s as i32) * closed;
                    // Some 50,000 weights are not 0: four standard errors.
                    let error = 4.0 * (want / 5e4).sqrt();
                    assert!((share - want).abs() < error, "{init:?} {s}: {share} {want}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn bad_numbers_are_named() {
        for (bad, what) in [
            (
                S3 {
                    closed_gradient: 1.5,
                    ..S3::new(3)
                },
                "closed_gradient: expected 0 <= x <= 1, got 1.5",
            ),
            (
                S3 {
                    closed_until: 0.0,
                    ..S3::new(3)
                },
                "closed_until: expected 0 < x <= 1, got 0",
            ),
            (
                S3 {
                    gate_mean: f64::INFINITY,
                    ..S3::new(3)
                },
                "gate_mean: expected a finite number, got inf",
            ),
        ] {
            assert_eq!(bad.validate().expect_err("refused"), what);
        }
    }
}
