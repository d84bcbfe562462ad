//! What a description shows, drawn by the function of its kind.

use super::bars::stacked_bars;
use super::curves::{densities, layer_curves, seed_bands};
use super::levels::level_occupancy;
use super::points::labelled_points;
use super::rows::value_rows;
use super::{Axis, Labels, Plot, PlotError, Style};
use crate::spec::Shown;

impl Shown {
    /// Draws it under a title, which may be empty.
    ///
    /// # Errors
    /// [`PlotError`], as the function of its kind says.
    pub fn draw(&self, title: &str, style: &Style) -> Result<Plot, PlotError> {
        let labels = |x: &Axis, y: &Axis| Labels::new(title, x.clone(), y.clone());
        match self {
            Self::LayerCurves { x, y, curves } => layer_curves(curves, &labels(x, y), style),
            Self::SeedBands { x, y, runs } => seed_bands(runs, &labels(x, y), style),
            Self::Densities {
                x,
                y,
                densities: all,
            } => {
                let all: Vec<_> = all.iter().map(|d| (d.name.as_str(), &d.density)).collect();
                densities(&all, &labels(x, y), style)
            }
            Self::LabelledPoints { x, y, points } => labelled_points(points, &labels(x, y), style),
            Self::ValueRows { x, rows } => value_rows(rows, &labels(x, &Axis::plain("")), style),
            Self::LevelOccupancy { levels } => level_occupancy(levels, title, style),
            Self::StackedBars { x, y, parts, bars } => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                stacked_bars(bars, &parts, &labels(x, y), style)
            }
        }
    }
}
