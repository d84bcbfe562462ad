//! Checks of a network: everything that it must be before it is run, besides a graph that fits
//! together.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::error::{Error, expect, require};
use super::graph::{Act, Layer, Node, Op, Size};
use super::limits;
use super::network::{Activations, Fit, Frozen, Network, Then, Weight};
use super::plan::Plan;
use super::sizes::printable;
use crate::epilogue::requant::{MAX_TERMS, Requant};
use crate::epilogue::terms::terms;

/// The largest shift of a mean.
const MAX_MEAN_SHIFT: u8 = 16;

impl Network {
    /// The size of every value, the image's first. All of the network is checked, as
    /// [`Model::new`](super::Model::new) does.
    ///
    /// # Errors
    ///
    /// Those of [`Model::new`](super::Model::new).
    pub fn sizes(&self) -> Result<Vec<Size>, Error> {
        Ok(plan(self)?.sizes)
    }

    /// The number that stands for 0 in every value, the image's first: all 0 but in networks of
    /// 8-bit activations, where a layer says it of its result. The results of other nodes have that
    /// of what they read, and a mean `2^shift` times that.
    ///
    /// # Errors
    ///
    /// [`Error::Node`] where an input is not made yet or the inputs of a concatenation differ.
    ///
    /// ```
    /// # use s3_kernels::model::*;
    /// # let weight = Weight::Dense(DenseMatrix::from_levels(vec![1], 1, 1)?);
    /// # let requant = Requant { bias: vec![0], factor: vec![256], shift: vec![0],
    /// #     residual_factor: 0, offset: 7 << 8, zero_point: 7, high: 255 };
    /// # let layer = Layer::new(1, [1, 1], Frozen { weight, then: Then::Requant(requant) });
    /// # let mut graph = Graph::new(Size { height: 1, width: 1, channels: 1 });
    /// // A layer whose results are larger by 7, then a pad, which writes 7.
    /// graph.push("conv", &[0], Op::Layer(layer));
    /// graph.push("pad", &[1], Op::Pad { sides: [1; 4] });
    /// # let (mean, std, numbers) = (vec![0.0], vec![1.0], Numbers::Bytes);
    /// # let input = Input { mean, std, scale: 1.0, numbers, fit: None };
    /// # let network = Network { name: "x".into(), input, classes: vec!["a".into()],
    /// #     activations: Activations::U8, graph };
    /// assert_eq!(network.zero_points()?, [0, 7, 7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn zero_points(&self) -> Result<Vec<u8>, Error> {
        let mut zeros = Vec::with_capacity(self.graph.nodes.len() + 1);
        zeros.push(0);
        for node in &self.graph.nodes {
            let zero = zero_point(node, &zeros).map_err(|what| Error::node(&node.name, what))?;
            zeros.push(zero);
        }
        Ok(zeros)
    }
}

fn zero_point(node: &Node<Frozen>, zeros: &[u8]) -> Result<u8, String> {
    let known = |value: usize| {
        let zero = zeros.get(value).copied();
        zero.ok_or_else(|| format!("input: value {value} is not made yet"))
    };
    let read = known(node.input())?;
    match &node.op {
        Op::Layer(layer) => Ok(match &layer.holds.then {
            Then::Requant(requant) => requant.zero_point,
            Then::Scale { .. } => 0,
        }),
        &Op::MeanPool { shift } => {
            let scaled = u32::from(read).checked_shl(shift.into());
            let zero = scaled.and_then(|zero| u8::try_from(zero).ok());
            zero.ok_or_else(|| format!("shift: {shift} takes the zero point {read} beyond 255"))
        }
        _ => {
            for &value in &node.inputs {
                expect("zero points of the inputs", read, known(value)?)?;
            }
            Ok(read)
        }
    }
}

/// Checks all of `network` and plans its buffers.
pub(crate) fn plan(network: &Network) -> Result<Plan, Error> {
    let sizes = sizes(network)?;
    let plan = Plan::new(&network.graph, sizes, network.zero_points()?);
    limits::check(network, &plan)?;
    Ok(plan)
}

/// Checks each node of `network` and gives the size of every value.
fn sizes(network: &Network) -> Result<Vec<Size>, Error> {
    input(network).map_err(Error::network)?;
    printable("name", &network.name).map_err(Error::network)?;
    for class in &network.classes {
        printable("class", class).map_err(Error::network)?;
    }
    let sizes = network.graph.sizes()?;
    let (zeros, early) = (network.zero_points()?, early(network, &sizes));
    for (index, node) in network.graph.nodes.iter().enumerate() {
        let read = Read {
            size: sizes[node.input()],
            zero: zeros[node.input()],
            early: early[node.input()],
        };
        fits(network, index, node, read).map_err(|what| Error::node(&node.name, what))?;
    }
    let (Some(last), Some(scores)) = (network.graph.nodes.last(), sizes.last()) else {
        return Err(Error::network("expected at least one node, got none"));
    };
    let refuse = |what| Error::node(&last.name, what);
    expect("scores: pixels", 1, scores.pixels()).map_err(refuse)?;
    expect("scores", network.classes.len(), scores.channels).map_err(refuse)?;
    Ok(sizes)
}

