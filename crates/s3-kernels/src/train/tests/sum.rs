//! Sums, activations and biases against their definition, for every instruction set.

use super::batch_norm::{ACTS, activated, elements, passes, rounding, wave};
use crate::Isa;
use crate::train::bf16::Bf16;
use crate::train::element::Element;
use crate::train::sum::{act_backward_on, sum_forward_on};
use crate::train::{Act, add_assign};

/// Of sums of a few numbers of size 4 in f32, and of at most 5000 of size 1, whose errors mostly
/// cancel.
const TOLERANCE: f64 = 1e-4;

fn f64s<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| f64::from(v.to_f32())).collect()
}

fn near<T: Element>(got: f32, expected: f64, what: &str) {
    let bound = TOLERANCE + rounding::<T>(expected);
    let error = (f64::from(got) - expected).abs();
    assert!(
        error <= bound,
        "{} {what}: {got} instead of {expected}",
        T::NAME
    );
}

fn sums<T: Element>(len: usize, count: usize, act: Act) {
    let inputs: Vec<Vec<T>> = (0..count)
        .map(|i| elements(wave(len, 0.3 + 0.17 * i as f32).iter().map(|v| 3.0 * v)))
        .collect();
    let x: Vec<&[T]> = inputs.iter().map(|x| &x[..]).collect();
    let values: Vec<Vec<f64>> = inputs.iter().map(|x| f64s(x)).collect();
    for isa in Isa::available() {
        let mut y = vec![T::from_f32(f32::NAN); len];
        sum_forward_on(isa, &x, act, &mut y).unwrap();
        for (i, y) in y.iter().enumerate() {
            let sum = values.iter().map(|x| x[i]).sum();
            near::<T>(y.to_f32(), activated(act, sum), &format!("{isa:?} y[{i}]"));
        }
    }
}

#[test]
fn a_sum_matches_the_definition() {
    for act in ACTS {
        for (len, count) in [(1, 2), (17, 3), (5000, 2), (9001, 4), (0, 2), (5, 0)] {
            sums::<f32>(len, count, act);
            sums::<Bf16>(len, count, act);
        }
    }
}

fn gradients<T: Element>(rows: usize, channels: usize, act: Act) {
    let len = rows * channels;
    // Both ends of every activation among them.
    let ends = |(i, v): (usize, &f32)| [0.0, 6.0, 2.0 * v, 2.0 * v][i % 4];
    let y: Vec<T> = elements(wave(len, 0.71).iter().enumerate().map(ends));
    let dy: Vec<T> = elements(wave(len, 1.13));
    let passed = |i: usize| match passes(act, y[i].to_f32()) {
        true => dy[i].to_f32(),
        false => 0.0,
    };
    for isa in Isa::available() {
        let (mut dx, mut dbias) = (vec![T::from_f32(f32::NAN); len], vec![f32::NAN; channels]);
        act_backward_on(isa, &y, act, &dy, &mut dx, &mut dbias).unwrap();
        for (i, dx) in dx.iter().enumerate() {
            assert_eq!(dx.to_f32(), passed(i), "{isa:?} dx[{i}]");
        }
        for (c, got) in dbias.iter().enumerate() {
            let column = (c..len).step_by(channels);
            let sum: f64 = column.map(|i| f64::from(passed(i))).sum();
            let error = (f64::from(*got) - sum).abs();
            assert!(
                error <= TOLERANCE,
                "{isa:?} dbias[{c}]: {got} instead of {sum}"
            );
        }
        let mut alone = vec![T::from_f32(f32::NAN); len];
        act_backward_on(isa, &y, act, &dy, &mut alone, &mut []).unwrap();
        assert!(alone == dx, "{isa:?} without a bias");
    }
}

#[test]
fn gradients_pass_an_activation_inside_its_ends_and_add_up_to_the_bias() {
    for act in ACTS {
        for (rows, channels) in [(1, 1), (301, 3), (5000, 16), (37, 129), (3, 5000), (0, 4)] {
            gradients::<f32>(rows, channels, act);
            gradients::<Bf16>(rows, channels, act);
        }
    }
}

#[test]
fn a_gradient_is_added_with_one_rounding() {
    for len in [0, 3, 5000] {
        let (a, b): (Vec<Bf16>, Vec<Bf16>) = (elements(wave(len, 0.5)), elements(wave(len, 0.2)));
        let mut sum = a.clone();
        add_assign(&mut sum, &b).unwrap();
        let each = a.iter().zip(&b).map(|(a, b)| a.to_f32() + b.to_f32());
        assert!(sum == elements::<Bf16>(each));
    }
    assert!(add_assign(&mut [1.0], &[1.0, 2.0]).is_err());
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let (y, dy) = (wave(90_000, 0.71), wave(90_000, 1.13));
    let [one, two, three] = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (mut dx, mut dbias) = (vec![0.0; y.len()], vec![0.0; 24]);
            act_backward_on(Isa::detect(), &y, Act::Relu, &dy, &mut dx, &mut dbias).unwrap();
            dbias.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        })
    });
    assert!(one == two && two == three);
}
