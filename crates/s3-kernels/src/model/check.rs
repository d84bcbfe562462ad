//! Everything that a network must be before it is run, and the shapes of its values.

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::error::{Error, expect, require};
use super::limits::{self, MAX_NUMBERS};
use super::network::{Activations, Conv, MAX_TERMS, Network, Node, Op, Requant, Then, Weight};
use super::plan::Plan;
use super::terms;
use crate::ConvShape;

/// The longest side of a window and the longest step.
const MAX_SIDE: usize = 1 << 28;

/// The largest shift of a mean.
const MAX_MEAN_SHIFT: u8 = 16;

/// One image's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Shape {
    /// Numbers of one image. [`plan`] has shown that they are at most [`MAX_NUMBERS`].
    pub(crate) fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Pixels of one image.
    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Numbers of one image with `padding` zeros on each side.
    pub(crate) fn bordered(&self, padding: usize) -> usize {
        let side = |side: usize| side.saturating_add(padding.saturating_mul(2));
        side(self.height)
            .saturating_mul(side(self.width))
            .saturating_mul(self.channels)
    }

    fn check(&self) -> Result<(), String> {
        let len = [self.height, self.width, self.channels]
            .iter()
            .try_fold(1usize, |len, &side| len.checked_mul(side));
        let fine = len.is_some_and(|len| (1..=MAX_NUMBERS).contains(&len));
        let expected = format!("1 to {MAX_NUMBERS} numbers");
        let shape = (self.height, self.width, self.channels);
        require(fine, "shape", &expected, shape)
    }
}

impl Conv {
    /// The convolution of `batch` images of `shape`.
    pub(crate) fn shape(&self, batch: usize, shape: &Shape) -> ConvShape {
        ConvShape {
            batch,
            height: shape.height,
            width: shape.width,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            kernel_h: self.kernel,
            kernel_w: self.kernel,
            stride: self.stride,
            padding: self.padding,
            ..ConvShape::default()
        }
    }
}

impl Network {
    /// The shape of every value, `[height, width, channels]`, the input's first. All of the network is
    /// checked, as [`Model::new`](super::Model::new) does.
    ///
    /// # Errors
    ///
    /// Those of [`Model::new`](super::Model::new).
    pub fn shapes(&self) -> Result<Vec<[usize; 3]>, Error> {
        let sides = |s: Shape| [s.height, s.width, s.channels];
        Ok(plan(self)?.shapes.into_iter().map(sides).collect())
    }
}

/// Checks all of `network` and plans its buffers.
pub(crate) fn plan(network: &Network) -> Result<Plan, Error> {
    let plan = Plan::new(network, shapes(network)?);
    limits::check(network, &plan)?;
    Ok(plan)
}

/// Checks each node of `network` and gives the shape of every value.
fn shapes(network: &Network) -> Result<Vec<Shape>, Error> {
    input(network).map_err(Error::network)?;
    printable("name", &network.name).map_err(Error::network)?;
    for class in &network.classes {
        printable("class", class).map_err(Error::network)?;
    }
    let shape = Shape {
        height: network.input.height,
        width: network.input.width,
        channels: network.input.channels,
    };
    shape
        .check()
        .map_err(|what| Error::network(format_args!("input: {what}")))?;
    let mut shapes = Vec::from([shape]);
    let mut names = BTreeSet::new();
    for (index, node) in network.nodes.iter().enumerate() {
        let refuse = |what| Error::node(&node.name, what);
        if node.name.is_empty() {
            return Err(Error::network(format_args!("node {index}: has no name")));
        }
        printable("name", &node.name).map_err(refuse)?;
        if !names.insert(node.name.as_str()) {
            return Err(refuse(
                "expected names that differ, got this one twice".into(),
            ));
        }
        let made = made(network, index, node, &shapes).map_err(refuse)?;
        made.check().map_err(refuse)?;
        shapes.push(made);
    }
    let (Some(last), Some(scores)) = (network.nodes.last(), shapes.last()) else {
        return Err(Error::network("expected at least one node, got none"));
    };
    let refuse = |what| Error::node(&last.name, what);
    expect("scores: pixels", 1, scores.pixels()).map_err(refuse)?;
    expect("scores", network.classes.len(), scores.channels).map_err(refuse)?;
    Ok(shapes)
}

