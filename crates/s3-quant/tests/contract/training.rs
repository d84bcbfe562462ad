//! The part of the contract that takes steps: on sixteen points of six classes, a linear layer
//! whose outputs are normalised over the batch, as the networks of this project have it.

use crate::{Case, bits, cases, progress, values};
use candle_core::{D, Device, Result, Tensor};
use s3_core::penalty::objective;
use s3_core::{Init, Params, Quantizer};

const POINTS: usize = 16;
const CLASSES: usize = 6;

/// Configurations whose signs hardly move, as their original's do not: the loss falls by its
/// magnitudes alone.
const SIGNS_FREEZE: &[&str] = &["deepshift_q 2"];

struct Problem {
    x: Tensor,
    /// One row a point, 1 at its class.
    wanted: Tensor,
}

impl Problem {
    fn new() -> Result<Self> {
        let x = Init::Normal { std: 1.0 }.draw(1, "points", POINTS * 45);
        let wanted = (0..POINTS * CLASSES).map(|i| {
            let (point, class) = (i / CLASSES, i % CLASSES);
            f32::from(u8::from(point * 5 % CLASSES == class))
        });
        Ok(Self {
            x: Tensor::from_vec(x, (POINTS, 45), &Device::Cpu)?,
            wanted: Tensor::from_vec(wanted.collect(), (POINTS, CLASSES), &Device::Cpu)?,
        })
    }

    /// What the layer computes in evaluation, or in the training step `step`.
    fn outputs(&self, q: &dyn Quantizer, step: Option<u64>) -> Result<Tensor> {
        let product = |x: &Tensor, w: &Tensor| x.matmul(&w.reshape((CLASSES, 45))?.t()?);
        let x = q.quantize_input(&self.x, step.is_some())?;
        let Some(step) = step else {
            return product(&x, &q.weight()?);
        };
        let y = product(&x, &q.training_weight()?)?;
        let Some(variance) = q.training_variance()? else {
            return Ok(y);
        };
        let draws = Init::Normal { std: 1.0 }.draw(5, &format!("outputs@{step}"), y.elem_count());
        let deviation = (product(&x.sqr()?, &variance)? + 1e-3)?.sqrt()?;
        let noise = Tensor::from_vec(draws, y.shape(), &Device::Cpu)?.mul(&deviation)?;
        y + noise
    }

    fn scores(&self, q: &dyn Quantizer, step: Option<u64>) -> Result<Tensor> {
        let y = self.outputs(q, step)?;
        let centred = y.broadcast_sub(&y.mean_keepdim(0)?)?;
        let variance = (centred.sqr()?.mean_keepdim(0)? + 1e-5)?;
        centred.broadcast_div(&variance.sqrt()?)? * 3.0
    }

    /// Cross entropy.
    fn loss(&self, q: &dyn Quantizer, step: Option<u64>) -> Result<Tensor> {
        let scores = self.scores(q, step)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
        let log_sum = scores.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let log_p = scores.broadcast_sub(&log_sum)?;
        (log_p * &self.wanted)?.sum_all()? / -(POINTS as f64)
    }

    fn hits(&self, q: &dyn Quantizer) -> Result<usize> {
        let (scores, wanted) = (self.scores(q, None)?, values(&self.wanted));
        let right = values(&scores);
        let right = right.chunks(CLASSES).zip(wanted.chunks(CLASSES));
        let best = |row: &[f32]| (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        Ok(right.filter(|(s, w)| best(s) == best(w)).count())
    }
}

/// Adam for `steps`, whose state is not kept from call to call; alpha is 1e-4.
fn train(
    params: &Params,
    q: &mut dyn Quantizer,
    steps: std::ops::Range<u64>,
    all: u64,
) -> Result<()> {
    let problem = Problem::new()?;
    let params: Vec<_> = params.trainable().into_iter().map(|(_, p)| p.var).collect();
    let zeros = || {
        params
            .iter()
            .map(|p| p.zeros_like())
            .collect::<Result<Vec<_>>>()
    };
    let (mut m, mut u) = (zeros()?, zeros()?);
    for (t, step) in steps.enumerate() {
        q.advance(progress(step, all))?;
        let loss = problem.loss(&*q, Some(step))?;
        let penalties: Vec<Tensor> = q.penalty()?.into_iter().collect();
        let grads = objective(&loss, 1e-4, &penalties)?.backward()?;
        let (c1, c2) = (
            1.0 - 0.9f64.powi(t as i32 + 1),
            1.0 - 0.99f64.powi(t as i32 + 1),
        );
        for ((p, m), u) in params.iter().zip(&mut m).zip(&mut u) {
            let g = grads.get(p).expect("every latent has a gradient").detach();
            *m = ((&*m * 0.9)? + (&g * 0.1)?)?;
            *u = ((&*u * 0.99)? + (g.sqr()? * 0.01)?)?;
            let step = ((&*m * (0.02 / c1))? / ((&*u / c2)?.sqrt()? + 1e-8)?)?;
            p.set(&(p.detach() - step)?)?;
        }
    }
    Ok(())
}

#[test]
fn saving_and_loading_in_the_middle_changes_nothing() -> Result<()> {
    for case in cases() {
        let name = &case.name;
        // The optimizer starts anew in the middle of both.
        let (whole, mut q) = case.fresh(9)?;
        train(&whole, &mut *q, 0..11, 20)?;
        train(&whole, &mut *q, 11..20, 20)?;

        let (first, mut half) = case.fresh(9)?;
        train(&first, &mut *half, 0..11, 20)?;
        let (second, mut rest) = case.fresh(1000)?;
        for (path, p) in second.all() {
            p.var.set(&first.all()[&path].var.as_tensor().copy()?)?;
        }
        // What is evaluated does not wait for the next step.
        assert_eq!(
            bits(&half.weight()?),
            bits(&rest.weight()?),
            "{name}: loaded"
        );
        train(&second, &mut *rest, 11..20, 20)?;
        assert_eq!(bits(&q.weight()?), bits(&rest.weight()?), "{name}");
        for (path, p) in whole.all() {
            let other = second.all()[&path].var.clone();
            assert_eq!(bits(&p.var), bits(&other), "{name}: {path}");
        }
    }
    Ok(())
}

fn learned(case: &Case) -> Result<(f32, f32, usize)> {
    let (params, mut q) = case.fresh(10)?;
    let problem = Problem::new()?;
    let before = problem.loss(&*q, None)?.to_scalar()?;
    train(&params, &mut *q, 0..150, 150)?;
    let after = problem.loss(&*q, None)?.to_scalar()?;
    Ok((before, after, problem.hits(&*q)?))
}

#[test]
fn every_frozen_weight_has_learned_a_small_batch() -> Result<()> {
    let mut failed = Vec::new();
    for case in cases() {
        let (before, after, hits) = learned(&case)?;
        // Chance is 16/6 points.
        let few_signs_move = SIGNS_FREEZE.contains(&case.name.as_str());
        if !(after < 0.5 * before && (hits >= 13 || few_signs_move)) {
            failed.push(format!("{}: {before} -> {after}, {hits} of 16", case.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}
