//! The seam of the project: a [`Method`] builds, per layer, a [`Quantizer`]; a quantizer turns
//! trainable latents into the discrete weight.
//!
//! Layers hold `Box<dyn Quantizer>` and models receive `&dyn Method`; neither knows a method's
//! name. A method's configuration *is* the method: a plain serde struct ([`MethodConfig`]).

use crate::params::Params;
use candle_core::{Result, Tensor};
use serde::{Serialize, de::DeserializeOwned};

pub use s3_kernels::zoo::Role;
pub use s3_metrics::cost::KernelOp;

/// What a method is told of the layer it quantizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// The layer's path, `layer1.0.conv1`.
    pub name: String,
    /// The weight's shape: `[c_out, c_in, kh, kw]` or `[out, in]`.
    pub shape: Vec<usize>,
    /// Where it stands.
    pub role: Role,
}

/// Where training stands, given to [`Quantizer::advance`] before each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step about to run, from 0, over the whole run.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The epoch about to run, from 0.
    pub epoch: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// The run's seed, for methods that draw: draws are functions of `(seed, step, layer)`.
    pub seed: u64,
}

/// What a layer's weights are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightForm {
    /// Full-precision weights.
    Float,
    /// Weights from a codebook.
    Discrete {
        /// Bits a weight, sign and zero included.
        bits: u32,
        /// The operation that stands for a multiplication.
        op: KernelOp,
    },
}

impl WeightForm {
    /// Weights from a codebook of so many bits.
    pub const fn discrete(bits: u32, op: KernelOp) -> Self {
        Self::Discrete { bits, op }
    }
}

/// What a layer does for its method besides multiplying with the weight. Most methods need nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// In training each output is drawn about its mean: [`Quantizer::training_variance`].
    pub draws: bool,
    /// The layer's input is quantized first: [`Quantizer::quantize_input`].
    pub inputs: bool,
    /// A pre-trained start sees what the layer's inputs are: [`Quantizer::calibrate`].
    pub moments: bool,
}

/// Second moments of the inputs of a layer's filters, over `patches` positions of some images.
///
/// A patch holds what one filter is multiplied with, in the order of its weights. `X` has a column
/// a patch as the pre-trained network produces it, `X̃` the same with the layers before this one
/// quantized.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMoments {
    /// `X̃ X̃ᵀ`, `[n, n]` row-major, `n` the weights of a filter.
    pub gram: Vec<f64>,
    /// `X̃ Xᵀ`, `[n, n]` row-major.
    pub cross: Vec<f64>,
    /// The number of columns.
    pub patches: usize,
}

/// The float factor that turns codes into weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// The codes are the weights.
    One,
    /// One factor for the layer.
    Layer(f32),
    /// One factor for each filter (row of the weight).
    Filter(Vec<f32>),
}

/// Frozen weights: integers from {0, ±2^p} and a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// The weight's shape.
    pub shape: Vec<usize>,
    /// The levels, row-major, each 0 or ±2^p.
    pub levels: Vec<i32>,
    /// What a level is multiplied with.
    pub scale: Scale,
}

impl Codes {
    /// Reads codes from a weight whose values are all 0 or ±2^p with `p` in `0..=30`.
    ///
    /// # Errors
    /// A value that is none of these; the message names its index.
    ///
    /// ```
    /// # use candle_core::{Device, Tensor};
    /// let w = Tensor::new(&[[4f32, -0.0], [-1., 2.]], &Device::Cpu)?;
    /// let codes = s3_core::Codes::from_levels(&w)?;
    /// assert_eq!(codes.levels, [4, 0, -1, 2]);
    /// assert_eq!(codes.decode(), [4., 0., -1., 2.]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn from_levels(weight: &Tensor) -> Result<Self> {
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        let mut levels = Vec::with_capacity(values.len());
        for (i, &v) in values.iter().enumerate() {
            let level = v as i32;
            let power = level.unsigned_abs();
            if level as f32 != v || (level != 0 && !power.is_power_of_two()) || power > 1 << 30 {
                candle_core::bail!("weight {i} is {v}, which is neither 0 nor ±2^p")
            }
            levels.push(level);
        }
        Ok(Self {
            shape: weight.dims().to_vec(),
            levels,
            scale: Scale::One,
        })
    }

    /// Reads codes from a weight whose values are all 0 or ±2^p with any `p`: the scale is the
    /// smallest power present, [`Scale::One`] where that is 1 or every value is 0.
    ///
    /// # Errors
    /// A value that is none of these, or powers more than 30 shifts apart.
    ///
    /// ```
    /// # use candle_core::{Device, Tensor};
    /// use s3_core::{Codes, Scale};
    /// let w = Tensor::new(&[0.25f32, 0., -1.], &Device::Cpu)?;
    /// let codes = Codes::from_powers(&w)?;
    /// assert_eq!((codes.levels, codes.scale), (vec![1, 0, -4], Scale::Layer(0.25)));
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn from_powers(weight: &Tensor) -> Result<Self> {
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        let nonzero = values.iter().map(|v| v.abs()).filter(|&v| v != 0.0);
        let (least, most) = nonzero.fold((f32::INFINITY, 0f32), |(l, m), v| (l.min(v), m.max(v)));
        if most / least > (1u32 << 30) as f32 {
            candle_core::bail!("weights from {least} to {most} are more than 30 shifts apart")
        }
        if most == 0.0 || least == 1.0 {
            return Self::from_levels(weight);
        }
        let unscaled = values.iter().map(|v| v / least).collect();
        let mut codes = Self::from_levels(&Tensor::from_vec(
            unscaled,
            weight.shape(),
            weight.device(),
        )?)?;
        if least.to_bits() & 0x007f_ffff != 0 {
            candle_core::bail!("the smallest weight is {least}, which is no power of two")
        }
        codes.scale = Scale::Layer(least);
        Ok(codes)
    }

    /// The weights the codes stand for: `level · scale`, row-major, never `-0.0`.
    pub fn decode(&self) -> Vec<f32> {
        let row = self.levels.len() / self.shape.first().copied().unwrap_or(1).max(1);
        let factor = |i: usize| match &self.scale {
            Scale::One => 1.0,
            Scale::Layer(s) => *s,
            Scale::Filter(s) => s[i / row.max(1)],
        };
        self.levels
            .iter()
            .enumerate()
            .map(|(i, &l)| if l == 0 { 0.0 } else { l as f32 * factor(i) })
            .collect()
    }

    /// The weights that several planes stand for: their [`decode`](Self::decode)d values, added in
    /// f32 from the first plane on.
    pub fn decode_sum(planes: &[Self]) -> Vec<f32> {
        let mut planes = planes.iter();
        let mut sum = planes.next().map_or_else(Vec::new, Self::decode);
        for plane in planes {
            for (s, v) in sum.iter_mut().zip(plane.decode()) {
                *s += v;
            }
        }
        sum
    }
}

