//! Where a run stands: trained, in training or stopped, how far it is, and how long it still takes.

use super::folder::RunFolder;
use crate::config::Config;
use crate::lock;
use anyhow::Result;
use s3_metrics::record::{EpochRecord, TimingRecord, read_whole_lines};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What happens to a run at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Every epoch is done.
    Finished,
    /// A process holds its lock.
    Training,
    /// Neither: `train --resume` goes on.
    Stopped,
}

impl State {
    /// `finished`, `training`, `stopped`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Training => "training",
            Self::Stopped => "stopped",
        }
    }
}

/// Where a run stands.
#[derive(Debug)]
#[non_exhaustive]
pub struct Status {
    /// The configuration in its folder.
    pub config: Config,
    /// What happens to it.
    pub state: State,
    /// The lines of its epochs that are done.
    pub epochs: Vec<EpochRecord>,
    /// What each of them took, as far as it is written.
    pub timing: Vec<TimingRecord>,
    /// When the last of them was written, or the last sitting began, if that was later.
    since: Option<SystemTime>,
}

impl Status {
    /// Of the run in `folder`, which another process may be writing.
    ///
    /// # Errors
    /// No run's folder, or a file of it that cannot be read; the message names it.
    pub fn of(folder: &Path) -> Result<Self> {
        let run = RunFolder::open(folder)?;
        let config = Config::load(&run.config(), &[])?;
        // Before the lines: a run that finishes now is seen in training, and not as stopped.
        let trains = lock::is_held(folder);
        let path = run.file("epochs.jsonl");
        let (mut epochs, mut timing, mut written) = (Vec::new(), Vec::new(), None);
        if path.is_file() {
            epochs = read_whole_lines(&path)?;
            written = path.metadata().and_then(|about| about.modified()).ok();
        }
        let manifest = run.read_json("manifest.json").ok();
        let sittings = manifest.as_ref().and_then(|all| all["sittings"].as_array());
        let began = sittings.and_then(|all| all.last()?["began_unix"].as_u64());
        let began = began.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let path = run.file("timing.jsonl");
        if path.is_file() {
            timing = read_whole_lines(&path)?;
        }
        let state = match (trains, run.file("summary.json").is_file()) {
            (true, _) => State::Training,
            (false, true) => State::Finished,
            (false, false) => State::Stopped,
        };
        Ok(Self {
            config,
            state,
            epochs,
            timing,
            since: written.max(began),
        })
    }

    /// Test accuracy after the last epoch that was evaluated, a share of 1.
    #[must_use]
    pub fn test_top1(&self) -> Option<f64> {
        self.epochs.iter().rev().find_map(|epoch| epoch.test_top1)
    }

    /// How long a run in training still takes at `now`, by the median of its epochs so far, as one
    /// that was resumed within has the time of its rest alone; none before the first is done.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        if self.state != State::Training || self.timing.is_empty() {
            return None;
        }
        let seconds = |of: &TimingRecord| of.train_seconds + of.test_seconds.unwrap_or(0.0);
        let mut each: Vec<f64> = self.timing.iter().map(seconds).collect();
        each.sort_by(f64::total_cmp);
        let epoch = each[each.len() / 2];
        let ahead = self.config.epochs.saturating_sub(self.epochs.len()) as f64 * epoch;
        let ahead = Duration::try_from_secs_f64(ahead).ok()?;
        let since = self.since.and_then(|then| now.duration_since(then).ok());
        Some(ahead.saturating_sub(since.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Lock;

    /// A run of four epochs in `folder`, of which one is done in 60 seconds.
    fn run(folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let text = r#"
epochs = 4
batch_size = 8
data = { name = "shapes" }
model = { name = "resnet8" }
method = { name = "fp32" }
optimizer = { name = "sgd" }
lr = { schedule = "constant", start = 0.1 }
"#;
        std::fs::write(folder.join("config.toml"), text)?;
        let epoch = r#"{"epoch":1,"step":9,"lr":0.1,"alpha":0.0,"train_loss":1.0,
            "train_penalty":0.0,"train_top1":0.5,"test_loss":1.0,"test_top1":0.75}"#;
        let epoch = epoch.replace('\n', "");
        // The second line is being written.
        std::fs::write(
            folder.join("epochs.jsonl"),
            format!("{epoch}\n{{\"epoch\":2"),
        )?;
        let timing = r#"{"epoch":1,"train_seconds":50.0,"test_seconds":10.0,
            "images_per_second":1.0}"#;
        let timing = timing.replace('\n', "");
        std::fs::write(folder.join("timing.jsonl"), format!("{timing}\n"))?;
        Ok(())
    }

    #[test]
    fn a_run_is_training_while_its_lock_is_held_and_else_stopped_or_finished() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("mine");
        run(&folder)?;
        let status = Status::of(&folder)?;
        assert_eq!(status.state, State::Stopped);
        assert_eq!(status.epochs.len(), 1);
        assert_eq!(status.test_top1(), Some(0.75));
        let now = std::fs::metadata(folder.join("epochs.jsonl"))?.modified()?;
        assert_eq!(status.left(now), None);

        let lock = Lock::take(&folder, "busy")?;
        let status = Status::of(&folder)?;
        assert_eq!(status.state, State::Training);
        // Three epochs of a minute, of which ten seconds are over.
        let left = |after| status.left(now + Duration::from_secs(after));
        assert_eq!(left(0), Some(Duration::from_secs(180)));
        assert_eq!(left(10), Some(Duration::from_secs(170)));
        assert_eq!(left(1000), Some(Duration::ZERO));
        // A pause before the sitting began is no work.
        let began = now.duration_since(UNIX_EPOCH)?.as_secs() + 500;
        let manifest = format!(r#"{{"sittings":[{{"began_unix":{began}}}]}}"#);
        std::fs::write(folder.join("manifest.json"), manifest)?;
        let began = UNIX_EPOCH + Duration::from_secs(began + 10);
        assert_eq!(
            Status::of(&folder)?.left(began),
            Some(Duration::from_secs(170))
        );
        drop(lock);

        std::fs::write(folder.join("summary.json"), "{}")?;
        assert_eq!(Status::of(&folder)?.state, State::Finished);
        Ok(())
    }
}
