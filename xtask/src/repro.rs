//! `repro NAME`: trains what a table of the paper needs, one process at a time, keeps a record of each
//! finished run, and writes the page from the records.
//!
//! ```text
//! rows x seeds --> s3 train --resume --> run folder --> s3 compare --json --> docs/results/NAME.jsonl --> NAME.md
//! ```
//!
//! The records are small and tracked, so that the runs of a table may be made on several days and machines:
//! what has a record (of the same experiment, epochs and seed) is not trained again until its line is
//! removed. `--check` writes the page anew in memory and compares.

mod table1;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cargo::root;
use crate::s3::build;

/// What can be reproduced.
#[derive(Subcommand)]
pub(crate) enum Name {
    /// Table 1 on CIFAR-10: every method on ResNet-20
    #[command(name = "table1-cifar10")]
    Table1Cifar10(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Passes over the training images; recipes scale their schedules
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Seeds 1 to N of every row
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Goes on: skips what has a record, takes up what has a run folder
    #[arg(long)]
    resume: bool,
    /// Type of the activations in training, where a method allows a choice
    #[arg(long, default_value = "bf16")]
    dtype: String,
    /// Only the rows of these experiments, by the file's name without the network: s3-3bit, twn
    #[arg(long, value_name = "ROW", num_args = 1..)]
    only: Vec<String>,
    /// Threads of a training [default: all cores]
    #[arg(long)]
    threads: Option<u32>,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Folder in which run folders are made
    #[arg(long, default_value = "runs")]
    out: PathBuf,
    /// Trains nothing: fails where the page is not what the records say
    #[arg(long)]
    check: bool,
}

/// A row of a table: an experiment, and what the literature has.
struct Row {
    /// `xtask/experiments/cifar10/resnet20-NAME.toml`.
    name: &'static str,
    /// The row's name in the paper's table; empty where the paper has none.
    paper: &'static str,
    /// Whether the original starts from this network's full-precision run of the same seed.
    from_float: bool,
    /// Whether its layers do more than multiply, which trains in f32 only.
    only_f32: bool,
    /// A public figure for this network, and where it stands.
    published: &'static str,
}

impl Row {
    /// The experiment's name in a record.
    fn experiment(&self) -> String {
        format!("cifar10/resnet20-{}", self.name)
    }
}

/// A table: its rows and how it is written.
struct Plan {
    /// Of the files in docs/results.
    name: &'static str,
    rows: &'static [Row],
    /// The row that pre-trained ones start from.
    float: &'static str,
    page: fn(&[Row], &[Value]) -> String,
}

pub(crate) fn run(name: &Name) -> Result<ExitCode> {
    match name {
        Name::Table1Cifar10(options) => table1::PLAN.run(options),
    }
}

impl Plan {
    fn records_path(&self) -> PathBuf {
        root().join(format!("docs/results/{}.jsonl", self.name))
    }

    fn page_path(&self) -> PathBuf {
        root().join(format!("docs/results/{}.md", self.name))
    }

    fn records(&self) -> Result<Vec<Value>> {
        let path = self.records_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let line = |(i, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
        };
        text.lines().enumerate().map(line).collect()
    }

    fn check(&self) -> Result<()> {
        let path = self.page_path();
        let found = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        if found != (self.page)(self.rows, &self.records()?) {
            bail!(
                "{}: not what {}.jsonl says: cargo xtask repro {} --resume writes it",
                path.display(),
                self.name,
                self.name
            );
        }
        Ok(())
    }