fn input(network: &Network) -> Result<(), String> {
    let input = &network.input;
    let channels = network.graph.image.channels;
    expect("input.mean: length", channels, input.mean.len())?;
    expect("input.std: length", channels, input.std.len())?;
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
    let Some(fit) = input.fit else {
        return Ok(());
    };
    if !input.numbers.is_bytes() {
        expect("input.fit of floats", Fit::AsIs {}, fit)?;
    }
    fit.check(network.graph.image)
}

/// Whether node `index` has a packed form, with these numbers.
fn fits(network: &Network, index: usize, node: &Node<Frozen>, read: Read) -> Result<(), String> {
    let integer = network.activations != Activations::F32;
    let is_last = index + 1 == network.graph.nodes.len();
    let layer = match &node.op {
        Op::Layer(layer) => layer,
        other => {
            if integer {
                let is_image = node.inputs.contains(&0);
                require(!is_image, "input", "a u8 value", "the i8 image")?;
                require(!is_last, "the last node", "a convolution", "another")?;
            }
            return pooled(other, integer);
        }
    };
    if layer.padding > 0 {
        let what = "zero point of a value that is read with padding";
        expect(what, 0, read.zero)?;
    }
    if let (Some(value), true) = (layer.add, integer) {
        require(value > 0, "add", "a u8 value", "the i8 image")?;
        require(!is_last, "add in the last node", "none", value)?;
    }
    weight(
        network.activations,
        layer,
        &read.size,
        read.early || is_last,
    )?;
    then(network.activations, layer, is_last)
}

/// What is known of the value that a node reads first.
struct Read {
    size: Size,
    zero: u8,
    early: bool,
}

/// Of every value whether no layer has made it of the image but such as see one number: what reads
/// it is the first convolution.
fn early(network: &Network, sizes: &[Size]) -> Vec<bool> {
    let mut early = Vec::with_capacity(sizes.len());
    early.push(true);
    for node in &network.graph.nodes {
        let sees_one = match &node.op {
            Op::Layer(layer) => {
                let channels = sizes[node.input()].channels;
                layer.kernel == [1, 1] && layer.groups == channels
            }
            _ => true,
        };
        early.push(sees_one && node.reads().all(|value| early[value]));
    }
    early
}

fn pooled(op: &Op<Frozen>, integer: bool) -> Result<(), String> {
    match op {
        Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Subsample { .. }
        | Op::Concat
        | Op::Flatten
        | Op::Pad { .. } => Ok(()),
        &Op::MeanPool { shift } => {
            let most = if integer { MAX_MEAN_SHIFT } else { 0 };
            let expected = format!("0 to {most}");
            require(shift <= most, "shift", &expected, shift)
        }
        other => {
            let known = "another operation in a packed network";
            require(false, "op", known, other.word())
        }
    }
}

/// `outer`: the first convolution or the last one.
fn weight(
    activations: Activations,
    layer: &Layer<Frozen>,
    from: &Size,
    outer: bool,
) -> Result<(), String> {
    let columns = [
        layer.kernel[0],
        layer.kernel[1],
        from.channels / layer.groups,
    ]
    .iter()
    .try_fold(1usize, |columns, &side| columns.checked_mul(side))
    .ok_or("kernel: too large to be represented")?;
    let expected = (layer.channels, columns);
    match &layer.holds.weight {
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
            let len = layer.channels.checked_mul(columns);
            expect("weight: length", len, Some(w.len()))?;
            finite("weight", w)
        }
    }
}

fn finite(what: &str, numbers: &[f32]) -> Result<(), String> {
    let strange = numbers.iter().find(|number| !number.is_finite());
    require(strange.is_none(), what, "finite numbers", strange)
}

fn then(activations: Activations, layer: &Layer<Frozen>, is_last: bool) -> Result<(), String> {
    let integer = activations != Activations::F32;
    match &layer.holds.then {
        Then::Scale { scale, bias } => {
            require(!integer || is_last, "then", "u8 results", "f32")?;
            expect("scale: length", layer.channels, scale.len())?;
            expect("bias: length", layer.channels, bias.len())?;
            finite("scale", scale)?;
            finite("bias", bias)
        }
        Then::Requant(numbers) => {
            require(integer && !is_last, "then", "f32 results", "u8")?;
            requant(activations, layer, numbers)
        }
    }
}

fn requant(
    activations: Activations,
    layer: &Layer<Frozen>,
    numbers: &Requant,
) -> Result<(), String> {
    expect("bias: length", layer.channels, numbers.bias.len())?;
    expect("factor: length", layer.channels, numbers.factor.len())?;
    expect("shift: length", layer.channels, numbers.shift.len())?;
    for &shift in &numbers.shift {
        require(shift <= 31, "shift", "0 to 31", shift)?;
    }
    if layer.add.is_none() {
        let what = "residual_factor without a residual";
        expect(what, 0, numbers.residual_factor)?;
    }
    let low = match layer.act {
        Act::None => 0,
        Act::Relu | Act::Relu6 => numbers.zero_point,
    };
    require(
        low <= numbers.high,
        "high",
        "at least the lowest result",
        numbers.high,
    )?;
    if layer.act != Act::Relu6 {
        expect("high without relu6", 255, numbers.high)?;
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
