//! The S3 reparametrization of low-bit shift networks, on candle.
//!
//! A discrete weight in {0, ±1, ±2, .., ±2^t} is a function of full-precision **latents**: one for
//! its sign, one for its sparsity and `t` for its shift (paper, section 4):
//!
//! ```text
//! S_0 = 0,  S_j = 1(w_j) (S_{j-1} + 1)                        (8)
//! w   = 2^{S_t} · 1(w_sparse) · (2·1(w_sign) - 1)             (9)
//! ```
//!
//! Each Heaviside step `1(·)` passes its gradient straight through ([`ste`]). The heart is
//! [`reparam::shift_weight`]; [`penalty::dense_weight_penalty`] keeps weights away from zero;
//! [`quantizer`] holds the two traits through which every other training method of this project is
//! a peer of [`s3::S3`].
//!
//! ```
//! use candle_core::{Device, Tensor};
//! let dev = Device::Cpu;
//! let sign = Tensor::new(&[0.3f32, -0.2, 0.9, -0.1], &dev)?;
//! let sparse = Tensor::new(&[0.1f32, 0.4, -0.5, 0.2], &dev)?;
//! let w1 = Tensor::new(&[0.2f32, -0.1, 0.3, 0.7], &dev)?;
//! let w2 = Tensor::new(&[-0.6f32, 0.1, 0.8, 0.5], &dev)?;
//! let w = s3_core::reparam::shift_weight(&sign, &sparse, &[w1, w2])?;
//! assert_eq!(w.to_vec1::<f32>()?, [1., -2., 0., -4.]);
//! # Ok::<(), candle_core::Error>(())
//! ```
#![forbid(unsafe_code)]

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod backend;
pub mod host;
pub mod params;
pub mod penalty;
pub mod quantizer;
pub mod reparam;
pub mod s3;
pub mod ste;

pub use params::{Init, ParamKind, Params};
pub use quantizer::{
    Codes, InputMoments, KernelOp, LayerSpec, Method, MethodConfig, Needs, Progress, Quantizer,
    Role, Scale, WeightForm,
};
