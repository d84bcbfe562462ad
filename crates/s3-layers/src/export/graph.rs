//! A network of f32 activations as an ONNX graph, in ONNX's layout: images `[N, channels, height,
//! width]`, weights `[out, in, height, width]`.
//!
//! How a layer's weights are written is left to the caller, [`Weights`]; the rest is the same in
//! ONNX and QONNX. A layer becomes
//!
//! `Conv -> (Mul scale -> Add bias) -> (Add residual) -> (Relu or Clip)`
//!
//! with the bias inside `Conv` where nothing is multiplied after it. The other nodes are
//!
//! | node | ONNX |
//! | --- | --- |
//! | `concat` | `Concat` of the channels |
//! | `max_pool` | `MaxPool` |
//! | `avg_pool` | `AveragePool` that counts its padding |
//! | `mean_pool` | `GlobalAveragePool` |
//! | `flatten` | `Reshape`: ONNX has the channels first already |
//! | `pad` | `Pad` |
//! | `subsample` | `Slice -> Pad` |

use std::collections::BTreeSet;

use s3_kernels::model::{Act, Activations, Frozen, Layer, Network, Node, Op, Size, Then};

use super::error::Error;
use super::message::{Version, convolution, file, integer, value, window};
use super::proto::tensor_proto::DataType;
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// The name of the network's input: `[N, channels, height, width]`, normalised.
pub(super) const IMAGE: &str = "image";
/// The name of its output: `[N, classes]`.
pub(super) const SCORES: &str = "scores";

/// What a layer's weight tensor is.
pub(super) struct Written {
    /// Its name in the graph.
    pub(super) name: String,
    /// Whether the layer's scale is in it.
    pub(super) is_scaled: bool,
}

/// Writes a layer's weights into the graph.
pub(super) type Weights<'a> = &'a dyn Fn(&mut Graph, &Named<'_>) -> Result<Written, Error>;

/// A layer, its name, the channels that a group of it reads, and the factors of its sums.
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) layer: &'a Layer<Frozen>,
    pub(super) channels: usize,
    pub(super) scale: &'a [f32],
}

/// The nodes and constants so far.
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// The name of every value of the network.
    values: Vec<String>,
    /// All names that values and constants have.
    taken: BTreeSet<String>,
}

/// The whole file.
pub(super) fn model(
    network: &Network,
    version: Version,
    weights: Weights<'_>,
) -> Result<ModelProto, Error> {
    if network.activations != Activations::F32 {
        return Err(Error::network(
            "8-bit activations are rounded by a fixed-point sum, half up, and QuantizeLinear \
             rounds one quotient, half to even: scores would differ. Export the network with f32 \
             activations",
        ));
    }
    let sizes = network.sizes().map_err(Error::Invalid)?;
    let nodes = &network.graph.nodes;
    let mut graph = Graph::new(nodes);
    for (index, node) in nodes.iter().enumerate() {
        graph.add(index, node, &sizes, weights)?;
    }
    let from = &sizes[0];
    let image = value(IMAGE, &[from.channels, from.height, from.width]);
    let scores = value(SCORES, &[network.classes.len()]);
    Ok(finish(graph, network, version, [image, scores], Vec::new()))
}

/// The file of a graph: its input and its output, and what is known of the values between them.
pub(super) fn finish(
    graph: Graph,
    network: &Network,
    version: Version,
    [input, output]: [ValueInfoProto; 2],
    infos: Vec<ValueInfoProto>,
) -> ModelProto {
    let parts = GraphProto {
        name: Some(network.name.clone()),
        node: graph.nodes,
        initializer: graph.constants,
        input: vec![input],
        output: vec![output],
        value_info: infos,
        ..GraphProto::default()
    };
    file(network, version, parts)
}

