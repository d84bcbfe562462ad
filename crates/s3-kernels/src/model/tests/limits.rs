//! Networks that are small as files and large as work: all are refused, by one limit on the numbers
//! of an image and one on its operations.

use std::format;
use std::string::ToString;
use std::vec;

use crate::model::limits::{MAX_NUMBERS, MAX_OPERATIONS};
use crate::model::*;
use crate::{BitWidth, PackedMatrix};

/// Every file of this page is smaller.
const SMALL: usize = 8000;

/// A convolution of one channel, `kernel` pixels wide.
fn conv(kernel: usize, stride: usize, padding: usize, add: Option<usize>) -> Op<Frozen> {
    let levels = vec![1; kernel * kernel];
    let w = PackedMatrix::from_levels(&levels, 1, kernel * kernel, BitWidth::B2);
    let holds = Frozen {
        weight: Weight::Packed(w.unwrap()),
        then: Then::Scale {
            scale: vec![1.0],
            bias: vec![0.0],
        },
    };
    Op::Layer(Layer {
        stride,
        padding,
        add,
        ..Layer::new(1, [kernel; 2], holds)
    })
}

fn max_pool(kernel: usize, padding: usize) -> Op<Frozen> {
    Op::MaxPool(Window::square(kernel, 1, padding))
}

/// `ops` one behind the other on an image of `sides`, then a mean and one score.
fn chain(sides: [usize; 2], ops: impl IntoIterator<Item = Op<Frozen>>) -> Network {
    let ops = ops
        .into_iter()
        .chain([Op::MeanPool { shift: 0 }, conv(1, 1, 0, None)]);
    let mut graph = Graph::new(Size {
        height: sides[0],
        width: sides[1],
        channels: 1,
    });
    for (value, op) in ops.enumerate() {
        graph.push(format!("{value}"), &[value], op);
    }
    Network {
        name: "chain".into(),
        input: Input {
            mean: vec![0.0],
            std: vec![1.0],
            scale: 1.0,
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: vec!["one".into()],
        activations: Activations::F32,
        graph,
    }
}

/// An integer network of one convolution, whose border is copied.
fn bordered(sides: [usize; 2], kernel: usize) -> Network {
    let Op::Layer(mut stem) = conv(kernel, 1 << 20, kernel - 1, None) else {
        panic!("a layer");
    };
    stem.holds.then = Then::Requant(Requant {
        bias: vec![0],
        factor: vec![1],
        shift: vec![0],
        residual_factor: 0,
        offset: 0,
        zero_point: 0,
        high: 255,
    });
    Network {
        activations: Activations::U8,
        ..chain(sides, [Op::Layer(stem)])
    }
}

#[track_caller]
fn refused(network: &Network, what: &str) {
    let bytes = network.to_bytes();
    assert!(bytes.len() < SMALL, "{}", bytes.len());
    let message = Model::from_bytes(&bytes).unwrap_err().to_string();
    assert!(message.contains(what), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn an_image_that_no_memory_holds_is_refused_before_any_of_it_is_made() {
    let most = MAX_NUMBERS;
    refused(&chain([most, 2], []), "shape");
    refused(&chain([most, 1], [max_pool(1, 0)]), "held at once");
    // Each value is a quarter of what is held at most; the first five are needed until the tenth.
    let sums = (0..5)
        .map(|_| conv(1, 1, 0, None))
        .chain((5..10).map(|value| conv(1, 1, 0, Some(value - 4))));
    refused(&chain([most / 4, 1], sums), "held at once");
    // The output is one pixel; the image with its border is 59 times the image.
    refused(&bordered([1, most / 32], 30), "held at once");
    assert!(Model::new(bordered([1, most / 64], 30)).is_ok());
}

#[test]
fn an_image_whose_work_does_not_end_is_refused() {
    let side = 1 << 12;
    refused(&chain([side; 2], [max_pool(side, side / 2)]), "operations");
    refused(&chain([side; 2], [conv(60, 1, 30, None)]), "operations");
    let many = |count: usize| chain([side; 2], (0..count).map(|_| max_pool(1, 0)));
    refused(&many(31), "operations");
    assert!(Model::new(many(30)).is_ok());
}

#[test]
fn the_counts_are_those_of_the_nodes() {
    let model = Model::new(chain([6, 5], [conv(3, 1, 1, None), max_pool(2, 0)])).unwrap();
    // The input, two values that take turns with a third, one score.
    assert_eq!(model.numbers_held(), 30 + 30 + 20 + 1);
    // Pixels and taps of each node, times the channels of a kernel's step.
    let sizes = model.network().sizes().unwrap();
    let pixels = |value: usize| sizes[value].pixels() as u64;
    let counted = 9 * pixels(1) + 4 * pixels(2) + pixels(2) + 1;
    let plan = crate::model::check::plan(model.network()).unwrap();
    let all = crate::model::limits::operations(&model.network().graph, &plan.sizes);
    assert_eq!(all, 64 * counted);
    assert!(all < MAX_OPERATIONS);
}

#[test]
fn the_files_that_fuzzing_starts_from_are_read_or_refused_by_a_limit() {
    let seed = |name| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/model/");
        Model::load(format!("{folder}{name}")).map_err(|e| e.to_string())
    };
    assert!(seed("u8-4bit").is_ok());
    let of_pictures = seed("f32-3bit-fit").unwrap();
    let fit = Fit::ResizeAndCrop { resize: 5, crop: 4 };
    assert_eq!(of_pictures.network().input.fit, Some(fit));
    assert!(seed("many-numbers").unwrap_err().contains("shape"));
    assert!(seed("many-operations").unwrap_err().contains("operations"));
}
