//! Flip-rate control: how often gates change sides follows a schedule instead of chance.
//!
//! A gate is a latent of which its weight sees only whether it is > 0
//! ([`ParamKind::Gate`](s3_core::ParamKind)). Multiplying it by a positive number changes no
//! weight, so that its learning rate means nothing by itself: gates that start narrow turn often,
//! gates that start wide hardly ever. Here the share that turns is given, and the step follows. For
//! each gate latent, which is one family (sign, sparsity, a shift) of one layer, after step t:
//!
//! ```text
//! f = #{ i : 1(p_i > 0) differs before and after the step } / n
//! m ← memory · m + (1 - memory) · f,     m̂ = m / (1 - memory^t)
//! c ← c · exp(gain · (R - m̂) / (R + m̂)), kept within 1/most ..= most     (0/0 = 0)
//! ```
//!
//! R is the target's value at step t, times `depth_factor`^d for a shift gate below d others. The
//! next step has the learning rate lr · c; m starts at 0, c at 1. The quotient is between -1 and 1,
//! so that c changes by exp(±gain) in a step at most; near R it is half of ln(R/m̂). With
//! `gain = 0` flips are counted and nothing is moved.
//!
//! After transition-rate scheduling (ICCV 2025, arXiv 2404.19248), which adds to a rate where this
//! multiplies. Weight decay is part of the step and grows and shrinks with it.
//!
//! ```toml
//! [optimizer.flips]
//! target = { schedule = "cosine", start = 1e-3 }
//! ```

use crate::run::schedule::Schedule;
use candle_core::{DType, Device, Result, Tensor, Var};
use rayon::prelude::*;
use s3_core::backend::is_fused;
use s3_core::host::Host;
use s3_metrics::record::FlipRecord;
use serde::{Deserialize, Serialize};

/// Entries that one task compares at least.
const CHUNK: usize = 32 * 1024;

/// The settings of flip-rate control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FlipsConfig {
    /// The share of a latent's gates that is to change sides in a step, 0 to 1, over the run.
    pub target: Schedule,
    /// How fast the factor of the learning rate follows: it changes by exp(±gain) a step at most;
    /// 0 counts flips and leaves the factor at 1.
    #[serde(default = "gain")]
    pub gain: f64,
    /// What the running mean of the flips keeps of itself in a step.
    #[serde(default = "memory")]
    pub memory: f64,
    /// The factor stays within 1/most and most.
    #[serde(default = "most")]
    pub most: f64,
    /// What a shift gate's target is multiplied by for each gate that must be open above it
    /// ([`s3_core::ParamKind::Gate`]'s depth), 0 to 1. A gate of depth d that changes a weight at
    /// all changes it by 2^d at least; how often it does depends on the gates above it.
    #[serde(default = "depth_factor", skip_serializing_if = "is_one")]
    pub depth_factor: f64,
}

fn gain() -> f64 {
    0.05
}
fn memory() -> f64 {
    0.95
}
fn most() -> f64 {
    1000.0
}
fn depth_factor() -> f64 {
    1.0
}
fn is_one(x: &f64) -> bool {
    *x == 1.0
}

impl FlipsConfig {
    /// Control towards `target` with the defaults of docs/CONFIG.md.
    pub fn new(target: Schedule) -> Self {
        Self {
            target,
            gain: gain(),
            memory: memory(),
            most: most(),
            depth_factor: depth_factor(),
        }
    }

    /// The share of the target that gates of `depth` have.
    pub(super) fn depth_share(&self, depth: u32) -> f64 {
        self.depth_factor.powi(depth as i32)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// One line that names the key, without the table's own name.
    pub fn validate(&self) -> std::result::Result<(), String> {
        self.target.validate().map_err(|e| format!("target.{e}"))?;
        for (key, share) in [("start", self.target.start), ("end", self.target.end)] {
            if share > 1.0 {
                return Err(format!(
                    "target.{key}: expected a share of the gates, 0 <= x <= 1, got {share}"
                ));
            }
        }
        if !(self.gain.is_finite() && self.gain >= 0.0) {
            return Err(format!("gain: expected a number >= 0, got {}", self.gain));
        }
        if !(0.0..1.0).contains(&self.memory) {
            return Err(format!("memory: expected 0 <= x < 1, got {}", self.memory));
        }
        if !(self.most.is_finite() && self.most >= 1.0) {
            return Err(format!("most: expected a number >= 1, got {}", self.most));
        }
        if !(0.0..=1.0).contains(&self.depth_factor) {
            return Err(format!(
                "depth_factor: expected 0 <= x <= 1, got {}",
                self.depth_factor
            ));
        }
        Ok(())
    }

    /// What the flips of `steps` steps weigh in their running mean: 1 - memory^t.
    fn weight(&self, steps: u64) -> f64 {
        1.0 - self.memory.powf(steps as f64)
    }
}

/// The control of one latent.
pub(super) struct Control {
    /// m and c as the two values of a tensor, which a checkpoint holds.
    pub(super) state: Var,
    /// What the target is multiplied by.
    depth_share: f64,
}

impl Control {
    pub(super) fn new(depth_share: f64) -> Result<Self> {
        let state = Var::new(&[0f32, 1.0], &Device::Cpu)?;
        Ok(Self { state, depth_share })
    }

