//! What one image may cost a network: numbers that are held at one time, and operations.
//!
//! A file of a thousand bytes can describe a network that no memory holds and no patience waits
//! for. Both counts follow from the nodes and the shapes of their values, so a network is refused
//! before anything of their size is allocated.

use std::format;

use super::error::{Error, require};
use super::graph::{Graph, Node, Op, Size};
use super::network::{Activations, Network};
use super::plan::Plan;
use crate::micro::bytes::NR;
use crate::micro::float::LINE;

/// Numbers of one image that are held at one time, at most: 256 MiB of f32.
pub(crate) const MAX_NUMBERS: usize = 1 << 26;

/// Operations of one image, at most. ResNet-50 has 2^32 on 224 x 224 pixels and just as many as
/// these on 640 x 640.
pub(crate) const MAX_OPERATIONS: u64 = 1 << 35;

/// Numbers that a run holds of each image: the input, the buffers of the values, the scores, and
/// where activations are 8-bit the largest image with its border.
pub(crate) fn numbers(network: &Network, plan: &Plan) -> usize {
    let scores = network.classes.len();
    let values = plan.sizes[0].len().saturating_add(scores);
    let bordered = network.graph.layers().map(|(node, layer)| {
        let is_copied = network.activations != Activations::F32;
        let from = &plan.sizes[node.input()];
        if is_copied {
            from.bordered(layer.padding)
        } else {
            0
        }
    });
    let buffers = plan.lengths.iter().copied().chain(bordered.max());
    buffers.fold(values, usize::saturating_add)
}

/// Operations of one image: for each output pixel the taps of its window and the channels that it
/// sees, times its channels in steps of 64, as kernels compute them; those of each of several
/// groups in steps of 16.
pub(crate) fn operations<L>(graph: &Graph<L>, sizes: &[Size]) -> u64 {
    let of = |(index, node): (usize, &Node<L>)| {
        let from = sizes[node.input()];
        let made = sizes[index + 1];
        let (pixels, taps) = match &node.op {
            Op::Layer(layer) => {
                let [height, width] = layer.kernel;
                (made.pixels(), [height, width, from.channels / layer.groups])
            }
            Op::MaxPool(window) | Op::AvgPool(window) => {
                // A window that is larger than the image sees no more than the image.
                let [height, width] = window.kernel;
                (
                    made.pixels(),
                    [height.min(from.height), width.min(from.width), 1],
                )
            }
            Op::MeanPool { .. } => (from.pixels(), [1; 3]),
            _ => (made.pixels(), [1; 3]),
        };
        let channels = match &node.op {
            Op::Layer(layer) if layer.groups > 1 => {
                let group = made.channels / layer.groups;
                layer.groups.saturating_mul(group.next_multiple_of(LINE))
            }
            _ => made.channels.next_multiple_of(NR),
        };
        let factors = taps.into_iter().chain([channels]);
        factors.fold(pixels as u64, |n, factor| n.saturating_mul(factor as u64))
    };
    let nodes = graph.nodes.iter().enumerate();
    nodes.map(of).fold(0, u64::saturating_add)
}

/// Refuses a network that one image costs too much.
pub(crate) fn check(network: &Network, plan: &Plan) -> Result<(), Error> {
    let held = numbers(network, plan);
    let all = operations(&network.graph, &plan.sizes);
    let expected = format!("at most {MAX_NUMBERS} an image");
    require(held <= MAX_NUMBERS, "numbers held at once", &expected, held)
        .and_then(|()| {
            let expected = format!("at most {MAX_OPERATIONS} an image");
            require(all <= MAX_OPERATIONS, "operations", &expected, all)
        })
        .map_err(Error::network)
}
