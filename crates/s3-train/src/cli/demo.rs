//! FP32 and 3-bit S3 side by side on generated images.

use super::{Folders, places, report};
use crate::cli::progress::Progress;
use anyhow::{Context, Result};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use s3_train::config::Config;
use s3_train::train::{Outcome, train};
use serde_json::Value;
use std::process::ExitCode;

/// The experiments of the demo, as the files of the repository have them.
const EXPERIMENTS: [(&str, &str); 2] = [
    (
        "demo/resnet8-fp32",
        include_str!("../../../../xtask/experiments/demo/resnet8-fp32.toml"),
    ),
    (
        "demo/resnet8-s3-3bit",
        include_str!("../../../../xtask/experiments/demo/resnet8-s3-3bit.toml"),
    ),
];

pub(crate) fn run(folders: &Folders) -> Result<ExitCode> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "network",
        "test top-1",
        "test loss",
        "zero weights",
        "weights",
        "smaller by",
        "training",
    ]);
    for (name, text) in EXPERIMENTS {
        let config = Config::parse(text, &[], name)?;
        // A demo that was stopped goes on, and one that was finished is shown again.
        let outcome = train(&config, &places(folders, true, 60), &mut Progress::new())?;
        let Outcome::Finished { folder, .. } = &outcome else {
            return Ok(report(&outcome));
        };
        let path = folder.join("summary.json");
        let summary: Value =
            serde_json::from_slice(&std::fs::read(&path).context("reading the summary")?)?;
        let number = |key: &str| summary.pointer(key).and_then(Value::as_f64);
        let percent = |key: &str| number(key).map_or("-".into(), |v| format!("{:.2} %", 100.0 * v));
        let value = |key: &str| number(key).unwrap_or(f64::NAN);
        table.add_row([
            name.to_string(),
            percent("/last/test_top1"),
            format!("{:.4}", value("/last/test_loss")),
            percent("/last/sparsity"),
            format!("{:.1} kB", value("/bytes") / 1e3),
            format!("{:.1}x", value("/compression")),
            format!("{:.0} s", value("/train_seconds") + value("/test_seconds")),
        ]);
    }
    println!("\n{table}");
    println!(
        "runs: {} (delete demo/ in it to train again)",
        folders.out.display()
    );
    Ok(ExitCode::SUCCESS)
}
