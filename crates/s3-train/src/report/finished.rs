//! A finished run as one JSON object: what a table of results says of it, and how it came about.
//!
//! | key | what |
//! | --- | --- |
//! | `run` | the folder below the folder of runs: experiment, hash of the configuration, seed |
//! | `experiment`, `method`, `model`, `seed`, `epochs`, `batch_size`, `dtype`, `data` | of the configuration |
//! | `lr`, `alpha` | of the configuration: the schedules of the learning rate and of the penalty's coefficient |
//! | `bits`, `operation`, `summary` | the method's width, the kernel operation of its layers as the paper's tables have it, one line |
//! | `init_from` | the run whose weights it started from, or `null` |
//! | `test_top1` | after each epoch, a share of 1 |
//! | `test_loss`, `train_losses` | after each epoch; the mean over each epoch, without the penalty |
//! | `train_loss`, `zeros` | of the last epoch; the share of weights that are 0 |
//! | `train_seconds`, `images_per_second` | of each epoch's last sitting, wall time |
//! | `bytes`, `float_bytes` | of the network, weights packed at their bits; of the same in f32 |
//! | `multiplications`, `additions`, `shifts`, `sign_flips` | of one inference |
//! | `terms` | of the quantized weights: terms that are not 0, over all planes ([`s3_metrics::cost`]); that it is there says that the operations are counted by them |
//! | `cpu`, `threads`, `isa`, `git_revision`, `git_dirty`, `began_unix` | of the first sitting |
//!
//! A number that is absent or not finite is `null`. [`layers`] has the weight dynamics, a list in
//! the order of the layers; an array has one entry a snapshot, `null` where that has none:
//!
//! | key | what |
//! | --- | --- |
//! | `name`, `role`, `weights` | of the layer; the number of its weights |
//! | `discrete` | whether its weights stand on levels at the last snapshot |
//! | `epochs` | finished at each snapshot |
//! | `wsvr`, `wsvr_with_zero`, `wsvr_latent`, `wlvr` | of [`DynamicsRecord`], shares of 1 |
//! | `zeros` | the share of weights that are exactly 0 |
//! | `levels` | of the last snapshot: each level and its number of weights, ascending |
//! | `latents` | of the last snapshot, each with the keys below; empty in runs older than that measure |
//! | `latents[].name`, `latents[].density` | as in [`LatentRecord`], at the last snapshot |
//! | `latents[].flips` | the share of gates that flipped since the snapshot before |
//! | `latents[].zero_gradient` | the share of entries whose gradient is exactly 0 in the last step before it |

use crate::config::Config;
use crate::run::RunFolder;
use crate::run::dynamics::by_layer;
use anyhow::{Context, Result};
use s3_metrics::cost::ModelCost;
use s3_metrics::record::{DynamicsRecord, EpochRecord, LatentRecord, TimingRecord, read_jsonl};
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
    let coded = cost.layers.iter().map(|l| &l.layer);
    let terms = coded
        .filter(|l| l.bits.is_some())
        .map(|l| l.terms.or(l.nonzero));
    let terms: Option<u64> = terms.sum();
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
        "lr": config.lr,
        "alpha": config.alpha,
        "data": manifest["data"],
        "bits": bits.map_or_else(|| json!(entry.bits.first()), |b| json!(b)),
        "operation": operation,
        "summary": entry.summary,
        "init_from": config.init_from.as_deref().map(run_of),
        "test_top1": epochs.iter().map(|e| e.test_top1).collect::<Vec<_>>(),
        "test_loss": epochs.iter().map(|e| e.test_loss).collect::<Vec<_>>(),
        "train_losses": epochs.iter().map(|e| e.train_loss).collect::<Vec<_>>(),
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
        "terms": terms,
        "cpu": of("cpu"),
        "threads": of("threads"),
        "isa": of("isa"),
        "git_revision": of("git_revision"),
        "git_dirty": of("git_dirty"),
        "began_unix": of("began_unix"),
    }))
}

/// The weight dynamics of the run in `folder`, as the [module](self) lists them.
///
/// # Errors
/// No run's folder, or a `dynamics.jsonl` that is missing or damaged; the message names it.
pub fn layers(folder: &Path) -> Result<Value> {
    let path = RunFolder::open(folder)?.file("dynamics.jsonl");
    let records: Vec<DynamicsRecord> = read_jsonl(&path)?;
    let layers = by_layer(&records);
    Ok(layers.iter().map(|(_, s)| layer(s)).collect())
}

fn layer(snapshots: &[&DynamicsRecord]) -> Value {
    let last = snapshots[snapshots.len() - 1];
    let each = |f: &dyn Fn(&DynamicsRecord) -> Option<f64>| -> Vec<Option<f64>> {
        snapshots.iter().map(|r| f(r)).collect()
    };
    let latent = |now: &LatentRecord| {
        let each = |f: &dyn Fn(&LatentRecord) -> Option<f64>| {
            each(&|r| r.latents.iter().find(|l| l.name == now.name).and_then(f))
        };
        json!({
            "name": now.name,
            "density": now.density,
            "flips": each(&|l| l.flips),
            "zero_gradient": each(&|l| l.gradient.map(|g| g.zero_share)),
        })
    };
    json!({
        "name": last.layer,
        "role": last.role,
        "weights": last.weights,
        "discrete": !last.levels.is_empty(),
        "epochs": snapshots.iter().map(|r| r.epoch).collect::<Vec<_>>(),
        "wsvr": each(&|r| r.wsvr),
        "wsvr_with_zero": each(&|r| r.wsvr_with_zero),
        "wsvr_latent": each(&|r| r.wsvr_latent),
        "wlvr": each(&|r| Some(r.wlvr)),
        "zeros": each(&|r| (r.weights > 0).then(|| r.zeros as f64 / r.weights as f64)),
        "levels": last.levels,
        "latents": last.latents.iter().map(latent).collect::<Vec<_>>(),
    })
}

/// `cifar10/resnet20-fp32-<hash>-s1` of the checkpoint
/// `runs/cifar10/resnet20-fp32-<hash>-s1/last.safetensors`; of another file its name.
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
