//! How weights move during training: WSVR and WLVR, the two indices of the paper's section 5.2.
//!
//! *WSVR* (weight sign variation rate) compares two snapshots of one layer, ten epochs apart in
//! the paper; *WLVR* (weight low-value rate) looks at one. For the weights `a` (before), `b`
//! (after), `n` of them:
//!
//! ```text
//! WSVR            = #{ i : a_i * b_i < 0 } / n                  both non-zero, opposite signs
//! WSVR with zero  = #{ i : sign(a_i) != sign(b_i) } / n         sign(0) = 0, a third sign
//! WLVR continuous = #{ i : |b_i| / max_j |b_j| < 0.03 } / n
//! WLVR discrete   = #{ i : b_i = 0 } / n                        the sparsity
//! ```
//!
//! The paper measures "the percentage of weights with a different sign" and is silent on the sign
//! of a zero weight, which discrete networks have many of. Both readings are computed and
//! reported. The denominator is always *all* weights of the layer, zeros included.
//!
//! Conventions: `-0.0` is zero. NaN has no sign and no size: it never counts as a change, as a
//! low value or as a zero. All rates are shares in `0.0..=1.0`, not percentages.

/// The half-width around zero, relative to the largest weight, that the paper calls low: 0.03.
pub const LOW_VALUE_THRESHOLD: f32 = 0.03;

/// Share of all weights whose sign is opposite between two snapshots, both non-zero (WSVR).
///
/// `#{ i : before_i and after_i non-zero, of opposite signs } / n`, the paper's section 5.2 with
/// zero read as having no sign: a weight that passes `1 -> 0 -> -1` over two intervals counts in
/// neither. [`sign_variation_rate_with_zero`] is the other reading.
///
/// # Shapes
/// `before` and `after`: the `n` weights of one layer, in the same order. `n = 0` gives 0.
///
/// # Panics
/// If the lengths differ: the snapshots are then not of the same layer.
///
/// ```
/// use s3_metrics::dynamics::sign_variation_rate;
/// let before = [1.0, -2.0, 0.0, 4.0];
/// let after = [-4.0, -1.0, 1.0, 0.0]; // flip, same sign, born, died
/// assert_eq!(sign_variation_rate(&before, &after), 0.25);
/// assert_eq!(sign_variation_rate(&before, &before), 0.0);
/// ```
#[must_use]
pub fn sign_variation_rate(before: &[f32], after: &[f32]) -> f64 {
    share_of_pairs(before, after, |a, b| {
        (a > 0.0 && b < 0.0) || (a < 0.0 && b > 0.0)
    })
}

/// Share of all weights whose sign differs between two snapshots, zero being a third sign.
///
/// Entering or leaving zero counts: `1 -> 0`, `0 -> -1` and `1 -> -1` each count once. Never less
/// than [`sign_variation_rate`], and equal to it where no weight is zero. The paper is silent on
/// zeros; both readings are reported.
///
/// # Shapes
/// As [`sign_variation_rate`].
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// use s3_metrics::dynamics::sign_variation_rate_with_zero;
/// let before = [1.0, -2.0, 0.0, 4.0];
/// let after = [-4.0, -1.0, 1.0, -0.0]; // flip, same sign, born, died
/// assert_eq!(sign_variation_rate_with_zero(&before, &after), 0.75);
/// ```
#[must_use]
pub fn sign_variation_rate_with_zero(before: &[f32], after: &[f32]) -> f64 {
    share_of_pairs(before, after, |a, b| match (sign(a), sign(b)) {
        (Some(sign_before), Some(sign_after)) => sign_before != sign_after,
        _ => false,
    })
}

/// Share of all entries of a latent whose gate changed between two snapshots.
///
/// `#{ i : 1(before_i > 0) != 1(after_i > 0) } / n`, with the Heaviside gate of the paper's eq. 6:
/// `1(0) = 0`, so a positive entry that reaches zero has flipped and a negative one has not. NaN
/// is not greater than zero: its gate is shut.
///
/// # Shapes
/// As [`sign_variation_rate`], for a latent in place of the weights.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// use s3_metrics::dynamics::gate_flip_rate;
/// let before = [0.5, -0.5, 0.5, -0.5];
/// let after = [0.0, 0.0, -0.1, 0.1]; // shut, still shut, shut, opened
/// assert_eq!(gate_flip_rate(&before, &after), 0.75);
/// ```
#[must_use]
pub fn gate_flip_rate(before: &[f32], after: &[f32]) -> f64 {
    share_of_pairs(before, after, |a, b| (a > 0.0) != (b > 0.0))
}

