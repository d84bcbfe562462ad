//! Networks against the literature, and the list against itself.

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::model::{Act, Layer, Op};

fn image(side: usize) -> Size {
    Size {
        height: side,
        width: side,
        channels: 3,
    }
}

fn of(name: &str, settings: Value, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
    let Value::Object(settings) = settings else {
        panic!("a table");
    };
    graph(name, &settings, image, classes)
}

/// Parameters of torchvision's models, and of He et al.'s CIFAR-10 networks with option A as
/// counted by Y. Idelbayev, "Proper ResNet implementation for CIFAR10/CIFAR100".
#[test]
fn parameter_counts_are_those_of_the_literature() {
    for (name, side, classes, wanted) in [
        ("resnet20", 32, 10, 269_722),
        ("resnet32", 32, 10, 464_154),
        ("resnet44", 32, 10, 658_586),
        ("resnet56", 32, 10, 853_018),
        ("resnet110", 32, 10, 1_727_962),
        ("resnet18", 224, 1000, 11_689_512),
        ("resnet34", 224, 1000, 21_797_672),
        ("resnet50", 224, 1000, 25_557_032),
        ("resnet101", 224, 1000, 44_549_160),
        ("resnet152", 224, 1000, 60_192_808),
        ("mobilenet_v2", 224, 1000, 3_504_872),
    ] {
        let graph = graph(name, &Settings::new(), image(side), classes).unwrap();
        assert_eq!(graph.parameters().unwrap(), wanted, "{name}");
    }
}

/// Of torchvision's models, in units of a million; its counts are rounded so.
#[test]
fn multiplications_are_those_of_the_literature() {
    for (name, wanted) in [
        ("resnet18", 1814),
        ("resnet34", 3664),
        ("resnet50", 4089),
        ("resnet101", 7801),
        ("mobilenet_v2", 301),
    ] {
        let graph = graph(name, &Settings::new(), image(224), 1000).unwrap();
        let all = graph.multiplications().unwrap();
        assert_eq!((all + 500_000) / 1_000_000, wanted, "{name}");
    }
}

#[test]
fn the_depth_of_a_name_is_its_number_of_layers() {
    for name in ResNet::NAMES {
        let graph = graph(name, &Settings::new(), image(32), 10).unwrap();
        let roles = graph.layers().map(|(_, layer)| layer.holds.role);
        let counted = roles.filter(|&role| role != Role::Shortcut).count();
        assert_eq!(format!("resnet{counted}"), *name);
    }
}

fn count(graph: &Graph<Plan>) -> [u128; 2] {
    [
        graph.parameters().unwrap(),
        graph.multiplications().unwrap(),
    ]
}

/// Weights and multiplications of the layers between the first and the last.
fn count_hidden(graph: &Graph<Plan>) -> [u128; 2] {
    let sizes = graph.sizes().unwrap();
    let mut counts = [0; 2];
    for (node, made) in graph.nodes.iter().zip(&sizes[1..]) {
        let Op::Layer(layer) = &node.op else { continue };
        if ![Role::First, Role::Last].contains(&layer.holds.role) {
            let shape = layer.weight_shape(&sizes[node.input()]);
            let weights: usize = shape.iter().product();
            counts[0] += weights as u128;
            counts[1] += (weights * made.pixels()) as u128;
        }
    }
    counts
}

/// Wang et al., "Sub-bit Neural Networks", 2021, table 2: 4.571 Mbit of binary weights and 0.603 G
/// multiplications, the first and the last layer left out.
#[test]
fn vgg_small_is_the_literatures() {
    let graph = graph("vgg_small", &Settings::new(), image(32), 10).unwrap();
    let [weights, products] = count_hidden(&graph);
    assert_eq!((weights / 1000, products / 1_000_000), (4571, 603));
    assert_eq!(count(&graph), [4_660_106, 607_600_640]);
}

/// 4.2 M parameters and 569 M multiplications (table 8 of the paper; tf.keras counts 4,231,976 that
/// train). The network of MLPerf Tiny, "person detection", has 221,794 parameters in tf.keras,
/// which counts a convolution's bias in front of a batch norm and the two running statistics of
/// each channel.
#[test]
fn mobilenet_v1_is_the_papers_and_that_of_mlperf_tiny() {
    let whole = graph("mobilenet_v1", &Settings::new(), image(224), 1000).unwrap();
    assert_eq!(count(&whole), [4_231_976, 568_740_352]);
    let quarter = serde_json::json!({ "width": 0.25 });
    let quarter = of("mobilenet_v1", quarter, image(96), 2).unwrap();
    let channels: usize = normed_channels(&quarter);
    let [parameters, products] = count(&quarter);
    assert_eq!(parameters, 213_586);
    assert_eq!(parameters + 3 * channels as u128, 221_794);
    assert_eq!(products / 100_000, 74);
    // 32x32 ends at 2x2.
    let small = graph("mobilenet_v1", &Settings::new(), image(32), 10).unwrap();
    let sizes = small.sizes().unwrap();
    assert_eq!(sizes[sizes.len() - 3].pixels(), 4);
    assert_eq!(small.parameters().unwrap(), 4_231_976 - 1_025_000 + 10_250);
}

