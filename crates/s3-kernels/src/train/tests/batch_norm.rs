//! Batch norm and its gradients against the f64 formulas, for every instruction set.

use proptest::prelude::*;

use crate::Isa;
use crate::train::batch_norm::{batch_norm_backward_on, batch_norm_forward_on, scale_shift_on};
use crate::train::bf16::Bf16;
use crate::train::element::Element;
use crate::train::{Act, BatchNormGrads, BatchNormSaved, BatchStats};

/// Values of order 1 pass through about ten roundings of 2^-24, and sums of at most 4000 rows whose
/// errors mostly cancel.
const TOLERANCE: f64 = 2e-5;

const EPS: f32 = 1e-3;

pub(super) const ACTS: [Act; 3] = [Act::None, Act::Relu, Act::Relu6];

struct Case<T> {
    x: Vec<T>,
    residual: Option<Vec<T>>,
    dy: Vec<T>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    act: Act,
}

pub(super) fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin() * 1.5).collect()
}

pub(super) fn elements<T: Element>(values: impl IntoIterator<Item = f32>) -> Vec<T> {
    values.into_iter().map(T::from_f32).collect()
}

/// The rounding of a stored result: half of the last place of `T`.
pub(super) fn rounding<T: Element>(value: f64) -> f64 {
    let share = if T::NAME == "bf16" { 1.01 / 256.0 } else { 0.0 };
    share * value.abs()
}

fn case<T: Element>(rows: usize, channels: usize, residual: bool, act: Act, mean: f32) -> Case<T> {
    let len = rows * channels;
    // Where numbers end at 6, they are so large that both ends are met.
    let [factor, middle] = if act == Act::Relu6 {
        [3.0, 3.0]
    } else {
        [1.0, 0.0]
    };
    let beta = wave(channels, 0.4);
    Case {
        x: elements(wave(len, 0.7301).iter().map(|x| x + mean)),
        residual: residual.then(|| elements(wave(len, 0.311))),
        dy: elements(wave(len, 1.173)),
        gamma: wave(channels, 0.9).iter().map(|g| g + 0.2).collect(),
        beta: beta.iter().map(|b| b * factor + middle).collect(),
        act,
    }
}

/// y, mean, var, dx, dresidual, dgamma, dbeta
type Outputs = [Vec<f32>; 7];

fn run<T: Element>(isa: Isa, case: &Case<T>) -> Outputs {
    let (len, channels) = (case.x.len(), case.gamma.len());
    let [mut y, mut dx, mut dr] = [(); 3].map(|()| vec![T::from_f32(f32::NAN); len]);
    let [mut mean, mut var, mut inv_std, mut dgamma, mut dbeta] =
        [(); 5].map(|()| vec![f32::NAN; channels]);
    let stats = BatchStats {
        mean: &mut mean,
        var: &mut var,
        inv_std: &mut inv_std,
    };
    let affine = [&*case.gamma, &*case.beta];
    let residual = case.residual.as_deref();
    batch_norm_forward_on(isa, &case.x, residual, affine, EPS, case.act, &mut y, stats).unwrap();
    let saved = BatchNormSaved {
        x: &case.x,
        y: &y,
        act: case.act,
        gamma: &case.gamma,
        mean: &mean,
        inv_std: &inv_std,
    };
    let dresidual = case.residual.is_some().then_some(&mut *dr);
    let grads = BatchNormGrads {
        dx: &mut dx,
        dresidual,
        dgamma: &mut dgamma,
        dbeta: &mut dbeta,
    };
    batch_norm_backward_on(isa, saved, &case.dy, grads).unwrap();
    if case.residual.is_none() {
        dr.clear();
    }
    let [y, dx, dr] = [y, dx, dr].map(|v| v.iter().map(|v| v.to_f32()).collect());
    [y, mean, var, dx, dr, dgamma, dbeta]
}

/// What the activation makes of `value`.
pub(super) fn activated(act: Act, value: f64) -> f64 {
    match act {
        Act::None => value,
        Act::Relu => value.max(0.0),
        Act::Relu6 => value.clamp(0.0, 6.0),
    }
}

/// Whether a gradient passes the activation, which gave `y`.
pub(super) fn passes(act: Act, y: f32) -> bool {
    match act {
        Act::None => true,
        Act::Relu => y > 0.0,
        Act::Relu6 => 0.0 < y && y < 6.0,
    }
}

/// The module's formulas, in f64; the activation's mask is that of the stored output.
fn oracle<T: Element>(case: &Case<T>, y: &[f32]) -> [Vec<f64>; 7] {
    let (len, channels) = (case.x.len(), case.gamma.len());
    let rows = (len / channels) as f64;
    let [mut out, mut dx, mut dr] = [(); 3].map(|()| vec![0.0; len]);
    let [mut mean, mut var, mut dgamma, mut dbeta] = [(); 4].map(|()| vec![0.0; channels]);
    for c in 0..channels {
        let column = || (c..len).step_by(channels);
        let x = |i: usize| f64::from(case.x[i].to_f32());
        mean[c] = column().map(x).sum::<f64>() / rows;
        var[c] = column().map(|i| (x(i) - mean[c]).powi(2)).sum::<f64>() / rows;
        let inv_std = 1.0 / (var[c] + f64::from(EPS)).sqrt();
        let hat = |i: usize| (x(i) - mean[c]) * inv_std;
        let g = |i: usize| match passes(case.act, y[i]) {
            true => f64::from(case.dy[i].to_f32()),
            false => 0.0,
        };
        dbeta[c] = column().map(g).sum();
        dgamma[c] = column().map(|i| g(i) * hat(i)).sum();
        for i in column() {
            let residual = case.residual.as_ref();
            let residual = residual.map_or(0.0, |r| f64::from(r[i].to_f32()));
            let value = f64::from(case.gamma[c]) * hat(i) + f64::from(case.beta[c]) + residual;
            out[i] = activated(case.act, value);
            dr[i] = g(i);
            let rest = dbeta[c] / rows + hat(i) * dgamma[c] / rows;
            dx[i] = f64::from(case.gamma[c]) * inv_std * (g(i) - rest);
        }
    }
    [out, mean, var, dx, dr, dgamma, dbeta]
}

