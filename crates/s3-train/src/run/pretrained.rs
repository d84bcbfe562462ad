//! Starting from weights that another training has found.
//!
//! `init_from = "FILE"` names a safetensors file with torchvision's names, or a checkpoint of this
//! project. A tensor of the file belongs to the parameter of its name: full-precision weights,
//! latents, batch norms and their statistics, the classifier. What torch puts into the names of a
//! wrapped module (`module.`, `_orig_mod.`, anywhere) is left out of them, and f16 and bf16 are
//! read as the f32 that they are. A checkpoint's names are its own, and its checksum is verified.
//! All that does not fit is said at once, and what was taken, left and missing is told
//! ([`Started`]).
//!
//! With `init_head = "fresh"` the classifier starts as in a run from scratch, whatever the file has
//! there: fine-tuning to other classes. It is the layer that makes the scores, whatever its role,
//! with the batch norms behind it; of a sum or a concatenation that is the scores, each of its
//! layers.
//!
//! Where the file holds a layer's weight itself (`layer1.0.conv1.weight`) and nothing below it, the
//! quantizer sets its latents from it
//! ([`Quantizer::start_from`](s3_core::Quantizer::start_from)): the weight where that is the
//! latent, logits or signs and shifts where the method has a map. What else it keeps for a layer
//! (scales, masks: `layer1.0.conv1.weight.*`) follows from the weight or starts as in a run from
//! scratch, unless the file has it. A method without a map starts only from a checkpoint that has
//! its latents: there is none from a weight to S3's sign, sparsity and shifts that does not choose
//! their magnitudes, and none is published.
//!
//! A method that asks for it then sees what its layers' inputs are on a few training images,
//! without labels ([`calibrate`]).

mod read;
mod source;
mod told;

pub use source::Source;
pub(crate) use source::read_file;
pub use told::Started;

use super::eval::tensors;
use crate::config::Config;
use crate::data::{Dataset, Loader, LoaderConfig};
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use read::read;
use s3_core::{Params, Role};
use s3_layers::model::{Graph, Op};
use s3_layers::zoo::Plan;
use s3_layers::{Net, QuantLayer};
use s3_quant::ByRole;
use std::collections::BTreeMap;
use std::sync::Arc;
use told::Misfits;

/// Sets every parameter of `params` that `source` holds; `net` is their network.
///
/// # Errors
/// One line that names the file: it cannot be read, is no safetensors file, is another than
/// `sha256` or a damaged checkpoint; or all that does not fit: tensors of another type or shape or
/// of no layer, parameters that are missing. A fresh classifier where nothing makes the scores.
pub fn start_from(source: &Source<'_>, params: &Params, net: &Net) -> Result<Started> {
    let (mut started, mut misfits) = (Started::default(), Misfits::default());
    let head = Head::of(net.plan());
    if source.fresh_head {
        started.fresh = head.nodes.clone();
        if started.fresh.is_empty() {
            bail!(
                "init_head: \"fresh\": the scores of this network are made of nothing that trains"
            )
        }
    }
    let mut tensors = read(source, &params.device(), &mut started, &mut misfits)?;
    let in_head = |name: &str| head.has(name);
    let layers = net.layers();
    let all = params.all();
    let mut shapes: BTreeMap<&str, &[usize]> = BTreeMap::new();
    let weights: Vec<String> = layers.iter().map(|l| weight_of(l)).collect();
    shapes.extend(all.iter().map(|(name, p)| (name.as_str(), p.var.dims())));
    shapes.extend(
        weights
            .iter()
            .zip(&layers)
            .map(|(w, l)| (w.as_str(), l.spec.shape.as_slice())),
    );
    tensors.retain(|name, tensor| {
        let (found, expected) = (tensor.dims(), shapes.get(name.as_str()));
        match expected {
            _ if source.fresh_head && in_head(name) => started.left.push(name.clone()),
            None => misfits.strays.push(name.clone()),
            Some(expected) if found != *expected => {
                let why = format!("has shape {found:?}, expected {expected:?}");
                misfits.wrong.insert(name.clone(), why);
            }
            Some(_) => return true,
        }
        false
    });
    if source.fresh_head {
        misfits.wrong.retain(|name, _| !in_head(name));
    }

    started.taken = from_weights(&tensors, &layers);
    started.has_weights = !started.taken.is_empty();
    let from_weights = started.taken.clone();
    for (parameter, p) in &all {
        let is_above = |weight: &String| is_at_or_below(parameter, weight);
        if from_weights.iter().any(is_above) || misfits.wrong.keys().any(is_above) {
            continue;
        }
        if source.fresh_head && in_head(parameter) {
            started.missing.push(parameter.clone());
        } else if let Some(tensor) = tensors.get(parameter) {
            p.var.set(tensor)?;
            started.taken.push(parameter.clone());
        } else {
            // What a method keeps beside a weight that the file has starts as in a run from
            // scratch.
            match tensors.keys().find(|weight| is_above(weight)) {
                Some(weight) if all.contains_key(weight) => started.missing.push(parameter.clone()),
                Some(weight) => {
                    misfits.unmapped.insert(weight.clone());
                    misfits.latents.push(parameter.clone());
                }
                None => misfits.missing.push(parameter.clone()),
            }
        }
    }
    misfits.into_result(source.path, in_head)?;
    started.taken.sort_unstable();
    started.left.sort_unstable();
    Ok(started)
}

