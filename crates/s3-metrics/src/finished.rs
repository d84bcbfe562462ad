//! A finished run as one JSON object: what a table of results says of it, and how it came about.
//!
//! `s3 compare --json` writes it, with `--dynamics` the [`Layer`]s too; the keys are the names of
//! the fields. A number that is absent or not finite is `null`. A record of an older program lacks
//! what was not counted then: every key may be missing.
//!
//! ```
//! use s3_metrics::finished::{Finished, Measure};
//! let line = r#"{"seed": 2, "test_top1": [0.5, null, 0.75], "layers": [
//!     {"role": "first", "epochs": [0, 10], "wsvr": [null, 0.5]},
//!     {"role": "hidden", "epochs": [0, 10], "wsvr": [null, 0.25]}]}"#;
//! let run: Finished = serde_json::from_str(line)?;
//! assert_eq!(run.last_top1(), Some(75.0));
//! assert_eq!(run.mean_curve(Measure::Wsvr), [(10.0, 0.25)]); // of the quantized layers
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cost::KernelOp;
use crate::density::Density;
use crate::paired::mean;

/// A number an epoch, or a snapshot; `None` where there is none, or it is not finite.
pub type Series = Vec<Option<f64>>;

/// A finished run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finished {
    /// The folder below the folder of runs: experiment, hash of the configuration, seed.
    pub run: String,
    /// Of the configuration, as the next seven and the two schedules.
    pub experiment: String,
    /// The method's table: its name and settings.
    pub method: Map<String, Value>,
    /// The network's name.
    pub model: String,
    /// What all that is drawn depends on.
    pub seed: u64,
    /// Epochs of the run itself.
    pub epochs: u64,
    /// Images of a step.
    pub batch_size: u64,
    /// Of the activations in training.
    pub dtype: String,
    /// Of the learning rate.
    pub lr: Option<Rate>,
    /// Of the penalty's coefficient.
    pub alpha: Option<Rate>,
    /// What it was trained and tested on.
    pub data: Option<Data>,
    /// The method's width.
    pub bits: Option<u32>,
    /// The kernel operation of its layers, as the paper's tables have it.
    pub operation: Option<KernelOp>,
    /// The method in a line.
    pub summary: String,
    /// The run whose weights it started from.
    pub init_from: Option<String>,
    /// After each epoch, a share of 1.
    pub test_top1: Series,
    /// After each epoch.
    pub test_loss: Series,
    /// After each epoch, a share of 1, on the images that are held out from training; empty where
    /// none are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_top1: Series,
    /// The mean over each epoch, without the penalty.
    pub train_losses: Series,
    /// The last of them.
    pub train_loss: Option<f64>,
    /// The share of weights that are 0 after the last epoch.
    pub zeros: Option<f64>,
    /// Of each epoch's last sitting, wall time.
    pub train_seconds: Series,
    /// Likewise.
    pub images_per_second: Series,
    /// Of the network, weights packed at their bits.
    pub bytes: u64,
    /// Of the same in f32.
    pub float_bytes: u64,
    /// Of one inference, as the next three.
    pub multiplications: u64,
    /// Additions.
    pub additions: u64,
    /// Shifts.
    pub shifts: u64,
    /// Changes of a sign.
    pub sign_flips: u64,
    /// Terms of the quantized weights that are not 0, over all planes ([`crate::cost`]); that it
    /// is there says that the operations are counted by them.
    pub terms: Option<u64>,
    /// Where and when its first sitting was.
    #[serde(flatten)]
    pub origin: Origin,
    /// The weight dynamics, in the order of the layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Layer>>,
}

/// What a run was trained and tested on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// `cifar10/train`.
    pub name: String,
    /// Number of training images.
    pub train_images: u64,
    /// Of the images as they are decoded.
    pub train_sha256: String,
    /// Number of test images.
    pub test_images: u64,
    /// Of the images as they are decoded.
    pub test_sha256: String,
}

/// Where and when a run was trained; what nobody could say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The CPU's name.
    pub cpu: Option<String>,
    /// Threads of each process.
    pub threads: Option<u64>,
    /// The instruction set of the training kernels.
    pub isa: Option<String>,
    /// The repository's, when it began.
    pub git_revision: Option<String>,
    /// Whether tracked files differed from it.
    pub git_dirty: Option<bool>,
    /// When it began, in Unix seconds.
    pub began_unix: Option<u64>,
}

