//! Batch norm and its gradients against the f64 formulas, for every instruction set.

use proptest::prelude::*;

use crate::Isa;
use crate::train::batch_norm::{batch_norm_backward_on, batch_norm_forward_on, scale_shift_on};
use crate::train::{BatchNormGrads, BatchNormSaved, BatchStats};

/// Values of order 1 pass through about ten roundings of 2^-24, and sums of at most 4000 rows whose
/// errors mostly cancel.
const TOLERANCE: f64 = 2e-5;

const EPS: f32 = 1e-3;

struct Case {
    x: Vec<f32>,
    residual: Option<Vec<f32>>,
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    relu: bool,
}

fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin() * 1.5).collect()
}

fn case(rows: usize, channels: usize, residual: bool, relu: bool, mean: f32) -> Case {
    let len = rows * channels;
    Case {
        x: wave(len, 0.7301).iter().map(|x| x + mean).collect(),
        residual: residual.then(|| wave(len, 0.311)),
        dy: wave(len, 1.173),
        gamma: wave(channels, 0.9).iter().map(|g| g + 0.2).collect(),
        beta: wave(channels, 0.4),
        relu,
    }
}

/// y, mean, var, dx, dresidual, dgamma, dbeta
type Outputs = [Vec<f32>; 7];

fn run(isa: Isa, case: &Case) -> Outputs {
    let (len, channels) = (case.x.len(), case.gamma.len());
    let [mut y, mut dx, mut dr] = [(); 3].map(|()| vec![f32::NAN; len]);
    let [mut mean, mut var, mut inv_std, mut dgamma, mut dbeta] =
        [(); 5].map(|()| vec![f32::NAN; channels]);
    let stats = BatchStats {
        mean: &mut mean,
        var: &mut var,
        inv_std: &mut inv_std,
    };
    let affine = [&*case.gamma, &*case.beta];
    let residual = case.residual.as_deref();
    batch_norm_forward_on(
        isa, &case.x, residual, affine, EPS, case.relu, &mut y, stats,
    )
    .unwrap();
    let saved = BatchNormSaved {
        x: &case.x,
        y: case.relu.then_some(&y),
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
    [y, mean, var, dx, dr, dgamma, dbeta]
}

/// The module's formulas, in f64; the ReLU mask is that of the f32 output.
fn oracle(case: &Case, y: &[f32]) -> [Vec<f64>; 7] {
    let (len, channels) = (case.x.len(), case.gamma.len());
    let rows = (len / channels) as f64;
    let [mut out, mut dx, mut dr] = [(); 3].map(|()| vec![0.0; len]);
    let [mut mean, mut var, mut dgamma, mut dbeta] = [(); 4].map(|()| vec![0.0; channels]);
    for c in 0..channels {
        let column = || (c..len).step_by(channels);
        let x = |i: usize| f64::from(case.x[i]);
        mean[c] = column().map(x).sum::<f64>() / rows;
        var[c] = column().map(|i| (x(i) - mean[c]).powi(2)).sum::<f64>() / rows;
        let inv_std = 1.0 / (var[c] + f64::from(EPS)).sqrt();
        let hat = |i: usize| (x(i) - mean[c]) * inv_std;
        let g = |i: usize| {
            if case.relu && y[i] <= 0.0 {
                0.0
            } else {
                f64::from(case.dy[i])
            }
        };
        dbeta[c] = column().map(g).sum();
        dgamma[c] = column().map(|i| g(i) * hat(i)).sum();
        for i in column() {
            let residual = case.residual.as_ref().map_or(0.0, |r| f64::from(r[i]));
            let value = f64::from(case.gamma[c]) * hat(i) + f64::from(case.beta[c]) + residual;
            out[i] = if case.relu { value.max(0.0) } else { value };
            dr[i] = g(i);
            let rest = dbeta[c] / rows + hat(i) * dgamma[c] / rows;
            dx[i] = f64::from(case.gamma[c]) * inv_std * (g(i) - rest);
        }
    }
    [out, mean, var, dx, dr, dgamma, dbeta]
}

fn check(case: &Case, scale: f64) {
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
        let tolerance = TOLERANCE * scale * sums * inv_std;
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (f64::from(*got) - expected).abs();
            assert!(
                error <= tolerance,
                "{name}[{i}]: {got} instead of {expected}"
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

#[test]
fn every_combination_matches_the_formulas() {
    for channels in [1, 3, 15, 16, 17, 32, 64, 129] {
        for (residual, relu) in [(false, false), (false, true), (true, false), (true, true)] {
            check(&case(301, channels, residual, relu, 0.3), 1.0);
        }
    }
    check(&case(4000, 16, true, true, -0.5), 1.0);
    check(&case(3, 5000, false, true, 0.0), 1.0);
}

/// A naive E[x²] - E[x]² would leave no correct digit of the variance here.
#[test]
fn a_mean_far_from_zero_costs_the_variance_no_digits() {
    let case = case(3000, 16, false, false, 4096.0);
    let [_, _, var, ..] = run(Isa::detect(), &case);
    let expected = oracle(&case, &[]);
    for (got, expected) in var.iter().zip(&expected[2]) {
        assert!(
            (f64::from(*got) / expected - 1.0).abs() < 1e-3,
            "{got} instead of {expected}"
        );
    }
}

#[test]
fn a_nan_reaches_the_output_through_the_relu() {
    for isa in Isa::available() {
        let mut y = [0.0; 3];
        let x = [f32::NAN, -1.0, 2.0];
        scale_shift_on(isa, &x, None, [&[1.0], &[0.0]], true, &mut y).unwrap();
        assert!(y[0].is_nan() && y[1] == 0.0 && y[2] == 2.0);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let case = case(9001, 24, true, true, 0.1);
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
        relu: bool,
    ) {
        check(&case(rows, channels, residual, relu, 0.5), 1.0);
    }
}
