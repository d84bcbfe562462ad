//! A network without its weights, as JSON.

use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize};

use super::json_error;
use crate::model::error::Error;
use crate::model::graph::{Act, Layer, Node, Op};
use crate::model::network::{self, Frozen, Network, Then, Weight};

/// The content of `s3.config`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) name: String,
    pub(super) input: InputConfig,
    pub(super) activations: Activations,
    pub(super) classes: Vec<String>,
    pub(super) nodes: Vec<NodeConfig>,
    /// For tools that read other formats; nothing here depends on it.
    #[serde(default, deserialize_with = "ignored")]
    quantization_config: Quantization,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputConfig {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
    scale: f32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Activations {
    F32,
    U8,
    U8Shift,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NodeConfig {
    pub(super) name: String,
    pub(super) input: usize,
    #[serde(flatten)]
    pub(super) op: OpConfig,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum OpConfig {
    Conv(ConvConfig),
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    SubsampleAndPad {
        stride: usize,
        channels: usize,
    },
    MeanPool {
        shift: u8,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvConfig {
    pub(super) weight: Kind,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) residual: Option<usize>,
    pub(super) relu: bool,
    pub(super) requant: Option<RequantConfig>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Packed,
    Dense,
    F32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequantConfig {
    pub(super) residual_factor: i32,
    pub(super) offset: i32,
    pub(super) zero_point: u8,
}

#[derive(Default, Serialize)]
struct Quantization {
    quant_method: &'static str,
    format: &'static str,
    scheme: &'static str,
    /// Of the widest packed layer.
    bits: u32,
    ignored_layers: Vec<String>,
}

fn ignored<'de, D: Deserializer<'de>>(from: D) -> Result<Quantization, D::Error> {
    serde::de::IgnoredAny::deserialize(from).map(|_| Quantization::default())
}

impl Config {
    /// The description of `network`.
    pub(super) fn of(network: &Network) -> Config {
        let nodes = network.graph.nodes.iter();
        let (input, image) = (&network.input, network.graph.image);
        Config {
            name: network.name.clone(),
            input: InputConfig {
                height: image.height,
                width: image.width,
                channels: image.channels,
                mean: input.mean.clone(),
                std: input.std.clone(),
                scale: input.scale,
            },
            activations: match network.activations {
                network::Activations::F32 => Activations::F32,
                network::Activations::U8 => Activations::U8,
                network::Activations::U8Shift => Activations::U8Shift,
            },
            classes: network.classes.clone(),
            nodes: nodes.filter_map(NodeConfig::of).collect(),
            quantization_config: Quantization::of(network),
        }
    }

    pub(super) fn to_json(&self) -> String {
        // Strings, numbers and lists of them: there is nothing that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn from_json(json: &str) -> Result<Config, Error> {
        serde_json::from_str(json).map_err(|error| json_error("s3.config", &error))
    }
}

impl NodeConfig {
    /// `None` for a node that has no packed form: no network that was checked has one.
    fn of(node: &Node<Frozen>) -> Option<NodeConfig> {
        let op = match &node.op {
            Op::Layer(layer) => OpConfig::Conv(ConvConfig::of(layer)),
            Op::MaxPool(window) => OpConfig::MaxPool {
                kernel: window.kernel[0],
                stride: window.stride,
                padding: window.padding,
            },
            &Op::Subsample { stride, channels } => OpConfig::SubsampleAndPad { stride, channels },
            &Op::MeanPool { shift } => OpConfig::MeanPool { shift },
            _ => return None,
        };
        Some(NodeConfig {
            name: node.name.clone(),
            input: node.input(),
            op,
        })
    }
}

impl ConvConfig {
    fn of(layer: &Layer<Frozen>) -> ConvConfig {
        ConvConfig {
            weight: match layer.holds.weight {
                Weight::Packed(_) => Kind::Packed,
                Weight::Dense(_) => Kind::Dense,
                Weight::F32(_) => Kind::F32,
            },
            in_channels: layer.in_channels(),
            out_channels: layer.channels,
            kernel: layer.kernel[0],
            stride: layer.stride,
            padding: layer.padding,
            residual: layer.add,
            relu: layer.act == Act::Relu,
            requant: match &layer.holds.then {
                Then::Scale { .. } => None,
                Then::Requant(requant) => Some(RequantConfig {
                    residual_factor: requant.residual_factor,
                    offset: requant.offset,
                    zero_point: requant.zero_point,
                }),
            },
        }
    }
}

impl Quantization {
    fn of(network: &Network) -> Quantization {
        let mut of = Quantization {
            quant_method: "s3-shift",
            format: "s3-packed",
            scheme: "sign_sparse_shift",
            ..Quantization::default()
        };
        for (node, layer) in network.graph.layers() {
            match &layer.holds.weight {
                Weight::Packed(w) => of.bits = of.bits.max(w.bit_width().bits()),
                _ => of.ignored_layers.push(node.name.clone()),
            }
        }
        of
    }
}

impl From<InputConfig> for network::Input {
    fn from(input: InputConfig) -> network::Input {
        network::Input {
            mean: input.mean,
            std: input.std,
            scale: input.scale,
        }
    }
}

impl From<Activations> for network::Activations {
    fn from(activations: Activations) -> network::Activations {
        match activations {
            Activations::F32 => network::Activations::F32,
            Activations::U8 => network::Activations::U8,
            Activations::U8Shift => network::Activations::U8Shift,
        }
    }
}
