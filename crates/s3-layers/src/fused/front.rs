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

/// What a layer or a batch norm holds of the parameters of all, as a range of them: a layer's
/// weight, then gains and biases where a batch norm follows, biases where none does, or nothing.
pub(crate) type Share = Range<usize>;

impl Front {
    /// The front of `plan`, whose values have these `sizes`; it may be empty.
    pub(crate) fn of(plan: &Graph<Plan>, sizes: &[Size]) -> Self {
        let mut count = served(plan);
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
        for node in &plan.nodes[..count] {
            let weights = usize::from(matches!(node.op, Op::Layer(_)));
            let Ok(op) = node.op.map(|plan| {
                let then = match (&plan.norm, plan.bias) {
                    (Some(_), _) => 2,
                    (None, is_biased) => usize::from(is_biased),
                };
                let start = end;
                end += weights + then;
                Ok::<_, std::convert::Infallible>(start..end)
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

    /// The number of parameters, each a tensor.
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

/// How many of the first nodes have training kernels here: all but a layer with both a batch norm
/// and a bias, and the node that makes the scores, but for a mean. Scores are f32, and so is what
/// they are made of: that node is candle's.
fn served(plan: &Graph<Plan>) -> usize {
    let nodes = plan.nodes.iter().enumerate();
    let is_served = |(index, node): &(usize, &Node<Plan>)| match &node.op {
        Op::MeanPool { .. } => true,
        _ if index + 1 == plan.nodes.len() => false,
        Op::Layer(Layer { holds, .. }) => !(holds.bias && holds.norm.is_some()),
        _ => true,
    };
    nodes.take_while(is_served).count()
}
