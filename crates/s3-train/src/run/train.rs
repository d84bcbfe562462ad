//! The training loop.

pub use super::parameters::{build, load_params};
pub use super::session::Outcome;

use super::device;
use super::dynamics;
use super::eval::evaluate_together;
use super::folder::{self, RunFolder};
use super::observe::{Event, Observer, skipped, tell};
use super::ranks::Ranks;
use super::session::Session;
use super::sitting::Sitting;
use super::warnings::{self, Length};
use crate::config::Config;
use crate::data::{self, DataName, Dataset, Loader, Splits, arrays};
use anyhow::{Result, bail};
use s3_metrics::accuracy::Accuracy;
use s3_metrics::record::{DynamicsRecord, EpochRecord, TimingRecord, append_jsonl, read_jsonl};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Where a run reads and writes, and how it is stopped; none of it changes a result.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    /// Where the data sets' files are.
    pub data_dir: Option<PathBuf>,
    /// Where run folders are made.
    pub out: PathBuf,
    /// Go on with a run that exists.
    pub resume: bool,
    /// A checkpoint is written after this long besides those at the ends of epochs.
    pub checkpoint_every: Duration,
    /// Set to end the run after the step under way, with a checkpoint.
    pub stop: &'a AtomicBool,
    /// The processes that share the run's steps ([`super::ranks::start`]); [`super::ranks::Alone`].
    pub ranks: Arc<dyn Ranks>,
    /// The command line, for the manifest.
    pub command: Vec<String>,
}

/// Trains the experiment `config`, from its start or from its last checkpoint.
///
/// # Errors
/// Bad input before any work starts; a loss that is not finite, with the layer and the step; those
/// of the file system. The last checkpoint stays whole in every case.
pub fn train(config: &Config, places: &Places<'_>, observer: &mut dyn Observer) -> Result<Outcome> {
    // On a worker of the pool: each of a step's many parallel loops then starts without a hand-over
    // from this thread.
    rayon::scope(|_| train_here(config, places, observer))
}

/// Everything that can be wrong with an experiment before its first step: the data, the network,
/// the pre-trained file, the settings that depend on them. Writes nothing; returns the run's folder
/// below `out`. `observer` is told what a run would tell before its first step.
///
/// # Errors
/// As [`train`], before any work starts.
pub fn check(
    config: &Config,
    data_dir: Option<&Path>,
    out: &Path,
    ranks: &Arc<dyn Ranks>,
    observer: &mut dyn Observer,
) -> Result<PathBuf> {
    let config = &folder::pinned(config, out)?;
    let device = device::open(&config.device)?;
    let splits = load(config, data_dir)?;
    tell(observer, &splits.found());
    let folder = RunFolder::of(config, out)?;
    let session = Session::new(config, splits, folder.clone(), device, ranks)?;
    tell(observer, &session.notes);
    Ok(folder.root().to_path_buf())
}

/// The data of `config`. Arrays have images of any size: whether there can be a network for them is
/// asked of their header, before they are read.
fn load(config: &Config, data_dir: Option<&Path>) -> Result<Splits> {
    if let (DataName::Arrays, Some(folder)) = (config.data.name, data_dir) {
        let (image, classes) = arrays::shape(&config.data, folder)?;
        config.plan(image, classes)?;
    }
    Ok(data::load(&config.data, data_dir)?)
}

fn train_here(
    config: &Config,
    places: &Places<'_>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let config = &folder::pinned(config, &places.out)?;
    let device = device::open(&config.device)?;
    let splits = load(config, places.data_dir.as_deref())?;
    tell(observer, &splits.found());
    let folder = RunFolder::of(config, &places.out)?;
    let mut session = Session::new(config, splits, folder, device, &places.ranks)?;
    if session.claim(places.resume)? {
        session.resume()?;
    } else {
        session.start()?;
    }
    tell(observer, &session.notes);
    if session.position.epoch == config.epochs {
        return session.finish();
    }
    let sitting = match session.leads() {
        true => Some(Sitting::begin(
            config,
            &session.folder,
            &places.command,
            session.position.step,
            places.ranks.size(),
            places.data_dir.as_deref(),
        )?),
        false => None,
    };
    let lock = session.lock.clone();
    let outcome = session.run(places, observer);
    // A folder that is another's by now is left alone; the outcome says so.
    match (lock, sitting) {
        (Some(lock), Some(sitting)) if lock.check().is_ok() => sitting.end()?,
        _ => {}
    }
    outcome
}

