//! The integers of a QONNX file: what a plain interpreter of its nodes computes, in f32 as qonnx
//! does, beside every value of the runtime.

use std::collections::BTreeMap;

use prost::Message;
use s3_kernels::BitWidth;
use s3_kernels::model::{
    Act, Activations, DenseMatrix, Frozen, Graph, Input, Layer, Network, Numbers, Op, Requant,
    Size, Then, Value, Weight,
};

use super::super::proto::{GraphProto, ModelProto, NodeProto};
use super::super::qonnx;
use super::forms::forms;
use super::networks::{Xorshift, images, model, network};

const IMAGES: usize = 4;

/// The network with units that are powers of two: the image's and those of residuals.
fn shifts(mut network: Network) -> Network {
    network.input.scale = 0.03125;
    let mut halved = false;
    for node in &mut network.graph.nodes {
        // A mean over padding reads what this makes: with a zero point it has no form.
        let is_norm = node.name == "norm";
        let Op::Layer(layer) = &mut node.op else {
            continue;
        };
        let Then::Requant(requant) = &mut layer.holds.then else {
            continue;
        };
        if requant.residual_factor != 0 {
            halved = !halved;
            let factor = if halved { 128 } else { 256 };
            let of_value = 256 * i32::from(requant.zero_point);
            let of_residual = (of_value - requant.offset) / requant.residual_factor;
            requant.offset = of_value - factor * of_residual;
            requant.residual_factor = factor;
        }
        if is_norm {
            (requant.zero_point, requant.offset) = (0, 0);
        }
    }
    network
}

