//! What a page needs: its rows, epochs and seeds; and how it is written and compared.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::page::Page;
use super::records::{folder, total_epochs};
use super::trainer::{Trainer, listen, write};
use super::work::{Work, say_plan, train_all};

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
    /// Trains nothing: builds `s3`, and fails where the page or a picture of it is not what the records say
    #[arg(long)]
    check: bool,
    /// Trains nothing: writes the page and its pictures again from the records
    #[arg(long, conflicts_with = "check")]
    redraw: bool,
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
    /// Seconds: a few epochs of a small network on generated images; page and records stay below --out
    Smoke,
    /// Hours: the network and the data of the page, few epochs; what is to train is said at the start
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

/// The run that a row starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The row of the page, of the same seed.
    pub(super) row: &'static str,
    /// Whether its epochs are taken from the row's, two of five, so that both together are as many as those of
    /// other rows; else it has as many as the row, on top.
    pub(super) within: bool,
}

impl Start {
    /// From a run of as many epochs, which come on top.
    pub(super) const fn before(row: &'static str) -> Self {
        Self { row, within: false }
    }

    /// From a run of two of five epochs, which are taken from the row's.
    pub(super) const fn within(row: &'static str) -> Self {
        Self { row, within: true }
    }
}

/// A training, but for its epochs and its seed.
pub(super) struct Row {
    /// In the page, in the records and after `--only`.
    pub(super) name: &'static str,
    /// `xtask/experiments/cifar10/resnet20-RECIPE.toml`; with a folder in it `xtask/experiments/RECIPE.toml`.
    pub(super) recipe: &'static str,
    /// What is set beside it, as after `--set`.
    pub(super) settings: &'static [&'static str],
    /// What the paper has for it; empty where it has nothing.
    pub(super) paper: &'static str,
    /// A public figure for this network, and where it stands.
    pub(super) published: &'static str,
    /// What it starts from, where that is not at random.
    pub(super) start: Option<Start>,
    /// Whether its layers do more than multiply, which trains in f32 only.
    pub(super) only_f32: bool,
    /// Whether only the full budget has it.
    pub(super) only_full: bool,
    /// Test images on which every file that it can become is measured; 0 where none is.
    pub(super) files_on: u32,
}

impl Row {
    /// The recipe of this name as it is.
    pub(super) const fn of(name: &'static str) -> Self {
        Self {
            name,
            recipe: name,
            settings: &[],
            paper: "",
            published: "",
            start: None,
            only_f32: false,
            only_full: false,
            files_on: 0,
        }
    }

    /// Under a name of its own, with settings.
    pub(super) const fn with(
        name: &'static str,
        recipe: &'static str,
        settings: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            settings,
            ..Self::of(recipe)
        }
    }

    /// The experiment's name in a record.
    pub(super) fn experiment(&self) -> String {
        match self.recipe.contains('/') {
            true => self.recipe.to_owned(),
            false => format!("cifar10/resnet20-{}", self.recipe),
        }
    }
}

/// A page: its rows and how it is written.
pub(super) struct Plan {
    /// Of the files in docs/results.
    pub(super) name: &'static str,
    pub(super) rows: &'static [Row],
    /// At the small and at the full budget; each has its section.
    pub(super) epochs: [&'static [u32]; 2],
    /// Seeds 1 to N of every row, unless said.
    pub(super) seeds: u32,
    /// What a record keeps of each layer's snapshots, by their keys in `s3 compare --json --dynamics`.
    pub(super) layers: &'static [&'static str],
    pub(super) page: fn(&Plan, &[Value]) -> Page,
}

/// A row with its epochs and its seed.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) row: &'a Row,
    /// With those of the start, where the row counts them.
    pub(super) epochs: u32,
    pub(super) seed: u32,
}

impl Job<'_> {
    pub(super) fn is(&self, record: &Value) -> bool {
        record["row"] == self.row.name
            && record["seed"] == self.seed
            && total_epochs(record) == Some(u64::from(self.epochs))
    }

    /// Epochs of the run that it starts from.
    pub(super) fn start_epochs(&self) -> u32 {
        match self.row.start {
            Some(start) if start.within => (2 * self.epochs / 5).max(1),
            Some(_) => self.epochs,
            None => 0,
        }
    }

    /// Epochs of its own run.
    pub(super) fn own_epochs(&self) -> u32 {
        match self.row.start {
            Some(start) if start.within => self.epochs.saturating_sub(self.start_epochs()).max(1),
            _ => self.epochs,
        }
    }
}

impl Plan {
    pub(super) fn page_path(&self, aside: Option<&Path>) -> PathBuf {
        folder(aside).join(format!("{}.md", self.name))
    }

    /// Whether this `s3` draws the page's pictures as they are, to the byte.
    ///
    /// # Errors
    /// The first picture that is another one.
    pub(super) fn check_pictures(&self, s3: &Trainer<'_>) -> Result<()> {
        let page = (self.page)(self, &self.records(None)?);
        let folder = folder(None).join(self.name);
        let files = page.files();
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !files.contains(&name) {
                bail!("{}: not on the page; remove it", entry.path().display());
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        let drawn = tempfile::tempdir().context("a temporary folder")?;
        s3.draw(&page.pictures, drawn.path())?;
        for file in files {
            let path = folder.join(&file);
            let read = |path: &Path| {
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))
            };
            if read(&path)? != read(&drawn.path().join(&file))? {
                bail!(
                    "{}: not what {}.jsonl says: cargo xtask repro {} --redraw writes it",
                    path.display(),
                    self.name,
                    self.name
                );
            }
        }
        Ok(())
    }

    /// # Errors
    /// A page that is not what the records say, or a picture of it that is missing.
    pub(super) fn check(&self) -> Result<()> {
        let path = self.page_path(None);
        let found = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let page = (self.page)(self, &self.records(None)?);
        let writes = format!("cargo xtask repro {} --redraw writes it", self.name);
        if found != page.text {
            bail!(
                "{}: not what {}.jsonl says: {writes}",
                path.display(),
                self.name
            );
        }
        for file in page.files() {
            let file = folder(None).join(self.name).join(file);
            if !file.is_file() {
                bail!("{}: missing: {writes}", file.display());
            }
        }
        Ok(())
    }

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

    pub(super) fn run(&'static self, options: &Options) -> Result<ExitCode> {
        let how = options.how();
        if options.check {
            self.check()?;
            self.check_pictures(&Trainer::new(&how)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let jobs = self.jobs(options)?;
        let work: Vec<Work<'_>> = jobs.into_iter().map(|job| (self, job)).collect();
        if how.list {
            say_plan(&work, &how)?;
            return Ok(ExitCode::SUCCESS);
        }
        listen()?;
        let s3 = Trainer::new(&how)?;
        if options.redraw {
            self.write_page(&s3)?;
            println!("{}", self.page_path(how.aside().as_deref()).display());
            return Ok(ExitCode::SUCCESS);
        }
        train_all(self.name, &work, &s3)
    }

    pub(super) fn write_page(&self, s3: &Trainer<'_>) -> Result<()> {
        let aside = s3.how.aside();
        let aside = aside.as_deref();
        let page = (self.page)(self, &self.records(aside)?);
        if !page.pictures.is_empty() {
            s3.draw(&page.pictures, &folder(aside).join(self.name))?;
        }
        write(&self.page_path(aside), page.text.as_bytes())
    }
}

#[cfg(all(test, unix))]
mod tests;