/// Names go to terminals, to comments and to formats of one name a line.
fn printable(what: &str, name: &str) -> Result<(), String> {
    let fine = !name.contains(char::is_control);
    require(fine, what, "no control characters", name)
}

fn input(network: &Network) -> Result<(), String> {
    let input = &network.input;
    expect("input.mean: length", input.channels, input.mean.len())?;
    expect("input.std: length", input.channels, input.std.len())?;
    for &mean in &input.mean {
        require(mean.is_finite(), "input.mean", "finite numbers", mean)?;
    }
    for &std in input.std.iter().chain([&input.scale]) {
        let fine = std.is_finite() && std > 0.0;
        require(fine, "input.std and scale", "finite numbers above 0", std)?;
    }
    if network.activations == Activations::F32 {
        expect("input.scale with f32 activations", 1.0, input.scale)?;
    }
    Ok(())
}

/// The shape that node `index` makes of the shapes before it.
fn made(network: &Network, index: usize, node: &Node, shapes: &[Shape]) -> Result<Shape, String> {
    let integer = network.activations != Activations::F32;
    let known = format!("a value before this node, 0 to {index}");
    require(node.input <= index, "input", &known, node.input)?;
    let from = shapes[node.input];
    let is_last = index + 1 == network.nodes.len();
    let Op::Conv(conv) = &node.op else {
        if integer {
            require(node.input > 0, "input", "a u8 value", "the i8 image")?;
            require(!is_last, "the last node", "a convolution", "another")?;
        }
        plain(network, node.input)?;
        return pooled(&node.op, &from, integer);
    };
    plain(network, node.input)?;
    expect("in_channels", from.channels, conv.in_channels)?;
    window(conv.kernel, conv.stride, conv.padding)?;
    let shape = conv.shape(1, &from);
    let text = |error: crate::Error| format!("{error}");
    let made = Shape {
        height: shape.out_height().map_err(text)?,
        width: shape.out_width().map_err(text)?,
        channels: conv.out_channels,
    };
    if let Some(residual) = conv.residual {
        require(residual <= index, "residual", &known, residual)?;
        expect("residual", made, shapes[residual])?;
        if integer {
            require(residual > 0, "residual", "a u8 value", "the i8 image")?;
            require(!is_last, "residual of the last node", "none", residual)?;
        }
    }
    weight(network.activations, conv, node.input == 0 || is_last)?;
    then(network.activations, conv, is_last)?;
    Ok(made)
}

/// Refuses a value whose zero point is not 0 where it is more than a residual: padding and what is left
/// out of a sum stand for the real number 0.
fn plain(network: &Network, value: usize) -> Result<(), String> {
    let Some(Op::Conv(conv)) = value.checked_sub(1).map(|node| &network.nodes[node].op) else {
        return Ok(());
    };
    match &conv.then {
        Then::Requant(requant) => expect(
            "zero point of a value that is no residual",
            0,
            requant.zero_point,
        ),
        Then::Scale { .. } => Ok(()),
    }
}

