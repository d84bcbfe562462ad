//! What of an experiment is refused before its data are looked at?

use super::Config;
use crate::data::DataName;
use crate::data::imagenet::SIZES;
use crate::run::summary::image_of;
use anyhow::{Result, bail};
use std::iter;

/// Bytes that a folder's name may have.
const LONGEST_NAME: usize = 255;

impl Config {
    /// Refuses values out of their range, and those that contradict each other.
    pub(super) fn validate(&self) -> Result<()> {
        let positive = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("eval_batch_size", self.eval_batch_size),
            ("snapshot_epochs", self.snapshot_epochs),
        ];
        for (key, v) in positive {
            if v == 0 {
                bail!("{key}: expected a number > 0, got 0")
            }
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            bail!(
                "label_smoothing: expected 0 <= x < 1, got {}",
                self.label_smoothing
            )
        }
        let name = &self.experiment;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !name.chars().all(plain) || name.split('/').any(|p| p.is_empty() || p.starts_with('.')) {
            bail!(
                "experiment: `{name}` cannot be a folder's name (letters, digits, - _ . and / only)"
            )
        }
        // The run's folder has a hash and a seed behind the last part.
        let behind = format!("-{:08x}-s{}", 0, self.seed).len();
        for (part, behind) in name
            .rsplit('/')
            .zip(iter::once(behind).chain(iter::repeat(0)))
        {
            let (bytes, most) = (part.len(), LONGEST_NAME - behind);
            if bytes > most {
                bail!("experiment: a name of {bytes} bytes, at most {most} are taken")
            }
        }
        let size = self
            .data
            .size
            .filter(|_| self.data.name == DataName::Imagenet);
        if let Some(size) = size.filter(|size| !SIZES.contains(size)) {
            let (least, most) = (SIZES.start(), SIZES.end());
            bail!("data.size: expected {least} to {most}, got {size}")
        }
        self.lr.validate().map_err(|e| anyhow::anyhow!("lr.{e}"))?;
        if let Some(alpha) = &self.alpha {
            alpha.validate().map_err(|e| anyhow::anyhow!("alpha.{e}"))?;
        }
        self.optimizer
            .validate()
            .map_err(|e| anyhow::anyhow!("optimizer.{e}"))?;
        let flips = self.optimizer.flips.as_ref();
        let schedules = [
            ("lr", Some(&self.lr)),
            ("alpha", self.alpha.as_ref()),
            ("optimizer.flips.target", flips.map(|flips| &flips.target)),
        ];
        for (key, schedule) in schedules {
            if schedule.is_some_and(|s| s.warmup_epochs > self.epochs as f64) {
                bail!(
                    "{key}.warmup_epochs: longer than the run's {} epochs",
                    self.epochs
                )
            }
        }
        if !self.micro_batches.is_power_of_two() {
            bail!(
                "micro_batches: expected a power of two, got {}",
                self.micro_batches
            )
        }
        if self.batch_norm_is_synced()? && self.micro_batches > 1 {
            bail!(
                "micro_batches: expected 1 with batch_norm = \"synced\", got {}",
                self.micro_batches
            )
        }
        self.head_is_fresh()?;
        self.activations()?;
        if u32::try_from(self.epochs).is_err() {
            bail!("epochs: expected at most {}, got {}", u32::MAX, self.epochs)
        }
        if let Some((image, classes)) = image_of(&self.data) {
            self.plan(image, classes)?;
        }
        Ok(())
    }
}
