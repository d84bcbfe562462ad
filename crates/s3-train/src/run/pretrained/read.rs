//! Which tensors does a file hold, under the names of parameters?

use super::super::{checkpoint, dynamics, optim};
use super::source::{Source, read_file};
use super::told::{Misfits, Started};
use crate::digest::sha256;
use anyhow::{Context, Result, bail};
use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// What files hold besides a network's parameters.
const OTHER: [&str; 2] = [optim::PREFIX, dynamics::PREFIX];
/// torch counts the steps of each batch norm, and the models of an average.
const COUNTERS: [&str; 2] = ["num_batches_tracked", "n_averaged"];
/// What torch puts into the names of a module that it wraps: data parallel and averaged, compiled,
/// sharded, recomputed.
const WRAPPERS: [&str; 4] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];
/// The tensors of a file that may be parameters of a network, under its names; says what was left
/// of others.
pub(super) fn read(
    source: &Source<'_>,
    device: &Device,
    started: &mut Started,
    misfits: &mut Misfits,
) -> Result<BTreeMap<String, Tensor>> {
    let name = source.path.display();
    let bytes = read_file(source.path)?;
    started.sha256 = sha256(&bytes);
    if let Some(expected) = source.sha256
        && expected != started.sha256
    {
        let found = &started.sha256;
        bail!("init_from: {name}: its SHA-256 is {found}, init_sha256 expects {expected}")
    }
    let malformed = |e| anyhow::anyhow!("init_from: {name}: no safetensors file ({e})");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(malformed)?;
    let file = SafeTensors::deserialize(&bytes).map_err(malformed)?;
    let ours = checkpoint::verified(&bytes, &metadata);
    let ours = ours.with_context(|| format!("init_from: {name}"))?;
    let is_ours = ours.is_some();
    started.warning = ours.and_then(|(_, version)| checkpoint::warning(source.path, version));
    let mut tensors = BTreeMap::new();
    let views: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
    for (key, view) in views {
        let is_counter = COUNTERS.iter().any(|c| key.rsplit('.').next() == Some(c));
        if is_counter || OTHER.iter().any(|p| key.starts_with(p)) {
            started.left.push(key.to_string());
            continue;
        }
        // A node of ours may be called so.
        let parts = key
            .split('.')
            .filter(|part| is_ours || !WRAPPERS.contains(part));
        let parameter = parts.collect::<Vec<_>>().join(".");
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let why = format!("is {:?}, expected F32, F16 or BF16", view.dtype());
            misfits.wrong.insert(parameter, why);
            continue;
        }
        let tensor = view.load(&Device::Cpu)?.to_dtype(DType::F32)?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            misfits.wrong.insert(parameter, format!("holds {bad}"));
        } else if tensors
            .insert(parameter.clone(), tensor.to_device(device)?)
            .is_some()
        {
            misfits.wrong.insert(parameter, "is there twice".into());
        }
    }
    Ok(tensors)
}