    /// m, c.
    fn values(&self) -> Result<(f64, f64)> {
        let values = Host::new(self.state.as_tensor())?;
        Ok((values[0].into(), values[1].into()))
    }

    /// What the learning rate of the next step is multiplied by.
    pub(super) fn factor(&self) -> Result<f64> {
        Ok(self.values()?.1)
    }

    /// m̂ and c after `steps` steps, of which there has been one.
    pub(super) fn record(&self, config: &FlipsConfig, steps: u64) -> Result<FlipRecord> {
        let (mean, factor) = self.values()?;
        let rate = mean / config.weight(steps);
        Ok(FlipRecord { rate, factor })
    }

    /// Takes note of the step that has turned `share` of the gates, the `steps`-th of the run.
    pub(super) fn follow(
        &self,
        config: &FlipsConfig,
        share: f64,
        target: f64,
        steps: u64,
    ) -> Result<()> {
        let target = target * self.depth_share;
        let (mean, factor) = self.values()?;
        let mean = config.memory * mean + (1.0 - config.memory) * share;
        let seen = mean / config.weight(steps);
        let error = match target + seen {
            0.0 => 0.0,
            sum => (target - seen) / sum,
        };
        let factor = factor * (config.gain * error).exp();
        let factor = factor.clamp(1.0 / config.most, config.most);
        let state = [mean as f32, factor as f32];
        self.state.set(&Tensor::new(&state, &Device::Cpu)?)
    }
}

/// Which gates of a latent are open.
pub(super) enum Open {
    Host(Vec<bool>),
    Device(Tensor),
}

impl Open {
    pub(super) fn of(p: &Tensor) -> Result<Self> {
        if !is_fused(p.device()) {
            return p.detach().gt(0.0).map(Self::Device);
        }
        let open = Host::new(p)?
            .par_iter()
            .with_min_len(CHUNK)
            .map(|&w| w > 0.0)
            .collect();
        Ok(Self::Host(open))
    }

