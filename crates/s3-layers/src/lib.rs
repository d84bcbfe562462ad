//! candle modules over discrete weights: single layers, and whole networks from a plan.
//!
//! A layer holds a `Box<dyn Quantizer>` and never learns which method it is; a model receives a
//! `&dyn Method`. **Activations are NHWC** (`[batch, height, width, channels]`): the layout in
//! which a CPU convolution vectorises over channels without a copy. Weights keep torch's shapes
//! (`[c_out, c_in, kh, kw]`) and names (`layer1.0.conv1.weight`).
//!
//! On the CPU the layers run the kernels of `s3-kernels` with their own gradients; on other devices
//! each op is composed from candle's ops, those of whose gradients are right. The two are held
//! equal by tests.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use s3_core::{Params, s3::S3};
//! use s3_layers::model::Size;
//! use s3_layers::zoo::{self, Settings};
//! use s3_layers::{Mode, Net};
//!
//! let image = Size { height: 32, width: 32, channels: 3 };
//! let plan = zoo::graph("resnet8", &Settings::new(), image, 10)?;
//! let net = Net::new(&plan, DType::F32, &S3::new(3), &Params::new(1, &Device::Cpu))?;
//! let images = Tensor::zeros((2, 32, 32, 3), DType::F32, &Device::Cpu)?;
//! assert_eq!(net.forward(&images, Mode::Eval)?.dims(), [2, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod calibrate;
mod conv;
pub mod export;
mod freeze;
mod fused;
pub mod int8;
mod layer;
mod linear;
mod net;
mod norm;
pub mod ops;

pub use conv::QuantConv2d;
pub use layer::{Mode, QuantLayer};
pub use linear::QuantLinear;
pub use net::{Net, Trace};
pub use norm::BatchNorm;
/// What a frozen network is, how it runs and its file.
pub use s3_kernels::model;
/// Architectures: what a [`Net`] is built from.
pub use s3_kernels::zoo;