fn check<T: Element>(case: &Case<T>) {
    let first = run(Isa::Scalar, case);
    let expected = oracle(case, &first[0]);
    let names = ["y", "mean", "var", "dx", "dresidual", "dgamma", "dbeta"];
    let rows = (case.x.len() / case.gamma.len()) as f64;
    let inv_std = expected[2]
        .iter()
        .map(|v| 1.0 / (v + f64::from(EPS)).sqrt())
        .fold(1.0, f64::max);
    for ((name, got), expected) in names.iter().zip(&first).zip(&expected) {
        // Gradients are amplified by 1/std; sums over the rows grow with them.
        let sums = if name.len() > 4 && *name != "dresidual" {
            rows.sqrt() * 4.0
        } else {
            1.0
        };
        let tolerance = TOLERANCE * sums * inv_std;
        let is_stored = ["y", "dx", "dresidual"].contains(name);
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (f64::from(*got) - expected).abs();
            let tolerance = match is_stored {
                true => tolerance + rounding::<T>(*expected),
                false => tolerance,
            };
            assert!(
                error <= tolerance,
                "{} {name}[{i}]: {got} instead of {expected}",
                T::NAME
            );
        }
    }
    for isa in Isa::available() {
        let same = run(isa, case).iter().zip(&first).all(|(a, b)| {
            a.iter()
                .map(|v| v.to_bits())
                .eq(b.iter().map(|v| v.to_bits()))
        });
        assert!(same, "{isa:?} differs from scalar");
    }
}

fn check_both(rows: usize, channels: usize, residual: bool, act: Act, mean: f32) {
    check(&case::<f32>(rows, channels, residual, act, mean));
    check(&case::<Bf16>(rows, channels, residual, act, mean));
}

#[test]
fn every_combination_matches_the_formulas() {
    for channels in [1, 3, 15, 16, 17, 32, 64, 129] {
        for act in ACTS {
            for residual in [false, true] {
                check_both(301, channels, residual, act, 0.3);
            }
        }
    }
    check_both(4000, 16, true, Act::Relu, -0.5);
    check_both(3, 5000, false, Act::Relu, 0.0);
    check_both(3, 5000, true, Act::Relu6, 0.0);
}

/// Or the tests above would show nothing of it.
#[test]
fn the_cases_meet_both_ends_of_a_relu6() {
    let [y, ..] = run(Isa::detect(), &case::<f32>(301, 16, true, Act::Relu6, 0.3));
    for end in [0.0, 6.0] {
        assert!(y.iter().filter(|&&y| y == end).count() > 100, "{end}");
    }
    assert!(y.iter().all(|y| (0.0..=6.0).contains(y)));
}

/// A naive E[x²] - E[x]² would leave no correct digit of the variance here.
#[test]
fn a_mean_far_from_zero_costs_the_variance_no_digits() {
    let case = case::<f32>(3000, 16, false, Act::None, 4096.0);
    let [y, _, var, ..] = run(Isa::detect(), &case);
    let expected = oracle(&case, &y);
    for (got, expected) in var.iter().zip(&expected[2]) {
        assert!(
            (f64::from(*got) / expected - 1.0).abs() < 1e-3,
            "{got} instead of {expected}"
        );
    }
}

#[test]
fn a_nan_reaches_the_output_through_every_activation() {
    for isa in Isa::available() {
        let mut y = [0.0; 4];
        let x = [f32::NAN, -1.0, 2.0, 7.0];
        scale_shift_on(isa, &x, None, [&[1.0], &[0.0]], Act::Relu, &mut y).unwrap();
        assert!(y[0].is_nan() && y[1..] == [0.0, 2.0, 7.0]);
        scale_shift_on(isa, &x, None, [&[1.0], &[0.0]], Act::Relu6, &mut y).unwrap();
        assert!(y[0].is_nan() && y[1..] == [0.0, 2.0, 6.0]);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let case = case::<f32>(9001, 24, true, Act::Relu6, 0.1);
    let [one, two, three] = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| run(Isa::detect(), &case))
            .map(|v| v.into_iter().map(f32::to_bits).collect())
    }) as [[Vec<u32>; 7]; 3];
    assert!(one == two && two == three);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_size_matches_the_formulas(
        rows in 1usize..500,
        channels in 1usize..70,
        residual: bool,
        act in prop::sample::select(&ACTS[..]),
    ) {
        check_both(rows, channels, residual, act, 0.5);
    }
}
