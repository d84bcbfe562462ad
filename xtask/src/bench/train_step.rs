//! `bench train_step`: images a second, beside PyTorch.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use super::page::{provenance, show, summary};
use crate::s3::build;

#[derive(Args)]
pub(crate) struct Options {
    /// Prints the JSON lines only
    #[arg(long)]
    pub(super) json: bool,
    /// Also runs PyTorch, in alternation; skipped with a word where python3 has no torch
    #[arg(long)]
    pub(super) peers: bool,
    /// The Python of the peers
    #[arg(long, default_value = "python3", env = "S3_BENCH_PYTHON")]
    pub(super) python: String,
    /// Rounds of the alternation
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: u32,
    /// Networks with their batch, then their width and the pixels of an image's side where those
    /// are not the defaults: resnet20:128, resnet20:128:32, mobilenet_v1:128:0.25,
    /// mobilenet_v1:32:0.25:96
    #[arg(long, value_delimiter = ',', default_value = "resnet20:128,resnet18:8")]
    pub(super) models: Vec<String>,
    /// Methods with their bits: fp32, s3:3
    #[arg(long, value_delimiter = ',', default_value = "fp32,s3:2,s3:3,s3:4")]
    pub(super) methods: Vec<String>,
    /// Types of the activations
    #[arg(long, value_delimiter = ',', default_value = "f32,bf16")]
    pub(super) dtypes: Vec<String>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "2,1")]
    pub(super) threads: Vec<u32>,
    /// Steps timed in each round; more numbers show what grows with them
    #[arg(long, value_delimiter = ',', default_value = "12")]
    pub(super) steps: Vec<u32>,
    /// Writes the medians as a Markdown page
    #[arg(long)]
    pub(super) report: Option<PathBuf>,
}

/// One row of the table: what is measured, in how many steps, and who measures.
pub(super) type Key = (String, String, u64, u64, u64, String, u64, String);

/// What a measurement says.
#[derive(Deserialize)]
struct Line {
    peer: String,
    model: String,
    method: String,
    bits: u64,
    batch: u64,
    threads: u64,
    dtype: String,
    width: Option<u64>,
    side: Option<u64>,
    images_per_s: f64,
    memory_mb: Option<[u64; 2]>,
}

/// The rounds of a row.
#[derive(Default)]
pub(super) struct Rounds {
    pub(super) images_per_s: Vec<f64>,
    /// After the warm-up and after the last step of the last round, of who says it.
    pub(super) memory_mb: Option<[u64; 2]>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let page = report(&measure(options)?);
    show(&page, !options.json, options.report.as_deref())
}

/// Every row that the options ask for.
pub(super) fn measure(options: &Options) -> Result<BTreeMap<Key, Rounds>> {
    let binary = build("s3-benches", "train_step")?;
    let peers = options.peers && has_torch(&options.python);
    if options.peers && !peers {
        eprintln!(
            "bench: {} has no torch: the peers are skipped",
            options.python
        );
    }
    let mut rows: BTreeMap<Key, Rounds> = BTreeMap::new();
    for model in &options.models {
        let words: Vec<&str> = model.split(':').collect();
        let (model, batch, sizes) = match words[..] {
            [model, batch, ref sizes @ ..] if sizes.len() <= 2 => (model, batch, sizes),
            _ => bail!(
                "--models {model}: expected NAME:BATCH, NAME:BATCH:WIDTH or NAME:BATCH:WIDTH:SIDE"
            ),
        };
        let sizes = ["--width", "--side"].into_iter().zip(sizes);
        let sizes: Vec<&str> = sizes.flat_map(|(option, word)| [option, *word]).collect();
        for method in &options.methods {
            let (method, bits) = method.split_once(':').unwrap_or((method, "3"));
            let steps = options.steps.iter();
            for (threads, steps) in
                steps.flat_map(|steps| options.threads.iter().map(move |threads| (threads, steps)))
            {
                let steps_word = steps.to_string();
                let arguments = [
                    "--model",
                    model,
                    "--method",
                    method,
                    "--bits",
                    bits,
                    "--batch",
                    batch,
                    "--steps",
                    &steps_word,
                ];
                for _ in 0..options.rounds {
                    for dtype in &options.dtypes {
                        let mut ours = Command::new(&binary);
                        ours.args(arguments)
                            .args(["--dtype", dtype])
                            .args(&sizes)
                            .env("RAYON_NUM_THREADS", threads.to_string());
                        record(ours, options.json, *steps, &mut rows)?;
                        if !peers {
                            continue;
                        }
                        let mut peer = Command::new(&options.python);
                        peer.arg("benches/peers/train_step.py")
                            .arg("--binary")
                            .arg(&binary)
                            .args(arguments)
                            .args(&sizes);
                        peer.args(["--threads", &threads.to_string(), "--dtype", dtype]);
                        record(peer, options.json, *steps, &mut rows)?;
                    }
                }
            }
        }
    }
    Ok(rows)
}

