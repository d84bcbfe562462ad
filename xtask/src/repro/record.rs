//! One record of a run: a line of a page's file in `docs/results`.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use s3_metrics::finished::{Answered, Finished};
use serde::Deserialize;
use serde_json::Value;

use crate::cargo::root;

/// A finished run and what its page knows of it, or a training that diverged.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Record {
    /// The page's name of its configuration.
    pub(super) row: String,
    /// Its epochs together with those of the run that it starts from, where a row counts these.
    total_epochs: Option<u64>,
    /// Why it diverged.
    pub(super) error: Option<String>,
    /// What every file that it can become answers.
    pub(super) files: Vec<Answered>,
    #[serde(flatten)]
    run: Finished,
    /// The line itself: records of older programs stay as they were written.
    #[serde(skip)]
    pub(super) line: Value,
}

impl Deref for Record {
    type Target = Finished;

    fn deref(&self) -> &Finished {
        &self.run
    }
}

impl Record {
    pub(super) fn read(line: Value) -> serde_json::Result<Self> {
        let record = Self::deserialize(&line)?;
        Ok(Self { line, ..record })
    }

    /// Whether it is of a run that finished.
    pub(super) fn is_result(&self) -> bool {
        self.error.is_none()
    }

    /// The epochs that its page counts.
    pub(super) fn total_epochs(&self) -> u64 {
        self.total_epochs.unwrap_or(self.epochs)
    }

    #[cfg(test)]
    pub(super) fn of(line: Value) -> Self {
        Self::read(line).expect("a record")
    }
}

/// The folder of pages and records.
pub(super) fn folder(aside: Option<&Path>) -> PathBuf {
    aside.map_or_else(|| root().join("docs/results"), Path::to_path_buf)
}
