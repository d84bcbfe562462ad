//! One safetensors file with all that an exact resume needs.
//!
//! | tensors | what |
//! | --- | --- |
//! | `layer1.0.conv1.weight.w_sign`, `bn1.running_mean`, .. | parameters and buffers, torch's names |
//! | `optimizer/momentum.<parameter>` | optimizer state |
//! | `snapshot/<layer>`, `snapshot/<latent>` | weights and latents of the last dynamics snapshot |
//!
//! The metadata holds one key, `s3.checkpoint`, a JSON object ([`Header`]); with a second key the
//! file's bytes would depend on a hash map's order.

use crate::dynamics::Gradients;
use crate::files::write_atomically;
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use s3_core::host::{Host, on_cpu};
use s3_metrics::accuracy::Accuracy;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The version of this layout; another one is refused.
pub const VERSION: u32 = 1;
const KEY: &str = "s3.checkpoint";
/// More than any file of this project needs; guards against a header that promises the moon.
const MAX_BYTES: u64 = 16 << 30;

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The network's name.
    pub model: String,
    /// The method's name.
    pub method: String,
    /// The run's folder name, whose hash covers the whole configuration.
    pub run: String,
    /// Where training stands.
    pub position: Position,
}

/// Where training stands, and the sums of the epoch under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Whole epochs done.
    pub epoch: usize,
    /// Steps done of the epoch under way.
    pub step_in_epoch: usize,
    /// Steps done in the run.
    pub step: u64,
    /// Loss and hits of the epoch under way.
    pub sums: Accuracy,
    /// Training pictures that were left out in the epoch under way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Penalties of the epoch under way, summed over its steps, as the bits of an f64.
    pub penalty_bits: u64,
    /// The best validation accuracy so far and its epoch.
    pub best: Option<(f64, usize)>,
    /// The gradients of the epoch's last step, where a snapshot at its end waits for them.
    #[serde(default, skip_serializing_if = "Gradients::is_empty")]
    pub gradients: Gradients,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Named tensors in the order of their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// Writes a checkpoint; the one that stood at `path` stays until the new one is whole.
///
/// # Errors
/// A tensor that is not finite (named), or those of the file system.
pub fn save(path: &Path, header: &Header, tensors: &Tensors) -> Result<()> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, t) in tensors {
        let t = on_cpu(t).with_context(|| format!("checkpoint tensor {name}"))?;
        let values = Host::new(&t).with_context(|| format!("checkpoint tensor {name}"))?;
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            bail!(
                "training diverged: {name} holds {bad}; {} is not written",
                path.display()
            )
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        views.push((name.as_str(), t.dims().to_vec(), bytes));
    }
    let views = views
        .iter()
        .map(|(name, dims, bytes)| Ok((*name, TensorView::new(Dtype::F32, dims.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(KEY.to_string(), serde_json::to_string(header)?)]);
    write_atomically(path, &safetensors::serialize(views, Some(metadata))?)
}

/// Reads a checkpoint; its tensors are on the CPU, whatever device wrote them.
///
/// # Errors
/// One line that names the file: it cannot be read, is truncated or no safetensors file, is no
/// checkpoint of this project, has another version, or holds a tensor that is not f32.
pub fn load(path: &Path) -> Result<(Header, Tensors)> {
    let name = path.display();
    let size = std::fs::metadata(path)
        .with_context(|| format!("reading {name}"))?
        .len();
    if size > MAX_BYTES {
        bail!("{name}: {size} bytes, more than a checkpoint may have")
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {name}"))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)
        .map_err(|e| anyhow::anyhow!("{name}: truncated, or no safetensors file ({e})"))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| anyhow::anyhow!("{name}: truncated, or no safetensors file ({e})"))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let Some(header) = header else {
        bail!("{name}: not a checkpoint of s3 (no `{KEY}` in it)")
    };
    let version: Version =
        serde_json::from_str(header).with_context(|| format!("{name}: a damaged header"))?;
    if version.version != VERSION {
        bail!(
            "{name}: checkpoint version {}, this program reads version {VERSION}",
            version.version
        )
    }
    let header: Header =
        serde_json::from_str(header).with_context(|| format!("{name}: a damaged header"))?;
    let mut tensors = Tensors::new();
    for (key, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            bail!("{name}: tensor {key} is {:?}, expected F32", view.dtype())
        }
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        tensors.insert(
            key.to_string(),
            Tensor::from_vec(values, view.shape(), &Device::Cpu)?,
        );
    }
    Ok((header, tensors))
}

