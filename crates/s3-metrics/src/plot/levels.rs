//! Which levels of a codebook a layer occupies, and how that changes over training.

use super::canvas::{self, Ends, Entry, Mark};
use super::colour::{Rgb, blend};
use super::curves::{area, line};
use super::{Axis, Labels, Plot, PlotError, Style, Theme, drawable, missing};
use crate::paired::range;

/// The weakest level beside zero: this share of the full colour.
const WEAKEST: f64 = 0.3;

/// The share of the weights on each level, stacked in ascending order, over epochs.
///
/// Each snapshot is an epoch with its levels and their counts, as
/// [`DynamicsRecord::levels`](crate::record::DynamicsRecord::levels) has them. A level that a
/// snapshot does not list has no weight there. Negative levels have one colour, positive another,
/// stronger the larger they are; zero is grey. The legend lists them from the largest.
///
/// # Errors
/// [`PlotError`] with fewer than two snapshots, for one without a weight (a continuous layer has no
/// levels), and for a number that is not finite.
///
/// ```
/// use s3_metrics::plot::{Style, level_occupancy};
/// let epochs = [(0, vec![(-1.0, 1), (1.0, 1)]), (10, vec![(-1.0, 1), (0.0, 2), (1.0, 1)])];
/// let svg = level_occupancy(&epochs, "layer1.0.conv1", &Style::default())?.to_svg();
/// assert!(svg.contains("weights on a level (%)"));
/// # Ok::<(), s3_metrics::plot::PlotError>(())
/// ```
pub fn level_occupancy(
    snapshots: &[(u32, Vec<(f32, u64)>)],
    title: &str,
    style: &Style,
) -> Result<Plot, PlotError> {
    if snapshots.len() < 2 {
        return Err(missing("second snapshot of the levels"));
    }
    let mut levels: Vec<f32> = Vec::new();
    for (epoch, counts) in snapshots {
        if counts.iter().all(|(_, count)| *count == 0) {
            return Err(missing(format!("weight on a level at epoch {epoch}")));
        }
        let values = counts.iter().map(|(level, _)| f64::from(*level));
        drawable(&format!("levels of epoch {epoch}"), values)?;
        levels.extend(counts.iter().map(|(level, _)| level + 0.0));
    }
    levels.sort_by(f32::total_cmp);
    levels.dedup();

    let labels = Labels::new(
        title,
        Axis::whole("epoch"),
        Axis::percent("weights on a level"),
    );
    let mut below = vec![0.0; snapshots.len()];
    let (mut plots, mut seams, mut legend) = (Vec::new(), Vec::new(), Vec::new());
    for &level in &levels {
        let colour = colour_of(level, &levels, style.theme);
        let edges = snapshots.iter().zip(&mut below);
        let edges: Vec<(f64, f64, f64)> = edges
            .map(|((epoch, counts), below)| {
                let low = *below;
                *below += share_of(level, counts);
                (f64::from(*epoch), 100.0 * low, 100.0 * *below)
            })
            .collect();
        let top: Vec<(f64, f64)> = edges.iter().map(|&(x, _, high)| (x, high)).collect();
        plots.push(area(edges.into_iter(), colour, 1.0));
        seams.push(line("", &top, style.theme.background(), None));
        legend.insert(
            0,
            Entry {
                name: format!("{level}").replace('-', "\u{2212}"),
                colour,
                mark: Mark::Area,
            },
        );
    }
    // The last seam is the upper end of the plot.
    seams.pop();
    plots.append(&mut seams);
    let epochs = snapshots.iter().map(|(epoch, _)| f64::from(*epoch));
    let ends = Ends {
        x: Some(range(epochs)),
        y: Some((0.0, 100.0)),
    };
    canvas::draw(plots, &labels, ends, &legend, style)
}

fn share_of(level: f32, counts: &[(f32, u64)]) -> f64 {
    let all: f64 = counts.iter().map(|(_, count)| *count as f64).sum();
    let here = counts.iter().filter(|(known, _)| *known == level);
    here.map(|(_, count)| *count as f64).sum::<f64>() / all
}

/// By rank among the levels of its sign: those of a shift network are a power of two apart.
fn colour_of(level: f32, levels: &[f32], theme: Theme) -> Rgb {
    if level == 0.0 {
        return blend(theme.background(), theme.text(), 0.3);
    }
    let [negative, positive] = theme.arms();
    let same_sign = |other: &&f32| (**other > 0.0) == (level > 0.0) && **other != 0.0;
    let of_sign = levels.iter().filter(same_sign).count();
    let rank = levels
        .iter()
        .filter(same_sign)
        .filter(|other| other.abs() <= level.abs())
        .count();
    let strength = WEAKEST + (1.0 - WEAKEST) * rank as f64 / of_sign as f64;
    let full = if level < 0.0 { negative } else { positive };
    blend(theme.background(), full, strength)
}
