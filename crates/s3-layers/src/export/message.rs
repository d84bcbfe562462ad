//! The small parts of an ONNX message.

use s3_kernels::model::{Fit, Frozen, Layer, Network, Numbers, Window};

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// The domain of QONNX's own operators.
pub(super) const QONNX: &str = "qonnx.custom_op.general";

/// The name of the dimension that counts images.
const BATCH: &str = "N";

/// How image files become images and pixels numbers, and what the scores are called: keys that
/// other readers leave alone.
pub(super) fn metadata(network: &Network) -> Vec<StringStringEntryProto> {
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    let mut entries = vec![
        entry("s3.mean", format!("{:?}", network.input.mean)),
        entry("s3.std", format!("{:?}", network.input.std)),
        entry("s3.classes", network.classes.join("\n")),
    ];
    if network.input.numbers == Numbers::Floats {
        entries.push(entry("s3.numbers", "floats".to_owned()));
    }
    if let Some(fit) = network.input.fit {
        let fit = match fit {
            Fit::AsIs {} => "as_is".to_owned(),
            Fit::ResizeAndCrop { resize, crop } => format!("resize_and_crop {resize} {crop}"),
        };
        entries.push(entry("s3.fit", fit));
    }
    entries
}

/// What of ONNX a file asks for.
pub(super) struct Version {
    /// The version of the format.
    pub(super) ir: i64,
    /// The versions of the sets of operators, by domain.
    pub(super) opsets: Vec<(&'static str, i64)>,
}

/// The file of a graph.
pub(super) fn file(network: &Network, version: Version, graph: GraphProto) -> ModelProto {
    let opset = |(domain, version): (&str, i64)| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    ModelProto {
        ir_version: Some(version.ir),
        opset_import: version.opsets.into_iter().map(opset).collect(),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph),
        metadata_props: metadata(network),
        ..ModelProto::default()
    }
}

/// f32 numbers, `N` times `sides`.
pub(super) fn value(name: &str, sides: &[usize]) -> ValueInfoProto {
    floats(name, dimension::Value::DimParam(BATCH.to_owned()), sides)
}

/// f32 numbers, those of one image.
pub(super) fn image(name: &str, sides: &[usize]) -> ValueInfoProto {
    floats(name, dimension::Value::DimValue(1), sides)
}

/// f32 numbers that are the same for all images.
pub(super) fn constant(name: &str, dims: &[usize]) -> ValueInfoProto {
    let first = dims.first().map(|&d| dimension::Value::DimValue(d as i64));
    floats(name, first, dims.get(1..).unwrap_or_default())
}

fn floats(
    name: &str,
    first: impl Into<Option<dimension::Value>>,
    others: &[usize],
) -> ValueInfoProto {
    let others = others.iter().map(|&s| dimension::Value::DimValue(s as i64));
    let side = |value| Dimension {
        value: Some(value),
        denotation: None,
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float.into()),
        shape: Some(TensorShapeProto {
            dim: first.into().into_iter().chain(others).map(side).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            denotation: None,
        }),
        ..ValueInfoProto::default()
    }
}

/// The attributes of a sliding window.
pub(super) fn window(window: Window) -> Vec<AttributeProto> {
    vec![
        integers("kernel_shape", &window.kernel),
        integers("strides", &[window.stride; 2]),
        integers("pads", &[window.padding; 4]),
    ]
}

/// The attributes of a convolution; of one group is ONNX's default.
pub(super) fn convolution(layer: &Layer<Frozen>) -> Vec<AttributeProto> {
    let mut attributes = window(Window {
        kernel: layer.kernel,
        stride: layer.stride,
        padding: layer.padding,
    });
    if layer.groups > 1 {
        attributes.push(integer("group", layer.groups as i64));
    }
    attributes
}

/// The attributes of a convolution that leaves nothing to ONNX's defaults: qonnx asks for all.
pub(super) fn strided(
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    groups: usize,
) -> Vec<AttributeProto> {
    let mut attributes = window(Window {
        kernel,
        stride,
        padding,
    });
    attributes.push(integers("dilations", &[1; 2]));
    attributes.push(integer("group", groups as i64));
    attributes
}

fn integers(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints.into()),
        ints: values.iter().map(|&v| v as i64).collect(),
        ..AttributeProto::default()
    }
}

/// An attribute of one integer.
pub(super) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int.into()),
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// An attribute of text.
pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String.into()),
        s: Some(value.as_bytes().to_vec()),
        ..AttributeProto::default()
    }
}
