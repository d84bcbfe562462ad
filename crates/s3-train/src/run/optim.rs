//! SGD with momentum and Nesterov, Adam and RAdam, with torch's semantics, and state that a
//! checkpoint can hold.
//!
//! ```text
//! g ← grad + weight_decay · p                     (kinds in `no_decay` excepted)
//! SGD    v ← g at first, then momentum · v + g;   p ← p - lr · v
//!                                      (nesterov: p ← p - lr · (g + momentum · v))
//! Adam   m ← β1 m + (1-β1) g;  u ← β2 u + (1-β2) g²;  p ← p - lr · m̂ / (√û + eps)
//! RAdam  as Adam with the rectified step of Liu et al., 2020 (no adaptation while ρ_t <= 5)
//! ```
//!
//! `lr` is the schedule's rate times the parameter's factor (`lr_factors`), 1 where none is given,
//! and times that of its flip-rate control (`flips`), where it has one.
//!
//! On the CPU one pass updates a state tensor and one pass the parameter, in place; elsewhere
//! the same updates are composed from candle's ops.

mod composed;
mod config;
mod flips;

pub use config::{DecayGroup, OptimizerConfig, Rule};
pub use flips::FlipsConfig;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use flips::{Control, Open};
use rayon::prelude::*;
use s3_core::params::Param;
use s3_core::{ParamKind, backend, host};
use s3_metrics::record::FlipRecord;
use std::collections::BTreeMap;
use std::fmt;

/// Prefix of the optimizer's state in a checkpoint.
pub const PREFIX: &str = "optimizer/";

struct Slot {
    name: String,
    var: Var,
    decay: f32,
    /// What the learning rate is multiplied by.
    factor: f64,
    /// One tensor for each of [`OptimizerConfig::slots`].
    state: Vec<Var>,
    /// Of a gate, where flips are steered.
    control: Option<Control>,
}

/// The parameters of a network with their optimizer state.
pub struct Optimizer {
    config: OptimizerConfig,
    slots: Vec<Slot>,
    /// Whether the parameters are where one pass can update them.
    is_fused: bool,
    /// Steps done; Adam's bias correction and the first momentum depend on it.
    steps: u64,
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Optimizer");
        shown.field("config", &self.config);
        shown.field("parameters", &self.slots.len());
        shown.field("steps", &self.steps);
        shown.finish_non_exhaustive()
    }
}

