//! Networks of nodes by chance.

use super::CLASSES;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use s3_layers::model::{Act, Graph, Layer, Op, Size, Window};
use s3_layers::zoo::{Plan, Role};

/// What is put behind the value before; a number chooses among what fits.
#[derive(Clone, Debug)]
enum Step {
    Conv(usize, usize, usize, bool, Act),
    Rectangular([usize; 2]),
    Depthwise(usize, Act),
    Residual(usize, bool),
    Sum(usize, Act),
    Concat(usize),
    MaxPool([usize; 2]),
    AvgPool([usize; 2]),
    Dropout(f32),
    Pad([usize; 4]),
    Norm(Act),
    Subsample,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![Just(Act::None), Just(Act::Relu), Just(Act::Relu6)]
}

fn step() -> impl Strategy<Value = Step> {
    let kernel = prop_oneof![Just(1usize), Just(3), Just(5)];
    prop_oneof![
        3 => (2usize..7, kernel, 1usize..3, any::<bool>(), act())
            .prop_map(|(channels, kernel, stride, norm, act)| {
                Step::Conv(channels, kernel, stride, norm, act)
            }),
        1 => prop_oneof![Just([1, 3]), Just([3, 1]), Just([5, 3])].prop_map(Step::Rectangular),
        2 => (1usize..3, act()).prop_map(|(stride, act)| Step::Depthwise(stride, act)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, relu)| Step::Residual(at, relu)),
        1 => (any::<usize>(), act()).prop_map(|(at, act)| Step::Sum(at, act)),
        1 => any::<usize>().prop_map(Step::Concat),
        1 => [2usize..4, 2usize..4].prop_map(Step::MaxPool),
        1 => [2usize..4, 2usize..4].prop_map(Step::AvgPool),
        1 => (0f32..0.6).prop_map(Step::Dropout),
        1 => [0usize..3, 0usize..2, 0usize..2, 0usize..3].prop_map(Step::Pad),
        1 => act().prop_map(Step::Norm),
        1 => Just(Step::Subsample),
    ]
}

/// A network of these steps, which ends in a mean or in all numbers.
fn network(image: Size, steps: &[Step], is_flat: bool) -> Graph<Plan> {
    let mut graph = Graph::new(image);
    let stem = Layer::conv(4, 3).role(Role::First).norm("stem.bn").relu();
    let mut x = graph.layer("stem", 0, stem);
    for (i, step) in steps.iter().enumerate() {
        let name = format!("{i}");
        let sizes = graph.sizes().expect("what is there fits");
        let size = sizes[x];
        let norm = format!("{name}.bn");
        // A value before the last that `fits`.
        let other = |at: usize, fits: &dyn Fn(&Size) -> bool| {
            let all: Vec<usize> = (1..x).filter(|&value| fits(&sizes[value])).collect();
            (!all.is_empty()).then(|| all[at % all.len()])
        };
        let side = size.height.min(size.width);
        x = match *step {
            Step::Conv(channels, kernel, stride, has_norm, act) => {
                let layer = Layer::conv(channels, kernel).stride(stride);
                let mut layer = match has_norm {
                    true => layer.norm(norm),
                    false => layer.norm_or_bias(None),
                };
                layer.act = act;
                graph.layer(name, x, layer)
            }
            Step::Rectangular(kernel) => {
                let layer = Layer {
                    kernel,
                    padding: 0,
                    ..Layer::conv(5, 1).norm(norm).relu()
                };
                if size.height < kernel[0] || size.width < kernel[1] {
                    continue;
                }
                graph.layer(name, x, layer)
            }
            Step::Depthwise(stride, act) => {
                let layer = Layer::depthwise(size.channels).stride(stride).norm(norm);
                graph.layer(name, x, Layer { act, ..layer })
            }
            Step::Residual(at, relu) => {
                let Some(added) = other(at, &|s| (s.height, s.width) == (size.height, size.width))
                else {
                    continue;
                };
                let layer = Layer::conv(sizes[added].channels, 3);
                let layer = layer.norm(norm).adding(added);
                graph.layer(name, x, if relu { layer.relu() } else { layer })
            }
            Step::Sum(at, act) => {
                let Some(added) = other(at, &|s| *s == size) else {
                    continue;
                };
                graph.push(name, &[x, added], Op::Add { act })
            }
            Step::Concat(at) => {
                let Some(beside) = other(at, &|s| (s.height, s.width) == (size.height, size.width))
                else {
                    continue;
                };
                graph.push(name, &[beside, x], Op::Concat)
            }
            Step::MaxPool(kernel) if kernel[0].max(kernel[1]) <= side => {
                let (stride, padding) = (2, 0);
                let window = Window {
                    kernel,
                    stride,
                    padding,
                };
                graph.push(name, &[x], Op::MaxPool(window))
            }
            Step::AvgPool(kernel) if kernel[0].max(kernel[1]) <= side => {
                let (stride, padding) = (1, 1);
                let window = Window {
                    kernel,
                    stride,
                    padding,
                };
                graph.push(name, &[x], Op::AvgPool(window))
            }
            Step::Dropout(share) => graph.push(name, &[x], Op::Dropout(share)),
            Step::MaxPool(_) | Step::AvgPool(_) => continue,
            Step::Pad(sides) => graph.push(name, &[x], Op::Pad { sides }),
            Step::Norm(act) => {
                let holds = Layer::conv(1, 1).norm(norm).holds;
                graph.push(name, &[x], Op::Norm { holds, act })
            }
            Step::Subsample => {
                let (stride, channels) = (2, size.channels + 1);
                graph.push(name, &[x], Op::Subsample { stride, channels })
            }
        };
    }
    let head = match is_flat {
        true => Op::Flatten,
        false => Op::MeanPool { shift: 0 },
    };
    x = graph.push("head", &[x], head);
    graph.layer("fc", x, Layer::linear(CLASSES).role(Role::Last));
    graph.classifying(CLASSES).expect("a network")
}

fn networks() -> impl Strategy<Value = Graph<Plan>> {
    let steps = prop::collection::vec(step(), 1..7);
    (6usize..11, 6usize..11, steps, any::<bool>()).prop_map(|(height, width, steps, is_flat)| {
        let image = Size {
            height,
            width,
            channels: 2,
        };
        network(image, &steps, is_flat)
    })
}

fn holds(plan: &Graph<Plan>, part: &super::parts::Part) -> Result<(), TestCaseError> {
    let failures = super::failures_of("by chance", plan, part);
    prop_assert!(failures.is_empty(), "{}\n{plan:#?}", failures.join("\n"));
    Ok(())
}

/// The same networks each time, unless `PROPTEST_RNG_SEED` draws others.
fn the_same_each_time() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: 12,
        failure_persistence: None,
        rng_seed: match usual.rng_seed {
            RngSeed::Random => RngSeed::Fixed(SEED),
            given => given,
        },
        ..usual
    }
}

const SEED: u64 = 2;

proptest! {
    #![proptest_config(the_same_each_time())]

    #[test]
    fn a_fused_step_is_that_of_the_layers(plan in networks()) {
        holds(&plan, &super::parts::step)?;
    }

    #[test]
    fn packed_they_answer_as_trained_and_in_8_bits_node_by_node(plan in networks()) {
        holds(&plan, &super::parts::frozen)?;
        holds(&plan, &super::parts::integers)?;
    }

    #[test]
    fn exported_they_answer_as_packed(plan in networks()) {
        holds(&plan, &super::parts::onnx)?;
        holds(&plan, &super::parts::c)?;
    }
}