/// The kind of CPU that Linux's `/proc/cpuinfo` names: its name with family and model, since
/// generations share a name; `None` where the text has no name.
///
/// ```
/// use s3_metrics::finished::cpu_of;
/// let text = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n";
/// assert_eq!(cpu_of(text).as_deref(), Some("AMD EPYC (family 26, model 2)"));
/// assert_eq!(cpu_of("processor : 0\n"), None);
/// ```
pub fn cpu_of(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(key, _)| key.trim() == name)?;
        Some(value.trim())
    };
    let name = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    })
}

/// A schedule, as the configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// `constant`, `linear`, `cosine` or `step`.
    pub schedule: String,
    /// The value at the start.
    pub start: f64,
    /// The value at the end.
    pub end: f64,
    /// Epochs over which it rises from 0.
    pub warmup_epochs: f64,
    /// Where `step` is multiplied by the factor, as shares of the run.
    pub milestones: Vec<f64>,
    /// What it is multiplied by.
    pub factor: f64,
    /// How often the run goes through the schedule, where that is more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
}

/// `0.1 (cosine)`, `0.1 (step, times 0.1 at 40 % and 80 %, in 4 cycles)`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", json!(self.start), self.schedule)?;
        if self.end != 0.0 {
            write!(f, " to {}", self.end)?;
        }
        if self.schedule == "step" && !self.milestones.is_empty() {
            let percent = |m: &f64| format!("{:.0} %", 100.0 * m);
            let at: Vec<String> = self.milestones.iter().map(percent).collect();
            write!(f, ", times {} at {}", json!(self.factor), at.join(", "))?;
        }
        if self.warmup_epochs != 0.0 {
            write!(f, ", {} epochs of warm-up", self.warmup_epochs)?;
        }
        if let Some(cycles) = self.cycles.filter(|&cycles| cycles != 1) {
            write!(f, ", in {cycles} cycles")?;
        }
        f.write_str(")")
    }
}

/// The weight dynamics of a layer: a series has one entry a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// As in the checkpoint.
    pub name: String,
    /// `first`, `hidden`, `shortcut` or `last`.
    pub role: String,
    /// The number of its weights.
    pub weights: u64,
    /// Whether its weights stand on levels at the last snapshot.
    pub discrete: bool,
    /// Epochs finished at each snapshot.
    pub epochs: Vec<u32>,
    /// Of [`DynamicsRecord`](crate::record::DynamicsRecord), shares of 1, as the next three.
    pub wsvr: Series,
    /// With 0 as a sign of its own.
    pub wsvr_with_zero: Series,
    /// Of the latent that decides the sign.
    pub wsvr_latent: Series,
    /// Low values.
    pub wlvr: Series,
    /// The share of weights that are exactly 0.
    pub zeros: Series,
    /// Each level of the last snapshot and its number of weights, ascending.
    pub levels: Vec<(f32, u64)>,
    /// Of the last snapshot; none in runs older than that measure.
    pub latents: Vec<Latent>,
    /// Of the latent `weight`, in records that keep it without the latents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flips: Option<Series>,
}

/// A latent of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latent {
    /// As in [`LatentRecord`](crate::record::LatentRecord).
    pub name: String,
    /// At the last snapshot.
    pub density: Density,
    /// The share of gates that flipped since the snapshot before.
    #[serde(default)]
    pub flips: Series,
    /// The share of entries whose gradient is exactly 0 in the last step before a snapshot.
    #[serde(default)]
    pub zero_gradient: Series,
}

/// What a network that a run became answers beside the trained one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// `trained`, `f32`, `u8, mse`; of a file that another program ran `onnx int8` or `c, u8, mse`.
    pub network: String,
    /// That program, with its version.
    pub program: Option<String>,
    /// Share of the images.
    pub top1: f64,
    /// The same less the trained network's.
    pub against_trained: f64,
    /// Images whose class is another one than the trained network's.
    pub other_answers: usize,
    /// How many there are.
    pub images: usize,
    /// Of the file; of the trained network those of its weights, scales and biases as f32.
    pub bytes: usize,
    /// Of an ONNX file: the largest difference of a score from the packed runtime's, over the
    /// largest score.
    pub score_error: Option<f64>,
    /// Of a C file: scores that are other bits than the packed runtime's, and how many there are.
    pub other_scores: Option<[usize; 2]>,
}

