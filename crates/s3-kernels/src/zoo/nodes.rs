//! A network that a configuration lists node by node.

use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::architecture::{Architecture, Example, Settings};
use super::error::Error;
use super::plan::{Plan, Role};
use crate::model::{self, Act, Graph, Layer, Op, Size, Window};

/// The nodes of a network in a configuration, in the order in which they run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// The settings of each node.
    pub nodes: Vec<Settings>,
}

/// The operations, and the keys that each has besides `name`, `op`, `input` and `inputs`.
const OPS: &[(&str, &[&str])] = &[
    (
        "conv",
        &[
            "channels", "kernel", "stride", "padding", "groups", "norm", "act", "role",
        ],
    ),
    ("linear", &["channels", "norm", "act", "role"]),
    ("norm", &["act"]),
    ("add", &["act"]),
    ("concat", &[]),
    ("max_pool", &["kernel", "stride", "padding"]),
    ("avg_pool", &["kernel", "stride", "padding"]),
    ("mean_pool", &[]),
    ("flatten", &[]),
    ("pad", &["padding"]),
    ("dropout", &["p"]),
];

/// The name of value 0.
const IMAGE: &str = "image";

/// A 5x5 convolution of stride 2, two depthwise layers, a sum, a concatenation, a pool, two linear
/// layers.
const EXAMPLE: &str = r#"{ "nodes": [
    { "name": "conv1", "op": "conv", "channels": 8, "kernel": 5, "stride": 2,
      "norm": "bn1", "act": "relu", "role": "first" },
    { "name": "dw1", "op": "conv", "channels": 8, "kernel": 3, "groups": "depthwise", "norm": "bn2",
      "act": "relu6", "role": "depthwise" },
    { "name": "dw2", "op": "conv", "channels": 8, "kernel": 3, "groups": 8,
      "norm": "bn3", "role": "depthwise" },
    { "name": "sum", "op": "add", "inputs": ["dw2", "conv1"], "act": "relu" },
    { "name": "both", "op": "concat", "inputs": ["sum", "dw1"] },
    { "name": "pool", "op": "max_pool", "kernel": 2 },
    { "name": "flat", "op": "flatten" },
    { "name": "fc1", "op": "linear", "channels": 12, "norm": "bn4", "act": "relu" },
    { "name": "fc2", "op": "linear", "role": "last" }
] }"#;

/// One node of a configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    op: String,
    input: Option<String>,
    inputs: Option<Vec<String>>,
    channels: Option<usize>,
    kernel: Option<Kernel>,
    stride: Option<usize>,
    padding: Option<Sides>,
    groups: Option<Groups>,
    norm: Option<String>,
    act: Option<String>,
    role: Option<Role>,
    p: Option<f32>,
}

/// A number for both sides, or one for each.
#[derive(Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number from 1 on, or [height, width]"
)]
enum Kernel {
    Both(usize),
    Each([usize; 2]),
}

/// A number for all sides, one for height and one for width, or one for each of the four.
#[derive(Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number from 0 on, [height, width] or [top, bottom, left, right]"
)]
enum Sides {
    All(usize),
    Two([usize; 2]),
    Four([usize; 4]),
}

/// A number, or a group for each channel.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number from 1 on, or \"depthwise\""
)]
enum Groups {
    Number(usize),
    Word(Depthwise),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Depthwise {
    Depthwise,
}

impl Architecture for Nodes {
    const NAMES: &'static [&'static str] = &["nodes"];
    const SUMMARY: &'static str = "the nodes that the configuration lists";
    const EXAMPLES: &'static [Example] = &[Example {
        side: 16,
        ..Example::new("nodes", EXAMPLE)
    }];

    fn resolved(self, _: &str) -> Result<Self, String> {
        for (index, settings) in self.nodes.iter().enumerate() {
            Entry::read(index, settings)?;
        }
        Ok(self)
    }

    fn graph(&self, _: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let mut builder = Builder {
            graph: Graph::new(image),
            values: BTreeMap::from([(IMAGE.to_owned(), 0)]),
            sizes: vec![image],
        };
        for (index, settings) in self.nodes.iter().enumerate() {
            let entry = Entry::read(index, settings)?;
            let name = entry.name.clone();
            let is_last = index + 1 == self.nodes.len();
            let pushed = builder.push(entry, is_last.then_some(classes));
            // What does not fit is said of the first node where it does not.
            let pushed = pushed.and_then(|()| builder.measure());
            pushed.map_err(|what| model::Error::node(&name, what))?;
        }
        builder.graph.fused().classifying(classes)
    }
}