/// Training images that layers are calibrated on.
const CALIBRATION_IMAGES: usize = 256;

/// Calibrates `net`, which started from the weights of `source`, on the first training images.
///
/// # Errors
/// A file that holds no full-precision weights of this network, and those of
/// [`Net::calibrate`].
pub fn calibrate(
    source: &Source<'_>,
    config: &Config,
    net: &Net,
    data: &Arc<Dataset>,
    device: &Device,
) -> Result<()> {
    let float = ByRole {
        full_precision: Role::ALL.to_vec(),
        ..config.method()?
    };
    let params = Params::new(config.seed, device);
    let float = Net::new(net.plan(), config.activations()?, &float, &params)?;
    start_from(source, &params, &float).context("calibration")?;
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
        let name = weight_of(layer);
        let below = |t: &String| *t != name && is_at_or_below(t, &name);
        let Some(weight) = tensors.get(&name).filter(|_| !tensors.keys().any(below)) else {
            continue;
        };
        if layer.quantizer.start_from(weight).is_ok() {
            taken.push(name);
        }
    }
    taken
}

/// What makes the scores of a network.
struct Head {
    /// Its layers and norms, front to end.
    nodes: Vec<String>,
    /// The paths of all that trains, and whether each is part of it.
    paths: BTreeMap<String, bool>,
}

impl Head {
    /// Backwards from the scores as far as the first layer on each way.
    fn of(plan: &Graph<Plan>) -> Self {
        let mut is_made_of = vec![false; plan.nodes.len() + 1];
        if let Some(scores) = is_made_of.last_mut() {
            *scores = true;
        }
        let (mut nodes, mut paths) = (Vec::new(), BTreeMap::new());
        for (index, node) in plan.nodes.iter().enumerate().rev() {
            let is_head = is_made_of[index + 1];
            let behind = match &node.op {
                Op::Layer(layer) => layer.add.into_iter().collect(),
                _ => node.inputs.clone(),
            };
            behind
                .iter()
                .filter(|_| is_head)
                .for_each(|&value| is_made_of[value] = true);
            let Some(plan) = node.holds() else { continue };
            if is_head {
                nodes.push(node.name.clone());
            }
            paths.insert(node.name.clone(), is_head);
            paths.extend(plan.norm.clone().map(|norm| (norm, is_head)));
        }
        nodes.reverse();
        Self { nodes, paths }
    }

    /// Whether a tensor of this name is part of it: the longest path that it is at or below says
    /// so.
    fn has(&self, name: &str) -> bool {
        let above = self
            .paths
            .iter()
            .filter(|(path, _)| is_at_or_below(name, path));
        let longest = above.max_by_key(|(path, _)| path.len());
        longest.is_some_and(|(_, is_head)| *is_head)
    }
}

fn weight_of(layer: &QuantLayer) -> String {
    format!("{}.weight", layer.spec.name)
}

