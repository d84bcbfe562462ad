//! Packed networks: what a trained shift network becomes, and how it runs without a training framework.
//!
//! A [`Network`] is a list of layers with low-bit weights. A [`Model`] is one that was checked and runs:
//! with f32 activations, or with 8-bit ones and integers from the image to the scores. Nothing but this
//! crate is needed for it.

mod check;
mod dense;
mod error;
mod file;
pub(crate) mod float_conv;
mod limits;
mod network;
mod plan;
mod pool;
mod run;
mod terms;
#[cfg(test)]
mod tests;

pub use dense::{DenseMatrix, MAX_LEVEL};
pub use error::Error;
pub use network::{
    Activations, Conv, FRACTION, Input, MAX_TERMS, Network, Node, Op, Requant, Then, Weight,
};
pub use run::{Model, Value};
pub use terms::terms;