/// The part of the header that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Header {
    /// Refuses a checkpoint of another model, method or run.
    ///
    /// # Errors
    /// One line that names the file and both sides.
    pub fn check(&self, path: &Path, model: &str, method: &str, run: Option<&str>) -> Result<()> {
        let pairs = [
            ("model", self.model.as_str(), model),
            ("method", self.method.as_str(), method),
        ];
        let run = run.map(|r| ("run", self.run.as_str(), r));
        for (what, found, expected) in pairs.into_iter().chain(run) {
            if found != expected {
                bail!(
                    "{}: a checkpoint of {what} {found}, expected {what} {expected}",
                    path.display()
                )
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Result<(Header, Tensors)> {
        let header = Header {
            version: VERSION,
            model: "resnet8".into(),
            method: "s3".into(),
            run: "demo/x-00000000-s1".into(),
            position: Position {
                epoch: 2,
                penalty_bits: 1.5f64.to_bits(),
                ..Position::default()
            },
        };
        let t = |v: &[f32]| Tensor::new(v, &Device::Cpu);
        let tensors = Tensors::from([
            ("b".into(), t(&[1.0, -0.0])?),
            ("a".into(), t(&[f32::MIN_POSITIVE])?),
        ]);
        Ok((header, tensors))
    }

    fn bits(t: &Tensor) -> Vec<u32> {
        t.to_vec1::<f32>()
            .expect("f32")
            .iter()
            .map(|v| v.to_bits())
            .collect()
    }

    #[test]
    fn what_is_saved_is_loaded_to_the_bit() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (path, other) = (
            dir.path().join("x.safetensors"),
            dir.path().join("y.safetensors"),
        );
        let (header, tensors) = sample()?;
        save(&path, &header, &tensors)?;
        save(&other, &header, &tensors)?;
        assert_eq!(std::fs::read(&path)?, std::fs::read(&other)?);
        let (h, t) = load(&path)?;
        assert_eq!(h, header);
        for (name, tensor) in &tensors {
            assert_eq!(bits(tensor), bits(&t[name]), "{name}");
        }
        Ok(())
    }

    #[test]
    fn every_truncation_is_refused_with_the_files_name() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.safetensors");
        let (header, tensors) = sample()?;
        save(&path, &header, &tensors)?;
        let whole = std::fs::read(&path)?;
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len])?;
            let message = format!("{:#}", load(&path).expect_err("truncated"));
            assert!(
                message.contains("x.safetensors") && !message.contains('\n'),
                "{len}: {message}"
            );
        }
        Ok(())
    }

    #[test]
    fn another_version_model_method_or_run_is_refused() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.safetensors");
        let (mut header, tensors) = sample()?;
        for (model, method, run, word) in [
            ("resnet20", "s3", None, "resnet20"),
            ("resnet8", "twn", None, "twn"),
            ("resnet8", "s3", Some("r"), "run"),
        ] {
            let e = header
                .check(&path, model, method, run)
                .expect_err("another");
            assert!(
                e.to_string().contains(word) && e.to_string().contains("x.safetensors"),
                "{e}"
            );
        }
        header.version = 99;
        save(&path, &header, &tensors)?;
        let e = load(&path).expect_err("another version").to_string();
        assert!(e.contains("version 99"), "{e}");
        Ok(())
    }

    #[test]
    fn a_tensor_that_is_not_finite_is_named_and_nothing_is_overwritten() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.safetensors");
        let (header, mut tensors) = sample()?;
        save(&path, &header, &tensors)?;
        let before = std::fs::read(&path)?;
        tensors.insert("bad".into(), Tensor::new(&[f32::NAN], &Device::Cpu)?);
        let e = save(&path, &header, &tensors).expect_err("NaN").to_string();
        assert!(e.contains("bad") && e.contains("NaN"), "{e}");
        assert_eq!(std::fs::read(&path)?, before);
        Ok(())
    }
}
