//! `bench NAME`: measurements that alternate between us and a peer in one call, so that a busy or a
//! throttled machine slows both.
//!
//! `train_step` runs the binary of that name in `benches/` and, with `--peers`, its twin
//! `benches/peers/train_step.py`, round after round. Each run prints one JSON line; the medians over
//! the rounds, their spread, the machine, the command and the date make the report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::s3::build;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    /// Images a second of one whole training step.
    TrainStep,
}

#[derive(Args)]
pub(crate) struct Options {
    name: Name,
    /// Prints the JSON lines only
    #[arg(long)]
    json: bool,
    /// Also runs PyTorch, in alternation; skipped with a word where python3 has no torch
    #[arg(long)]
    peers: bool,
    /// The Python of the peers
    #[arg(long, default_value = "python3", env = "S3_BENCH_PYTHON")]
    python: String,
    /// Rounds of the alternation
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Networks with their batch: resnet20:128
    #[arg(long, value_delimiter = ',', default_value = "resnet20:128,resnet18:8")]
    models: Vec<String>,
    /// Methods with their bits: fp32, s3:3
    #[arg(long, value_delimiter = ',', default_value = "fp32,s3:2,s3:3,s3:4")]
    methods: Vec<String>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "2,1")]
    threads: Vec<u32>,
    /// Steps timed in each round
    #[arg(long, default_value_t = 12)]
    steps: u32,
    /// Writes the medians as a Markdown page
    #[arg(long)]
    report: Option<PathBuf>,
}

/// One row of the table: what is measured, and who measures.
type Key = (String, String, u64, u64, u64, String, String);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Name::TrainStep = options.name;
    let binary = build("s3-benches", "train_step")?;
    let peers = options.peers && has_torch(&options.python);
    if options.peers && !peers {
        eprintln!(
            "bench: {} has no torch: the peers are skipped",
            options.python
        );
    }
    let mut rows: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for model in &options.models {
        let (model, batch) = model
            .split_once(':')
            .context("--models: expected NAME:BATCH")?;
        for method in &options.methods {
            let (method, bits) = method.split_once(':').unwrap_or((method, "3"));
            for threads in &options.threads {
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
                    &options.steps.to_string(),
                ];
                for _ in 0..options.rounds {
                    let mut ours = Command::new(&binary);
                    ours.args(arguments)
                        .env("RAYON_NUM_THREADS", threads.to_string());
                    record(ours, options.json, &mut rows)?;
                    for dtype in ["f32", "bf16"].into_iter().filter(|_| peers) {
                        let mut peer = Command::new(&options.python);
                        peer.arg("benches/peers/train_step.py").args(arguments);
                        peer.args(["--threads", &threads.to_string(), "--dtype", dtype]);
                        record(peer, options.json, &mut rows)?;
                    }
                }
            }
        }
    }
    let page = report(&rows);
    if !options.json {
        println!("{page}");
    }
    if let Some(path) = &options.report {
        std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn has_torch(python: &str) -> bool {
    let output = Command::new(python).args(["-c", "import torch"]).output();
    output.is_ok_and(|o| o.status.success())
}

/// Runs one measurement, shows its line and keeps its figure.
fn record(mut command: Command, json: bool, rows: &mut BTreeMap<Key, Vec<f64>>) -> Result<()> {
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
    let value: Value = serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
    if json {
        println!("{line}");
    }
    let word = |key: &str| value[key].as_str().unwrap_or_default().to_string();
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    let rate = value["images_per_s"]
        .as_f64()
        .context("a line has images_per_s")?;
    let key = (
        word("model"),
        word("method"),
        number("bits"),
        number("batch"),
        number("threads"),
        word("dtype"),
        word("peer"),
    );
    rows.entry(key).or_default().push(rate);
    Ok(())
}

/// The medians as a page that says how they came about.
fn report(rows: &BTreeMap<Key, Vec<f64>>) -> String {
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let days = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() / 86_400);
    let (year, month, day) = date(days);
    let mut page = String::from("# Training step, images per second\n\n");
    let _ = writeln!(
        page,
        "`cargo xtask {command}` on {}, {} hardware threads, {year}-{month:02}-{day:02}. n is the \
         number of rounds, each the median over its steps; rounds alternate between the programs. \
         Median, smallest and largest round are given.\n",
        cpu(),
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    page.push_str("| network | method | bits | batch | threads | dtype | program | median | min | max | n |\n");
    page.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
    for ((model, method, bits, batch, threads, dtype, peer), rates) in rows {
        let mut rates = rates.clone();
        rates.sort_by(f64::total_cmp);
        let (median, n) = (rates[rates.len() / 2], rates.len());
        let _ = writeln!(
            page,
            "| {model} | {method} | {bits} | {batch} | {threads} | {dtype} | {peer} | {median:.1} | {:.1} | {:.1} | {n} |",
            rates[0],
            rates[n - 1],
        );
    }
    page
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    match (field("model name"), field("model\t")) {
        (Some(name), Some(model)) => format!("{name} (model {model})"),
        _ => std::env::consts::ARCH.to_string(),
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_780), (2026, 11, 23));
    }

    #[test]
    fn a_page_gives_median_and_spread() {
        let key = ("net".into(), "m".into(), 3, 8, 2, "f32".into(), "us".into());
        let page = report(&BTreeMap::from([(key, vec![3.0, 1.0, 2.0])]));
        assert!(
            page.contains("| net | m | 3 | 8 | 2 | f32 | us | 2.0 | 1.0 | 3.0 | 3 |"),
            "{page}"
        );
    }
}
