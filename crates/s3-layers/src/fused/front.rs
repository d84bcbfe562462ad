//! Which part of a network trains as one op: the longest front that the kernels serve.

use s3_kernels::model::{Act, Graph, Layer, Node, Op, Size};
use s3_kernels::zoo::Plan;
use std::ops::Range;

/// The first nodes of a network, of which the others read the last value alone.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) graph: Graph<()>,
    pub(crate) sizes: Vec<Size>,
    /// Where each layer's parameters lie among those of all: weight, gain, bias.
    ranges: Vec<Range<usize>>,
}

impl Front {
    /// The front of `plan`, whose values have these `sizes`; it may be empty.
    pub(crate) fn of(plan: &Graph<Plan>, sizes: &[Size]) -> Self {
        let is_served = |(index, node): (usize, &Node<Plan>)| {
            let pooled = index.checked_sub(1).map(|before| &plan.nodes[before].op);
            let ends = matches!(pooled, Some(Op::MeanPool { .. }));
            !ends && has_kernels(&node.op, index)
        };
        let nodes = plan.nodes.iter().enumerate();
        let mut count = nodes.take_while(|&node| is_served(node)).count();
        // What lies behind reads no value but the last.
        let crosses = |count: usize| {
            let mut behind = plan.nodes[count..].iter().flat_map(Node::reads);
            behind.any(|value| value < count)
        };
        while count > 0 && crosses(count) {
            count -= 1;
        }
        let mut graph = Graph::new(plan.image);
        let (mut ranges, mut end) = (Vec::with_capacity(count), 0);
        for node in &plan.nodes[..count] {
            if let Op::Layer(layer) = &node.op {
                let weight: usize = layer.weight_shape(&sizes[node.input()]).iter().product();
                ranges.push(end..end + weight + 2 * layer.channels);
                end += weight + 2 * layer.channels;
            } else {
                ranges.push(end..end);
            }
            let Ok(op) = node.op.map(|_| Ok::<_, std::convert::Infallible>(()));
            graph.push(node.name.clone(), &node.inputs, op);
        }
        Self {
            graph,
            sizes: sizes[..=count].to_vec(),
            ranges,
        }
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.graph.nodes.len()
    }

    /// Parameters in all.
    pub(crate) fn parameters(&self) -> usize {
        self.ranges.last().map_or(0, |range| range.end)
    }

    /// Where the parameters of node `index` lie.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        self.ranges[index].clone()
    }

    /// Whether it ends in the mean over all pixels, which is f32.
    pub(crate) fn is_pooled(&self) -> bool {
        let last = self.graph.nodes.last().map(|node| &node.op);
        matches!(last, Some(Op::MeanPool { .. }))
    }
}

/// Whether node `index` has training kernels here.
fn has_kernels(op: &Op<Plan>, index: usize) -> bool {
    match op {
        Op::Layer(layer) => is_plain(layer),
        Op::MaxPool(window) => window.kernel[0] == window.kernel[1],
        Op::Subsample { .. } => true,
        // A mean needs something before it that the op has made.
        Op::MeanPool { .. } => index > 0,
        _ => false,
    }
}

/// A convolution of one group, a batch norm, and at most a ReLU.
fn is_plain(layer: &Layer<Plan>) -> bool {
    let plan = &layer.holds;
    let is_conv = layer.groups == 1 && !plan.is_linear;
    is_conv && plan.norm.is_some() && !plan.bias && layer.act != Act::Relu6
}