/// Two layers behind the pixels themselves, the first of whose sums times factors f32 cannot hold.
fn perceptron(seed: u32) -> Network {
    let random = &mut Xorshift(seed);
    let image = Size {
        height: 9,
        width: 7,
        channels: 3,
    };
    let mut graph = Graph::new(image);
    let wide = 9 * 7 * 3 * 16;
    let mut dense = |rows: usize, columns: usize| {
        let levels = (0..rows * columns).map(|_| random.between(-64.5, 64.5) as i8);
        let matrix = DenseMatrix::from_levels(levels.collect(), rows, columns);
        Weight::Dense(matrix.unwrap())
    };
    let requant = Requant {
        bias: (0..16).map(|n| 9_001 * n - 40_000).collect(),
        factor: (0..16).map(|n| [1001, -1009, 517, 8201][n % 4]).collect(),
        shift: (0..16).map(|n| [12, 12, 11, 15][n % 4]).collect(),
        residual_factor: 0,
        offset: 0,
        zero_point: 0,
        high: 255,
    };
    let first = Frozen {
        weight: dense(16, wide / 16),
        then: Then::Requant(requant),
    };
    let first = Layer {
        act: Act::Relu,
        ..Layer::new(16, [9, 7], first)
    };
    let hidden = graph.push("hidden", &[0], Op::Layer(first));
    let last = Frozen {
        weight: dense(10, 16),
        then: Then::Scale {
            scale: (1..=10).map(|n| n as f32 / 3000.0).collect(),
            bias: (0..10).map(|n| 0.1 - n as f32 / 30.0).collect(),
        },
    };
    graph.push("fc", &[hidden], Op::Layer(Layer::new(10, [1, 1], last)));
    Network {
        name: "perceptron".to_owned(),
        input: Input {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
            scale: 0.03125,
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: (0..10).map(|class| class.to_string()).collect(),
        activations: Activations::U8Shift,
        graph,
    }
}

/// The graph of a network's file.
fn graph(network: &Network) -> GraphProto {
    let file = qonnx(network).unwrap_or_else(|e| panic!("{}: {e}", network.name));
    let file = ModelProto::decode(&file[..]).unwrap();
    file.graph.unwrap()
}

/// A tensor of one image in ONNX's layout.
#[derive(Clone)]
struct Tensor {
    dims: Vec<usize>,
    numbers: Vec<f32>,
}

fn attribute(node: &NodeProto, name: &str) -> Vec<i64> {
    let found = node.attribute.iter().find(|a| a.name() == name);
    let found = found.unwrap_or_else(|| panic!("{}: no {name}", node.name()));
    match found.ints.is_empty() {
        true => vec![found.i()],
        false => found.ints.clone(),
    }
}

fn quant(node: &NodeProto, x: &Tensor, [scale, zero, bits]: [f32; 3]) -> Tensor {
    assert_eq!(zero, 0.0);
    assert_eq!(scale.log2().fract(), 0.0, "{}: {scale}", node.name());
    let (is_signed, is_narrow) = (attribute(node, "signed")[0], attribute(node, "narrow")[0]);
    let (low, high) = match is_signed {
        1 => (
            -(bits - 1.0).exp2() + is_narrow as f32,
            (bits - 1.0).exp2() - 1.0,
        ),
        _ => (0.0, bits.exp2() - 1.0),
    };
    let rounding = node.attribute.iter().find(|a| a.name() == "rounding_mode");
    let floors = rounding.expect("a rounding").s() == b"FLOOR";
    let one = |&x: &f32| {
        let clamped = (x / scale).min(high).max(low);
        let rounded = if floors {
            clamped.floor()
        } else {
            clamped.round_ties_even()
        };
        rounded * scale
    };
    let numbers = x.numbers.iter().map(one).collect();
    Tensor {
        numbers,
        ..x.clone()
    }
}

/// `f(x, y)`, where `y` has one number, one a channel or as many as `x`.
fn each(x: &Tensor, y: &Tensor, f: fn(f32, f32) -> f32) -> Tensor {
    let (mut x, mut y) = (x, y);
    let swapped = x.numbers.len() < y.numbers.len();
    if swapped {
        (x, y) = (y, x);
    }
    let repeats = x.numbers.len() / x.dims[1];
    let one = |(i, &a): (usize, &f32)| {
        let b = match y.numbers.len() {
            1 => y.numbers[0],
            n if n == x.numbers.len() => y.numbers[i],
            n => {
                assert_eq!(n, x.dims[1]);
                y.numbers[i / repeats]
            }
        };
        if swapped { f(b, a) } else { f(a, b) }
    };
    let numbers = x.numbers.iter().enumerate().map(one).collect();
    Tensor {
        numbers,
        ..x.clone()
    }
}

/// Each output's window: `f(output channel, rows of taps as (row, column, tap))`.
fn windows(node: &NodeProto, x: &Tensor, out: usize, f: &dyn Fn(usize, i64, i64) -> f32) -> Tensor {
    let [kernel, strides, pads] = ["kernel_shape", "strides", "pads"].map(|n| attribute(node, n));
    let side = |axis: usize| {
        let around = x.dims[2 + axis] as i64 + 2 * pads[axis];
        ((around - kernel[axis]) / strides[axis] + 1) as usize
    };
    let (height, width) = (side(0), side(1));
    let mut numbers = Vec::new();
    for channel in 0..out {
        for row in 0..height as i64 {
            for column in 0..width as i64 {
                let top = row * strides[0] - pads[0];
                numbers.push(f(channel, top, column * strides[1] - pads[1]));
            }
        }
    }
    let dims = vec![1, out, height, width];
    Tensor { dims, numbers }
}

fn at(x: &Tensor, channel: usize, row: i64, column: i64) -> Option<f32> {
    let (height, width) = (x.dims[2] as i64, x.dims[3] as i64);
    let inside = (0..height).contains(&row) && (0..width).contains(&column);
    inside.then(|| x.numbers[((channel as i64 * height + row) * width + column) as usize])
}

fn conv(node: &NodeProto, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    assert_eq!(attribute(node, "dilations"), [1, 1]);
    let [out, of_group, height, width] = [0, 1, 2, 3].map(|axis| w.dims[axis]);
    let groups = attribute(node, "group")[0] as usize;
    assert_eq!(of_group * groups, x.dims[1]);
    windows(node, x, out, &|n, top, left| {
        let mut sum = 0.0;
        for c in 0..of_group {
            for (tap, weight) in
                (0..).zip(&w.numbers[(n * of_group + c) * height * width..][..height * width])
            {
                let (i, j) = (tap / width as i64, tap % width as i64);
                let first = n * groups / out * of_group;
                sum += weight * at(x, first + c, top + i, left + j).unwrap_or(0.0);
            }
        }
        sum + bias.map_or(0.0, |bias| bias.numbers[n])
    })
}

/// Every tensor of the graph, of one image.
fn interpret(graph: &GraphProto, image: Tensor) -> BTreeMap<String, Tensor> {
    let mut made = BTreeMap::from([("image".to_owned(), image)]);
    let mut pads = BTreeMap::new();
    for constant in &graph.initializer {
        let (name, raw) = (constant.name().to_owned(), constant.raw_data());
        if constant.data_type() == 7 {
            let words = raw
                .as_chunks()
                .0
                .iter()
                .map(|&w| i64::from_le_bytes(w) as usize);
            pads.insert(name, words.collect::<Vec<usize>>());
            continue;
        }
        let numbers = raw
            .as_chunks()
            .0
            .iter()
            .map(|&w| f32::from_le_bytes(w))
            .collect();
        let dims = constant.dims.iter().map(|&d| d as usize).collect();
        made.insert(name, Tensor { dims, numbers });
    }
    for node in &graph.node {
        let read = |index: usize| &made[&node.input[index]];
        let scalar = |index: usize| read(index).numbers[0];
        let x = read(0);
        let y = match node.op_type() {
            "Quant" => quant(node, x, [scalar(1), scalar(2), scalar(3)]),
            "Conv" => conv(node, x, read(1), node.input.get(2).map(|name| &made[name])),
            "MatMul" => {
                let w = read(1);
                let [rows, columns] = [w.dims[0], w.dims[1]];
                assert_eq!(x.numbers.len(), rows);
                let sum = |n| {
                    (0..rows)
                        .map(|c| x.numbers[c] * w.numbers[c * columns + n])
                        .sum()
                };
                Tensor {
                    dims: vec![1, columns],
                    numbers: (0..columns).map(sum).collect(),
                }
            }
            "Add" => each(x, read(1), |a, b| a + b),
            "Sub" => each(x, read(1), |a, b| a - b),
            "Mul" => each(x, read(1), |a, b| a * b),
            "Relu" => each(x, x, |a, _| a.max(0.0)),
            "Flatten" => Tensor {
                dims: vec![1, x.numbers.len()],
                ..x.clone()
            },
            "MaxPool" => {
                let kernel = attribute(node, "kernel_shape");
                windows(node, x, x.dims[1], &|n, top, left| {
                    let taps = (0..kernel[0]).flat_map(|i| (0..kernel[1]).map(move |j| (i, j)));
                    let taps = taps.filter_map(|(i, j)| at(x, n, top + i, left + j));
                    taps.fold(f32::NEG_INFINITY, f32::max)
                })
            }
            "Concat" => {
                let parts = node.input.iter().map(|name| &made[name]);
                let numbers: Vec<f32> = parts.flat_map(|p| p.numbers.clone()).collect();
                let mut dims = x.dims.clone();
                dims[1] = numbers.len() / (x.numbers.len() / x.dims[1]);
                Tensor { dims, numbers }
            }
            "Pad" => {
                let (pads, zero) = (&pads[&node.input[1]], scalar(2));
                let dims: Vec<usize> = (0..4).map(|a| x.dims[a] + pads[a] + pads[4 + a]).collect();
                let place = |i: usize| {
                    let (row, column) = (i / dims[3] % dims[2], i % dims[3]);
                    let (row, column) =
                        (row as i64 - pads[2] as i64, column as i64 - pads[3] as i64);
                    at(x, i / dims[3] / dims[2], row, column).unwrap_or(zero)
                };
                let numbers = (0..dims.iter().product()).map(place).collect();
                Tensor { dims, numbers }
            }
            other => panic!("no {other} here"),
        };
        made.insert(node.output[0].clone(), y);
    }
    made
}

/// Channels first as channels last.
fn turned<T: Copy>(numbers: &[T], channels: usize) -> Vec<T> {
    let pixels = numbers.len() / channels;
    let pixel = |p| (0..channels).map(move |c| numbers[c * pixels + p]);
    (0..pixels).flat_map(pixel).collect()
}

#[test]
fn every_value_and_score_is_the_runtimes() {
    let mut networks = vec![perceptron(1), perceptron(2)];
    for width in BitWidth::ALL {
        networks.push(shifts(forms(Activations::U8Shift, width, 1)));
    }
    for width in [BitWidth::B2, BitWidth::B3] {
        networks.push(shifts(network(Activations::U8Shift, width, 1)));
    }
    let images = images(IMAGES);
    for network in networks {
        let (graph, model) = (graph(&network), model(&network));
        for image in images.chunks_exact(network.graph.image.len()) {
            let size = network.graph.image;
            let first = Tensor {
                dims: vec![1, size.channels, size.height, size.width],
                numbers: turned(image, size.height * size.width),
            };
            let made = interpret(&graph, first);
            let mut values = 0;
            let mut check = |node: usize, value: Value<'_>| {
                let name = &network.graph.nodes[node].name;
                if let Value::U8(bytes) = value {
                    let tensor = &made[name];
                    let bytes: Vec<f32> = bytes.iter().map(|&b| f32::from(b)).collect();
                    let last = turned(&tensor.numbers, tensor.dims[1]);
                    assert_eq!(last, bytes, "{}: {name}", network.name);
                    values += 1;
                }
            };
            let scores = model.run_traced(image, 1, &mut check).unwrap();
            assert_eq!(made["scores"].numbers, scores, "{}", network.name);
            assert_eq!(values + 1, network.graph.nodes.len());
        }
    }
}

