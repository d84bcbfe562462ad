//! What a convolution and a linear layer have in common: a named quantizer, and what it asks of its
//! layer.

use candle_core::{Error, Result, Tensor};
use rayon::prelude::*;
use s3_core::{Init, LayerSpec, Method, Params, Progress, Quantizer};
use std::fmt;

/// Whether a forward pass trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, running statistics updated, gradients recorded.
    Train,
    /// Running statistics; no graph is recorded, so memory stays flat.
    Eval,
}

impl Mode {
    /// The mode of candle's `ModuleT::forward_t`.
    pub fn of(train: bool) -> Self {
        if train { Self::Train } else { Self::Eval }
    }
}

/// `result` with the layer's name before its error, as one line.
pub(crate) fn in_layer<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|e| {
        let e = match e {
            Error::WithBacktrace { inner, .. } => *inner,
            other => other,
        };
        Error::Msg(format!("layer {name}: {e}"))
    })
}

/// A layer's name, shape and role with the quantizer that holds its latents.
pub struct QuantLayer {
    /// Name, weight shape and role.
    pub spec: LayerSpec,
    /// The latents and the weight they stand for.
    pub quantizer: Box<dyn Quantizer>,
    /// Names what this step draws: `layer@step`, under the run's seed.
    stream: (u64, String),
    /// Where the images of a pass lie in their step's batch.
    first_image: usize,
}

impl fmt::Debug for QuantLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("QuantLayer");
        shown.field("spec", &self.spec);
        shown.field("form", &self.quantizer.form());
        shown.finish_non_exhaustive()
    }
}

/// Added to the variance of a drawn output, as LR-Net's authors do: the root stays differentiable.
const LEAST_VARIANCE: f64 = 1e-3;

impl QuantLayer {
    /// Lets `method` make the latents of `spec` at `params` (the path of the weight).
    ///
    /// # Errors
    /// Those of the method, with the layer's name.
    pub fn new(spec: LayerSpec, method: &dyn Method, params: &Params) -> Result<Self> {
        let quantizer = in_layer(&spec.name, method.quantizer(&spec, params))?;
        let stream = (0, spec.name.clone());
        Ok(Self {
            spec,
            quantizer,
            stream,
            first_image: 0,
        })
    }

    /// Lets the quantizer draw and update its buffers; call once before each step.
    ///
    /// # Errors
    /// Those of the quantizer, with the layer's name.
    pub fn advance(&mut self, progress: Progress) -> Result<()> {
        self.stream = (
            progress.seed,
            format!("{}@{}", self.spec.name, progress.step),
        );
        in_layer(&self.spec.name, self.quantizer.advance(progress))
    }

    /// Says that the images of the next pass are those from `first` on of their step's batch, so
    /// that each image draws the same in a micro-batch as in the whole.
    pub(crate) fn start_at_image(&mut self, first: usize) {
        self.first_image = first;
    }

    /// Whether a training pass is one product of the input with the training weight, and nothing
    /// else.
    pub fn is_plain(&self) -> bool {
        let needs = self.quantizer.needs();
        !needs.draws && !needs.inputs
    }

    /// What the layer computes of `x`, where `product(x, w)` is its linear map: with the input
    /// quantized and the outputs drawn, if the quantizer asks for it.
    ///
    /// # Errors
    /// Those of the quantizer and of `product`, with the layer's name.
    pub(crate) fn apply(
        &self,
        x: &Tensor,
        mode: Mode,
        product: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let training = mode == Mode::Train;
        let computed = || {
            let needs = self.quantizer.needs();
            let quantized;
            let x = if needs.inputs {
                quantized = self.quantizer.quantize_input(x, training)?;
                &quantized
            } else {
                x
            };
            let y = product(x, &self.unnamed_weight(mode)?)?;
            if !(needs.draws && training) {
                return Ok(y);
            }
            let Some(variance) = self.quantizer.training_variance()? else {
                return Ok(y);
            };
            let variance = product(&x.sqr()?, &variance)?;
            let noise = self.noise(&y)?.mul(&(variance + LEAST_VARIANCE)?.sqrt()?)?;
            y + noise
        };
        in_layer(&self.spec.name, computed())
    }

    /// A standard normal number for each element of `y`, drawn image by image, so that threads
    /// change nothing.
    fn noise(&self, y: &Tensor) -> Result<Tensor> {
        let images = y.dim(0)?;
        let each = y.elem_count() / images.max(1);
        let (seed, stream) = &self.stream;
        let normal = Init::Normal { std: 1.0 };
        let draws: Vec<Vec<f32>> = (0..images)
            .into_par_iter()
            .map(|i| {
                let image = self.first_image + i;
                normal.draw(*seed, &format!("{stream}#{image}"), each)
            })
            .collect();
        Tensor::from_vec(draws.concat(), y.shape(), y.device())
    }

    /// The weight of a forward pass: the quantizer's training weight, or in [`Mode::Eval`] the one
    /// that would be frozen, without its graph.
    ///
    /// # Errors
    /// Those of the quantizer, with the layer's name.
    pub fn weight(&self, mode: Mode) -> Result<Tensor> {
        in_layer(&self.spec.name, self.unnamed_weight(mode))
    }

    fn unnamed_weight(&self, mode: Mode) -> Result<Tensor> {
        match mode {
            Mode::Train => self.quantizer.training_weight(),
            Mode::Eval => self.quantizer.weight().map(|w| w.detach()),
        }
    }
}
