//! Top-1 and top-5 accuracy from logits, and the running sums of an epoch.
//!
//! The `k` classes a row of logits names are the `k` largest; **of equal logits the lowest class
//! index wins**, as in an arg-max that keeps the first. So the rank of a label is
//!
//! ```text
//! rank = #{ c : logit_c > logit_label } + #{ c < label : logit_c = logit_label }
//! ```
//!
//! and the row is correct where `rank < k`. A network whose logits are all equal always answers
//! class 0 and scores the share of that class: chance on a balanced set, never 100 %.
//! A row that holds a NaN is never correct: a diverged network does not score.
//!
//! ```
//! use s3_metrics::accuracy::Accuracy;
//! let logits = [0.1, 0.7, 0.2, /* second row */ 0.5, 0.5, 0.0];
//! let mut epoch = Accuracy::default();
//! epoch.add_batch(1.5, &logits, 3, &[1, 1])?; // row 2 is a tie: it answers 0
//! assert_eq!((epoch.top1(), epoch.mean_loss()), (Some(0.5), Some(0.75)));
//! assert_eq!(epoch.top5(), Some(1.0));
//! # Ok::<(), s3_metrics::accuracy::AccuracyError>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exact;

/// Why a batch of logits cannot be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccuracyError {
    /// The logits are not one row of `classes` values per label.
    LogitCount {
        /// `labels * classes`.
        expected: usize,
        /// Length of the logits.
        got: usize,
    },
    /// A label names no class.
    LabelOutOfRange {
        /// Position of the label in the batch.
        index: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
}

impl fmt::Display for AccuracyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogitCount { expected, got } => {
                write!(
                    f,
                    "expected {expected} logits (labels x classes), got {got}"
                )
            }
            Self::LabelOutOfRange {
                index,
                label,
                classes,
            } => {
                write!(
                    f,
                    "label {index} of the batch is {label}, but there are {classes} classes"
                )
            }
        }
    }
}

impl std::error::Error for AccuracyError {}

/// Calls `visit` with the rank of each row's label, `None` for a row that holds a NaN.
fn each_rank(
    logits: &[f32],
    classes: usize,
    labels: &[u32],
    mut visit: impl FnMut(Option<usize>),
) -> Result<(), AccuracyError> {
    check(logits, classes, labels)?;
    for (row, &label) in labels.iter().enumerate() {
        let row = &logits[row * classes..(row + 1) * classes];
        let label = label as usize;
        let beats = |(class, logit): (usize, &f32)| {
            *logit > row[label] || (*logit == row[label] && class < label)
        };
        if row.iter().any(|logit| logit.is_nan()) {
            visit(None);
        } else {
            visit(Some(
                row.iter().enumerate().filter(|&entry| beats(entry)).count(),
            ));
        }
    }
    Ok(())
}

/// A row of `classes` logits for each label, and each label a class.
pub(crate) fn check(logits: &[f32], classes: usize, labels: &[u32]) -> Result<(), AccuracyError> {
    let expected = labels.len().saturating_mul(classes);
    if logits.len() != expected {
        return Err(AccuracyError::LogitCount {
            expected,
            got: logits.len(),
        });
    }
    let out_of_range = |&(_, &label): &(usize, &u32)| label as usize >= classes;
    if let Some((index, &label)) = labels.iter().enumerate().find(out_of_range) {
        return Err(AccuracyError::LabelOutOfRange {
            index,
            label,
            classes,
        });
    }
    Ok(())
}

/// Running sums over the batches of an epoch; part of a checkpoint, so exact as JSON.
///
/// The mean loss depends on the order of the batches (a sum of `f64`); the counts do not.
/// Saved in the middle of an epoch and read back, it goes on bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Sum of the loss over the rows (the batch mean times the batch size).
    #[serde(with = "exact::float")]
    pub loss_sum: f64,
    /// Rows whose label has the largest logit.
    pub correct1: u64,
    /// Rows whose label is among the five largest logits.
    pub correct5: u64,
    /// Rows seen.
    pub n: u64,
}

impl Accuracy {
    /// Adds a batch: the sum of its losses and its logits.
    ///
    /// # Shapes
    /// `logits`: `[labels.len(), classes]`, row-major. `labels`: class indices in `0..classes`.
    /// `loss_sum`: the losses of the rows added up.
    ///
    /// # Errors
    /// [`AccuracyError`] where the lengths do not match or a label names no class; the sums are
    /// then unchanged.
    pub fn add_batch(
        &mut self,
        loss_sum: f64,
        logits: &[f32],
        classes: usize,
        labels: &[u32],
    ) -> Result<(), AccuracyError> {
        let (mut correct1, mut correct5) = (0, 0);
        each_rank(logits, classes, labels, |rank| {
            correct1 += u64::from(rank.is_some_and(|r| r < 1));
            correct5 += u64::from(rank.is_some_and(|r| r < 5));
        })?;
        self.merge(&Self {
            loss_sum,
            correct1,
            correct5,
            n: labels.len() as u64,
        });
        Ok(())
    }

