//! The plots of a page, each in both themes, from the records of runs.

use super::groups::Groups;
use super::run::Run;
use crate::run::dynamics::by_layer;
use s3_metrics::density::Density;
use s3_metrics::plot::{
    Axis, Curve, Labels, Plot, PlotError, Runs, Style, Theme, densities, layer_curves,
    level_occupancy, seed_bands,
};
use s3_metrics::record::{DynamicsRecord, EpochRecord, LatentRecord};
use std::collections::{BTreeMap, BTreeSet};

/// A plot on light and on dark, or why there is none.
pub(super) type InBoth = Result<[Plot; 2], String>;

/// Draws a plot in both themes.
pub(super) fn plot(draw: impl Fn(&Style) -> Result<Plot, PlotError>) -> InBoth {
    let one = |theme| draw(&Style::new(theme)).map_err(|e| e.to_string());
    Ok([one(Theme::Light)?, one(Theme::Dark)?])
}

/// What an epoch's line says.
#[derive(Clone, Copy)]
pub(super) enum OverEpochs {
    TestTop1,
    TrainLoss,
    Zeros,
}

pub(super) const OVER_EPOCHS: &[(OverEpochs, &str)] = &[
    (OverEpochs::TestTop1, "Test top-1 after each epoch"),
    (
        OverEpochs::TrainLoss,
        "Training loss of each epoch, without the penalty",
    ),
    (OverEpochs::Zeros, "Zero weights of the discrete layers"),
];

/// One curve a configuration, with the band of its seeds; a seed that is there twice counts once.
pub(super) fn over_epochs(
    runs: &[Run],
    groups: &Groups,
    what: OverEpochs,
    style: &Style,
) -> Result<Plot, PlotError> {
    let value = |e: &EpochRecord| match what {
        OverEpochs::TestTop1 => e.test_top1,
        OverEpochs::TrainLoss => Some(e.train_loss),
        OverEpochs::Zeros => e.sparsity,
    };
    let mut seen = BTreeSet::new();
    let mut sets: BTreeMap<String, Vec<Vec<(f64, f64)>>> = BTreeMap::new();
    for (i, run) in runs.iter().enumerate() {
        let points: Vec<(f64, f64)> = run
            .epochs
            .iter()
            .filter_map(|e| Some((f64::from(e.epoch), value(e)?)))
            .collect();
        if !points.is_empty() && seen.insert((groups.group(i), run.config.seed)) {
            sets.entry(groups.label(i)).or_default().push(points);
        }
    }
    let axis = match what {
        OverEpochs::TestTop1 => Axis::percent("test top-1"),
        OverEpochs::TrainLoss => Axis::plain("training loss"),
        OverEpochs::Zeros => Axis::percent("zero weights"),
    };
    let sets: Vec<Runs> = sets
        .into_iter()
        .map(|(name, seeds)| Runs::new(&name, seeds))
        .collect();
    seed_bands(&sets, &Labels::new("", Axis::whole("epoch"), axis), style)
}

/// What a snapshot measures of a layer.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    Wsvr,
    WsvrLatent,
    Wlvr,
}

impl Measure {
    /// As records have it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Wsvr => "wsvr",
            Self::WsvrLatent => "wsvr_latent",
            Self::Wlvr => "wlvr",
        }
    }
}

pub(crate) const MEASURES: &[(Measure, &str)] = &[
    (Measure::Wsvr, "WSVR of the weights between snapshots"),
    (
        Measure::WsvrLatent,
        "WSVR of the sign latent, which also moves behind zero weights",
    ),
    (Measure::Wlvr, "WLVR at each snapshot"),
];

fn curves(
    dynamics: &[DynamicsRecord],
    value: impl Fn(&DynamicsRecord) -> Option<f64>,
) -> Vec<Curve> {
    let layers = by_layer(dynamics).into_iter();
    layers
        .filter_map(|(name, snapshots)| {
            let point = |r: &&DynamicsRecord| Some((f64::from(r.epoch), value(r)?));
            let points: Vec<(f64, f64)> = snapshots.iter().filter_map(point).collect();
            (!points.is_empty()).then(|| Curve::new(name, points))
        })
        .collect()
}

