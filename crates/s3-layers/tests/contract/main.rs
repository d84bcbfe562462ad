//! What holds for every network: those of the list of architectures, those of an architecture that
//! is not in it, and those of nodes by chance.
//!
//! | part | what |
//! | --- | --- |
//! | `step` | a step of training, fused, is the step of the layers one by one |
//! | `frozen` | the packed network answers as the trained one, and a file keeps it |
//! | `integers` | each node of the 8-bit network rounds what the packed one's makes of the same numbers |
//! | `near` | its scores are near the packed one's; nodes by chance may magnify any rounding |
//! | `onnx` | an ONNX and a QONNX file; where Python has onnxruntime, it gives the runtime's scores |
//! | `c` | C, compiled, gives the runtime's scores to the bit |
//!
//! A part that refuses a network fails. An architecture's networks here are its `EXAMPLES`.

mod made_up;
mod methods;
mod nodes;
mod parts;
mod programs;
mod random;
#[path = "../weights/mod.rs"]
mod weights;

use methods::Kind;
use s3_layers::model::{Graph, Size};
use s3_layers::zoo::{ARCHITECTURES, Entry, Plan};

const CLASSES: usize = 5;

/// What fails of the contract for the examples of these architectures, a line each.
fn failures(entries: &[Entry], part: &parts::Part) -> Vec<String> {
    let mut failures = Vec::new();
    for entry in entries {
        for example in entry.examples {
            let (name, settings) = (example.name, example.settings);
            let image = Size {
                height: example.side,
                width: example.side,
                channels: 2,
            };
            let parsed = serde_json::from_str(settings).expect(name);
            let plan = entry.graph(name, &parsed, image, CLASSES);
            let plan = plan.expect(name);
            failures.extend(failures_of(&format!("{name} {settings}"), &plan, part));
        }
    }
    failures
}

/// What fails of the contract for one network with weights of every kind.
fn failures_of(what: &str, plan: &Graph<Plan>, part: &parts::Part) -> Vec<String> {
    let failure = |kind: Kind| {
        let result = part(plan, kind).map_err(|error| error.to_string());
        result.err().map(|e| format!("{what}, {kind:?}: {e}"))
    };
    Kind::ALL.into_iter().filter_map(failure).collect()
}

fn check(part: &parts::Part) {
    let failures = failures(ARCHITECTURES, part);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_fused_step_of_training_is_that_of_the_layers_one_by_one() {
    check(&parts::step);
}

#[test]
fn a_packed_network_answers_as_the_trained_one() {
    check(&parts::frozen);
}

#[test]
fn each_node_of_an_8_bit_network_rounds_what_the_packed_one_makes() {
    check(&parts::integers);
}

#[test]
fn an_8_bit_network_answers_nearly_as_the_packed_one() {
    check(&parts::near);
}

#[test]
fn onnx_files_give_the_scores_of_the_runtime() {
    check(&parts::onnx);
}

#[test]
fn c_gives_the_scores_of_the_runtime() {
    check(&parts::c);
}