fn is_at_or_below(name: &str, weight: &str) -> bool {
    let rest = name.strip_prefix(weight);
    rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint;
    use super::*;
    use candle_core::DType;
    use s3_layers::model::Size;
    use s3_layers::zoo::{self, Settings};
    use safetensors::tensor::{Dtype, TensorView};
    use std::collections::HashMap;
    use std::path::Path;

    /// A ResNet-8 of two classes under the method of `table`.
    fn network(table: toml::Table, seed: u64) -> Result<(Net, Params)> {
        let image = Size {
            height: 8,
            width: 8,
            channels: 1,
        };
        let plan = zoo::graph("resnet8", &Settings::new(), image, 2)?;
        let params = Params::new(seed, &Device::Cpu);
        let method = s3_quant::build(&table)?.method;
        let net = Net::new(&plan, DType::F32, &*method, &params)?;
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

    fn from(path: &Path) -> Source<'_> {
        Source {
            path,
            sha256: None,
            fresh_head: false,
        }
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
            start_from(&from(&file), &params, &net)?;
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
                start_from(&from(&file), &params, &net)?;
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
        let refused = |(net, params): &(Net, Params)| {
            let result = start_from(&from(&file), params, net);
            let message = format!("{:#}", result.expect_err("refused"));
            assert!(message.contains("w.safetensors") && !message.contains('\n'));
            message
        };
        let message = refused(&network(s3(), 2)?);
        assert!(message.contains("conv1.weight.w_1"), "{message}");

        write(&network(s3(), 1)?.1, &file, |_| true)?;
        let (net, params) = network(s3(), 2)?;
        start_from(&from(&file), &params, &net)?;
        let message = refused(&network(toml::toml! { name = "fp32" }, 2)?);
        assert!(message.contains("none of this network's"), "{message}");

        write(&network(s3(), 1)?.1, &file, |name| name != "fc.bias")?;
        assert!(refused(&network(s3(), 2)?).contains("no tensor fc.bias"));
        std::fs::write(&file, b"not tensors")?;
        assert!(refused(&network(s3(), 2)?).contains("no safetensors file"));
        Ok(())
    }

    /// The parameters of `params`, each under the name and as the tensor that `change` makes of it.
    fn changed(
        params: &Params,
        path: &Path,
        change: impl Fn(&str, Tensor) -> Result<(String, Tensor)>,
    ) -> Result<()> {
        let all = params.all();
        let tensors = all
            .iter()
            .map(|(name, p)| change(name, p.var.as_tensor().copy()?));
        let tensors: HashMap<String, Tensor> = tensors.collect::<Result<_>>()?;
        Ok(candle_core::safetensors::save(&tensors, path)?)
    }

    fn refusal(source: &Source<'_>, (net, params): &(Net, Params)) -> String {
        let error = start_from(source, params, net).expect_err("refused");
        let message = format!("{error:#}");
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn names_of_wrapped_modules_and_half_floats_are_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let (_, source) = network(toml::toml! { name = "fp32" }, 1)?;
        for (wrap, dtype) in [
            ("module.", DType::F32),
            ("_orig_mod.", DType::F16),
            ("module._orig_mod.", DType::BF16),
            ("_orig_mod.module.module.", DType::F32),
        ] {
            changed(&source, &file, |name, t| {
                let inner = name.replacen("layer2.", "layer2._orig_mod.", 1);
                Ok((format!("{wrap}{inner}"), t.to_dtype(dtype)?))
            })?;
            let (net, params) = network(toml::toml! { name = "fp32" }, 2)?;
            let started = start_from(&from(&file), &params, &net)?;
            assert_eq!(started.taken, Vec::from_iter(params.all().into_keys()));
            assert!(started.left.is_empty() && started.missing.is_empty());
            for (name, p) in source.all() {
                let rounded = p.var.to_dtype(dtype)?.to_dtype(DType::F32)?;
                let rounded = rounded.flatten_all()?.to_vec1::<f32>()?;
                assert_eq!(values(&params, &name)?, rounded, "{wrap}{name} {dtype:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_fresh_head_starts_as_from_scratch_and_the_rest_from_the_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let (_, source) = network(toml::toml! { name = "fp32" }, 1)?;
        // Another number of classes, and a head of several layers.
        changed(&source, &file, |name, t| match name {
            "fc.weight" => Ok(("fc.1.weight".into(), t)),
            "fc.bias" => Ok((name.into(), Tensor::zeros(1000, DType::F32, &Device::Cpu)?)),
            _ => Ok((name.into(), t)),
        })?;
        let (net, params) = network(toml::toml! { name = "fp32" }, 2)?;
        let head = [values(&params, "fc.weight")?, values(&params, "fc.bias")?];
        let fresh = Source {
            fresh_head: true,
            ..from(&file)
        };
        let started = start_from(&fresh, &params, &net)?;
        assert_eq!(started.left, ["fc.1.weight", "fc.bias"]);
        assert_eq!(started.missing, ["fc.bias", "fc.weight"]);
        assert_eq!(started.taken.len() + 2, params.all().len());
        assert_eq!(
            head,
            [values(&params, "fc.weight")?, values(&params, "fc.bias")?]
        );
        let name = "layer3.0.conv2.weight";
        assert_eq!(values(&params, name)?, values(&source, name)?);
        let lines = started.lines(&fresh);
        assert!(
            lines[0].contains("taken 35: ") && lines[0].contains(" 10 of layer3"),
            "{lines:?}"
        );
        assert!(lines[1].contains("left 2: fc.1.weight, fc.bias; init_head = \"fresh\""));
        assert!(lines[2].ends_with("2: fc.bias, fc.weight"), "{lines:?}");
        Ok(())
    }

    /// The network of two classes that these nodes, JSON, describe.
    fn listed_nodes(nodes: &str) -> Result<Graph<Plan>> {
        let image = Size {
            height: 4,
            width: 4,
            channels: 1,
        };
        let settings = serde_json::from_str(&format!("{{\"nodes\": [{nodes}]}}"))?;
        Ok(zoo::graph("nodes", &settings, image, 2)?)
    }

    #[test]
    fn the_head_is_what_makes_the_scores_whatever_its_role() -> Result<()> {
        let conv = r#"{"name": "c", "op": "conv", "channels": 2, "kernel": 3, "role": "first"}"#;
        let mean = r#"{"name": "p", "op": "mean_pool"}"#;
        let fc = r#"{"name": "fc", "op": "linear"}"#;
        for (nodes, head, at_or_below, others) in [
            (
                format!("{conv}, {mean}, {fc}"),
                vec!["fc"],
                vec!["fc.weight", "fc.bias", "fc.1.weight"],
                vec!["c.weight", "c.bias", "fcs.weight"],
            ),
            // A layer of the last role that makes no scores; one below the head's name.
            (
                format!(
                    r#"{conv}, {mean}, {{"name": "fc.hidden", "op": "linear", "channels": 3,
                    "role": "last", "norm": "fc.norm"}}, {fc}"#
                ),
                vec!["fc"],
                vec!["fc.weight", "fc.1.weight"],
                vec!["fc.hidden.weight", "fc.norm.weight", "c.weight"],
            ),
            // The scores are means of a convolution, behind which is a batch norm.
            (
                format!(
                    r#"{{"name": "stem", "op": "conv", "channels": 3, "kernel": 1}},
                    {{"name": "c", "op": "conv", "channels": 2, "kernel": 1, "norm": "bn"}},
                    {{"name": "off", "op": "dropout", "p": 0.5}},
                    {{"name": "behind", "op": "norm"}}, {mean}"#
                ),
                vec!["c", "behind"],
                vec!["c.weight", "bn.running_mean", "behind.bias"],
                vec!["stem.weight"],
            ),
            // Their sum, and their concatenation, of two layers.
            (
                format!(
                    r#"{{"name": "a", "op": "conv", "channels": 2, "kernel": 3}},
                    {{"name": "b", "op": "conv", "channels": 2, "kernel": 3}},
                    {{"name": "sum", "op": "add", "inputs": ["b", "a"]}}, {mean}"#
                ),
                vec!["a", "b"],
                vec!["a.weight", "b.weight"],
                vec![],
            ),
            (
                format!(
                    r#"{mean}, {{"name": "a", "op": "linear", "channels": 1}},
                    {{"name": "b", "op": "linear", "channels": 1, "input": "p"}},
                    {{"name": "both", "op": "concat", "inputs": ["a", "b"]}}"#
                ),
                vec!["a", "b"],
                vec!["a.weight", "b.bias"],
                vec![],
            ),
        ] {
            let found = Head::of(&listed_nodes(&nodes)?);
            assert_eq!(found.nodes, head, "{nodes}");
            for name in at_or_below {
                assert!(found.has(name), "{name} of {nodes}");
            }
            for name in others {
                assert!(!found.has(name), "{name} of {nodes}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_fresh_head_without_the_last_role_starts_anew() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let plan = listed_nodes(
            r#"{"name": "p", "op": "mean_pool"},
            {"name": "fc1", "op": "linear", "channels": 3, "role": "last"},
            {"name": "fc2", "op": "linear"}"#,
        )?;
        let network = |seed| -> Result<(Net, Params)> {
            let params = Params::new(seed, &Device::Cpu);
            let method = s3_quant::build(&toml::toml! { name = "fp32" })?.method;
            Ok((Net::new(&plan, DType::F32, &*method, &params)?, params))
        };
        let (_, source) = network(1)?;
        // The scores of the file are of another number of classes.
        changed(&source, &file, |name, t| match name {
            "fc2.weight" | "fc2.bias" => Ok((name.into(), Tensor::cat(&[&t, &t], 0)?)),
            _ => Ok((name.into(), t)),
        })?;
        let (net, params) = network(2)?;
        let fresh = Source {
            fresh_head: true,
            ..from(&file)
        };
        let before = values(&params, "fc2.weight")?;
        let started = start_from(&fresh, &params, &net)?;
        assert_eq!(started.taken, ["fc1.bias", "fc1.weight"]);
        assert_eq!(started.left, ["fc2.bias", "fc2.weight"]);
        assert_eq!(started.missing, ["fc2.bias", "fc2.weight"]);
        let said = "init_head = \"fresh\": the classifier starts anew (fc2)";
        assert!(started.lines(&fresh)[1].ends_with(said));
        assert_eq!(values(&params, "fc2.weight")?, before);
        assert_eq!(
            values(&params, "fc1.weight")?,
            values(&source, "fc1.weight")?
        );
        // Nothing that trains makes the scores.
        let image = Size {
            height: 4,
            width: 4,
            channels: 2,
        };
        let settings = serde_json::from_str(r#"{"nodes": [{"name": "p", "op": "mean_pool"}]}"#)?;
        let plan = zoo::graph("nodes", &settings, image, 2)?;
        let params = Params::new(1, &Device::Cpu);
        let method = s3_quant::build(&toml::toml! { name = "fp32" })?.method;
        let net = Net::new(&plan, DType::F32, &*method, &params)?;
        assert_eq!(
            refusal(&fresh, &(net, params)),
            "init_head: \"fresh\": the scores of this network are made of nothing that trains"
        );
        Ok(())
    }

    #[test]
    fn all_that_does_not_fit_is_said_at_once_in_a_fixed_order() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("w.safetensors");
        let (_, source) = network(toml::toml! { name = "fp32" }, 1)?;
        changed(&source, &file, |name, t| match name {
            "fc.weight" | "bn1.bias" => Ok((name.into(), Tensor::cat(&[&t, &t], 0)?)),
            "bn1.weight" => Ok(("bn9.weight".into(), t)),
            "conv1.weight" => Ok((name.into(), (t.to_dtype(DType::F32)? / 0.0)?)),
            "layer1.0.bn1.weight" => Ok((name.into(), t.to_dtype(DType::F64)?)),
            _ => Ok((name.into(), t)),
        })?;
        let expected = format!(
            "init_from: {}: bn1.bias has shape [32], expected [16], conv1.weight holds NUMBER, \
             fc.weight has shape [4, 64], expected [2, 64], layer1.0.bn1.weight is F64, expected \
             F32, F16 or BF16; no tensor bn1.weight; bn9.weight: none of this network's (init_head \
             = \"fresh\" starts the classifier anew)",
            file.display()
        );
        for _ in 0..4 {
            let message = refusal(&from(&file), &network(toml::toml! { name = "fp32" }, 2)?);
            let message = message
                .replace("holds -inf", "holds NUMBER")
                .replace("holds inf", "holds NUMBER");
            assert_eq!(message, expected);
        }
        // The head is none of it any more; the others are.
        let fresh = Source {
            fresh_head: true,
            ..from(&file)
        };
        let message = refusal(&fresh, &network(toml::toml! { name = "fp32" }, 2)?);
        assert!(
            !message.contains("fc") && !message.contains("init_head"),
            "{message}"
        );
        assert!(message.contains("bn1.bias has shape [32]"), "{message}");
        // Two of one name.
        let views = ["module.fc.bias", "fc.bias"]
            .map(|name| (name, Tensor::zeros(2, DType::F32, &Device::Cpu)));
        let views = views
            .into_iter()
            .map(|(name, t)| Ok((name.to_string(), t?)));
        let views = views.collect::<Result<HashMap<_, _>>>()?;
        candle_core::safetensors::save(&views, &file)?;
        let message = refusal(&from(&file), &network(toml::toml! { name = "fp32" }, 2)?);
        assert!(message.contains("fc.bias is there twice"), "{message}");
        Ok(())
    }

    #[test]
    fn a_checkpoint_may_have_nodes_of_a_wrappers_name() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("last.safetensors");
        let plan = listed_nodes(
            r#"{"name": "p", "op": "mean_pool"},
            {"name": "module", "op": "linear", "channels": 3},
            {"name": "module.fc", "op": "linear"}"#,
        )?;
        let network = |seed| -> Result<(Net, Params)> {
            let params = Params::new(seed, &Device::Cpu);
            let method = s3_quant::build(&toml::toml! { name = "fp32" })?.method;
            Ok((Net::new(&plan, DType::F32, &*method, &params)?, params))
        };
        let (_, source) = network(1)?;
        let header = checkpoint::Header {
            version: checkpoint::VERSION,
            model: "nodes".into(),
            method: "fp32".into(),
            run: "x-00000000-s1".into(),
            position: checkpoint::Position::default(),
        };
        let tensors = source.all().into_iter();
        let tensors = tensors.map(|(name, p)| (name, p.var.as_detached_tensor()));
        checkpoint::save(&file, &header, &tensors.collect())?;
        let (net, params) = network(2)?;
        start_from(&from(&file), &params, &net)?;
        for name in params.all().keys() {
            assert_eq!(values(&params, name)?, values(&source, name)?, "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_damaged_checkpoint_or_another_file_is_refused() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("last.safetensors");
        let (net, params) = network(toml::toml! { name = "fp32" }, 1)?;
        let header = checkpoint::Header {
            version: checkpoint::VERSION,
            model: "resnet8".into(),
            method: "fp32".into(),
            run: "x-00000000-s1".into(),
            position: checkpoint::Position::default(),
        };
        let tensors = params
            .all()
            .into_iter()
            .map(|(name, p)| (name, p.var.as_detached_tensor()));
        checkpoint::save(&file, &header, &tensors.collect())?;
        let started = start_from(&from(&file), &params, &net)?;
        assert_eq!(started.warning, None);
        let other = Source {
            sha256: Some("00"),
            ..from(&file)
        };
        let message = refusal(&other, &network(toml::toml! { name = "fp32" }, 2)?);
        assert!(
            message.contains(&started.sha256) && message.contains("init_sha256"),
            "{message}"
        );
        let known = Source {
            sha256: Some(&started.sha256),
            ..from(&file)
        };
        start_from(&known, &params, &net)?;

        let whole = std::fs::read(&file)?;
        let key = whole
            .windows(13)
            .position(|w| w == b"s3.checkpoint")
            .expect("the key");
        let value = whole.len() - 3;
        for at in [key, key + 5, key + 20, value] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, damaged)?;
            let message = refusal(&from(&file), &network(toml::toml! { name = "fp32" }, 2)?);
            assert!(message.contains("last.safetensors: "), "{at}: {message}");
        }
        Ok(())
    }
}
