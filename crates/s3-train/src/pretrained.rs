//! Starting from weights that another training has found.
//!
//! `init_from = "FILE"` names a safetensors file with torchvision's names, or a checkpoint of this
//! project. A tensor of the file belongs to the parameter of its name: full-precision weights, latents,
//! batch norms and their statistics, the classifier.
//!
//! Where the file holds a layer's weight itself (`layer1.0.conv1.weight`) and nothing below it, the
//! quantizer sets its latents from it
//! ([`Quantizer::start_from`](s3_core::Quantizer::start_from)): the weight where that is the latent,
//! logits or signs and shifts where the method has a map. What else it keeps for a layer (scales, masks:
//! `layer1.0.conv1.weight.*`) follows from the weight or starts as in a run from scratch, unless the
//! file has it. A method without a map starts only from a checkpoint that has its latents: there is
//! none from a weight to S3's sign, sparsity and shifts that does not choose their magnitudes, and none
//! is published.
//!
//! A method that asks for it then sees what its layers' inputs are on a few training images, without
//! labels ([`calibrate`]).

use crate::config::Config;
use crate::data::{Dataset, Loader, LoaderConfig};
use crate::dynamics;
use crate::eval::tensors;
use crate::optim;
use crate::train::set;
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use s3_core::{Params, Role};
use s3_layers::{QuantLayer, ResNet};
use s3_quant::ByRole;
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What files hold besides a network's parameters.
const OTHER: [&str; 2] = [optim::PREFIX, dynamics::PREFIX];
/// torch counts the steps of each batch norm.
const COUNTER: &str = "num_batches_tracked";

/// Sets every parameter of `params` that `path` holds; `layers` are those of the same network. Returns
/// whether a quantizer took a full-precision weight.
///
/// # Errors
/// One line that names the file: it cannot be read or is no safetensors file; a tensor is no f32, has
/// another shape or belongs to no layer; a parameter is missing.
pub fn start_from(path: &Path, params: &Params, layers: &[&QuantLayer]) -> Result<bool> {
    let name = path.display();
    let tensors = read(path, &params.device())?;
    let all = params.all();
    if let Some(stray) = tensors.keys().find(|t| !belongs(t, &all)) {
        bail!("init_from: {name}: tensor {stray} is none of this network's")
    }
    let started = from_weights(&tensors, layers);
    for (parameter, p) in &all {
        if started.iter().any(|w| is_at_or_below(parameter, w)) {
            continue;
        }
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
    Ok(!started.is_empty())
}

/// Training images that layers are calibrated on.
const CALIBRATION_IMAGES: usize = 256;

/// Calibrates `net`, which started from the weights of `path`, on the first training images.
///
/// # Errors
/// A file that holds no full-precision weights of this network, and those of
/// [`ResNet::calibrate`].
pub fn calibrate(
    path: &Path,
    config: &Config,
    net: &ResNet,
    data: &Arc<Dataset>,
    device: &Device,
) -> Result<()> {
    let float = ByRole {
        full_precision: Role::ALL.to_vec(),
        ..config.method()?
    };
    let params = Params::new(config.seed, device);
    let resnet = config.resnet(data.channels, data.classes())?;
    let float = ResNet::new(&resnet, &float, &params)?;
    start_from(path, &params, &float.layers()).context("calibration")?;
    let images = LoaderConfig::eval(CALIBRATION_IMAGES.min(data.len()));
    let batch = Loader::new(data, &images, 0, 0)?.next().transpose()?;
    let batch = batch.context("calibration: there are no training images")?;
    let (images, _) = tensors(batch, data, device)?;
    Ok(net.calibrate(&float, &images)?)
}

/// Hands the plain weights of the file to their quantizers; returns the weights that they took. One
/// that is refused is left to the caller, which says what is missing.
fn from_weights(tensors: &BTreeMap<String, Tensor>, layers: &[&QuantLayer]) -> Vec<String> {
    let mut taken = Vec::new();
    for layer in layers {
        let name = format!("{}.weight", layer.spec.name);
        let below = |t: &String| *t != name && is_at_or_below(t, &name);
        let Some(weight) = tensors.get(&name).filter(|_| !tensors.keys().any(below)) else {
            continue;
        };
        if weight.dims() == layer.spec.shape && layer.quantizer.start_from(weight).is_ok() {
            taken.push(name);
        }
    }
    taken
}

fn is_at_or_below(name: &str, weight: &str) -> bool {
    let rest = name.strip_prefix(weight);
    rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
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
    fn network(table: toml::Table, seed: u64) -> Result<(ResNet, Params)> {
        let config = ResNetConfig::new(Architecture::ResNet8, 1, 2);
        let params = Params::new(seed, &Device::Cpu);
        let net = ResNet::new(&config, &*s3_quant::build(&table)?.method, &params)?;
        Ok((net, params))
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
        let (_, source) = network(toml::toml! { name = "fp32" }, 1)?;
        write(&source, &file, |_| true)?;
        for table in [toml::toml! { name = "fp32" }, toml::toml! { name = "twn" }] {
            let (net, params) = network(table, 2)?;
            let name = "layer2.0.conv1.weight";
            assert_ne!(values(&params, name)?, values(&source, name)?);
            start_from(&file, &params, &net.layers())?;
            for name in params.all().keys() {
                assert_eq!(values(&params, name)?, values(&source, name)?, "{name}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_a_method_derives_from_the_weight_follows_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        write(&network(toml::toml! { name = "fp32" }, 1)?.1, &file, |_| {
            true
        })?;
        for table in [
            toml::toml! { name = "lrnet" },
            toml::toml! { name = "deepshift_ps" bits = 5 },
            toml::toml! { name = "bwhn" },
        ] {
            let mut seen = Vec::new();
            for seed in [2, 3] {
                let (net, params) = network(table.clone(), seed)?;
                start_from(&file, &params, &net.layers())?;
                let names = params.all().into_keys();
                seen.push(
                    names
                        .map(|n| values(&params, &n))
                        .collect::<Result<Vec<_>>>()?,
                );
            }
            assert_eq!(seen[0], seen[1], "{table}");
        }
        Ok(())
    }

    #[test]
    fn latents_of_another_kind_start_from_themselves_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let s3 = || toml::toml! { name = "s3" bits = 3 };
        write(&network(toml::toml! { name = "fp32" }, 1)?.1, &file, |_| {
            true
        })?;
        let refused = |(net, params): &(ResNet, Params)| {
            let result = start_from(&file, params, &net.layers());
            let message = format!("{:#}", result.expect_err("refused"));
            assert!(message.contains("w.safetensors") && !message.contains('\n'));
            message
        };
        let message = refused(&network(s3(), 2)?);
        assert!(message.contains("conv1.weight.w_1"), "{message}");

        write(&network(s3(), 1)?.1, &file, |_| true)?;
        let (net, params) = network(s3(), 2)?;
        start_from(&file, &params, &net.layers())?;
        let message = refused(&network(toml::toml! { name = "fp32" }, 2)?);
        assert!(message.contains("none of this network's"), "{message}");

        write(&network(s3(), 1)?.1, &file, |name| name != "fc.bias")?;
        assert!(refused(&network(s3(), 2)?).contains("no tensor fc.bias"));
        std::fs::write(&file, b"not tensors")?;
        assert!(refused(&network(s3(), 2)?).contains("no safetensors file"));
        Ok(())
    }
}
