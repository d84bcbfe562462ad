//! The record of a finished run, [`Finished`], from its folder.

use crate::config::Config;
use crate::lists;
use crate::run::RunFolder;
use crate::run::dynamics::by_layer;
use crate::schedule::Schedule;
use anyhow::{Context, Result};
use s3_metrics::cost::ModelCost;
use s3_metrics::finished::{Finished, Latent, Layer, Origin, Rate};
use s3_metrics::record::{DynamicsRecord, EpochRecord, LatentRecord, TimingRecord, read_jsonl};
use std::path::Path;

/// The record of the finished run in `folder`, without its layers.
///
/// # Errors
/// No run's folder, or a run that is not finished; the message names the file that is missing.
pub fn record(folder: &Path) -> Result<Finished> {
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
    let entry = s3_quant::find_in(&lists::get().methods, name.unwrap_or_default())?;
    let bits = config.method.get("bits").and_then(toml::Value::as_integer);
    let total = &cost.total;
    // Of the layers themselves: a method may need fewer operations at few bits.
    let quantized = cost.layers.iter().find(|l| l.layer.bits.is_some());
    let coded = cost.layers.iter().map(|l| &l.layer);
    let terms = coded
        .filter(|l| l.bits.is_some())
        .map(|l| l.terms.or(l.nonzero));
    let in_manifest = || run.file("manifest.json").display().to_string();
    let data = serde_json::from_value(manifest["data"].clone()).with_context(in_manifest)?;
    let origin: Option<Origin> =
        serde_json::from_value(manifest["sittings"][0].clone()).with_context(in_manifest)?;
    Ok(Finished {
        run: config.run_name()?.display().to_string(),
        experiment: config.experiment.clone(),
        method: serde_json::to_value(&config.method)?
            .as_object()
            .cloned()
            .unwrap_or_default(),
        model: config.model.name.clone(),
        seed: config.seed,
        epochs: config.epochs as u64,
        batch_size: config.batch_size as u64,
        dtype: config.dtype.clone(),
        lr: Some(rate(&config.lr)?),
        alpha: config.alpha.as_ref().map(rate).transpose()?,
        data,
        bits: bits
            .and_then(|bits| bits.try_into().ok())
            .or(entry.bits.first().copied()),
        operation: Some(quantized.map_or(entry.operation, |l| l.layer.operation)),
        summary: entry.summary.to_owned(),
        init_from: config.init_from.as_deref().map(run_of),
        test_top1: epochs.iter().map(|e| e.test_top1).collect(),
        test_loss: epochs.iter().map(|e| e.test_loss).collect(),
        validation_top1: match config.validation_images {
            0 => Vec::new(),
            _ => epochs.iter().map(|e| e.validation_top1).collect(),
        },
        train_losses: epochs.iter().map(|e| Some(e.train_loss)).collect(),
        train_loss: epochs.last().map(|e| e.train_loss),
        zeros: summary["last"]["sparsity"].as_f64(),
        train_seconds: timing.iter().map(|t| Some(t.train_seconds)).collect(),
        images_per_second: timing.iter().map(|t| Some(t.images_per_second)).collect(),
        bytes: total.bytes,
        float_bytes: total.float_bytes,
        multiplications: total.multiplications,
        additions: total.additions,
        shifts: total.shifts,
        sign_flips: total.sign_flips,
        terms: terms.sum(),
        origin: origin.unwrap_or_default(),
        layers: None,
    })
}

fn rate(schedule: &Schedule) -> Result<Rate> {
    Ok(serde_json::from_value(serde_json::to_value(schedule)?)?)
}

/// The weight dynamics of the run in `folder`.
///
/// # Errors
/// No run's folder, or a `dynamics.jsonl` that is missing or damaged; the message names it.
pub fn layers(folder: &Path) -> Result<Vec<Layer>> {
    let path = RunFolder::open(folder)?.file("dynamics.jsonl");
    let records: Vec<DynamicsRecord> = read_jsonl(&path)?;
    let layers = by_layer(&records);
    Ok(layers.iter().map(|(_, s)| layer(s)).collect())
}

fn layer(snapshots: &[&DynamicsRecord]) -> Layer {
    let last = snapshots[snapshots.len() - 1];
    let each =
        |f: &dyn Fn(&DynamicsRecord) -> Option<f64>| snapshots.iter().map(|r| f(r)).collect();
    let latent = |now: &LatentRecord| {
        let each = |f: &dyn Fn(&LatentRecord) -> Option<f64>| {
            each(&|r| r.latents.iter().find(|l| l.name == now.name).and_then(f))
        };
        Latent {
            name: now.name.clone(),
            density: now.density.clone(),
            flips: each(&|l| l.flips),
            zero_gradient: each(&|l| l.gradient.map(|g| g.zero_share)),
        }
    };
    Layer {
        name: last.layer.clone(),
        role: last.role.clone(),
        weights: last.weights,
        discrete: !last.levels.is_empty(),
        epochs: snapshots.iter().map(|r| r.epoch).collect(),
        wsvr: each(&|r| r.wsvr),
        wsvr_with_zero: each(&|r| r.wsvr_with_zero),
        wsvr_latent: each(&|r| r.wsvr_latent),
        wlvr: each(&|r| Some(r.wlvr)),
        zeros: each(&|r| (r.weights > 0).then(|| r.zeros as f64 / r.weights as f64)),
        levels: last.levels.clone(),
        latents: last.latents.iter().map(latent).collect(),
        flips: None,
    }
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
