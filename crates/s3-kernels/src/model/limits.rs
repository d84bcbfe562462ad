//! What one image may cost a network: numbers that are held at one time, and operations.
//!
//! A file of a thousand bytes can describe a network that no memory holds and no patience waits for.
//! Both counts follow from the nodes and the shapes of their values, so a network is refused before
//! anything of their size is allocated.

use std::format;

use super::check::Shape;
use super::error::{Error, require};
use super::network::{Activations, Network, Op};
use super::plan::Plan;
use crate::epilogue::NR;

/// Numbers of one image that are held at one time, at most: 256 MiB of f32.
pub(crate) const MAX_NUMBERS: usize = 1 << 26;

/// Operations of one image, at most. ResNet-50 has 2^32 on 224 x 224 pixels and just as many as these on
/// 640 x 640.
pub(crate) const MAX_OPERATIONS: u64 = 1 << 35;

/// Numbers that a run holds of each image: the input, the buffers of the values, the scores, and where
/// activations are 8-bit the largest image with its border.
pub(crate) fn numbers(network: &Network, plan: &Plan) -> usize {
    let scores = network.classes.len();
    let values = plan.shapes[0].len().saturating_add(scores);
    let bordered = network.nodes.iter().map(|node| match &node.op {
        Op::Conv(conv) if network.activations != Activations::F32 => {
            plan.shapes[node.input].bordered(conv.padding)
        }
        _ => 0,
    });
    let buffers = plan.sizes.iter().copied().chain(bordered.max());
    buffers.fold(values, usize::saturating_add)
}

/// Operations of one image: for each output pixel the taps of its window and the channels that it sees,
/// times its channels in steps of 64, as kernels compute them.
pub(crate) fn operations(network: &Network, shapes: &[Shape]) -> u64 {
    let of = |(index, op): (usize, &Op)| {
        let from = shapes[network.nodes[index].input];
        let made = shapes[index + 1];
        let (pixels, taps) = match op {
            Op::Conv(conv) => (made.pixels(), [conv.kernel, conv.kernel, conv.in_channels]),
            Op::MaxPool { kernel, .. } => {
                // A window that is larger than the image sees no more than the image.
                let seen = |side: usize| side.min(*kernel);
                (made.pixels(), [seen(from.height), seen(from.width), 1])
            }
            Op::SubsampleAndPad { .. } => (made.pixels(), [1; 3]),
            Op::MeanPool { .. } => (from.pixels(), [1; 3]),
        };
        let channels = made.channels.next_multiple_of(NR);
        let factors = taps.into_iter().chain([channels]);
        factors.fold(pixels as u64, |n, factor| n.saturating_mul(factor as u64))
    };
    let nodes = network.nodes.iter().map(|node| &node.op).enumerate();
    nodes.map(of).fold(0, u64::saturating_add)
}

/// Refuses a network that one image costs too much.
pub(crate) fn check(network: &Network, plan: &Plan) -> Result<(), Error> {
    let held = numbers(network, plan);
    let all = operations(network, &plan.shapes);
    let expected = format!("at most {MAX_NUMBERS} an image");
    require(held <= MAX_NUMBERS, "numbers held at once", &expected, held)
        .and_then(|()| {
            let expected = format!("at most {MAX_OPERATIONS} an image");
            require(all <= MAX_OPERATIONS, "operations", &expected, all)
        })
        .map_err(Error::network)
}
