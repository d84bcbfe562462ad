//! A requantization as one addition and one multiplication whose floor is the runtime's, computed
//! exactly and computed in f32.
//!
//! The runtime's result is `floor((sum num + add) / den)`, clamped. It is a staircase of the sum:
//! at most some hundred of its edges matter, because what lies beyond is clamped. [`line`] finds
//! `(sum + bias) factor` with the same staircase, by the two sums on both sides of each edge:
//!
//! * exactly: the biases that put every edge in its place are an interval, whose ends are
//!   quotients of integers; a bias of few binary digits inside it is taken;
//! * in f32, where `sum + bias` and the product are rounded once each: every edge is tried. Both
//!   roundings are monotonic, so sums between two edges are right where the edges are.
//!
//! Fixed-point tools compute the former, floating-point executors the latter.
//!
//! Where a factor times a sum needs many more than f32's 24 digits there is no such bias.
//! [`halves`] cuts the sum in two first, `high + low` with `high` a multiple of `2^places`, and
//! multiplies both apart: two products, and their exact sum.

/// The largest sum that is still an integer in f32, and the largest constant of 24 digits.
pub(super) const MOST: i64 = 1 << 24;
/// Digits of a factor.
const DIGITS: std::ops::RangeInclusive<u32> = 10..=24;
/// How far from the nearest factor others are tried, in units of its last digit.
const NEAR: [i64; 7] = [0, 1, -1, 2, -2, 3, -3];
/// Biases of one number of binary digits that are tried.
const BIASES: i128 = 17;
/// Most digits of a bias behind the point.
const FRACTION: u32 = 22;
/// Digits behind the point of the two products of [`halves`], whose sum has 8 before it.
pub(super) const PRODUCT: u32 = 16;

/// `floor((sum num + add) / den)` in steps of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Not 0.
    pub(super) num: i64,
    pub(super) add: i128,
    /// Above 0.
    pub(super) den: i128,
}

/// Ends of a range, both in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ends {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// `(sum + bias 2^-fraction) factor 2^-shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) factor: i64,
    pub(super) shift: u32,
    pub(super) bias: i64,
    pub(super) fraction: u32,
}

/// A sum, its sign turned where the factor is negative, whose result is at least `result`, or
/// less.
struct Edge {
    sum: i64,
    result: i64,
    is_above: bool,
}

impl Step {
    /// What must hold of the sums `sums` so that every result of `results` begins where it does.
    fn edges(&self, sums: Ends, results: Ends) -> Vec<Edge> {
        let sums = match self.num < 0 {
            true => Ends {
                low: -sums.high,
                high: -sums.low,
            },
            false => sums,
        };
        let num = i128::from(self.num.unsigned_abs());
        let mut edges = Vec::new();
        for result in results.low..=results.high {
            // The first sum with this result.
            let first = -(self.add - i128::from(result) * self.den).div_euclid(num);
            let mut edge = |sum: i128, is_above| {
                let sum = sum as i64; // within `sums`
                edges.push(Edge {
                    sum,
                    result,
                    is_above,
                });
            };
            let (low, high) = (i128::from(sums.low), i128::from(sums.high));
            if first <= high {
                edge(first.max(low), true);
            }
            if first > low {
                edge((first - 1).min(high), false);
            }
        }
        edges
    }

    /// The factors that come into question, `(factor, shift)`: the step's own, then nearby ones of
    /// few digits.
    fn factors(&self) -> Vec<(i64, u32)> {
        let num = i128::from(self.num.unsigned_abs());
        let mut found = Vec::new();
        if self.den.count_ones() == 1 {
            let places = self.den.trailing_zeros();
            let even = num.trailing_zeros().min(places);
            found.push(((num >> even) as i64, places - even));
        }
        let size = (num as f64 / self.den as f64).log2().floor() as i32;
        for digits in DIGITS {
            let shift = (digits as i32 - 1 - size).clamp(0, 62) as u32;
            let nearest = ((num << shift) + self.den / 2) / self.den;
            found.extend(NEAR.iter().map(|near| (nearest as i64 + near, shift)));
        }
        found.retain(|&(factor, shift)| factor > 0 && factor < MOST && shift <= 62);
        found
    }
}

