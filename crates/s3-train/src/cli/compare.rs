//! Finished runs side by side.

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_train::files::write_atomically;
use s3_train::finished;
use s3_train::run::RunFolder;
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
    if args.json {
        for run in &args.runs {
            let mut record = finished::record(run)?;
            if args.dynamics {
                record["layers"] = finished::layers(run)?;
            }
            say!("{record}");
        }
        return Ok(());
    }
    let table = table(&args.runs)?;
    say!("{table}");
    if let Some(path) = &args.markdown {
        let page = format!("# {}\n\n{table}\n\n{}", args.title, origins(&args.runs)?);
        write_atomically(path, page.as_bytes())?;
    }
    Ok(())
}

fn json(run: &Path, name: &str) -> Result<Value> {
    let path = RunFolder::open(run)?.file(name);
    let bytes = std::fs::read(&path)
        .with_context(|| format!("{}: not finished? reading {name}", run.display()))?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

/// A row a run: what it reached after its last epoch, and what its network weighs.
pub(crate) fn table(runs: &[PathBuf]) -> Result<Table> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "experiment",
        "seed",
        "epochs",
        "test top-1",
        "test loss",
        "zero weights",
        "bytes",
        "smaller by",
        "training",
    ]);
    for run in runs {
        let summary = json(run, "summary.json")?;
        let number = |key: &str| summary.pointer(key).and_then(Value::as_f64);
        let percent = |key: &str| number(key).map_or("-".into(), |v| format!("{:.2} %", 100.0 * v));
        let value = |key: &str| number(key).unwrap_or(f64::NAN);
        table.add_row([
            summary["experiment"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
            summary["seed"].to_string(),
            summary["last"]["epoch"].to_string(),
            percent("/last/test_top1"),
            format!("{:.4}", value("/last/test_loss")),
            percent("/last/sparsity"),
            format!("{:.1} kB", value("/bytes") / 1e3),
            format!("{:.1}x", value("/compression")),
            format!("{:.0} s", value("/train_seconds") + value("/test_seconds")),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

/// How each run came about, from its manifest, with its accuracy after each epoch.
pub(crate) fn origins(runs: &[PathBuf]) -> Result<String> {
    use std::fmt::Write as _;
    let mut page = String::new();
    for run in runs {
        let (manifest, summary) = (json(run, "manifest.json")?, json(run, "summary.json")?);
        let experiment = summary["experiment"].as_str().unwrap_or_default();
        let first = &manifest["sittings"][0];
        let word = |v: &Value| v.as_str().unwrap_or("?").to_string();
        writeln!(
            page,
            "- `{experiment}`: n = 1, seed {}, {} of {} training and {} test images, {}, {} threads, revision {}, began {} (unix seconds){}.",
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
