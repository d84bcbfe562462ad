//! An architecture that the list has not: one file and one line, and the contract holds for it.

use s3_layers::model::{Graph, Layer, Op, Size, Window};
use s3_layers::zoo::{Architecture, Entry, Error, Example, Plan, Role, entry};
use serde::{Deserialize, Serialize};

/// Convolutions of every second of which a copy is added at the end of its step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ladder {
    steps: usize,
}

impl Architecture for Ladder {
    const NAMES: &'static [&'static str] = &["ladder"];
    const SUMMARY: &'static str = "made up";
    const EXAMPLES: &'static [Example] = &[Example::new("ladder", r#"{ "steps": 2 }"#)];

    fn resolved(self, _: &str) -> Result<Self, String> {
        Ok(self)
    }

    fn graph(&self, _: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let mut graph = Graph::new(image);
        let stem = Layer::conv(6, 3).role(Role::First).norm("bn").relu();
        let mut x = graph.layer("conv", 0, stem);
        for step in 0..self.steps {
            let wide = Layer::conv(6, 3).norm(format!("{step}.bn1")).relu();
            let wide = graph.layer(format!("{step}.conv1"), x, wide);
            let rung = Layer::conv(6, 1).norm(format!("{step}.bn2")).adding(x);
            x = graph.layer(format!("{step}.conv2"), wide, rung.relu());
        }
        x = graph.push("pool", &[x], Op::MaxPool(Window::square(2, 2, 0)));
        x = graph.push("mean", &[x], Op::MeanPool { shift: 0 });
        graph.layer("fc", x, Layer::linear(classes).role(Role::Last));
        graph.classifying(classes)
    }
}

const LIST: &[Entry] = &[entry::<Ladder>()];

#[test]
fn an_architecture_of_ones_own_keeps_the_contract() {
    use super::parts::{c, frozen, integers, near, onnx, step};
    let mut failures = Vec::new();
    let parts: [&super::parts::Part; 6] = [&step, &frozen, &integers, &near, &onnx, &c];
    for part in parts {
        failures.extend(super::failures(LIST, part));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
