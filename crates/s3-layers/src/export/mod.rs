//! Packed networks as files for other programs: ONNX, QONNX and C.
//!
//! | function | of networks with | holds |
//! | --- | --- | --- |
//! | [`onnx()`] | f32 activations | levels as INT8, INT4 or INT2 and a scale of each channel, `DequantizeLinear -> Conv` |
//! | [`qonnx()`] | f32 activations | levels as minifloats of `bits - 1` exponent bits, `FloatQuant -> Conv` |
//! | the same | u8-shift activations | integers behind `Quant`, for hls4ml and FINN |
//! | [`c()`] | 8-bit activations | packed codes, shifts and additions, no multiplication |
//!
//! What each of them holds and what it cannot hold is in `docs/EXPORT-FORMAT.md`. They are
//! functions of the network alone: no tensor library, no file, and the same bytes for the same
//! network.
//!
//! ```
//! use s3_kernels::model::{
//!     Activations, Frozen, Graph, Input, Layer, Network, Numbers, Op, Size, Then, Weight,
//! };
//! use s3_kernels::{BitWidth, PackedMatrix};
//! use s3_layers::export::{self, OnnxWeights};
//!
//! // One pixel of two colours: scores 0.5 (x0 - 2 x1) and x1 + 1.
//! let weight = Weight::Packed(PackedMatrix::from_levels(&[1, -2, 0, 1], 2, 2, BitWidth::B3)?);
//! let then = Then::Scale { scale: vec![0.5, 1.0], bias: vec![0.0, 1.0] };
//! let mut graph = Graph::new(Size { height: 1, width: 1, channels: 2 });
//! graph.push("fc", &[0], Op::Layer(Layer::new(2, [1, 1], Frozen { weight, then })));
//! let network = Network {
//!     name: "linear".into(),
//!     input: Input {
//!         mean: vec![0.0; 2],
//!         std: vec![1.0; 2],
//!         scale: 1.0,
//!         numbers: Numbers::Bytes,
//!         fit: None,
//!     },
//!     classes: vec!["cat".into(), "dog".into()],
//!     activations: Activations::F32,
//!     graph,
//! };
//! let file = export::onnx(&network, OnnxWeights::Int8)?;
//! assert_eq!(&file[..2], [8, 8]); // field 1, the version of ONNX's format: 8
//!
//! // Three bits hold ±4, two bits do not.
//! let refused = export::onnx(&network, OnnxWeights::Int2).unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "node `fc`: INT2 holds -2 to 1, 3-bit weights have levels up to ±4: use INT4"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod c;
mod error;
mod graph;
mod integers;
mod message;
mod onnx;
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "written by tools/onnx-proto"
)]
#[rustfmt::skip]
mod proto;
mod qonnx;
#[cfg(test)]
mod tests;

pub use c::{CSource, c};
pub use error::Error;
pub use onnx::{OnnxWeights, onnx};
pub use qonnx::qonnx;