impl Optimizer {
    /// An optimizer of `params`, in their order, with zero state.
    ///
    /// # Errors
    /// A path of `lr_factors` that no parameter has; an allocation that fails.
    pub fn new(config: &OptimizerConfig, params: Vec<(String, Param)>) -> Result<Self> {
        let names: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
        config.check_paths(&names)?;
        let is_fused = params
            .iter()
            .all(|(_, p)| backend::is_fused(p.var.device()));
        let slots = params
            .into_iter()
            .map(|(name, p)| {
                let zeros = || Var::zeros(p.var.shape(), DType::F32, p.var.device());
                let state = config
                    .slots()
                    .iter()
                    .map(|_| zeros())
                    .collect::<Result<_>>()?;
                let depth_share = match (&config.flips, p.kind) {
                    (Some(flips), ParamKind::Gate { depth }) => Some(flips.depth_share(depth)),
                    _ => None,
                };
                Ok(Slot {
                    factor: config.factor_of(&name),
                    name,
                    decay: config.decay_of(p.kind) as f32,
                    var: p.var,
                    state,
                    control: depth_share.map(Control::new).transpose()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            slots,
            is_fused,
            steps: 0,
        })
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Says how many steps the loaded state has seen.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The state tensors as `(slot.parameter, tensor)`, in the parameters' order.
    pub fn state(&self) -> Vec<(String, Var)> {
        let names = self.config.slots();
        self.slots
            .iter()
            .flat_map(|s| {
                let control = s.control.as_ref().map(|c| (&"flips", &c.state));
                names
                    .iter()
                    .zip(&s.state)
                    .chain(control)
                    .map(|(n, v)| (format!("{n}.{}", s.name), v.clone()))
            })
            .collect()
    }

    /// The flips of each gate latent that is steered, by its name; nothing before the first step.
    ///
    /// # Errors
    /// Those of candle.
    pub fn flips(&self) -> Result<BTreeMap<String, FlipRecord>> {
        let Some(config) = self.config.flips.as_ref().filter(|_| self.steps > 0) else {
            return Ok(BTreeMap::new());
        };
        let steered = self.slots.iter();
        let steered = steered.filter_map(|s| Some((&s.name, s.control.as_ref()?)));
        steered
            .map(|(name, control)| Ok((name.clone(), control.record(config, self.steps)?)))
            .collect()
    }

    /// One update of every parameter that has a gradient. `target`: the share of the gates of depth
    /// 0 that is to turn in this step, where they are steered ([`OptimizerConfig::target`]); of
    /// deeper ones [`FlipsConfig::depth_factor`] says how much of it.
    ///
    /// # Errors
    /// Those of candle.
    pub fn step(&mut self, lr: f64, target: Option<f64>, grads: &GradStore) -> Result<()> {
        let first = self.steps == 0;
        self.steps += 1;
        for slot in &self.slots {
            let Some(grad) = grads.get(&slot.var) else {
                continue;
            };
            let grad = grad.contiguous()?;
            let (p, decay) = (slot.var.as_tensor(), slot.decay);
            let steered = slot
                .control
                .as_ref()
                .zip(self.config.flips.as_ref())
                .zip(target);
            let open = steered.map(|_| Open::of(p)).transpose()?;
            let factor = match steered {
                Some(((control, _), _)) => control.factor()?,
                None => 1.0,
            };
            let lr = lr * slot.factor * factor;
            match self.config.name {
                Rule::Sgd => self.sgd(slot, p, &grad, lr as f32, decay, first)?,
                Rule::Adam | Rule::Radam => self.adam(slot, p, &grad, lr, decay)?,
            }
            if let (Some(((control, config), target)), Some(open)) = (steered, open) {
                control.follow(config, open.turned(p)?, target, self.steps)?;
            }
        }
        Ok(())
    }

    fn sgd(
        &self,
        slot: &Slot,
        p: &Tensor,
        grad: &Tensor,
        lr: f32,
        decay: f32,
        first: bool,
    ) -> Result<()> {
        let momentum = if first {
            0.0
        } else {
            self.config.momentum as f32
        };
        if !self.is_fused {
            let velocity = slot.state.first().map(|v| (v, momentum));
            let ahead = self.config.nesterov.then_some(self.config.momentum as f32);
            return composed::sgd(&slot.var, velocity, grad, (lr, decay), ahead);
        }
        let Some(v) = slot.state.first() else {
            return p.inplace_op2(
                grad,
                &Update(move |p: f32, g: f32| p - lr * (g + decay * p)),
            );
        };
        // v is updated from the old p; the new p then needs g + decay · p of the old p as well.
        v.inplace_op3(
            grad,
            p,
            &Update(move |v: f32, g: f32, p: f32| momentum * v + (g + decay * p)),
        )?;
        if self.config.nesterov {
            let m = self.config.momentum as f32;
            let f = move |p: f32, g: f32, v: f32| p - lr * ((g + decay * p) + m * v);
            p.inplace_op3(grad, v, &Update(f))
        } else {
            p.inplace_op2(v, &Update(move |p: f32, v: f32| p - lr * v))
        }
    }

    fn adam(&self, slot: &Slot, p: &Tensor, grad: &Tensor, lr: f64, decay: f32) -> Result<()> {
        let ([b1, b2], t) = (self.config.betas, self.steps as f64);
        let (m, u) = (&slot.state[0], &slot.state[1]);
        let (f1, f2) = (b1 as f32, b2 as f32);
        let (r1, r2) = ((1.0 - b1) as f32, (1.0 - b2) as f32);
        if self.is_fused {
            m.inplace_op3(
                grad,
                p,
                &Update(move |m: f32, g: f32, p: f32| f1 * m + r1 * (g + decay * p)),
            )?;
            u.inplace_op3(
                grad,
                p,
                &Update(move |u: f32, g: f32, p: f32| {
                    let g = g + decay * p;
                    f2 * u + r2 * (g * g)
                }),
            )?;
        } else {
            composed::moments(&slot.var, (m, u), grad, self.config.betas, decay)?;
        }
        let (c1, c2) = (1.0 - b1.powf(t), 1.0 - b2.powf(t));
        let size = (c2.sqrt(), self.config.eps);
        let (root, eps) = (size.0 as f32, size.1 as f32);
        let (mt, ut) = (m.as_detached_tensor(), u.as_detached_tensor());
        let adam = |step: f64| {
            if !self.is_fused {
                return composed::adam(&slot.var, &mt, &ut, step, size);
            }
            let step = step as f32;
            let f = move |p: f32, m: f32, u: f32| p - step * m / (u.sqrt() / root + eps);
            p.inplace_op3(m, u, &Update(f))
        };
        // torch adds eps to √u here, not to its corrected value.
        let radam = |step: f64| {
            if !self.is_fused {
                return composed::radam(&slot.var, &mt, &ut, step, size);
            }
            let step = step as f32;
            let f = move |p: f32, m: f32, u: f32| p - step * m * root / (u.sqrt() + eps);
            p.inplace_op3(m, u, &Update(f))
        };
        match self.config.name {
            Rule::Radam => {
                let rho_inf = 2.0 / (1.0 - b2) - 1.0;
                let rho = rho_inf - 2.0 * t * b2.powf(t) / c2;
                if rho > 5.0 {
                    let rect = ((rho - 4.0) * (rho - 2.0) * rho_inf
                        / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho))
                        .sqrt();
                    radam(lr * rect / c1)
                } else if !self.is_fused {
                    composed::unadapted(&slot.var, &mt, lr / c1)
                } else {
                    let step = (lr / c1) as f32;
                    p.inplace_op2(m, &Update(move |p: f32, m: f32| p - step * m))
                }
            }
            _ => adam(lr / c1),
        }
    }
}

/// An elementwise update of the first tensor from itself and one or two others.
struct Update<F>(F);

/// Elements that one task handles.
const CHUNK: usize = 32 * 1024;

fn target<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (Some((start, end)), CpuStorage::F32(v)) = (layout.contiguous_offsets(), storage) else {
        candle_core::bail!("an optimizer updates contiguous f32 tensors")
    };
    Ok(&mut v[start..end])
}

impl<F: Fn(f32, f32) -> f32 + Sync> InplaceOp2 for Update<F> {
    fn name(&self) -> &'static str {
        "optimizer-update"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, lp: &Layout, a: &CpuStorage, la: &Layout) -> Result<()> {
        let (p, a) = (target(p, lp)?, host::slice(a, la)?);
        p.par_chunks_mut(CHUNK)
            .zip(a.par_chunks(CHUNK))
            .for_each(|(p, a)| {
                p.iter_mut().zip(a).for_each(|(p, &a)| *p = (self.0)(*p, a));
            });
        Ok(())
    }
}