/// The numerators, over `factor`, of the biases that put all edges in their places: from the first
/// to below the second.
fn biases(edges: &[Edge], factor: i64, shift: u32) -> Option<(i128, i128)> {
    let factor = i128::from(factor);
    let of = |edge: &Edge| (i128::from(edge.result) << shift) - i128::from(edge.sum) * factor;
    let low = edges.iter().filter(|edge| edge.is_above).map(of).max();
    let high = edges.iter().filter(|edge| !edge.is_above).map(of).min();
    let (low, high) = match (low, high) {
        (Some(low), Some(high)) => (low, high),
        (Some(low), None) => (low, low + factor),
        (None, Some(high)) => (high - factor, high),
        (None, None) => (0, factor),
    };
    (low < high).then_some((low, high))
}

/// Biases of the interval, `(bias, fraction)`, those of few digits first and of these the middle
/// ones.
fn candidates(low: i128, high: i128, factor: i64) -> impl Iterator<Item = (i64, u32)> {
    let factor = i128::from(factor);
    (0..=FRACTION).flat_map(move |fraction| {
        let up = |numerator: i128| -(-(numerator << fraction)).div_euclid(factor);
        let (first, last) = (up(low), up(high) - 1);
        let count = (last - first + 1).clamp(0, BIASES);
        let near = (0..count).map(move |index| {
            let away = (index + 1) / 2 * if index % 2 == 0 { 1 } else { -1 };
            let room = (last - first) / 2;
            // Spread over the interval where it has more than these.
            first + room + away * (2 * room / BIASES).max(1)
        });
        let inside = near.filter(move |bias| (first..=last).contains(bias));
        inside.map(move |bias| (bias as i64, fraction))
    })
}

/// `2^exponent`.
pub(super) fn power(exponent: i32) -> f32 {
    (exponent as f32).exp2()
}

/// The line of `step` for sums of `sums`, where results of `results` and those beyond are told
/// apart; `None` where f32 has none.
pub(super) fn line(step: &Step, sums: Ends, results: Ends) -> Option<Line> {
    let sign = step.num.signum();
    let edges = step.edges(sums, results);
    for (factor, shift) in step.factors() {
        let Some((low, high)) = biases(&edges, factor, shift) else {
            continue;
        };
        let slope = factor as f32 * power(-(shift as i32));
        let of_f32 = |&(bias, _): &(i64, u32)| bias.abs() < MOST;
        for (bias, fraction) in candidates(low, high, factor).filter(of_f32) {
            // The signs of sum, bias and factor turn together: the product is the same.
            let b = bias as f32 * power(-(fraction as i32));
            let is_right = |edge: &Edge| {
                let result = ((edge.sum as f32 + b) * slope).floor();
                (result >= edge.result as f32) == edge.is_above
            };
            if edges.iter().all(is_right) {
                return Some(Line {
                    factor: sign * factor,
                    shift,
                    bias: sign * bias,
                    fraction,
                });
            }
        }
    }
    None
}

/// The lines of a layer's channels whose sums are cut in two.
#[derive(Debug)]
pub(super) struct Halves {
    /// `high` is a multiple of `2^places`.
    pub(super) places: u32,
    /// The integer part of a bias is added before the cut, the rest to `low`.
    pub(super) lines: Vec<Line>,
}

/// `high factor + floor(low factor)`, the floor at `2^-PRODUCT`, with the same staircase for every
/// channel; `None` where f32 has none.
pub(super) fn halves(steps: &[(Step, Ends)], results: Ends) -> Option<Halves> {
    let edges = steps.iter().map(|(step, sums)| step.edges(*sums, results));
    let edges: Vec<Vec<Edge>> = edges.collect();
    (0..20).find_map(|places| {
        let lines = steps.iter().zip(&edges).map(|((step, _), edges)| {
            let &(factor, shift) = step.factors().first()?;
            let (low, high) = biases(edges, factor, shift)?;
            let line = |(bias, fraction): (i64, u32)| Line {
                factor: step.num.signum() * factor,
                shift,
                bias: step.num.signum() * bias,
                fraction,
            };
            let is_right = |line: &Line| {
                edges
                    .iter()
                    .all(|edge| line.is_right_in_halves(edge, places))
            };
            candidates(low, high, factor).map(line).find(is_right)
        });
        let lines = lines.collect::<Option<Vec<Line>>>()?;
        Some(Halves { places, lines })
    })
}

impl Line {
    /// The integer part of the bias.
    pub(super) fn whole(&self) -> i64 {
        self.bias >> self.fraction
    }

    /// What is left of it, in its last digits.
    pub(super) fn rest(&self) -> i64 {
        self.bias - (self.whole() << self.fraction)
    }