/// One ONNX node of several that a network's node becomes: the first reads the node's input, each
/// other one what the one before it made.
struct Step {
    operator: &'static str,
    others: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl Graph {
    /// No nodes yet, and names for what `nodes` make: theirs, and the last one's is [`SCORES`].
    pub(super) fn new(nodes: &[Node<Frozen>]) -> Graph {
        let mut graph = Graph {
            nodes: Vec::new(),
            constants: Vec::new(),
            values: vec![IMAGE.to_owned()],
            taken: [IMAGE, SCORES].map(str::to_owned).into(),
        };
        // Names of nodes differ from each other: one may be the image's or the scores'.
        let names = nodes.iter().map(|node| node.name.clone());
        graph.taken.extend(names);
        for (index, node) in nodes.iter().enumerate() {
            let is_outer = [IMAGE, SCORES].contains(&node.name.as_str());
            let name = match (index + 1 == nodes.len(), is_outer) {
                (true, _) => SCORES.to_owned(),
                (false, true) => graph.free(node.name.clone()),
                (false, false) => node.name.clone(),
            };
            graph.values.push(name);
        }
        graph
    }

    /// The name of a value of the network.
    pub(super) fn value(&self, value: usize) -> &str {
        &self.values[value]
    }

    /// `name`, longer where something has it, and taken from now on.
    pub(super) fn free(&mut self, mut name: String) -> String {
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// Adds what `node`, which makes value `index + 1`, does.
    fn add(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        sizes: &[Size],
        weights: Weights<'_>,
    ) -> Result<(), Error> {
        let (from, made) = (&sizes[node.input()], &sizes[index + 1]);
        let one = |operator, attributes| vec![Step::new(operator, &[], attributes)];
        let mut steps = match &node.op {
            Op::Layer(layer) => self.layer(&node.name, layer, from, weights)?,
            Op::Concat => {
                let others = node.inputs.iter().skip(1);
                vec![Step {
                    operator: "Concat",
                    others: others.map(|&value| self.values[value].clone()).collect(),
                    attributes: vec![integer("axis", 1)],
                }]
            }
            Op::MaxPool(w) => one("MaxPool", window(*w)),
            Op::AvgPool(w) => {
                let mut attributes = window(*w);
                attributes.push(integer("count_include_pad", 1));
                one("AveragePool", attributes)
            }
            Op::MeanPool { .. } => one("GlobalAveragePool", Vec::new()),
            Op::Flatten => {
                // 0: as many images as are read.
                let shape = [0, made.channels as i64, 1, 1];
                let shape = self.integers(format!("{}.shape", node.name), &shape);
                vec![Step::new("Reshape", &[&shape], Vec::new())]
            }
            &Op::Pad { sides } => {
                let [top, bottom, left, right] = sides.map(|side| side as i64);
                let pads = [0, 0, top, left, 0, 0, bottom, right];
                vec![self.pad(&node.name, &pads)]
            }
            &Op::Subsample { stride, channels } => {
                self.subsample(&node.name, from, stride, channels)
            }
            other @ (Op::Norm { .. } | Op::Add { .. } | Op::Dropout(_)) => {
                return Err(Error::node(&node.name, is_not_frozen(other)));
            }
        };
        if index + 2 == sizes.len() {
            steps.push(Step::new("Flatten", &[], vec![integer("axis", 1)]));
        }
        let count = steps.len();
        let mut from = self.values[node.input()].clone();
        for (number, step) in steps.into_iter().enumerate() {
            let to = match number + 1 == count {
                true => self.values[index + 1].clone(),
                false => self.free(format!("{}.{number}", node.name)),
            };
            let mut inputs = vec![std::mem::replace(&mut from, to.clone())];
            inputs.extend(step.others);
            self.node(step.operator, "", inputs, &to, step.attributes);
        }
        Ok(())
    }

    fn layer(
        &mut self,
        name: &str,
        layer: &Layer<Frozen>,
        from: &Size,
        weights: Weights<'_>,
    ) -> Result<Vec<Step>, Error> {
        let Then::Scale { scale, bias } = &layer.holds.then else {
            return Err(Error::node(name, "expected f32 results, got u8"));
        };
        let named = Named {
            name,
            layer,
            channels: from.channels / layer.groups,
            scale,
        };
        let written = weights(self, &named)?;
        let is_scaled = written.is_scaled || scale.iter().all(|&s| s == 1.0);
        let bias_name = self.free(format!("{name}.bias"));
        let mut others = vec![written.name];
        let mut after = Vec::new();
        if is_scaled {
            self.floats(&bias_name, &[layer.channels], bias);
            others.push(bias_name);
        } else {
            let scale_name = self.free(format!("{name}.scale"));
            let channels = [1, layer.channels, 1, 1];
            self.floats(&scale_name, &channels, scale);
            self.floats(&bias_name, &channels, bias);
            after.push(Step::new("Mul", &[&scale_name], Vec::new()));
            after.push(Step::new("Add", &[&bias_name], Vec::new()));
        }
        let mut steps = vec![Step {
            operator: "Conv",
            others,
            attributes: convolution(layer),
        }];
        steps.append(&mut after);
        if let Some(residual) = layer.add {
            let residual = self.values[residual].clone();
            steps.push(Step::new("Add", &[&residual], Vec::new()));
        }
        match layer.act {
            Act::None => {}
            Act::Relu => steps.push(Step::new("Relu", &[], Vec::new())),
            Act::Relu6 => {
                let ends = [("low", 0.0), ("high", 6.0)].map(|(end, number)| {
                    let end = self.free(format!("{name}.{end}"));
                    self.floats(&end, &[], &[number]);
                    end
                });
                steps.push(Step::new("Clip", &[&ends[0], &ends[1]], Vec::new()));
            }
        }
        Ok(steps)
    }

    /// Zeros around the image: the numbers before each axis, then those behind each.
    fn pad(&mut self, name: &str, pads: &[i64; 8]) -> Step {
        let pads = self.integers(format!("{name}.pads"), pads);
        Step::new("Pad", &[&pads], Vec::new())
    }

    fn subsample(&mut self, name: &str, from: &Size, stride: usize, channels: usize) -> Vec<Step> {
        let before = (channels - from.channels) / 2;
        let after = channels - from.channels - before;
        let mut constant = |what: &str, values: &[i64]| {
            let name = format!("{name}.{what}");
            self.integers(name, values)
        };
        let slice = [
            constant("starts", &[0, 0]),
            constant("ends", &[from.height as i64, from.width as i64]),
            constant("axes", &[2, 3]),
            constant("steps", &[stride as i64, stride as i64]),
        ];
        let pad = self.pad(name, &[0, before as i64, 0, 0, 0, after as i64, 0, 0]);
        let slice: Vec<&str> = slice.iter().map(String::as_str).collect();
        vec![Step::new("Slice", &slice, Vec::new()), pad]
    }

    /// Adds one ONNX node.
    pub(super) fn node(
        &mut self,
        operator: &str,
        domain: &str,
        input: Vec<String>,
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            name: Some(format!("{output}:{operator}")),
            op_type: Some(operator.to_owned()),
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            input,
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }

    /// Adds a constant of `dims` whose bytes are `raw`, little endian.
    pub(super) fn tensor(&mut self, name: &str, data_type: DataType, dims: &[usize], raw: Vec<u8>) {
        self.constants.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(data_type.into()),
            dims: dims.iter().map(|&d| d as i64).collect(),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
    }

    /// Adds an f32 constant.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, DataType::Float, dims, raw);
    }

    /// Adds an i64 constant, and gives its name.
    pub(super) fn integers(&mut self, name: String, values: &[i64]) -> String {
        let name = self.free(name);
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(&name, DataType::Int64, &[values.len()], raw);
        name
    }
}

impl Step {
    fn new(operator: &'static str, others: &[&str], attributes: Vec<AttributeProto>) -> Step {
        Step {
            operator,
            others: others.iter().map(|&name| name.to_owned()).collect(),
            attributes,
        }
    }
}

/// Why an operation is not written: a network that was checked has none of these.
pub(super) fn is_not_frozen(op: &Op<Frozen>) -> String {
    format!("{}: no packed network has it", op.word())
}

impl Named<'_> {
    /// `[out, in, height, width]`.
    pub(super) fn dims(&self) -> [usize; 4] {
        let [height, width] = self.layer.kernel;
        [self.layer.channels, self.channels, height, width]
    }

    /// Rows of `(height, width, in)` as `[out, in, height, width]`.
    pub(super) fn transposed<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        let [_, channels, height, width] = self.dims();
        let taps = height * width;
        let mut turned = Vec::with_capacity(rows.len());
        for row in rows.chunks_exact((taps * channels).max(1)) {
            for channel in 0..channels {
                turned.extend((0..taps).map(|tap| row[tap * channels + channel]));
            }
        }
        turned
    }

    /// The f32 weights of a layer that has them, written as they are.
    pub(super) fn floats(&self, graph: &mut Graph, weights: &[f32]) -> Written {
        let name = graph.free(format!("{}.weight", self.name));
        graph.floats(&name, &self.dims(), &self.transposed(weights));
        Written {
            name,
            is_scaled: false,
        }
    }

    /// Networks of f32 activations have no dense integers.
    pub(super) fn refuse_dense(&self) -> Error {
        Error::node(
            self.name,
            "expected packed or f32 weights, got dense integers",
        )
    }
}