#[test]
fn a_flat_layers_sums_are_cut_in_two_where_f32_needs_it() {
    let graph = graph(&perceptron(1));
    let operators = |name: &str| graph.node.iter().filter(|n| n.op_type() == name).count();
    assert_eq!(
        [operators("Sub"), operators("MatMul"), operators("Conv")],
        [1, 2, 0]
    );
}

#[test]
fn every_tensor_of_a_file_has_its_size_and_every_constant_a_type() {
    let graph = graph(&shifts(network(Activations::U8Shift, BitWidth::B2, 1)));
    let sized: Vec<&str> = graph.value_info.iter().map(|info| info.name()).collect();
    for node in graph.node.iter().filter(|n| n.output[0] != "scores") {
        assert!(sized.contains(&node.output[0].as_str()), "{}", node.name());
    }
    let quants = graph.node.iter().filter(|n| n.op_type() == "Quant");
    let typed: Vec<&str> = quants.map(|n| n.output[0].as_str()).collect();
    let has_constant = ["Conv", "MatMul", "Mul"];
    for node in graph
        .node
        .iter()
        .filter(|n| has_constant.contains(&n.op_type()))
    {
        assert!(typed.contains(&node.input[1].as_str()), "{}", node.name());
    }
    // Shortcut A is a convolution: hls4ml has no Slice.
    assert!(graph.node.iter().all(|n| n.op_type() != "Slice"));
    let number = |name: &str| {
        let mut constants = graph.initializer.iter();
        let of = constants.find(|c| c.name() == name).expect(name);
        f32::from_le_bytes(of.raw_data().try_into().expect("a scalar"))
    };
    assert_eq!(number("layer1.0.conv1.weight_bits"), 2.0);
    assert_eq!(number("layer1.0.conv1.weight_scale"), 1.0);
    assert_eq!(number("conv1.weight_bits"), 8.0);
    assert_eq!(number("image.i8_scale"), 0.03125);
}

#[test]
fn what_integers_cannot_hold_is_refused_with_the_reason() {
    let refused = |network: &Network| qonnx(network).expect_err("a refusal").to_string();
    let u8 = network(Activations::U8, BitWidth::B3, 1);
    assert!(
        refused(&u8).ends_with("export u8-shift"),
        "{}",
        refused(&u8)
    );
    let mut shift = network(Activations::U8Shift, BitWidth::B3, 1);
    let said = refused(&shift);
    assert_eq!(
        said,
        "network: the image's unit is 0.02: expected a power of two"
    );
    // Residuals of many digits leave f32 no line, and so do large weights.
    shift.input.scale = 0.03125;
    let wide = shifts(network(Activations::U8Shift, BitWidth::B4, 1));
    for (refused, name) in [
        (refused(&shift), "layer1.0.conv2"),
        (refused(&wide), "layer2.0.conv2"),
    ] {
        let said = "its sums times its factors need more digits than f32 has";
        assert_eq!(refused, format!("node `{name}`: {said}"));
    }
}
