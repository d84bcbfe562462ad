//! A factor as a sum of shifts.

/// The canonical signed digits of `factor` that are not zero, lowest first: the place of each, and
/// whether it is negative. `factor = sum ±2^place`, no two places are neighbours, and no other sum
/// of that kind has fewer terms.
///
/// ```
/// use s3_kernels::model::terms;
///
/// assert!(terms(28).eq([(2, true), (5, false)])); // 32 - 4
/// assert!(terms(-3).eq([(0, false), (2, true)])); // 1 - 4
/// assert_eq!(terms(0).count(), 0);
/// assert_eq!(terms(i32::MAX).last(), Some((31, false)));
/// ```
pub fn terms(factor: i32) -> impl Iterator<Item = (u8, bool)> {
    let (mut rest, mut place) = (i64::from(factor), 0);
    core::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let zeros = rest.trailing_zeros();
        rest >>= zeros;
        place += zeros as u8;
        // 1 where the two lowest bits are 01, -1 where they are 11: the next digit is then 0.
        let digit = 2 - (rest & 3);
        rest -= digit;
        Some((place, digit < 0))
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::terms;

    #[test]
    fn the_terms_add_up_and_no_two_are_neighbours() {
        let wide = (0..31).flat_map(|i| [1 << i, -(1 << i), (1i32 << i).wrapping_mul(3) / 2 + i]);
        for factor in (-5000..5000).chain(wide).chain([i32::MIN, i32::MAX]) {
            let all: Vec<_> = terms(factor).collect();
            let sum: i64 = all
                .iter()
                .map(|&(place, negative)| (1i64 << place) * if negative { -1 } else { 1 })
                .sum();
            assert_eq!(sum, i64::from(factor));
            assert!(all.windows(2).all(|w| w[0].0 + 1 < w[1].0), "{factor}");
        }
    }
}
