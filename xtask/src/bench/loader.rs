//! `bench loader`: images a second of the data loader, from files and from shards, beside
//! torchvision's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{provenance, show, summary};
use crate::s3::build;

/// Any experiment on images: what it trains does not matter.
const EXPERIMENT: &str = "xtask/experiments/imagenet/resnet18-s3-3bit.toml";
/// No more bytes are copied: copies are for a folder that is too small to be measured.
const MOST_COPIED: u64 = 4_000_000_000;

#[derive(Args)]
pub(crate) struct Options {
    /// The image folder, with train and val in it; its shards are made beside it and stay
    pub(super) folder: PathBuf,
    /// Copies of each training picture, in a temporary folder, which make an epoch of a small
    /// folder long enough; 1 copies nothing and measures the folder itself
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
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
    /// Prints every round's figure as JSON instead of the page
    #[arg(long)]
    pub(super) json: bool,
    /// Writes the medians as a Markdown page
    #[arg(long)]
    pub(super) report: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Measured { rates, in_memory } = measure(options)?;
    let page = report(&rates, in_memory, options.workers, options.batch);
    if options.json {
        println!("{}", as_json(&rates, options));
    }
    show(&page, !options.json, options.report.as_deref())
}

fn as_json(rates: &BTreeMap<String, Vec<f64>>, options: &Options) -> Value {
    let row =
        |(who, rates): (&String, &Vec<f64>)| json!({"who": who, "pictures_per_second": rates});
    json!({
        "measured": provenance(), "workers": options.workers, "batch": options.batch,
        "rows": rates.iter().map(row).collect::<Vec<_>>(),
    })
}

/// What a measurement says.
#[derive(Deserialize)]
struct Line {
    who: String,
    pictures_per_second: f64,
    #[serde(default)]
    in_memory: bool,
    shards: Option<u64>,
}

/// What the rounds gave.
pub(super) struct Measured {
    /// Images a second of each program, one figure a round.
    pub(super) rates: BTreeMap<String, Vec<f64>>,
    /// The number of shards, if all of them stay in memory between epochs.
    in_memory: Option<u64>,
}

/// Runs the rounds.
pub(super) fn measure(options: &Options) -> Result<Measured> {
    let binary = build("s3-benches", "loader")?;
    let s3 = build("s3-train", "s3")?;
    let temporary = tempfile::tempdir().context("a temporary folder")?;
    let folder = if options.copies == 1 {
        std::path::absolute(&options.folder).context("the current folder")?
    } else {
        let folder = temporary.path().join("pictures");
        copy(&options.folder, &folder, options.copies, MOST_COPIED)?;
        folder
    };
    let (Some(data), Some(name)) = (folder.parent(), folder.file_name()) else {
        bail!("{}: a folder with a name is needed", folder.display())
    };
    let mut shards = Command::new(s3);
    shards.args(["shards", EXPERIMENT, "--set"]);
    shards.arg(format!("data.folder={:?}", name.to_string_lossy()));
    shards.arg("--data-dir").arg(data);
    output(&mut shards)?;

    let [workers, batch] = [options.workers, options.batch].map(|n| n.to_string());
    let arguments = ["--workers", &workers, "--batch", &batch];
    let mut rows: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut in_memory = None;
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
            let line: Line = serde_json::from_str(line).with_context(|| line.to_owned())?;
            rows.entry(line.who)
                .or_default()
                .push(line.pictures_per_second);
            if line.in_memory {
                in_memory = line.shards;
            }
        }
    }
    Ok(Measured {
        rates: rows,
        in_memory,
    })
}

