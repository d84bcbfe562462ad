//! What the weight dynamics say is going wrong, in words, while there is time to turn a key.
//!
//! | what is seen between two snapshots, or at the later one | warned of |
//! | --- | --- |
//! | fewer than [`MOVING`] of a layer's signs changed, in the run's first half | they are frozen |
//! | more than [`RESTLESS`] of them changed, at the run's end | they have not settled |
//! | at least [`BLIND`] of a latent's gradients are 0, in the first half | it cannot learn |
//! | at least [`EMPTY`] of a discrete layer's weights are 0 | it hardly multiplies |
//!
//! Where [`MOVING`] lies: in docs/results/init-cifar10.jsonl the layers of the starts that train
//! well change 7 to 46 % of their signs an epoch in the first half, those of the others 3 % at
//! most. The other three are ours without such a record.
//!
//! A layer and latent is warned of once for each of these, and each of them in [`MOST`] lines at
//! most for one latent; layers and latents that one snapshot finds share a line. What was said is a
//! function of the records, so that a run that is taken up repeats nothing.

use s3_metrics::record::DynamicsRecord;
use std::collections::{BTreeMap, BTreeSet};

/// Signs that change within a snapshot's interval in a layer that learns.
pub const MOVING: f64 = 0.05;
/// Signs that change in the last interval where the end of the run leaves much undecided.
pub const RESTLESS: f64 = 0.15;
/// Gradients that are 0 in a latent that hardly any loss reaches.
pub const BLIND: f64 = 0.95;
/// Zeros in a layer that has hardly any weights left.
pub const EMPTY: f64 = 0.9;
/// Lines of one kind for one latent in a run.
pub const MOST: usize = 3;
/// Nothing is said of an interval of fewer steps.
pub const LEAST_STEPS: u64 = 100;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Its epochs.
    pub epochs: u32,
    /// Steps of each.
    pub steps_per_epoch: u64,
}

/// What is warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Frozen,
    Restless,
    Blind,
    Empty,
}

/// A layer and what of it something is said: the layer, its signs, weights or a latent, and the
/// share that is said of it.
type Found<'a> = (&'a str, &'a str, f64);

/// The lines that the last snapshot of `records` gives rise to; `records` are all of the run so
/// far, in their order.
///
/// ```
/// use s3_metrics::record::DynamicsRecord;
/// use s3_train::warnings::{self, Length};
///
/// let at = |epoch, before: Option<&[f32]>, weights: &[f32]| {
///     DynamicsRecord::of_snapshot(epoch, "conv2", "hidden", before, weights)
/// };
/// let (start, end) = ([1.0, -1.0, 1.0], [0.0, 0.0, 0.0]);
/// let records = [at(0, None, &start), at(1, Some(&start), &end)];
/// let lines = warnings::of(&records, Length { epochs: 9, steps_per_epoch: 400 });
/// assert_eq!(lines.len(), 1);
/// assert!(lines[0].starts_with("100 % of the weights of conv2 are 0 after epoch 1: "));
/// ```
#[must_use]
pub fn of(records: &[DynamicsRecord], length: Length) -> Vec<String> {
    let last = records.last().map(|r| r.epoch);
    let all = all(records, length).into_iter();
    all.filter(|&(epoch, _)| Some(epoch) == last)
        .map(|(_, line)| line)
        .collect()
}

/// Every line of a run so far, with the epoch after which it was said.
#[must_use]
pub fn all(records: &[DynamicsRecord], length: Length) -> Vec<(u32, String)> {
    let mut snapshots: BTreeMap<u32, Vec<&DynamicsRecord>> = BTreeMap::new();
    for record in records {
        snapshots.entry(record.epoch).or_default().push(record);
    }
    let (mut said, mut lines) = (BTreeSet::new(), Vec::new());
    let mut told: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    let epochs: Vec<u32> = snapshots.keys().copied().collect();
    for pair in epochs.windows(2) {
        let (since, epoch) = (pair[0], pair[1]);
        if u64::from(epoch - since) * length.steps_per_epoch < LEAST_STEPS {
            continue;
        }
        let mut groups: BTreeMap<Kind, Vec<Found<'_>>> = BTreeMap::new();
        for &record in &snapshots[&epoch] {
            for (kind, of, share) in findings(record, length) {
                if said.insert((kind, of, record.layer.as_str())) {
                    let group = groups.entry(kind).or_default();
                    group.push((&record.layer, of, share));
                }
            }
        }
        for (kind, mut found) in groups {
            found.retain(|(_, of, _)| told.get(&(kind, *of)).is_none_or(|&lines| lines < MOST));
            let parts: BTreeSet<&str> = found.iter().map(|(_, of, _)| *of).collect();
            for &of in &parts {
                *told.entry((kind, of)).or_default() += 1;
            }
            if !parts.is_empty() {
                lines.push((epoch, kind.line(&found, since, epoch)));
            }
        }
    }
    lines
}

