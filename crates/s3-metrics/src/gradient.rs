//! How much gradient reaches a layer: its norm, and the share that is exactly zero.
//!
//! The paper's section 3.1 has the gradient of a quantized network vanish where the weight in
//! front is zero (eq. 3) or the ReLU is off (eq. 4). Both leave exact zeros behind, so they are
//! counted, not compared with a threshold:
//!
//! ```text
//! norm       = sqrt(sum_i g_i^2)       over the finite entries, in f64
//! zero share = #{ i : g_i = 0 } / n    -0.0 is zero, NaN and infinities are not
//! ```
//!
//! ```
//! use s3_metrics::gradient::GradientRecord;
//! let record = GradientRecord::of(&[3.0, 0.0, -4.0, -0.0]);
//! assert_eq!((record.norm, record.zero_share, record.not_finite), (5.0, 0.5, 0));
//! ```

use serde::{Deserialize, Serialize};

use crate::{dynamics, exact};

/// The gradient of one tensor at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientRecord {
    /// Euclidean norm of the finite entries.
    #[serde(with = "exact::float")]
    pub norm: f64,
    /// Share of all entries that are exactly zero, in `0.0..=1.0`.
    #[serde(with = "exact::float")]
    pub zero_share: f64,
    /// Entries that are NaN or infinite.
    pub not_finite: u64,
}

impl GradientRecord {
    /// Measures one gradient, as the [module](self) defines.
    ///
    /// The squares are summed in `f64`, where that of no `f32` overflows or vanishes; the last bits
    /// of the norm depend on the order of the entries.
    ///
    /// # Shapes
    /// `gradient`: the `n` entries of one tensor, in any order; none gives zeros.
    ///
    /// ```
    /// use s3_metrics::gradient::GradientRecord;
    /// let record = GradientRecord::of(&[f32::NAN, 1e30, f32::INFINITY, 0.0]);
    /// assert_eq!((record.norm, record.zero_share), (f64::from(1e30f32), 0.25));
    /// assert_eq!(record.not_finite, 2);
    /// ```
    pub fn of(gradient: &[f32]) -> Self {
        let finite = gradient.iter().filter(|g| g.is_finite());
        // A fold from 0, since the empty sum of f64 is -0.0.
        let squares = finite
            .clone()
            .fold(0.0, |sum, &g| sum + f64::from(g).powi(2));
        Self {
            norm: squares.sqrt(),
            zero_share: dynamics::zero_rate(gradient),
            not_finite: (gradient.len() - finite.count()) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_gradient_is_zero() {
        let empty = GradientRecord::of(&[]);
        let zeros = (empty.norm, empty.zero_share, empty.not_finite);
        assert_eq!(zeros, (0.0, 0.0, 0));
        assert!(empty.norm.is_sign_positive());
    }

    #[test]
    fn the_smallest_and_the_largest_entries_keep_their_norm() {
        for g in [f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX] {
            assert_eq!(GradientRecord::of(&[0.0, -g]).norm, f64::from(g));
        }
    }

    #[test]
    fn the_keys_of_a_line_are_these_in_this_order() {
        let json = r#"{"norm":5.0,"zero_share":0.0,"not_finite":0}"#;
        let record = GradientRecord::of(&[3.0, 4.0]);
        assert_eq!(serde_json::to_string(&record).expect("writes"), json);
        let back: GradientRecord = serde_json::from_str(json).expect("reads");
        assert_eq!(back, record);
    }
}