/// A series of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// [`Layer::wsvr`].
    Wsvr,
    /// [`Layer::wsvr_with_zero`].
    WsvrWithZero,
    /// [`Layer::wsvr_latent`].
    WsvrLatent,
    /// [`Layer::flips`].
    Flips,
    /// [`Layer::wlvr`].
    Wlvr,
}

impl Measure {
    /// Its key in a record.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Wsvr => "wsvr",
            Self::WsvrWithZero => "wsvr_with_zero",
            Self::WsvrLatent => "wsvr_latent",
            Self::Flips => "flips",
            Self::Wlvr => "wlvr",
        }
    }
}

impl Layer {
    /// The points `(epoch, value)` of a series, where it has a value.
    pub fn points(&self, measure: Measure) -> Vec<(f64, f64)> {
        let series = match measure {
            Measure::Wsvr => &self.wsvr,
            Measure::WsvrWithZero => &self.wsvr_with_zero,
            Measure::WsvrLatent => &self.wsvr_latent,
            Measure::Flips => self.flips.as_deref().unwrap_or_default(),
            Measure::Wlvr => &self.wlvr,
        };
        let epochs = self.epochs.iter().map(|&epoch| f64::from(epoch));
        epochs
            .zip(series)
            .filter_map(|(epoch, v)| Some((epoch, (*v)?)))
            .collect()
    }
}

impl Finished {
    /// Accuracy after the last epoch, in %.
    pub fn last_top1(&self) -> Option<f64> {
        self.test_top1.iter().flatten().last().map(|v| 100.0 * v)
    }

    /// Accuracy after the last epoch on the images that were held out from training, in %.
    pub fn last_validation(&self) -> Option<f64> {
        let last = self.validation_top1.iter().flatten().last();
        last.map(|v| 100.0 * v)
    }

    /// The layers, none where the record keeps none.
    pub fn layers(&self) -> &[Layer] {
        self.layers.as_deref().unwrap_or_default()
    }

    /// The layers but the first and the last, which stay in full precision.
    pub fn quantized(&self) -> impl Iterator<Item = &Layer> {
        let ends = ["", "first", "last"];
        self.layers()
            .iter()
            .filter(move |layer| !ends.contains(&layer.role.as_str()))
    }

    /// The mean over the quantized layers at each snapshot, `(epoch, value)`.
    pub fn mean_curve(&self, measure: Measure) -> Vec<(f64, f64)> {
        let curves = self.quantized().map(|layer| layer.points(measure));
        let curves: Vec<_> = curves.filter(|curve| !curve.is_empty()).collect();
        let at = |i: usize| {
            let values = curves.iter().filter_map(|curve| Some(curve.get(i)?.1));
            mean(&values.collect::<Vec<_>>())
        };
        let first = curves.first().into_iter().flatten().enumerate();
        first.map(|(i, point)| (point.0, at(i))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_said_with_what_its_schedule_has() {
        let say = |value: Value| {
            serde_json::from_value::<Rate>(value)
                .expect("a rate")
                .to_string()
        };
        let cosine = json!({"schedule": "cosine", "start": 0.1, "end": 0.0, "cycles": 1});
        assert_eq!(say(cosine), "0.1 (cosine)");
        let step = json!({
            "schedule": "step", "start": 0.01, "milestones": [0.4, 0.8], "factor": 0.1,
            "warmup_epochs": 2.0, "cycles": 4,
        });
        let words = "0.01 (step, times 0.1 at 40 %, 80 %, 2 epochs of warm-up, in 4 cycles)";
        assert_eq!(say(step), words);
    }

    #[test]
    fn an_older_record_is_read_and_what_is_not_finite_is_null() {
        let old: Finished =
            serde_json::from_str(r#"{"epochs": 4, "test_top1": [0.5]}"#).expect("reads");
        assert_eq!((old.epochs, old.terms, old.layers().len()), (4, None, 0));
        let run = Finished {
            train_loss: Some(f64::NAN),
            ..old
        };
        let line = serde_json::to_value(&run).expect("writes");
        assert!(line["train_loss"].is_null() && line.get("layers").is_none());
        assert_eq!(line["threads"], Value::Null);
    }
}