/// What a record shows: of which latent, or of the weights, and of which share of it.
fn findings(record: &DynamicsRecord, length: Length) -> Vec<(Kind, &str, f64)> {
    let is_early = 2 * u64::from(record.epoch) <= u64::from(length.epochs);
    let mut found = Vec::new();
    match record.wsvr_latent {
        Some(moved) if is_early && moved < MOVING => {
            found.push((Kind::Frozen, "signs", 1.0 - moved));
        }
        Some(moved) if record.epoch == length.epochs && moved > RESTLESS => {
            found.push((Kind::Restless, "signs", moved));
        }
        _ => {}
    }
    for latent in record.latents.iter().filter(|_| is_early) {
        let zeros = latent.gradient.map_or(0.0, |g| g.zero_share);
        if zeros >= BLIND {
            found.push((Kind::Blind, &latent.name, zeros));
        }
    }
    let zeros = record.zeros as f64 / record.weights.max(1) as f64;
    if !record.levels.is_empty() && zeros >= EMPTY {
        found.push((Kind::Empty, "weights", zeros));
    }
    found
}

impl Kind {
    /// What is seen, and which key to turn.
    fn line(self, found: &[Found<'_>], since: u32, epoch: u32) -> String {
        let least = found.iter().map(|f| f.2).fold(1.0, f64::min);
        // Rounded down: 99.9 % are not all.
        let percent = (100.0 * least + 1e-9).floor();
        let more = if found.len() > 1 { " or more" } else { "" };
        let mut parts: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
        for &(layer, of, share) in found {
            parts.entry(of).or_default().push((layer, share));
        }
        let place = |(of, layers): (&&str, &Vec<(&str, f64)>)| {
            let most = layers.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let layer = most.map_or("", |most| most.0);
            match layers.len() {
                1 => format!("{of} of {layer}"),
                n => format!("{of} of {n} layers, {layer} most of all,"),
            }
        };
        let what: Vec<String> = parts.iter().map(place).collect();
        let what = what.join(" and ");
        let share = format!("{percent} %{more} of the");
        match self {
            Self::Frozen => format!(
                "{share} {what} have not moved since epoch {since}: a larger lr, latents \
                 that start nearer to 0 (method.init, where the method has it) or \
                 optimizer.flips.target turn more of them"
            ),
            Self::Restless => format!(
                "{share} {what} still changed after epoch {since}: more epochs, or a rate \
                 that ends at 0 (lr, optimizer.flips.target), let them settle"
            ),
            Self::Blind => format!(
                "{share} gradients of {what} are exactly 0 after epoch {epoch}: what \
                 decides it is hidden behind zero weights or closed gates; \
                 method.closed_gradient, where the method has it, lets a share through"
            ),
            Self::Empty => format!(
                "{share} {what} are 0 after epoch {epoch}: alpha, where the method has \
                 it, pushes them away from 0"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3_metrics::gradient::GradientRecord;
    use s3_metrics::record::LatentRecord;

    const LENGTH: Length = Length {
        epochs: 10,
        steps_per_epoch: 351,
    };

    /// A layer of 1000 ternary weights, `zeros` of them 0, of whose signs `moved` have changed.
    fn record(epoch: u32, layer: &str, moved: f64, zeros: usize) -> DynamicsRecord {
        let weights: Vec<f32> = (0..1000)
            .map(|i| if i < zeros { 0.0 } else { 1.0 })
            .collect();
        let mut record = DynamicsRecord::of_snapshot(epoch, layer, "hidden", None, &weights);
        record.wsvr_latent = (epoch > 0).then_some(moved);
        record
    }

    fn with_gradient(mut record: DynamicsRecord, latent: &str, zero_share: f64) -> DynamicsRecord {
        let gradient = GradientRecord {
            norm: 1.0,
            zero_share,
            not_finite: 0,
        };
        let of = LatentRecord::of_snapshot(latent, None, &[1.0], Some(gradient));
        record.latents.push(of);
        record
    }

    #[test]
    fn a_layer_is_said_to_be_frozen_once_with_its_share_and_the_epoch() {
        let mut records = vec![record(0, "a", 0.0, 0), record(0, "b", 0.0, 0)];
        assert_eq!(of(&records, LENGTH), Vec::<String>::new());
        for (epoch, a, b) in [(2, 0.4, 0.6), (3, 0.0249, 0.3), (4, 0.02, 0.01)] {
            records.extend([record(epoch, "a", a, 0), record(epoch, "b", b, 0)]);
            let lines = of(&records, LENGTH);
            let start = match epoch {
                3 => "97 % of the signs of a have not moved since epoch 2: ",
                4 => "99 % of the signs of b have not moved since epoch 3: ",
                _ => "",
            };
            assert_eq!(lines.len(), usize::from(epoch > 2), "{lines:?}");
            assert!(lines.iter().all(|l| l.starts_with(start)), "{lines:?}");
        }
        assert_eq!(all(&records, LENGTH).len(), 2);
        assert_eq!(all(&records, LENGTH)[1].0, 4);
    }

    #[test]
    fn layers_of_one_snapshot_share_a_line_and_three_lines_are_all() {
        let names: Vec<String> = (0..18).map(|i| format!("layer{i}")).collect();
        let at = |epoch, moved: &dyn Fn(usize) -> f64| -> Vec<DynamicsRecord> {
            let layer = |(i, name): (usize, &String)| record(epoch, name, moved(i), 0);
            names.iter().enumerate().map(layer).collect()
        };
        let still = |i: usize| 0.03 - 0.001 * i as f64;
        let records = [at(0, &|_| 0.0), at(1, &still)].concat();
        let lines = of(&records, LENGTH);
        assert_eq!(lines.len(), 1);
        let start = "97 % or more of the signs of 18 layers, layer17 most of all, have not moved \
                     since epoch 0: ";
        assert!(lines[0].starts_with(start), "{}", lines[0]);
        // One more layer an epoch: the fourth and the fifth are not said.
        let one = |epoch: u32| at(epoch, &|i| if i < epoch as usize { 0.0 } else { 0.5 });
        let records: Vec<_> = (0..=5).flat_map(one).collect();
        assert_eq!(all(&records, LENGTH).len(), MOST);
    }

    #[test]
    fn latents_of_one_snapshot_share_a_line() {
        let blind = |layer, shares: [f64; 2]| {
            let first = with_gradient(record(1, layer, 0.3, 0), "w_1", shares[0]);
            with_gradient(first, "w_2", shares[1])
        };
        let before = [record(0, "a", 0.0, 0), record(0, "b", 0.0, 0)];
        let of_one = [
            &before[..],
            &[blind("a", [0.99, 0.97]), blind("b", [0.5, 0.5])],
        ]
        .concat();
        let lines = of(&of_one, LENGTH);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let words = "97 % or more of the gradients of w_1 of a and w_2 of a are exactly 0 after ";
        assert!(lines[0].starts_with(words), "{}", lines[0]);
        let of_two = [
            &before[..],
            &[blind("a", [0.99, 0.97]), blind("b", [1.0, 0.5])],
        ]
        .concat();
        let lines = of(&of_two, LENGTH);
        let words =
            "97 % or more of the gradients of w_1 of 2 layers, b most of all, and w_2 of a ";
        assert!(lines.len() == 1 && lines[0].starts_with(words), "{lines:?}");
    }

    #[test]
    fn late_intervals_short_ones_and_signs_that_move_are_not_said() {
        let frozen = |epoch| [record(0, "a", 0.0, 0), record(epoch, "a", 0.0, 0)];
        assert_eq!(of(&frozen(5), LENGTH).len(), 1);
        assert_eq!(of(&frozen(6), LENGTH).len(), 0);
        let short = Length {
            steps_per_epoch: 19,
            ..LENGTH
        };
        assert_eq!(of(&frozen(5), short).len(), 0);
        let moving = [record(0, "a", 0.0, 0), record(1, "a", MOVING, 0)];
        assert_eq!(of(&moving, LENGTH).len(), 0);
        let mut plain = frozen(5);
        plain[1].wsvr_latent = None;
        assert_eq!(of(&plain, LENGTH).len(), 0);
    }

    #[test]
    fn blind_latents_empty_layers_and_restless_ends_are_said() {
        let start = record(0, "a", 0.0, 0);
        for (record, words) in [
            (
                with_gradient(record(1, "a", 0.3, 0), "w_1", 0.985),
                "98 % of the gradients of w_1 of a are exactly 0 after epoch 1: ",
            ),
            (
                record(1, "a", 0.3, 930),
                "93 % of the weights of a are 0 after epoch 1: ",
            ),
            (
                record(10, "a", 0.16, 0),
                "16 % of the signs of a still changed after epoch 0: ",
            ),
        ] {
            let lines = of(&[start.clone(), record], LENGTH);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(words), "{}", lines[0]);
        }
        for quiet in [
            with_gradient(record(1, "a", 0.3, 899), "w_1", 0.94),
            with_gradient(record(6, "a", 0.3, 0), "w_1", 1.0),
            record(10, "a", 0.15, 0),
        ] {
            assert_eq!(of(&[start.clone(), quiet], LENGTH), Vec::<String>::new());
        }
    }
}
