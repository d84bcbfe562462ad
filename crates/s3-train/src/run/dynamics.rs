//! Snapshots of the weights and the latents behind them: what section 5.2 of the paper measures,
//! per layer.

pub use super::checkpoint::Gradients;

use super::checkpoint::Tensors;
use anyhow::Result;
use candle_core::backprop::GradStore;
use s3_core::host::{Host, on_cpu};
use s3_core::params::Param;
use s3_core::{Params, WeightForm};
use s3_layers::{Mode, Net};
use s3_metrics::dynamics::{self, LOW_VALUE_THRESHOLD};
use s3_metrics::gradient::GradientRecord;
use s3_metrics::record::{DynamicsRecord, FlipRecord, LatentRecord};
use std::collections::BTreeMap;

/// Prefix of the snapshot's tensors in a checkpoint.
pub const PREFIX: &str = "snapshot/";

/// The gradients of every latent.
///
/// # Errors
/// Those of candle.
pub fn gradients(params: &Params, grads: &GradStore) -> Result<Gradients> {
    let mut records = Gradients::new();
    for (name, p) in latents(params) {
        if let Some(grad) = grads.get(&p.var) {
            let grad = on_cpu(grad)?;
            records.insert(name, GradientRecord::of(&Host::new(&grad)?));
        }
    }
    Ok(records)
}

fn latents(params: &Params) -> impl Iterator<Item = (String, Param)> {
    let all = params.trainable().into_iter();
    all.filter(|(_, p)| p.kind.is_latent())
}

/// Measures every layer against the snapshot `before` (empty at the first), and returns the records
/// with the new snapshot. `gradients` are those of the last step, `flips` those that are steered.
///
/// # Errors
/// Those of candle.
pub fn snapshot(
    net: &Net,
    params: &Params,
    epoch: u32,
    before: &Tensors,
    gradients: &Gradients,
    flips: &BTreeMap<String, FlipRecord>,
) -> Result<(Vec<DynamicsRecord>, Tensors)> {
    let (mut records, mut after) = (Vec::new(), Tensors::new());
    for layer in net.layers() {
        let name = format!("{PREFIX}{}", layer.spec.name);
        let weight = on_cpu(&layer.weight(Mode::Eval)?)?.copy()?;
        let old = before.get(&name).map(Host::new).transpose()?;
        let role = format!("{:?}", layer.spec.role).to_lowercase();
        let values = Host::new(&weight)?;
        let mut record =
            DynamicsRecord::of_snapshot(epoch, &layer.spec.name, &role, old.as_deref(), &values);
        match layer.quantizer.form() {
            WeightForm::Float => {
                record.wlvr = dynamics::low_value_rate(&values, LOW_VALUE_THRESHOLD);
                record.levels.clear();
            }
            WeightForm::Discrete { .. } => record.wlvr = dynamics::zero_rate(&values),
        }
        let sign = layer.quantizer.sign_latent().map(|latent| latent.id());
        let weight_name = format!("{}.weight", layer.spec.name);
        // No other node has tensors there: such names are refused with the configuration.
        for (path, p) in latents(params) {
            let Some(below) = path.strip_prefix(&weight_name) else {
                continue;
            };
            let short = match below.strip_prefix('.') {
                Some(short) => short,
                None if below.is_empty() => "weight",
                None => continue,
            };
            let latent = on_cpu(&p.var)?.copy()?;
            let key = format!("{PREFIX}{path}");
            let old = before.get(&key).map(Host::new).transpose()?;
            let (old, now) = (old.as_deref(), Host::new(&latent)?);
            if sign == Some(p.var.id()) {
                record.wsvr_latent = old.map(|old| dynamics::sign_variation_rate(old, &now));
            }
            let gradient = gradients.get(&path).copied();
            let measured = LatentRecord::of_snapshot(short, old, &now, gradient);
            let steered = flips.get(&path).copied();
            record.latents.push(LatentRecord {
                steered,
                ..measured
            });
            drop(now);
            after.insert(key, latent);
        }
        records.push(record);
        drop(values);
        after.insert(name, weight);
    }
    Ok((records, after))
}

/// The layers in the order of their first records, each with its snapshots.
pub(crate) fn by_layer(records: &[DynamicsRecord]) -> Vec<(&str, Vec<&DynamicsRecord>)> {
    let mut layers: Vec<(&str, Vec<&DynamicsRecord>)> = Vec::new();
    for record in records {
        match layers.iter_mut().find(|(name, _)| *name == record.layer) {
            Some((_, snapshots)) => snapshots.push(record),
            None => layers.push((&record.layer, vec![record])),
        }
    }
    layers
}

/// Zero weights over all weights of the discrete layers; `None` without such a layer.
///
/// # Errors
/// Those of candle.
pub fn sparsity(net: &Net) -> Result<Option<f64>> {
    let (mut zeros, mut weights) = (0u64, 0u64);
    for layer in net.layers() {
        if layer.quantizer.form() != WeightForm::Float {
            let weight = on_cpu(&layer.weight(Mode::Eval)?)?;
            let values = Host::new(&weight)?;
            zeros += dynamics::zero_count(&values);
            weights += values.len() as u64;
        }
    }
    Ok((weights > 0).then(|| zeros as f64 / weights as f64))
}