fn pooled(op: &Op, from: &Shape, integer: bool) -> Result<Shape, String> {
    match *op {
        Op::Conv(_) => Ok(*from),
        Op::MaxPool {
            kernel,
            stride,
            padding,
        } => {
            window(kernel, stride, padding)?;
            let side = |side: usize| {
                let padded = side + 2 * padding;
                require(kernel <= padded, "kernel", "no more than the image", kernel)?;
                Ok::<_, String>((padded - kernel) / stride + 1)
            };
            Ok(Shape {
                height: side(from.height)?,
                width: side(from.width)?,
                ..*from
            })
        }
        Op::SubsampleAndPad { stride, channels } => {
            require(stride > 0, "stride", "at least 1", stride)?;
            let fine = channels >= from.channels;
            require(fine, "channels", "no fewer than are read", channels)?;
            Ok(Shape {
                height: from.height.div_ceil(stride),
                width: from.width.div_ceil(stride),
                channels,
            })
        }
        Op::MeanPool { shift } => {
            let most = if integer { MAX_MEAN_SHIFT } else { 0 };
            let expected = format!("0 to {most}");
            require(shift <= most, "shift", &expected, shift)?;
            Ok(Shape {
                height: 1,
                width: 1,
                ..*from
            })
        }
    }
}

fn window(kernel: usize, stride: usize, padding: usize) -> Result<(), String> {
    let sane = 1..=MAX_SIDE;
    require(sane.contains(&kernel), "kernel", "1 to 2^28", kernel)?;
    require(sane.contains(&stride), "stride", "1 to 2^28", stride)?;
    require(padding < kernel, "padding", "less than the kernel", padding)
}

/// `outer`: the first convolution or the last one.
fn weight(activations: Activations, conv: &Conv, outer: bool) -> Result<(), String> {
    let columns = [conv.kernel, conv.kernel, conv.in_channels]
        .iter()
        .try_fold(1usize, |columns, &side| columns.checked_mul(side))
        .ok_or("kernel: too large to be represented")?;
    let expected = (conv.out_channels, columns);
    match &conv.weight {
        Weight::Packed(w) => expect("weight", expected, (w.rows(), w.cols())),
        Weight::Dense(w) => {
            let fine = match activations {
                Activations::F32 => false,
                Activations::U8 => true,
                Activations::U8Shift => outer,
            };
            require(fine, "weight", "packed weights here", "dense integers")?;
            expect("weight", expected, (w.rows(), w.cols()))
        }
        Weight::F32(w) => {
            let fine = activations == Activations::F32;
            require(fine, "weight", "integers in an integer network", "f32")?;
            let len = conv.out_channels.checked_mul(columns);
            expect("weight: length", len, Some(w.len()))?;
            finite("weight", w)
        }
    }
}

fn finite(what: &str, numbers: &[f32]) -> Result<(), String> {
    let strange = numbers.iter().find(|number| !number.is_finite());
    require(strange.is_none(), what, "finite numbers", strange)
}

fn then(activations: Activations, conv: &Conv, is_last: bool) -> Result<(), String> {
    let integer = activations != Activations::F32;
    match &conv.then {
        Then::Scale { scale, bias } => {
            require(!integer || is_last, "then", "u8 results", "f32")?;
            expect("scale: length", conv.out_channels, scale.len())?;
            expect("bias: length", conv.out_channels, bias.len())?;
            finite("scale", scale)?;
            finite("bias", bias)
        }
        Then::Requant(numbers) => {
            require(integer && !is_last, "then", "f32 results", "u8")?;
            requant(activations, conv, numbers)
        }
    }
}

fn requant(activations: Activations, conv: &Conv, numbers: &Requant) -> Result<(), String> {
    expect("bias: length", conv.out_channels, numbers.bias.len())?;
    expect("factor: length", conv.out_channels, numbers.factor.len())?;
    expect("shift: length", conv.out_channels, numbers.shift.len())?;
    for &shift in &numbers.shift {
        require(shift <= 31, "shift", "0 to 31", shift)?;
    }
    if conv.residual.is_none() {
        let what = "residual_factor without a residual";
        expect(what, 0, numbers.residual_factor)?;
    }
    for &factor in numbers.factor.iter().chain([&numbers.residual_factor]) {
        require(factor != i32::MIN, "factor", "above -2^31", factor)?;
        if activations == Activations::U8Shift {
            let fine = terms(factor).count() <= MAX_TERMS as usize;
            let expected = format!("at most {MAX_TERMS} signed digits");
            require(fine, "factor", &expected, factor)?;
        }
    }
    Ok(())
}
