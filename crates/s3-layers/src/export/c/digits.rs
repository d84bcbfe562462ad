//! A factor as a sum of signed powers of two.

/// `±2^places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::export) struct Digit {
    pub(in crate::export) places: u32,
    pub(in crate::export) is_negative: bool,
}

/// The canonical signed digits of `value`, which no shorter sum equals: no two neighbouring places.
pub(in crate::export) fn digits(value: i64) -> impl Iterator<Item = Digit> {
    let value = i128::from(value);
    let half = value >> 1;
    let sum = value + half;
    let (plus, minus) = (sum & !half, half & !sum);
    (0..65).filter_map(move |places| {
        let is_negative = minus >> places & 1 == 1;
        let is_there = is_negative || plus >> places & 1 == 1;
        is_there.then_some(Digit {
            places,
            is_negative,
        })
    })
}

/// The bytes that the C file reads a factor from: the number of digits, then of each its places, and 64
/// where it is subtracted.
pub(super) fn terms(factor: i64) -> Vec<u8> {
    let mut bytes = vec![0];
    for digit in digits(factor) {
        bytes[0] += 1;
        bytes.push(digit.places as u8 | if digit.is_negative { 64 } else { 0 });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{digits, terms};

    #[test]
    fn digits_sum_up_to_the_value_and_are_never_neighbours() {
        let edges = [i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, 0x5555_5555];
        for value in (-3000..3000).chain(edges) {
            let all: Vec<_> = digits(value).collect();
            let sign = |negative: bool| if negative { -1 } else { 1 };
            let sum: i128 = all.iter().map(|d| sign(d.is_negative) << d.places).sum();
            assert_eq!(sum, i128::from(value));
            assert!(all.windows(2).all(|two| two[1].places > two[0].places + 1));
        }
    }

    #[test]
    fn a_factor_is_counted_and_its_signs_are_marked() {
        assert_eq!(terms(0), [0]);
        assert_eq!(terms(7), [2, 64, 3]);
        assert_eq!(terms(-64), [1, 64 | 6]);
    }
}
