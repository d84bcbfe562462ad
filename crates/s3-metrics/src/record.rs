//! The lines of a run folder: what training writes, and what a plot or a table reads.
//!
//! Three files hold one JSON object a line (JSONL), their keys being the field names below:
//!
//! | file | type | one line for each |
//! | --- | --- | --- |
//! | `epochs.jsonl` | [`EpochRecord`] | epoch |
//! | `dynamics.jsonl` | [`DynamicsRecord`] | snapshot and layer |
//! | `timing.jsonl` | [`TimingRecord`] | epoch |
//!
//! The first two hold nothing that differs between two runs of the same configuration and seed,
//! so the files are byte-identical; what a clock says goes to the third. Every float reads back
//! with the bits that were written; one that is not finite, which JSON cannot say, is the string
//! `"NaN"`, `"inf"` or `"-inf"`. An absent value is `null`. Readers ignore keys they do not know.
//!
//! ```
//! use s3_metrics::record::{self, EpochRecord};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("epochs.jsonl");
//! # let of = |epoch| EpochRecord { epoch, step: 0, lr: 0.1, alpha: 1e-5, train_loss: 2.3,
//! #     train_penalty: 0.0, train_top1: 0.1, test_loss: None, test_top1: None, test_top5: None,
//! #     validation_top1: None, sparsity: None, skipped_train: 0, skipped_test: 0 };
//! record::append_jsonl(&path, &[of(1), of(2), of(3)])?;
//! assert_eq!(record::drop_records_after(&path, 2)?, 1); // resume from the checkpoint of epoch 2
//! assert_eq!(record::read_jsonl::<EpochRecord>(&path)?, [of(1), of(2)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::density::Density;
use crate::gradient::GradientRecord;
use crate::{dynamics, exact};

mod jsonl;

pub use jsonl::{RecordError, append_jsonl, drop_records_after, read_jsonl, read_whole_lines};

/// More distinct values than any codebook has levels: such a layer is continuous.
const MAX_LEVELS: usize = 64;

/// One line of `epochs.jsonl`: the state at the end of an epoch.
///
/// Accuracies are shares in `0.0..=1.0`. Holds no time: see [`TimingRecord`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epochs finished, from 1; 0 is the state before training.
    pub epoch: u32,
    /// Optimizer steps done since the start of the run.
    pub step: u64,
    /// Learning rate of the last step.
    #[serde(with = "exact::float")]
    pub lr: f64,
    /// Coefficient of the dense-weight penalty (the paper's alpha) at the last step.
    #[serde(with = "exact::float")]
    pub alpha: f64,
    /// Mean training loss of the epoch, without the penalty.
    #[serde(with = "exact::float")]
    pub train_loss: f64,
    /// Mean of the dense-weight penalty over the steps (eq. 7, a sum over weights, without alpha).
    #[serde(with = "exact::float")]
    pub train_penalty: f64,
    /// Top-1 accuracy on the training batches as they were seen.
    #[serde(with = "exact::float")]
    pub train_top1: f64,
    /// Mean loss on the test set; `None` where the epoch was not evaluated.
    #[serde(default, with = "exact::optional_float")]
    pub test_loss: Option<f64>,
    /// Top-1 accuracy on the test set.
    #[serde(default, with = "exact::optional_float")]
    pub test_top1: Option<f64>,
    /// Top-5 accuracy on the test set.
    #[serde(default, with = "exact::optional_float")]
    pub test_top5: Option<f64>,
    /// Top-1 accuracy on the validation images; absent where none are held out.
    #[serde(
        default,
        with = "exact::optional_float",
        skip_serializing_if = "Option::is_none"
    )]
    pub validation_top1: Option<f64>,
    /// Zero weights over all weights of the quantized layers; `None` without such a layer.
    #[serde(default, with = "exact::optional_float")]
    pub sparsity: Option<f64>,
    /// Training images that could not be decoded and were left out; absent for 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_train: u64,
    /// Test images that were left out, on which the accuracies are silent; absent for 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_test: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One line of `dynamics.jsonl`: one layer at one snapshot (the paper's section 5.2).
