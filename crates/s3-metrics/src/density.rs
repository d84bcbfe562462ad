//! How the weights of a layer are spread: the density polygon of the paper's Figure 2.
//!
//! A histogram over bins of equal width, kept as counts, of `x = w / scale`:
//!
//! ```text
//! width     = (high - low) / bins
//! bin(x)    = floor((x - low) / width)           half-open, the last bin closed
//! density_i = counts_i / (sum(counts) * width)   integrates to 1 over low..high
//! ```
//!
//! [`Density::relative`] takes `scale = max|w|` and the range -1 to 1, so that layers and methods
//! are compared in one plot; [`Density::over`] takes a range in the unit of the weights. An odd
//! number of bins puts zero in the middle of a bin and puts no level `±2^-k` but `±1` on an edge.
//!
//! NaN and the infinities have no place: they are counted apart, do not enter `max|w|` and do not
//! enter the density. So are finite weights outside a given range. `-0.0` is zero.
//!
//! The counts and five numbers are one [`Density`], a line of JSON that a run can stream; the
//! density is computed from it when it is read.
//!
//! ```
//! use s3_metrics::density::Density;
//! let density = Density::relative(&[-2.0, 0.0, 0.1, 2.0], 3)?;
//! assert_eq!((density.scale, density.counts.as_slice()), (2.0, &[1, 2, 1][..]));
//! let curve = density.polygon(); // (centre, density) a bin; the bins are 2/3 wide
//! assert!((curve[1].0, curve[1].1) == (0.0, 0.75));
//! # Ok::<(), s3_metrics::density::DensityError>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exact;

/// Bins that show the peaks of a layer of some thousand weights; odd, so that zero is a middle.
pub const BINS: usize = 101;

/// Why there is no density.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DensityError {
    /// There must be at least one bin.
    NoBins,
    /// The range must be finite and not empty.
    Range {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
}

impl fmt::Display for DensityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBins => write!(f, "expected at least 1 bin, got 0"),
            Self::Range { low, high } => {
                write!(f, "expected a finite range low < high, got {low} to {high}")
            }
        }
    }
}

impl std::error::Error for DensityError {}

/// The counts of a layer's weights over bins of equal width.
///
/// As JSON the field names below, in this order. A reader of a file made elsewhere should expect
/// any numbers: [`Density::polygon`] then answers with an empty curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// What the weights were divided by: `max|w|`, or 1 where the range is in their own unit.
    /// 0 where all weights are zero.
    #[serde(with = "exact::float")]
    pub scale: f64,
    /// Lower edge of the first bin, of `w / scale`.
    #[serde(with = "exact::float")]
    pub low: f64,
    /// Upper edge of the last bin, of `w / scale`.
    #[serde(with = "exact::float")]
    pub high: f64,
    /// Finite weights below `low` or above `high`.
    pub outside: u64,
    /// Weights that are NaN or infinite.
    pub not_finite: u64,
    /// Weights in each bin.
    pub counts: Vec<u64>,
}

impl Density {
    /// Counts `w / max|w|` over `bins` bins from -1 to 1; the maximum is of the finite weights.
    ///
    /// Where every finite weight is zero, `scale` is 0 and all count as 0.
    ///
    /// # Shapes
    /// `weights`: one layer, in any order; none gives counts of zero.
    ///
    /// # Errors
    /// [`DensityError::NoBins`].
    ///
    /// ```
    /// use s3_metrics::density::Density;
    /// let density = Density::relative(&[f32::NAN, 0.5, -0.5, f32::INFINITY], 2)?;
    /// assert_eq!((density.counts, density.not_finite, density.scale), (vec![1, 1], 2, 0.5));
    /// # Ok::<(), s3_metrics::density::DensityError>(())
    /// ```
    pub fn relative(weights: &[f32], bins: usize) -> Result<Self, DensityError> {
        let finite = weights.iter().filter(|w| w.is_finite());
        let scale = finite.fold(0.0f32, |largest, w| largest.max(w.abs()));
        Self::count(weights, f64::from(scale), (-1.0, 1.0), bins)
    }

