//! `bench ddp`: images a second of a training run on several processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::page::{provenance, show, summary};
use crate::s3::build_at;

/// The paper's network for small images, on generated ones of the same shape.
const EXPERIMENT: &str = r#"
experiment = "ddp"
epochs = 2
batch_size = 128
snapshot_epochs = 2
data = { name = "shapes", test_limit = 128, augment = { pad = 4, flip = true } }
model = { name = "resnet20" }
method = { name = "s3", bits = 3, init = "low_variance" }
optimizer = { name = "sgd", momentum = 0.9, weight_decay = 1e-4 }
lr = { schedule = "cosine", start = 0.1 }
alpha = { schedule = "constant", start = 1e-5 }
"#;

#[derive(Args)]
pub(crate) struct Options {
    /// Prints one JSON object only
    #[arg(long)]
    json: bool,
    /// Numbers of processes, each with one thread
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    ranks: Vec<usize>,
    /// Types of the activations
    #[arg(long, value_delimiter = ',', default_value = "f32,bf16")]
    dtypes: Vec<String>,
    /// Whose statistics batch norms take; synced trains in f32 only
    #[arg(long, value_delimiter = ',', default_value = "local,synced")]
    batch_norm: Vec<String>,
    /// Rounds of the alternation
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Training images of an epoch; the second epoch is timed
    #[arg(long, default_value_t = 6400)]
    images: usize,
    /// Writes the medians as a Markdown page
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Batch norm, type of the activations, processes.
type Key = (String, String, usize);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if Command::new("mpirun").arg("--version").output().is_err() {
        bail!("bench ddp: there is no mpirun (docs/TRAINING.md, \"Several processes\")")
    }
    let binary = build_at(&["--package", "s3-train", "--features", "mpi"], "s3")?;
    let mut rows: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds {
        for norm in &options.batch_norm {
            for dtype in &options.dtypes {
                if norm == "synced" && dtype != "f32" {
                    continue;
                }
                for &ranks in &options.ranks {
                    let rate =
                        measure(&binary, options, (norm, dtype, ranks)).with_context(|| {
                            format!("round {round}, {norm}, {dtype}, {ranks} ranks")
                        })?;
                    let key = (norm.clone(), dtype.clone(), ranks);
                    rows.entry(key).or_default().push(rate);
                }
            }
        }
    }
    if options.json {
        println!("{}", as_json(&rows));
    }
    let page = report(&rows, options.images);
    show(&page, !options.json, options.report.as_deref())
}

/// Images a second of the second epoch.
fn measure(
    binary: &Path,
    options: &Options,
    (norm, dtype, ranks): (&str, &str, usize),
) -> Result<f64> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    fs::write(folder.path().join("ddp.toml"), EXPERIMENT)?;
    let parts = if norm == "synced" { 1 } else { ranks };
    let settings = [
        format!("data.train_limit={}", options.images),
        format!("dtype={dtype}"),
        format!("micro_batches={parts}"),
        format!("batch_norm={norm}"),
    ];
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(ranks.to_string())
        .arg(binary)
        .args(["train", "ddp.toml", "--no-report", "--threads", "1"])
        .args(settings.iter().flat_map(|s| ["--set", s]))
        .current_dir(folder.path());
    let output = command.output().context("cannot run mpirun")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim())
    }
    let mut runs = fs::read_dir(folder.path().join("runs"))?;
    let run = runs.next().context("mpirun left no run")??.path();
    let lines = fs::read_to_string(run.join("timing.jsonl"))?;
    let last: Value = serde_json::from_str(lines.lines().last().context("no epoch is timed")?)?;
    last["images_per_second"]
        .as_f64()
        .context("timing.jsonl has no images_per_second")
}

fn as_json(rows: &BTreeMap<Key, Vec<f64>>) -> Value {
    let row = |((norm, dtype, ranks), rates): (&Key, &Vec<f64>)| {
        json!({
            "batch_norm": norm, "dtype": dtype, "ranks": ranks, "images_per_second": rates,
            "speedup": speedup(rows, norm, dtype, rates),
        })
    };
    json!({ "measured": provenance(), "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

/// The median beside that of one process with the same settings.
fn speedup(rows: &BTreeMap<Key, Vec<f64>>, norm: &str, dtype: &str, rates: &[f64]) -> Option<f64> {
    let one = rows.get(&(norm.to_owned(), dtype.to_owned(), 1))?;
    Some(summary(rates).0 / summary(one).0)
}

fn report(rows: &BTreeMap<Key, Vec<f64>>, images: usize) -> String {
    let mut page = String::from("# Training on several processes, images per second\n\n");
    let _ = writeln!(
        page,
        "{}. ResNet-20, S3 with 3 bits, batches of 128 generated 32x32 pictures, {images} an \
         epoch, of which the second is timed without its evaluation. Open MPI, all processes on \
         this machine with one thread each; with local statistics a batch has as many \
         micro-batches as processes, so one process computes it whole. n is the number of rounds; \
         rounds alternate between the rows.\n",
        provenance(),
    );
    page.push_str(
        "| batch norm | activations | processes | median | min | max | n | beside one process |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for ((norm, dtype, ranks), rates) in rows {
        let (median, min, max) = summary(rates);
        let beside = speedup(rows, norm, dtype, rates);
        let beside = beside.map_or("-".to_owned(), |s| format!("{s:.2}"));
        let n = rates.len();
        let _ = writeln!(
            page,
            "| {norm} | {dtype} | {ranks} | {median:.1} | {min:.1} | {max:.1} | {n} | {beside} |"
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_stand_beside_one_process_of_the_same_kind() {
        let key = |norm: &str, ranks| (norm.to_owned(), "f32".to_owned(), ranks);
        let rows = BTreeMap::from([
            (key("local", 1), vec![10.0, 11.0, 12.0]),
            (key("local", 2), vec![22.0]),
            (key("synced", 2), vec![9.0]),
        ]);
        let page = report(&rows, 640);
        assert!(
            page.contains("| local | f32 | 2 | 22.0 | 22.0 | 22.0 | 1 | 2.00 |"),
            "{page}"
        );
        assert!(
            page.contains("| synced | f32 | 2 | 9.0 | 9.0 | 9.0 | 1 | - |"),
            "{page}"
        );
        assert_eq!(as_json(&rows)["rows"][1]["speedup"], 2.0);
    }
}
