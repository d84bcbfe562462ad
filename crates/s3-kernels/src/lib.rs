//! Exact shift-and-add kernels for low-bit power-of-two weights, and the f32 kernels that train them.
//!
//! * [`BitWidth`] is the alphabet `{0, ±1, ±2, .., ±2^t}` and the small code of each of its levels.
//! * [`ConvShape`] describes a 2-D convolution, for the integer kernels and the training kernels alike.
//! * [`Isa`] names the instruction set that a kernel runs on and picks it at run time.
#![cfg_attr(
    feature = "train",
    doc = "* [`train`] holds convolution, batch norm and pooling in f32, with their gradients."
)]
//!
//! # Features
//!
//! * `std` (default): run-time CPU detection. Without it the crate is `no_std` and [`Isa::detect`]
//!   sees only what the compiler was told about the target.
//! * `rayon`: splits work across the threads of the current rayon pool.
//! * `train`: the training kernels; implies `rayon`.
//! * `peak`: the yardsticks of the benchmarks: the int8 peak of the multiplier, reading memory.
//!
//! # Example
//!
//! ```
//! use s3_kernels::BitWidth;
//!
//! assert_eq!(BitWidth::B3.levels(), &[-4, -2, -1, 0, 1, 2, 4]);
//! let code = BitWidth::B3.encode(-2).unwrap();
//! assert_eq!(BitWidth::B3.decode(code), Some(-2));
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

mod code;
mod dispatch;
mod error;
#[cfg(feature = "peak")]
pub mod peak;
mod shape;
#[cfg(feature = "train")]
pub mod train;

pub use code::BitWidth;
pub use dispatch::Isa;
pub use error::Error;
pub use shape::ConvShape;