fn has_torch(python: &str) -> bool {
    let output = Command::new(python).args(["-c", "import torch"]).output();
    output.is_ok_and(|o| o.status.success())
}

/// Runs one measurement, shows its line and keeps its figure.
fn record(
    mut command: Command,
    json: bool,
    steps: u32,
    rows: &mut BTreeMap<Key, Rounds>,
) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().context("a measurement prints a line")?;
    let read: Line = serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
    if json {
        println!("{line}");
    }
    let model = match (read.width, read.side) {
        (None | Some(0), _) => read.model,
        (Some(width), None | Some(0)) => format!("{} ({width})", read.model),
        (Some(width), Some(side)) => format!("{} ({width}, {side}x{side})", read.model),
    };
    let key = (
        model,
        read.method,
        read.bits,
        read.batch,
        read.threads,
        read.dtype,
        steps.into(),
        read.peer,
    );
    let rounds = rows.entry(key).or_default();
    rounds.images_per_s.push(read.images_per_s);
    rounds.memory_mb = read.memory_mb.or(rounds.memory_mb);
    Ok(())
}

/// The medians as a page that says how they came about.
fn report(rows: &BTreeMap<Key, Rounds>) -> String {
    let mut page = String::from("# Training step, images per second\n\n");
    let _ = writeln!(
        page,
        "{}. n is the number of rounds, each the median over its steps; rounds alternate between \
         the programs. Median, smallest and largest round are given. MB is the memory of our \
         process after the warm-up and after the last step.\n",
        provenance(),
    );
    page.push_str(
        "| network | method | bits | batch | threads | dtype | steps | program | median | min | \
         max | n | MB |\n",
    );
    page.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for ((model, method, bits, batch, threads, dtype, steps, peer), rounds) in rows {
        let (median, min, max) = summary(&rounds.images_per_s);
        let n = rounds.images_per_s.len();
        let memory = match rounds.memory_mb {
            None => "-".to_owned(),
            Some([first, last]) => format!("{first}, {last}"),
        };
        let _ = writeln!(
            page,
            "| {model} | {method} | {bits} | {batch} | {threads} | {dtype} | {steps} | {peer} | \
             {median:.1} | {min:.1} | {max:.1} | {n} | {memory} |",
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_median_and_spread() {
        let key = (
            "net".into(),
            "m".into(),
            3,
            8,
            2,
            "f32".into(),
            12,
            "us".into(),
        );
        let rounds = Rounds {
            images_per_s: vec![3.0, 1.0, 2.0],
            memory_mb: Some([80, 81]),
        };
        let page = report(&BTreeMap::from([(key, rounds)]));
        assert!(
            page.contains("| net | m | 3 | 8 | 2 | f32 | 12 | us | 2.0 | 1.0 | 3.0 | 3 | 80, 81 |"),
            "{page}"
        );
    }
}
