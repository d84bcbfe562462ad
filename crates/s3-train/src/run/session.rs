//! A run's state: the network, its optimizer and where training stands; how it starts, is saved and
//! ends.

use super::batches::Batches;
use super::checkpoint::{self, Header, Position, Tensors, VERSION};
use super::dynamics;
use super::folder::{RunFolder, data_record};
use super::memory;
use super::network::Description;
use super::optim::{Optimizer, PREFIX as OPTIMIZER};
use super::parameters::build;
use super::pretrained::{self, Source, Started};
use super::ranks::{MicroBatches, Ranks, collective};
use super::summary::{f32_alone, model_cost};
use crate::config::Config;
use crate::data::{Broken, Dataset, LoaderConfig, Splits, steps_per_epoch};
use crate::lock::Lock;
use anyhow::{Context, Result, bail};
use candle_core::Device;
use s3_core::Params;
use s3_layers::Net;
use s3_layers::ops::AllReduce;
use s3_metrics::record::{EpochRecord, TimingRecord, append_jsonl, read_jsonl};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// All epochs are done.
    Finished {
        /// The run's folder.
        folder: PathBuf,
        /// The last epoch's record.
        last: EpochRecord,
    },
    /// Stopped on request; `--resume` goes on.
    Stopped {
        /// The run's folder.
        folder: PathBuf,
        /// Steps done.
        step: u64,
    },
}

