//! Which trainings are asked for, and how are they made?

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::plan::{Job, Plan, Row};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long the trainings are
    #[arg(long, value_enum, default_value_t = Budget::Small)]
    budget: Budget,
    /// Passes over the training images instead of the budget's; several give a section each
    #[arg(long, num_args = 1.., value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Vec<u32>,
    /// Seeds 1 to N of every row [default: the page's own]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Only these rows, as the page names them: s3-3bit, twn
    #[arg(long, value_name = "ROW", num_args = 1..)]
    only: Vec<String>,
    #[command(flatten)]
    how: How,
    /// Trains nothing: builds `s3`, and fails where the page or a picture of it is not what the
    /// records say
    #[arg(long)]
    pub(super) check: bool,
    /// Trains nothing: writes the page and its pictures again from the records
    #[arg(long, conflicts_with = "check")]
    pub(super) redraw: bool,
}

/// How trainings are made.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// Goes on: skips what has a record, takes up what has a run folder
    #[arg(long)]
    pub(super) resume: bool,
    /// Type of the activations in training, where a method allows a choice
    #[arg(long, default_value = "bf16")]
    pub(super) dtype: String,
    /// Threads of a training [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) threads: Option<u32>,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data]
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder in which run folders are made
    #[arg(long, default_value = "runs")]
    pub(super) out: PathBuf,
    /// Trains nothing: says what would train, and how long it takes at the pace of the records
    #[arg(long)]
    pub(super) list: bool,
    /// Seconds instead of hours: a small network on generated images.
    #[arg(skip)]
    pub(super) smoke: bool,
}

impl How {
    /// Where page and records are instead of docs/results.
    pub(super) fn aside(&self) -> Option<PathBuf> {
        self.smoke.then(|| self.out.join("smoke"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Budget {
    /// Seconds: a few epochs of a small network on generated images; page and records stay below
    /// --out
    Smoke,
    /// Hours: the network and the data of the page, few epochs; what is to train is said at the
    /// start
    Small,
    /// The paper's setting
    Full,
}

impl Options {
    /// The smoke budget below a folder; runs that two pages share are trained once.
    pub(super) fn smoke(out: &Path) -> Self {
        let how = How {
            resume: true,
            dtype: "bf16".to_owned(),
            threads: None,
            data_dir: None,
            out: out.to_path_buf(),
            list: false,
            smoke: true,
        };
        Self {
            budget: Budget::Smoke,
            epochs: Vec::new(),
            seeds: None,
            only: Vec::new(),
            how,
            check: false,
            redraw: false,
        }
    }

    /// The same with the pages in docs/results, for what trains nothing.
    pub(super) fn on_the_pages(self) -> How {
        How {
            smoke: false,
            ..self.how
        }
    }

    pub(super) fn how(&self) -> How {
        How {
            smoke: self.budget == Budget::Smoke,
            ..self.how.clone()
        }
    }
}

impl Plan {
    /// The trainings that are asked for, short ones first.
    pub(super) fn jobs(&self, options: &Options) -> Result<Vec<Job<'static>>> {
        let known = |name: &&String| self.rows.iter().any(|row| row.name == **name);
        if let Some(name) = options.only.iter().find(|name| !known(name)) {
            let rows: Vec<&str> = self.rows.iter().map(|row| row.name).collect();
            bail!(
                "--only {name}: no such row, expected some of {}",
                rows.join(", ")
            );
        }
        let [small, full] = self.epochs;
        let mut epochs = match options.budget {
            Budget::Smoke => (1..=small.len() as u32).map(|i| i + 1).collect(),
            Budget::Small => small.to_vec(),
            Budget::Full => full.to_vec(),
        };
        if !options.epochs.is_empty() {
            epochs.clone_from(&options.epochs);
            epochs.sort_unstable();
            epochs.dedup();
        }
        let seeds = match (options.seeds, options.budget) {
            (Some(seeds), _) => seeds,
            (None, Budget::Smoke) => 1,
            (None, Budget::Small | Budget::Full) => self.seeds,
        };
        let wanted = |row: &&Row| {
            let asked = options.only.iter().any(|name| name == row.name);
            asked || (options.only.is_empty() && (!row.only_full || options.budget == Budget::Full))
        };
        let mut jobs = Vec::new();
        for &epochs in &epochs {
            for seed in 1..=seeds {
                let rows = self.rows.iter().filter(wanted);
                jobs.extend(rows.map(|row| Job { row, epochs, seed }));
            }
        }
        Ok(jobs)
    }
}