    fn run(&self, options: &Options) -> Result<ExitCode> {
        if options.check {
            self.check()?;
            return Ok(ExitCode::SUCCESS);
        }
        let known = |name: &&String| self.rows.iter().any(|row| row.name == **name);
        if let Some(name) = options.only.iter().find(|name| !known(name)) {
            let rows: Vec<&str> = self.rows.iter().map(|row| row.name).collect();
            bail!(
                "--only {name}: no such row, expected some of {}",
                rows.join(", ")
            );
        }
        let wanted =
            |row: &&Row| options.only.is_empty() || options.only.iter().any(|n| n == row.name);
        // Ctrl-C is the trainings' own: they end after their step, and this command behind them.
        ctrlc::set_handler(|| {}).context("installing the Ctrl-C handler")?;
        let mut jobs = Vec::new();
        for seed in 1..=options.seeds {
            jobs.extend(self.rows.iter().filter(wanted).map(|row| (row, seed)));
        }
        let s3 = Trainer {
            binary: build("s3-train", "s3")?,
            options,
        };
        let (begun, mut trained, mut failed) = (Instant::now(), 0, 0);
        for (i, &(row, seed)) in jobs.iter().enumerate() {
            let started = Instant::now();
            let outcome = self.train(&s3, row, seed)?;
            trained += u32::from(outcome != Outcome::Known);
            let left = match trained {
                0 => String::new(),
                n => {
                    let each = begun.elapsed() / n;
                    format!(
                        "; at this pace {} left",
                        hours(each * (jobs.len() - i - 1) as u32)
                    )
                }
            };
            let (name, took) = (row.name, hours(started.elapsed()));
            let place = format!("{}/{}: {name}, seed {seed}", i + 1, jobs.len());
            match outcome {
                Outcome::Known => println!("{place}: has a record"),
                Outcome::Trained => println!("{place}: {took}{left}"),
                Outcome::Failed(why) => {
                    failed += 1;
                    eprintln!("{place}: {why}");
                }
                Outcome::Stopped => {
                    println!("stopped in {name}, seed {seed}; --resume goes on");
                    return Ok(ExitCode::from(130));
                }
            }
            self.write_page()?;
        }
        println!("{}", self.page_path().display());
        if failed > 0 {
            bail!("{failed} of {} runs have no record", jobs.len());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_page(&self) -> Result<()> {
        let page = (self.page)(self.rows, &self.records()?);
        write(&self.page_path(), page.as_bytes())
    }

    /// Trains one run and adds its record. A training that diverges leaves a record that says so, and the
    /// next call tries it again; any other refusal leaves none.
    fn train(&self, s3: &Trainer<'_>, row: &Row, seed: u32) -> Result<Outcome> {
        let mut records = self.records()?;
        let (resume, mut settings) = (s3.options.resume, s3.settings(row, seed));
        let is_this = |r: &Value, row: &Row| {
            r["experiment"] == row.experiment()
                && r["seed"] == seed
                && r["epochs"] == s3.options.epochs
        };
        let result = |row: &Row| {
            let has_result = |r: &&Value| is_this(r, row) && r.get("error").is_none();
            records.iter().find(has_result)
        };
        if let Some(known) = result(row) {
            if !resume {
                return Ok(Outcome::Failed("has a record; --resume goes on".to_owned()));
            }
            let dtype = s3.dtype(row);
            if known["dtype"] != dtype {
                return Ok(Outcome::Failed(format!(
                    "has a record with activations {}, wanted are {dtype}: give --dtype, or remove the record",
                    known["dtype"]
                )));
            }
            // The records may be of another machine: a row that others start from is needed itself.
            let starts_others = row.name == self.float
                && self
                    .rows
                    .iter()
                    .any(|r| r.from_float && result(r).is_none());
            if !starts_others || is_finished(&s3.folder(row, &settings)?) {
                return Ok(Outcome::Known);
            }
        }
        if row.from_float {
            let float = self.rows.iter().find(|r| r.name == self.float);
            let float = float.context("the plan has no full-precision row")?;
            let start = s3.folder(float, &s3.settings(float, seed))?;
            if !is_finished(&start) {
                return Ok(Outcome::Failed(format!(
                    "starts from {}, which is not finished: train the row {} first",
                    start.display(),
                    self.float
                )));
            }
            let checkpoint = start.join("last.safetensors");
            settings.push(format!("init_from={}", json!(checkpoint)));
        }
        let folder = s3.folder(row, &settings)?;
        let mut train = s3.train(row, &settings);
        if resume {
            train.arg("--resume");
        }
        let (status, error) = watched(&mut train)?;
        let error = error.unwrap_or_else(|| format!("it ended without a word ({status})"));
        let (record, outcome) = match status.code() {
            Some(0) => (s3.record(&folder)?, Outcome::Trained),
            Some(130) => return Ok(Outcome::Stopped),
            _ if error.starts_with("training diverged") => {
                let record = json!({
                    "experiment": row.experiment(),
                    "seed": seed,
                    "epochs": s3.options.epochs,
                    "error": error,
                });
                (record, Outcome::Failed(error))
            }
            _ => return Ok(Outcome::Failed(error)),
        };
        records.retain(|r| !is_this(r, row));
        records.push(record);
        let lines: String = records.iter().map(|r| format!("{r}\n")).collect();
        write(&self.records_path(), lines.as_bytes())?;
        Ok(outcome)
    }
}

/// Whether a run's folder holds a finished run.
fn is_finished(folder: &Path) -> bool {
    folder.join("summary.json").is_file() && folder.join("last.safetensors").is_file()
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It has a record.
    Known,
    /// It has one now.
    Trained,
    /// Why it has none.
    Failed(String),
    /// Ctrl-C.
    Stopped,
}

/// The `s3` binary and what all runs share.
struct Trainer<'a> {
    binary: PathBuf,
    options: &'a Options,
}

impl Trainer<'_> {
    fn dtype(&self, row: &Row) -> &str {
        if row.only_f32 {
            "f32"
        } else {
            &self.options.dtype
        }
    }