impl Session<'_> {
    fn run(mut self, places: &Places<'_>, observer: &mut dyn Observer) -> Result<Outcome> {
        let per_epoch = self.per_epoch();
        observer.event(Event::Start {
            folder: self.folder.root(),
            experiment: &self.config.experiment,
            epochs: self.config.epochs,
            steps_per_epoch: per_epoch as usize,
            epochs_done: self.position.epoch,
            steps_done: self.position.step_in_epoch,
        });
        let mut saved = Instant::now();
        while self.position.epoch < self.config.epochs {
            let clock = Instant::now();
            let (epoch, first) = (self.position.epoch, self.position.step_in_epoch);
            let before = self.position.sums.n;
            let mut loader = Loader::new(&self.train, &self.loader, epoch as u64, first)?;
            for _ in first..per_epoch as usize {
                let stops = self.step(&mut loader, places.stop, observer)?;
                let sums = &self.position.sums;
                observer.event(Event::Step {
                    epoch,
                    done: self.position.step_in_epoch,
                    images: sums.n,
                    loss: sums.mean_loss().unwrap_or(f64::NAN),
                    top1: sums.top1().unwrap_or(0.0),
                });
                if stops {
                    self.save(&self.folder.last())?;
                    let folder = self.folder.root().to_path_buf();
                    return Ok(Outcome::Stopped {
                        folder,
                        step: self.position.step,
                    });
                }
                if saved.elapsed() >= places.checkpoint_every {
                    self.save(&self.folder.last())?;
                    saved = Instant::now();
                }
            }
            if saved.elapsed() >= places.checkpoint_every {
                // Evaluation can take long.
                self.save(&self.folder.last())?;
            }
            let images = self.position.sums.n - before;
            let (record, timing) = self.end_epoch(clock, images, observer)?;
            saved = Instant::now();
            observer.event(Event::Epoch {
                record: &record,
                timing: &timing,
            });
        }
        self.finish()
    }

    /// Evaluates, writes the epoch's lines, then the checkpoint: killed in between, the run goes on
    /// from the checkpoint before and writes the same lines again.
    fn end_epoch(
        &mut self,
        clock: Instant,
        images: u64,
        observer: &mut dyn Observer,
    ) -> Result<(EpochRecord, TimingRecord)> {
        let train_seconds = clock.elapsed().as_secs_f64();
        if self.position.sums.n == 0 {
            bail!(
                "{}: none of the training pictures can be read",
                self.train.name
            )
        }
        let clock = Instant::now();
        let (test, skipped_test) = self.evaluate(&self.test, observer)?;
        let validation = match &self.validation {
            Some(data) => self.evaluate(data, observer)?.0.top1(),
            None => None,
        };
        let test_seconds = clock.elapsed().as_secs_f64();

        let (per_epoch, done) = (
            self.per_epoch(),
            std::mem::take(&mut self.position.step_in_epoch),
        );
        let steps_of_run = per_epoch * self.config.epochs as u64;
        let last = self.position.step - 1;
        let sums: Accuracy = std::mem::take(&mut self.position.sums);
        let penalty = f64::from_bits(std::mem::take(&mut self.position.penalty_bits));
        self.position.epoch += 1;
        let epoch = u32::try_from(self.position.epoch)?;
        let record = EpochRecord {
            epoch,
            step: self.position.step,
            lr: self.config.lr.at(last, steps_of_run, per_epoch),
            alpha: self.alpha(last, steps_of_run, per_epoch),
            train_loss: sums.mean_loss().unwrap_or(f64::NAN),
            train_penalty: penalty / done as f64,
            train_top1: sums.top1().unwrap_or(0.0),
            test_loss: test.mean_loss(),
            test_top1: test.top1(),
            test_top5: test.top5(),
            validation_top1: validation,
            sparsity: dynamics::sparsity(&self.net)?,
            skipped_train: std::mem::take(&mut self.position.skipped),
            skipped_test,
        };
        let timing = TimingRecord {
            epoch,
            train_seconds,
            test_seconds: Some(test_seconds),
            images_per_second: images as f64 / train_seconds,
            waited_seconds: Some(std::mem::take(&mut self.waited).as_secs_f64()),
        };
        if self.leads() {
            self.check_lock()?;
            let (epochs, timings) = ("epochs.jsonl", "timing.jsonl");
            append_jsonl(&self.folder.file(epochs), std::slice::from_ref(&record))?;
            append_jsonl(&self.folder.file(timings), std::slice::from_ref(&timing))?;
        }
        if self.snapshot_is_due(self.position.epoch) {
            self.take_snapshot()?;
            self.warn(observer)?;
        }
        if let Some(top1) = validation
            && self.position.best.is_none_or(|(best, _)| top1 > best)
        {
            self.position.best = Some((top1, self.position.epoch));
            self.save(&self.folder.best())?;
        }
        self.save(&self.folder.last())?;
        Ok((record, timing))
    }

    /// Tells what the snapshot just taken shows to be going wrong.
    fn warn(&self, observer: &mut dyn Observer) -> Result<()> {
        if self.leads() {
            let records: Vec<DynamicsRecord> = read_jsonl(&self.folder.file("dynamics.jsonl"))?;
            let length = Length {
                epochs: u32::try_from(self.config.epochs)?,
                steps_per_epoch: self.per_epoch(),
            };
            tell(observer, &warnings::of(&records, length));
        }
        Ok(())
    }

    /// Accuracy and loss on `data`, and the number of images that were left out.
    fn evaluate(
        &self,
        data: &Arc<Dataset>,
        observer: &mut dyn Observer,
    ) -> Result<(Accuracy, u64)> {
        let batch = self.config.eval_batch_size;
        let accuracy = evaluate_together(
            &self.net,
            data,
            batch,
            &self.device,
            &*self.ranks,
            |left_out, done, steps| {
                skipped(observer, left_out);
                observer.event(Event::Evaluated { done, steps });
            },
        )?;
        Ok((accuracy, data.len() as u64 - accuracy.n))
    }
}
