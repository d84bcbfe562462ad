//! An experiment as data: a TOML file, overrides from the command line, every default filled in.

mod check;
mod model;
mod names;
mod text;

pub use model::ModelConfig;

use crate::data::DataConfig;
use crate::digest::sha256;
use crate::files::read_regular;
use crate::lists;
use crate::run::device;
use crate::run::optim::OptimizerConfig;
use crate::run::schedule::Schedule;
use anyhow::{Context, Result, bail};
use candle_core::DType;
use s3_core::Role;
use s3_layers::model::{Graph, Size};
use s3_layers::zoo::{self, Plan};
use s3_quant::ByRole;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use text::{one_line, other_keys, set};
use toml::{Table, Value};

/// A configuration's file has at most these bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Weights that a network may have: ten times those of the literature's. A larger one is refused
/// before anything of it is allocated.
pub const MAX_WEIGHTS: u128 = 1 << 28;
/// Products for one image that it may take: 250 times those of ResNet-50.
pub const MAX_PRODUCTS: u128 = 1 << 40;

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The experiment's name; by default its path below a folder `experiments`.
    #[serde(default)]
    pub experiment: String,
    /// Seed of the initial weights, the order of the images and their augmentation.
    #[serde(default = "one")]
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Parts of a batch, as equal as can be, that are computed one after the other, or by several
    /// processes; each has batch statistics of its own. A power of two. 4 parts give the same bytes
    /// on 1, 2 and 4 processes.
    #[serde(default = "one_part", skip_serializing_if = "is_one_part")]
    pub micro_batches: usize,
    /// Over what batch norms take their statistics in training: `local`, the micro-batch, or
    /// `synced`, the whole batch on all processes (which then share it without `micro_batches`).
    #[serde(default = "local", skip_serializing_if = "is_local")]
    pub batch_norm: String,
    /// Images an evaluation step; changes no result.
    #[serde(default = "eval_batch_size")]
    pub eval_batch_size: usize,
    /// Whether the last, short batch of an epoch is left out.
    #[serde(default)]
    pub drop_last: bool,
    /// The mass that label smoothing spreads over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Where the tensors live: `cpu`, or the GPU `cuda:N` ([`crate::run::device`]).
    #[serde(default = "cpu")]
    pub device: String,
    /// What activations and their gradients are stored in while training: `f32`, or `bf16` (mixed
    /// precision: latents, sums, batch statistics and the optimizer stay f32). Evaluation is in
    /// f32.
    #[serde(default = "f32_name")]
    pub dtype: String,
    /// The last images of the training set that are held out, and on which the best checkpoint is
    /// chosen; 0: no best checkpoint (the test set never chooses one).
    #[serde(default)]
    pub validation_images: usize,
    /// A safetensors file that parameters start from: torchvision's names, or a checkpoint of this
    /// project ([`pretrained`](crate::run::pretrained)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// The SHA-256 of that file, which a run fills in: the file, wherever it lies, and not its path
    /// is part of the run's name. Another file is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_sha256: Option<String>,
    /// How the classifier starts where there is `init_from`: from the `file`, as all else, or
    /// `fresh`, as in a run from scratch, which other classes need.
    #[serde(default = "file", skip_serializing_if = "is_file")]
    pub init_head: String,
    /// A snapshot of the weights (WSVR, WLVR, level counts) is taken every so many epochs.
    #[serde(default = "ten")]
    pub snapshot_epochs: usize,
    /// The data set.
    pub data: DataConfig,
    /// The network.
    pub model: ModelConfig,
    /// The method: `name` and its own settings.
    pub method: Table,
    /// Which layers the method leaves in full precision.
    #[serde(default)]
    pub layers: LayersConfig,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The learning rate.
    pub lr: Schedule,
    /// The coefficient of the dense-weight penalty (eq. 7): needed where the method has one, with
    /// `start = 0` to train without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<Schedule>,
    /// Where it was read, which refusals name; no part of what it is.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// Which layers stay in full precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LayersConfig {
    /// The roles that do: any of `first`, `hidden`, `depthwise`, `shortcut`, `last`.
    pub full_precision: Vec<Role>,
}

impl Default for LayersConfig {
    fn default() -> Self {
        Self {
            full_precision: vec![Role::First, Role::Last],
        }
    }
}

fn one() -> u64 {
    1
}
fn one_part() -> usize {
    1
}
fn is_one_part(n: &usize) -> bool {
    *n == 1
}
fn local() -> String {
    "local".into()
}
fn is_local(name: &String) -> bool {
    name == "local"
}
fn file() -> String {
    "file".into()
}
fn is_file(name: &String) -> bool {
    *name == file()
}
fn ten() -> usize {
    10
}
fn cpu() -> String {
    "cpu".into()
}
fn f32_name() -> String {
    "f32".into()
}
fn eval_batch_size() -> usize {
    250
}

