//! ONNX with weights in their own integers: `DequantizeLinear(levels, scale of each channel) ->
//! Conv`.

use prost::Message;
use s3_kernels::BitWidth;
use s3_kernels::model::{Network, Weight};

use super::error::Error;
use super::graph::{self, Graph, Named, Written};
use super::message::{self, Version};
use super::proto::tensor_proto::DataType;

/// What packed weights are stored as. Wider ones are read by more programs.
///
/// | variant | operators | a weight | holds |
/// | --- | --- | --- | --- |
/// | `F32` | 13 | 32 bits | every width, as `scale * level` |
/// | `Int8` | 13 | 8 bits | every width |
/// | `Int4` | 21 | 4 bits | 2 and 3 bits: levels up to ±4 |
/// | `Int2` | 25 | 2 bits | 2 bits: levels 0 and ±1 |
///
/// ONNX has no integer of four bits that holds the levels of a 4-bit weight, which reach ±64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnnxWeights {
    /// Plain f32 weights: for programs that quantize a network themselves.
    F32,
    /// One byte a weight, the default.
    #[default]
    Int8,
    /// Two weights a byte.
    Int4,
    /// Four weights a byte.
    Int2,
}

impl OnnxWeights {
    fn version(self) -> Version {
        let (ir, operators) = match self {
            OnnxWeights::F32 | OnnxWeights::Int8 => (8, 13),
            OnnxWeights::Int4 => (10, 21),
            OnnxWeights::Int2 => (13, 25),
        };
        Version {
            ir,
            opsets: vec![("", operators)],
        }
    }

    /// How packed weights of `width` are stored.
    fn of(self, layer: &str, width: BitWidth) -> Result<DataType, Error> {
        let most = 1 << width.t();
        let refuse = |held: &str, instead: &str| {
            let bits = width.bits();
            let what =
                format!("{held}, {bits}-bit weights have levels up to ±{most}: use {instead}");
            Err(Error::node(layer, what))
        };
        match (self, width) {
            (OnnxWeights::F32, _) => Ok(DataType::Float),
            (OnnxWeights::Int8, _) => Ok(DataType::Int8),
            (OnnxWeights::Int4, BitWidth::B2 | BitWidth::B3) => Ok(DataType::Int4),
            (OnnxWeights::Int2, BitWidth::B2) => Ok(DataType::Int2),
            (OnnxWeights::Int4, _) => refuse("INT4 holds -8 to 7", "INT8"),
            (OnnxWeights::Int2, BitWidth::B3) => refuse("INT2 holds -2 to 1", "INT4"),
            (OnnxWeights::Int2, _) => refuse("INT2 holds -2 to 1", "INT8"),
        }
    }
}

/// The bytes of an ONNX file of `network`, which has f32 activations.
///
/// The input is `image`, f32 `[N, channels, height, width]`, normalised as
/// [`Input`](s3_kernels::model::Input) says; the output `scores`, f32 `[N, classes]`. The file's
/// `metadata_props` hold the mean, the standard deviation and the classes' names; where images are
/// floats `s3.numbers`, which says so; and where the network says it `s3.fit`, how an image
/// becomes an image.
///
/// Exact: the levels, and `scale * level`, because a level is a power of two. The runtime computes
/// `scale * sum(level x) + bias` and ONNX `sum((scale * level) x) + bias`: each product and each
/// addition is rounded at another magnitude, so scores agree to a few units in the last place of
/// the largest term. A layer of f32 weights is `Conv -> Mul -> Add`, the runtime's order.
///
/// # Errors
///
/// [`Error::Network`] for 8-bit activations; [`Error::Node`] for a layer whose levels `weights`
/// does not hold.
pub fn onnx(network: &Network, weights: OnnxWeights) -> Result<Vec<u8>, Error> {
    let write = |graph: &mut Graph, named: &Named<'_>| write(graph, named, weights);
    Ok(graph::model(network, weights.version(), &write)?.encode_to_vec())
}

fn write(graph: &mut Graph, named: &Named<'_>, weights: OnnxWeights) -> Result<Written, Error> {
    let matrix = match &named.layer.holds.weight {
        Weight::F32(w) => return Ok(named.floats(graph, w)),
        Weight::Dense(_) => return Err(named.refuse_dense()),
        Weight::Packed(w) => w,
    };
    let data_type = weights.of(named.name, matrix.bit_width())?;
    let name = graph.free(format!("{}.weight", named.name));
    let dims = named.dims();
    let values = named.transposed(&matrix.to_levels());
    if data_type == DataType::Float {
        let rows = values.chunks_exact((dims[1] * dims[2] * dims[3]).max(1));
        let scaled = rows.zip(named.scale).flat_map(|(row, scale)| {
            let weight = move |&level: &i8| f32::from(level) * scale;
            row.iter().map(weight)
        });
        graph.floats(&name, &dims, &scaled.collect::<Vec<f32>>());
        return Ok(Written {
            name,
            is_scaled: true,
        });
    }
    let [levels, scale] = ["levels", "scale"].map(|what| graph.free(format!("{name}_{what}")));
    let raw = packed(&values, data_type);
    graph.tensor(&levels, data_type, &dims, raw);
    graph.floats(&scale, &[named.layer.channels], named.scale);
    let axis = vec![message::integer("axis", 0)];
    graph.node("DequantizeLinear", "", vec![levels, scale], &name, axis);
    Ok(Written {
        name,
        is_scaled: true,
    })
}

/// Two's complement, lowest bits first; the last byte is filled up with zeros.
fn packed(levels: &[i8], data_type: DataType) -> Vec<u8> {
    let bits = match data_type {
        DataType::Int4 => 4,
        DataType::Int2 => 2,
        _ => 8,
    };
    let mask = (0xff_u16 >> (8 - bits)) as u8;
    let byte = |levels: &[i8]| {
        let place = |(index, &level): (usize, &i8)| (level as u8 & mask) << (index * bits);
        levels.iter().enumerate().map(place).fold(0, |a, b| a | b)
    };
    levels.chunks(8 / bits).map(byte).collect()
}