    /// Counts the weights as they are over `bins` bins from `low` to `high`.
    ///
    /// # Shapes
    /// As [`Density::relative`].
    ///
    /// # Errors
    /// [`DensityError`].
    ///
    /// ```
    /// use s3_metrics::density::Density;
    /// let density = Density::over(&[0.0, 1.0, 2.0, 2.5], 0.0, 2.0, 2)?;
    /// assert_eq!((density.counts, density.outside), (vec![1, 2], 1)); // 1 is an edge, 2 the end
    /// # Ok::<(), s3_metrics::density::DensityError>(())
    /// ```
    pub fn over(weights: &[f32], low: f64, high: f64, bins: usize) -> Result<Self, DensityError> {
        Self::count(weights, 1.0, (low, high), bins)
    }

    fn count(
        weights: &[f32],
        scale: f64,
        (low, high): (f64, f64),
        bins: usize,
    ) -> Result<Self, DensityError> {
        if bins == 0 {
            return Err(DensityError::NoBins);
        }
        // The difference too: two finite ends can be further apart than any f64.
        if !(low < high && (high - low).is_finite()) {
            return Err(DensityError::Range { low, high });
        }
        let mut density = Self {
            scale,
            low,
            high,
            outside: 0,
            not_finite: 0,
            counts: vec![0; bins],
        };
        for &weight in weights {
            let x = if scale == 0.0 {
                f64::from(weight)
            } else {
                f64::from(weight) / scale
            };
            if !weight.is_finite() {
                density.not_finite += 1;
            } else if x < low || x > high {
                density.outside += 1;
            } else {
                let place = (x - low) / (high - low) * bins as f64;
                density.counts[(place as usize).min(bins - 1)] += 1;
            }
        }
        Ok(density)
    }