impl Config {
    /// Reads `path`, applies `overrides` (`key=value`, dotted keys, TOML values), fills in every
    /// default and checks what can be checked without the data.
    ///
    /// # Errors
    /// A file that cannot be read or parsed; an unknown, missing or mistyped key, named with its
    /// path; a value out of range.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let reading = || format!("reading {}", path.display());
        let bytes = read_regular(path, MAX_BYTES).with_context(reading)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| anyhow::anyhow!("not UTF-8, no configuration"))
            .with_context(reading)?;
        // The name must not depend on the folder from which the path is typed.
        let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let config = Self::parse(&text, overrides, &experiment_name(&whole));
        let config = config.with_context(|| path.display().to_string())?;
        Ok(Self {
            file: Some(path.to_path_buf()),
            ..config
        })
    }

    /// [`load`](Self::load) from a text; `name` serves where the text names no experiment.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, overrides: &[String], name: &str) -> Result<Self> {
        let mut table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| one_line(&e.to_string()))?;
        for o in overrides {
            set(&mut table, o)?;
        }
        let mut config: Self = serde_path_to_error::deserialize(Value::Table(table))
            .map_err(|e| one_line(&format!("{}: {}", e.path(), e.inner())))?;
        if config.experiment.is_empty() {
            config.experiment = name.to_string();
        }
        config.device = device::resolve(&config.device)?;
        config.method = match s3_quant::build_in(&lists::get().methods, &config.method) {
            Ok(built) => built.resolved,
            Err(e) => bail!("{e}{}", other_keys(&config.method, overrides)),
        };
        config.validate()?;
        config.model.settings = config.model.resolved()?;
        Ok(config)
    }

    /// Whether the classifier does not start from the file of `init_from`.
    ///
    /// # Errors
    /// A name other than `file` and `fresh`.
    pub fn head_is_fresh(&self) -> Result<bool> {
        match self.init_head.as_str() {
            "file" => Ok(false),
            "fresh" => Ok(true),
            other => bail!("init_head: expected \"file\" or \"fresh\", got \"{other}\""),
        }
    }

    /// Whether batch norms take their statistics over all processes.
    ///
    /// # Errors
    /// A name other than `local` and `synced`.
    pub fn batch_norm_is_synced(&self) -> Result<bool> {
        match self.batch_norm.as_str() {
            "local" => Ok(false),
            "synced" => Ok(true),
            other => bail!("batch_norm: expected \"local\" or \"synced\", got \"{other}\""),
        }
    }

    /// How many parts of a batch are computed on their own, by so many processes.
    pub(crate) fn parts(&self, ranks: usize) -> Result<usize> {
        match self.batch_norm_is_synced()? {
            true => Ok(ranks),
            false => Ok(self.micro_batches),
        }
    }

    /// What activations are stored in while training.
    ///
    /// # Errors
    /// A name other than `f32` and `bf16`.
    pub fn activations(&self) -> Result<DType> {
        match self.dtype.as_str() {
            "f32" => Ok(DType::F32),
            "bf16" => Ok(DType::BF16),
            other => bail!("dtype: expected \"f32\" or \"bf16\", got \"{other}\""),
        }
    }

    /// What the network for `image` and `classes` is built from.
    ///
    /// # Errors
    /// One line that names the file, where it was [loaded](Self::load), and the key or the node: an
    /// unknown name, a setting that the network has not, a node that does not fit on this image, a
    /// network of more than [`MAX_WEIGHTS`] or [`MAX_PRODUCTS`], nodes whose tensors would be one
    /// in a checkpoint.
    pub fn plan(&self, image: Size, classes: usize) -> Result<Graph<Plan>> {
        let plan = self.checked_plan(image, classes);
        match &self.file {
            Some(file) => plan.with_context(|| file.display().to_string()),
            None => plan,
        }
    }

    fn checked_plan(&self, image: Size, classes: usize) -> Result<Graph<Plan>> {
        let settings = self.model.as_json()?;
        let name = &self.model.name;
        let plan = zoo::find_in(&lists::get().architectures, name)
            .and_then(|entry| entry.graph(name, &settings, image, classes));
        let plan = plan.map_err(|error| self.model.error(&error))?;
        let weights = plan.weights()?;
        if weights > MAX_WEIGHTS {
            bail!(
                "{}: a network of {weights} weights, at most {MAX_WEIGHTS} are trained",
                self.model.key()
            )
        }
        let products = plan.multiplications()?;
        if products > MAX_PRODUCTS {
            bail!(
                "{}: the network takes {products} products for an image of {}x{}, at most \
                 {MAX_PRODUCTS} are trained",
                self.model.key(),
                image.height,
                image.width
            )
        }
        names::check(&plan).with_context(|| self.model.key())?;
        Ok(plan)
    }

    /// The method with its full-precision layers.
    ///
    /// # Errors
    /// A bad `[method]` table.
    pub fn method(&self) -> Result<ByRole> {
        let full_precision = self.layers.full_precision.clone();
        Ok(ByRole {
            method: s3_quant::build_in(&lists::get().methods, &self.method)?.method,
            full_precision,
        })
    }

    /// The resolved configuration as TOML.
    ///
    /// # Errors
    /// None that a loaded configuration can meet.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string_pretty(self)?)
    }

    /// The run's folder name, `<experiment>-<8 hex of the resolved configuration>-s<seed>`; the
    /// hash leaves out the seed, so that the seeds of one experiment share it, the device, and
    /// where a file lies whose `init_sha256` is known.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub fn run_name(&self) -> Result<PathBuf> {
        let mut unseeded = Self {
            seed: 0,
            device: cpu(),
            ..self.clone()
        };
        if self.init_sha256.is_some() {
            unseeded.init_from = None;
        }
        let hash = sha256(unseeded.to_toml()?.as_bytes());
        Ok(PathBuf::from(format!(
            "{}-{}-s{}",
            self.experiment,
            &hash[..8],
            self.seed
        )))
    }
}

