//! Powers of two: exact values and the two roundings that methods differ in.

/// `2^k`, exact, for `k` in `-126..=127`.
pub(crate) fn pow2(k: i32) -> f32 {
    f32::from_bits(((k + 127) as u32) << 23)
}

/// The exponent of the power of two nearest to |x|: `k` with `1.5·2^{k-1} <= |x| < 1.5·2^k`, exact.
/// `None` for 0 and subnormal numbers.
pub(crate) fn nearest_exponent(x: f32) -> Option<i32> {
    let bits = x.abs().to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let upper_half = (bits & 0x0040_0000) != 0;
    (bits >= 0x0080_0000).then_some(exponent + i32::from(upper_half))
}

/// `round(log2|x|)`, half to even: the boundary is `√2·2^k`. `None` for 0.
pub(crate) fn rounded_log2(x: f32) -> Option<i32> {
    (x != 0.0).then(|| x.abs().log2().round_ties_even() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_roundings_part_between_root_two_and_one_and_a_half() {
        for k in -20..20 {
            let p = pow2(k);
            assert_eq!(f64::from(p), f64::from(k).exp2());
            for (x, nearest, log) in [
                (0.74, -1, 0),
                (0.75, 0, 0),
                (1.0, 0, 0),
                (1.41, 0, 0),
                (1.42, 0, 1),
                (1.499, 0, 1),
                (1.5, 1, 1),
            ] {
                assert_eq!(nearest_exponent(-x * p), Some(k + nearest), "{x} {k}");
                assert_eq!(rounded_log2(x * p), Some(k + log), "{x} {k}");
            }
        }
        assert_eq!((nearest_exponent(0.0), rounded_log2(0.0)), (None, None));
    }
}
