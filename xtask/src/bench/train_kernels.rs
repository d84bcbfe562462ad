//! `bench train_kernels`: each convolution of a training step against the core's f32 peak.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::page::{provenance, summary};
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
    if !options.json {
        println!("{page}");
    }
    if let Some(path) = &options.report {
        std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn record(line: &str, rows: &mut Vec<Row>) -> Result<()> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
    let name = ["layer", "pass", "dtype"].map(|key| value[key].as_str().unwrap_or("").to_owned());
    let number = |key: &str| {
        value[key]
            .as_f64()
            .with_context(|| format!("{key} of {line}"))
    };
    let (share, rate) = (number("of_peak")?, number("gflops")?);
    match rows.iter_mut().find(|row| row.name == name) {
        Some(row) => {
            row.shares.push(share);
            row.rates.push(rate);
        }
        None => rows.push(Row {
            name,
            shares: vec![share],
            rates: vec![rate],
        }),
    }
    Ok(())
}

fn report(rows: &[Row]) -> String {
    let mut page = String::from("# Training kernels\n\n");
    let n = rows.first().map_or(0, |row| row.shares.len());
    let f32_rows = || rows.iter().filter(|row| row.name[2] == "f32");
    let met = f32_rows().filter(|row| summary(&row.shares).0 >= WANTED);
    let _ = writeln!(
        page,
        "{}, n = {n} rounds. One thread. Each figure is the median over the rounds of a median over \
         calls; the peak is that of f32 multiply-adds from registers, measured beside each call. \
         {} of {} f32 passes reach {:.0} % of it; those that do not are marked.\n",
        provenance(),
        met.count(),
        f32_rows().count(),
        100.0 * WANTED,
    );
    page.push_str("| layer | pass | dtype | GFLOP/s | of the f32 peak | smallest | largest | |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for Row {
        name: [layer, pass, dtype],
        shares,
        rates,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_gathered_and_what_misses_the_bar_is_marked() {
        let mut rows = Vec::new();
        for share in [0.5, 0.7, 0.9] {
            let line = format!(
                r#"{{"layer":"a","pass":"forward","dtype":"f32","gflops":10.0,"of_peak":{share}}}"#
            );
            record(&line, &mut rows).expect("a whole line");
        }
        let page = report(&rows);
        assert!(
            page.contains("| a | forward | f32 | 10.0 | 70 % | 50 % | 90 % | below |"),
            "{page}"
        );
        assert!(page.contains("0 of 1 f32 passes"), "{page}");
    }
}
