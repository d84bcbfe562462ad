//! The S3 weight and its gradients against closed forms, tables and an independent forward-mode
//! differentiation of eqs. 8 and 9, for every gate state.

use candle_core::{Device, Result, Tensor, Var};
use proptest::prelude::*;
use s3_core::reparam::{
    ShiftGradient, Surrogate, shift_exponent, shift_weight, shift_weight_composed,
    shift_weight_with,
};

const LN2: f64 = std::f64::consts::LN_2;
/// The op computes in f32 with three roundings; 4 ulp covers them.
const REL: f64 = 4.0 * f32::EPSILON as f64;

/// A number and its derivative in one direction.
#[derive(Clone, Copy)]
struct Dual(f64, f64);

/// Eqs. 8 and 9 on dual numbers, each Heaviside with derivative 1, `2^S` with `ln2 · 2^S`.
fn dual_weight(sign: Dual, sparse: Dual, shifts: &[Dual], sign_slope: f64) -> Dual {
    let step = |x: Dual| Dual(if x.0 > 0.0 { 1.0 } else { 0.0 }, x.1);
    let mul = |a: Dual, b: Dual| Dual(a.0 * b.0, a.0 * b.1 + a.1 * b.0);
    let mut s = Dual(0.0, 0.0);
    for &w in shifts {
        s = mul(step(w), Dual(s.0 + 1.0, s.1));
    }
    let p = Dual(s.0.exp2(), LN2 * s.0.exp2() * s.1);
    let sg = Dual(2.0 * step(sign).0 - 1.0, sign_slope * sign.1);
    mul(mul(p, step(sparse)), sg)
}

/// All gate states of `2 + t` latents: entry `i` of latent `k` is ±0.5 by bit `k` of `i`.
fn all_states(t: usize) -> Vec<Vec<f32>> {
    (0..t + 2)
        .map(|k| {
            (0..1usize << (t + 2))
                .map(|i| if i >> k & 1 == 1 { 0.5 } else { -0.5 })
                .collect()
        })
        .collect()
}

fn vars(latents: &[Vec<f32>]) -> Result<Vec<Var>> {
    latents
        .iter()
        .map(|l| Var::new(l.as_slice(), &Device::Cpu))
        .collect()
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|v| v.as_tensor().clone()).collect()
}

type Build = fn(&Tensor, &Tensor, &[Tensor], Surrogate) -> Result<Tensor>;

/// The weight and, per latent, its gradient under the upstream gradient `g`.
fn run(
    latents: &[Vec<f32>],
    g: &[f32],
    surrogate: Surrogate,
    build: Build,
) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
    let vars = vars(latents)?;
    let ts = tensors(&vars);
    let w = build(&ts[0], &ts[1], &ts[2..], surrogate)?;
    let grads = (&w * Tensor::new(g, &Device::Cpu)?)?
        .sum_all()?
        .backward()?;
    let grads = vars
        .iter()
        .map(|v| {
            grads
                .get(v)
                .expect("a gradient reaches every latent")
                .to_vec1::<f32>()
        })
        .collect::<Result<_>>()?;
    Ok((w.to_vec1::<f32>()?, grads))
}