    /// The share of the gates that are others in `p`; off the CPU the number is waited for.
    pub(super) fn turned(&self, p: &Tensor) -> Result<f64> {
        let (turned, all) = match self {
            Self::Host(open) => {
                let now = Host::new(p)?;
                let pairs = open.par_chunks(CHUNK).zip(now.par_chunks(CHUNK));
                let of_chunk = |(open, now): (&[bool], &[f32])| {
                    let pairs = open.iter().zip(now);
                    pairs.filter(|&(&open, &w)| open != (w > 0.0)).count()
                };
                (pairs.map(of_chunk).sum::<usize>() as f64, open.len())
            }
            Self::Device(open) => {
                let other = p.detach().gt(0.0)?.ne(open)?.to_dtype(DType::F32)?;
                (
                    f64::from(other.sum_all()?.to_scalar::<f32>()?),
                    other.elem_count(),
                )
            }
        };
        Ok(turned / all.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Optimizer, OptimizerConfig, Rule};
    use super::*;
    use s3_core::params::Param;
    use s3_core::{Init, ParamKind};

    fn config(rule: Rule, flips: FlipsConfig) -> OptimizerConfig {
        let text = format!(
            "name = \"{}\"",
            if rule == Rule::Sgd { "sgd" } else { "adam" }
        );
        let plain: OptimizerConfig = toml::from_str(&text).expect("a name is enough");
        OptimizerConfig {
            flips: Some(flips),
            ..plain
        }
    }

    fn flips(gain: f64, most: f64) -> FlipsConfig {
        FlipsConfig {
            target: Schedule::constant(0.01),
            gain,
            memory: 0.9,
            most,
            depth_factor: 1.0,
        }
    }

    fn param(values: &[f32], kind: ParamKind) -> Result<(Var, Vec<(String, Param)>)> {
        let var = Var::new(values, &Device::Cpu)?;
        Ok((var.clone(), vec![("p".into(), Param { var, kind })]))
    }

    fn push(p: &Var, gradient: &[f32]) -> Result<candle_core::backprop::GradStore> {
        let g = Tensor::new(gradient, &Device::Cpu)?;
        (p.as_tensor() * g)?.sum_all()?.backward()
    }

    fn state(optimizer: &Optimizer) -> Result<Vec<(String, Vec<f32>)>> {
        let state = optimizer.state().into_iter();
        state.map(|(name, v)| Ok((name, v.to_vec1()?))).collect()
    }

    /// Four gates, of which one turns in the first step, none in the second, two in the third.
    #[test]
    fn mean_and_factor_are_those_of_the_formula() -> Result<()> {
        let (p, params) = param(&[0.05, -0.05, 1.0, -1.0], ParamKind::Gate { depth: 0 })?;
        let mut optimizer = Optimizer::new(&config(Rule::Sgd, flips(0.5, 1e3)), params)?;
        let (mut mean, mut factor) = (0f64, 1f64);
        for (t, (gradient, share, target)) in [
            ([1f32, 0.0, 0.0, 0.0], 0.25, 0.1),
            ([1.0, 0.0, 0.0, 0.0], 0.0, 0.1),
            ([-90.0, 0.0, 0.0, -90.0], 0.5, 0.0),
        ]
        .into_iter()
        .enumerate()
        {
            let before = p.to_vec1::<f32>()?;
            optimizer.step(0.1, Some(target), &push(&p, &gradient)?)?;
            for ((now, before), g) in p.to_vec1::<f32>()?.iter().zip(before).zip(gradient) {
                let want = f64::from(before) - 0.1 * factor * f64::from(g);
                assert!((f64::from(*now) - want).abs() < 1e-5, "{t}: {now} {want}");
            }
            mean = 0.9 * mean + 0.1 * share;
            let seen = mean / (1.0 - 0.9f64.powi(t as i32 + 1));
            factor *= (0.5 * (target - seen) / (target + seen)).exp();
            let found = state(&optimizer)?;
            assert_eq!(found[0].0, "flips.p");
            for (got, want) in found[0].1.iter().zip([mean, factor]) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{t}: {got} {want}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_factor_stays_in_its_range_and_without_flips_and_target_it_stays_where_it_is()
    -> Result<()> {
        for (target, ends) in [(1.0, 2.0), (0.0, 1.0)] {
            let (p, params) = param(&[1.0; 3], ParamKind::Gate { depth: 0 })?;
            let mut optimizer = Optimizer::new(&config(Rule::Sgd, flips(1.0, 2.0)), params)?;
            for _ in 0..5 {
                optimizer.step(0.1, Some(target), &push(&p, &[0.0; 3])?)?;
            }
            assert_eq!(state(&optimizer)?[0].1, [0.0, ends]);
        }
        let (p, params) = param(&[1.0, -1.0], ParamKind::Gate { depth: 0 })?;
        let mut optimizer = Optimizer::new(&config(Rule::Sgd, flips(1.0, 2.0)), params)?;
        for _ in 0..5 {
            let turn: Vec<f32> = p.to_vec1::<f32>()?.iter().map(|w| 100.0 * w).collect();
            optimizer.step(0.1, Some(0.1), &push(&p, &turn)?)?;
        }
        assert_eq!(state(&optimizer)?[0].1[1], 0.5);
        Ok(())
    }

    #[test]
    fn a_deep_gate_has_its_share_of_the_target() -> Result<()> {
        for (depth, target) in [(0, 0.16), (1, 0.04), (2, 0.01)] {
            let (p, params) = param(&[0.05, -0.05, 1.0, -1.0], ParamKind::Gate { depth })?;
            let quarter = FlipsConfig {
                depth_factor: 0.25,
                ..flips(0.5, 1e3)
            };
            let mut optimizer = Optimizer::new(&config(Rule::Sgd, quarter), params)?;
            optimizer.step(0.1, Some(0.16), &push(&p, &[1.0, 0.0, 0.0, 0.0])?)?;
            let want = (0.5f64 * (target - 0.25) / (target + 0.25)).exp();
            let got = f64::from(state(&optimizer)?[0].1[1]);
            assert!((got - want).abs() < 1e-6, "{depth}: {got} {want}");
        }
        Ok(())
    }

    #[test]
    fn only_gates_are_steered_and_only_where_it_is_asked_for() -> Result<()> {
        for kind in [ParamKind::Latent, ParamKind::Norm, ParamKind::Scale] {
            let (_, params) = param(&[1.0], kind)?;
            let optimizer = Optimizer::new(&config(Rule::Sgd, flips(1.0, 2.0)), params)?;
            assert_eq!(optimizer.state().len(), 0, "{kind:?}");
        }
        let (_, params) = param(&[1.0], ParamKind::Gate { depth: 0 })?;
        let off = OptimizerConfig {
            flips: None,
            ..config(Rule::Sgd, flips(1.0, 2.0))
        };
        assert_eq!(Optimizer::new(&off, params)?.state().len(), 0);
        Ok(())
    }

    /// Noise for gradients, and gates that start 60 times as wide as others.
    #[test]
    fn gates_of_any_width_turn_at_the_rate_asked_for() -> Result<()> {
        const N: usize = 10_000;
        for (rule, lr) in [(Rule::Sgd, 0.01), (Rule::Adam, 0.001)] {
            for std in [0.06, 0.001] {
                let start = Init::Normal { std }.draw(1, "start", N);
                let (p, params) = param(&start, ParamKind::Gate { depth: 0 })?;
                let control = FlipsConfig {
                    memory: 0.95,
                    ..flips(0.05, 1e3)
                };
                let mut optimizer = Optimizer::new(&config(rule, control), params)?;
                let mut late = 0.0;
                for t in 0..600 {
                    let noise = Init::Normal { std: 1e-2 }.draw(2, &t.to_string(), N);
                    let before = Open::of(&p)?;
                    optimizer.step(lr, Some(0.01), &push(&p, &noise)?)?;
                    if t >= 400 {
                        late += before.turned(&p)? / 200.0;
                    }
                }
                // 200 steps of about 100 flips each. Pushed by noise alone, gates drift apart as
                // fast as their factor lets them, which follows behind: fewer turn than asked for.
                assert!((late / 0.01 - 1.0).abs() < 0.25, "{rule:?} {std}: {late}");
            }
        }
        Ok(())
    }

    #[test]
    fn flips_are_counted_alike_on_the_host_and_by_candles_ops() -> Result<()> {
        let values = Init::Normal { std: 1.0 }.draw(3, "a", 100_001);
        let others = Init::Normal { std: 1.0 }.draw(3, "b", 100_001);
        let expected = values.iter().zip(&others);
        let expected = expected.filter(|&(a, b)| (*a > 0.0) != (*b > 0.0)).count();
        let tensor = |v: Vec<f32>| Tensor::new(v, &Device::Cpu);
        let (a, b) = (tensor(values)?, tensor(others)?);
        let host = Open::Host(a.to_vec1::<f32>()?.iter().map(|&w| w > 0.0).collect());
        let device = Open::Device(a.gt(0.0)?);
        for open in [host, device, Open::of(&a)?] {
            assert_eq!(open.turned(&b)?, expected as f64 / 100_001.0);
            assert_eq!(open.turned(&a)?, 0.0);
        }
        let zero = tensor(vec![0.0, -0.0, f32::MIN_POSITIVE])?;
        let signs = tensor(vec![1.0, 1.0, -1.0])?;
        assert_eq!(Open::of(&zero)?.turned(&signs)?, 1.0);
        assert_eq!(Open::of(&zero)?.turned(&zero.neg()?)?, 1.0 / 3.0);
        Ok(())
    }

    #[test]
    fn bad_numbers_are_named() {
        let good = || flips(0.05, 1e3);
        for (bad, what) in [
            (
                FlipsConfig {
                    gain: -1.0,
                    ..good()
                },
                "gain: expected a number >= 0, got -1",
            ),
            (
                FlipsConfig {
                    memory: 1.0,
                    ..good()
                },
                "memory: expected 0 <= x < 1, got 1",
            ),
            (
                FlipsConfig {
                    most: 0.5,
                    ..good()
                },
                "most: expected a number >= 1, got 0.5",
            ),
            (
                FlipsConfig {
                    target: Schedule::constant(2.0),
                    ..good()
                },
                "target.start: expected a share of the gates, 0 <= x <= 1, got 2",
            ),
            (
                FlipsConfig {
                    target: Schedule::constant(-1.0),
                    ..good()
                },
                "target.start: expected a number >= 0, got -1",
            ),
        ] {
            assert_eq!(bad.validate().expect_err("refused"), what);
        }
        assert_eq!(good().validate(), Ok(()));
    }
}
