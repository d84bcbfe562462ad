//! Curves: one a layer, one a method with the spread of its seeds, one a density.

use std::collections::BTreeMap;

use kuva::plot::line::LineStyle;
use kuva::plot::{BandPlot, LinePlot};
use kuva::render::plots::Plot as Marks;

use super::canvas::{self, Ends, Entry, Mark};
use super::colour::{self, Rgb, blend, hex};
use super::{Curve, Labels, Plot, PlotError, Runs, Style, missing};
use crate::density::Density;
use crate::paired::{mean, range};

/// The faintest layer: this share of the full colour.
const FAINTEST: f64 = 0.3;
/// Layers beyond this many are named by the first, the middle and the last alone.
const NAMED_LAYERS: usize = 4;
const BAND_OPACITY: f64 = 0.22;
/// A single run has this share of the full colour.
const ONE_SEED: f64 = 0.6;

/// One curve a layer, from the front of the network to its end (the paper's Figure 4).
///
/// The colour runs from 0.3 of its strength, the first curve, to full, the last; the paper's
/// opacity against the background. The legend names at most four layers: of more, the first, the
/// middle and the last.
///
/// # Errors
/// [`PlotError`] without a curve, for a curve without a point, and for a number that is not finite.
pub fn layer_curves(layers: &[Curve], labels: &Labels, style: &Style) -> Result<Plot, PlotError> {
    if layers.is_empty() {
        return Err(missing("layer"));
    }
    let last = layers.len() - 1;
    let (mut plots, mut legend) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        let depth = if last == 0 {
            1.0
        } else {
            index as f64 / last as f64
        };
        let strength = FAINTEST + (1.0 - FAINTEST) * depth;
        let colour = blend(style.theme.background(), style.theme.series(0), strength);
        plots.push(line(&layer.name, &shown(layer, labels)?, colour, None));
        if last < NAMED_LAYERS || [0, last / 2, last].contains(&index) {
            let place = match index {
                _ if last == 0 => "",
                0 => " (front)",
                _ if index == last => " (end)",
                _ => "",
            };
            legend.push(Entry {
                name: format!("{}{place}", layer.name),
                colour,
                mark: Mark::Line(None),
            });
        }
    }
    // kuva would put an axis of zeros from -0.1 to 0.1; these are rates.
    let zeros = layers
        .iter()
        .all(|layer| layer.points.iter().all(|p| p.1 == 0.0));
    let ends = Ends {
        x: None,
        y: zeros.then_some((0.0, 1.0)),
    };
    canvas::draw(plots, labels, ends, &legend, style)
}

/// A mean curve for each set of runs and, behind it, the band from the least to the largest seed.
///
/// ```text
/// mean(x) = sum over the runs that have x of y / their number
/// ```
///
/// A set of one run has no band and a paler line, and at a single x the band is an upright line.
/// The legend says how many runs there are. Points of different runs belong together where their x
/// is equal.
///
/// # Errors
/// [`PlotError`] without a set, for a set without a run, a run without a point, and for a number
/// that is not finite.
pub fn seed_bands(sets: &[Runs], labels: &Labels, style: &Style) -> Result<Plot, PlotError> {
    if sets.is_empty() {
        return Err(missing("set of runs"));
    }
    let (mut bands, mut lines, mut legend) = (Vec::new(), Vec::new(), Vec::new());
    for (index, set) in sets.iter().enumerate() {
        let colour = style.theme.series(index);
        let dashes = dashes(index);
        let spread = spread(set, labels)?;
        let colour = match set.seeds.len() {
            1 => blend(style.theme.background(), colour, ONE_SEED),
            _ => colour,
        };
        let means: Vec<(f64, f64)> = spread.iter().map(|s| (s.x, s.mean)).collect();
        if let [only] = &spread[..] {
            // An area of one x has no width.
            let ends = [(only.x, only.low), (only.x, only.high)];
            lines.push(line(&set.name, &ends, colour, None));
        } else if set.seeds.len() > 1 {
            let edges = spread.iter().map(|s| (s.x, s.low, s.high));
            bands.push(area(edges, colour, BAND_OPACITY));
        }
        lines.push(line(&set.name, &means, colour, dashes));
        legend.push(Entry {
            name: format!("{} (n = {})", set.name, set.seeds.len()),
            colour,
            mark: Mark::Line(dashes),
        });
    }
    bands.append(&mut lines);
    canvas::draw(bands, labels, Ends::default(), &legend, style)
}

