//! `bench train_kernels`: each convolution of a training step against the core's f32 peak.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use super::page::{provenance, show, summary};
use crate::s3::build;

/// The share of the f32 peak that a convolution should reach.
const WANTED: f64 = 0.75;

#[derive(Args)]
pub(crate) struct Options {
    /// Prints the JSON lines only
    #[arg(long)]
    json: bool,
    /// Runs of the whole list
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Writes the medians as a Markdown page
    #[arg(long)]
    report: Option<PathBuf>,
}

/// One row: a layer, a pass and a type, with its share of the peak and GFLOP/s in every round.
struct Row {
    name: [String; 3],
    shares: Vec<f64>,
    rates: Vec<f64>,
    peaks: Vec<f64>,
    /// Operations of it in one step of its network, in 10^9.
    work: f64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = build("s3-kernel-benches", "train_kernels")?;
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..options.rounds {
        let output = Command::new(&binary).output();
        let output = output.with_context(|| format!("cannot run {}", binary.display()))?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if options.json {
                println!("{line}");
            }
            record(line, &mut rows)?;
        }
    }
    let page = report(&rows);
    show(&page, !options.json, options.report.as_deref())
}

/// What the program says of a pass.
#[derive(Deserialize)]
struct Line {
    layer: String,
    pass: String,
    dtype: String,
    of_peak: f64,
    gflops: f64,
    peak_gflops: f64,
    step_gflop: f64,
}

fn record(line: &str, rows: &mut Vec<Row>) -> Result<()> {
    let read: Line = serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
    let name = [read.layer, read.pass, read.dtype];
    let known = rows.iter().position(|row| row.name == name);
    let at = known.unwrap_or_else(|| {
        rows.push(Row {
            name,
            shares: Vec::new(),
            rates: Vec::new(),
            peaks: Vec::new(),
            work: read.step_gflop,
        });
        rows.len() - 1
    });
    rows[at].shares.push(read.of_peak);
    rows[at].rates.push(read.gflops);
    rows[at].peaks.push(read.peak_gflops);
    Ok(())
}

fn report(rows: &[Row]) -> String {
    let mut page = String::from("# Training kernels\n\n");
    let n = rows.first().map_or(0, |row| row.shares.len());
    let f32_rows = || rows.iter().filter(|row| row.name[2] == "f32");
    let met = f32_rows().filter(|row| summary(&row.shares).0 >= WANTED);
    let _ = writeln!(
        page,
        "{}, n = {n} rounds. One thread. Each figure is the median over the rounds of a median \
         over calls; the peak is that of f32 multiply-adds from registers, measured beside each \
         call. {} of {} f32 passes reach {:.0} % of it; those that do not are marked.\n",
        provenance(),
        met.count(),
        f32_rows().count(),
        100.0 * WANTED,
    );
    for (prefix, network) in [
        ("r20", "ResNet-20, batch 128"),
        ("r18", "ResNet-18, batch 8"),
    ] {
        for dtype in ["f32", "bf16"] {
            let of = |row: &&Row| row.name[0].starts_with(prefix) && row.name[2] == dtype;
            if let Some((rate, share)) = whole_step(rows.iter().filter(of)) {
                let _ = writeln!(
                    page,
                    "- All convolutions of a step of {network}, {dtype}: {rate:.1} GFLOP/s, {:.0} \
                     % of the f32 peak.",
                    100.0 * share
                );
            }
        }
    }
    page.push_str(
        "\n| layer | pass | dtype | GFLOP/s | of the f32 peak | smallest | largest | |\n",
    );
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for Row {
        name: [layer, pass, dtype],
        shares,
        rates,
        ..
    } in rows
    {
        let (median, min, max) = summary(shares);
        let mark = if dtype == "f32" && median < WANTED {
            "below"
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| {layer} | {pass} | {dtype} | {:.1} | {:.0} % | {:.0} % | {:.0} % | {mark} |",
            summary(rates).0,
            100.0 * median,
            100.0 * min,
            100.0 * max,
        );
    }
    page
}

/// Rate and share of the peak of a step's convolutions one after the other: all operations over the
/// sum of their times.
fn whole_step<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<(f64, f64)> {
    let (mut work, mut seconds, mut best) = (0.0, 0.0, 0.0);
    for row in rows {
        work += row.work;
        seconds += row.work / summary(&row.rates).0;
        best += row.work / summary(&row.peaks).0;
    }
    (work > 0.0).then(|| (work / seconds, best / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_gathered_and_what_misses_the_bar_is_marked() {
        let mut rows = Vec::new();
        for share in [0.5, 0.7, 0.9] {
            let line = serde_json::json!({
                "layer": "r20-a", "pass": "forward", "dtype": "f32", "gflops": 10.0,
                "peak_gflops": 20.0, "step_gflop": 3.0, "of_peak": share,
            });
            let line = line.to_string();
            record(&line, &mut rows).expect("a whole line");
        }
        let page = report(&rows);
        assert!(
            page.contains("| r20-a | forward | f32 | 10.0 | 70 % | 50 % | 90 % | below |"),
            "{page}"
        );
        assert!(page.contains("0 of 1 f32 passes"), "{page}");
        assert!(
            page.contains("f32: 10.0 GFLOP/s, 50 % of the f32 peak"),
            "{page}"
        );
    }
}
