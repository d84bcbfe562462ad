//! The distribution of a value's elements, and the 8-bit unit that suits it.

/// How the range of an 8-bit value is chosen from what was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Calibration {
    /// All of it.
    MinMax,
    /// All but a ten-thousandth of the values on either side.
    Percentile,
    /// What makes the mean squared error least, of the range and its shares down to a fifth.
    Mse,
}

/// Bins on each side of zero.
const BINS: usize = 4096;

/// How often each magnitude occurred, on either side of zero.
///
/// Bins are `2^k` wide and double while a value lies beyond them, so that the counts do not depend
/// on the order in which values come.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    width: f64,
    negative: Vec<u64>,
    positive: Vec<u64>,
    low: f32,
    high: f32,
}

/// What an 8-bit value is in real numbers: `(q - zero_point) scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// What one step is worth.
    pub scale: f64,
    /// The stored number that stands for 0.
    pub zero_point: u8,
}

/// Which 8-bit numbers store a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// i8, -127 to 127, zero at 0.
    Signed,
    /// u8, zero at 0: nothing is negative.
    Positive,
    /// u8, zero anywhere.
    Shifted,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            width: (-24f64).exp2(),
            negative: vec![0; BINS],
            positive: vec![0; BINS],
            low: 0.0,
            high: 0.0,
        }
    }

    /// Counts `values`, all of them finite.
    pub(super) fn add(&mut self, values: &[f32]) {
        for &v in values {
            self.low = self.low.min(v);
            self.high = self.high.max(v);
        }
        let most = f64::from(self.high.max(-self.low));
        while most >= self.width * BINS as f64 {
            self.widen();
        }
        let bins = (1.0 / self.width) as f32; // a power of two: products are exact
        for &v in values {
            let counts = if v < 0.0 {
                &mut self.negative
            } else {
                &mut self.positive
            };
            counts[((v.abs() * bins) as usize).min(BINS - 1)] += 1;
        }
    }

    /// Counts what `other` has counted.
    pub(super) fn merge(&mut self, other: &Histogram) {
        let mut other = other.clone();
        while self.width < other.width {
            self.widen();
        }
        while other.width < self.width {
            other.widen();
        }
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        let pairs = [
            (&mut self.negative, other.negative),
            (&mut self.positive, other.positive),
        ];
        for (counts, others) in pairs {
            counts
                .iter_mut()
                .zip(others)
                .for_each(|(n, more)| *n += more);
        }
    }

    /// Makes bins twice as wide.
    fn widen(&mut self) {
        self.width *= 2.0;
        for counts in [&mut self.negative, &mut self.positive] {
            for i in 0..BINS / 2 {
                counts[i] = counts[2 * i] + counts[2 * i + 1];
            }
            counts[BINS / 2..].fill(0);
        }
    }

    /// The largest value, or 0.
    pub(super) fn high(&self) -> f64 {
        f64::from(self.high)
    }

    /// The unit that `calibration` finds; a power of two where `power_of_two` asks for one, then
    /// the next that covers the range.
    pub(super) fn unit(
        &self,
        stored: Stored,
        calibration: Calibration,
        power_of_two: bool,
    ) -> Unit {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let covering = |low, high| covering(low, high, stored, power_of_two);
        match calibration {
            Calibration::MinMax => covering(low, high),
            Calibration::Percentile => {
                let outside = (1.0 - PERCENTILE) * self.total() as f64;
                let low = -self.beyond(&self.negative, outside).min(-low);
                covering(low, self.beyond(&self.positive, outside).min(high))
            }
            Calibration::Mse => {
                // The whole range, and shares of it down to a fifth.
                let candidates = (20..=100).rev().map(|percent| {
                    let part = f64::from(percent) / 100.0;
                    covering(part * low, part * high)
                });
                let mut best = (covering(low, high), f64::INFINITY);
                let mut tried = None;
                for unit in candidates {
                    if tried.replace(unit) != Some(unit) {
                        let error = self.squared_error(unit, stored);
                        if error < best.1 {
                            best = (unit, error);
                        }
                    }
                }
                best.0
            }
        }
    }

    fn total(&self) -> u64 {
        self.negative.iter().chain(&self.positive).sum()
    }

    /// The magnitude that at most `outside` values of `counts` exceed.
    fn beyond(&self, counts: &[u64], outside: f64) -> f64 {
        let mut above = 0;
        for (i, count) in counts.iter().enumerate().rev() {
            above += count;
            if above as f64 > outside {
                return (i + 1) as f64 * self.width;
            }
        }
        0.0
    }

    /// The sum of squared differences between values and what is stored of them.
    fn squared_error(&self, unit: Unit, stored: Stored) -> f64 {
        let (least, most) = stored.limits();
        let zero = f64::from(unit.zero_point);
        let side = |counts: &[u64], sign: f64| -> f64 {
            let bins = counts.iter().enumerate().filter(|&(_, &n)| n > 0);
            bins.map(|(i, &n)| {
                let x = sign * (i as f64 + 0.5) * self.width;
                let q = ((x / unit.scale).round_ties_even() + zero).clamp(least, most);
                n as f64 * ((q - zero) * unit.scale - x).powi(2)
            })
            .sum()
        };
        side(&self.negative, -1.0) + side(&self.positive, 1.0)
    }
}

