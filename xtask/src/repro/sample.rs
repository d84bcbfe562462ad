//! What the seeds of a row come to, and what may be said about two rows.

use super::interval::{Interval, verdict};

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn range(values: &[f64]) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    values
        .iter()
        .fold(ends, |(least, most), &v| (least.min(v), most.max(v)))
}

/// `81.26 %`, or `81.26 % (80.90 .. 81.60)` of several.
pub(super) fn spread(values: &[f64]) -> String {
    let (mean, (least, most)) = (mean(values), range(values));
    match values.len() {
        0 => "-".to_owned(),
        1 => format!("{mean:.2} %"),
        _ => format!("{mean:.2} % ({least:.2} .. {most:.2})"),
    }
}

/// The same without a unit, to `digits` after the point.
pub(super) fn spread_of(values: &[f64], digits: usize) -> String {
    let (mean, (least, most)) = (mean(values), range(values));
    match values.len() {
        0 => "-".to_owned(),
        1 => format!("{mean:.digits$}"),
        _ => format!("{mean:.digits$} ({least:.digits$} .. {most:.digits$})"),
    }
}

/// One figure of each seed of a row.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    /// Each seed with its figure.
    pub(super) of_seed: Vec<(u64, f64)>,
    /// Seeds that diverged and have none.
    pub(super) lost: usize,
}

impl Sample {
    pub(super) fn values(&self) -> Vec<f64> {
        self.of_seed.iter().map(|s| s.1).collect()
    }

    /// Those that diverged included.
    pub(super) fn seeds(&self) -> usize {
        self.of_seed.len() + self.lost
    }

    /// This less another, seed by seed, where both have one.
    pub(super) fn less(&self, other: &Self) -> Difference {
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
pub(super) struct Difference {
    names: [String; 2],
    pub(super) pairs: Vec<f64>,
    /// What diverged, in words.
    diverged: Vec<String>,
}

impl Difference {
    /// Of the pairs, where no seed of either diverged: those that are left would flatter it.
    pub(super) fn interval(&self) -> Option<Interval> {
        match self.diverged.is_empty() {
            true => Interval::of(&self.pairs),
            false => None,
        }
    }

    /// `+0.40 (-0.52 .. +1.32)`, `+0.40` of one pair, `-` of none.
    pub(super) fn cell(&self) -> String {
        match (self.interval(), self.pairs.is_empty()) {
            (Some(i), _) => format!("{:+.2} ({i})", i.mean),
            (None, false) => format!("{:+.2}", mean(&self.pairs)),
            (None, true) => "-".to_owned(),
        }
    }

    /// `a less b: +0.40 points, interval -0.52 .. +1.32 of 3 pairs: no difference seen`.
    pub(super) fn say(&self, margin: f64) -> String {
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
        format!(
            "{said}: {}",
            verdict(self.interval().as_ref(), margin).of_rows()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::interval::MARGIN;
    use super::*;

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
