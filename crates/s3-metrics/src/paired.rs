//! What the seeds of two configurations say of each other: paired differences, their t interval,
//! and the words that follow from it.
//!
//! Runs of one seed see the same images in the same order, so that much of what a seed does is in
//! both and drops out of their difference. Of the differences `d_1 .. d_n`, one a seed,
//!
//! ```text
//! interval = mean ± t s / √n,   s² = Σ (d_i - mean)² / (n - 1),   P(|T_{n-1}| < t) = 95 %
//! ```
//!
//! ```
//! use s3_metrics::paired::{MARGIN, Sample};
//! let sample = |name: &str, top1: [f64; 3]| Sample {
//!     name: name.to_owned(),
//!     of_seed: (1..).zip(top1).collect(),
//!     lost: 0,
//! };
//! // The seeds overlap, and yet each is about two points better.
//! let difference = sample("a", [80.0, 81.0, 82.0]).less(&sample("b", [78.1, 78.9, 80.0]));
//! let said = "a less b: +2.00 points, interval +1.75 .. +2.25 of 3 pairs: ahead";
//! assert_eq!(difference.say(MARGIN), said);
//! ```

use std::fmt;

/// The share of intervals that hold the true mean.
const CONFIDENCE: f64 = 0.95;
/// Two accuracies that differ by less than this many points are equal for our purposes.
pub const MARGIN: f64 = 1.0;

/// The mean of differences and its 95 % t interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Of the differences.
    pub mean: f64,
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How many differences there are.
    pub n: usize,
}

impl Interval {
    /// `None` of fewer than two: one has no spread.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let n = differences.len();
        if n < 2 {
            return None;
        }
        let mean = mean(differences);
        let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
        let error = (squares / (n - 1) as f64 / n as f64).sqrt();
        let half = quantile(n as u32 - 1) * error;
        Some(Self {
            mean,
            low: mean - half,
            high: mean + half,
            n,
        })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.2} .. {:+.2}", self.low, self.high)
    }
}

/// What an interval says of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: there is no interval.
    None,
    /// Above 0.
    Above {
        /// Whether it is inside the margin, too.
        within: bool,
    },
    /// Below 0.
    Below {
        /// Whether it is inside the margin, too.
        within: bool,
    },
    /// About 0: inside the margin on both sides.
    Equal,
    /// It holds 0 and more than the margin.
    Open,
}

/// The one place where an interval becomes a verdict. A margin of 0 asks for the sign alone.
#[must_use]
pub fn verdict(interval: Option<&Interval>, margin: f64) -> Verdict {
    let Some(i) = interval else {
        return Verdict::None;
    };
    let within = -margin < i.low && i.high < margin;
    match (i.low > 0.0, i.high < 0.0, within) {
        (true, _, within) => Verdict::Above { within },
        (_, true, within) => Verdict::Below { within },
        (_, _, true) => Verdict::Equal,
        _ => Verdict::Open,
    }
}

impl Verdict {
    /// Of the row that something was taken from.
    pub fn of_rows(self) -> String {
        let less = |within| {
            if within {
                ", by less than the margin"
            } else {
                ""
            }
        };
        match self {
            Self::None => "no claim".to_owned(),
            Self::Above { within } => format!("ahead{}", less(within)),
            Self::Below { within } => format!("behind{}", less(within)),
            Self::Equal => format!("equal within {MARGIN} point"),
            Self::Open => "no difference seen".to_owned(),
        }
    }

    /// Of a claim that holds where a number is above 0.
    pub fn of_claim(self) -> &'static str {
        match self {
            Self::None => "no claim of one seed",
            Self::Above { .. } => "**holds**",
            Self::Below { .. } => "**is contradicted**",
            Self::Equal | Self::Open => "**is open**",
        }
    }
}

/// The mean of at least one value.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The smallest and the largest of values; infinite ends of none.
pub fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let wider = |(low, high): (f64, f64), v: f64| (low.min(v), high.max(v));
    values.into_iter().fold(ends, wider)
}

/// `81.26 %`, or `81.26 % (80.90 .. 81.60)` of several.
#[must_use]
pub fn spread(values: &[f64]) -> String {
    spread_in(values, 2, " %")
}

/// The same without a unit, to `digits` after the point.
#[must_use]
pub fn spread_of(values: &[f64], digits: usize) -> String {
    spread_in(values, digits, "")
}

fn spread_in(values: &[f64], digits: usize, unit: &str) -> String {
    let (mean, (least, most)) = (mean(values), range(values.iter().copied()));
    match values.len() {
        0 => "-".to_owned(),
        1 => format!("{mean:.digits$}{unit}"),
        _ => format!("{mean:.digits$}{unit} ({least:.digits$} .. {most:.digits$})"),
    }
}

