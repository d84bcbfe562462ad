//! Exact shift-and-add kernels for low-bit power-of-two weights, and the f32 kernels that train
//! them.
//!
//! * [`PackedMatrix`] holds weights of 2, 3 or 4 bits, and [`gemm`] multiplies them with 8-bit
//!   activations, exactly.
//! * [`conv2d`] convolves 8-bit activations with them; [`gemm_fused`] and [`conv2d_fused`] store
//!   what an [`Epilogue`] makes of the sums, requantized or as f32, in the same call.
//! * [`gemm_f32`] and [`conv2d_f32`] take f32 activations.
//! * [`BitWidth`] is the alphabet `{0, ±1, ±2, .., ±2^t}` and the small code of each of its levels.
//! * [`ConvShape`] describes a 2-D convolution, for the integer kernels and the training kernels
//!   alike.
//! * [`Isa`] names the instruction set that a kernel runs on and picks it at run time.
#![cfg_attr(
    feature = "train",
    doc = "* [`train`] holds convolution, batch norm and pooling in f32 and bf16, with gradients."
)]
//!
//! # Features
//!
//! * `std` (default): `S3_KERNELS_ISA`, the choice of kernels by measured rates
//!   ([`Kernel::select`]), buffers that outlive a call, large pages, and the table kernel's second
//!   form of the weights. Without it the crate is `no_std`, and knows of a CPU only what the
//!   compiler was told (`-C target-cpu`).
//! * `rayon`: splits work across the threads of the current rayon pool.
//! * `train`: the training kernels; implies `rayon`.
//! * `model`: networks as graphs, architectures, packed networks, their file and their runtime.
//! * `peak`: the yardsticks of the benchmarks: the int8 peak of the multiplier, reading memory.
//!
//! # Example
//!
//! ```
//! use s3_kernels::{BitWidth, PackedMatrix, gemm};
//!
//! // Two outputs of three inputs, weights in {0, ±1, ±2, ±4}.
//! let w = PackedMatrix::from_levels(&[1, 0, -4, 2, -1, 0], 2, 3, BitWidth::B3)?;
//! let mut y = [0; 2];
//! gemm(&w, &[10, 20, 30], 1, &mut y)?;
//! assert_eq!(y, [10 - 4 * 30, 2 * 10 - 20]);
//! # Ok::<(), s3_kernels::Error>(())
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(
        dead_code,
        unused_imports,
        unused_variables,
        reason = "the tiles, panels and tables that only the kernels of x86-64 read"
    )
)]

extern crate alloc;

#[cfg(any(feature = "model", feature = "train"))]
mod act;
mod arch;
mod conv;
mod epilogue;
mod error;
mod float;
mod gemm;
mod isa;
mod micro;
#[cfg(feature = "model")]
pub mod model;
mod packed;
mod parallel;
#[cfg(feature = "peak")]
pub mod peak;
pub mod reference;
mod scratch;
mod select;
mod shape;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "model")]
pub mod zoo;

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use conv::activation::Activation;
pub use conv::{conv2d, conv2d_fused};
pub use epilogue::{Epilogue, Raw, Residual, Scale, ShiftRequant};
pub use error::Error;
pub use float::{conv2d_f32, conv2d_f32_fused, gemm_f32, gemm_f32_fused};
pub use gemm::fused::gemm_fused;
pub use gemm::gemm;
pub use isa::Isa;
pub use micro::kernel::Kernel;
pub use packed::PackedMatrix;
pub use packed::code::BitWidth;
pub use shape::ConvShape;
