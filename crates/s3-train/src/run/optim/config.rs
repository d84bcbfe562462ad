//! The settings of an optimizer.

use super::flips::FlipsConfig;
use candle_core::Result;
use s3_core::ParamKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd,
    /// Adam (weight decay coupled, as in torch's `Adam`).
    Adam,
    /// Rectified Adam.
    Radam,
}

/// Parameters that weight decay can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DecayGroup {
    /// Latents and plain weights.
    Latent,
    /// Batch-norm gains and biases.
    Norm,
    /// Biases.
    Bias,
}

/// The settings of an optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OptimizerConfig {
    /// `sgd`, `adam` or `radam`.
    pub name: Rule,
    /// SGD's momentum.
    #[serde(default)]
    pub momentum: f64,
    /// SGD's Nesterov form.
    #[serde(default)]
    pub nesterov: bool,
    /// Adam's and RAdam's decay rates.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Adam's and RAdam's eps.
    #[serde(default = "eps")]
    pub eps: f64,
    /// L2 decay, the paper's lambda.
    #[serde(default)]
    pub weight_decay: f64,
    /// Kinds of parameters without decay: any of `latent`, `norm`, `bias`. Running statistics are
    /// no parameters and never decay.
    #[serde(default)]
    pub no_decay: Vec<DecayGroup>,
    /// L2 decay of gates ([`ParamKind::Gate`]) in the place of `weight_decay`, whatever `no_decay`
    /// says; parameters of another kind have none of it. A gate's latent is its start plus a sum of
    /// lr · gradient, of which only the sign counts: a constant lr cancels but against the start,
    /// and with SGD the decay says how soon the sum forgets, after (1 - momentum) / (lr ·
    /// `gate_decay`) steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_decay: Option<f64>,
    /// What the learning rate of a layer, or of one of its parameters, is multiplied by: torch's
    /// path (`fc`, `fc.bias`) and a number > 0. The longest path that fits decides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lr_factors: BTreeMap<String, f64>,
    /// Steers how often gates change sides ([`FlipsConfig`]); without it chance does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flips: Option<FlipsConfig>,
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn eps() -> f64 {
    1e-8
}

impl OptimizerConfig {
    /// A rule without momentum and decay; its fields are public.
    ///
    /// ```
    /// use s3_train::optim::{OptimizerConfig, Rule};
    /// let mut sgd = OptimizerConfig::new(Rule::Sgd);
    /// sgd.momentum = 0.9;
    /// assert_eq!(toml::from_str::<OptimizerConfig>("name = 'sgd'\nmomentum = 0.9")?, sgd);
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub fn new(name: Rule) -> Self {
        Self {
            name,
            momentum: 0.0,
            nesterov: false,
            betas: betas(),
            eps: eps(),
            weight_decay: 0.0,
            no_decay: Vec::new(),
            gate_decay: None,
            lr_factors: BTreeMap::new(),
            flips: None,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let unit = |x: f64| (0.0..1.0).contains(&x);
        if !unit(self.momentum) {
            return Err(format!(
                "momentum: expected 0 <= x < 1, got {}",
                self.momentum
            ));
        }
        if !self.betas.iter().all(|&b| unit(b)) {
            return Err(format!("betas: expected 0 <= x < 1, got {:?}", self.betas));
        }
        let decays = [
            ("weight_decay", Some(self.weight_decay)),
            ("gate_decay", self.gate_decay),
        ];
        for (key, decay) in decays {
            if let Some(decay) = decay.filter(|x| !(x.is_finite() && *x >= 0.0)) {
                return Err(format!("{key}: expected a number >= 0, got {decay}"));
            }
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(format!("eps: expected a number > 0, got {}", self.eps));
        }
        if self.nesterov && self.momentum == 0.0 {
            return Err("nesterov: needs a momentum > 0".into());
        }
        for (path, &factor) in &self.lr_factors {
            if !(factor.is_finite() && factor > 0.0) {
                return Err(format!(
                    "lr_factors.{path}: expected a number > 0, got {factor}"
                ));
            }
        }
        match &self.flips {
            Some(flips) => flips.validate().map_err(|e| format!("flips.{e}")),
            None => Ok(()),
        }
    }

    /// The share of the gates that is to turn in the step `step` (from 0) of a run of `steps`
    /// steps, `per_epoch` an epoch; `None` where they are not steered.
    ///
    /// ```
    /// use s3_train::optim::OptimizerConfig;
    /// let text = "name = 'sgd'\nflips.target = { schedule = 'linear', start = 0.01 }";
    /// let sgd: OptimizerConfig = toml::from_str(text)?;
    /// assert_eq!(sgd.target(50, 100, 10), Some(0.005));
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub fn target(&self, step: u64, steps: u64, per_epoch: u64) -> Option<f64> {
        let flips = self.flips.as_ref()?;
        Some(flips.target.at(step, steps, per_epoch))
    }

    /// Checks that every path of `lr_factors` is one of the parameters called `names`, or a folder
    /// of them.
    ///
    /// # Errors
    /// One line that names the path and what there is.
    pub(super) fn check_paths(&self, names: &[&str]) -> Result<()> {
        let is_known = |path: &&String| names.iter().any(|name| is_below(name, path));
        let Some(path) = self.lr_factors.keys().find(|path| !is_known(path)) else {
            return Ok(());
        };
        let first = |name: &&str| name.split('.').next().unwrap_or(name).to_owned();
        let known: Vec<_> = names
            .iter()
            .map(first)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        candle_core::bail!(
            "optimizer.lr_factors: no parameter is called {path} or lies below it; there are {}",
            known.join(", ")
        )
    }

    pub(super) fn factor_of(&self, name: &str) -> f64 {
        let fits = self
            .lr_factors
            .iter()
            .filter(|(path, _)| is_below(name, path));
        fits.max_by_key(|(path, _)| path.len())
            .map_or(1.0, |(_, &factor)| factor)
    }

    pub(super) fn decay_of(&self, kind: ParamKind) -> f64 {
        if let (ParamKind::Gate { .. }, Some(decay)) = (kind, self.gate_decay) {
            return decay;
        }
        let group = match kind {
            ParamKind::Latent | ParamKind::Gate { .. } => DecayGroup::Latent,
            ParamKind::Norm => DecayGroup::Norm,
            ParamKind::Bias => DecayGroup::Bias,
            ParamKind::Scale | ParamKind::Buffer => return 0.0,
        };
        if self.no_decay.contains(&group) {
            0.0
        } else {
            self.weight_decay
        }
    }

    /// The names of the state tensors of each parameter.
    pub(super) fn slots(&self) -> &'static [&'static str] {
        match self.name {
            Rule::Sgd if self.momentum == 0.0 => &[],
            Rule::Sgd => &["momentum"],
            Rule::Adam | Rule::Radam => &["m", "u"],
        }
    }
}

/// Whether a parameter is the one at `path` or lies below it.
fn is_below(name: &str, path: &str) -> bool {
    let rest = name.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
