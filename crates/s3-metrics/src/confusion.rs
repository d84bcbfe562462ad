//! Which class is taken for which: a count for each pair of a true class and an answer.
//!
//! ```text
//! counts[label][answer] = #{ rows of that label whose largest logit is of that class }
//! ```
//!
//! The answer is the top-1 of [`crate::accuracy`]: of equal logits the lowest class wins,
//! and a row that holds a NaN has no answer; it is counted apart, as its label's `unanswered`.
//!
//! ```
//! use s3_metrics::confusion::Confusion;
//! let mut confusion = Confusion::new(2);
//! confusion.add_batch(&[0.9, 0.1, 0.8, 0.2, 0.3, 0.7], &[0, 1, 1])?;
//! assert_eq!(confusion.counts(), [1, 0, 1, 1]);
//! # Ok::<(), s3_metrics::accuracy::AccuracyError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::accuracy::{self, AccuracyError};

/// The confusion counts of a data set, batch by batch.
///
/// As JSON `{"counts":[..],"unanswered":[..]}`; lengths that disagree are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Confusion {
    counts: Vec<u64>,
    unanswered: Vec<u64>,
}

#[derive(Deserialize)]
struct Wire {
    counts: Vec<u64>,
    unanswered: Vec<u64>,
}

impl TryFrom<Wire> for Confusion {
    type Error = String;

    fn try_from(Wire { counts, unanswered }: Wire) -> Result<Self, String> {
        let expected = unanswered.len() * unanswered.len();
        if counts.len() == expected {
            Ok(Self { counts, unanswered })
        } else {
            let got = counts.len();
            Err(format!(
                "expected {expected} counts (classes x classes), got {got}"
            ))
        }
    }
}

impl Confusion {
    /// Counts of zero for `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self {
            counts: vec![0; classes * classes],
            unanswered: vec![0; classes],
        }
    }

    /// Adds the rows of a batch.
    ///
    /// # Shapes
    /// `logits`: `[labels.len(), classes]`, row-major. `labels`: class indices in `0..classes`.
    ///
    /// # Errors
    /// [`AccuracyError`] where the lengths do not match or a label names no class; the counts are
    /// then unchanged.
    pub fn add_batch(&mut self, logits: &[f32], labels: &[u32]) -> Result<(), AccuracyError> {
        let classes = self.classes();
        accuracy::check(logits, classes, labels)?;
        for (row, &label) in labels.iter().enumerate() {
            let row = &logits[row * classes..(row + 1) * classes];
            if row.iter().any(|logit| logit.is_nan()) {
                self.unanswered[label as usize] += 1;
                continue;
            }
            let mut answer = 0;
            for (class, logit) in row.iter().enumerate() {
                if *logit > row[answer] {
                    answer = class;
                }
            }
            self.counts[label as usize * classes + answer] += 1;
        }
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.unanswered.len()
    }

    /// `[classes, classes]`, row-major, the true class first.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Rows of each true class that hold a NaN.
    pub fn unanswered(&self) -> &[u64] {
        &self.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::Accuracy;
    use proptest::prelude::*;

    #[test]
    fn a_row_with_nan_has_no_answer() {
        let mut confusion = Confusion::new(2);
        let logits = [f32::NAN, 1.0, 1.0, 0.0];
        confusion.add_batch(&logits, &[0, 0]).expect("two rows");
        assert_eq!(confusion.counts(), [1, 0, 0, 0]);
        assert_eq!(confusion.unanswered(), [1, 0]);
    }

    #[test]
    fn a_failed_batch_changes_nothing() {
        let mut confusion = Confusion::new(2);
        assert!(confusion.add_batch(&[0.0; 4], &[0, 2]).is_err());
        assert!(confusion.add_batch(&[0.0; 3], &[0, 1]).is_err());
        assert_eq!(confusion, Confusion::new(2));
        assert!(Confusion::new(0).add_batch(&[], &[]).is_ok());
    }

    #[test]
    fn counts_survive_json_and_lengths_that_disagree_are_refused() {
        let mut confusion = Confusion::new(2);
        confusion.add_batch(&[1.0, 0.0], &[1]).expect("a row");
        let json = serde_json::to_string(&confusion).expect("writes");
        assert_eq!(json, r#"{"counts":[0,0,1,0],"unanswered":[0,0]}"#);
        assert_eq!(
            serde_json::from_str::<Confusion>(&json).expect("reads"),
            confusion
        );
        let error = serde_json::from_str::<Confusion>(r#"{"counts":[0],"unanswered":[0,0]}"#);
        let error = error.expect_err("1 is not 4").to_string();
        assert!(error.contains("expected 4 counts"), "{error}");
    }

    proptest! {
        #[test]
        fn the_diagonal_is_the_top1_count_and_no_row_is_lost(
            rows in prop::collection::vec((prop::collection::vec(-2i8..=2, 5), 0u32..5), 0..30)
        ) {
            let logits: Vec<f32> =
                rows.iter().flat_map(|(row, _)| row.iter().map(|&v| f32::from(v))).collect();
            let labels: Vec<u32> = rows.iter().map(|(_, label)| *label).collect();
            let mut confusion = Confusion::new(5);
            confusion.add_batch(&logits, &labels).expect("shapes agree");
            let diagonal: u64 = (0..5).map(|c| confusion.counts()[c * 6]).sum();
            let mut top1 = Accuracy::default();
            top1.add_batch(0.0, &logits, 5, &labels).expect("shapes agree");
            prop_assert_eq!(diagonal, top1.correct1);
            prop_assert_eq!(confusion.counts().iter().sum::<u64>(), rows.len() as u64);
        }
    }
}