/// Share of weights near zero relative to the largest: `|w| / max|w| < threshold` (WLVR).
///
/// The paper's section 5.2 for continuous weights, with threshold [`LOW_VALUE_THRESHOLD`] = 0.03.
/// The comparison is strict, the division is in `f32`.
///
/// Do **not** apply the 0.03 to discrete weights: in the 4-bit codebook `{0, ±1, .., ±64}` the
/// level 1 is 1/64 = 0.0156 of the largest and would count as low. For a discrete network the
/// paper takes the sparsity: [`zero_rate`].
///
/// # Shapes
/// `weights`: the `n` weights of one layer; no weight gives 0. `threshold` in `0.0..=1.0`.
/// A layer of zeros only is wholly low, 1, at every threshold.
///
/// ```
/// use s3_metrics::dynamics::low_value_rate;
/// let weights = [2.0, -0.05, 0.07, 0.0]; // 1, 0.025, 0.035 and 0 of the largest
/// assert_eq!(low_value_rate(&weights, 0.03), 0.5);
/// assert_eq!(low_value_rate(&[0.0, -0.0], 0.03), 1.0);
/// assert_eq!(low_value_rate(&[], 0.03), 0.0);
/// ```
#[must_use]
pub fn low_value_rate(weights: &[f32], threshold: f32) -> f64 {
    // `f32::max` passes over a NaN.
    let largest = weights
        .iter()
        .fold(0.0f32, |largest, w| largest.max(w.abs()));
    if largest == 0.0 {
        return zero_rate(weights);
    }
    share(
        weights
            .iter()
            .filter(|w| w.abs() / largest < threshold)
            .count(),
        weights.len(),
    )
}

/// Share of weights that are exactly zero: the sparsity, and the WLVR of a discrete network.
///
/// # Shapes
/// `weights`: the `n` weights of one layer; no weight gives 0. `-0.0` is zero.
///
/// ```
/// use s3_metrics::dynamics::zero_rate;
/// assert_eq!(zero_rate(&[0.0, -0.0, 1.0, 64.0]), 0.5);
/// ```
#[must_use]
pub fn zero_rate(weights: &[f32]) -> f64 {
    share(zero_count(weights) as usize, weights.len())
}

/// Number of weights that are exactly zero, of either sign.
///
/// ```
/// assert_eq!(s3_metrics::dynamics::zero_count(&[0.0, -0.0, 1e-30]), 2);
/// ```
#[must_use]
pub fn zero_count(weights: &[f32]) -> u64 {
    weights.iter().filter(|w| **w == 0.0).count() as u64
}

/// The distinct values of a discrete layer and how often each occurs, in ascending order.
///
/// `None` where there are more than `max_levels` distinct values, or a value that is not finite:
/// the layer is continuous (or broken) and has a density, not levels. Zeros of both signs are the
/// one level `0.0`. `max_levels` of 64 tells every codebook of the paper from a continuous layer.
///
/// ```
/// use s3_metrics::dynamics::level_counts;
/// let ternary = [1.0, 0.0, -1.0, -0.0, 1.0];
/// assert_eq!(level_counts(&ternary, 3), Some(vec![(-1.0, 1), (0.0, 2), (1.0, 2)]));
/// assert_eq!(level_counts(&[0.1, 0.2, 0.3], 2), None);
/// assert_eq!(level_counts(&[], 2), Some(vec![]));
/// ```
#[must_use]
pub fn level_counts(weights: &[f32], max_levels: usize) -> Option<Vec<(f32, u64)>> {
    let mut levels: Vec<(f32, u64)> = Vec::new();
    for &weight in weights {
        if !weight.is_finite() {
            return None;
        }
        // Adding +0.0 turns -0.0 into 0.0 and changes nothing else.
        let level = weight + 0.0;
        match levels.binary_search_by(|(known, _)| known.total_cmp(&level)) {
            Ok(found) => levels[found].1 += 1,
            Err(_) if levels.len() == max_levels => return None,
            Err(place) => levels.insert(place, (level, 1)),
        }
    }
    Some(levels)
}

/// -1, 0 or 1; `None` for NaN.
fn sign(weight: f32) -> Option<i8> {
    if weight.is_nan() {
        None
    } else {
        Some(i8::from(weight > 0.0) - i8::from(weight < 0.0))
    }
}

