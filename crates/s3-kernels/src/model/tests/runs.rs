//! Every instruction set and every number of threads against the definition.

use std::vec::Vec;

use super::networks::{images, network, various};
use super::oracle::{self, Number};
use crate::model::*;
use crate::{BitWidth, Isa};

const ALL: [Activations; 3] = [Activations::F32, Activations::U8, Activations::U8Shift];

/// The bits of every value of a run, in the order of the nodes.
fn traced(model: &Model, x: &[f32], batch: usize) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    let mut trace = |index: usize, value: Value<'_>| {
        assert_eq!(index, all.len());
        all.push(match value {
            Value::F32(y) => y.iter().map(|y| (y + 0.0).to_bits()).collect::<Vec<u32>>(),
            Value::U8(y) => y.iter().map(|&y| y.into()).collect(),
        });
    };
    let scores = model.run_traced(x, batch, &mut trace).unwrap();
    assert_eq!(model.run(x, batch).unwrap(), scores);
    all
}

/// What [`traced`] gives, by definition.
fn expected(network: &Network, x: &[f32], batch: usize) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = network.graph.nodes.iter().map(|_| Vec::new()).collect();
    for image in x.chunks_exact(x.len() / batch) {
        for (all, value) in all.iter_mut().zip(oracle::values(network, image)) {
            all.extend(value.numbers.iter().map(|&number| match number {
                Number::Whole(number) => number as u32,
                Number::Real(number) => (number + 0.0).to_bits(),
            }));
        }
    }
    all
}

#[test]
fn every_instruction_set_makes_every_value_of_the_definition() {
    for activations in ALL {
        for (seed, width) in (0..6).zip(BitWidth::ALL.into_iter().cycle()) {
            let pair = [network, various].map(|make| make(activations, width, seed));
            for (network, batch) in pair.iter().flat_map(|n| [(n, 1), (n, 3)]) {
                let x = images(network, batch, seed);
                let expected = expected(network, &x, batch);
                for isa in Isa::available() {
                    let model = Model::on(isa, network.clone()).unwrap();
                    for (index, got) in traced(&model, &x, batch).iter().enumerate() {
                        let name = &network.graph.nodes[index].name;
                        assert!(*got == expected[index], "{isa:?} {activations:?} {name}");
                    }
                }
            }
        }
    }
}

#[test]
fn test_networks_use_most_of_a_byte() {
    let network = network(Activations::U8Shift, BitWidth::B3, 1);
    let model = Model::new(network).unwrap();
    let x = images(model.network(), 2, 1);
    for (index, value) in traced(&model, &x, 2).into_iter().enumerate().take(9) {
        if !matches!(model.network().graph.nodes[index].op, Op::Layer(_)) {
            continue;
        }
        let inner = value.iter().filter(|&&y| (1..255).contains(&y)).count();
        let name = &model.network().graph.nodes[index].name;
        assert!(
            4 * inner > value.len(),
            "{name}: {inner} of {}",
            value.len()
        );
    }
}

#[test]
fn buffers_of_another_batch_change_nothing() {
    let model = Model::new(network(Activations::U8, BitWidth::B3, 5)).unwrap();
    let x = images(model.network(), 4, 5);
    let all = model.run(&x, 4).unwrap();
    let image = x.len() / 4;
    for i in [3, 0, 2] {
        let one = model.run(&x[i * image..][..image], 1).unwrap();
        assert_eq!(one, all[10 * i..][..10]);
    }
    assert!(model.run(&[], 0).unwrap().is_empty());
}

#[test]
fn an_input_of_another_length_is_an_error() {
    let model = Model::new(network(Activations::U8, BitWidth::B3, 5)).unwrap();
    for (len, batch) in [(1889, 1), (1890, 2), (0, 1), (1890, usize::MAX)] {
        let error = model.run(&std::vec![0.0; len], batch).unwrap_err();
        assert!(matches!(error, Error::Input { got, .. } if got == len));
    }
}

#[test]
#[cfg(not(target_family = "wasm"))]
fn a_model_runs_on_several_threads_at_a_time() {
    let model = Model::new(network(Activations::U8, BitWidth::B2, 8)).unwrap();
    let x = images(model.network(), 2, 8);
    let expected = model.run(&x, 2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(model.run(&x, 2).unwrap(), expected));
        }
    });
}

#[cfg(feature = "rayon")]
#[test]
fn the_number_of_threads_changes_no_bit() {
    for activations in ALL {
        for make in [network, various] {
            let model = Model::new(make(activations, BitWidth::B3, 9)).unwrap();
            let x = images(model.network(), 8, 9);
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build().unwrap().install(|| traced(&model, &x, 8))
            };
            assert_eq!(run(1), run(2));
        }
    }
}