/// One figure of each seed of a row.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The row's.
    pub name: String,
    /// Each seed with its figure.
    pub of_seed: Vec<(u64, f64)>,
    /// Seeds that diverged and have none.
    pub lost: usize,
}

impl Sample {
    /// The figures, in the order of the seeds.
    pub fn values(&self) -> Vec<f64> {
        self.of_seed.iter().map(|s| s.1).collect()
    }

    /// Those that diverged included.
    pub fn seeds(&self) -> usize {
        self.of_seed.len() + self.lost
    }

    /// This less another, seed by seed, where both have one.
    pub fn less(&self, other: &Self) -> Difference {
        let of = |seed: u64| other.of_seed.iter().find(|s| s.0 == seed).map(|s| s.1);
        let each = |(seed, value): &(u64, f64)| Some(value - of(*seed)?);
        let diverged = |s: &Self| {
            (s.lost > 0)
                .then(|| format!("{} diverged in {} of {} seeds", s.name, s.lost, s.seeds()))
        };
        Difference {
            names: [self.name.clone(), other.name.clone()],
            pairs: self.of_seed.iter().filter_map(each).collect(),
            diverged: [self, other].into_iter().filter_map(diverged).collect(),
        }
    }
}

/// What one row has more than another in each seed that both have.
#[derive(Clone, Debug)]
pub struct Difference {
    names: [String; 2],
    /// The difference of each pair.
    pub pairs: Vec<f64>,
    /// What diverged, in words.
    diverged: Vec<String>,
}

impl Difference {
    /// Of the pairs, where no seed of either diverged: those that are left would flatter it.
    pub fn interval(&self) -> Option<Interval> {
        match self.diverged.is_empty() {
            true => Interval::of(&self.pairs),
            false => None,
        }
    }

    /// What its interval says.
    pub fn verdict(&self, margin: f64) -> Verdict {
        verdict(self.interval().as_ref(), margin)
    }

    /// `+0.40 (-0.52 .. +1.32)`, `+0.40` of one pair, `-` of none.
    pub fn cell(&self) -> String {
        match (self.interval(), self.pairs.is_empty()) {
            (Some(i), _) => format!("{:+.2} ({i})", i.mean),
            (None, false) => format!("{:+.2}", mean(&self.pairs)),
            (None, true) => "-".to_owned(),
        }
    }

    /// `a less b: +0.40 points, interval -0.52 .. +1.32 of 3 pairs: no difference seen`.
    pub fn say(&self, margin: f64) -> String {
        let [a, b] = &self.names;
        let n = self.pairs.len();
        let mut said = format!("{a} less {b}: ");
        said += &match (self.interval(), n) {
            (_, 0) => "no seed of both has finished".to_owned(),
            (Some(i), _) => format!("{:+.2} points, interval {i} of {n} pairs", i.mean),
            (None, 1) => format!("{:+.2} points, n = 1", mean(&self.pairs)),
            (None, _) => format!("{:+.2} points in {n} pairs", mean(&self.pairs)),
        };
        for words in &self.diverged {
            said += &format!("; {words}");
        }
        format!("{said}: {}", self.verdict(margin).of_rows())
    }
}

/// The t with [`CONFIDENCE`] of Student's distribution between -t and t, by halving.
fn quantile(degrees: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1e3);
    while high - low > 1e-12 * high {
        let middle = 0.5 * (low + high);
        match within(middle, degrees) < CONFIDENCE {
            true => low = middle,
            false => high = middle,
        }
        if middle == low && middle == high {
            break;
        }
    }
    0.5 * (low + high)
}

