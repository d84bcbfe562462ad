//! The front of a network, as far as its kernels go, as one op for training on the CPU.
//!
//! candle's backward pass allocates, zeroes and adds once for every tensor that a gradient flows
//! through, which for activations costs more than the batch norms. Inside one op the gradients flow
//! through buffers that are used again and again ([`workspace`]). The op computes what the layers
//! compute one by one, with the same kernels; a test holds the two equal.
//!
//! The parameters are weight, gains and biases of each layer and batch norm in the order of the
//! nodes; candle carries their gradients to the latents ([`parameters`]).
//!
//! Activations and their gradients are f32 or bf16 ([`Buffers`]); parameters, their gradients,
//! batch statistics and the result are f32 either way.

pub(crate) mod front;
mod gradients;
mod layer;
mod moves;
mod node;
mod norm;
mod parameters;
pub(crate) mod step;
pub(crate) mod workspace;

use candle_core::{DType, Result, bail};
use s3_kernels::train::{Bf16, Element};
use std::sync::Arc;
use workspace::{Buffer, Workspace};

/// The store of a step's buffers, and with it the type of its activations.
pub(crate) enum Buffers {
    F32(Arc<Workspace<f32>>),
    Bf16(Arc<Workspace<Bf16>>),
}

impl Buffers {
    /// # Errors
    /// A type other than f32 and bf16.
    pub(crate) fn new(dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32(Arc::default())),
            DType::BF16 => Ok(Self::Bf16(Arc::default())),
            _ => bail!("activations of {dtype:?}: expected F32 or BF16"),
        }
    }
}

/// What activations can be.
pub(crate) trait Activation: Element {
    /// The images as elements: those themselves, or rounded into `buffer`.
    fn images<'a>(
        x: &'a [f32],
        buffer: &'a mut Option<Buffer<Self>>,
        workspace: &Arc<Workspace<Self>>,
    ) -> &'a [Self];
}

impl Activation for f32 {
    fn images<'a>(
        x: &'a [f32],
        _: &'a mut Option<Buffer<f32>>,
        _: &Arc<Workspace<f32>>,
    ) -> &'a [f32] {
        x
    }
}

impl Activation for Bf16 {
    fn images<'a>(
        x: &'a [f32],
        buffer: &'a mut Option<Buffer<Bf16>>,
        workspace: &Arc<Workspace<Bf16>>,
    ) -> &'a [Bf16] {
        buffer.get_or_insert_with(|| {
            let mut rounded = workspace.take(x.len());
            for (to, from) in rounded.iter_mut().zip(x) {
                *to = Bf16::from_f32(*from);
            }
            rounded
        })
    }
}