/// One layer's latents and the weight they stand for.
pub trait Quantizer: Send + Sync {
    /// The weight as it would be frozen now: its value is exactly a codebook value, its gradient
    /// the method's STE. Pure: two calls give the same bytes. Evaluation multiplies with it.
    ///
    /// # Errors
    /// Those of candle.
    fn weight(&self) -> Result<Tensor>;

    /// The weight that a training pass multiplies with, where it is another one than
    /// [`weight`](Self::weight): a draw, or a weight whose filters are not all discrete yet. Pure
    /// as `weight`; what it draws from was drawn in [`advance`](Self::advance).
    ///
    /// # Errors
    /// Those of candle.
    fn training_weight(&self) -> Result<Tensor> {
        self.weight()
    }

    /// Sets the latents from a full-precision weight, as a pre-trained start does: nothing of the
    /// random start is left.
    ///
    /// # Errors
    /// A shape mismatch; a method that starts from random latents only.
    fn start_from(&self, _weight: &Tensor) -> Result<()> {
        candle_core::bail!("this method has no start from a full-precision weight")
    }

    /// What the layer does besides multiplying.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The variance of each weight, where [`needs`](Self::needs) says that outputs are drawn: a
    /// training pass computes `x * w + ε √(x² * variance + 1e-3)` with `w` the
    /// [`training_weight`](Self::training_weight) and a standard normal ε for each output. `None`
    /// where this step draws nothing. Pure, with a gradient.
    ///
    /// # Errors
    /// Those of candle.
    fn training_variance(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The input that the layer multiplies with, where [`needs`](Self::needs) says that it is
    /// quantized: exact levels, the method's gradient. The value depends on `x` and the buffers
    /// alone; a training pass may note what [`advance`](Self::advance) learns from.
    ///
    /// # Errors
    /// Those of candle.
    fn quantize_input(&self, x: &Tensor, _training: bool) -> Result<Tensor> {
        Ok(x.clone())
    }

    /// Moves the latents of a pre-trained start to what the layer's inputs ask for, where
    /// [`needs`](Self::needs) says so. Called once, after [`start_from`](Self::start_from) and
    /// before the first step, front to end.
    ///
    /// # Errors
    /// Moments of another number of inputs, and those of candle.
    fn calibrate(&self, _inputs: &InputMoments) -> Result<()> {
        Ok(())
    }

    /// What the method adds to the loss for this layer, before the factor alpha; S3's is eq. 7.
    ///
    /// # Errors
    /// Those of candle.
    fn penalty(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Called once before each training step: the only place where a method draws random numbers
    /// or changes its buffers.
    ///
    /// # Errors
    /// Those of candle.
    fn advance(&mut self, _progress: Progress) -> Result<()> {
        Ok(())
    }

    /// The frozen integers and their scale, or `None` where the weight is not a scaled shift.
    ///
    /// # Errors
    /// Those of candle.
    fn codes(&self) -> Result<Option<Codes>> {
        Ok(None)
    }

    /// The weight as a sum of scaled codes, added from the first on in f32; one plane where
    /// [`codes`](Self::codes) has it all, several for additive codes, `None` for float weights.
    ///
    /// # Errors
    /// Those of candle.
    fn planes(&self) -> Result<Option<Vec<Codes>>> {
        Ok(self.codes()?.map(|c| vec![c]))
    }

    /// What the weights are made of.
    fn form(&self) -> WeightForm;

    /// The latent whose sign is the weight's sign, where the method has one apart from the weight.
    fn sign_latent(&self) -> Option<&Tensor> {
        None
    }
}

/// A training method for discrete weights; its configuration is the value itself.
pub trait Method: Send + Sync {
    /// Makes the latents of `layer` below `params` and the quantizer that holds them.
    ///
    /// # Errors
    /// A setting out of range, or those of candle.
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>>;
}

/// A method as the registration list, the configuration files and the tables know it.
pub trait MethodConfig: Method + Serialize + DeserializeOwned + 'static {
    /// The name in configurations, snake_case.
    const NAME: &'static str;
    /// One line: what it is and where it comes from.
    const SUMMARY: &'static str;
    /// The widths it trains, in bits a weight.
    const BITS: &'static [u32];
    /// The kernel operation of the paper's tables.
    const OPERATION: KernelOp;
    /// What the original starts from: `random` latents, or a `float` network that was trained.
    const START: &'static str = "random";

    /// Checks the settings that the types cannot.
    ///
    /// # Errors
    /// One line that names the key and the allowed values.
    fn validate(&self) -> std::result::Result<(), String> {
        Ok(())
    }
}