///
/// The three WSVR are `None` at the first snapshot, which has none before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DynamicsRecord {
    /// Epochs finished when the snapshot was taken; 0 is the initialization.
    pub epoch: u32,
    /// Name of the layer, as in the checkpoint.
    pub layer: String,
    /// Role of the layer: `first`, `hidden`, `shortcut` or `last`.
    pub role: String,
    /// Number of weights of the layer.
    pub weights: u64,
    /// [`dynamics::sign_variation_rate`] since the snapshot before.
    #[serde(default, with = "exact::optional_float")]
    pub wsvr: Option<f64>,
    /// [`dynamics::sign_variation_rate_with_zero`] since the snapshot before.
    #[serde(default, with = "exact::optional_float")]
    pub wsvr_with_zero: Option<f64>,
    /// [`dynamics::sign_variation_rate`] of the latent that decides the sign, where there is one
    /// (`w_sign` of S3): it also sees the sign changes of zero weights.
    #[serde(default, with = "exact::optional_float")]
    pub wsvr_latent: Option<f64>,
    /// Low-value rate: [`dynamics::zero_rate`] of a discrete layer, [`dynamics::low_value_rate`]
    /// at 0.03 of a continuous one.
    #[serde(with = "exact::float")]
    pub wlvr: f64,
    /// Number of weights that are exactly zero.
    pub zeros: u64,
    /// Each level of a discrete layer and the number of weights on it, in ascending order, as
    /// `[[-1.0,3],[0.0,5],..]`; empty for a continuous layer. Levels are finite.
    #[serde(default)]
    pub levels: Vec<(f32, u64)>,
    /// The latents behind the weight.
    #[serde(default)]
    pub latents: Vec<LatentRecord>,
}

/// A latent of a layer at one snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentRecord {
    /// Its name below the layer's weight, `w_sign`; `weight` where the latent is the weight itself.
    pub name: String,
    /// Its density, of `w / max|w|`: the polygons of the paper's Figure 2.
    pub density: Density,
    /// [`dynamics::gate_flip_rate`] since the snapshot before; `None` at the first.
    #[serde(default, with = "exact::optional_float")]
    pub flips: Option<f64>,
    /// Its gradient in the last step before the snapshot; `None` before the first step.
    #[serde(default)]
    pub gradient: Option<GradientRecord>,
    /// What its flip-rate control has come to; absent where it has none, and before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steered: Option<FlipRecord>,
}

/// A latent whose flips follow a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlipRecord {
    /// The share of its gates that change sides in one step, a running mean.
    #[serde(with = "exact::float")]
    pub rate: f64,
    /// What its learning rate is multiplied by.
    #[serde(with = "exact::float")]
    pub factor: f64,
}

impl LatentRecord {
    /// Bins of a density from -1 to 1.
    pub const BINS: usize = 64;

    /// Measures one latent, given its values at the snapshot before.
    ///
    /// # Panics
    /// If the two snapshots differ in length.
    ///
    /// ```
    /// use s3_metrics::record::LatentRecord;
    /// let latent = LatentRecord::of_snapshot("w_1", Some(&[0.5, -1.0]), &[-0.5, -1.0], None);
    /// assert_eq!((latent.flips, latent.density.scale), (Some(0.5), 1.0));
    /// ```
    pub fn of_snapshot(
        name: &str,
        before: Option<&[f32]>,
        values: &[f32],
        gradient: Option<GradientRecord>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            density: Density::relative(values, Self::BINS).expect("a density of some bins"),
            flips: before.map(|b| dynamics::gate_flip_rate(b, values)),
            gradient,
            steered: None,
        }
    }
}

impl DynamicsRecord {
    /// Measures one layer, given its weights at the snapshot before (`None` at the first).
    ///
    /// A layer with at most 64 distinct weights, all finite, counts as discrete: its WLVR is its
    /// sparsity and its levels are listed. Where a small continuous layer would be misjudged, or
    /// for `wsvr_latent`, set the fields.
    ///
    /// # Panics
    /// If the two snapshots differ in length.
    ///
    /// ```
    /// use s3_metrics::record::DynamicsRecord;
    /// let first = DynamicsRecord::of_snapshot(0, "conv1", "hidden", None, &[64.0, 1.0, 0.0]);
    /// assert_eq!((first.wsvr, first.zeros), (None, 1));
    /// assert_eq!(first.wlvr, 1.0 / 3.0); // 1/64 < 0.03, but a discrete layer counts zeros
    /// ```
    pub fn of_snapshot(
        epoch: u32,
        layer: &str,
        role: &str,
        before: Option<&[f32]>,
        weights: &[f32],
    ) -> Self {
        let levels = dynamics::level_counts(weights, MAX_LEVELS);
        Self {
            epoch,
            layer: layer.to_owned(),
            role: role.to_owned(),
            weights: weights.len() as u64,
            wsvr: before.map(|b| dynamics::sign_variation_rate(b, weights)),
            wsvr_with_zero: before.map(|b| dynamics::sign_variation_rate_with_zero(b, weights)),
            wsvr_latent: None,
            wlvr: match levels {
                Some(_) => dynamics::zero_rate(weights),
                None => dynamics::low_value_rate(weights, dynamics::LOW_VALUE_THRESHOLD),
            },
            zeros: dynamics::zero_count(weights),
            levels: levels.unwrap_or_default(),
            latents: Vec::new(),
        }
    }
}