pub(crate) struct Session<'a> {
    pub(crate) config: &'a Config,
    pub(crate) folder: RunFolder,
    /// Of the first rank, once it has claimed the folder.
    pub(crate) lock: Option<Arc<Lock>>,
    pub(crate) device: Device,
    pub(crate) train: Arc<Dataset>,
    pub(crate) validation: Option<Arc<Dataset>>,
    pub(crate) test: Arc<Dataset>,
    pub(crate) loader: LoaderConfig,
    pub(crate) net: Net,
    pub(crate) params: Params,
    pub(crate) optimizer: Optimizer,
    pub(crate) position: Position,
    /// Time for which steps of this epoch and sitting waited for their batches.
    pub(crate) waited: Duration,
    pub(crate) snapshot: Tensors,
    /// The processes that share the run's steps.
    pub(crate) ranks: Arc<dyn Ranks>,
    /// How the training images are cut into batches.
    pub(crate) batches: Batches,
    /// What the run took of the file of `init_from`, where it has no checkpoint.
    started: Option<Started>,
    /// Lines for the user before the first step.
    pub(crate) notes: Vec<String>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        config: &'a Config,
        splits: Splits,
        folder: RunFolder,
        device: Device,
        ranks: &Arc<dyn Ranks>,
    ) -> Result<Self> {
        check_augmentation(config, &splits.train)?;
        let (image, classes) = (splits.train.size(), splits.train.classes());
        let plan = config.plan(image, classes)?;
        let mut notes = Vec::new();
        if device.is_cpu()
            && let Some(memory) = memory::of_machine()
        {
            notes.extend(memory::check(config, &plan, &splits, ranks.size(), memory)?);
        }
        notes.extend(f32_alone(&plan));
        let (mut net, params) = build(config, &plan, &device)?;
        // A checkpoint, where there is one, replaces every parameter.
        let started = match (Source::of(config)?, folder.last().is_file()) {
            (Some(file), false) => {
                let started = pretrained::start_from(&file, &params, &net)?;
                notes.extend(started.lines(&file));
                Some(started)
            }
            _ => None,
        };
        if config.alpha.is_none() && !net.penalties()?.is_empty() {
            bail!("alpha: this method has a penalty; give its schedule (start = 0 trains without)")
        }
        let optimizer = Optimizer::new(&config.optimizer, params.trainable())?;
        let (train, validation) = hold_out(splits.train, config.validation_images)?;
        let mut loader = LoaderConfig::train(config.batch_size, config.seed, config.data.augment);
        loader.drop_last = config.drop_last;
        let (parts, synced) = (config.parts(ranks.size())?, config.batch_norm_is_synced()?);
        loader.parts = MicroBatches::of_rank(parts, ranks.rank(), ranks.size())?;
        if synced && ranks.size() > 1 {
            if !device.is_cpu() {
                bail!(
                    "batch_norm: \"synced\" on several ranks runs on the CPU, device is {}",
                    config.device
                )
            }
            let ranks = ranks.clone();
            let across: AllReduce = Arc::new(move |values: &mut [f32]| {
                let summed = collective::sum(&*ranks, values);
                summed.map_err(|e| candle_core::Error::Msg(format!("{e:#}")))
            });
            net.synchronise(Some(&across))?;
        }
        if steps_per_epoch(train.len(), &loader) == 0 {
            bail!(
                "batch_size: {} is more than the {} training images",
                config.batch_size,
                train.len()
            )
        }
        let batches = Batches {
            images: train.len(),
            drop_last: config.drop_last,
            parts,
            whole_statistics: synced,
            values: net.plan().smallest_norm()?,
        };
        batches.check(config.batch_size)?;
        if config.data.broken == Broken::Skip {
            check_readable("training", &train)?;
            check_readable("test", &splits.test)?;
            validation
                .iter()
                .try_for_each(|v| check_readable("validation", v))?;
        }
        Ok(Self {
            config,
            folder,
            lock: None,
            device,
            train,
            validation,
            test: splits.test,
            loader,
            net,
            params,
            optimizer,
            position: Position::default(),
            waited: Duration::ZERO,
            snapshot: Tensors::new(),
            ranks: ranks.clone(),
            started,
            notes,
            batches,
        })
    }

    pub(crate) fn alpha(&self, step: u64, steps: u64, per_epoch: u64) -> f64 {
        self.config
            .alpha
            .as_ref()
            .map_or(0.0, |a| a.at(step, steps, per_epoch))
    }

    pub(crate) fn per_epoch(&self) -> u64 {
        steps_per_epoch(self.train.len(), &self.loader) as u64
    }

    /// Whether this process writes the run's files.
    pub(crate) fn leads(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// Makes the run's folder for all ranks; says whether there is a checkpoint to go on from. The
    /// lock is the first rank's.
    pub(crate) fn claim(&mut self, resume: bool) -> Result<bool> {
        let mut mine = false;
        if self.leads() {
            let (lock, found) = self.folder.claim(self.config, resume)?;
            (self.lock, mine) = (Some(Arc::new(lock)), found);
        }
        let found = collective::gather(&*self.ranks, &[f64::from(mine)])?;
        if !self.folder.config().is_file() {
            let (rank, folder) = (self.ranks.rank(), self.folder.root().display());
            bail!("{folder}: rank {rank} does not see the run's folder, which all ranks must share")
        }
        Ok(found.first() == Some(&1.0))
    }

    /// Sees that the run's folder is still this process's to write to.
    pub(crate) fn check_lock(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.check())
    }

    /// Writes what a run's folder holds from the start, and the snapshot of the initial weights.
    pub(crate) fn start(&mut self) -> Result<()> {
        let has_weights = self.started.as_ref().is_some_and(|s| s.has_weights);
        if let (Some(file), true) = (Source::of(self.config)?, has_weights)
            && self.net.needs_moments()
        {
            pretrained::calibrate(&file, self.config, &self.net, &self.train, &self.device)?;
        }
        if !self.leads() {
            return Ok(());
        }
        let data = data_record(&self.train, &self.test);
        let mut manifest = json!({ "data": data, "sittings": [] });
        if let Some(started) = &self.started {
            manifest["init_from_sha256"] = json!(started.sha256);
            manifest["init_from"] = json!({
                "taken": started.taken,
                "left": started.left,
                "missing": started.missing,
            });
        }
        self.folder.write_json("manifest.json", &manifest)?;
        self.description().write(&self.folder)?;
        self.folder
            .write_json("model.json", &model_cost(&self.net)?)?;
        for lines in ["epochs.jsonl", "dynamics.jsonl", "timing.jsonl"] {
            crate::files::write_atomically(&self.folder.file(lines), b"")?;
        }
        self.take_snapshot()
    }

    pub(super) fn description(&self) -> Description {
        Description::of(&self.train).with_graph(self.net.plan())
    }

    pub(crate) fn method_name(&self) -> &str {
        self.config
            .method
            .get("name")
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
    }

    /// Writes a checkpoint; the first rank's task, as all ranks hold the same.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        if !self.leads() {
            return Ok(());
        }
        self.check_lock()?;
        let mut tensors: Tensors = self.snapshot.clone();
        for (name, p) in self.params.all() {
            tensors.insert(name, p.var.as_detached_tensor());
        }
        for (name, var) in self.optimizer.state() {
            tensors.insert(format!("{OPTIMIZER}{name}"), var.as_detached_tensor());
        }
        let header = Header {
            version: VERSION,
            model: self.config.model.name.clone(),
            method: self.method_name().to_string(),
            run: self.config.run_name()?.display().to_string(),
            position: self.position.clone(),
        };
        checkpoint::save(path, &header, &tensors)?;
        tracing::debug!(path = %path.display(), step = self.position.step, "checkpoint");
        Ok(())
    }

    /// Whether a snapshot is due when `epoch` epochs are done.
    pub(crate) fn snapshot_is_due(&self, epoch: usize) -> bool {
        epoch.is_multiple_of(self.config.snapshot_epochs) || epoch == self.config.epochs
    }

    pub(crate) fn take_snapshot(&mut self) -> Result<()> {
        let epoch = u32::try_from(self.position.epoch)?;
        let gradients = std::mem::take(&mut self.position.gradients);
        if !self.leads() {
            return Ok(());
        }
        let flips = self.optimizer.flips()?;
        let (records, snapshot) = dynamics::snapshot(
            &self.net,
            &self.params,
            epoch,
            &self.snapshot,
            &gradients,
            &flips,
        )?;
        self.check_lock()?;
        append_jsonl(&self.folder.file("dynamics.jsonl"), &records)?;
        self.snapshot = snapshot;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Outcome> {
        // The first rank has written the epochs by then.
        collective::gather(&*self.ranks, &[0.0])?;
        let epochs: Vec<EpochRecord> = read_jsonl(&self.folder.file("epochs.jsonl"))?;
        let timing: Vec<TimingRecord> = read_jsonl(&self.folder.file("timing.jsonl"))?;
        let last = epochs.last().context("a finished run has epochs")?.clone();
        let folder = self.folder.root().to_path_buf();
        if !last.test_loss.is_some_and(f64::is_finite) {
            bail!(
                "{}: the test loss after epoch {} is {}: training diverged, and the run is not \
                 finished; {} holds that network",
                folder.display(),
                last.epoch,
                last.test_loss
                    .map_or("unknown".into(), |loss| loss.to_string()),
                self.folder.last().display()
            )
        }
        if !self.leads() {
            return Ok(Outcome::Finished { folder, last });
        }
        let cost = model_cost(&self.net)?;
        self.check_lock()?;
        self.folder.write_json("model.json", &cost)?;
        let best = self
            .position
            .best
            .map(|(top1, epoch)| json!({"validation_top1": top1, "epoch": epoch}));
        self.folder.write_json(
            "summary.json",
            &json!({
                "experiment": self.config.experiment,
                "model": self.config.model.name,
                "method": self.config.method,
                "seed": self.config.seed,
                "last": last,
                "best": best,
                "parameters": cost.total.parameters,
                "bytes": cost.total.bytes,
                "compression": cost.compression,
                "train_seconds": timing.iter().map(|t| t.train_seconds).sum::<f64>(),
                "test_seconds": timing.iter().filter_map(|t| t.test_seconds).sum::<f64>(),
            }),
        )?;
        Ok(Outcome::Finished { folder, last })
    }
}