fn normed_channels(graph: &Graph<Plan>) -> usize {
    let has_norm = |layer: &Layer<Plan>| layer.holds.norm.is_some();
    let layers = graph.layers().filter(|(_, layer)| has_norm(layer));
    layers.map(|(_, layer)| layer.channels).sum()
}

/// torchvision's `_make_divisible`: at width 0.5 1,968,680 parameters (its
/// `mobilenet_v2(width_mult=0.5)`).
#[test]
fn mobilenet_v2_rounds_as_torchvision_does_and_its_bottlenecks_are_linear() {
    let half = serde_json::json!({ "width": 0.5 });
    let half = of("mobilenet_v2", half, image(224), 1000).unwrap();
    assert_eq!(half.parameters().unwrap(), 1_968_680);
    let narrow = serde_json::json!({ "width": 0.35 });
    let narrow = of("mobilenet_v2", narrow, image(32), 10).unwrap();
    let linear = narrow.layers().filter(|(_, layer)| layer.act == Act::None);
    let channels: Vec<usize> = linear.map(|(_, layer)| layer.channels).collect();
    let mut wanted = Vec::new();
    for (blocks, channels) in [(1, 8), (2, 8), (3, 16), (4, 24), (3, 32), (3, 56), (1, 112)] {
        wanted.extend([channels].repeat(blocks));
    }
    wanted.push(10);
    assert_eq!(channels, wanted);
    let residuals = narrow.layers().filter(|(_, layer)| layer.add.is_some());
    // Ten as in the paper; at this width the first block of 8 channels, too, makes what it reads.
    assert_eq!(residuals.count(), 11);
    let sizes = narrow.sizes().unwrap();
    assert_eq!(sizes[sizes.len() - 3].pixels(), 16);
}

/// MLPerf Tiny, "keyword spotting": 24,908 parameters in tf.keras, counted as for the MobileNet,
/// and 2.66 M multiplications.
#[test]
fn ds_cnn_is_that_of_mlperf_tiny() {
    let image = Size {
        height: 49,
        width: 10,
        channels: 1,
    };
    let graph = graph("ds_cnn", &Settings::new(), image, 12).unwrap();
    let [parameters, products] = count(&graph);
    assert_eq!(parameters + 3 * 9 * 64, 24_908);
    assert_eq!((parameters, products), (23_180, 2_656_768));
    let sizes = graph.sizes().unwrap();
    assert_eq!((sizes[2].height, sizes[2].width), (25, 5));
}

/// LeNet-5 without batch norms: 61,706, Zhang et al., "Dive into Deep Learning", section 7.6; the
/// MLP's weights by hand.
#[test]
fn lenet_and_the_mlp_are_the_literatures() {
    let grey = Size {
        channels: 1,
        ..image(28)
    };
    let plain = of("lenet5", serde_json::json!({ "norm": false }), grey, 10).unwrap();
    assert_eq!(count(&plain), [61_706, 416_520]);
    let mlp = graph("mlp", &Settings::new(), grey, 10).unwrap();
    let weights = 1024 * (784 + 2 * 1024 + 10);
    assert_eq!(mlp.weights().unwrap(), weights);
    assert_eq!(mlp.parameters().unwrap(), weights + 3 * 2 * 1024 + 10);
    let none = of("mlp", serde_json::json!({ "hidden": [] }), grey, 10).unwrap();
    assert_eq!(none.parameters().unwrap(), 7850);
}

/// In units of 10,000: 11.69 M and 25.55 M are timm's for `resnetv2_18` and `resnetv2_50`, 1.7 M is
/// He et al.'s for ResNet-164; ResNet-20 has the same number in both orders.
#[test]
fn preactivation_resnets_are_the_literatures() {
    for (name, side, classes, wanted) in [
        ("preact_resnet20", 32, 10, 27),
        ("preact_resnet164", 32, 10, 170),
        ("preact_resnet18", 224, 1000, 1169),
        ("preact_resnet50", 224, 1000, 2555),
    ] {
        let graph = graph(name, &Settings::new(), image(side), classes).unwrap();
        let parameters = graph.parameters().unwrap();
        assert_eq!((parameters + 5000) / 10_000, wanted, "{name}");
        let norms = graph.nodes.iter().filter(|n| n.op.word() == "norm");
        let sums = graph.layers().filter(|(_, layer)| layer.add.is_some());
        // One in front of each block, and one behind the last.
        assert_eq!(norms.count(), sums.count() + 1, "{name}");
    }
}