/// The share of Student's distribution between -t and t: the finite sums of Abramowitz and Stegun,
/// 26.7.3 for an odd number of degrees of freedom and 26.7.4 for an even one.
fn within(t: f64, degrees: u32) -> f64 {
    let angle = (t / f64::from(degrees).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = degrees % 2;
    let (mut term, mut sum) = (if odd == 1 { cos } else { 1.0 }, 0.0);
    for k in 0..degrees / 2 {
        sum += term;
        term *= cos * cos * f64::from(2 * k + 1 + odd) / f64::from(2 * k + 2 + odd);
    }
    match odd {
        1 => (angle + sin * sum) * std::f64::consts::FRAC_2_PI,
        _ => sin * sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published tables have three or four digits behind the point.
    const TABLE: f64 = 5e-4;

    #[test]
    fn quantiles_are_those_of_the_published_table() {
        for (degrees, t) in [
            (1, 12.7062),
            (2, 4.3027),
            (3, 3.1824),
            (4, 2.7764),
            (5, 2.5706),
            (8, 2.3060),
            (9, 2.2622),
            (30, 2.0423),
            (120, 1.9799),
        ] {
            assert!((quantile(degrees) - t).abs() < TABLE, "{degrees}: {t}");
        }
        // One degree is Cauchy's distribution: half of it lies within ±1.
        assert!((within(1.0, 1) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn an_interval_is_mean_and_spread_over_the_root_of_n() {
        // Mean 2, s = 1, t = 4.3027.
        let i = Interval::of(&[1.0, 2.0, 3.0]).expect("three");
        assert_eq!((i.mean, i.n), (2.0, 3));
        assert!((i.high - 2.0 - 4.3027 / 3f64.sqrt()).abs() < TABLE, "{i:?}");
        assert!((i.low + i.high - 4.0).abs() < 1e-12, "{i:?}");
        assert_eq!(Interval::of(&[1.0]), None);
        // Equal differences have no spread.
        let i = Interval::of(&[0.5, 0.5]).expect("two");
        assert_eq!((i.low, i.high), (0.5, 0.5));
    }

    #[test]
    fn the_word_follows_from_the_interval() {
        let of = |low: f64, high: f64| Interval {
            mean: 0.5 * (low + high),
            low,
            high,
            n: 3,
        };
        let said = |low, high| {
            let of_rows = verdict(Some(&of(low, high)), MARGIN).of_rows();
            let of_claim = verdict(Some(&of(low, high)), 0.0).of_claim();
            format!("{of_rows}; {of_claim}")
        };
        assert_eq!(said(0.2, 3.0), "ahead; **holds**");
        assert_eq!(said(-3.0, -0.2), "behind; **is contradicted**");
        assert_eq!(said(0.2, 0.9), "ahead, by less than the margin; **holds**");
        assert_eq!(
            said(-0.9, -0.2),
            "behind, by less than the margin; **is contradicted**"
        );
        assert_eq!(said(-0.9, 0.9), "equal within 1 point; **is open**");
        // The margin itself is no longer within it, and 0 itself is not above 0.
        assert_eq!(said(-0.9, 1.0), "no difference seen; **is open**");
        assert_eq!(said(-1.0, 0.9), "no difference seen; **is open**");
        assert_eq!(said(0.0, 3.0), "no difference seen; **is open**");
        let none = verdict(None, MARGIN);
        assert_eq!(
            (none.of_rows(), none.of_claim()),
            ("no claim".to_owned(), "no claim of one seed")
        );
    }

    fn sample(name: &str, values: &[f64], lost: usize) -> Sample {
        Sample {
            name: name.to_owned(),
            of_seed: (1..).zip(values.iter().copied()).collect(),
            lost,
        }
    }

    #[test]
    fn a_difference_is_taken_seed_by_seed() {
        let say = |a: &[f64], lost, b: &[f64]| {
            let difference = sample("A", a, lost).less(&sample("B", b, 0));
            difference.say(MARGIN)
        };
        // The seeds overlap, and yet each is about two points better.
        assert_eq!(
            say(&[80.0, 81.0, 82.0], 0, &[78.1, 78.9, 80.0]),
            "A less B: +2.00 points, interval +1.75 .. +2.25 of 3 pairs: ahead"
        );
        assert_eq!(
            say(&[78.1, 78.9, 80.0], 0, &[80.0, 81.0, 82.0]),
            "A less B: -2.00 points, interval -2.25 .. -1.75 of 3 pairs: behind"
        );
        assert_eq!(
            say(&[80.0], 0, &[78.0, 79.0]),
            "A less B: +2.00 points, n = 1: no claim"
        );
        assert_eq!(
            say(&[], 0, &[78.0]),
            "A less B: no seed of both has finished: no claim"
        );
        // What is left of a row that diverged says nothing about it.
        assert_eq!(
            say(&[80.0, 81.0], 1, &[78.0, 78.9, 80.0]),
            "A less B: +2.05 points in 2 pairs; A diverged in 1 of 3 seeds: no claim"
        );
    }

    #[test]
    fn seeds_that_only_one_row_has_make_no_pair() {
        let a = Sample {
            of_seed: vec![(2, 81.0), (3, 82.0), (7, 83.0)],
            ..sample("A", &[], 0)
        };
        let difference = a.less(&sample("B", &[70.0, 80.5, 81.5], 0));
        assert_eq!(difference.pairs, [0.5, 0.5]);
        assert_eq!(difference.cell(), "+0.50 (+0.50 .. +0.50)");
    }

    #[test]
    fn a_spread_has_its_ends_where_there_are_several() {
        assert_eq!(spread(&[]), "-");
        assert_eq!(spread(&[81.256]), "81.26 %");
        assert_eq!(spread(&[50.0, 52.0]), "51.00 % (50.00 .. 52.00)");
        assert_eq!(spread_of(&[1.0, 2.0], 1), "1.5 (1.0 .. 2.0)");
    }
}