fn share_of_pairs(before: &[f32], after: &[f32], counts: impl Fn(f32, f32) -> bool) -> f64 {
    assert_eq!(
        before.len(),
        after.len(),
        "two snapshots of one layer have as many weights: {} before, {} after",
        before.len(),
        after.len()
    );
    share(
        before
            .iter()
            .zip(after)
            .filter(|&(&a, &b)| counts(a, b))
            .count(),
        before.len(),
    )
}

fn share(count: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        count as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nan_is_never_a_change_nor_low_nor_zero() {
        let nan = f32::NAN;
        assert_eq!(sign_variation_rate(&[nan, 1.0], &[1.0, nan]), 0.0);
        assert_eq!(sign_variation_rate_with_zero(&[nan, 0.0], &[1.0, nan]), 0.0);
        assert_eq!(low_value_rate(&[nan, 1.0], 0.03), 0.0);
        assert_eq!(zero_rate(&[nan, nan]), 0.0);
        assert_eq!(low_value_rate(&[nan, nan], 0.03), 0.0);
        assert_eq!(level_counts(&[nan], 9), None);
    }

    #[test]
    fn negative_zero_is_zero() {
        assert_eq!(sign_variation_rate(&[-0.0, 0.0], &[1.0, -1.0]), 0.0);
        assert_eq!(sign_variation_rate_with_zero(&[-0.0], &[0.0]), 0.0);
        assert_eq!(sign_variation_rate_with_zero(&[-0.0], &[1.0]), 1.0);
    }

    #[test]
    fn subnormal_weights_keep_their_signs() {
        let tiny = f32::from_bits(1); // a product of two of them would underflow to zero
        assert_eq!(sign_variation_rate(&[tiny], &[-tiny]), 1.0);
        assert_eq!(low_value_rate(&[tiny, 0.0], 0.03), 0.5);
    }

    #[test]
    fn the_low_value_threshold_is_strict() {
        assert_eq!(low_value_rate(&[1.0, 0.03], 0.03), 0.0);
        assert_eq!(low_value_rate(&[1.0, 0.029_99], 0.03), 0.5);
    }

    #[test]
    fn the_paper_threshold_miscounts_four_bit_weights() {
        let weights = [64.0, 1.0, -1.0, 0.0];
        assert_eq!(low_value_rate(&weights, LOW_VALUE_THRESHOLD), 0.75);
        assert_eq!(zero_rate(&weights), 0.25);
    }

    #[test]
    #[should_panic(expected = "two snapshots of one layer have as many weights: 1 before, 2 after")]
    fn snapshots_of_different_lengths_panic() {
        let _ = sign_variation_rate(&[1.0], &[1.0, 2.0]);
    }

    proptest! {
        #[test]
        fn rates_are_symmetric_and_ordered(
            pairs in prop::collection::vec((-2i8..=2, -2i8..=2), 0..50)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) =
                pairs.iter().map(|&(a, b)| (f32::from(a), f32::from(b))).unzip();
            let wsvr = sign_variation_rate(&a, &b);
            let wsvr_with_zero = sign_variation_rate_with_zero(&a, &b);
            prop_assert!((0.0..=wsvr_with_zero).contains(&wsvr) && wsvr_with_zero <= 1.0);
            prop_assert_eq!(wsvr, sign_variation_rate(&b, &a));
            prop_assert_eq!(wsvr_with_zero, sign_variation_rate_with_zero(&b, &a));
            let changed = pairs.iter().filter(|(a, b)| a.signum() != b.signum()).count();
            prop_assert_eq!(wsvr_with_zero,
                if a.is_empty() { 0.0 } else { changed as f64 / a.len() as f64 });
        }

        #[test]
        fn low_value_rate_does_not_depend_on_a_power_of_two_scale(
            weights in prop::collection::vec(-1.0f32..1.0, 1..50), exponent in -8i32..8
        ) {
            let scaled: Vec<f32> = weights.iter().map(|w| w * 2f32.powi(exponent)).collect();
            prop_assert_eq!(low_value_rate(&weights, 0.03), low_value_rate(&scaled, 0.03));
        }

        #[test]
        fn level_counts_add_up_to_the_weights(codes in prop::collection::vec(-7i8..=7, 0..80)) {
            let weights: Vec<f32> = codes.iter().map(|&c| f32::from(c)).collect();
            let levels = level_counts(&weights, 15).expect("15 levels");
            prop_assert_eq!(levels.iter().map(|l| l.1).sum::<u64>(), weights.len() as u64);
            prop_assert!(levels.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
