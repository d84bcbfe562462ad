//! One safetensors file with all that an exact resume needs.
//!
//! | tensors | what |
//! | --- | --- |
//! | `layer1.0.conv1.weight.w_sign`, `bn1.running_mean`, .. | parameters and buffers, torch's names |
//! | `optimizer/momentum.<parameter>` | optimizer state; `optimizer/flips.<latent>`: of its flips |
//! | `snapshot/<layer>`, `snapshot/<latent>` | weights and latents of the last dynamics snapshot |
//!
//! No parameter has a `/` in its name, and no layer is called as another's latents are
//! (`config/names.rs`), so that none of these is another.
//!
//! The metadata holds one key, `s3.checkpoint`, a JSON object: [`Header`], and before it `crc32`;
//! with a second key the file's bytes would depend on a hash map's order.
//!
//! `crc32` is the CRC-32 of the whole file, header and data, with `00000000` in the place of its
//! own eight digits, in lower-case hexadecimal. It is checked wherever a checkpoint is read. Files
//! of version 1 have none and are read with a warning ([`Header::warning`]).

use crate::files::{read_regular, write_atomically};
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use s3_core::host::{Host, on_cpu};
use s3_metrics::accuracy::Accuracy;
use s3_metrics::gradient::GradientRecord;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

/// The version of this layout. Version 1, which has no checksum, is read too; another one is
/// refused.
pub const VERSION: u32 = 2;
const KEY: &str = "s3.checkpoint";
/// What stands before the checksum's digits: JSON in a string of JSON.
const CHECKSUM: &[u8] = br#"\"crc32\":\""#;
/// The digits over which the checksum is taken.
const BLANK: &str = "00000000";
/// More than any file of this project needs; guards against a header that promises the moon.
pub(crate) const MAX_BYTES: u64 = 16 << 30;

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
    /// Training images that were left out in the epoch under way.
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

/// The gradients of latents at one step, by the latent's name.
pub type Gradients = BTreeMap<String, GradientRecord>;

/// Writes a checkpoint; the one that stood at `path` stays until the new one is whole.
///
/// # Errors
/// As [`to_bytes`], or those of the file system; the message names the file.
pub fn save(path: &Path, header: &Header, tensors: &Tensors) -> Result<()> {
    let file = to_bytes(header, tensors);
    write_atomically(
        path,
        &file.with_context(|| format!("{} is not written", path.display()))?,
    )
}

/// The bytes of a checkpoint, whose values are f32.
///
/// # Errors
/// A tensor that is not finite, named: training diverged.
pub fn to_bytes(header: &Header, tensors: &Tensors) -> Result<Vec<u8>> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, t) in tensors {
        let t = on_cpu(t).with_context(|| format!("checkpoint tensor {name}"))?;
        let values = Host::new(&t).with_context(|| format!("checkpoint tensor {name}"))?;
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            bail!("training diverged: {name} holds {bad}")
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        views.push((name.as_str(), t.dims().to_vec(), bytes));
    }
    let views = views
        .iter()
        .map(|(name, dims, bytes)| Ok((*name, TensorView::new(Dtype::F32, dims.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let crc32 = BLANK;
    let text = serde_json::to_string(&Sealed { crc32, header })?;
    let metadata = HashMap::from([(KEY.to_string(), text)]);
    let mut file = safetensors::serialize(views, Some(metadata))?;
    let digits = digits(&file).context("a checkpoint has a place for its checksum")?;
    let sum = checksum(&file, &digits);
    file[digits].copy_from_slice(sum.as_bytes());
    Ok(file)
}

#[derive(Serialize)]
struct Sealed<'a> {
    crc32: &'a str,
    #[serde(flatten)]
    header: &'a Header,
}

/// Where the checksum's digits stand in a file.
fn digits(file: &[u8]) -> Option<Range<usize>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let at = header.windows(CHECKSUM.len()).position(|w| w == CHECKSUM)?;
    let start = length.len() + at + CHECKSUM.len();
    let digits = start..start + BLANK.len();
    (digits.end <= length.len() + header.len()).then_some(digits)
}

/// The checksum of a file whose own stands at `digits`.
fn checksum(file: &[u8], digits: &Range<usize>) -> String {
    let mut hash = crc32fast::Hasher::new();
    for part in [&file[..digits.start], BLANK.as_bytes(), &file[digits.end..]] {
        hash.update(part);
    }
    format!("{:08x}", hash.finalize())
}

/// The header's text and version where `file` is a checkpoint of this project; `None` where it is
/// another's.
///
/// # Errors
/// A header without version, another version, or a checksum that is not the file's.
pub(crate) fn verified<'a>(file: &[u8], metadata: &'a Metadata) -> Result<Option<(&'a str, u32)>> {
    let digits = digits(file);
    let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    if text.is_none() && digits.is_none() {
        return Ok(None);
    }
    let text = text.with_context(|| format!("damaged: a checksum, but no `{KEY}`"))?;
    let Version { version } = serde_json::from_str(text).context("a damaged header")?;
    match digits {
        None if version == 1 => {}
        _ if version != 1 && version != VERSION => {
            bail!("checkpoint version {version}, this program reads versions 1 and {VERSION}")
        }
        Some(digits) if file[digits.clone()] == *checksum(file, &digits).as_bytes() => {}
        _ => bail!("damaged: its checksum is another than that of its bytes"),
    }
    Ok(Some((text, version)))
}

