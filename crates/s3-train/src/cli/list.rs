//! What there is to train.

use super::experiment::{FOLDER, collect};
use crate::config::Config;
use crate::files::read_regular;
use crate::lists;
use crate::terminal::note;
use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes that a file of records may have.
const MAX_RECORDS: u64 = 1 << 30;

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Folder of the experiment files [default: xtask/experiments, where it is there].
    #[arg(long)]
    experiments: Option<PathBuf>,
    /// Folder of the records of finished runs.
    #[arg(long, default_value = "docs/results")]
    results: PathBuf,
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
    for m in &lists::get().methods {
        let bits: Vec<String> = m.bits.iter().map(ToString::to_string).collect();
        let (bits, op) = (bits.join(", "), m.operation.words().to_owned());
        table.add_row([m.name, &bits, &op, m.start, m.summary]);
    }
    say!("{table}\n");

    let folder = args.experiments.as_deref().unwrap_or(Path::new(FOLDER));
    if args.experiments.is_none() && !folder.is_dir() {
        note([format!(
            "no folder {FOLDER} here, the repository's: --experiments names another"
        )]);
        return Ok(());
    }
    let mut files = Vec::new();
    collect(folder, &mut files)?;
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
            reached(&c, &records),
        ]);
    }
    say!("{table}");
    Ok(())
}

/// The records of finished runs: the lines of the `.jsonl` files of a folder, which need not be
/// there.
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
        let text = read_regular(&path, MAX_RECORDS)
            .with_context(|| format!("reading {}", path.display()))?;
        for record in serde_json::Deserializer::from_slice(&text).into_iter() {
            records.push(record.with_context(|| path.display().to_string())?);
        }
    }
    Ok(records)
}

/// The mean over the seeds of the longest runs of an experiment as its file has it, or `-`. Budget,
/// seed and type of the activations may be others; of two types the one with more seeds counts.
fn reached(config: &Config, records: &[Value]) -> String {
    let own = json!({
        "experiment": config.experiment,
        "method": config.method,
        "model": config.model.name,
        "batch_size": config.batch_size,
        "lr": config.lr,
        "alpha": config.alpha,
    });
    let top1 = |r: &Value| r["test_top1"].as_array()?.last()?.as_f64();
    // `mnist/train`: recipes of one data set are also trained on others.
    let folder = config.data.folder.as_deref();
    let data = folder.unwrap_or(config.data.name.as_str());
    let is_on = |r: &Value| {
        let said = r["data"]["name"].as_str();
        said.is_none_or(|said| said.split('/').next() == Some(data))
    };
    let mut seeds: BTreeMap<(u64, String), BTreeMap<u64, f64>> = BTreeMap::new();
    for r in records.iter().filter(|r| is_within(r, &own) && is_on(r)) {
        if let (Some(epochs), Some(seed), Some(top1)) =
            (r["epochs"].as_u64(), r["seed"].as_u64(), top1(r))
        {
            let of = seeds.entry((epochs, r["dtype"].to_string())).or_default();
            of.insert(seed, top1);
        }
    }
    let most = seeds
        .iter()
        .max_by_key(|((epochs, _), of)| (*epochs, of.len()));
    let Some(((epochs, _), of)) = most else {
        return "-".into();
    };
    let n = of.len();
    let mean = 100.0 * of.values().sum::<f64>() / n as f64;
    format!("{mean:.2} % ({epochs} epochs, n = {n})")
}

/// Whether a record says nothing else than `own`; settings that are younger than it are not in it.
fn is_within(record: &Value, own: &Value) -> bool {
    match (record, own) {
        (Value::Object(record), Value::Object(own)) => own.iter().all(|(key, own)| {
            let said = record.get(key);
            said.is_none_or(|said| is_within(said, own))
        }),
        _ => record == own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_experiment_stands_is_the_mean_of_its_longest_runs() {
        let text = "epochs = 3\nbatch_size = 8\ndata.name = 'shapes'\n\
                    model.name = 'resnet8'\nmethod.name = 'twn'\n\
                    optimizer.name = 'sgd'\nlr = { schedule = 'constant', start = 0.1 }";
        let config = Config::parse(text, &[], "e").expect("a configuration");
        let run = |epochs: u64, seed: u64, top1: f64| {
            json!({
                "experiment": "e", "epochs": epochs, "seed": seed, "test_top1": [0.1, top1],
            })
        };
        let mut records = vec![
            run(10, 1, 0.5),
            run(150, 1, 0.9),
            run(150, 2, 0.92),
            json!({"experiment": "e", "error": "x"}),
        ];
        let reached = |records: &[Value]| super::reached(&config, records);
        assert_eq!(reached(&records), "91.00 % (150 epochs, n = 2)");
        assert_eq!(reached(&[]), "-");
        // Runs of the same name with other settings are no seeds of these.
        for (key, other) in [
            ("experiment", json!("other")),
            ("method", json!({"name": "fp32"})),
            ("lr", json!({"start": 0.2})),
            ("batch_size", json!(16)),
            ("data", json!({"name": "mnist/train"})),
            ("dtype", json!("bf16")),
        ] {
            records.push(run(150, 9, 0.1));
            let last = records.last_mut().expect("a record");
            last[key] = other;
        }
        assert_eq!(reached(&records), "91.00 % (150 epochs, n = 2)");
    }
}
