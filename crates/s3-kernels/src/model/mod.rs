//! Packed networks: what a trained shift network becomes, and how it runs without a training framework.

mod dense;
mod network;

pub use dense::{DenseMatrix, MAX_LEVEL};
pub use network::{
    Activations, Conv, FRACTION, Input, MAX_TERMS, Network, Node, Op, Requant, Then, Weight,
};