    /// Whether the edge is in its place, and both products and their sum are exact but for the
    /// floor.
    fn is_right_in_halves(&self, edge: &Edge, places: u32) -> bool {
        let sum = self.factor.signum() * edge.sum + self.whole();
        let high = sum >> places;
        if (high * self.factor).abs() >= MOST || sum.abs() >= MOST {
            return false;
        }
        let grid = power(PRODUCT as i32);
        let floor = |number: f32| (number * grid).floor() / grid;
        let slope = self.factor as f32 * power(-(self.shift as i32));
        let low =
            (sum - (high << places)) as f32 + self.rest() as f32 * power(-(self.fraction as i32));
        let product = (high << places) as f32 * slope;
        let result = product + floor(low * slope);
        let exact = (high << places) as f64 * f64::from(slope) + f64::from(floor(low * slope));
        let is_exact =
            f64::from(floor(product)) == f64::from(product) && f64::from(result) == exact;
        is_exact && (result.floor() >= edge.result as f32) == edge.is_above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums that a layer of 3-bit weights makes, and the results of 8 bits.
    const SUMS: Ends = Ends {
        low: -30_000,
        high: 40_000,
    };
    const RESULTS: Ends = Ends { low: 1, high: 255 };

    fn step(num: i64, places: u32, bias: i64) -> Step {
        Step {
            num,
            add: i128::from(bias * num) + (1 << (places - 1)),
            den: 1 << places,
        }
    }

    /// The runtime's result.
    fn result(step: &Step, sum: i64) -> i64 {
        let floor = (i128::from(sum) * i128::from(step.num) + step.add).div_euclid(step.den);
        floor.clamp(i128::from(RESULTS.low) - 1, RESULTS.high.into()) as i64
    }

    #[test]
    fn a_line_has_the_runtimes_result_for_every_sum_in_f32_and_in_fixed_point() {
        let steps = [
            step(777, 15, 900),
            step(-1157, 15, -12_000),
            step(10_231, 20, 77),
            step(43, 9, -5),
            step(1, 8, 3),
            // The mean of 49 pixels, doubled: no power of two.
            Step {
                num: 2,
                add: 24,
                den: 49,
            },
        ];
        for step in &steps {
            let line = line(step, SUMS, RESULTS).expect("a line");
            assert_eq!(line.factor.signum(), step.num.signum());
            let slope = line.factor as f32 * power(-(line.shift as i32));
            let bias = line.bias as f32 * power(-(line.fraction as i32));
            for sum in SUMS.low..=SUMS.high {
                let expected = result(step, sum);
                let floor = ((sum as f32 + bias) * slope).floor();
                assert_eq!(floor.clamp(0.0, 255.0) as i64, expected, "{step:?}: {sum}");
                let exact = ((i128::from(sum) << line.fraction) + i128::from(line.bias))
                    * i128::from(line.factor);
                let floor = exact >> (line.shift + line.fraction);
                assert_eq!(floor.clamp(0, 255) as i64, expected, "{step:?}: {sum}");
            }
        }
    }

    #[test]
    fn a_line_of_few_digits_is_the_factor_itself() {
        // Half a step a unit, from 3 on.
        let line = line(&step(1, 1, 2), SUMS, RESULTS).expect("a line");
        assert_eq!((line.factor, line.shift), (1, 1));
        assert_eq!(line.bias, 3 << line.fraction);
    }

    #[test]
    fn what_f32_cannot_tell_apart_is_cut_in_two() {
        let sums = Ends {
            low: -4_000_000,
            high: 4_000_000,
        };
        let wide = step(1001, 20, 75_438);
        assert_eq!(line(&wide, sums, RESULTS), None);
        let halves = halves(&[(wide, sums)], RESULTS).expect("halves");
        let (line, places) = (halves.lines[0], halves.places);
        let slope = line.factor as f32 * power(-(line.shift as i32));
        let rest = line.rest() as f32 * power(-(line.fraction as i32));
        let grid = power(PRODUCT as i32);
        // Around and far from the edges.
        for sum in (-100_000..400_000).chain((sums.low..sums.high).step_by(997)) {
            let all = sum + line.whole();
            let high = (all >> places) << places;
            let low = (((all - high) as f32 + rest) * slope * grid).floor() / grid;
            let floor = (high as f32 * slope + low).floor();
            assert_eq!(floor.clamp(0.0, 255.0) as i64, result(&wide, sum), "{sum}");
        }
    }
}
