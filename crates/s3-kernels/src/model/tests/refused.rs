//! Networks that are wrong in one field: every one is refused, with the node and the field.

use std::string::ToString;
use std::vec;

use super::networks::{network, various};
use crate::model::*;
use crate::{BitWidth, PackedMatrix};

fn conv(network: &mut Network, node: usize) -> &mut Layer<Frozen> {
    match &mut network.graph.nodes[node].op {
        Op::Layer(layer) => layer,
        _ => panic!("a convolution"),
    }
}

fn requant(network: &mut Network, node: usize) -> &mut Requant {
    match &mut conv(network, node).holds.then {
        Then::Requant(requant) => requant,
        Then::Scale { .. } => panic!("a requantization"),
    }
}

#[track_caller]
fn refused(activations: Activations, change: impl Fn(&mut Network), words: &[&str]) {
    let mut network = network(activations, BitWidth::B3, 3);
    assert!(Model::new(network.clone()).is_ok());
    change(&mut network);
    let message = Model::new(network).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn names_that_break_a_line_are_refused_in_one_line() {
    use Activations::U8;
    refused(U8, |n| n.name = "a\nb".into(), &["name", "control"]);
    refused(
        U8,
        |n| n.classes[0] = "a\u{1b}[31m".into(),
        &["class", "control"],
    );
    refused(
        U8,
        |n| n.graph.nodes[0].name = "a\nb".into(),
        &["`a\\nb`", "control"],
    );
}

#[test]
fn wrong_inputs_are_refused() {
    use Activations::{F32, U8};
    refused(U8, |n| n.input.mean.push(0.0), &["input.mean"]);
    refused(U8, |n| n.input.std[1] = 0.0, &["std"]);
    refused(U8, |n| n.input.mean[1] = f32::NAN, &["mean"]);
    refused(U8, |n| n.input.scale = f32::INFINITY, &["scale"]);
    refused(F32, |n| n.input.scale = 0.5, &["scale"]);
    refused(U8, |n| n.graph.image.height = 0, &["input: shape"]);
    refused(
        U8,
        |n| n.graph.image.height = usize::MAX / 2,
        &["input: shape"],
    );
    refused(U8, |n| n.graph.image.channels = 4, &["mean"]);
    refused(
        U8,
        |n| n.classes.truncate(9),
        &["`fc`", "scores", "9", "10"],
    );
    refused(U8, |n| n.graph.nodes.clear(), &["at least one node"]);
    refused(U8, |n| n.graph.nodes[3].name.clear(), &["node 3"]);
    refused(
        U8,
        |n| n.graph.nodes[3].name = "a.conv1".into(),
        &["`a.conv1`", "twice"],
    );
    refused(U8, |n| n.graph.nodes.truncate(4), &["`a.conv2`"]);
}

#[test]
fn wrong_graphs_are_refused() {
    use Activations::{F32, U8};
    for activations in [F32, U8] {
        refused(
            activations,
            |n| n.graph.nodes[2].inputs[0] = 3,
            &["`a.conv1`", "input"],
        );
        refused(
            activations,
            |n| n.graph.nodes[2].inputs[0] = usize::MAX,
            &["`a.conv1`"],
        );
        refused(
            activations,
            |n| conv(n, 3).add = Some(4),
            &["`a.conv2`", "add"],
        );
        refused(
            activations,
            |n| conv(n, 6).add = Some(4),
            &["`b.conv2`", "add"],
        );
        refused(
            activations,
            |n| n.graph.nodes[2].inputs.push(1),
            &["`a.conv1`", "inputs"],
        );
        refused(
            activations,
            |n| conv(n, 2).channels += 1,
            &["`a.conv1`", "weight"],
        );
        refused(
            activations,
            |n| conv(n, 2).kernel = [2; 2],
            &["`a.conv2`", "add"],
        );
        refused(
            activations,
            |n| conv(n, 2).kernel = [1 << (usize::BITS - 4); 2],
            &["`a.conv1`", "kernel"],
        );
        refused(
            activations,
            |n| conv(n, 2).kernel = [0; 2],
            &["`a.conv1`", "kernel"],
        );
        refused(
            activations,
            |n| conv(n, 2).stride = 0,
            &["`a.conv1`", "stride"],
        );
        refused(
            activations,
            |n| conv(n, 2).padding = 3,
            &["`a.conv1`", "padding"],
        );
        refused(
            activations,
            |n| conv(n, 2).padding = usize::MAX,
            &["`a.conv1`", "padding"],
        );
        refused(
            activations,
            |n| conv(n, 2).padding = 0,
            &["`a.conv2`", "add"],
        );
        let stride = |n: &mut Network, stride| {
            let channels = usize::MAX;
            n.graph.nodes[5].op = Op::Subsample { stride, channels };
        };
        refused(activations, |n| stride(n, 0), &["`b.shortcut`", "stride"]);
        refused(activations, |n| stride(n, 2), &["`b.shortcut`", "shape"]);
        let pool = |n: &mut Network, kernel, padding| {
            let stride = 1;
            n.graph.nodes[1].op = Op::MaxPool(Window::square(kernel, stride, padding));
        };
        refused(activations, |n| pool(n, 2, 2), &["`maxpool`", "padding"]);
        refused(activations, |n| pool(n, 40, 1), &["`maxpool`", "kernel"]);
        refused(
            activations,
            |n| n.graph.nodes[9].op = Op::MeanPool { shift: 17 },
            &["`avgpool`"],
        );
    }
    // Without the sum behind it the sizes fit, whatever the image holds.
    refused(
        U8,
        |n| {
            n.graph.nodes[1].inputs[0] = 0;
            conv(n, 3).add = None;
        },
        &["`maxpool`", "u8 value"],
    );
    refused(
        F32,
        |n| n.graph.nodes[9].op = Op::MeanPool { shift: 1 },
        &["`avgpool`"],
    );
    refused(U8, |n| conv(n, 10).add = Some(10), &["`fc`", "add"]);
}

#[test]
fn wrong_numbers_are_refused() {
    use Activations::{F32, U8, U8Shift};
    let scale = || Then::Scale {
        scale: vec![1.0; 10],
        bias: vec![f32::NAN; 10],
    };
    let weight = |_: &Network| Weight::F32(vec![0.0; 3]);
    refused(
        U8,
        |n| conv(n, 2).holds.then = scale(),
        &["`a.conv1`", "then"],
    );
    refused(U8, |n| conv(n, 10).holds.then = scale(), &["`fc`", "bias"]);
    refused(
        U8,
        |n| conv(n, 2).holds.weight = weight(n),
        &["`a.conv1`", "f32"],
    );
    refused(
        F32,
        |n| conv(n, 2).holds.weight = weight(n),
        &["`a.conv1`", "weight"],
    );
    let dense = |n: &mut Network| {
        let Weight::Packed(w) = &conv(n, 2).holds.weight else {
            panic!("packed weights");
        };
        let w = DenseMatrix::from_levels(w.to_levels(), w.rows(), w.cols());
        conv(n, 2).holds.weight = Weight::Dense(w.unwrap());
    };
    refused(F32, dense, &["`a.conv1`", "dense"]);
    refused(U8Shift, dense, &["`a.conv1`", "dense"]);
    let many = 1 << (usize::BITS - 24);
    let empty = PackedMatrix::from_levels(&[], many, 0, BitWidth::B2).unwrap();
    refused(
        U8,
        |n| conv(n, 2).holds.weight = Weight::Packed(empty.clone()),
        &["weight"],
    );
    refused(U8, |n| requant(n, 2).bias.push(0), &["`a.conv1`", "bias"]);
    refused(
        U8,
        |n| requant(n, 2).factor.push(0),
        &["`a.conv1`", "factor"],
    );
    refused(U8, |n| requant(n, 2).shift.clear(), &["`a.conv1`", "shift"]);
    refused(U8, |n| requant(n, 2).shift[0] = 32, &["`a.conv1`", "shift"]);
    refused(
        U8,
        |n| requant(n, 2).factor[0] = i32::MIN,
        &["`a.conv1`", "factor"],
    );
    refused(
        U8,
        |n| requant(n, 2).residual_factor = 1,
        &["residual_factor"],
    );
    refused(
        U8,
        |n| requant(n, 2).zero_point = 1,
        &["`a.conv2`", "zero point"],
    );
    let five = 0b1_0101_0101;
    refused(
        U8Shift,
        |n| requant(n, 2).factor[1] = five,
        &["`a.conv1`", "4 signed digits"],
    );
    refused(
        U8Shift,
        |n| requant(n, 3).residual_factor = five,
        &["4 signed digits"],
    );
}

#[test]
fn what_a_zero_point_does_not_fit_is_refused() {
    let refused = |change: &dyn Fn(&mut Network), words: [&str; 2]| {
        let mut network = various(Activations::U8, BitWidth::B3, 3);
        assert!(Model::new(network.clone()).is_ok());
        change(&mut network);
        let message = Model::new(network).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let at = |n: &Network, name: &str| {
        let mut names = n.graph.nodes.iter();
        names.position(|node| node.name == name).unwrap()
    };
    let zero = |n: &mut Network, name: &str, zero_point| {
        let node = at(n, name);
        requant(n, node).zero_point = zero_point;
    };
    refused(&|n| zero(n, "conv", 9), ["`dw1`", "padding"]);
    refused(&|n| zero(n, "linear", 78), ["`both`", "zero points"]);
    let shift = |n: &mut Network| {
        let node = at(n, "mean");
        n.graph.nodes[node].op = Op::MeanPool { shift: 2 };
    };
    refused(&shift, ["`mean`", "shift"]);
    let high = |n: &mut Network, name: &str, high| {
        let node = at(n, name);
        requant(n, node).high = high;
    };
    refused(&|n| high(n, "linear", 200), ["`linear`", "relu6"]);
    refused(&|n| high(n, "sum", 76), ["`sum`", "high"]);
    let image = |n: &mut Network| n.graph.nodes[1].inputs[0] = 0;
    refused(&image, ["`pad`", "u8 value"]);
    let norm = |n: &mut Network| {
        let node = at(n, "sum");
        let holds = conv(n, node).holds.clone();
        let act = Act::None;
        n.graph.nodes[node].op = Op::Norm { holds, act };
    };
    refused(&norm, ["`sum`", "norm"]);
}