    /// Adds the sums of another part of the same epoch, as a second worker has them.
    pub fn merge(&mut self, other: &Self) {
        self.loss_sum += other.loss_sum;
        self.correct1 += other.correct1;
        self.correct5 += other.correct5;
        self.n += other.n;
    }

    /// Mean loss of a row; `None` before the first.
    pub fn mean_loss(&self) -> Option<f64> {
        (self.n > 0).then(|| self.loss_sum / self.n as f64)
    }

    /// Top-1 accuracy as a share in `0.0..=1.0`; `None` before the first row.
    pub fn top1(&self) -> Option<f64> {
        (self.n > 0).then(|| self.correct1 as f64 / self.n as f64)
    }

    /// Top-5 accuracy as a share in `0.0..=1.0`; `None` before the first row.
    pub fn top5(&self) -> Option<f64> {
        (self.n > 0).then(|| self.correct5 as f64 / self.n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rows whose label is among the `k` largest logits.
    fn top_k_correct(
        logits: &[f32],
        classes: usize,
        labels: &[u32],
        k: usize,
    ) -> Result<u64, AccuracyError> {
        let mut correct = 0;
        each_rank(logits, classes, labels, |rank| {
            correct += u64::from(rank.is_some_and(|r| r < k))
        })?;
        Ok(correct)
    }

    /// The k classes of a row by a stable sort, largest logit first.
    fn top_k_by_sorting(row: &[f32], k: usize) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..row.len()).collect();
        classes.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).expect("no NaN"));
        classes.truncate(k);
        classes
    }

    #[test]
    fn equal_logits_answer_class_zero() {
        let logits = [0.5; 20];
        assert_eq!(top_k_correct(&logits, 10, &[0, 9], 1), Ok(1));
        assert_eq!(top_k_correct(&logits, 10, &[4, 5], 5), Ok(1));
    }

    #[test]
    fn a_row_with_nan_is_never_correct() {
        let nan = f32::NAN;
        assert_eq!(top_k_correct(&[nan, nan], 2, &[0], 2), Ok(0));
        assert_eq!(top_k_correct(&[9.0, nan], 2, &[0], 1), Ok(0));
        assert_eq!(top_k_correct(&[f32::INFINITY, 0.0], 2, &[0], 1), Ok(1));
    }

    #[test]
    fn shapes_are_checked() {
        let error = top_k_correct(&[0.0; 5], 3, &[0, 1], 1).expect_err("5 is not 2 x 3");
        assert_eq!(
            error,
            AccuracyError::LogitCount {
                expected: 6,
                got: 5
            }
        );
        assert_eq!(
            error.to_string(),
            "expected 6 logits (labels x classes), got 5"
        );
        let error = top_k_correct(&[0.0; 6], 3, &[0, 3], 1).expect_err("no class 3");
        assert_eq!(
            error.to_string(),
            "label 1 of the batch is 3, but there are 3 classes"
        );
        assert_eq!(top_k_correct(&[], 0, &[], 1), Ok(0));
        assert!(top_k_correct(&[], 0, &[0], 1).is_err());
    }

    #[test]
    fn a_failed_batch_changes_nothing() {
        let mut sums = Accuracy::default();
        assert!(sums.add_batch(1.0, &[0.0; 3], 3, &[7]).is_err());
        assert_eq!(sums, Accuracy::default());
        assert_eq!(
            (sums.top1(), sums.top5(), sums.mean_loss()),
            (None, None, None)
        );
    }

    proptest! {
        #[test]
        fn top_k_agrees_with_a_stable_sort(
            rows in prop::collection::vec(prop::collection::vec(-3i8..=3, 7), 1..9),
            label in 0u32..7, k in 0usize..9,
        ) {
            let rows: Vec<Vec<f32>> =
                rows.iter().map(|row| row.iter().map(|&v| f32::from(v)).collect()).collect();
            let labels: Vec<u32> = (0..rows.len() as u32).map(|i| (label + i) % 7).collect();
            let expected = rows.iter().zip(&labels)
                .filter(|(row, label)| top_k_by_sorting(row, k).contains(&(**label as usize)))
                .count() as u64;
            prop_assert_eq!(top_k_correct(&rows.concat(), 7, &labels, k), Ok(expected));
        }

        #[test]
        fn sums_survive_json_bit_for_bit(
            bits in any::<u64>(), correct1 in any::<u64>(), correct5 in any::<u64>(),
                n in any::<u64>()
        ) {
            let sums = Accuracy { loss_sum: f64::from_bits(bits), correct1, correct5, n };
            let json = serde_json::to_string(&sums).expect("writes");
            let back: Accuracy = serde_json::from_str(&json).expect("reads");
            if sums.loss_sum.is_nan() {
                prop_assert!(back.loss_sum.is_nan());
            } else {
                prop_assert_eq!(back.loss_sum.to_bits(), bits);
            }
            prop_assert_eq!((back.correct1, back.correct5, back.n), (correct1, correct5, n));
        }
    }
}
