//! What a page needs, and the loop that trains it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::page::Page;
use super::seeds;
use super::trainer::{End, Trainer, is_finished, listen, stopped, write};
use crate::cargo::root;

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
    /// Goes on: skips what has a record, takes up what has a run folder
    #[arg(long)]
    resume: bool,
    /// Type of the activations in training, where a method allows a choice
    #[arg(long, default_value = "bf16")]
    pub(super) dtype: String,
    /// Only these rows, as the page names them: s3-3bit, twn
    #[arg(long, value_name = "ROW", num_args = 1..)]
    only: Vec<String>,
    /// Threads of a training [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) threads: Option<u32>,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data]
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder in which run folders are made
    #[arg(long, default_value = "runs")]
    pub(super) out: PathBuf,
    /// Trains nothing: builds `s3`, and fails where the page or a picture of it is not what the records say
    #[arg(long)]
    check: bool,
    /// Trains nothing: writes the page and its pictures again from the records
    #[arg(long, conflicts_with = "check")]
    redraw: bool,
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
        Self {
            budget: Budget::Smoke,
            epochs: Vec::new(),
            seeds: None,
            resume: true,
            dtype: "bf16".to_owned(),
            only: Vec::new(),
            threads: None,
            data_dir: None,
            out: out.to_path_buf(),
            check: false,
            redraw: false,
        }
    }

    pub(super) fn is_smoke(&self) -> bool {
        self.budget == Budget::Smoke
    }

    /// Where page and records are instead of docs/results.
    fn aside(&self) -> Option<PathBuf> {
        self.is_smoke().then(|| self.out.join("smoke"))
    }
}

/// A training, but for its epochs and its seed.
pub(super) struct Row {
    /// In the page, in the records and after `--only`.
    pub(super) name: &'static str,
    /// `xtask/experiments/cifar10/resnet20-RECIPE.toml`.
    pub(super) recipe: &'static str,
    /// What is set beside it, as after `--set`.
    pub(super) settings: &'static [&'static str],
    /// What the paper has for it; empty where it has nothing.
    pub(super) paper: &'static str,
    /// A public figure for this network, and where it stands.
    pub(super) published: &'static str,
    /// The row of the page whose run of the same epochs and seed it starts from.
    pub(super) start: Option<&'static str>,
    /// Whether its layers do more than multiply, which trains in f32 only.
    pub(super) only_f32: bool,
    /// Whether only the full budget has it.
    pub(super) only_full: bool,
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
        format!("cifar10/resnet20-{}", self.recipe)
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
    pub(super) epochs: u32,
    pub(super) seed: u32,
}

impl Job<'_> {
    fn is(&self, record: &Value) -> bool {
        record["row"] == self.row.name
            && record["seed"] == self.seed
            && record["epochs"] == self.epochs
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It has a record.
    Known,
    /// It has one now.
    Trained,
    /// Why it has no result.
    Failed(String),
    /// Why its record stays as it is.
    Refused(String),
    /// Ctrl-C.
    Stopped,
}

impl Plan {
    fn folder(aside: Option<&Path>) -> PathBuf {
        aside.map_or_else(|| root().join("docs/results"), Path::to_path_buf)
    }

    pub(super) fn records_path(&self, aside: Option<&Path>) -> PathBuf {
        Self::folder(aside).join(format!("{}.jsonl", self.name))
    }

    fn page_path(&self, aside: Option<&Path>) -> PathBuf {
        Self::folder(aside).join(format!("{}.md", self.name))
    }

    fn records(&self, aside: Option<&Path>) -> Result<Vec<Value>> {
        let path = self.records_path(aside);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let line = |(i, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
        };
        let records: Vec<Value> = text.lines().enumerate().map(line).collect::<Result<_>>()?;
        seeds::check(&records, &path)?;
        Ok(records)
    }

