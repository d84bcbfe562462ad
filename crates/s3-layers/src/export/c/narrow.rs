//! How the sums of an output become bytes in 32 bits.

use s3_kernels::model::{Act, FRACTION, Requant};

/// The numbers of one output. A sum with `bias` that is negative, or larger than `most`, makes the
/// same byte as the end that is next to it. Its product with the factor and `start` are the byte,
/// `FRACTION` places further to the left than the factor's shift says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Narrow {
    pub(super) bias: i32,
    pub(super) most: u32,
    pub(super) start: u32,
}

impl Narrow {
    /// Those of output `channel`, whose sums less `bias` have at most the magnitude `most`; none
    /// where 32 bits do not hold every step.
    pub(super) fn new(
        then: &Requant,
        act: Act,
        channel: usize,
        bias: i32,
        most: i64,
        is_added_to: bool,
    ) -> Option<Narrow> {
        let (factor, shift) = (i64::from(then.factor[channel]), then.shift[channel]);
        if i16::try_from(factor).is_err() {
            return None;
        }
        let half = (1i64 << shift) >> 1;
        let rounded = i64::from(then.offset) + (1 << (FRACTION - 1));
        let share = match is_added_to {
            true => 255 * i64::from(then.residual_factor),
            false => 0,
        };
        let (least_share, most_share) = (share.min(0), share.max(0));
        let (low, high) = (i64::from(low(then, act)), i64::from(then.high));
        // A product below `below` makes the smallest byte, one from `above` on the largest one,
        // whatever is added.
        let scaled =
            |byte: i64, share: i64| (((byte << FRACTION) - rounded - share) << shift) - half;
        let (below, above) = (scaled(low + 1, most_share), scaled(high, least_share));
        // The largest sum that makes the one end, and the smallest that makes the other.
        let (first, last) = match factor {
            0 => (0, 0),
            1.. => (ceiling(below, factor) - 1, ceiling(above, factor)),
            ..0 => (
                (-above).div_euclid(-factor),
                (-below).div_euclid(-factor) + 1,
            ),
        };
        let sums = most + i64::from(bias).abs();
        let (first, last) = (
            first.min(last).max(-sums).min(sums),
            last.max(first).min(sums),
        );
        let last = last.max(first);
        let start = first * factor + half + (rounded << shift);
        let ends = [start, start + (last - first) * factor];
        let (least, largest) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let fits = match is_added_to {
            // The smallest and the largest byte are looked for, in numbers with a sign.
            true => {
                least + (least_share << shift) >= i32::MIN.into()
                    && largest + (most_share << shift) <= i32::MAX.into()
            }
            // No byte is looked for: the ends are the smallest and the largest.
            false => {
                let places = u32::from(shift) + FRACTION;
                least >> places >= low && largest >> places <= high
            }
        };
        let fits = fits && largest <= u32::MAX.into() && 2 * sums + first.abs() <= i32::MAX.into();
        fits.then_some(Narrow {
            bias: (i64::from(bias) - first) as i32,
            most: (last - first) as u32,
            start: start as u32,
        })
    }
}

/// The smallest byte that a layer makes.
pub(super) fn low(then: &Requant, act: Act) -> u8 {
    match act {
        Act::None => 0,
        Act::Relu | Act::Relu6 => then.zero_point,
    }
}

/// `n / d`, rounded up; `d` is above 0.
fn ceiling(n: i64, d: i64) -> i64 {
    -(-n).div_euclid(d)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the C file does.
    fn byte(narrow: &Narrow, then: &Requant, act: Act, sum: i32, residual: Option<i64>) -> i64 {
        let clamped = sum.wrapping_add(narrow.bias).clamp(0, narrow.most as i32) as u32;
        let product = clamped.wrapping_mul(i32::from(then.factor[0] as i16) as u32);
        let product = product.wrapping_add(narrow.start);
        let places = u32::from(then.shift[0]) + FRACTION;
        match residual {
            None => i64::from(product >> places) & 255,
            Some(r) => {
                let share = (r * i64::from(then.residual_factor)) as u32;
                let sum = product.wrapping_add(share << then.shift[0]) as i32;
                i64::from(sum >> places).clamp(low(then, act).into(), then.high.into())
            }
        }
    }

    /// docs/EXPORT-FORMAT.md, section 5.
    fn defined(then: &Requant, act: Act, v: i64, residual: Option<i64>) -> i64 {
        let shift = then.shift[0];
        let a = (v * i64::from(then.factor[0]) + ((1 << shift) >> 1)) >> shift;
        let share = residual.map_or(0, |r| r * i64::from(then.residual_factor));
        let y = (a + share + i64::from(then.offset) + 128) >> 8;
        y.clamp(low(then, act).into(), then.high.into())
    }

    #[test]
    fn every_sum_makes_the_byte_of_the_definition() {
        let mut seen = [0; 2];
        let most = 30_000;
        for factor in [0, 1, 5, 771, 17_001, 29_837, 32_767, -3, -20_003] {
            for shift in [0, 3, 8, 10, 13, 14, 15, 16, 20] {
                for (zero_point, high, residual_factor, act) in [
                    (0, 255, 0, Act::Relu),
                    (0, 255, 180, Act::Relu),
                    (117, 255, -90, Act::None),
                    (128, 255, 0, Act::None),
                    (0, 200, 0, Act::Relu6),
                    (90, 200, 256, Act::Relu6),
                    (90, 200, 0, Act::Relu6),
                ] {
                    let bias = 1000 - 7 * shift;
                    let then = Requant {
                        bias: vec![bias],
                        factor: vec![factor],
                        shift: vec![shift as u8],
                        residual_factor,
                        offset: 256 * i32::from(zero_point),
                        zero_point,
                        high,
                    };
                    let is_added_to = residual_factor != 0;
                    let narrow = Narrow::new(&then, act, 0, bias, most, is_added_to);
                    seen[usize::from(narrow.is_some())] += 1;
                    let Some(narrow) = narrow else { continue };
                    let residuals: &[Option<i64>] = match is_added_to {
                        true => &[Some(0), Some(1), Some(100), Some(255)],
                        false => &[None],
                    };
                    for sum in (-most..=most).step_by(7).chain([most]) {
                        for &residual in residuals {
                            let wanted = defined(&then, act, sum + i64::from(bias), residual);
                            let got = byte(&narrow, &then, act, sum as i32, residual);
                            assert_eq!(got, wanted, "{then:?} {sum} {residual:?} {narrow:?}");
                        }
                    }
                }
            }
        }
        assert!(seen[0] > 50 && seen[1] > 250, "{seen:?}");
    }
}
