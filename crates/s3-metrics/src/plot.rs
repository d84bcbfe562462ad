//! Plots of runs: plain numbers in, an SVG or a PNG out. Behind the feature `plot`.
//!
//! | function | plot |
//! | --- | --- |
//! | [`layer_curves`] | one curve a layer, its shade running from front to end (paper, Figure 4) |
//! | [`seed_bands`] | a mean curve a method, with a band over its seeds (Figures 5 to 7) |
//! | [`densities`] | density polygons of weights or latents (Figure 2) |
//! | [`level_occupancy`] | the share of weights on each level of a codebook, over epochs |
//! | [`confusion`] | which class is taken for which |
//! | [`filters`] | the filters of a first layer as small images |
//! | [`labelled_points`] | methods by size and accuracy |
//! | [`value_rows`] | many methods by accuracy, one below another |
//! | [`stacked_bars`] | what a whole is made of, for versions side by side |
//!
//! All give a [`Plot`], drawn for a width of 360 pixels, text of 10 to 13 pixels; an SVG scales
//! without loss. The same data gives the same bytes, whatever was drawn before. A [`Theme`] is
//! light or dark. The colours of methods are those of Okabe and Ito (2008), which the common kinds
//! of colour blindness tell apart; after seven they return dashed. Layers and levels are shades,
//! which print in grey.
//!
//! Where there is nothing to draw, or a number is not finite, the answer is a [`PlotError`] that
//! names it, not an empty plot: leave out the epochs after a run has diverged, and say so.
//!
//! ```
//! use s3_metrics::plot::{Axis, Curve, Labels, PlotError, Style, layer_curves};
//! let labels = Labels::new("S3, ternary", Axis::whole("epoch"), Axis::percent("WSVR"));
//! let curves = [
//!     Curve::new("conv1", vec![(10.0, 0.25), (20.0, 0.125)]),
//!     Curve::new("fc", vec![(10.0, 0.5), (20.0, 0.25)]),
//! ];
//! let svg = layer_curves(&curves, &labels, &Style::default())?.to_svg();
//! assert!(svg.starts_with("<svg ") && svg.contains("WSVR (%)"));
//! assert!(layer_curves(&[], &labels, &Style::default()).is_err());
//! # Ok::<(), PlotError>(())
//! ```

use std::fmt;

mod bars;
mod canvas;
mod colour;
mod curves;
mod grids;
mod levels;
mod points;
mod rows;
mod shown;

pub use bars::stacked_bars;
pub use canvas::Plot;
pub use curves::{densities, layer_curves, seed_bands};
pub use grids::{confusion, filters};
pub use levels::level_occupancy;
pub use points::labelled_points;
pub use rows::value_rows;

pub use crate::spec::{Axis, Bar, Curve, Point, Runs, Scale, Valued};

/// Numbers larger than this are not drawn: an axis could not name its ticks.
const LARGEST: f64 = 1e12;
/// Lengths of an axis that data may lie beyond its ends.
const FARTHEST: f64 = 1000.0;

/// What a plot is drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Theme {
    /// Dark on white, for print and light pages.
    #[default]
    Light,
    /// Light on near-black.
    Dark,
}

/// The theme and the size of a plot.
///
/// The size is that of the plot without its legend, which is added below; the confusion matrix
/// and the filters take the width and find their own height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    theme: Theme,
    width: u32,
    height: u32,
}

impl Default for Style {
    fn default() -> Self {
        Self::new(Theme::Light)
    }
}

impl Style {
    /// A theme, 360 by 250 pixels.
    pub fn new(theme: Theme) -> Self {
        Self {
            theme,
            width: 360,
            height: 250,
        }
    }

    /// The same theme at another size, at least 240 by 160 pixels and at most 4096 by 4096.
    #[must_use]
    pub fn sized(self, width: u32, height: u32) -> Self {
        Self {
            width: width.clamp(240, 4096),
            height: height.clamp(160, 4096),
            ..self
        }
    }
}

impl Axis {
    /// What stands beside it.
    fn title(&self) -> String {
        match self.scale {
            Scale::Percent => format!("{} (%)", self.label),
            Scale::Plain | Scale::Whole | Scale::Log => self.label.clone(),
        }
    }

