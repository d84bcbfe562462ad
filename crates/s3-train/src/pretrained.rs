//! Starting from weights that another training has found.
//!
//! `init_from = "FILE"` names a safetensors file with torchvision's names, or a checkpoint of this
//! project. A tensor of the file belongs to the parameter of its name: full-precision weights, latents,
//! batch norms and their statistics, the classifier.
//!
//! A method whose latent *is* the weight (`layer1.0.conv1.weight`) starts from any such file; what else
//! it keeps for a layer (scales, masks: `layer1.0.conv1.weight.*`) starts as in a run from scratch,
//! unless the file has it. A method with latents of another kind starts only from a checkpoint that has
//! them: there is no map from a weight to S3's sign, sparsity and shifts that does not choose their
//! magnitudes, and none is published.

use crate::dynamics;
use crate::optim;
use crate::train::set;
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use s3_core::Params;
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// What files hold besides a network's parameters.
const OTHER: [&str; 2] = [optim::PREFIX, dynamics::PREFIX];
/// torch counts the steps of each batch norm.
const COUNTER: &str = "num_batches_tracked";

/// Sets every parameter of `params` that `path` holds.
///
/// # Errors
/// One line that names the file: it cannot be read or is no safetensors file; a tensor is no f32, has
/// another shape or belongs to no layer; a parameter is missing.
pub fn start_from(path: &Path, params: &Params) -> Result<()> {
    let name = path.display();
    let tensors = read(path, &params.device())?;
    let all = params.all();
    if let Some(stray) = tensors.keys().find(|t| !belongs(t, &all)) {
        bail!("init_from: {name}: tensor {stray} is none of this network's")
    }
    for (parameter, p) in &all {
        if tensors.contains_key(parameter) {
            set(&p.var, &tensors, parameter, path).context("init_from")?;
            continue;
        }
        // What a method keeps beside a weight that the file has starts as in a run from scratch.
        let mut above = parameter.match_indices('.').map(|(at, _)| &parameter[..at]);
        match above.find(|weight| tensors.contains_key(*weight)) {
            Some(weight) if all.contains_key(weight) => {}
            Some(weight) => bail!(
                "init_from: {name} holds {weight} itself; this method has the latent {parameter} instead, to which weights have no map"
            ),
            None => bail!("init_from: {name}: no tensor {parameter}"),
        }
    }
    Ok(())
}

/// Whether a tensor of the file is a parameter, or a weight whose latents are.
fn belongs(tensor: &str, all: &BTreeMap<String, s3_core::params::Param>) -> bool {
    let latents = format!("{tensor}.");
    all.contains_key(tensor) || all.keys().any(|p| p.starts_with(&latents))
}

/// The tensors of a file that are parameters of a network.
fn read(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let name = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("init_from: reading {name}"))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| anyhow::anyhow!("init_from: {name}: no safetensors file ({e})"))?;
    let mut tensors = BTreeMap::new();
    for (key, view) in file.iter() {
        if OTHER.iter().any(|p| key.starts_with(p)) || key.ends_with(COUNTER) {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            bail!(
                "init_from: {name}: tensor {key} is {:?}, expected F32",
                view.dtype()
            )
        }
        let number = |b: &[u8]| b.try_into().map_or(0.0, f32::from_le_bytes);
        let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            bail!("init_from: {name}: tensor {key} holds {bad}")
        }
        tensors.insert(
            key.to_string(),
            Tensor::from_vec(values, view.shape(), device)?,
        );
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3_layers::{Architecture, ResNet, ResNetConfig};
    use safetensors::tensor::TensorView;

    /// A ResNet-8 of two classes under the method of `table`.
    fn network(table: toml::Table, seed: u64) -> Result<Params> {
        let config = ResNetConfig::new(Architecture::ResNet8, 1, 2);
        let params = Params::new(seed, &Device::Cpu);
        ResNet::new(&config, &*s3_quant::build(&table)?.method, &params)?;
        Ok(params)
    }

    /// The parameters as torch would write them, without those that `keep` refuses.
    fn write(params: &Params, path: &Path, keep: fn(&str) -> bool) -> Result<()> {
        let mut tensors = Vec::new();
        for (name, p) in params.all() {
            let values = p.var.flatten_all()?.to_vec1::<f32>()?;
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            if keep(&name) {
                tensors.push((name, p.var.dims().to_vec(), bytes));
            }
        }
        let counter = (1i64.to_le_bytes(), "bn1.num_batches_tracked");
        let mut views = vec![(counter.1, TensorView::new(Dtype::I64, vec![], &counter.0)?)];
        for (name, dims, bytes) in &tensors {
            views.push((name, TensorView::new(Dtype::F32, dims.clone(), bytes)?));
        }
        Ok(std::fs::write(path, safetensors::serialize(views, None)?)?)
    }

    fn values(params: &Params, name: &str) -> Result<Vec<f32>> {
        Ok(params.all()[name].var.flatten_all()?.to_vec1()?)
    }

    #[test]
    fn methods_whose_latent_is_the_weight_start_from_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let source = network(toml::toml! { name = "fp32" }, 1)?;
        write(&source, &file, |_| true)?;
        for table in [toml::toml! { name = "fp32" }, toml::toml! { name = "twn" }] {
            let params = network(table, 2)?;
            let name = "layer2.0.conv1.weight";
            assert_ne!(values(&params, name)?, values(&source, name)?);
            start_from(&file, &params)?;
            for name in params.all().keys() {
                assert_eq!(values(&params, name)?, values(&source, name)?, "{name}");
            }
        }
        Ok(())
    }

    #[test]
    fn latents_of_another_kind_start_from_themselves_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let s3 = || toml::toml! { name = "s3" bits = 3 };
        write(&network(toml::toml! { name = "fp32" }, 1)?, &file, |_| true)?;
        let refused = |params: &Params| {
            let message = format!("{:#}", start_from(&file, params).expect_err("refused"));
            assert!(message.contains("w.safetensors") && !message.contains('\n'));
            message
        };
        let message = refused(&network(s3(), 2)?);
        assert!(message.contains("conv1.weight.w_1"), "{message}");

        write(&network(s3(), 1)?, &file, |_| true)?;
        start_from(&file, &network(s3(), 2)?)?;
        let message = refused(&network(toml::toml! { name = "fp32" }, 2)?);
        assert!(message.contains("none of this network's"), "{message}");

        write(&network(s3(), 1)?, &file, |name| name != "fc.bias")?;
        assert!(refused(&network(s3(), 2)?).contains("no tensor fc.bias"));
        std::fs::write(&file, b"not tensors")?;
        assert!(refused(&network(s3(), 2)?).contains("no safetensors file"));
        Ok(())
    }
}
