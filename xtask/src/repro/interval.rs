//! What differences between seeds say: their mean, its t interval, and the words that follow from
//! it.
//!
//! Rows of one seed see the same images in the same order, so that much of what a seed does is in
//! both and drops out of their difference. Of the differences `d_1 .. d_n`, one a seed,
//!
//! ```text
//! interval = mean ± t s / √n,   s² = Σ (d_i - mean)² / (n - 1),   P(|T_{n-1}| < t) = 95 %
//! ```

use std::fmt;

/// The share of intervals that hold the true mean.
const CONFIDENCE: f64 = 0.95;
/// Two accuracies that differ by less than this many points are equal for our purposes.
pub(super) const MARGIN: f64 = 1.0;

/// The mean of differences and its 95 % t interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) n: usize,
}

impl Interval {
    /// `None` of fewer than two: one has no spread.
    pub(super) fn of(differences: &[f64]) -> Option<Self> {
        let n = differences.len();
        if n < 2 {
            return None;
        }
        let mean = differences.iter().sum::<f64>() / n as f64;
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
pub(super) enum Verdict {
    /// Nothing: there is no interval.
    None,
    /// Above 0; `within` where it is below the margin, too.
    Above { within: bool },
    /// Below 0.
    Below { within: bool },
    /// About 0: inside the margin on both sides.
    Equal,
    /// It holds 0 and more than the margin.
    Open,
}

/// The one place where an interval becomes a verdict. A margin of 0 asks for the sign alone.
pub(super) fn verdict(interval: Option<&Interval>, margin: f64) -> Verdict {
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
    pub(super) fn of_rows(self) -> String {
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
    pub(super) fn of_claim(self) -> &'static str {
        match self {
            Self::None => "no claim of one seed",
            Self::Above { .. } => "**holds**",
            Self::Below { .. } => "**is contradicted**",
            Self::Equal | Self::Open => "**is open**",
        }
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
}