/// One first layer and one last; depthwise is what has a group a channel, and nothing else.
#[test]
fn roles_are_those_of_the_places() {
    for entry in ARCHITECTURES {
        for (example, graph) in examples(entry) {
            let layers: Vec<_> = graph.layers().collect();
            let roles: Vec<Role> = layers.iter().map(|(_, layer)| layer.holds.role).collect();
            let at = |role: Role| roles.iter().position(|&other| other == role);
            let once = |role: Role| roles.iter().filter(|&&other| other == role).count() == 1;
            let what = format!("{} {}", example.name, example.settings);
            assert!(once(Role::First) && at(Role::First) == Some(0), "{what}");
            assert!(
                once(Role::Last) && at(Role::Last) == Some(roles.len() - 1),
                "{what}"
            );
            for (node, layer) in layers {
                let is_depthwise = layer.holds.role == Role::Depthwise;
                assert_eq!(is_depthwise, layer.groups > 1, "{what}: {}", node.name);
            }
        }
    }
}

/// The examples of an architecture for three classes.
fn examples(entry: &Entry) -> Vec<(Example, Graph<Plan>)> {
    assert!(!entry.examples.is_empty(), "{:?}", entry.names);
    let build = |example: &Example| {
        let settings = serde_json::from_str(example.settings).expect(example.name);
        let graph = entry.graph(example.name, &settings, image(example.side), 3);
        (*example, graph.expect(example.name))
    };
    entry.examples.iter().map(build).collect()
}

/// What network `name` cannot do without.
fn least(name: &str) -> Settings {
    let nodes = serde_json::json!({ "nodes": [
        { "name": "mean", "op": "mean_pool" },
        { "name": "fc", "op": "linear", "role": "last" },
    ]});
    match (resolved(name, &Settings::new()), nodes) {
        (Err(_), Value::Object(nodes)) => nodes,
        _ => Settings::new(),
    }
}

#[test]
fn names_of_the_list_are_there_once_and_build() {
    let all: Vec<&str> = names().collect();
    for (i, name) in all.iter().enumerate() {
        assert!(!all[i + 1..].contains(name), "{name}");
        let least = least(name);
        let settings = resolved(name, &least).unwrap();
        assert_eq!(resolved(name, &settings).unwrap(), settings, "{name}");
        let (short, whole) = (
            graph(name, &least, image(64), 7),
            graph(name, &settings, image(64), 7),
        );
        assert_eq!(short.unwrap(), whole.unwrap(), "{name}");
    }
}

