//! Networks against the literature, and the list against itself.

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::model::{Layer, Op};

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

/// Parameters of torchvision's models, and of He et al.'s CIFAR-10 networks with option A as counted by
/// Y. Idelbayev, "Proper ResNet implementation for CIFAR10/CIFAR100".
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

#[test]
fn names_of_the_list_are_there_once_and_build() {
    let all: Vec<&str> = names().collect();
    for (i, name) in all.iter().enumerate() {
        assert!(!all[i + 1..].contains(name), "{name}");
        let settings = resolved(name, &Settings::new()).unwrap();
        assert_eq!(resolved(name, &settings).unwrap(), settings, "{name}");
        let (short, whole) = (
            graph(name, &Settings::new(), image(64), 7),
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
