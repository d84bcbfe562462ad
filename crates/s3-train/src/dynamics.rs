//! Snapshots of the weights: what section 5.2 of the paper measures, per layer.

use crate::checkpoint::Tensors;
use anyhow::Result;
use candle_core::Tensor;
use s3_core::WeightForm;
use s3_core::host::Host;
use s3_layers::{Mode, ResNet};
use s3_metrics::dynamics::{self, LOW_VALUE_THRESHOLD};
use s3_metrics::record::DynamicsRecord;

/// Prefix of the snapshot's tensors in a checkpoint.
pub const PREFIX: &str = "snapshot/";
const SIGN: &str = "/sign";

/// Measures every layer against the snapshot `before` (empty at the first), and returns the records
/// with the new snapshot.
///
/// # Errors
/// Those of candle.
pub fn snapshot(
    net: &ResNet,
    epoch: u32,
    before: &Tensors,
) -> Result<(Vec<DynamicsRecord>, Tensors)> {
    let (mut records, mut after) = (Vec::new(), Tensors::new());
    for layer in net.layers() {
        let name = format!("{PREFIX}{}", layer.spec.name);
        let weight = layer.weight(Mode::Eval)?.contiguous()?.copy()?;
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
        if let Some(latent) = layer.quantizer.sign_latent() {
            let sign_name = format!("{name}{SIGN}");
            let sign: Tensor = latent.detach().contiguous()?.copy()?;
            if let Some(old) = before.get(&sign_name) {
                let rate = dynamics::sign_variation_rate(&Host::new(old)?, &Host::new(&sign)?);
                record.wsvr_latent = Some(rate);
            }
            after.insert(sign_name, sign);
        }
        records.push(record);
        drop(values);
        after.insert(name, weight);
    }
    Ok((records, after))
}

/// Zero weights over all weights of the discrete layers; `None` without such a layer.
///
/// # Errors
/// Those of candle.
pub fn sparsity(net: &ResNet) -> Result<Option<f64>> {
    let (mut zeros, mut weights) = (0u64, 0u64);
    for layer in net.layers() {
        if layer.quantizer.form() != WeightForm::Float {
            let weight = layer.weight(Mode::Eval)?.contiguous()?;
            let values = Host::new(&weight)?;
            zeros += dynamics::zero_count(&values);
            weights += values.len() as u64;
        }
    }
    Ok((weights > 0).then(|| zeros as f64 / weights as f64))
}
