//! Finished runs side by side.

use super::output::check_output;
use crate::config::Config;
use crate::files::write_atomically;
use crate::finished;
use crate::given::Given;
use crate::groups::{self, Groups};
use crate::run::RunFolder;
use crate::terminal::{note, one_line};
use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// Run folders.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Also writes the table, with how it came about, as a Markdown page of this title.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The title of the page.
    #[arg(long, default_value = "Runs")]
    title: String,
    /// Prints one JSON object a run instead of the table.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Adds the weight dynamics of each layer to the objects.
    #[arg(long, requires = "json")]
    dynamics: bool,
}

pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    if let Some(path) = &args.markdown {
        check_output("--markdown", path, &Given::Other)?;
    }
    if args.json {
        let record = |run: &Path| {
            let mut record = finished::record(run)?;
            if args.dynamics {
                record.layers = Some(finished::layers(run)?);
            }
            Ok(record)
        };
        for (_, record) in of_each(&args.runs, record)? {
            // Keys in alphabetical order.
            say!("{}", serde_json::to_value(record)?);
        }
        return Ok(());
    }
    let summary = |run: &Path| {
        let read = json(run, "summary.json");
        read.with_context(|| format!("{}: not finished", run.display()))
    };
    let (runs, _): (Vec<PathBuf>, Vec<_>) = of_each(&args.runs, summary)?.into_iter().unzip();
    let table = table(&runs)?;
    say!("{table}");
    if let Some(path) = &args.markdown {
        let page = format!(
            "# {}\n\n{table}\n\n{}",
            args.title,
            origins(&runs, Groups::name)?
        );
        write_atomically(path, page.as_bytes())?;
    }
    Ok(())
}

/// What `read` has of each of `runs`; those that it has nothing of are named, and one at least must
/// have something.
fn of_each<T>(runs: &[PathBuf], read: impl Fn(&Path) -> Result<T>) -> Result<Vec<(PathBuf, T)>> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for run in runs {
        // What is no run's folder is a mistake, and no run under way.
        RunFolder::open(run)?;
        match read(run) {
            Ok(of_run) => found.push((run.clone(), of_run)),
            Err(e) => refused.push(e),
        }
    }
    if found.is_empty() && !refused.is_empty() {
        return Err(refused.swap_remove(0));
    }
    note(refused.iter().map(|e| format!("left out: {}", one_line(e))));
    Ok(found)
}

fn json(run: &Path, name: &str) -> Result<Value> {
    RunFolder::open(run)?.read_json(name)
}

/// A row a run: what it reached after its last epoch, and what its network weighs.
pub(crate) fn table(runs: &[PathBuf]) -> Result<Table> {
    let groups = Groups::read(runs)?;
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "experiment",
        "method",
        "data",
        "differs in",
        "seed",
        "epochs",
        "test top-1",
        "test loss",
        "zero weights",
        "bytes",
        "smaller by",
        "training",
    ]);
    for (i, run) in runs.iter().enumerate() {
        let config = Config::load(&RunFolder::open(run)?.config(), &[])?;
        let summary = json(run, "summary.json")?;
        let number = |key: &str| summary.pointer(key).and_then(Value::as_f64);
        let percent = |key: &str| number(key).map_or("-".into(), |v| format!("{:.2} %", 100.0 * v));
        let value = |key: &str| number(key).unwrap_or(f64::NAN);
        table.add_row([
            config.experiment.clone(),
            groups::method(&config),
            groups::data(&config),
            groups.differs(i),
            config.seed.to_string(),
            summary["last"]["epoch"].to_string(),
            percent("/last/test_top1"),
            format!("{:.4}", value("/last/test_loss")),
            percent("/last/sparsity"),
            format!("{:.1} kB", value("/bytes") / 1e3),
            format!("{:.1}x", value("/compression")),
            format!("{:.0} s", value("/train_seconds") + value("/test_seconds")),
        ]);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

/// How each run, called by `name`, came about, from its manifest, with its accuracy after each
/// epoch.
pub(crate) fn origins(runs: &[PathBuf], name: impl Fn(&Groups, usize) -> String) -> Result<String> {
    use std::fmt::Write as _;
    let mut page = String::new();
    let groups = Groups::read(runs)?;
    for (i, run) in runs.iter().enumerate() {
        let (manifest, summary) = (json(run, "manifest.json")?, json(run, "summary.json")?);
        let name = name(&groups, i);
        let first = &manifest["sittings"][0];
        let word = |v: &Value| v.as_str().unwrap_or("?").to_string();
        writeln!(
            page,
            "- `{name}`: n = 1, seed {}, {} of {} training and {} test images, {}, {} threads, \
             revision {}, began {} (unix seconds){}.",
            summary["seed"],
            manifest["data"]["name"].as_str().unwrap_or_default(),
            manifest["data"]["train_images"],
            manifest["data"]["test_images"],
            word(&first["cpu"]),
            first["threads"],
            word(&first["git_revision"])
                .chars()
                .take(12)
                .collect::<String>(),
            first["began_unix"],
            settings(&first["command"]),
        )?;
        let path = RunFolder::open(run)?.file("epochs.jsonl");
        let epochs: Vec<s3_metrics::record::EpochRecord> = s3_metrics::record::read_jsonl(&path)?;
        let curve: Vec<String> = epochs
            .iter()
            .filter_map(|e| Some(format!("{:.1}", 100.0 * e.test_top1?)))
            .collect();
        writeln!(
            page,
            "  Test top-1 after each epoch, in %: {}.",
            curve.join(", ")
        )?;
        let path = RunFolder::open(run)?.file("timing.jsonl");
        let timing: Vec<s3_metrics::record::TimingRecord> = s3_metrics::record::read_jsonl(&path)?;
        let seconds: Vec<String> = timing
            .iter()
            .map(|t| format!("{:.1}", t.train_seconds))
            .collect();
        writeln!(
            page,
            "  Seconds of training of each epoch: {}.",
            seconds.join(", ")
        )?;
    }
    Ok(page)
}

/// The settings that a command line replaced, as the end of a sentence.
fn settings(command: &Value) -> String {
    let words: Vec<&str> = command
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let sets: Vec<String> = words
        .windows(2)
        .filter(|pair| pair[0] == "--set")
        .map(|pair| format!("`{}`", pair[1]))
        .collect();
    if sets.is_empty() {
        return String::new();
    }
    format!(", with {}", sets.join(", "))
}
