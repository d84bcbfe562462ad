//! The parameters of a step, of which there are more than an op of candle takes.
//!
//! Joined to one tensor they would be copied, and their gradients taken apart, added to zeros and
//! copied back, which for layers of many weights costs as much as their products. Instead each
//! parameter has a token, one number made of it. The op takes the joined tokens; its backward pass
//! leaves the gradient of each parameter with its token, from where candle carries it on: an op's
//! backward pass runs before that of what it takes.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, bail};
use s3_core::host::Host;
use std::sync::{Arc, Mutex, PoisonError};

/// What a step reads of its parameters, and where their gradients go.
pub(crate) struct Parameters {
    all: Vec<Tensor>,
    gradients: Vec<Arc<Gradient>>,
}

/// A gradient for each parameter.
pub(crate) type ParameterGradients = Vec<Vec<f32>>;

/// The gradient of a parameter, between the backward pass of the step and that of its token.
type Gradient = Mutex<Option<Vec<f32>>>;

impl Parameters {
    /// The parameters `all`, f32 on the CPU, and their tokens, as many numbers as there are
    /// parameters.
    pub(crate) fn new(all: &[Tensor]) -> Result<(Self, Tensor)> {
        let all: Vec<Tensor> = all.iter().map(Tensor::contiguous).collect::<Result<_>>()?;
        let gradients: Vec<Arc<Gradient>> = all.iter().map(|_| Arc::default()).collect();
        let tokens = all.iter().zip(&gradients).map(|(parameter, gradient)| {
            let gradient = gradient.clone();
            parameter.apply_op1(Token { gradient })
        });
        let tokens = Tensor::cat(&tokens.collect::<Result<Vec<_>>>()?, 0)?;
        Ok((Self { all, gradients }, tokens))
    }

    /// Their number.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The values of each.
    pub(crate) fn hosts(&self) -> Result<Vec<Host<'_>>> {
        self.all.iter().map(Host::new).collect()
    }

    /// Leaves the gradient of each with its token, and gives that of the tokens themselves.
    pub(crate) fn put_gradients(&self, all: ParameterGradients) -> Result<Tensor> {
        for (place, gradient) in self.gradients.iter().zip(all) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
        }
        Tensor::zeros(self.len(), DType::F32, &Device::Cpu)
    }
}

struct Token {
    gradient: Arc<Gradient>,
}

impl CustomOp1 for Token {
    fn name(&self) -> &'static str {
        "parameter-token"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(&self, parameter: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let gradient = self.gradient.lock();
        let Some(gradient) = gradient.unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("the fused step: a parameter's token without its gradient")
        };
        Tensor::from_vec(gradient, parameter.shape(), parameter.device()).map(Some)
    }
}