/// The path of `file` below the last folder called `experiments`, or its stem.
fn experiment_name(file: &Path) -> String {
    let stem = file.with_extension("");
    let parts: Vec<_> = stem
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    let start = parts
        .iter()
        .rposition(|p| p == "experiments")
        .map_or(parts.len() - 1, |i| i + 1);
    parts[start..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        epochs = 3
        batch_size = 128
        data = { name = "shapes" }
        model = { name = "resnet8" }
        method = { name = "s3", bits = 3 }
        optimizer = { name = "sgd", momentum = 0.9, weight_decay = 1e-4 }
        lr = { schedule = "cosine", start = 0.1 }
    "#;

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        let e = Config::parse(text, &overrides, "x").expect_err("refused");
        let message = format!("{e:#}");
        assert!(!message.contains('\n'), "more than one line: {message}");
        message
    }

    #[test]
    fn a_resolved_configuration_resolves_to_itself() -> Result<()> {
        let config = Config::parse(
            TEXT,
            &["seed=7".into(), "method.init=low_variance".into()],
            "demo/x",
        )?;
        assert_eq!((config.seed, config.experiment.as_str()), (7, "demo/x"));
        assert_eq!(config.method["init"].as_str(), Some("low_variance"));
        let again = Config::parse(&config.to_toml()?, &[], "other")?;
        assert_eq!(again, config);
        assert_eq!(again.to_toml()?, config.to_toml()?);
        Ok(())
    }

    #[test]
    fn seeds_share_a_hash_and_settings_do_not() -> Result<()> {
        let name = |o: &str| -> Result<String> {
            Ok(Config::parse(TEXT, &[o.into()], "e")?
                .run_name()?
                .display()
                .to_string())
        };
        let (a, b, c) = (name("seed=1")?, name("seed=2")?, name("epochs=4")?);
        assert_eq!(a.strip_suffix("-s1"), b.strip_suffix("-s2"));
        assert_ne!(a, c);
        assert_eq!(a, name("device=cuda:1")?);
        Ok(())
    }

    #[test]
    fn bad_keys_are_named_with_their_path() {
        for (overrides, words) in [
            (vec!["epoch=3"], vec!["epoch"]),
            (
                vec!["optimizer.momentun=0.9"],
                vec!["optimizer", "momentun"],
            ),
            (vec!["epochs=many"], vec!["epochs", "many"]),
            (vec!["lr.start=\"fast\""], vec!["lr.start", "fast"]),
            (vec!["data.name=svhn"], vec!["data.name", "svhn"]),
            (vec!["model.name=vgg"], vec!["model.name", "vgg"]),
            (vec!["method.name=s4"], vec!["method.name", "s4"]),
            (vec!["method.bits=7"], vec!["bits", "7"]),
            (vec!["device=gpu"], vec!["device", "gpu", "cuda:N"]),
            (vec!["batch_size=0"], vec!["batch_size"]),
            (vec!["lr.start=-1"], vec!["lr.start", "-1"]),
            (vec!["label_smoothing=1.0"], vec!["label_smoothing"]),
            (
                vec!["layers.full_precision=[\"frist\"]"],
                vec!["layers.full_precision", "frist"],
            ),
            (vec!["experiment=../x"], vec!["experiment"]),
            (vec!["nonsense"], vec!["nonsense", "key=value"]),
            (
                vec!["seed=18446744073709551615"],
                vec!["seed", "18446744073709551615", "9223372036854775807"],
            ),
            (vec!["seed=-1"], vec!["seed", "-1"]),
            (vec!["epochs=1\nseed=2"], vec!["epochs", "--set of its own"]),
            (
                vec!["data.folder=a\nb"],
                vec!["data.folder", "several lines"],
            ),
            (vec!["epochs=4294967296"], vec!["epochs", "4294967295"]),
            (vec!["init_head=new"], vec!["init_head", "fresh", "new"]),
            (
                vec!["model.width=20000"],
                vec!["model.width: 20000", "weights"],
            ),
            (
                vec!["model.width=9223372036854775807"],
                vec!["model.width: 9223372036854775807", "shape"],
            ),
            (
                vec![
                    "model.name=resnet50",
                    "data={name=\"imagenet\", size=1000000}",
                ],
                vec!["data.size: expected 1 to 1024, got 1000000"],
            ),
            (
                vec!["model.name=mobilenet_v1", "model.width=nan"],
                vec!["model.width: expected a finite number, got NaN"],
            ),
            (
                vec!["model.name=mobilenet_v1", "model.width=-inf"],
                vec!["model.width: expected a finite number, got -inf"],
            ),
            (
                vec![
                    "model={ name = \"nodes\" }",
                    "model.nodes=[{ name = \"off\", op = \"dropout\", p = nan }]",
                ],
                vec!["model.nodes.off.p: expected a finite number, got NaN"],
            ),
            (
                vec!["model={ name = \"mlp\", hidden = [3, inf] }"],
                vec!["model.hidden.1: expected a finite number, got inf"],
            ),
        ] {
            let message = error(TEXT, &overrides);
            assert!(
                words.iter().all(|w| message.contains(w)),
                "{overrides:?}: {message}"
            );
        }
        assert!(error("epochs = ", &[]).contains("line 1"));
        assert!(error("epochs = 3", &[]).contains("batch_size"));
    }

    #[test]
    fn a_value_may_have_several_lines_and_a_setting_may_not() -> Result<()> {
        let roles = "layers.full_precision=[\n  \"first\",\n  \"hidden\",\n]";
        let config = Config::parse(TEXT, &[roles.into(), "epochs = 4 # more".into()], "x")?;
        assert_eq!(config.layers.full_precision.len(), 2);
        assert_eq!(config.epochs, 4);
        let largest = Config::parse(TEXT, &["seed=9_223_372_036_854_775_807".into()], "x")?;
        assert_eq!(largest.seed, i64::MAX as u64);
        assert_eq!(Config::parse(&largest.to_toml()?, &[], "x")?, largest);
        Ok(())
    }

    #[test]
    fn a_file_is_in_a_name_by_its_hash_and_not_by_its_path() -> Result<()> {
        let name = |settings: &[&str]| -> Result<PathBuf> {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            Config::parse(TEXT, &settings, "e")?.run_name()
        };
        let (a, b) = (
            "init_from=\"a.safetensors\"",
            "init_from=\"./b/a.safetensors\"",
        );
        let hash = |digit: char| format!("init_sha256=\"{}\"", digit.to_string().repeat(64));
        assert_eq!(name(&[a, &hash('1')])?, name(&[b, &hash('1')])?);
        assert_ne!(name(&[a, &hash('1')])?, name(&[a, &hash('2')])?);
        assert_ne!(name(&[a, &hash('1')])?, name(&[])?);
        Ok(())
    }

    #[test]
    fn the_keys_of_another_method_are_said_with_what_replaces_them() -> Result<()> {
        for (name, table) in [
            ("twn", r#"method={ name = "twn" }"#),
            ("apot", r#"method={ name = "apot", bits = 2 }"#),
        ] {
            let renamed = format!("method.name={name}");
            let message = error(TEXT, &[&renamed, "method.init=low_variance"]);
            assert!(message.contains(table), "{message}");
            assert!(!error(TEXT, &["method.init=wide"]).contains("replaces"));
            let config = Config::parse(TEXT, &[table.to_string()], "x")?;
            assert_eq!(config.method["name"].as_str(), Some(name));
        }
        Ok(())
    }

    #[test]
    fn experiments_are_named_by_their_path() {
        let name = |p: &str| experiment_name(Path::new(p));
        assert_eq!(
            name("xtask/experiments/mnist/resnet8-fp32.toml"),
            "mnist/resnet8-fp32"
        );
        assert_eq!(name("/tmp/mine.toml"), "mine");
    }
}