#[test]
fn settings_that_do_not_fit_are_refused_in_one_line_that_names_the_key() {
    for (name, settings, words) in [
        (
            "resnet9",
            serde_json::json!({}),
            "unknown network `resnet9`",
        ),
        ("resnet8", serde_json::json!({ "depth": 3 }), "`depth`"),
        (
            "resnet8",
            serde_json::json!({ "shortcut": "C" }),
            "shortcut: ",
        ),
        ("resnet8", serde_json::json!({ "width": "wide" }), "width: "),
        ("resnet8", serde_json::json!({ "width": 0 }), "width: "),
        (
            "resnet50",
            serde_json::json!({ "shortcut": "A" }),
            "shortcut: resnet50",
        ),
        (
            "preact_resnet50",
            serde_json::json!({ "shortcut": "A" }),
            "shortcut: preact_resnet50",
        ),
        (
            "preact_resnet20",
            serde_json::json!({ "width": 0 }),
            "width: ",
        ),
        ("vgg_small", serde_json::json!({ "width": 0 }), "width: "),
        ("vgg_small", serde_json::json!({ "depth": 3 }), "`depth`"),
        (
            "mobilenet_v1",
            serde_json::json!({ "width": 0.0 }),
            "width: expected a factor > 0",
        ),
        (
            "mobilenet_v1",
            serde_json::json!({ "width": 0.01 }),
            "`conv1`",
        ),
        (
            "mobilenet_v2",
            serde_json::json!({ "width": -1.0 }),
            "width: ",
        ),
        (
            "mobilenet_v2",
            serde_json::json!({ "width": 1e300 }),
            "`features.0.0`",
        ),
        ("ds_cnn", serde_json::json!({ "width": 0 }), "width: "),
        ("ds_cnn", serde_json::json!({ "blocks": -1 }), "blocks: "),
        ("mlp", serde_json::json!({ "hidden": [3, 0] }), "hidden: "),
        ("lenet5", serde_json::json!({ "norm": 1 }), "norm: "),
        (
            "ds_cnn",
            serde_json::json!({ "blocks": 100_000_000 }),
            "blocks: expected at most 1000",
        ),
    ] {
        let message = of(name, settings, image(32), 10).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn a_graph_that_classifies_nothing_or_makes_a_value_in_vain_is_refused() {
    let message = |graph: Graph<Plan>| graph.classifying(10).unwrap_err().to_string();
    assert!(message(Graph::new(image(8))).contains("at least one"));
    let mut whole = Graph::new(image(8));
    let x = whole.layer("conv", 0, Layer::conv(4, 3));
    assert!(message(whole.clone()).starts_with("node `conv`: the last node: expected"));
    whole.push("drop", &[x], Op::Dropout(0.5));
    let x = whole.push("mean", &[x], Op::MeanPool { shift: 0 });
    whole.layer("fc", x, Layer::linear(10));
    assert!(message(whole.clone()).starts_with("node `drop`: no node reads"));
    whole.nodes[2].inputs[0] = 2;
    assert!(whole.classifying(10).is_ok());
}

/// A 5x5 convolution of stride 2, two depthwise layers, a residual, a concatenation, a pool, two
/// linear layers.
fn listed() -> Value {
    serde_json::json!({ "nodes": [
        { "name": "conv1", "op": "conv", "channels": 8, "kernel": 5, "stride": 2,
          "norm": "bn1", "act": "relu", "role": "first" },
        { "name": "dw1", "op": "conv", "channels": 8, "kernel": [3, 1], "groups": "depthwise",
          "norm": "bn2", "act": "relu6", "role": "depthwise" },
        { "name": "dw2", "op": "conv", "channels": 8, "kernel": 3, "groups": 8, "norm": "bn3" },
        { "name": "sum", "op": "add", "inputs": ["dw2", "conv1"], "act": "relu" },
        { "name": "both", "op": "concat", "inputs": ["sum", "dw1"] },
        { "name": "pool", "op": "max_pool", "kernel": 2 },
        { "name": "flat", "op": "flatten" },
        { "name": "fc1", "op": "linear", "channels": 12, "act": "relu" },
        { "name": "fc2", "op": "linear", "role": "last" },
    ]})
}

#[test]
fn a_list_of_nodes_is_the_graph_that_it_says() {
    let graph = of("nodes", listed(), image(16), 10).unwrap();
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    // The columns of dw1 are not padded, its rows are; the sum is dw2's.
    let wanted = [
        "conv1", "dw1.pad", "dw1", "dw2", "both", "pool", "flat", "fc1", "fc2",
    ];
    assert_eq!(names, wanted);
    let sizes = graph.sizes().unwrap();
    let of = |value: usize| {
        [
            sizes[value].height,
            sizes[value].width,
            sizes[value].channels,
        ]
    };
    assert_eq!(
        [of(1), of(2), of(3), of(5)],
        [[8, 8, 8], [10, 8, 8], [8, 8, 8], [8, 8, 16]]
    );
    assert_eq!([of(6), of(7), of(9)], [[4, 4, 16], [1, 1, 256], [1, 1, 10]]);
    let layers: Vec<_> = graph.layers().map(|(_, layer)| layer).collect();
    assert_eq!((layers[2].add, layers[2].act), (Some(1), Act::Relu));
    assert_eq!(layers[1].act, Act::Relu6);
    assert_eq!([layers[1].groups, layers[2].groups], [8, 8]);
    assert_eq!([layers[0].holds.bias, layers[3].holds.bias], [false, true]);
    let weights = 8 * 3 * 25 + 8 * 3 + 8 * 9 + 12 * 256 + 10 * 12;
    assert_eq!(graph.weights().unwrap(), weights);
    assert_eq!(graph.parameters().unwrap(), weights + 3 * 16 + 12 + 10);
    assert_eq!(graph.smallest_norm().unwrap(), 64);
}

#[test]
fn a_node_that_does_not_fit_is_named_in_one_line_with_what_would() {
    type Change = fn(&mut Vec<Value>);
    let refused: [(Change, &[&str]); 31] = [
        (
            |n| n[1]["op"] = "conw".into(),
            &["`dw1`", "op", "conv, linear", "`conw`"],
        ),
        (
            |n| n[1]["colour"] = 1.into(),
            &["`dw1`", "colour", "channels"],
        ),
        (|n| n[3]["kernel"] = 1.into(), &["`sum`", "kernel", "act"]),
        (|n| n[1]["name"] = "conv1".into(), &["`conv1`", "twice"]),
        (|n| n[1]["name"] = "image".into(), &["`image`", "image's"]),
        (
            |n| n[1]["input"] = "pool".into(),
            &["`dw1`", "input", "image, conv1", "`pool`"],
        ),
        (|n| n[1]["groups"] = 3.into(), &["`dw1`", "groups"]),
        (
            |n| n[1]["groups"] = "all".into(),
            &["`dw1`", "groups", "depthwise"],
        ),
        (
            |n| n[1]["kernel"] = "wide".into(),
            &["`dw1`", "kernel", "[height, width]"],
        ),
        (|n| n[1]["act"] = "gelu".into(), &["`dw1`", "act", "relu6"]),
        (
            |n| n[1]["role"] = "middle".into(),
            &["`dw1`", "role", "hidden"],
        ),
        (
            |n| n[3]["inputs"] = serde_json::json!(["dw2", "image"]),
            &["`sum`", "inputs"],
        ),
        (
            |n| n[3]["inputs"] = serde_json::json!(["dw2"]),
            &["`sum`", "two"],
        ),
        (
            |n| n[3]["inputs"] = serde_json::json!(["dw2", "both"]),
            &["`sum`", "inputs", "`both`"],
        ),
        (
            |n| n[3]["inputs"] = serde_json::json!(["dw2", "image"]),
            &[
                "`sum`",
                "expected 8x8x8 as the first, got 16x16x3 of input 2",
            ],
        ),
        (
            |n| n[4]["inputs"] = serde_json::json!(["sum", "dw1", "image"]),
            &["`both`", "8x8 pixels as the first, got 16x16 of input 3"],
        ),
        (
            |n| n[3]["input"] = "conv1".into(),
            &["`sum`", "input: no key of `add`", "`inputs`"],
        ),
        (
            |n| n[4]["input"] = serde_json::json!(["sum", "dw1"]),
            &["`both`", "input", "`inputs`, two names or more"],
        ),
        (
            |n| n[5]["input"] = serde_json::json!(["both"]),
            &["`pool`", "input: expected one name"],
        ),
        (
            |n| n[1]["channels"] = 12.into(),
            &["`dw1`", "channels: expected a multiple of the 8", "got 12"],
        ),
        (
            |n| n[0]["channels"] = 0.into(),
            &["`conv1`", "channels: expected 1 or more, got 0"],
        ),
        (
            |n| n[0]["padding"] = (-1).into(),
            &["`conv1`", "padding", "whole number from 0 on"],
        ),
        (
            |n| n[0]["kernel"] = serde_json::json!([3, 3, 3]),
            &["`conv1`", "kernel", "from 1 on, or [height, width]"],
        ),
        (
            |n| n[0]["norm"] = "none".into(),
            &["`conv1`", "norm", "without the key"],
        ),
        (
            |n| (n[5]["kernel"], n[5]["padding"]) = (5.into(), 3.into()),
            &[
                "`pool`",
                "padding: expected at most half the kernel, 2, got 3",
            ],
        ),
        (
            |n| n[5]["kernel"] = 9.into(),
            &["`pool`", "kernel: expected at most the 8x8 pixels"],
        ),
        (
            |n| n[2]["name"] = "dw1.pad".into(),
            &["`dw1.pad`", "padding's"],
        ),
        (
            |n| n[0]["name"] = "dw1.pad".into(),
            &["`dw1`", "a node dw1.pad before it"],
        ),
        (
            |n| n[8]["channels"] = 9.into(),
            &["`fc2`", "10 classes", "9"],
        ),
        (|n| drop(n.remove(6)), &["`fc1`", "one pixel"]),
        (
            |n| n[7]["input"] = "pool".into(),
            &["`flat`", "no node reads"],
        ),
    ];
    for (change, words) in refused {
        let mut settings = listed();
        change(settings["nodes"].as_array_mut().unwrap());
        let message = of("nodes", settings, image(16), 10)
            .unwrap_err()
            .to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn the_largest_numbers_are_refused_by_the_node_that_has_them() {
    let width = serde_json::json!({ "width": usize::MAX });
    let message = of("resnet50", width, image(32), 10)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`conv1`") && message.contains("shape"),
        "{message}"
    );
    let wide = image(usize::MAX);
    let message = of("resnet8", serde_json::json!({}), wide, 10)
        .unwrap_err()
        .to_string();
    assert!(message.contains("input: shape"), "{message}");
}
