//! How a run is taken up where it stood: from its last checkpoint, on the data that it was started
//! on.

use super::checkpoint;
use super::dynamics;
use super::folder::data_record;
use super::network::{Description, FILE};
use super::optim::PREFIX as OPTIMIZER;
use super::parameters::{load_params, set};
use super::session::Session;
use anyhow::{Result, bail};
use s3_metrics::record::{
    DynamicsRecord, EpochRecord, TimingRecord, drop_records_after, read_jsonl,
};
use serde::de::DeserializeOwned;

impl Session<'_> {
    /// Takes up the last checkpoint and forgets the lines that came after it.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.check_data()?;
        let path = self.folder.last();
        let (header, mut tensors) = checkpoint::load(&path)?;
        self.notes.extend(header.warning(&path));
        let run = self.config.run_name()?.display().to_string();
        header.check(
            &path,
            &self.config.model.name,
            self.method_name(),
            Some(&run),
        )?;
        load_params(&self.params, &tensors, &path)?;
        for (name, var) in self.optimizer.state() {
            set(&var, &tensors, &format!("{OPTIMIZER}{name}"), &path)?;
        }
        tensors.retain(|name, _| name.starts_with(dynamics::PREFIX));
        self.snapshot = tensors;
        self.optimizer.set_steps(header.position.step);
        self.position = header.position;
        tracing::info!(path = %path.display(), step = self.position.step, "resumed");
        if !self.leads() {
            return Ok(());
        }
        let epoch = u32::try_from(self.position.epoch)?;
        for lines in ["epochs.jsonl", "dynamics.jsonl", "timing.jsonl"] {
            drop_records_after(&self.folder.file(lines), epoch)?;
        }
        let all: Vec<u32> = (1..=epoch).collect();
        self.check_lines::<EpochRecord>("epochs.jsonl", "epochs", &all, |r| r.epoch)?;
        self.check_lines::<TimingRecord>("timing.jsonl", "epochs", &all, |r| r.epoch)?;
        let due = (0..=epoch).filter(|&e| e == 0 || self.snapshot_is_due(e as usize));
        let layers = self.net.layers().len();
        let due: Vec<u32> = due.flat_map(|e| vec![e; layers]).collect();
        self.check_lines::<DynamicsRecord>("dynamics.jsonl", "layers' snapshots", &due, |r| {
            r.epoch
        })?;
        if self.position.best.is_some() {
            checkpoint::load(&self.folder.best())?;
        }
        Ok(())
    }

    /// Refuses a file of lines that are not those of `epochs`, one a line, as the checkpoint has
    /// it.
    fn check_lines<T: DeserializeOwned>(
        &self,
        file: &str,
        what: &str,
        epochs: &[u32],
        epoch_of: fn(&T) -> u32,
    ) -> Result<()> {
        let path = self.folder.file(file);
        let lines: Vec<T> = read_jsonl(&path)?;
        let found: Vec<u32> = lines.iter().map(epoch_of).collect();
        if found != epochs {
            bail!(
                "{}: {} {what}, the checkpoint stands after {}",
                path.display(),
                found.len(),
                epochs.len()
            )
        }
        Ok(())
    }

    /// Refuses to go on with a run on other data than it was started on.
    fn check_data(&mut self) -> Result<()> {
        let (folder, data) = (self.folder.root().display(), &self.train.name);
        let known = Description::read(&self.folder)?;
        // Mean and deviation are those of the whole split, of which the manifest hashes what is
        // trained on.
        let differences = known.as_ref().map(|known| known.differences(&self.train));
        let differences = differences.unwrap_or_default().join("; ");
        if !differences.is_empty() {
            bail!("{folder}: the run was trained on other data: {differences}")
        }
        let manifest = self.folder.read_json("manifest.json")?;
        if manifest["data"] != data_record(&self.train, &self.test) {
            bail!("{folder}: the run was trained on other data ({data} differs from manifest.json)")
        }
        if known.is_none() {
            self.notes.push(format!(
                "{folder}: no {FILE}: mean and deviation are those of the data at hand; whether \
                 the run began with them nobody knows"
            ));
        }
        match known.and_then(|known| known.graph) {
            Some(graph) if graph != *self.net.plan() => bail!(
                "{folder}: {FILE}: graph: the run trains another network than {} is in this \
                 version",
                self.config.model.name
            ),
            Some(_) => Ok(()),
            // A run of an older version is given the file that it would have today.
            None if self.leads() => self.description().write(&self.folder),
            None => Ok(()),
        }
    }
}
