//! A finished run as one JSON object: what a table of results says of it, and how it came about.
//!
//! | key | what |
//! | --- | --- |
//! | `run` | the folder below the folder of runs: experiment, hash of the configuration, seed |
//! | `experiment`, `method`, `model`, `seed`, `epochs`, `batch_size`, `dtype`, `data` | of the configuration |
//! | `bits`, `operation`, `summary` | the method's width, the kernel operation of its layers as the paper's tables have it, one line |
//! | `init_from` | the run whose weights it started from, or `null` |
//! | `test_top1` | after each epoch, a share of 1 |
//! | `train_loss`, `zeros` | of the last epoch; the share of weights that are 0 |
//! | `train_seconds`, `images_per_second` | of each epoch's last sitting, wall time |
//! | `bytes`, `float_bytes` | of the network, weights packed at their bits; of the same in f32 |
//! | `multiplications`, `additions`, `shifts`, `sign_flips` | of one inference |
//! | `cpu`, `threads`, `isa`, `git_revision`, `git_dirty`, `began_unix` | of the first sitting |

use crate::config::Config;
use crate::run::RunFolder;
use anyhow::{Context, Result};
use s3_metrics::cost::ModelCost;
use s3_metrics::record::{EpochRecord, TimingRecord, read_jsonl};
use serde_json::{Value, json};
use std::path::Path;

/// The record of the finished run in `folder`.
///
/// # Errors
/// No run's folder, or a run that is not finished; the message names the file that is missing.
pub fn record(folder: &Path) -> Result<Value> {
    let run = RunFolder::open(folder)?;
    let unfinished = || format!("{}: not finished", folder.display());
    let summary = run.read_json("summary.json").with_context(unfinished)?;
    let manifest = run.read_json("manifest.json")?;
    let config = Config::load(&run.config(), &[])?;
    let cost: ModelCost = serde_json::from_value(run.read_json("model.json")?)
        .with_context(|| run.file("model.json").display().to_string())?;
    let epochs: Vec<EpochRecord> = read_jsonl(&run.file("epochs.jsonl"))?;
    let timing: Vec<TimingRecord> = read_jsonl(&run.file("timing.jsonl"))?;
    let name = config.method.get("name").and_then(toml::Value::as_str);
    let entry = s3_quant::find(name.unwrap_or_default())?;
    let bits = config.method.get("bits").and_then(toml::Value::as_integer);
    let total = &cost.total;
    // Of the layers themselves: a method may need fewer operations at few bits.
    let quantized = cost.layers.iter().find(|l| l.layer.bits.is_some());
    let operation = match quantized {
        Some(l) => json!(l.layer.operation),
        None => json!(entry.operation),
    };
    let sitting = &manifest["sittings"][0];
    let of = |key: &str| sitting.get(key).cloned().unwrap_or(Value::Null);
    Ok(json!({
        "run": config.run_name()?,
        "experiment": config.experiment,
        "method": config.method,
        "model": config.model.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "dtype": config.dtype,
        "data": manifest["data"],
        "bits": bits.map_or_else(|| json!(entry.bits.first()), |b| json!(b)),
        "operation": operation,
        "summary": entry.summary,
        "init_from": config.init_from.as_deref().map(run_of),
        "test_top1": epochs.iter().map(|e| e.test_top1).collect::<Vec<_>>(),
        "train_loss": epochs.last().map(|e| e.train_loss),
        "zeros": summary["last"]["sparsity"],
        "train_seconds": timing.iter().map(|t| t.train_seconds).collect::<Vec<_>>(),
        "images_per_second": timing.iter().map(|t| t.images_per_second).collect::<Vec<_>>(),
        "bytes": total.bytes,
        "float_bytes": total.float_bytes,
        "multiplications": total.multiplications,
        "additions": total.additions,
        "shifts": total.shifts,
        "sign_flips": total.sign_flips,
        "cpu": of("cpu"),
        "threads": of("threads"),
        "isa": of("isa"),
        "git_revision": of("git_revision"),
        "git_dirty": of("git_dirty"),
        "began_unix": of("began_unix"),
    }))
}

/// `cifar10/resnet20-fp32-<hash>-s1` of the checkpoint `runs/cifar10/resnet20-fp32-<hash>-s1/last.safetensors`;
/// of another file its name.
fn run_of(checkpoint: &Path) -> String {
    let file = checkpoint
        .file_name()
        .map(|n| n.to_string_lossy().into_owned());
    let folder = checkpoint
        .parent()
        .filter(|f| f.join("config.toml").is_file());
    let config = folder.map(|f| Config::load(&f.join("config.toml"), &[]));
    match config.and_then(Result::ok).map(|c| c.run_name()) {
        Some(Ok(run)) => run.display().to_string(),
        _ => file.unwrap_or_default(),
    }
}