/// Refuses a crop that need not hold anything of its image.
fn check_augmentation(config: &Config, train: &Dataset) -> Result<()> {
    let (pad, least) = (config.data.augment.pad, train.height.min(train.width));
    if pad >= least {
        bail!(
            "data.augment.pad: expected less than the {least} pixels of a side of {}, got {pad}",
            train.name
        )
    }
    Ok(())
}

/// Refuses images of which none can be decoded: the end of the first epoch would find nothing to
/// measure.
fn check_readable(what: &str, data: &Dataset) -> Result<()> {
    if !(0..data.len()).any(|i| data.image(i).is_ok()) {
        bail!("{}: none of the {what} pictures can be read", data.name)
    }
    Ok(())
}

/// Splits the last `n` images off the training set.
pub(crate) fn hold_out(
    train: Arc<Dataset>,
    n: usize,
) -> Result<(Arc<Dataset>, Option<Arc<Dataset>>)> {
    if n == 0 {
        return Ok((train, None));
    }
    let Some(keep) = train.len().checked_sub(n).filter(|&k| k > 0) else {
        bail!(
            "validation_images: {n} of {} training images leaves none to train on",
            train.len()
        )
    };
    let (kept, held) = Arc::unwrap_or_clone(train).split_at(keep);
    Ok((Arc::new(kept), Some(Arc::new(held))))
}
