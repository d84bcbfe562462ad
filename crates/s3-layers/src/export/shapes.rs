//! The shape of every value of a network.

use s3_kernels::model::{Conv, Network, Op};

use super::error::Error;

/// One image's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Shape {
    /// Numbers of one image.
    pub(super) fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// What windows of this kind make of it; `None` where a window is larger than the image.
    fn windows(self, kernel: usize, stride: usize, padding: usize) -> Option<Shape> {
        let side = |side: usize| (side + 2 * padding).checked_sub(kernel)?.checked_div(stride);
        Some(Shape {
            height: side(self.height)? + 1,
            width: side(self.width)? + 1,
            ..self
        })
    }
}

/// The shapes of `network`'s values, the input's first.
pub(super) fn shapes(network: &Network) -> Result<Vec<Shape>, Error> {
    let mut shapes = vec![Shape {
        height: network.input.height,
        width: network.input.width,
        channels: network.input.channels,
    }];
    for node in &network.nodes {
        let refuse = |what: &str| Error::layer(&node.name, what);
        let from = *shapes
            .get(node.input)
            .ok_or_else(|| refuse("reads a value that is not made before it"))?;
        let made = match &node.op {
            Op::Conv(conv) => conv_shape(conv, from, &shapes),
            &Op::MaxPool {
                kernel,
                stride,
                padding,
            } => from.windows(kernel, stride, padding),
            &Op::SubsampleAndPad { stride, channels } => from
                .windows(1, stride, 0)
                .filter(|_| channels >= from.channels)
                .map(|made| Shape { channels, ..made }),
            Op::MeanPool { .. } => Some(Shape {
                height: 1,
                width: 1,
                ..from
            }),
        };
        shapes.push(made.ok_or_else(|| refuse("does not fit the shape that it reads"))?);
    }
    let scores = shapes[shapes.len() - 1];
    if network.nodes.is_empty() || scores.len() != network.classes.len() {
        return Err(Error::network(format_args!(
            "expected {} scores, got {}",
            network.classes.len(),
            scores.len()
        )));
    }
    Ok(shapes)
}

fn conv_shape(conv: &Conv, from: Shape, shapes: &[Shape]) -> Option<Shape> {
    let made = from.windows(conv.kernel, conv.stride, conv.padding)?;
    let made = Shape {
        channels: conv.out_channels,
        ..made
    };
    let is_same = |value: usize| shapes.get(value) == Some(&made);
    (from.channels == conv.in_channels && conv.residual.is_none_or(is_same)).then_some(made)
}
