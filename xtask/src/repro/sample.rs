//! What the seeds of a row come to, and what may be said about two rows.

use std::cmp::Ordering;
use std::fmt::Write as _;

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

/// Seeds that a claim about a difference needs on both sides.
pub(super) const SEEDS_OF_A_CLAIM: usize = 3;

/// One figure of each seed of a row, in %.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
    /// The seed of each value.
    pub(super) of_seed: Vec<u64>,
    /// Seeds that diverged and have none.
    pub(super) lost: usize,
}

impl Sample {
    /// Those that diverged included.
    pub(super) fn seeds(&self) -> usize {
        self.values.len() + self.lost
    }

    /// How it stands to another: greater or less where three seeds of each do not overlap, equal where they do; nothing
    /// with fewer.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        let few = self.seeds().min(other.seeds());
        (few >= SEEDS_OF_A_CLAIM).then(|| {
            let (above, below) = (self.is_above(other), other.is_above(self));
            above.cmp(&below)
        })
    }

    /// Whether its every seed is above every seed of the other; one that diverged is below all that did not.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        self.range().0 > other.range().1
    }

    /// What it has more than another, seed by seed, where both have one.
    fn pairs(&self, other: &Self) -> Vec<f64> {
        let of = |sample: &Self, seed: u64| {
            let at = sample.of_seed.iter().position(|s| *s == seed)?;
            sample.values.get(at).copied()
        };
        let each = |seed: &u64| Some(of(self, *seed)? - of(other, *seed)?);
        self.of_seed.iter().filter_map(each).collect()
    }

    fn range(&self) -> (f64, f64) {
        let (least, most) = range(&self.values);
        match (self.lost, self.values.len()) {
            (0, _) => (least, most),
            (_, 0) => (f64::NEG_INFINITY, f64::NEG_INFINITY),
            _ => (f64::NEG_INFINITY, most),
        }
    }

    fn say(&self) -> String {
        let of = format!("diverged in {} of {} seeds", self.lost, self.seeds());
        match (self.lost, self.values.len()) {
            (0, 0) => format!("{} (not run yet)", self.name),
            (0, _) => format!("{} {}", self.name, spread(&self.values)),
            (_, 0) => format!("{}, which {of},", self.name),
            _ => format!("{} {}, which {of},", self.name, spread(&self.values)),
        }
    }
}

/// What may be said about two samples, as a clause: a difference is claimed where three seeds of each do not
/// overlap. `words` say what more and what less of it is.
pub(super) fn comparison_of(a: &Sample, b: &Sample, [more, less]: [&str; 2]) -> String {
    let few = a.seeds().min(b.seeds());
    let mut said = format!("{} against {}", a.say(), b.say());
    if few == 0 {
        return said;
    }
    if !a.values.is_empty() && !b.values.is_empty() {
        let _ = write!(said, ", {:+.2} points", mean(&a.values) - mean(&b.values));
    }
    let name = &a.name;
    match a.order(b) {
        None => format!("{said}; n = {few}: no claim about a difference"),
        Some(Ordering::Greater) => {
            format!("{said}: {name} {more}, its lowest seed above the other's highest")
        }
        Some(Ordering::Less) => {
            format!("{said}: {name} {less}, its highest seed below the other's lowest")
        }
        Some(Ordering::Equal) => {
            let pairs = a.pairs(b);
            let (least, most) = range(&pairs);
            let each = match pairs.len() {
                0 => String::new(),
                n => format!("; seed by seed it is {least:+.2} .. {most:+.2} in {n} pairs"),
            };
            format!("{said}: the ranges overlap, no difference is claimed{each}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_claimed_of_three_seeds_apart() {
        let sample = |name: &str, values: &[f64], lost| Sample {
            name: name.to_owned(),
            values: values.to_vec(),
            of_seed: (1..).take(values.len()).collect(),
            lost,
        };
        let say = |a: &[f64], lost, b: &[f64]| {
            let words = ["is better", "is worse"];
            comparison_of(&sample("A", a, lost), &sample("B", b, 0), words)
        };
        let (high, low) = ([80.0, 81.0, 82.0], [78.0, 79.0, 79.5]);
        assert!(
            say(&high, 0, &low)
                .ends_with("+2.17 points: A is better, its lowest seed above the other's highest")
        );
        assert!(
            say(&low, 0, &high)
                .ends_with("-2.17 points: A is worse, its highest seed below the other's lowest")
        );
        // Overlapping ranges, and yet each seed is better.
        assert!(
            say(&high, 0, &[79.0, 80.5, 78.0]).ends_with(
                "no difference is claimed; seed by seed it is +0.50 .. +4.00 in 3 pairs"
            )
        );
        assert!(say(&high, 0, &low[..2]).ends_with("n = 2: no claim about a difference"));
        // What diverged is no better than anything, and worse than all that did not.
        assert!(say(&high[..2], 1, &low).contains("no difference is claimed; seed by seed"));
        assert_eq!(
            say(&[], 3, &low),
            "A, which diverged in 3 of 3 seeds, against B 78.83 % (78.00 .. 79.50): A is worse, its highest seed below the other's lowest"
        );
        assert!(say(&[], 0, &low).starts_with("A (not run yet) against B"));
    }

    #[test]
    fn a_spread_has_its_ends_where_there_are_several() {
        assert_eq!(spread(&[]), "-");
        assert_eq!(spread(&[81.256]), "81.26 %");
        assert_eq!(spread(&[50.0, 52.0]), "51.00 % (50.00 .. 52.00)");
        assert_eq!(spread_of(&[1.0, 2.0], 1), "1.5 (1.0 .. 2.0)");
    }
}
