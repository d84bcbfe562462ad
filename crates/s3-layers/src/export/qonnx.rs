//! QONNX: weights as minifloats, which is what they are, or all of a network as integers.

use prost::Message;
use s3_kernels::model::{Activations, Network, Weight};

use super::error::Error;
use super::graph::{self, Graph, Named, Written};
use super::integers;
use super::message::{self, QONNX, Version};

/// The bytes of a QONNX file of `network`, which has f32 or u8-shift activations.
///
/// Input, output and metadata are those of [`onnx`](super::onnx()).
///
/// f32: a packed layer of `b` bits is `FloatQuant(levels, 1) -> Conv -> Mul scale -> Add bias`, the
/// runtime's order, with `b - 1` exponent bits, no mantissa, exponent bias 1 and largest value
/// `2^(2^(b-1) - 2)`: exactly the `b`-bit levels. The bias is written because the format's default
/// is another. A layer of f32 weights has no quantizer.
///
/// u8-shift: integers, of one image. Weights, biases, factors and values are behind `Quant` with
/// one scale, a power of two, and zero point 0; weights of 2 bits are narrow, of 3 bits they have
/// 4, of 4 bits and dense ones 8. What a tool computes, be it in f32 as qonnx's executor or in
/// fixed point as hls4ml, are the runtime's integers, and scores that the runtime rounds twice
/// and they once or twice.
///
/// # Errors
///
/// [`Error::Network`] for u8 activations, or an image whose unit is no power of two;
/// [`Error::Node`] where a layer's integers need more digits than f32 has, and for what has no form
/// in integers: a mean over padding of a value with a zero point, scores behind a ReLU6.
pub fn qonnx(network: &Network) -> Result<Vec<u8>, Error> {
    if network.activations != Activations::F32 {
        return Ok(integers::model(network)?.encode_to_vec());
    }
    let version = Version {
        ir: 8,
        opsets: vec![("", 13), (QONNX, 1)],
    };
    Ok(graph::model(network, version, &write)?.encode_to_vec())
}

fn write(graph: &mut Graph, named: &Named<'_>) -> Result<Written, Error> {
    let matrix = match &named.layer.holds.weight {
        Weight::F32(w) => return Ok(named.floats(graph, w)),
        Weight::Dense(_) => return Err(named.refuse_dense()),
        Weight::Packed(w) => w,
    };
    let width = matrix.bit_width();
    let name = graph.free(format!("{}.weight", named.name));
    let levels = graph.free(format!("{name}_levels"));
    let values = matrix.to_levels().into_iter().map(f32::from);
    graph.floats(
        &levels,
        &named.dims(),
        &named.transposed(&values.collect::<Vec<f32>>()),
    );
    let mut inputs = vec![levels];
    for (what, number) in [
        ("unit", 1.0),
        ("exponent_bits", (width.bits() - 1) as f32),
        ("mantissa_bits", 0.0),
        ("exponent_bias", 1.0),
        ("max_value", (1u32 << width.t()) as f32),
    ] {
        let constant = graph.free(format!("{name}_{what}"));
        graph.floats(&constant, &[], &[number]);
        inputs.push(constant);
    }
    let attributes = vec![
        message::text("rounding_mode", "ROUND"),
        message::integer("has_inf", 0),
        message::integer("has_nan", 0),
        message::integer("has_subnormal", 1),
        message::integer("saturation", 1),
    ];
    graph.node("FloatQuant", QONNX, inputs, &name, attributes);
    Ok(Written {
        name,
        is_scaled: false,
    })
}
