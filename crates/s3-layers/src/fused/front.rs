//! Which part of a network trains as one op: the longest front that the kernels serve.

use s3_kernels::model::{Act, Graph, Layer, Node, Op, Size};
use s3_kernels::zoo::Plan;
use std::ops::Range;

/// The first nodes of a network, of which the others read the last value alone.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) graph: Graph<Share>,
    pub(crate) sizes: Vec<Size>,
    parameters: usize,
    /// For every node, the values that it is the last to read, the backward pass included.
    spent: Vec<Vec<usize>>,
}

/// What a layer or a batch norm holds of the parameters of all.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Where they lie: a layer's weight, then what [`Then`] says.
    pub(crate) range: Range<usize>,
    pub(crate) then: Then,
}

/// What follows the sums of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// A batch norm of gains and biases.
    Norm,
    /// A bias.
    Bias,
    /// Nothing.
    Nothing,
}

impl Then {
    /// Parameters of so many channels.
    pub(crate) fn parameters(self, channels: usize) -> usize {
        match self {
            Then::Norm => 2 * channels,
            Then::Bias => channels,
            Then::Nothing => 0,
        }
    }

    fn of(plan: &Plan) -> Self {
        match (&plan.norm, plan.bias) {
            (Some(_), _) => Then::Norm,
            (None, true) => Then::Bias,
            (None, false) => Then::Nothing,
        }
    }
}

impl Front {
    /// The front of `plan`, whose values have these `sizes`; it may be empty.
    pub(crate) fn of(plan: &Graph<Plan>, sizes: &[Size]) -> Self {
        let mut count = plan.nodes.iter().take_while(|n| has_kernels(&n.op)).count();
        // What lies behind reads no value but the last.
        let crosses = |count: usize| {
            let mut behind = plan.nodes[count..].iter().flat_map(Node::reads);
            behind.any(|value| value < count)
        };
        while count > 0 && crosses(count) {
            count -= 1;
        }
        // Without parameters there is nothing to train.
        if plan.nodes[..count].iter().all(|n| n.holds().is_none()) {
            count = 0;
        }
        let mut graph = Graph::new(plan.image);
        let mut end = 0;
        for (index, node) in plan.nodes[..count].iter().enumerate() {
            let weight: usize = match &node.op {
                Op::Layer(layer) => layer.weight_shape(&sizes[node.input()]).iter().product(),
                _ => 0,
            };
            let Ok(op) = node.op.map(|plan| {
                let (then, start) = (Then::of(plan), end);
                end += weight + then.parameters(sizes[index + 1].channels);
                let range = start..end;
                Ok::<_, std::convert::Infallible>(Share { range, then })
            });
            graph.push(node.name.clone(), &node.inputs, op);
        }
        Self {
            spent: spent(&graph),
            graph,
            sizes: sizes[..=count].to_vec(),
            parameters: end,
        }
    }

    /// The values that are not needed any more once node `index` has been made.
    pub(crate) fn spent(&self, index: usize) -> &[usize] {
        &self.spent[index]
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.graph.nodes.len()
    }

    /// Parameters in all.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    /// The value that ends it, and whether the result is its mean over all pixels, which is f32.
    pub(crate) fn end(&self) -> (usize, bool) {
        match self.graph.nodes.last() {
            Some(last) if matches!(last.op, Op::MeanPool { .. }) => (last.input(), true),
            _ => (self.len(), false),
        }
    }

    /// How many nodes make elements: all but a mean at the end.
    pub(crate) fn inner(&self) -> usize {
        let (_, is_pooled) = self.end();
        self.len() - usize::from(is_pooled)
    }
}

/// For every node, the values that it is the last to read, and that the backward pass does not
/// read; the image and the result are not ours to give back.
fn spent<L>(graph: &Graph<L>) -> Vec<Vec<usize>> {
    let mut is_kept = vec![false; graph.nodes.len() + 1];
    for (index, node) in graph.nodes.iter().enumerate() {
        match &node.op {
            // The gradient of a weight is that of products with the input, and a norm's that of
            // numbers that are made of it.
            Op::Layer(Layer { act, .. }) | Op::Norm { act, .. } => {
                is_kept[node.input()] = true;
                is_kept[index + 1] |= *act != Act::None;
            }
            Op::Add { act } => is_kept[index + 1] |= *act != Act::None,
            _ => {}
        }
    }
    let mut spent = vec![Vec::new(); graph.nodes.len()];
    let inner = 1..graph.nodes.len();
    for (value, last) in graph.last_reads().into_iter().enumerate() {
        if inner.contains(&value) && !is_kept[value] {
            spent[last].push(value);
        }
    }
    spent
}

/// Whether a node has training kernels here: all but a linear layer, whose product is candle's, a
/// kernel already, and a layer with both a batch norm and a bias.
fn has_kernels(op: &Op<Plan>) -> bool {
    match op {
        Op::Layer(layer) => {
            let plan = &layer.holds;
            let has_both = plan.bias && plan.norm.is_some();
            !(plan.is_linear || has_both)
        }
        _ => true,
    }
}
