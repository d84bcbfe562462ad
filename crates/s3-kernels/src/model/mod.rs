//! Packed networks: what a trained shift network becomes, and how it runs without a training
//! framework.
//!
//! A [`Network`] is a [`Graph`] of layers with low-bit weights. A [`Model`] is one that was checked
//! and runs: with f32 activations, or with 8-bit ones and integers from the image to the scores.
//! Nothing but this crate is needed for it.

mod check;
mod dense;
mod error;
mod file;
pub(crate) mod float_conv;
mod graph;
mod limits;
mod network;
mod plan;
mod pool;
mod run;
mod sizes;
#[cfg(test)]
mod tests;

pub use crate::epilogue::requant::{FRACTION, MAX_TERMS, Requant};
pub use crate::epilogue::terms::terms;
pub use dense::{DenseMatrix, MAX_LEVEL};
pub use error::Error;
pub use graph::{Act, Graph, Layer, Node, Op, Size, Window};
pub use network::{Activations, Fit, Frozen, Input, Network, Numbers, Then, Weight};
pub use run::{Model, Value};
