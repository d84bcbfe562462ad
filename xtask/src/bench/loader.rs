//! `bench loader`: pictures a second of the data loader, from files and from shards, beside
//! torchvision's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::page::{provenance, summary};
use crate::s3::build;

/// Any experiment on pictures: what it trains does not matter.
const EXPERIMENT: &str = "xtask/experiments/imagenet/resnet18-s3-3bit.toml";

#[derive(Args)]
pub(crate) struct Options {
    /// The image folder, with train and val in it
    pub(super) folder: PathBuf,
    /// Copies of each training picture, which make an epoch of a small folder long enough
    #[arg(long, default_value_t = 10)]
    pub(super) copies: u32,
    /// Also runs torchvision, in alternation
    #[arg(long)]
    pub(super) peers: bool,
    /// The Python of the peer
    #[arg(long, default_value = "python3", env = "S3_BENCH_PYTHON")]
    pub(super) python: String,
    /// Rounds of the alternation
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: u32,
    /// Threads, or processes of the peer
    #[arg(long, default_value_t = 2)]
    pub(super) workers: u32,
    /// Pictures a batch
    #[arg(long, default_value_t = 64)]
    pub(super) batch: u32,
    /// Writes the medians as a Markdown page
    #[arg(long)]
    pub(super) report: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let page = report(&measure(options)?, options.workers, options.batch);
    println!("{page}");
    if let Some(path) = &options.report {
        fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Pictures a second of each program, one figure a round.
pub(super) fn measure(options: &Options) -> Result<BTreeMap<String, Vec<f64>>> {
    let binary = build("s3-benches", "loader")?;
    let s3 = build("s3-train", "s3")?;
    let data = tempfile::tempdir().context("a temporary folder")?;
    let folder = data.path().join("pictures");
    copy(
        &options.folder.join("train"),
        &folder.join("train"),
        options.copies,
    )?;
    copy(&options.folder.join("val"), &folder.join("val"), 1)?;
    let mut shards = Command::new(s3);
    shards.args(["shards", EXPERIMENT, "--set", "data.folder=pictures"]);
    shards.arg("--data-dir").arg(data.path());
    output(&mut shards)?;

    let [workers, batch] = [options.workers, options.batch].map(|n| n.to_string());
    let arguments = ["--workers", &workers, "--batch", &batch];
    let mut rows: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..options.rounds {
        let mut commands = vec![Command::new(&binary)];
        if options.peers {
            let mut peer = Command::new(&options.python);
            peer.arg("benches/peers/loader.py");
            commands.push(peer);
        }
        commands.push(Command::new(&binary));
        if let Some(last) = commands.last_mut() {
            last.arg("--shards");
        }
        for command in &mut commands {
            let text = output(command.arg(&folder).args(arguments))?;
            let line = text.lines().last().context("a measurement prints a line")?;
            let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let who = value["who"].as_str().context("a line has who")?;
            let rate = value["pictures_per_second"].as_f64();
            let rate = rate.context("a line has pictures_per_second")?;
            rows.entry(who.to_owned()).or_default().push(rate);
        }
    }
    Ok(rows)
}

/// Copies the class folders of `from`, each picture so many times.
fn copy(from: &Path, to: &Path, copies: u32) -> Result<()> {
    let read = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    for class in read(from)?.into_iter().filter(|path| path.is_dir()) {
        let folder = to.join(class.file_name().unwrap_or_default());
        fs::create_dir_all(&folder)?;
        for picture in read(&class)? {
            let name = picture.file_name().unwrap_or_default().to_string_lossy();
            for copy in 0..copies {
                fs::copy(&picture, folder.join(format!("{copy}-{name}")))
                    .with_context(|| picture.display().to_string())?;
            }
        }
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", errors.trim())
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn report(rows: &BTreeMap<String, Vec<f64>>, workers: u32, batch: u32) -> String {
    let mut page = String::from("# Data loader, pictures per second\n\n");
    let _ = writeln!(
        page,
        "{}. Random resized crop to 224, mirror, normalise, batches of {batch}, {workers} workers, files \
         in the page cache. n is the number of rounds, each the median of three epochs; rounds \
         alternate between the programs.\n",
        provenance(),
    );
    page.push_str(
        "| program | median | min | max | n | beside torchvision |\n|---|---|---|---|---|---|\n",
    );
    let peer = rows.iter().find(|(who, _)| who.starts_with("torchvision"));
    let peer = peer.map(|(_, rates)| summary(rates).0);
    for (who, rates) in rows {
        let (median, min, max) = summary(rates);
        let ratio = peer.map_or("-".to_owned(), |peer| format!("{:.2}", median / peer));
        let n = rates.len();
        let _ = writeln!(
            page,
            "| {who} | {median:.1} | {min:.1} | {max:.1} | {n} | {ratio} |"
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_medians_and_ratios() {
        let rows = [
            ("s3, files", vec![4.0, 6.0, 5.0]),
            ("torchvision 1", vec![2.0]),
        ];
        let rows = rows.map(|(who, rates)| (who.to_owned(), rates)).into();
        let page = report(&rows, 2, 64);
        assert!(
            page.contains("| s3, files | 5.0 | 4.0 | 6.0 | 3 | 2.50 |"),
            "{page}"
        );
    }
}