    /// Weights in the bins.
    pub fn inside(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The polygon: the centre and the density of each bin, in ascending order.
    ///
    /// `sum(density) * width = 1` up to rounding. Empty where no weight is in a bin, or where the
    /// record is not one that this module makes.
    pub fn polygon(&self) -> Vec<(f64, f64)> {
        let Some(width) = self.width() else {
            return Vec::new();
        };
        let total = self.inside() as f64;
        let of_bin = |(bin, &count): (usize, &u64)| {
            (self.centre(bin, width), count as f64 / (total * width))
        };
        self.counts.iter().enumerate().map(of_bin).collect()
    }

    /// The mean size of `w / scale`, a bin's weights at its middle; `None` of no weight.
    pub fn mean_size(&self) -> Option<f64> {
        let all = self.inside();
        let size = |(low, high, count): (f64, f64, f64)| count * (0.5 * (low + high)).abs();
        (all > 0).then(|| self.bins().map(size).sum::<f64>() / all as f64)
    }

    /// Weights for each unit of size between two sizes of `w / scale`, both signs together; a bin's
    /// weights lie evenly in it.
    ///
    /// ```
    /// use s3_metrics::density::Density;
    /// let density = Density::over(&[-1.5, -0.5, 0.5, 1.5], -2.0, 2.0, 4)?;
    /// assert_eq!((density.mean_size(), density.of_sizes(0.0, 0.5)), (Some(1.0), 2.0));
    /// # Ok::<(), s3_metrics::density::DensityError>(())
    /// ```
    pub fn of_sizes(&self, from: f64, to: f64) -> f64 {
        let sides = [(from, to), (-to, -from)];
        let within = |(low, high, count): (f64, f64, f64)| {
            let shared = |(a, b): (f64, f64)| (high.min(b) - low.max(a)).max(0.0);
            count * sides.into_iter().map(shared).sum::<f64>() / (high - low)
        };
        self.bins().map(within).sum::<f64>() / (to - from)
    }

    /// Each bin's ends and count.
    fn bins(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let width = (self.high - self.low) / self.counts.len() as f64;
        let bin = move |(i, &count): (usize, &u64)| {
            let low = self.low + i as f64 * width;
            (low, low + width, count as f64)
        };
        self.counts.iter().enumerate().map(bin)
    }

    /// The width of a bin; `None` where there is no density.
    fn width(&self) -> Option<f64> {
        let width = (self.high - self.low) / self.counts.len() as f64;
        (self.inside() > 0 && width.is_finite() && width > 0.0).then_some(width)
    }

    /// From the middle of the range outwards, so that a symmetric range has symmetric centres.
    fn centre(&self, bin: usize, width: f64) -> f64 {
        let from_middle = (2 * bin + 1) as f64 - self.counts.len() as f64;
        0.5 * (self.low + self.high) + 0.5 * from_middle * width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_and_density_equal_those_written_by_hand() {
        let weights = [-4.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, 4.0];
        let density = Density::relative(&weights, 4).expect("4 bins");
        // Of the largest: -1, -1/4, 0, 0, 1/8, 1/4, 1/2, 1; edges at -1, -1/2, 0, 1/2, 1.
        assert_eq!(density.counts, [1, 1, 4, 2]);
        let hand = [(-0.75, 0.25), (-0.25, 0.25), (0.25, 1.0), (0.75, 0.5)];
        assert_eq!(density.polygon(), hand);
    }

    #[test]
    fn the_keys_of_a_line_are_these_in_this_order() {
        let density = Density::relative(&[0.5, f32::NAN], 2).expect("2 bins");
        let json =
            r#"{"scale":0.5,"low":-1.0,"high":1.0,"outside":0,"not_finite":1,"counts":[0,1]}"#;
        assert_eq!(serde_json::to_string(&density).expect("writes"), json);
        let back: Density = serde_json::from_str(json).expect("reads");
        assert_eq!(back, density);
    }

    #[test]
    fn a_layer_of_zeros_lies_in_the_middle_and_an_empty_one_nowhere() {
        let zeros = Density::relative(&[0.0, -0.0], 3).expect("3 bins");
        assert_eq!(
            (zeros.counts.as_slice(), zeros.scale),
            (&[0, 2, 0][..], 0.0)
        );
        assert_eq!(zeros.polygon()[1], (0.0, 1.5));
        for weights in [&[][..], &[f32::NAN, f32::NEG_INFINITY]] {
            let none = Density::relative(weights, 3).expect("3 bins");
            assert_eq!((none.inside(), none.polygon()), (0, vec![]));
            assert_eq!(none.not_finite, weights.len() as u64);
        }
    }

    #[test]
    fn impossible_bins_and_ranges_are_refused() {
        assert_eq!(Density::relative(&[1.0], 0), Err(DensityError::NoBins));
        for (low, high) in [
            (1.0, 1.0),
            (2.0, 1.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
        ] {
            assert!(Density::over(&[1.0], low, high, 3).is_err());
        }
        assert!(Density::over(&[1.0], f64::MIN, f64::MAX, 3).is_err());
        let error = Density::over(&[], 2.0, 1.0, 3).expect_err("an empty range");
        let text = "expected a finite range low < high, got 2 to 1";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_record_that_nobody_made_has_no_curve() {
        let json = r#"{"scale":1,"low":1,"high":"NaN","outside":0,"not_finite":0,"counts":[1]}"#;
        let odd: Density = serde_json::from_str(json).expect("reads");
        assert_eq!(odd.polygon(), []);
    }

    /// Sums of a hundred terms near 1.
    const ROUNDING: f64 = 1e-12;

    proptest! {
        #[test]
        fn a_density_integrates_to_one_and_loses_no_weight(
            weights in prop::collection::vec(any::<f32>(), 1..60), bins in 1usize..12
        ) {
            let density = Density::relative(&weights, bins).expect("bins");
            let total = density.inside() + density.outside + density.not_finite;
            prop_assert_eq!(total, weights.len() as u64);
            prop_assert_eq!(density.outside, 0);
            let integral: f64 = density.polygon().iter().map(|(_, d)| d * 2.0 / bins as f64).sum();
            prop_assert!(density.inside() == 0 || (integral - 1.0).abs() < ROUNDING);
        }

        #[test]
        fn levels_of_a_symmetric_codebook_have_symmetric_counts(
            exponents in prop::collection::vec(0i32..7, 1..30), half in 1usize..80
        ) {
            let both = |&e: &i32| [2f32.powi(e), -(2f32.powi(e))];
            let weights: Vec<f32> = exponents.iter().flat_map(both).collect();
            let counts = Density::relative(&weights, 2 * half + 1).expect("bins").counts;
            let mirrored: Vec<u64> = counts.iter().rev().copied().collect();
            prop_assert_eq!(counts, mirrored);
        }
    }
}
