//! A network without its weights, as JSON.

use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::error::Error;
use crate::model::graph::{Act, Layer, Node, Op, Window};
use crate::model::network::{self, Fit, Frozen, Network, Numbers, Then, Weight};

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
    /// In version 2 only.
    #[serde(default, skip_serializing_if = "Numbers::is_bytes")]
    numbers: Numbers,
    /// In version 2 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<Fit>,
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
    MaxPool(WindowConfig),
    SubsampleAndPad {
        stride: usize,
        channels: usize,
    },
    MeanPool {
        shift: u8,
    },
    // From here on in version 2 only.
    AvgPool(WindowConfig),
    /// `input` is the first of them.
    Concat {
        others: Vec<usize>,
    },
    Pad {
        sides: [usize; 4],
    },
    Flatten {},
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowConfig {
    kernel: Kernel,
    stride: usize,
    padding: usize,
}

/// One number where both sides are the same; two in version 2 only.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Kernel {
    Square(usize),
    Sides([usize; 2]),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvConfig {
    pub(super) weight: Kind,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) kernel: Kernel,
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// In version 2 only, as `relu6`.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) groups: usize,
    pub(super) residual: Option<usize>,
    pub(super) relu: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) relu6: bool,
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
    /// In version 2 only.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub(super) high: u8,
}

fn one() -> usize {
    1
}

fn is_one(groups: &usize) -> bool {
    *groups == 1
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn all() -> u8 {
    u8::MAX
}

fn is_all(high: &u8) -> bool {
    *high == u8::MAX
}

impl Kernel {
    fn of(sides: [usize; 2]) -> Kernel {
        match sides {
            [height, width] if height == width => Kernel::Square(height),
            sides => Kernel::Sides(sides),
        }
    }

    pub(super) fn sides(self) -> [usize; 2] {
        match self {
            Kernel::Square(side) => [side; 2],
            Kernel::Sides(sides) => sides,
        }
    }
}

impl From<WindowConfig> for Window {
    fn from(window: WindowConfig) -> Window {
        Window {
            kernel: window.kernel.sides(),
            stride: window.stride,
            padding: window.padding,
        }
    }
}

impl From<Window> for WindowConfig {
    fn from(window: Window) -> WindowConfig {
        WindowConfig {
            kernel: Kernel::of(window.kernel),
            stride: window.stride,
            padding: window.padding,
        }
    }
}

/// Whether a file of version 1 cannot hold `network`.
pub(super) fn is_new(network: &Network) -> bool {
    let zeros = network.zero_points();
    let is_shifted = |value: usize| match &zeros {
        Ok(zeros) => zeros.get(value).is_some_and(|&zero| zero != 0),
        Err(_) => false,
    };
    let has_new_node = network.graph.nodes.iter().any(|node| {
        let is_square = |[height, width]: [usize; 2]| height == width;
        let is_new = match &node.op {
            Op::Layer(layer) => {
                layer.groups != 1 || layer.act == Act::Relu6 || !is_square(layer.kernel)
            }
            Op::MaxPool(window) => !is_square(window.kernel),
            Op::Subsample { .. } | Op::MeanPool { .. } => false,
            _ => true,
        };
        // Version 1 has values of a zero point as residuals only.
        is_new || node.inputs.iter().any(|&value| is_shifted(value))
    });
    has_new_node || !network.input.numbers.is_bytes() || network.input.fit.is_some()
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
                numbers: input.numbers,
                fit: input.fit,
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
        serde_json::from_str(json).map_err(|error| Error::file(format_args!("s3.config: {error}")))
    }
}

impl NodeConfig {
    /// `None` for a node that has no packed form: no network that was checked has one.
    fn of(node: &Node<Frozen>) -> Option<NodeConfig> {
        let op = match &node.op {
            Op::Layer(layer) => OpConfig::Conv(ConvConfig::of(layer)),
            &Op::MaxPool(window) => OpConfig::MaxPool(window.into()),
            &Op::AvgPool(window) => OpConfig::AvgPool(window.into()),
            Op::Concat => OpConfig::Concat {
                others: node.inputs.iter().skip(1).copied().collect(),
            },
            &Op::Pad { sides } => OpConfig::Pad { sides },
            Op::Flatten => OpConfig::Flatten {},
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
            kernel: Kernel::of(layer.kernel),
            stride: layer.stride,
            padding: layer.padding,
            groups: layer.groups,
            residual: layer.add,
            relu: layer.act != Act::None,
            relu6: layer.act == Act::Relu6,
            requant: match &layer.holds.then {
                Then::Scale { .. } => None,
                Then::Requant(requant) => Some(RequantConfig {
                    residual_factor: requant.residual_factor,
                    offset: requant.offset,
                    zero_point: requant.zero_point,
                    high: requant.high,
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
            numbers: input.numbers,
            fit: input.fit,
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