/// Copies the image folder `from`, the images of `train` so many times.
///
/// # Errors
/// More than `most` bytes, before any is copied; those of the file system, naming the file.
fn copy(from: &Path, to: &Path, copies: u32, most: u64) -> Result<()> {
    let mut files = Vec::new();
    files_below(from, &mut files)?;
    let (mut bytes, mut pairs) = (0, Vec::new());
    for file in &files {
        let path = file.strip_prefix(from).unwrap_or(file);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let about = fs::metadata(file).with_context(|| file.display().to_string())?;
        let times = if path.starts_with("train") { copies } else { 1 };
        bytes += u64::from(times) * about.len();
        pairs.extend((0..times).map(|copy| match times {
            1 => (file, to.join(path)),
            _ => (file, to.join(path).with_file_name(format!("{copy}-{name}"))),
        }));
    }
    if bytes > most {
        bail!(
            "{}: --copies {copies} would copy {} MB, at most {} MB are copied; --copies 1 measures \
             the folder itself",
            from.display(),
            bytes / 1_000_000,
            most / 1_000_000
        )
    }
    for (file, to) in pairs {
        let folder = to.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::copy(file, &to).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// All files below `folder` that are not hidden.
fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let name = || folder.display().to_string();
    for entry in fs::read_dir(folder).with_context(name)? {
        let entry = entry.with_context(name)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, files)?;
        } else {
            files.push(path);
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

/// The page; `in_memory` is the number of shards if all of them stay in memory between epochs.
fn report(
    rows: &BTreeMap<String, Vec<f64>>,
    in_memory: Option<u64>,
    workers: u32,
    batch: u32,
) -> String {
    let mut page = String::from("# Data loader, pictures per second\n\n");
    let _ = writeln!(
        page,
        "{}. Random resized crop to 224, mirror, normalise, batches of {batch}, {workers} workers, \
         files in the page cache as far as they fit. n is the number of rounds, each the median of \
         three epochs after one that is not timed; rounds alternate between the programs.\n",
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
    if let Some(shards) = in_memory {
        let what = match shards {
            1 => "one shard that stays".to_owned(),
            n => format!("{n} shards that stay"),
        };
        let _ = writeln!(
            page,
            "\n`s3, shards`: {what} in memory after the epoch that is not timed: this row measures \
             decoding and cropping of pictures that were shrunk before, not reading."
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_medians_and_ratios_and_says_what_was_not_read() {
        let rows = [
            ("s3, files", vec![4.0, 6.0, 5.0]),
            ("torchvision 1", vec![2.0]),
        ];
        let rows = rows.map(|(who, rates)| (who.to_owned(), rates)).into();
        let page = report(&rows, None, 2, 64);
        let row = "| s3, files | 5.0 | 4.0 | 6.0 | 3 | 2.50 |";
        assert!(page.contains(row) && !page.contains("stay"), "{page}");
        for (shards, words) in [
            (1, "`s3, shards`: one shard that stays in memory"),
            (8, "`s3, shards`: 8 shards that stay in memory"),
        ] {
            let page = report(&rows, Some(shards), 2, 64);
            assert!(page.contains(words), "{page}");
        }
    }

    /// The page that the repository keeps was measured on one shard.
    #[test]
    fn the_kept_page_says_what_the_renderer_says() {
        let page = include_str!("../../../docs/results/loader.md");
        let rendered = report(&BTreeMap::new(), Some(1), 2, 64);
        let last = rendered.lines().last().unwrap();
        assert!(last.contains("one shard") && page.ends_with(&format!("{last}\n")));
        let conditions = rendered
            .lines()
            .nth(2)
            .unwrap()
            .split_once(". Random")
            .unwrap()
            .1;
        assert!(page.contains(conditions), "{conditions}");
    }

    #[test]
    fn the_json_has_every_round() {
        let options = Options {
            folder: PathBuf::from("sample"),
            copies: 1,
            peers: false,
            python: String::new(),
            rounds: 2,
            workers: 2,
            batch: 64,
            json: true,
            report: None,
        };
        let rates = BTreeMap::from([("s3, files".to_owned(), vec![100.0, 101.5])]);
        let said = as_json(&rates, &options);
        assert_eq!(said["rows"][0]["who"], "s3, files");
        assert_eq!(
            said["rows"][0]["pictures_per_second"],
            json!([100.0, 101.5])
        );
        assert_eq!(said["workers"], 2);
    }

    fn tree(folder: &Path, names: &[&str]) {
        for name in names {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    }

    #[test]
    fn copies_are_of_train_alone_and_of_at_most_so_many_bytes() {
        let from = tempfile::tempdir().unwrap();
        let names = ["train/a/1.png", "train/a/.x.png", "val/1.png", "val.txt"];
        tree(from.path(), &names);
        let to = tempfile::tempdir().unwrap();
        let to = to.path().join("pictures");
        // 3 x 13 + 9 + 7 bytes.
        let message = copy(from.path(), &to, 3, 54).unwrap_err().to_string();
        assert!(message.contains("--copies 3 would copy"), "{message}");
        assert!(!to.exists());
        copy(from.path(), &to, 3, 55).unwrap();
        let mut files = Vec::new();
        files_below(&to, &mut files).unwrap();
        files.sort();
        let expected = [
            "train/a/0-1.png",
            "train/a/1-1.png",
            "train/a/2-1.png",
            "val/1.png",
            "val.txt",
        ];
        assert_eq!(files, expected.map(|name| to.join(name)));
    }
}
