//! A run as its page shows it: what its folder holds, and what is missing there.

use super::groups::{self, Groups};
use crate::config::Config;
use crate::run::RunFolder;
use crate::run::warnings::{self, Length};
use anyhow::Result;
use s3_metrics::cost::ModelCost;
use s3_metrics::record::{DynamicsRecord, EpochRecord, TimingRecord, read_whole_lines};
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// What a run's folder holds.
pub struct Run {
    /// The run's name: experiment, hash, seed.
    pub name: String,
    pub(super) config: Config,
    pub(super) epochs: Vec<EpochRecord>,
    pub(super) dynamics: Vec<DynamicsRecord>,
    pub(super) timing: Vec<TimingRecord>,
    pub(super) cost: Option<ModelCost>,
    pub(super) manifest: Option<Value>,
    /// What is not there or damaged, in sentences.
    pub missing: Vec<String>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Run");
        shown.field("name", &self.name);
        shown.field("epochs", &self.epochs.len());
        shown.field("missing", &self.missing);
        shown.finish_non_exhaustive()
    }
}

/// Reads the run in `folder`, finished or not.
///
/// # Errors
/// No run's folder, or a `config.toml` that is none. Any other file may be missing or damaged: the
/// page says so.
pub fn read(folder: &Path) -> Result<Run> {
    let run = RunFolder::open(folder)?;
    let config = Config::load(&run.config(), &[])?;
    let mut missing = Vec::new();
    let mut note = |what: anyhow::Error| missing.push(format!("{what:#}"));
    let epochs = read_whole_lines(&run.file("epochs.jsonl"));
    let dynamics = read_whole_lines(&run.file("dynamics.jsonl"));
    let timing = read_whole_lines(&run.file("timing.jsonl"));
    let epochs: Vec<EpochRecord> = epochs.unwrap_or_else(|e| {
        note(e.into());
        Vec::new()
    });
    let dynamics = dynamics.unwrap_or_else(|e| {
        note(e.into());
        Vec::new()
    });
    let timing = timing.unwrap_or_else(|e| {
        note(e.into());
        Vec::new()
    });
    let mut json = |name: &str| run.read_json(name).map_err(&mut note).ok();
    let cost = json("model.json").and_then(|v| serde_json::from_value(v).ok());
    let manifest = json("manifest.json");
    if dynamics.is_empty() {
        missing.push("no snapshot in dynamics.jsonl".to_string());
    }
    if epochs.len() < config.epochs {
        missing.push(format!(
            "not finished: {} of {} epochs are done",
            epochs.len(),
            config.epochs
        ));
    }
    Ok(Run {
        name: config.run_name()?.display().to_string(),
        config,
        epochs,
        dynamics,
        timing,
        cost,
        manifest,
        missing,
    })
}

impl Run {
    /// The last epoch's test accuracy.
    pub(super) fn top1(&self) -> Option<f64> {
        self.epochs.last().and_then(|e| e.test_top1)
    }

    /// What its dynamics have been warned of.
    pub(super) fn warnings(&self) -> Vec<String> {
        let (Some(first), Ok(epochs)) = (self.epochs.first(), self.config.epochs.try_into()) else {
            return Vec::new();
        };
        let length = Length {
            epochs,
            steps_per_epoch: first.step / u64::from(first.epoch.max(1)),
        };
        let all = warnings::all(&self.dynamics, length).into_iter();
        all.map(|(_, line)| line).collect()
    }

    /// The cells of the summary: name and value.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let percent = |v: Option<f64>| v.map_or("-".into(), |v| format!("{:.2} %", 100.0 * v));
        let last = self.epochs.last();
        let total = self.cost.as_ref().map(|c| &c.total);
        let number = |v: Option<u64>| v.map_or("-".into(), |v| v.to_string());
        let seconds: f64 = self.timing.iter().map(|t| t.train_seconds).sum();
        vec![
            ("method", groups::method(&self.config)),
            ("network", self.config.model.name.clone()),
            ("data", groups::data(&self.config)),
            ("seed", self.config.seed.to_string()),
            (
                "epochs",
                format!("{} of {}", self.epochs.len(), self.config.epochs),
            ),
            ("test top-1", percent(self.top1())),
            ("train top-1", percent(last.map(|e| e.train_top1))),
            ("zero weights", percent(last.and_then(|e| e.sparsity))),
            ("parameters", number(total.map(|t| t.parameters))),
            ("bytes, packed", number(total.map(|t| t.bytes))),
            (
                "smaller by",
                self.cost
                    .as_ref()
                    .map_or("-".into(), |c| format!("{:.1}x", c.compression)),
            ),
            ("training", format!("{seconds:.0} s")),
        ]
    }
}

/// Which of `runs` are seeds of one configuration.
pub(super) fn groups_of(runs: &[Run]) -> Groups {
    let data = |run: &Run| run.manifest.as_ref().map(|m| m["data"].clone());
    let of = |run: &Run| (run.config.clone(), data(run).unwrap_or_default());
    Groups::of(&runs.iter().map(of).collect::<Vec<_>>())
}
