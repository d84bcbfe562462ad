//! The small parts of an ONNX message.

use s3_kernels::model::{Fit, Frozen, Layer, Network, Numbers, Window};

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

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

/// f32 numbers, `N` times `sides`.
pub(super) fn value(name: &str, sides: &[usize]) -> ValueInfoProto {
    let side = |value| Dimension {
        value: Some(value),
        denotation: None,
    };
    let batch = side(dimension::Value::DimParam(BATCH.to_owned()));
    let sides = sides
        .iter()
        .map(|&s| side(dimension::Value::DimValue(s as i64)));
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float.into()),
        shape: Some(TensorShapeProto {
            dim: std::iter::once(batch).chain(sides).collect(),
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