    /// Whether this `s3` draws the page's pictures as they are, to the byte.
    ///
    /// # Errors
    /// The first picture that is another one.
    pub(super) fn check_pictures(&self, s3: &Trainer<'_>) -> Result<()> {
        let page = (self.page)(self, &self.records(None)?);
        let folder = Self::folder(None).join(self.name);
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
            let file = Self::folder(None).join(self.name).join(file);
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

    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        if options.check {
            self.check()?;
            self.check_pictures(&Trainer::new(options)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let jobs = self.jobs(options)?;
        listen()?;
        let s3 = Trainer::new(options)?;
        if options.redraw {
            self.write_page(&s3, options.aside().as_deref())?;
            println!("{}", self.page_path(options.aside().as_deref()).display());
            return Ok(ExitCode::SUCCESS);
        }
        self.train_all(&jobs, &s3, options)
    }

    pub(super) fn train_all(
        &self,
        jobs: &[Job<'_>],
        s3: &Trainer<'_>,
        options: &Options,
    ) -> Result<ExitCode> {
        let aside = options.aside();
        let records = self.records(aside.as_deref())?;
        let epochs = |jobs: &[Job<'_>], records: &[Value]| -> u32 {
            let open = |job: &&Job<'_>| !records.iter().any(|r| job.is(r) && is_result(r));
            jobs.iter().filter(open).map(|job| job.epochs).sum()
        };
        let (all, open) = (epochs(jobs, &[]), epochs(jobs, &records));
        println!(
            "{}: {} runs of {all} epochs together, {open} of them to train",
            self.name,
            jobs.len()
        );
        let (begun, mut failed, mut refused) = (Instant::now(), 0, 0);
        for (i, job) in jobs.iter().enumerate() {
            let started = Instant::now();
            let outcome = match self.train(s3, options, job, &records) {
                _ if stopped() => Outcome::Stopped,
                outcome => outcome?,
            };
            let place = format!(
                "{}/{}: {}, {} epochs, seed {}",
                i + 1,
                jobs.len(),
                job.row.name,
                job.epochs,
                job.seed
            );
            match outcome {
                Outcome::Known => println!("{place}: has a record"),
                Outcome::Trained => {
                    let records = self.records(aside.as_deref())?;
                    let left = epochs(&jobs[i + 1..], &records);
                    let done = open.saturating_sub(epochs(jobs, &records));
                    let pace = begun.elapsed() / done.max(1);
                    let (took, left) = (hours(started.elapsed()), hours(pace * left));
                    println!("{place}: {took}; at this pace {left} left");
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    eprintln!("{place}: {why}");
                }
                Outcome::Refused(why) => {
                    refused += 1;
                    eprintln!("{place}: {why}");
                }
                Outcome::Stopped => {
                    println!("stopped in {}; --resume goes on", job.row.name);
                    return Ok(ExitCode::from(130));
                }
            }
            self.write_page(s3, aside.as_deref())?;
        }
        println!("{}", self.page_path(aside.as_deref()).display());
        if failed + refused > 0 {
            bail!(
                "{}: of {} runs {failed} failed and {refused} had a record already",
                self.name,
                jobs.len()
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_page(&self, s3: &Trainer<'_>, aside: Option<&Path>) -> Result<()> {
        let page = (self.page)(self, &self.records(aside)?);
        if !page.pictures.is_empty() {
            s3.draw(&page.pictures, &Self::folder(aside).join(self.name))?;
        }
        write(&self.page_path(aside), page.text.as_bytes())
    }

    /// Trains one run and adds its record, unless it has one; `before` are those that this command found. A training that diverges leaves a record that says so, and the
    /// next call tries it again; any other refusal leaves none.
    fn train(
        &self,
        s3: &Trainer<'_>,
        options: &Options,
        job: &Job<'_>,
        before: &[Value],
    ) -> Result<Outcome> {
        let records = self.records(options.aside().as_deref())?;
        let is_this = |r: &&Value| job.is(r) && is_result(r);
        if let Some(known) = records.iter().find(is_this) {
            // One that others started from may have been made in this very call.
            if !options.resume && before.iter().any(|r| is_this(&r)) {
                return Ok(Outcome::Refused(
                    "has a record; --resume goes on".to_owned(),
                ));
            }
            let dtype = s3.dtype(job.row);
            if known["dtype"] != dtype {
                let word = known["dtype"].as_str().unwrap_or("?");
                return Ok(Outcome::Refused(format!(
                    "has a record with activations {word}, wanted are {dtype}: --dtype {word} takes it, or remove its line"
                )));
            }
            return Ok(Outcome::Known);
        }
        let mut start = None;
        if let Some(name) = job.row.start {
            let row = self.rows.iter().find(|r| r.name == name);
            let row = row.with_context(|| format!("{}: no row {name}", self.name))?;
            let first = Job { row, ..*job };
            let folder = s3.folder(&first, None)?;
            // The records may be of another machine: the run itself is needed here.
            if !is_finished(&folder) {
                match self.make(s3, options, &first, None)? {
                    Outcome::Trained | Outcome::Known => {}
                    Outcome::Failed(why) | Outcome::Refused(why) => {
                        return Ok(Outcome::Failed(format!("starts from {name}: {why}")));
                    }
                    Outcome::Stopped => return Ok(Outcome::Stopped),
                }
            }
            start = Some(folder.join("last.safetensors"));
        }
        self.make(s3, options, job, start.as_deref())
    }

    fn make(
        &self,
        s3: &Trainer<'_>,
        options: &Options,
        job: &Job<'_>,
        start: Option<&Path>,
    ) -> Result<Outcome> {
        let (mut record, outcome) = match s3.train(job, start, options.resume)? {
            End::Finished(folder) => (s3.record(&folder, self.layers)?, Outcome::Trained),
            End::Stopped => return Ok(Outcome::Stopped),
            End::Refused(error) if error.starts_with("training diverged") => {
                let record = json!({
                    "experiment": job.row.experiment(),
                    "seed": job.seed,
                    "epochs": job.epochs,
                    "error": error,
                });
                (record, Outcome::Failed(error))
            }
            End::Refused(error) => return Ok(Outcome::Failed(error)),
        };
        record["row"] = json!(job.row.name);
        let aside = options.aside();
        let mut records = self.records(aside.as_deref())?;
        records.retain(|r| !job.is(r));
        records.push(record);
        if let Err(e) = seeds::check(&records, &self.records_path(aside.as_deref())) {
            return Ok(Outcome::Refused(e.to_string()));
        }
        let lines: String = records.iter().map(|r| format!("{r}\n")).collect();
        write(&self.records_path(aside.as_deref()), lines.as_bytes())?;
        Ok(outcome)
    }
}

/// Whether a record is of a run that finished.
pub(super) fn is_result(record: &Value) -> bool {
    record.get("error").is_none()
}

fn hours(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0 => format!("{} s", time.as_secs()),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(all(test, unix))]
mod tests;