pub(crate) fn measure(
    dynamics: &[DynamicsRecord],
    what: Measure,
    style: &Style,
) -> Result<Plot, PlotError> {
    let (curves, label) = match what {
        Measure::Wsvr => (curves(dynamics, |r| r.wsvr), "WSVR"),
        Measure::WsvrLatent => (curves(dynamics, |r| r.wsvr_latent), "WSVR of w_sign"),
        Measure::Wlvr => (curves(dynamics, |r| Some(r.wlvr)), "WLVR"),
    };
    let labels = Labels::new("", Axis::whole("epoch"), Axis::percent(label));
    layer_curves(&curves, &labels, style)
}

fn latent<'a>(record: &'a DynamicsRecord, name: &str) -> Option<&'a LatentRecord> {
    record.latents.iter().find(|l| l.name == name)
}

/// Each level with its number of weights.
type Occupancy = Vec<(f32, u64)>;

/// The levels of a layer at each snapshot, and what they are called: where its scale moves, so that
/// no two snapshots have the same ones, by their rank on each side of 0.
fn levels(snapshots: &[&DynamicsRecord]) -> (Vec<(u32, Occupancy)>, &'static str) {
    let all: BTreeSet<u32> = snapshots
        .iter()
        .flat_map(|r| r.levels.iter().map(|(level, _)| level.to_bits()))
        .collect();
    let most = snapshots.iter().map(|r| r.levels.len()).max();
    // Levels that stay are at most twice those of the snapshot with the most: some may be empty at
    // times.
    let stay = all.len() <= 2 * most.unwrap_or(0);
    let of = |r: &&DynamicsRecord| {
        if stay {
            return (r.epoch, r.levels.clone());
        }
        let below = r.levels.iter().filter(|(level, _)| *level < 0.0).count() as f32;
        let zero = r.levels.iter().any(|(level, _)| *level == 0.0);
        let ranked = r.levels.iter().enumerate().map(|(i, &(level, count))| {
            let place = i as f32 - below;
            let rank = match zero || level < 0.0 {
                true => place,
                false => place + 1.0,
            };
            (rank, count)
        });
        (r.epoch, ranked.collect())
    };
    let name = match stay {
        true => "Levels",
        false => "Levels, by rank since the scale moves,",
    };
    (snapshots.iter().map(of).collect(), name)
}

/// Plots of the latents: densities and levels of the middle layer, gates and gradients of all.
pub(super) fn latents(dynamics: &[DynamicsRecord]) -> Vec<(String, InBoth)> {
    let mut out = Vec::new();
    let layers = by_layer(dynamics);
    let discrete: Vec<_> = layers
        .iter()
        .filter(|(_, s)| !s[0].levels.is_empty())
        .collect();
    let middle = match discrete.get(discrete.len() / 2) {
        Some(layer) => Some(*layer),
        None => layers.get(layers.len() / 2),
    };
    let Some((layer, snapshots)) = middle else {
        return out;
    };
    let (first, last) = (snapshots[0], snapshots[snapshots.len() - 1]);
    if !first.levels.is_empty() {
        let (levels, caption) = levels(snapshots);
        out.push((
            format!("{caption} of {layer}"),
            plot(|style| level_occupancy(&levels, "", style)),
        ));
    }
    for now in &last.latents {
        let name = &now.name;
        let start = format!("epoch {}", first.epoch);
        let end = format!("epoch {}", last.epoch);
        let mut shown: Vec<(&str, &Density)> = Vec::new();
        shown.extend(latent(first, name).map(|l| (start.as_str(), &l.density)));
        shown.push((&end, &now.density));
        let labels = Labels::new(
            "",
            Axis::plain(&format!("{name} / max|{name}|")),
            Axis::plain("density"),
        );
        out.push((
            format!("Density of {layer}, {name}"),
            plot(|style| densities(&shown, &labels, style)),
        ));
    }
    // Every name that a layer has, in the order of the middle one.
    for now in &last.latents {
        let name = &now.name;
        let all = [
            ("Gates that flipped between snapshots", "flips"),
            (
                "Entries whose gradient is zero in the last step of the epoch",
                "zero gradient",
            ),
        ];
        for (caption, label) in all {
            let value = |r: &DynamicsRecord| {
                let l = latent(r, name)?;
                match label {
                    "flips" => l.flips,
                    _ => l.gradient.map(|g| g.zero_share),
                }
            };
            let curves = curves(dynamics, value);
            if curves.is_empty() {
                continue;
            }
            let axis = Axis::percent(&format!("{label}, {name}"));
            let labels = Labels::new("", Axis::whole("epoch"), axis);
            out.push((
                format!("{caption}: {name}"),
                plot(|style| layer_curves(&curves, &labels, style)),
            ));
        }
    }
    out
}