/// The densities of weights or latents as filled polygons (the paper's Figure 2).
///
/// # Errors
/// [`PlotError`] without a density, for one without a weight in its range, and for one whose range
/// is not finite.
///
/// ```
/// use s3_metrics::density::Density;
/// use s3_metrics::plot::{Axis, Labels, Style, densities};
/// let ternary = Density::relative(&[-1.0, 0.0, 1.0], 21)?;
/// let labels = Labels::new("", Axis::plain("w / max|w|"), Axis::plain("density"));
/// let svg = densities(&[("layer1.0.conv1", &ternary)], &labels, &Style::default())?.to_svg();
/// assert!(svg.contains("w / max|w|"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn densities(
    of: &[(&str, &Density)],
    labels: &Labels,
    style: &Style,
) -> Result<Plot, PlotError> {
    if of.is_empty() {
        return Err(missing("density"));
    }
    let (mut areas, mut lines, mut legend) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, density)) in of.iter().enumerate() {
        let points = density.polygon();
        let shown = shown(&Curve::new(name, points), labels)?;
        let colour = style.theme.series(index);
        let dashes = dashes(index);
        areas.push(area(
            shown.iter().map(|&(x, y)| (x, 0.0, y)),
            colour,
            BAND_OPACITY,
        ));
        lines.push(line(name, &shown, colour, dashes));
        legend.push(Entry {
            name: (*name).to_owned(),
            colour,
            mark: Mark::Line(dashes),
        });
    }
    areas.append(&mut lines);
    let edges = of
        .iter()
        .flat_map(|(_, density)| [density.low, density.high]);
    let ends = Ends {
        x: Some(range(edges)),
        y: None,
    };
    canvas::draw(areas, labels, ends, &legend, style)
}

struct Spread {
    x: f64,
    low: f64,
    mean: f64,
    high: f64,
}

/// The runs of a set side by side, in ascending x.
fn spread(set: &Runs, labels: &Labels) -> Result<Vec<Spread>, PlotError> {
    if set.seeds.is_empty() {
        return Err(missing(format!("run of {}", set.name)));
    }
    // The bits of positive floats are in their order; the sign turns that of the negative around.
    let key = |x: f64| {
        let bits = (x + 0.0).to_bits();
        if bits >> 63 == 0 {
            bits | 1 << 63
        } else {
            !bits
        }
    };
    let mut at: BTreeMap<u64, (f64, Vec<f64>)> = BTreeMap::new();
    for (seed, points) in set.seeds.iter().enumerate() {
        let run = Curve::new(&format!("{}, run {}", set.name, seed + 1), points.clone());
        for (x, y) in shown(&run, labels)? {
            at.entry(key(x))
                .or_insert_with(|| (x, Vec::new()))
                .1
                .push(y);
        }
    }
    let of_x = |(x, ys): (f64, Vec<f64>)| {
        let (mean, (low, high)) = (mean(&ys), range(ys));
        Spread { x, low, mean, high }
    };
    Ok(at.into_values().map(of_x).collect())
}

/// The points of a curve in the units of the axes.
fn shown(curve: &Curve, labels: &Labels) -> Result<Vec<(f64, f64)>, PlotError> {
    if curve.points.is_empty() {
        return Err(missing(format!("point of {}", curve.name)));
    }
    let points: Vec<(f64, f64)> = curve
        .points
        .iter()
        .map(|&(x, y)| (labels.x.shown(x), labels.y.shown(y)))
        .collect();
    let (x, y) = (points.iter().map(|p| p.0), points.iter().map(|p| p.1));
    labels.x.drawable(&format!("x of {}", curve.name), x)?;
    labels.y.drawable(&format!("y of {}", curve.name), y)?;
    Ok(points)
}

fn dashes(index: usize) -> Option<&'static str> {
    [None, Some("5 2"), Some("2 2"), Some("7 2 2 2")][colour::round(index) % 4]
}

/// A line; a single point is drawn as a dot.
pub(super) fn line(
    name: &str,
    points: &[(f64, f64)],
    colour: Rgb,
    dashes: Option<&'static str>,
) -> Marks {
    if points.len() == 1 {
        let dot = kuva::plot::scatter::ScatterPlot::new();
        return dot
            .with_data(points.iter().copied())
            .with_color(hex(colour))
            .with_group_name(name)
            .with_size(3.0)
            .into();
    }
    let line = LinePlot::new()
        .with_data(points.iter().copied())
        .with_color(hex(colour))
        .with_stroke_width(1.5);
    match dashes {
        None => line.into(),
        Some(dashes) => line
            .with_line_style(LineStyle::Custom(dashes.into()))
            .into(),
    }
}

/// The area between two curves, given as `(x, low, high)`.
pub(super) fn area(
    edges: impl Iterator<Item = (f64, f64, f64)>,
    colour: Rgb,
    opacity: f64,
) -> Marks {
    let (mut x, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
    for edge in edges {
        x.push(edge.0);
        low.push(edge.1);
        high.push(edge.2);
    }
    BandPlot::new(x, low, high)
        .with_color(hex(colour))
        .with_opacity(opacity)
        .into()
}