/// The share of all values that the percentile calibration keeps on either side.
const PERCENTILE: f64 = 0.9999;

impl Stored {
    fn limits(self) -> (f64, f64) {
        match self {
            Stored::Signed => (-127.0, 127.0),
            Stored::Positive | Stored::Shifted => (0.0, 255.0),
        }
    }
}

/// The smallest unit that stores `low..=high`, which holds 0.
fn covering(low: f64, high: f64, stored: Stored, power_of_two: bool) -> Unit {
    let scale = match stored {
        Stored::Signed => high.max(-low) / 127.0,
        Stored::Positive => high / 255.0,
        Stored::Shifted => (high - low) / 255.0,
    };
    let scale = match scale {
        s if s <= f64::from(f32::MIN_POSITIVE) => 1.0, // a value that is always 0
        s if power_of_two => s.log2().ceil().exp2(),
        s => s,
    };
    let zero_point = match stored {
        Stored::Shifted => (-low / scale).round().clamp(0.0, 255.0) as u8,
        _ => 0,
    };
    Unit { scale, zero_point }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_depend_on_the_order_of_values() {
        let values: Vec<f32> = (0..2000).map(|i| (i as f32 - 700.0) * 0.013).collect();
        let (mut forward, mut backward) = (Histogram::new(), Histogram::new());
        values.chunks(7).for_each(|v| forward.add(v));
        values.chunks(7).rev().for_each(|v| backward.add(v));
        assert_eq!(forward.width, backward.width);
        assert_eq!(forward.negative, backward.negative);
        assert_eq!(forward.positive, backward.positive);
        assert_eq!(forward.total(), 2000);
    }

    #[test]
    fn ranges_become_units() {
        let mut h = Histogram::new();
        h.add(&[-1.0, 0.0, 4.1]);
        let unit = |stored, two| h.unit(stored, Calibration::MinMax, two);
        assert_eq!(
            unit(Stored::Positive, false).scale,
            f64::from(4.1f32) / 255.0
        );
        assert_eq!(unit(Stored::Positive, true).scale, 1.0 / 32.0);
        assert_eq!(unit(Stored::Signed, true).scale, 1.0 / 16.0);
        // 5.1 over 255 steps of 0.02: the zero is 50 steps from the least.
        assert_eq!(unit(Stored::Shifted, false).zero_point, 50);
        assert_eq!(unit(Stored::Shifted, true).zero_point, 32);
        assert_eq!(
            Histogram::new()
                .unit(Stored::Positive, Calibration::Mse, true)
                .scale,
            1.0
        );
    }

    #[test]
    fn merged_counts_are_those_of_all_values() {
        let (small, large) = ([0.25f32, -0.5, 0.125], [900.0f32, -3.0]);
        let of = |all: &[f32]| {
            let mut h = Histogram::new();
            h.add(all);
            h
        };
        let all = of(&[&small[..], &large].concat());
        for (mut a, b) in [(of(&small), of(&large)), (of(&large), of(&small))] {
            a.merge(&b);
            assert_eq!(format!("{a:?}"), format!("{all:?}"));
        }
    }

    #[test]
    fn an_outlier_moves_only_the_whole_range() {
        let mut h = Histogram::new();
        h.add(&(0..100_000).map(|i| i as f32 / 1e5).collect::<Vec<_>>());
        h.add(&[8.0]);
        let scale = |c| 255.0 * h.unit(Stored::Positive, c, false).scale;
        assert_eq!(scale(Calibration::MinMax), 8.0);
        // The largest 10 of 100 001 values are 8 and those from 0.9999 on; a bin is 1/256 wide.
        assert!((scale(Calibration::Percentile) - 1.0).abs() <= 1.0 / 256.0);
        // With range r: (8 - r)² for the outlier and n (r/255)²/12 for the others, least at 7.09.
        assert!((scale(Calibration::Mse) - 7.09).abs() < 0.2);
    }
}
