//! Graphs whatever their layers hold: sizes, wiring, lifetimes, and other contents.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use crate::model::*;

fn image(height: usize, width: usize, channels: usize) -> Size {
    Size {
        height,
        width,
        channels,
    }
}

fn layer(channels: usize, kernel: [usize; 2]) -> Layer<()> {
    Layer::new(channels, kernel, ())
}

/// Every operation once.
fn every() -> Graph<()> {
    let mut graph = Graph::new(image(12, 10, 4));
    let conv = Layer {
        stride: 2,
        padding: 1,
        groups: 2,
        ..layer(6, [3, 5])
    };
    let a = graph.push("conv", &[0], Op::Layer(conv));
    let act = Act::Relu6;
    let b = graph.push("norm", &[a], Op::Norm { holds: (), act });
    let c = graph.push("add", &[a, b, a], Op::Add { act: Act::None });
    let d = graph.push("concat", &[c, a], Op::Concat);
    let sides = [0, 1, 2, 3];
    let e = graph.push("pad", &[d], Op::Pad { sides });
    let window = Window {
        kernel: [2, 3],
        stride: 2,
        padding: 1,
    };
    let f = graph.push("max", &[e], Op::MaxPool(window));
    let f = graph.push("avg", &[f], Op::AvgPool(Window::square(2, 1, 0)));
    let (stride, channels) = (2, 15);
    let f = graph.push("subsample", &[f], Op::Subsample { stride, channels });
    let f = graph.push("dropout", &[f], Op::Dropout(0.5));
    let f = graph.push("flatten", &[f], Op::Flatten);
    let sum = Layer {
        add: Some(f),
        ..layer(60, [1, 1])
    };
    let f = graph.push("linear", &[f], Op::Layer(sum));
    graph.push("mean", &[f], Op::MeanPool { shift: 0 });
    graph
}

#[test]
fn sizes_follow_from_the_operations() {
    let sizes: Vec<_> = every().sizes().unwrap();
    let sizes: Vec<_> = sizes
        .iter()
        .map(|s| [s.height, s.width, s.channels])
        .collect();
    let wanted = [
        [12, 10, 4],
        [6, 4, 6],
        [6, 4, 6],
        [6, 4, 6],
        [6, 4, 12],
        [7, 9, 12],
        [4, 5, 12],
        [3, 4, 12],
        [2, 2, 15],
        [2, 2, 15],
        [1, 1, 60],
        [1, 1, 60],
        [1, 1, 60],
    ];
    assert_eq!(sizes, wanted);
}

#[test]
fn the_last_reader_of_a_value_is_the_last_node_that_names_it() {
    let wanted = [0, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11];
    assert_eq!(every().last_reads(), wanted);
}

#[test]
fn a_layer_of_several_planes_becomes_as_many_layers_each_added_to_the_next() {
    let mut graph = Graph::new(image(3, 3, 2));
    let x = graph.push("a", &[0], Op::Layer(layer(2, [1, 1])));
    let sum = Layer {
        add: Some(0),
        act: Act::Relu,
        ..layer(2, [1, 1])
    };
    let x = graph.push("b", &[x], Op::Layer(sum));
    graph.push("c", &[x], Op::Layer(layer(1, [3, 3])));
    let planes: Result<_, ()> = graph.map(|index, ()| match index {
        1 => Ok((vec![1, 2], 3)),
        _ => Ok((Vec::new(), 0)),
    });
    let planes: Graph<i32> = planes.unwrap();
    let of = |(node, layer): (&Node<i32>, &Layer<i32>)| {
        (
            node.name.clone(),
            node.input(),
            layer.add,
            layer.act,
            layer.holds,
        )
    };
    let got: Vec<_> = planes.layers().map(of).collect();
    let none = Act::None;
    assert_eq!(
        got,
        [
            ("a".into(), 0, None, none, 0),
            ("b.plane0".into(), 1, Some(0), none, 1),
            ("b.plane1".into(), 1, Some(2), none, 2),
            ("b".into(), 1, Some(3), Act::Relu, 3),
            ("c".into(), 4, None, none, 0),
        ]
    );
}

#[test]
fn what_does_not_fit_is_refused_in_one_line_that_names_the_node() {
    let refused = |change: &dyn Fn(&mut Graph<()>), words: &[&str]| {
        let mut graph = every();
        change(&mut graph);
        let message = graph.sizes().unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    };
    fn conv(graph: &mut Graph<()>) -> &mut Layer<()> {
        match &mut graph.nodes[0].op {
            Op::Layer(layer) => layer,
            other => panic!("a layer, not {}", other.word()),
        }
    }
    refused(&|g| g.image.width = 0, &["input", "shape"]);
    refused(&|g| g.nodes[1].name.clear(), &["node 1", "no name"]);
    refused(&|g| g.nodes[1].name = "conv".into(), &["`conv`", "twice"]);
    refused(
        &|g| conv(g).groups = 4,
        &["`conv`", "groups", "6 channels of its result"],
    );
    refused(&|g| conv(g).groups = 0, &["`conv`", "groups"]);
    refused(&|g| conv(g).kernel = [3, 1], &["`conv`", "padding"]);
    refused(&|g| conv(g).kernel = [15, 3], &["`conv`", "15"]);
    refused(&|g| conv(g).stride = 0, &["`conv`", "stride"]);
    refused(&|g| conv(g).add = Some(0), &["`conv`", "add", "12"]);
    refused(&|g| conv(g).channels = 0, &["`conv`", "channels"]);
    refused(&|g| g.nodes[2].inputs = vec![1, 0], &["`add`", "inputs"]);
    refused(&|g| g.nodes[2].inputs = vec![1], &["`add`", "two or more"]);
    refused(&|g| g.nodes[3].inputs = vec![1, 0], &["`concat`", "pixels"]);
    refused(
        &|g| g.nodes[3].inputs = vec![3, 4],
        &["`concat`", "0 to 3, got 4"],
    );
    refused(&|g| g.nodes[4].inputs.clear(), &["`pad`", "inputs"]);
    refused(
        &|g| g.nodes[8].op = Op::Dropout(1.0),
        &["`dropout`", "less than 1"],
    );
    refused(
        &|g| {
            g.nodes[4].op = Op::Pad {
                sides: [usize::MAX; 4],
            }
        },
        &["`pad`", "sides"],
    );
    refused(
        &|g| g.nodes[5].op = Op::MaxPool(Window::square(9, 1, 0)),
        &["`max`", "kernel"],
    );
}