    fn settings(&self, row: &Row, seed: u32) -> Vec<String> {
        let dtype = self.dtype(row);
        vec![
            format!("epochs={}", self.options.epochs),
            format!("seed={seed}"),
            format!("dtype={dtype}"),
            "snapshot_epochs=1".to_owned(),
        ]
    }

    fn train(&self, row: &Row, settings: &[String]) -> Command {
        let mut command = Command::new(&self.binary);
        let file = format!("xtask/experiments/cifar10/resnet20-{}.toml", row.name);
        command.arg("train").arg(root().join(file));
        command.args(settings.iter().flat_map(|s| ["--set", s]));
        command.arg("--out").arg(&self.options.out);
        if let Some(folder) = &self.options.data_dir {
            command.arg("--data-dir").arg(folder);
        }
        if let Some(threads) = self.options.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command
    }

    /// The folder of a run, which also checks its configuration.
    fn folder(&self, row: &Row, settings: &[String]) -> Result<PathBuf> {
        let mut command = self.train(row, settings);
        let text = answer(command.arg("--dry-run")).with_context(|| row.name.to_owned())?;
        Ok(PathBuf::from(text.trim()))
    }

    fn record(&self, folder: &Path) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        let text = answer(command.arg("compare").arg(folder).arg("--json"))?;
        serde_json::from_str(&text).context("the record of a run is no JSON")
    }
}

/// Runs a command, shows its words line by line, and keeps that of an error.
fn watched(command: &mut Command) -> Result<(ExitStatus, Option<String>)> {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run s3 train")?;
    let words = child
        .stderr
        .take()
        .context("s3 train has no error output")?;
    let mut error = None;
    for line in BufReader::new(words).lines() {
        let line = line.context("reading the words of s3 train")?;
        eprintln!("{line}");
        error = line.strip_prefix("error: ").map(str::to_owned).or(error);
    }
    Ok((child.wait().context("waiting for s3 train")?, error))
}

/// What a command prints; its error is ours.
fn answer(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run s3")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{}", words.trim().trim_start_matches("error: "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file that appears whole.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    let save = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok(())
    };
    save().with_context(|| format!("writing {}", path.display()))
}

fn hours(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0 => format!("{} s", time.as_secs()),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_a_person_would() {
        let say = |s| hours(Duration::from_secs(s));
        assert_eq!(
            [say(7), say(600), say(3900)],
            ["7 s", "10 min", "1 h 05 min"]
        );
    }

    #[test]
    fn every_row_has_its_recipe() {
        for row in table1::PLAN.rows {
            let file = format!("xtask/experiments/cifar10/resnet20-{}.toml", row.name);
            let text = std::fs::read_to_string(root().join(&file)).expect(&file);
            assert_eq!(text.contains("--init from:"), row.from_float, "{file}");
        }
    }

    #[test]
    fn the_pages_are_what_their_records_say() {
        let written = "cargo xtask repro table1-cifar10 --resume writes it";
        table1::PLAN.check().expect(written);
    }
}
