//! The S3 method: sign, sparsity and `t` shift latents a weight (paper, section 4).
//!
//! ```toml
//! [method]
//! name = "s3"
//! bits = 3                  # 2, 3 or 4: t = 0, 2, 6
//! init = "low_variance"     # how the latents start; "authors" is the authors' code,
//!                           # "dense" the paper's text
//! gradient = "analytic"     # or "finite_difference", "square_root"
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
        let latent = |name: &str, init| params.get(name, shape, init, ParamKind::Gate);
        let levels = 2 * (t as u32 + 1) + 1;
        Ok(Box::new(Latents {
            sign: latent("w_sign", init)?,
            sparse: latent("w_sparse", sparse_init)?,
            shifts: (1..=t)
                .map(|j| Ok(latent(&format!("w_{j}"), init)?.into_inner()))
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