impl Entry {
    /// Node `index` of a configuration; the message names it.
    fn read(index: usize, settings: &Settings) -> Result<Self, String> {
        let name = settings.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| format!("node {index}"), |name| format!("node `{name}`"));
        let read = || -> Result<Self, String> {
            let op = settings.get("op").and_then(Value::as_str);
            if let Some(op) = op {
                let Some((_, keys)) = OPS.iter().find(|(known, _)| *known == op) else {
                    let known: Vec<&str> = OPS.iter().map(|(known, _)| *known).collect();
                    return Err(format!("op: expected {}, got `{op}`", known.join(", ")));
                };
                let all = ["name", "op", "input", "inputs"];
                let strange = settings.keys().find(|key| {
                    let key = key.as_str();
                    !all.contains(&key) && !keys.contains(&key)
                });
                if let (Some(Value::Array(_)), false) = (settings.get("input"), is_sum(op)) {
                    return Err("input: expected one name".to_owned());
                }
                if let (Some(_), true) = (settings.get("input"), is_sum(op)) {
                    return Err(format!(
                        "input: no key of `{op}`, which has `inputs`, two names or more"
                    ));
                }
                if let Some(key) = strange {
                    let known = match keys {
                        [] => "none of its own".to_owned(),
                        keys => keys.join(", "),
                    };
                    return Err(format!("{key}: no key of `{op}`, which has {known}"));
                }
            }
            super::architecture::read(settings)
        };
        read().map_err(|what| format!("{name}: {what}"))
    }

    fn act(&self) -> Result<Act, String> {
        match self.act.as_deref() {
            None | Some("none") => Ok(Act::None),
            Some("relu") => Ok(Act::Relu),
            Some("relu6") => Ok(Act::Relu6),
            Some(other) => Err(format!("act: expected none, relu or relu6, got `{other}`")),
        }
    }

    fn kernel(&self) -> Result<[usize; 2], String> {
        match self.kernel {
            Some(Kernel::Both(side)) => Ok([side; 2]),
            Some(Kernel::Each(sides)) => Ok(sides),
            None => Err("kernel: is missing".to_owned()),
        }
    }

    /// Rows above and below, columns to the left and to the right.
    fn padding(&self, default: [usize; 2]) -> [usize; 4] {
        match self.padding {
            Some(Sides::All(side)) => [side; 4],
            Some(Sides::Two([rows, columns])) => [rows, rows, columns, columns],
            Some(Sides::Four(sides)) => sides,
            None => [default[0], default[0], default[1], default[1]],
        }
    }
}

/// Whether an operation reads several values.
fn is_sum(op: &str) -> bool {
    matches!(op, "add" | "concat")
}

/// The graph so far, what its values are called, and their sizes.
struct Builder {
    graph: Graph<Plan>,
    values: BTreeMap<String, usize>,
    sizes: Vec<Size>,
}

impl Builder {
    /// Takes the sizes of the values that are new.
    fn measure(&mut self) -> Result<(), String> {
        for node in &self.graph.nodes[self.sizes.len() - 1..] {
            self.sizes.push(node.size(&self.sizes)?);
        }
        Ok(())
    }