/// One line of `timing.jsonl`: what a clock said about an epoch. Differs from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingRecord {
    /// Epochs finished, from 1.
    pub epoch: u32,
    /// Wall time of the training steps, in seconds.
    #[serde(with = "exact::float")]
    pub train_seconds: f64,
    /// Wall time of the evaluation, in seconds; `None` where there was none.
    #[serde(default, with = "exact::optional_float")]
    pub test_seconds: Option<f64>,
    /// Training images per second of `train_seconds`.
    #[serde(with = "exact::float")]
    pub images_per_second: f64,
    /// Seconds of `train_seconds` in which the step waited for its batch: what a faster loader
    /// would save.
    #[serde(default, with = "exact::optional_float")]
    pub waited_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn the_keys_of_a_line_are_these_in_this_order() {
        let record = EpochRecord {
            epoch: 1,
            step: 391,
            lr: 0.1,
            alpha: 1e-5,
            train_loss: f64::NAN,
            train_penalty: 0.0,
            train_top1: 0.25,
            test_loss: Some(f64::INFINITY),
            test_top1: None,
            test_top5: None,
            validation_top1: None,
            sparsity: Some(0.5),
            skipped_train: 0,
            skipped_test: 2,
        };
        let json = concat!(
            r#"{"epoch":1,"step":391,"lr":0.1,"alpha":0.00001,"train_loss":"NaN","#,
            r#""train_penalty":0.0,"train_top1":0.25,"test_loss":"inf","test_top1":null,"#,
            r#""test_top5":null,"sparsity":0.5,"skipped_test":2}"#,
        );
        let written = serde_json::to_string(&record).expect("writes");
        assert_eq!(written, json);
        let back: EpochRecord = serde_json::from_str(json).expect("reads");
        assert!(back.train_loss.is_nan() && back.test_loss == Some(f64::INFINITY));
    }

    #[test]
    fn a_dynamics_line_lists_the_levels() {
        let record = DynamicsRecord::of_snapshot(10, "a", "hidden", Some(&[1.0]), &[-2.0]);
        let json = concat!(
            r#"{"epoch":10,"layer":"a","role":"hidden","weights":1,"wsvr":1.0,"#,
            r#""wsvr_with_zero":1.0,"wsvr_latent":null,"wlvr":0.0,"zeros":0,"#,
            r#""levels":[[-2.0,1]],"latents":[]}"#,
        );
        assert_eq!(serde_json::to_string(&record).expect("writes"), json);
        assert_eq!(
            serde_json::from_str::<DynamicsRecord>(json).expect("reads"),
            record
        );
    }

    #[test]
    fn a_continuous_layer_has_no_levels_and_the_threshold_rate() {
        let weights: Vec<f32> = (0..200).map(|i| i as f32).collect();
        let record = DynamicsRecord::of_snapshot(0, "conv", "first", None, &weights);
        assert!(record.levels.is_empty());
        assert_eq!((record.zeros, record.wlvr), (1, 6.0 / 200.0)); // 0..=5 of 199
    }

    #[test]
    fn unknown_words_for_numbers_are_refused() {
        let json = r#"{"epoch":1,"train_seconds":"fast","images_per_second":1}"#;
        let error = serde_json::from_str::<TimingRecord>(json).expect_err("not a number");
        assert!(error.to_string().contains("NaN, inf or -inf"), "{error}");
    }

    proptest! {
        #[test]
        fn floats_parse_back_to_the_same_bits(
            bits in prop::array::uniform3(any::<u64>()), some in any::<bool>(),
                level in any::<u32>()
        ) {
            let [a, b, c] = bits.map(f64::from_bits);
            let timing = TimingRecord {
                epoch: 1, train_seconds: a, test_seconds: some.then_some(b), images_per_second: c,
                waited_seconds: some.then_some(a),
            };
            let json = serde_json::to_string(&timing).expect("writes");
            let back: TimingRecord = serde_json::from_str(&json).expect("reads");
            prop_assert!(same(back.train_seconds, a) && same(back.images_per_second, c), "{}",
                json);
            prop_assert_eq!(back.test_seconds.is_some(), some);
            prop_assert!(back.test_seconds.is_none_or(|back| same(back, b)), "{}", json);

            let level = f32::from_bits(level);
            prop_assume!(level.is_finite());
            let mut record = DynamicsRecord::of_snapshot(0, "", "", None, &[]);
            record.levels = vec![(level, 1)];
            let json = serde_json::to_string(&record).expect("writes");
            let back: DynamicsRecord = serde_json::from_str(&json).expect("reads");
            prop_assert_eq!(back.levels[0].0.to_bits(), level.to_bits(), "{}", json);
        }
    }
}