/// What is said of a checkpoint of `version`.
pub(crate) fn warning(path: &Path, version: u32) -> Option<String> {
    (version == 1).then(|| {
        format!(
            "{}: a checkpoint of version 1, which has no checksum: damage to it would go unnoticed",
            path.display()
        )
    })
}

/// Reads a checkpoint; its tensors are on the CPU, whatever device wrote them.
///
/// # Errors
/// One line that names the file: it cannot be read, and those of [`from_bytes`].
pub fn load(path: &Path) -> Result<(Header, Tensors)> {
    let name = path.display();
    let bytes = read_regular(path, MAX_BYTES).with_context(|| format!("reading {name}"))?;
    from_bytes(&bytes).with_context(|| name.to_string())
}

/// Reads a checkpoint from a file's bytes.
///
/// # Errors
/// Truncated or no safetensors file, no checkpoint of this project, another version, a checksum
/// that is not that of the bytes, or a tensor that is not f32.
pub fn from_bytes(bytes: &[u8]) -> Result<(Header, Tensors)> {
    let malformed = |e| anyhow::anyhow!("truncated, or no safetensors file ({e})");
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
    let Some((header, _)) = verified(bytes, &metadata)? else {
        bail!("not a checkpoint of s3 (no `{KEY}` in it)")
    };
    let header: Header = serde_json::from_str(header).context("a damaged header")?;
    let mut tensors = Tensors::new();
    for (key, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            bail!("tensor {key} is {:?}, expected F32", view.dtype())
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
    /// What a reader of the file tells its user: that an old version has no checksum.
    pub fn warning(&self, path: &Path) -> Option<String> {
        warning(path, self.version)
    }

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
        let e = format!("{:#}", load(&path).expect_err("another version"));
        assert!(e.contains("version 99"), "{e}");
        Ok(())
    }

    /// The file as version 1 would have it.
    fn first_version(mut header: Header, tensors: &Tensors) -> Result<Vec<u8>> {
        header.version = 1;
        let metadata = HashMap::from([(KEY.to_string(), serde_json::to_string(&header)?)]);
        Ok(safetensors::serialize(tensors, Some(metadata))?)
    }

    #[test]
    fn every_flipped_bit_is_refused() -> Result<()> {
        let (header, tensors) = sample()?;
        let mut file = to_bytes(&header, &tensors)?;
        from_bytes(&file)?;
        for bit in 0..8 * file.len() {
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(from_bytes(&file).is_err(), "bit {bit}");
            if let Ok((_, metadata)) = SafeTensors::read_metadata(&file) {
                assert!(verified(&file, &metadata).is_err(), "bit {bit}");
            }
            file[bit / 8] ^= 1 << (bit % 8);
        }
        from_bytes(&file)?;
        Ok(())
    }

    #[test]
    fn the_seeds_of_the_fuzz_target_are_checkpoints() -> Result<()> {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/checkpoint");
        for version in [1, 2] {
            let (header, tensors) = load(&seeds.join(format!("version-{version}")))?;
            assert_eq!((header.version, header.position.step), (version, 7));
            assert_eq!(bits(&tensors["a"]), [1f32.to_bits()]);
        }
        Ok(())
    }

    #[test]
    fn edited_counters_are_refused() -> Result<()> {
        let (header, tensors) = sample()?;
        let file = to_bytes(&header, &tensors)?;
        let edit = |from: &str, to: &str| {
            let at = file.windows(from.len()).position(|w| w == from.as_bytes());
            let at = at.expect("in the header");
            [&file[..at], to.as_bytes(), &file[at + from.len()..]].concat()
        };
        for (from, to) in [
            (r#"\"epoch\":2"#, r#"\"epoch\":3"#),
            (r#"\"step\":0"#, r#"\"step\":9"#),
            (r#"\"version\":2"#, r#"\"version\":1"#),
            (r#"\"crc32\":\""#, r#"\"crc31\":\""#),
        ] {
            let e = format!("{:#}", from_bytes(&edit(from, to)).expect_err("edited"));
            assert!(e.contains("checksum"), "{from}: {e}");
        }
        Ok(())
    }

    #[test]
    fn a_file_of_version_1_is_read_with_a_warning() -> Result<()> {
        let (header, tensors) = sample()?;
        let path = Path::new("x.safetensors");
        assert_eq!(header.warning(path), None);
        let (old, values) = from_bytes(&first_version(header.clone(), &tensors)?)?;
        assert_eq!(old.position, header.position);
        assert_eq!(bits(&values["b"]), bits(&tensors["b"]));
        let warning = old.warning(path).expect("no checksum");
        assert!(warning.contains("x.safetensors: a checkpoint of version 1"));
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
        let e = format!("{:#}", save(&path, &header, &tensors).expect_err("NaN"));
        assert!(e.contains("x.safetensors is not written"), "{e}");
        assert!(e.contains("bad") && e.contains("NaN"), "{e}");
        assert_eq!(std::fs::read(&path)?, before);
        Ok(())
    }
}
