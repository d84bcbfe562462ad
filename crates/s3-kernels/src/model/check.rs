//! Everything that a network must be before it is run, besides a graph that fits together.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::error::{Error, expect, require};
use super::graph::{Act, Layer, Node, Op, Size};
use super::limits;
use super::network::{Activations, Frozen, MAX_TERMS, Network, Requant, Then, Weight};
use super::plan::Plan;
use super::sizes::printable;
use super::terms;

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
}

/// Checks all of `network` and plans its buffers.
pub(crate) fn plan(network: &Network) -> Result<Plan, Error> {
    let plan = Plan::new(&network.graph, sizes(network)?);
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
    for (index, node) in network.graph.nodes.iter().enumerate() {
        fits(network, index, node, &sizes).map_err(|what| Error::node(&node.name, what))?;
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
    Ok(())
}

/// Whether node `index` has a packed form, with these numbers.
fn fits(
    network: &Network,
    index: usize,
    node: &Node<Frozen>,
    sizes: &[Size],
) -> Result<(), String> {
    let integer = network.activations != Activations::F32;
    let is_last = index + 1 == network.graph.nodes.len();
    let input = node.input();
    plain(network, input)?;
    let layer = match &node.op {
        Op::Layer(layer) => layer,
        other => {
            if integer {
                require(input > 0, "input", "a u8 value", "the i8 image")?;
                require(!is_last, "the last node", "a convolution", "another")?;
            }
            return pooled(other, integer);
        }
    };
    square(layer.kernel)?;
    expect("groups of a packed layer", 1, layer.groups)?;
    let fine = layer.act != Act::Relu6;
    require(fine, "act of a packed layer", "none or relu", layer.act)?;
    if let (Some(value), true) = (layer.add, integer) {
        require(value > 0, "add", "a u8 value", "the i8 image")?;
        require(!is_last, "add in the last node", "none", value)?;
    }
    weight(
        network.activations,
        layer,
        &sizes[input],
        input == 0 || is_last,
    )?;
    then(network.activations, layer, is_last)
}

/// Refuses a value whose zero point is not 0 where it is more than a residual: padding and what is left
/// out of a sum stand for the real number 0.
fn plain(network: &Network, value: usize) -> Result<(), String> {
    let nodes = &network.graph.nodes;
    let Some(Op::Layer(layer)) = value.checked_sub(1).map(|node| &nodes[node].op) else {
        return Ok(());
    };
    match &layer.holds.then {
        Then::Requant(requant) => expect(
            "zero point of a value that is no residual",
            0,
            requant.zero_point,
        ),
        Then::Scale { .. } => Ok(()),
    }
}

fn pooled(op: &Op<Frozen>, integer: bool) -> Result<(), String> {
    match op {
        Op::MaxPool(window) => square(window.kernel),
        Op::Subsample { .. } => Ok(()),
        &Op::MeanPool { shift } => {
            let most = if integer { MAX_MEAN_SHIFT } else { 0 };
            let expected = format!("0 to {most}");
            require(shift <= most, "shift", &expected, shift)
        }
        other => {
            let known = "layer, max_pool, mean_pool or subsample in a packed network";
            require(false, "op", known, other.word())
        }
    }
}

/// The file holds one number for a kernel.
fn square([height, width]: [usize; 2]) -> Result<(), String> {
    expect("width of a packed kernel", height, width)
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