    /// Adds a node; the last one of a network knows the number of `classes`.
    fn push(&mut self, entry: Entry, classes: Option<usize>) -> Result<(), String> {
        if self.values.contains_key(&entry.name) {
            return Err(match entry.name.as_str() {
                IMAGE => "name: expected another, this one is the image's".to_owned(),
                _ => "expected names that differ, got this one twice".to_owned(),
            });
        }
        if self.graph.nodes.iter().any(|node| node.name == entry.name) {
            return Err(
                "name: expected another, this one is the padding's of the node before".to_owned(),
            );
        }
        if entry.norm.as_deref() == Some("none") {
            return Err(
                "norm: expected the name of a batch norm; without the key there is none".to_owned(),
            );
        }
        let inputs = self.inputs(&entry)?;
        let input = inputs.first().copied().unwrap_or_default();
        let name = entry.name.clone();
        let value = match entry.op.as_str() {
            "conv" => {
                let kernel = entry.kernel()?;
                let same = |side: usize| if side % 2 == 1 { side / 2 } else { 0 };
                let sides = entry.padding(kernel.map(same));
                let from = input;
                let (padding, input) = self.padded(&name, input, sides)?;
                let channels = entry.channels.ok_or("channels: is missing")?;
                let groups = match entry.groups {
                    None => 1,
                    Some(Groups::Number(groups)) => groups,
                    Some(Groups::Word(Depthwise::Depthwise)) => {
                        let read = self.sizes[from].channels;
                        if !channels.is_multiple_of(read) {
                            return Err(format!(
                                "channels: expected a multiple of the {read} channels of its \
                                 input, as `groups` is \"depthwise\", got {channels}"
                            ));
                        }
                        channels
                    }
                };
                let layer = Layer {
                    kernel,
                    padding,
                    groups,
                    ..Layer::conv(channels, 1)
                };
                let stride = entry.stride.unwrap_or(1);
                self.layer(&entry, input, layer.stride(stride))?
            }
            "linear" => {
                let channels = entry.channels.or(classes).ok_or("channels: is missing")?;
                self.layer(&entry, input, Layer::linear(channels))?
            }
            "max_pool" | "avg_pool" => {
                let kernel = entry.kernel()?;
                let sides = entry.padding([0; 2]);
                let equal = sides.iter().all(|&side| side == sides[0]);
                let window = Window {
                    kernel,
                    stride: entry.stride.unwrap_or(kernel[0].max(kernel[1])),
                    padding: sides[0],
                };
                if !equal {
                    return Err("padding: expected one number for all sides of a pool".to_owned());
                }
                let op = match entry.op.as_str() {
                    "max_pool" => Op::MaxPool(window),
                    _ => Op::AvgPool(window),
                };
                self.graph.push(&name, &[input], op)
            }
            "norm" => {
                let mut layer = Layer::conv(1, 1).norm(name.as_str());
                layer.holds.bias = false;
                let (holds, act) = (layer.holds, entry.act()?);
                self.graph.push(&name, &[input], Op::Norm { holds, act })
            }
            "add" => {
                let act = entry.act()?;
                self.graph.push(&name, &inputs, Op::Add { act })
            }
            "concat" => self.graph.push(&name, &inputs, Op::Concat),
            "mean_pool" => self.graph.push(&name, &[input], Op::MeanPool { shift: 0 }),
            "flatten" => self.graph.push(&name, &[input], Op::Flatten),
            "pad" => {
                entry.padding.ok_or("padding: is missing")?;
                let sides = entry.padding([0; 2]);
                self.graph.push(&name, &[input], Op::Pad { sides })
            }
            _ => {
                let share = entry.p.ok_or("p: is missing")?;
                self.graph.push(&name, &[input], Op::Dropout(share))
            }
        };
        self.values.insert(name, value);
        Ok(())
    }

    /// The values that a node reads: those named, else the one before.
    fn inputs(&self, entry: &Entry) -> Result<Vec<usize>, String> {
        let several = is_sum(&entry.op);
        let (key, names) = match (&entry.input, &entry.inputs, several) {
            (None, Some(names), true) => ("inputs", names.clone()),
            (Some(name), None, false) => ("input", vec![name.clone()]),
            (None, None, false) => return Ok(vec![self.graph.nodes.len()]),
            (_, _, true) => return Err("inputs: expected two names or more".to_owned()),
            (_, Some(_), false) => return Err("inputs: expected `input`, one name".to_owned()),
        };
        if several && names.len() < 2 {
            return Err("inputs: expected two names or more".to_owned());
        }
        let value = |name: &String| {
            let known = || {
                let mut known: Vec<(usize, &str)> = Vec::new();
                known.extend(
                    self.values
                        .iter()
                        .map(|(name, &value)| (value, name.as_str())),
                );
                known.sort_unstable();
                let known: Vec<&str> = known.into_iter().map(|(_, name)| name).collect();
                known.join(", ")
            };
            let value = self.values.get(name).copied();
            value.ok_or_else(|| {
                format!(
                    "{key}: expected a node before this one ({}), got `{name}`",
                    known()
                )
            })
        };
        names.iter().map(value).collect()
    }

    /// What a layer reads with zeros on these sides: the number for all of them, else a node that
    /// adds them.
    fn padded(
        &mut self,
        name: &str,
        input: usize,
        sides: [usize; 4],
    ) -> Result<(usize, usize), String> {
        if sides.iter().all(|&side| side == sides[0]) {
            return Ok((sides[0], input));
        }
        let pad = format!("{name}.pad");
        if self.values.contains_key(&pad) {
            return Err(format!(
                "padding: its sides differ, which takes a node {pad} before it: rename the one \
                 that is called so"
            ));
        }
        let padded = self.graph.push(pad, &[input], Op::Pad { sides });
        Ok((0, padded))
    }

    fn layer(&mut self, entry: &Entry, input: usize, layer: Layer<Plan>) -> Result<usize, String> {
        let mut layer = Layer {
            act: entry.act()?,
            ..layer
        };
        let plan = &mut layer.holds;
        plan.role = entry.role.unwrap_or(Role::Hidden);
        plan.norm.clone_from(&entry.norm);
        // A batch norm takes a bias away again.
        plan.bias = entry.norm.is_none();
        Ok(self.graph.layer(entry.name.to_string(), input, layer))
    }
}
