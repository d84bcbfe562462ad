//! From real factors to the integers of [`Requant`](s3_kernels::model::Requant).

use s3_kernels::model::{FRACTION, MAX_TERMS};

/// Bits of a factor, sign aside.
const BITS: i32 = 15;

/// `factor 2^-shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    pub(super) factor: i32,
    pub(super) shift: u8,
}

impl Factor {
    /// The nearest to `real` of 15 bits, without common powers of two; 0 below `2^-32`.
    pub(super) fn nearest(real: f64) -> Self {
        let magnitude = real.abs().max(f64::MIN_POSITIVE).log2().floor() as i32;
        let shift = (BITS - 1 - magnitude).clamp(0, 31);
        let factor = (real * f64::from(shift).exp2()).round() as i32;
        let shared = factor.trailing_zeros().min(shift as u32);
        Self {
            factor: factor >> shared,
            shift: (shift as u32 - shared) as u8,
        }
    }

    /// The same with at most [`MAX_TERMS`] digits other than 0: the nearest power of two, again and
    /// again for what is left.
    pub(super) fn few_digits(real: f64) -> Self {
        let Factor { factor, shift } = Self::nearest(real);
        let (mut sum, mut rest) = (0i64, i64::from(factor));
        for _ in 0..MAX_TERMS {
            if rest == 0 {
                break;
            }
            let below = 1i64 << (63 - rest.unsigned_abs().leading_zeros());
            let power = if 2 * rest.abs() > 3 * below {
                2 * below
            } else {
                below
            };
            sum += rest.signum() * power;
            rest = i64::from(factor) - sum;
        }
        let shared = sum.trailing_zeros().min(shift.into());
        Self {
            factor: (sum >> shared) as i32,
            shift: shift - shared as u8,
        }
    }

    /// The real number that it stands for.
    pub(super) fn value(self) -> f64 {
        f64::from(self.factor) * (-f64::from(self.shift)).exp2()
    }
}

/// `real` in units of `2^-FRACTION`, the nearest that an `i32` holds.
pub(super) fn in_fractions(real: f64) -> i32 {
    (real * f64::from(1u32 << FRACTION)).round() as i32
}

/// What an output channel does to its integer sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Channel {
    /// Added to the sum.
    pub(super) bias: i32,
    pub(super) factor: Factor,
    /// The sum has no say: the channel's weights become 0, so that it is `bias` alone.
    pub(super) constant: bool,
}

impl Channel {
    /// `sum · gain + bias`, in steps of the result, for a sum of at most `bound`; `factor` rounds.
    ///
    /// The bias is in units of the *rounded* gain, so that rounding it costs the bias nothing.
    pub(super) fn new(gain: f64, bias: f64, bound: i64, factor: fn(f64) -> Factor) -> Self {
        let unit = f64::from(1u32 << FRACTION);
        let rounded = factor(gain * unit);
        let sum = bias * unit / rounded.value();
        // Where bias and sum together leave i32, the gain is next to nothing beside the bias.
        let room = (i64::from(i32::MAX) - bound).max(0) as f64;
        if rounded.factor == 0 || (sum.abs() > room && gain.abs() * (bound as f64) < 0.5) {
            return Self {
                bias: in_fractions(bias),
                factor: Factor {
                    factor: 1,
                    shift: 0,
                },
                constant: true,
            };
        }
        Self {
            bias: sum.round().clamp(-room, room) as i32,
            factor: rounded,
            constant: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(factor: i32, shift: u8) -> Factor {
        Factor { factor, shift }
    }

    /// Digits other than 0 of the canonical signed digits.
    fn digits(factor: i32) -> u32 {
        let wide = i64::from(factor).unsigned_abs();
        (wide ^ (3 * wide)).count_ones()
    }

    #[test]
    fn factors_are_the_nearest_of_fifteen_bits() {
        assert_eq!(Factor::nearest(1.0), of(1, 0));
        assert_eq!(Factor::nearest(-0.375), of(-3, 3));
        assert_eq!(Factor::nearest(48.0), of(48, 0));
        assert_eq!(Factor::nearest(0.0), of(0, 0));
        assert_eq!(Factor::nearest((-33f64).exp2()), of(0, 0));
        assert_eq!(Factor::nearest((-31f64).exp2()), of(1, 31));
        assert_eq!(Factor::nearest(1.0 / 3.0), of(21845, 16));
        for i in 1..2000 {
            let real = f64::from(i) * 0.0137 - 11.3;
            let error = (Factor::nearest(real).value() - real).abs();
            assert!(error <= real.abs() * (-15f64).exp2(), "{real}: {error}");
        }
    }

    #[test]
    fn few_digits_are_at_most_four_and_within_a_hundredth() {
        assert_eq!(Factor::few_digits(0.375), of(3, 3));
        // 21845 = 101010101010101 in binary: four of its eight digits stay.
        assert_eq!(Factor::few_digits(1.0 / 3.0), of(85, 8));
        for i in 1..4000 {
            let real = f64::from(i) * 0.00713 - 9.0;
            let f = Factor::few_digits(real);
            assert!(digits(f.factor) <= MAX_TERMS, "{real}: {}", f.factor);
            // Each digit leaves at most a third of what it found; 15 bits add 2^-15.
            let bound = real.abs() * (1.0 / 81.0 + (-15f64).exp2());
            assert!((f.value() - real).abs() <= bound, "{real}");
        }
    }

    #[test]
    fn channels_by_hand() {
        // One unit of the sum is half a step; 3 steps are 6 units.
        let c = Channel::new(0.5, 3.0, 1000, Factor::nearest);
        assert_eq!((c.bias, c.factor, c.constant), (6, of(128, 0), false));
        let c = Channel::new(-0.5, 3.0, 1000, Factor::nearest);
        assert_eq!((c.bias, c.factor, c.constant), (-6, of(-128, 0), false));
        // No gain: the bias in 256ths of a step.
        let c = Channel::new(0.0, 3.0, 1000, Factor::nearest);
        assert_eq!((c.bias, c.factor, c.constant), (768, of(1, 0), true));
        // A gain so small that the bias would need 2^31 units of it.
        let c = Channel::new(1e-9, -3.0, 1000, Factor::nearest);
        assert_eq!((c.bias, c.constant), (-768, true));
        // A sum that reaches half of i32 leaves the bias the other half.
        let c = Channel::new(1e-6, 1e6, 1 << 30, Factor::nearest);
        assert_eq!((c.bias, c.constant), ((1 << 30) - 1, false));
    }
}