    /// Its own ends, or those that the data chose.
    fn ends_or(&self, chosen: Option<(f64, f64)>) -> Result<Option<(f64, f64)>, PlotError> {
        let Some((low, high)) = self.ends else {
            return Ok(chosen);
        };
        let of = format!("ends of the axis {}", self.title());
        drawable(&of, [low, high])?;
        let refuse = |index, value, expected| {
            let of = of.clone();
            Err(PlotError::Number {
                of,
                index,
                value,
                expected,
            })
        };
        // So little apart that no tick could tell them apart is no axis either.
        if high - low <= 1e-9 * low.abs().max(high.abs()) {
            return refuse(1, high, "a number above the lower end");
        }
        if self.scale == Scale::Log && low <= 0.0 {
            return refuse(0, low, "a positive number, since the axis is logarithmic");
        }
        Ok(Some((self.shown(low), self.shown(high))))
    }

    /// Whether a shown number lies within the ends that were set.
    fn holds(&self, shown: f64) -> bool {
        self.ends
            .is_none_or(|(low, high)| self.shown(low) <= shown && shown <= self.shown(high))
    }

    /// All numbers, as they are shown, can be drawn on this axis, or the first that cannot.
    fn drawable(&self, of: &str, shown: impl IntoIterator<Item = f64>) -> Result<(), PlotError> {
        let shown: Vec<f64> = shown.into_iter().collect();
        drawable(of, shown.iter().copied())?;
        let Some((low, high)) = self.ends_or(None)? else {
            return Ok(());
        };
        let place = |value: f64| match self.scale {
            // What is not positive is refused where the points are.
            Scale::Log => (value.max(f64::MIN_POSITIVE) / low).log10() / (high / low).log10(),
            Scale::Plain | Scale::Whole | Scale::Percent => (value - low) / (high - low),
        };
        // The renderer walks along lines outside of the plot, too.
        let far = |value: &f64| place(*value).abs() > FARTHEST;
        match shown.iter().position(far) {
            None => Ok(()),
            Some(index) => Err(PlotError::Number {
                of: of.to_owned(),
                index,
                value: shown[index],
                expected: "a number within 1000 lengths of the axis",
            }),
        }
    }

    fn shown(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Percent => 100.0 * value,
            Scale::Plain | Scale::Whole | Scale::Log => value,
        }
    }
}

/// The title and the two axes of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    title: String,
    x: Axis,
    y: Axis,
}

impl Labels {
    /// A title (may be empty: a page has its own caption) and the two axes.
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.to_owned(),
            x,
            y,
        }
    }
}

/// Why there is no plot.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlotError {
    /// There is nothing of a kind that the plot needs.
    Missing {
        /// What is missing, and of what.
        what: String,
    },
    /// A number cannot be drawn.
    Number {
        /// What it is of.
        of: String,
        /// Its position there.
        index: usize,
        /// The number.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// Two things do not have the lengths that belong together.
    Length {
        /// What has the wrong length.
        of: String,
        /// The right one.
        expected: usize,
        /// The one it has.
        got: usize,
    },
    /// The plot cannot be written as a PNG.
    Encoding {
        /// What the encoder says.
        reason: String,
    },
}

impl fmt::Display for PlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { what } => write!(f, "nothing to draw: no {what}"),
            Self::Number {
                of,
                index,
                value,
                expected,
            } => write!(f, "{of}, number {index}: expected {expected}, got {value}"),
            Self::Length { of, expected, got } => write!(f, "{of}: expected {expected}, got {got}"),
            Self::Encoding { reason } => write!(f, "no PNG: {reason}"),
        }
    }
}

impl std::error::Error for PlotError {}

fn missing(what: impl Into<String>) -> PlotError {
    PlotError::Missing { what: what.into() }
}

/// All numbers finite and small enough for an axis, or the first that is not.
fn drawable(of: &str, values: impl IntoIterator<Item = f64>) -> Result<(), PlotError> {
    let drawn = |value: f64| value.abs() <= LARGEST;
    match values.into_iter().enumerate().find(|(_, v)| !drawn(*v)) {
        None => Ok(()),
        Some((index, value)) => Err(PlotError::Number {
            of: of.to_owned(),
            index,
            value,
            expected: "a finite number of at most 1e12 in size",
        }),
    }
}

#[cfg(test)]
mod tests;
