//! A network of u8-shift activations as a QONNX graph of integers, in ONNX's layout.
//!
//! Values are the runtime's integers, 0 to 255, in f32 tensors; the image is quantized in its own
//! unit, a power of two. A layer becomes
//!
//! `Conv(Quant weights, Quant bias) -> Quant sum -> Conv 1x1 of each channel (Quant factor) ->
//! (Quant -> Add residual) -> (Relu) -> Quant`
//!
//! and behind a flattened value
//!
//! `MatMul(Quant weights) -> Add bias -> Quant sum -> Mul factor -> (..) -> (Relu) -> Quant`.
//!
//! Bias and factor are found by [`line`](line::line): the last quantizer rounds down and its result
//! is the runtime's, in f32 as well as in fixed point. Every constant is behind a quantizer with
//! one scale, a power of two, so that a tool knows the type of each number. The quantizer behind
//! the sum changes nothing: it says how many bits a sum has, and keeps hls4ml from merging what is
//! before and behind it.
//!
//! | node | QONNX |
//! | --- | --- |
//! | `subsample` | `Conv` 1x1 of ones and zeros: hls4ml has no `Slice` |
//! | `mean_pool`, `avg_pool` | `Conv` of ones, one a channel, and a factor as above |
//! | `max_pool` | `MaxPool`, behind a `Conv` of ones that pads where there is padding |
//! | `concat`, `pad` | `Concat`, `Pad` |
//! | `flatten` | `Flatten` |

mod graph;
mod layers;
mod line;
mod rescale;
mod windows;

use s3_kernels::model::{Activations, Network};

use super::error::Error;
use super::proto::ModelProto;

use graph::Writer;

/// The whole file.
pub(super) fn model(network: &Network) -> Result<ModelProto, Error> {
    if network.activations != Activations::U8Shift {
        return Err(Error::network(
            "the steps of u8 activations are no powers of two, which QONNX's integers are written \
             with: export u8-shift",
        ));
    }
    let scale = network.input.scale;
    let unit = f64::from(scale).log2();
    if unit.fract() != 0.0 {
        return Err(Error::network(format_args!(
            "the image's unit is {scale}: expected a power of two"
        )));
    }
    let sizes = network.sizes().map_err(Error::Invalid)?;
    let zeros = network.zero_points().map_err(Error::Invalid)?;
    let mut writer = Writer::new(network, sizes, zeros, unit as i32);
    for (index, node) in network.graph.nodes.iter().enumerate() {
        writer.node(index, node)?;
    }
    Ok(writer.finish(network))
}
