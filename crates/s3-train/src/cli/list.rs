//! What there is to train.

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use s3_quant::METHODS;
use s3_train::config::Config;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Folder of the experiment files.
    #[arg(long, default_value = "xtask/experiments")]
    experiments: PathBuf,
    /// Folder of the records of finished runs.
    #[arg(long, default_value = "docs/results")]
    results: PathBuf,
}

/// The word of the paper's tables for an operation, `shift_sign_flip`.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(s)) => s.replace('_', " "),
        _ => String::new(),
    }
}

pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "method",
        "bits",
        "kernel operation",
        "starts from",
        "what",
    ]);
    for m in METHODS {
        let bits: Vec<String> = m.bits.iter().map(ToString::to_string).collect();
        let (bits, op) = (bits.join(", "), word(&m.operation));
        table.add_row([m.name, &bits, &op, m.start, m.summary]);
    }
    say!("{table}\n");

    let mut files = Vec::new();
    find(&args.experiments, &mut files)?;
    files.sort();
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "experiment",
        "network",
        "method",
        "data",
        "epochs",
        "test top-1 so far",
    ]);
    let records = records(&args.results)?;
    for file in files {
        let c = Config::load(&file, &[])?;
        let bits = c
            .method
            .get("bits")
            .map_or(String::new(), |b| format!(" {b} bit"));
        let method = c
            .method
            .get("name")
            .and_then(toml::Value::as_str)
            .unwrap_or_default();
        table.add_row([
            file.display().to_string(),
            c.model.name.clone(),
            format!("{method}{bits}"),
            c.data.name.as_str().to_string(),
            c.epochs.to_string(),
            reached(&c.experiment, &records),
        ]);
    }
    say!("{table}");
    Ok(())
}

/// The records of finished runs: the lines of the `.jsonl` files of a folder, which need not be there.
fn records(folder: &Path) -> Result<Vec<Value>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        for line in text.lines() {
            records.push(serde_json::from_str(line).with_context(|| path.display().to_string())?);
        }
    }
    Ok(records)
}

/// The mean over the seeds of the longest runs of an experiment, or `-`.
fn reached(experiment: &str, records: &[Value]) -> String {
    let top1 = |r: &Value| r["test_top1"].as_array()?.last()?.as_f64();
    let runs = records.iter().filter(|r| r["experiment"] == experiment);
    let runs: Vec<(u64, f64)> = runs
        .filter_map(|r| Some((r["epochs"].as_u64()?, top1(r)?)))
        .collect();
    let Some(most) = runs.iter().map(|r| r.0).max() else {
        return "-".into();
    };
    let longest: Vec<f64> = runs.iter().filter(|r| r.0 == most).map(|r| r.1).collect();
    let n = longest.len();
    let mean = 100.0 * longest.iter().sum::<f64>() / n as f64;
    format!("{mean:.2} % ({most} epochs, n = {n})")
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn where_an_experiment_stands_is_the_mean_of_its_longest_runs() {
        let run = |epochs: u64, top1: f64| json!({"experiment": "e", "epochs": epochs, "test_top1": [0.1, top1]});
        let records = [
            run(10, 0.5),
            run(150, 0.9),
            run(150, 0.92),
            json!({"experiment": "e", "error": "x"}),
        ];
        assert_eq!(reached("e", &records), "91.00 % (150 epochs, n = 2)");
        assert_eq!(reached("other", &records), "-");
    }
}