impl<F: Fn(f32, f32, f32) -> f32 + Sync> InplaceOp3 for Update<F> {
    fn name(&self) -> &'static str {
        "optimizer-update"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        lp: &Layout,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<()> {
        let (p, a, b) = (target(p, lp)?, host::slice(a, la)?, host::slice(b, lb)?);
        p.par_chunks_mut(CHUNK)
            .zip(a.par_chunks(CHUNK))
            .zip(b.par_chunks(CHUNK))
            .for_each(|((p, a), b)| {
                p.iter_mut()
                    .zip(a)
                    .zip(b)
                    .for_each(|((p, &a), &b)| *p = (self.0)(*p, a, b));
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn config(name: Rule) -> OptimizerConfig {
        OptimizerConfig {
            weight_decay: 0.01,
            ..OptimizerConfig::new(name)
        }
    }

    fn param(kind: ParamKind) -> Result<(Var, Vec<(String, Param)>)> {
        let var = Var::new(&[0.5f32, -1.0, 2.0], &Device::Cpu)?;
        Ok((var.clone(), vec![("p".into(), Param { var, kind })]))
    }

    /// Twelve steps at 0.1 on the gradient `[0.1(t+1), -0.3, 0.05·(-1)^t] + 0.2 p`.
    fn descend(optimizer: &mut Optimizer, p: &Var, steps: std::ops::Range<u32>) -> Result<()> {
        for t in steps {
            let sign = if t % 2 == 0 { 1.0 } else { -1.0 };
            let linear = Tensor::new(&[0.1 * (t + 1) as f32, -0.3, 0.05 * sign], &Device::Cpu)?;
            let loss = ((p.as_tensor() * linear)?.sum_all()? + (p.sqr()?.sum_all()? * 0.1)?)?;
            optimizer.step(0.1, Some(0.2), &loss.backward()?)?;
        }
        Ok(())
    }

    #[test]
    fn twelve_steps_equal_torchs() -> Result<()> {
        // PyTorch 2.15.0: torch.optim.{SGD, Adam, RAdam} on the same gradients, f32.
        let nesterov = OptimizerConfig {
            momentum: 0.9,
            nesterov: true,
            ..config(Rule::Sgd)
        };
        for (name, config, want) in [
            (
                "plain",
                config(Rule::Sgd),
                [-0.335_396_4, -0.453_964_02, 1.550_891_3f32],
            ),
            (
                "momentum",
                OptimizerConfig {
                    momentum: 0.9,
                    ..config(Rule::Sgd)
                },
                [-2.338_094_5, 1.172_520_2, 0.202_485_74],
            ),
            (
                "nesterov",
                nesterov,
                [-2.611_775_2, 1.224_293_4, 0.163_687_02],
            ),
            (
                "adam",
                config(Rule::Adam),
                [-0.718_882_56, 0.167_108_03, 0.858_299_26],
            ),
            (
                "radam",
                config(Rule::Radam),
                [0.314_780_03, -0.720_940_35, 1.758_43],
            ),
        ] {
            for is_fused in [true, false] {
                let (p, params) = param(ParamKind::Latent)?;
                let mut optimizer = Optimizer::new(&config, params)?;
                optimizer.is_fused = is_fused;
                descend(&mut optimizer, &p, 0..12)?;
                for (got, want) in p.to_vec1::<f32>()?.iter().zip(want) {
                    // Twelve steps of f32 arithmetic in another order.
                    assert!((got - want).abs() < 1e-5, "{name}: {got} instead of {want}");
                }
            }
        }
        Ok(())
    }

    /// Where gradients are as small as eps, the place of eps decides.
    #[test]
    fn twenty_steps_on_tiny_gradients_equal_torchs() -> Result<()> {
        // PyTorch 2.15.0, gradients [1e-8, -3e-8], no decay, lr 0.1.
        for (rule, want, is_fused) in [
            (Rule::Adam, [-0.499_999_97f32, 0.499_999_94], true),
            (Rule::Adam, [-0.499_999_97, 0.499_999_94], false),
            (Rule::Radam, [0.490_627_14, -0.976_829_2], true),
            (Rule::Radam, [0.490_627_14, -0.976_829_2], false),
        ] {
            let p = Var::new(&[0.5f32, -1.0], &Device::Cpu)?;
            let param = Param {
                var: p.clone(),
                kind: ParamKind::Latent,
            };
            let config = OptimizerConfig {
                weight_decay: 0.0,
                ..config(rule)
            };
            let mut optimizer = Optimizer::new(&config, vec![("p".into(), param)])?;
            optimizer.is_fused = is_fused;
            let g = Tensor::new(&[1e-8f32, -3e-8], &Device::Cpu)?;
            for _ in 0..20 {
                optimizer.step(0.1, None, &(p.as_tensor() * &g)?.sum_all()?.backward()?)?;
            }
            for (got, want) in p.to_vec1::<f32>()?.iter().zip(want) {
                assert!(
                    (got - want).abs() < 1e-5,
                    "{rule:?}: {got} instead of {want}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn decay_leaves_out_the_kinds_it_is_told_to() -> Result<()> {
        for (kind, moves) in [
            (ParamKind::Latent, true),
            (ParamKind::Norm, false),
            (ParamKind::Bias, true),
            (ParamKind::Scale, false),
        ] {
            let config = OptimizerConfig {
                no_decay: vec![DecayGroup::Norm],
                ..config(Rule::Sgd)
            };
            let (p, params) = param(kind)?;
            let before = p.to_vec1::<f32>()?;
            let zero = (p.as_tensor() * &p.zeros_like()?)?.sum_all()?;
            let grads = zero.backward()?;
            Optimizer::new(&config, params)?.step(0.1, None, &grads)?;
            assert_eq!(p.to_vec1::<f32>()? != before, moves, "{kind:?}");
        }
        Ok(())
    }

    /// A gate's latent is lr · Σ g as long as it decays with nothing, and forgets by its own decay.
    #[test]
    fn gates_decay_by_their_own_key_where_it_is_set() -> Result<()> {
        for (kind, gate_decay, decay) in [
            (ParamKind::Gate { depth: 0 }, None, 0.01f32),
            (ParamKind::Gate { depth: 0 }, Some(0.5), 0.5),
            (ParamKind::Gate { depth: 0 }, Some(0.0), 0.0),
            (ParamKind::Latent, Some(0.5), 0.01),
        ] {
            let config = OptimizerConfig {
                gate_decay,
                no_decay: match gate_decay {
                    Some(_) if matches!(kind, ParamKind::Gate { .. }) => vec![DecayGroup::Latent],
                    _ => Vec::new(),
                },
                ..config(Rule::Sgd)
            };
            let (p, params) = param(kind)?;
            let before = p.to_vec1::<f32>()?;
            let zero = (p.as_tensor() * &p.zeros_like()?)?.sum_all()?;
            Optimizer::new(&config, params)?.step(0.1, None, &zero.backward()?)?;
            for (after, before) in p.to_vec1::<f32>()?.iter().zip(before) {
                assert_eq!(
                    *after,
                    before - 0.1 * (0.0 + decay * before),
                    "{kind:?} {gate_decay:?}"
                );
            }
        }
        let config = OptimizerConfig {
            gate_decay: Some(-1.0),
            ..config(Rule::Sgd)
        };
        let refused = config.validate().expect_err("a negative decay");
        assert_eq!(refused, "gate_decay: expected a number >= 0, got -1");
        Ok(())
    }

    /// Twice the rate by its factor is twice the rate by the schedule, for each rule.
    #[test]
    fn a_factor_multiplies_the_rate_of_what_lies_below_its_path() -> Result<()> {
        let of = |name: &str, factors: &[(&str, f64)], lr: f64, rule: Rule| -> Result<Vec<f32>> {
            let var = Var::new(&[0.5f32, -1.0, 2.0], &Device::Cpu)?;
            let factors = factors.iter().map(|&(path, factor)| (path.into(), factor));
            let config = OptimizerConfig {
                lr_factors: factors.collect(),
                ..config(rule)
            };
            let kind = ParamKind::Latent;
            let params = vec![(
                name.into(),
                Param {
                    var: var.clone(),
                    kind,
                },
            )];
            let loss = var.sqr()?.sum_all()?;
            Optimizer::new(&config, params)?.step(lr, None, &loss.backward()?)?;
            var.to_vec1()
        };
        for rule in [Rule::Sgd, Rule::Adam, Rule::Radam] {
            let (once, twice) = (
                of("fc.bias", &[], 0.1, rule)?,
                of("fc.bias", &[], 0.2, rule)?,
            );
            assert_eq!(of("fc.bias", &[("fc", 2.0)], 0.1, rule)?, twice, "{rule:?}");
            let both = [("fc", 8.0), ("fc.bias", 2.0)];
            assert_eq!(
                of("fc.bias", &both, 0.1, rule)?,
                twice,
                "the longest path decides"
            );
            assert_ne!(once, twice);
        }
        let error = of("fc10.bias", &[("fc", 2.0)], 0.1, Rule::Sgd).expect_err("no fc");
        // A backtrace may follow.
        let what =
            "optimizer.lr_factors: no parameter is called fc or lies below it; there are fc10";
        assert!(error.to_string().starts_with(what), "{error}");
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut config = config(Rule::Sgd);
            config.lr_factors.insert("fc".into(), factor);
            let error = config.validate().expect_err("no factor");
            assert!(
                error.starts_with("lr_factors.fc: expected a number > 0, got "),
                "{error}"
            );
        }
        Ok(())
    }

    #[test]
    fn state_that_is_carried_over_continues_the_run() -> Result<()> {
        for config in [
            OptimizerConfig {
                momentum: 0.9,
                ..config(Rule::Sgd)
            },
            config(Rule::Radam),
            OptimizerConfig {
                flips: Some(
                    toml::from_str("target = { schedule = 'constant', start = 0.2 }")
                        .expect("a target is enough"),
                ),
                ..config(Rule::Adam)
            },
        ] {
            let (whole, params) = param(ParamKind::Gate { depth: 0 })?;
            descend(&mut Optimizer::new(&config, params)?, &whole, 0..12)?;

            let (first, params) = param(ParamKind::Gate { depth: 0 })?;
            let mut a = Optimizer::new(&config, params)?;
            descend(&mut a, &first, 0..7)?;
            let (second, params) = param(ParamKind::Gate { depth: 0 })?;
            let mut b = Optimizer::new(&config, params)?;
            second.set(&first.as_tensor().copy()?)?;
            for ((_, to), (_, from)) in b.state().iter().zip(a.state()) {
                to.set(&from.as_tensor().copy()?)?;
            }
            b.set_steps(a.steps());
            descend(&mut b, &second, 7..12)?;
            assert_eq!(second.to_vec1::<f32>()?, whole.to_vec1::<f32>()?);
        }
        Ok(())
    }
}