#[test]
fn every_gate_state_has_the_derivatives_of_eqs_8_and_9() -> Result<()> {
    for t in 0..=6 {
        let latents = all_states(t);
        let n = latents[0].len();
        for sign_slope in [1.0f32, 2.0] {
            let surrogate = Surrogate {
                sign_slope,
                ..Surrogate::default()
            };
            let (w, grads) = run(&latents, &vec![1.0; n], surrogate, shift_weight_with)?;
            for i in 0..n {
                for (k, grad) in grads.iter().enumerate() {
                    let dual: Vec<Dual> = (0..t + 2)
                        .map(|j| Dual(latents[j][i].into(), if j == k { 1.0 } else { 0.0 }))
                        .collect();
                    let want = dual_weight(dual[0], dual[1], &dual[2..], sign_slope.into());
                    assert_eq!(f64::from(w[i]), want.0, "t {t} state {i:b}");
                    let got = f64::from(grad[i]);
                    assert!(
                        (got - want.1).abs() <= REL * want.1.abs(),
                        "t {t} state {i:b} latent {k}: {got} instead of {}",
                        want.1
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn finite_difference_gradients_are_the_change_that_a_flip_makes() -> Result<()> {
    for t in 0..=6 {
        let latents = all_states(t);
        let n = latents[0].len();
        let surrogate = Surrogate {
            shift: ShiftGradient::FiniteDifference,
            ..Surrogate::default()
        };
        let (w, grads) = run(&latents, &vec![1.0; n], surrogate, shift_weight_with)?;
        for (i, k) in (0..n).flat_map(|i| (2..t + 2).map(move |k| (i, k))) {
            let flipped = i ^ (1 << k);
            let (open, closed) = if i >> k & 1 == 1 {
                (i, flipped)
            } else {
                (flipped, i)
            };
            assert_eq!(
                grads[k][i],
                w[open] - w[closed],
                "t {t} state {i:b} w_{}",
                k - 1
            );
        }
    }
    Ok(())
}

/// The worked tables for t = 1, 2, 3: gates (h1, h2, h3), S, and per gate dS / ln2·2^S·dS / the
/// difference of a flip.
#[test]
fn the_tables_for_t_1_2_and_3() -> Result<()> {
    type Row = (&'static [u8], f64, &'static [(f64, f64, f64)]);
    let ln = |p: f64, ds: f64| LN2 * p * ds;
    let rows: &[Row] = &[
        (&[0], 0.0, &[(1.0, 0.69, 1.0)]),
        (&[1], 1.0, &[(1.0, 1.39, 1.0)]),
        (&[0, 0], 0.0, &[(0.0, 0.0, 0.0), (1.0, 0.69, 1.0)]),
        (&[1, 0], 0.0, &[(0.0, 0.0, 0.0), (2.0, 1.39, 3.0)]),
        (&[0, 1], 1.0, &[(1.0, 1.39, 2.0), (1.0, 1.39, 1.0)]),
        (&[1, 1], 2.0, &[(1.0, 2.77, 2.0), (2.0, 5.54, 3.0)]),
        (
            &[0, 0, 0],
            0.0,
            &[(0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.69, 1.0)],
        ),
        (
            &[0, 0, 1],
            1.0,
            &[(0.0, 0.0, 0.0), (1.0, 1.39, 2.0), (1.0, 1.39, 1.0)],
        ),
        (
            &[0, 1, 0],
            0.0,
            &[(0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (2.0, 1.39, 3.0)],
        ),
        (
            &[0, 1, 1],
            2.0,
            &[(1.0, 2.77, 4.0), (1.0, 2.77, 2.0), (2.0, 5.54, 3.0)],
        ),
        (
            &[1, 0, 0],
            0.0,
            &[(0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.69, 1.0)],
        ),
        (
            &[1, 0, 1],
            1.0,
            &[(0.0, 0.0, 0.0), (2.0, 2.77, 6.0), (1.0, 1.39, 1.0)],
        ),
        (
            &[1, 1, 0],
            0.0,
            &[(0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (3.0, 2.08, 7.0)],
        ),
        (
            &[1, 1, 1],
            3.0,
            &[(1.0, 5.54, 4.0), (2.0, 11.09, 6.0), (3.0, 16.64, 7.0)],
        ),
    ];
    for (gates, s, per_gate) in rows {
        let mut latents = vec![vec![0.5f32], vec![0.5]];
        latents.extend(gates.iter().map(|&h| vec![if h == 1 { 0.5 } else { -0.5 }]));
        let exponent_vars = vars(&latents[2..])?;
        let exponent = shift_exponent(&tensors(&exponent_vars))?;
        assert_eq!(f64::from(exponent.to_vec1::<f32>()?[0]), *s, "{gates:?}");
        let ds = exponent.sum_all()?.backward()?;
        for (shift, column) in [
            (ShiftGradient::Analytic, 1),
            (ShiftGradient::FiniteDifference, 2),
        ] {
            let (w, grads) = run(
                &latents,
                &[1.0],
                Surrogate {
                    shift,
                    ..Surrogate::default()
                },
                shift_weight_with,
            )?;
            assert_eq!(f64::from(w[0]), s.exp2());
            for (j, want) in per_gate.iter().enumerate() {
                let got_ds =
                    f64::from(ds.get(&exponent_vars[j]).expect("grad").to_vec1::<f32>()?[0]);
                assert_eq!(got_ds, want.0, "{gates:?} dS/dw_{}", j + 1);
                let got = f64::from(grads[2 + j][0]);
                if column == 1 {
                    assert!(
                        (got - ln(s.exp2(), want.0)).abs() < 1e-5,
                        "{gates:?} w_{}: {got}",
                        j + 1
                    );
                    assert!((got - want.1).abs() < 0.01, "{gates:?} w_{}: {got}", j + 1);
                } else {
                    assert_eq!(got, want.2, "{gates:?} w_{}", j + 1);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn square_root_gradients_are_those_of_the_surrogate() -> Result<()> {
    // h = (1, 1): S = 2, √3; dS/dw_2 = 2, dS/dw_1 = 1. h = (0, 1): S = 1, √2; dS = 0 + 1, 1.
    let latents = [
        vec![0.5f32, -0.5],
        vec![0.5; 2],
        vec![0.5, -0.5],
        vec![0.5; 2],
    ];
    let surrogate = Surrogate {
        shift: ShiftGradient::SquareRoot,
        ..Surrogate::default()
    };
    let (w, g) = run(&latents, &[1.0, 1.0], surrogate, shift_weight_with)?;
    assert_eq!(w, [4.0, -2.0]);
    let (a, b) = (3f32.sqrt(), 2f32.sqrt());
    assert_eq!(g[0], [a, b]);
    assert_eq!(g[1], [a, -b]);
    assert_eq!(g[2], [0.5 / a, -0.5 / b]);
    assert_eq!(g[3], [1.0 / a, -0.5 / b]);
    Ok(())
}

#[test]
fn a_zero_weight_passes_gradient_to_w_sparse_alone() -> Result<()> {
    let latents = [
        vec![0.5f32, -0.5],
        vec![-0.5; 2],
        vec![0.5; 2],
        vec![0.5; 2],
    ];
    let (w, g) = run(
        &latents,
        &[3.0, 3.0],
        Surrogate::default(),
        shift_weight_with,
    )?;
    assert_eq!(w, [0.0, 0.0]);
    assert!(w.iter().all(|v| v.to_bits() == 0), "no -0.0");
    assert_eq!(g[1], [12.0, -12.0]);
    for k in [0, 2, 3] {
        assert_eq!(g[k], [0.0, 0.0], "latent {k}");
    }
    Ok(())
}

/// λ stands for every closed gate of the products; the rest of eq. 9 is as it was.
#[test]
fn closed_gates_pass_the_share_that_they_are_told_to() -> Result<()> {
    use ShiftGradient::{Analytic, FiniteDifference, SquareRoot};
    for t in 0..=6 {
        let latents = all_states(t);
        let n = latents[0].len();
        let (plain, _) = run(
            &latents,
            &vec![1.0; n],
            Surrogate::default(),
            shift_weight_with,
        )?;
        for (shift, closed) in [Analytic, FiniteDifference, SquareRoot]
            .into_iter()
            .flat_map(|shift| [0.0, 0.25, 1.0].map(|closed| (shift, closed)))
        {
            let surrogate = Surrogate {
                sign_slope: 1.0,
                shift,
                closed,
            };
            let (w, grads) = run(&latents, &vec![1.0; n], surrogate, shift_weight_with)?;
            assert_eq!(w, plain);
            #[allow(clippy::needless_range_loop, reason = "the bits of i are the gates")]
            for i in 0..n {
                let is_open = |k: usize| i >> k & 1 == 1;
                let passes = |k: usize| if is_open(k) { 1.0 } else { f64::from(closed) };
                // S_j: how many gates are open without a gap, from w_j down.
                let run_from = |j: usize| (1..=j).rev().take_while(|&j| is_open(j + 1)).count();
                let (sign, last) = (if is_open(0) { 1.0 } else { -1.0 }, run_from(t) as f64);
                let size = match shift {
                    SquareRoot => (last + 1.0).sqrt(),
                    _ => last.exp2(),
                };
                let mut want = vec![passes(1) * size, sign * size];
                for j in 1..=t {
                    let (below, above) = (run_from(j - 1) as f64, j + 1..=t);
                    let growth: f64 = above.clone().map(|i| passes(i + 1)).product();
                    let slope = match shift {
                        Analytic => LN2 * size * (below + 1.0),
                        FiniteDifference => {
                            (2.0 * below.exp2() - 1.0) * 2f64.powi(above.count() as i32)
                        }
                        SquareRoot => (below + 1.0) / (2.0 * size),
                    };
                    want.push(sign * passes(1) * slope * growth);
                }
                for (k, want) in want.into_iter().enumerate() {
                    let got = f64::from(grads[k][i]);
                    assert!(
                        (got - want).abs() <= REL * want.abs(),
                        "t {t} state {i:b} latent {k} {shift:?} {closed}: {got} instead of {want}"
                    );
                    assert!(closed == 0.0 || got != 0.0, "latent {k} is blind");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn latents_at_exactly_zero_close_their_gates() -> Result<()> {
    let zero = Tensor::new(&[0f32, -0.0], &Device::Cpu)?;
    let one = Tensor::new(&[1f32, 1.0], &Device::Cpu)?;
    assert_eq!(
        shift_weight(&zero, &one, &[])?.to_vec1::<f32>()?,
        [-1., -1.]
    );
    assert_eq!(shift_weight(&one, &zero, &[])?.to_vec1::<f32>()?, [0., 0.]);
    assert_eq!(
        shift_weight(&one, &one, std::slice::from_ref(&zero))?.to_vec1::<f32>()?,
        [1., 1.]
    );
    Ok(())
}

#[test]
fn a_latent_that_is_not_finite_shows_in_the_weight() -> Result<()> {
    for bad in [f32::NAN, f32::INFINITY] {
        for k in 0..4 {
            let mut latents = vec![vec![-0.5f32]; 4];
            latents[k] = vec![bad];
            for build in [shift_weight_with as Build, shift_weight_composed] {
                let vars = vars(&latents)?;
                let ts = tensors(&vars);
                let w = build(&ts[0], &ts[1], &ts[2..], Surrogate::default())?;
                assert!(w.to_vec1::<f32>()?[0].is_nan(), "latent {k}");
            }
        }
    }
    Ok(())
}

#[test]
fn mismatched_latents_are_named() -> Result<()> {
    let a = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu)?;
    let b = Tensor::zeros(4, candle_core::DType::F32, &Device::Cpu)?;
    let err = shift_weight(&a, &b, &[])
        .expect_err("shapes differ")
        .to_string();
    assert!(
        err.contains("w_sparse") && err.contains("[4]") && err.contains("[3]"),
        "{err}"
    );
    Ok(())
}

fn latents_and_gradient() -> impl Strategy<Value = (Vec<Vec<f32>>, Vec<f32>)> {
    (0usize..=6, 1usize..9000).prop_flat_map(|(t, n)| {
        let latent = || proptest::collection::vec(prop_oneof![9 => -2f32..2.0, 1 => Just(0f32)], n);
        (proptest::collection::vec(latent(), t + 2), latent())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn fused_and_composed_agree_to_the_bit(
        (latents, g) in latents_and_gradient(), slope in 1f32..2.0, which in 0usize..3,
        closed in prop_oneof![Just(0f32), 0f32..=1.0],
    ) {
        use ShiftGradient::{Analytic, FiniteDifference, SquareRoot};
        let shift = [Analytic, FiniteDifference, SquareRoot][which];
        let surrogate = Surrogate { sign_slope: slope, shift, closed };
        let (w, gw) = run(&latents, &g, surrogate, shift_weight_with).unwrap();
        let (c, gc) = run(&latents, &g, surrogate, shift_weight_composed).unwrap();
        let t = latents.len() - 2;
        for (&a, &b) in w.iter().zip(&c) {
            prop_assert_eq!(a.to_bits(), b.to_bits());
            let largest = (1u32 << t) as f32;
            prop_assert!(a == 0.0 || (a.abs().log2().fract() == 0.0 && a.abs() <= largest));
        }
        prop_assert_eq!(gw, gc); // as numbers: a zero may differ in its sign
    }
}
