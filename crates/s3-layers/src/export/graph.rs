//! A network of f32 activations as an ONNX graph, in ONNX's layout: images `[N, channels, height, width]`,
//! weights `[out, in, height, width]`.
//!
//! How a layer's weights are written is left to the caller, [`Weights`]; the rest is the same in ONNX
//! and QONNX. A layer becomes
//!
//! `Conv -> (Mul scale -> Add bias) -> (Add residual) -> (Relu)`
//!
//! with the bias inside `Conv` where nothing is multiplied after it.

use s3_kernels::model::{Act, Activations, Frozen, Layer, Network, Node, Op, Size, Then};

use super::error::Error;
use super::message::{integer, metadata, value, window};
use super::proto::tensor_proto::DataType;
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
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
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

/// What of ONNX a file asks for.
pub(super) struct Version {
    /// The version of the format.
    pub(super) ir: i64,
    /// The versions of the sets of operators, by domain.
    pub(super) opsets: Vec<(&'static str, i64)>,
}

/// The whole file.
pub(super) fn model(
    network: &Network,
    version: Version,
    weights: Weights<'_>,
) -> Result<ModelProto, Error> {
    if network.activations != Activations::F32 {
        return Err(Error::network(
            "8-bit activations are rounded by a fixed-point sum, half up, and QuantizeLinear rounds one \
             quotient, half to even: scores would differ. Export the network with f32 activations",
        ));
    }
    let sizes = network.sizes().map_err(Error::Invalid)?;
    let mut graph = Graph::default();
    let nodes = &network.graph.nodes;
    for (index, node) in nodes.iter().enumerate() {
        let is_last = index + 1 == nodes.len();
        graph.add(network, node, is_last, &sizes, weights)?;
    }
    let from = &sizes[0];
    let image = [from.channels, from.height, from.width];
    let opset = |(domain, version): (&str, i64)| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    Ok(ModelProto {
        ir_version: Some(version.ir),
        opset_import: version.opsets.into_iter().map(opset).collect(),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(GraphProto {
            name: Some(network.name.clone()),
            node: graph.nodes,
            initializer: graph.constants,
            input: vec![value(IMAGE, &image)],
            output: vec![value(SCORES, &[network.classes.len()])],
            ..GraphProto::default()
        }),
        metadata_props: metadata(network),
        ..ModelProto::default()
    })
}

/// One ONNX node of several that a network's node becomes: the first reads the node's input, each other
/// one what the one before it made.
struct Step {
    operator: &'static str,
    others: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl Graph {
    /// Adds what `node` does.
    fn add(
        &mut self,
        network: &Network,
        node: &Node<Frozen>,
        is_last: bool,
        sizes: &[Size],
        weights: Weights<'_>,
    ) -> Result<(), Error> {
        served(node)?;
        let from = &sizes[node.input()];
        let mut steps = match &node.op {
            Op::Layer(layer) => self.layer(network, &node.name, layer, from, weights)?,
            Op::MaxPool(w) => vec![Step::new(
                "MaxPool",
                &[],
                window(w.kernel, w.stride, w.padding),
            )],
            &Op::Subsample { stride, channels } => {
                self.subsample(&node.name, from, stride, channels)
            }
            Op::MeanPool { .. } => vec![Step::new("GlobalAveragePool", &[], Vec::new())],
            other => return Err(Error::node(&node.name, has_no_form(other))),
        };
        if is_last {
            steps.push(Step::new("Flatten", &[], vec![integer("axis", 1)]));
        }
        let count = steps.len();
        let mut from = value_name(network, node.input());
        for (index, step) in steps.into_iter().enumerate() {
            let to = match (index + 1 == count, is_last) {
                (true, true) => SCORES.to_owned(),
                (true, false) => node.name.clone(),
                (false, _) => format!("{}.{index}", node.name),
            };
            let mut inputs = vec![std::mem::replace(&mut from, to.clone())];
            inputs.extend(step.others);
            self.node(step.operator, "", inputs, &to, step.attributes);
        }
        Ok(())
    }

    fn layer(
        &mut self,
        network: &Network,
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
        let (scale_name, bias_name) = (format!("{name}.scale"), format!("{name}.bias"));
        let mut others = vec![written.name];
        let mut after = Vec::new();
        if is_scaled {
            self.floats(&bias_name, &[layer.channels], bias);
            others.push(bias_name);
        } else {
            let channels = [1, layer.channels, 1, 1];
            self.floats(&scale_name, &channels, scale);
            self.floats(&bias_name, &channels, bias);
            after.push(Step::new("Mul", &[&scale_name], Vec::new()));
            after.push(Step::new("Add", &[&bias_name], Vec::new()));
        }
        let mut steps = vec![Step {
            operator: "Conv",
            others,
            attributes: window(layer.kernel, layer.stride, layer.padding),
        }];
        steps.append(&mut after);
        if let Some(residual) = layer.add {
            let residual = value_name(network, residual);
            steps.push(Step::new("Add", &[&residual], Vec::new()));
        }
        if layer.act == Act::Relu {
            steps.push(Step::new("Relu", &[], Vec::new()));
        }
        Ok(steps)
    }

    fn subsample(&mut self, name: &str, from: &Size, stride: usize, channels: usize) -> Vec<Step> {
        let before = (channels - from.channels) / 2;
        let after = channels - from.channels - before;
        let mut constant = |what: &str, values: &[i64]| {
            let name = format!("{name}.{what}");
            self.integers(&name, values);
            name
        };
        let slice = [
            constant("starts", &[0, 0]),
            constant("ends", &[from.height as i64, from.width as i64]),
            constant("axes", &[2, 3]),
            constant("steps", &[stride as i64, stride as i64]),
        ];
        let pads = constant("pads", &[0, before as i64, 0, 0, 0, after as i64, 0, 0]);
        let slice: Vec<&str> = slice.iter().map(String::as_str).collect();
        vec![
            Step::new("Slice", &slice, Vec::new()),
            Step::new("Pad", &[&pads], Vec::new()),
        ]
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

    fn integers(&mut self, name: &str, values: &[i64]) {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, DataType::Int64, &[values.len()], raw);
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

fn value_name(network: &Network, value: usize) -> String {
    match value.checked_sub(1) {
        None => IMAGE.to_owned(),
        Some(node) => network.graph.nodes[node].name.clone(),
    }
}

/// Why an operation is not written.
pub(super) fn has_no_form(op: &Op<Frozen>) -> String {
    format!("{}: is not exported to this format", op.word())
}

/// Refuses a layer that none of the formats has.
pub(super) fn served(node: &Node<Frozen>) -> Result<(), Error> {
    let Op::Layer(layer) = &node.op else {
        return Ok(());
    };
    if layer.groups > 1 {
        let what = format_args!("groups: {} are not exported to this format", layer.groups);
        return Err(Error::node(&node.name, what));
    }
    if layer.act == Act::Relu6 {
        return Err(Error::node(
            &node.name,
            "act: relu6 is not exported to this format",
        ));
    }
    Ok(())
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
        let name = format!("{}.weight", self.name);
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
