//! Bars: what a whole is made of, for versions side by side.

use kuva::plot::BarPlot;
use kuva::render::plots::Plot as Marks;

use super::canvas::{self, Ends, Entry, Mark};
use super::colour::hex;
use super::{Axis, Bar, Labels, Plot, PlotError, Scale, Style, missing};

/// A bar for each version, its parts on one another; `parts` names them from the lowest to the
/// highest, and the legend lists them as they lie. Names are cut where there is no room: at 360
/// pixels there is for about six. Of the x axis only the label counts.
///
/// # Errors
/// [`PlotError`] without a bar or a part, for a bar with another number of parts, for a part that
/// is negative or not finite, where all are 0, and for a y axis that does not start at 0.
///
/// ```
/// use s3_metrics::plot::{Axis, Bar, Labels, Style, stacked_bars};
/// let labels = Labels::new("", Axis::plain("version"), Axis::plain("energy (µJ)"));
/// let bars = [Bar::new("float32", vec![4.0, 2.0]), Bar::new("shift", vec![0.5, 0.5])];
/// let svg = stacked_bars(&bars, &["operations", "memory"], &labels, &Style::default())?.to_svg();
/// assert!(svg.contains(">float32<") && svg.contains(">memory<"));
/// # Ok::<(), s3_metrics::plot::PlotError>(())
/// ```
pub fn stacked_bars(
    bars: &[Bar],
    parts: &[&str],
    labels: &Labels,
    style: &Style,
) -> Result<Plot, PlotError> {
    if bars.is_empty() {
        return Err(missing("bar"));
    }
    if parts.is_empty() {
        return Err(missing("part of a bar"));
    }
    if let Some((low, _)) = labels.y.ends
        && low != 0.0
    {
        return Err(PlotError::Number {
            of: format!("ends of the axis {}", labels.y.title()),
            index: 0,
            value: low,
            expected: "0, where bars stand",
        });
    }
    let labels = &Labels {
        x: Axis {
            label: labels.x.title(),
            ends: None,
            scale: Scale::Plain,
            ..labels.x.clone()
        },
        ..labels.clone()
    };
    let colours: Vec<_> = (0..parts.len()).map(|i| style.theme.series(i)).collect();
    let mut plot = BarPlot::new().with_width(0.6).with_stacked();
    let mut highest = 0.0f64;
    for bar in bars {
        if bar.parts.len() != parts.len() {
            return Err(PlotError::Length {
                of: format!("parts of {}", bar.name),
                expected: parts.len(),
                got: bar.parts.len(),
            });
        }
        let shown: Vec<f64> = bar.parts.iter().map(|&part| labels.y.shown(part)).collect();
        let of = format!("parts of {}", bar.name);
        labels.y.drawable(&of, shown.iter().copied())?;
        if let Some(index) = shown.iter().position(|&part| part < 0.0) {
            return Err(PlotError::Number {
                of,
                index,
                value: shown[index],
                expected: "a number that is not negative",
            });
        }
        highest = highest.max(shown.iter().sum());
        let room = 0.8 * f64::from(style.width) / bars.len() as f64;
        let name = canvas::cut(&bar.name, room, canvas::SMALL);
        plot = plot.with_group(name, shown.into_iter().zip(colours.iter().map(|&c| hex(c))));
    }
    if highest == 0.0 {
        return Err(missing("part of a bar above 0"));
    }
    let legend = parts.iter().zip(&colours).rev();
    let legend: Vec<Entry> = legend
        .map(|(name, &colour)| Entry {
            name: (*name).to_owned(),
            colour,
            mark: Mark::Area,
        })
        .collect();
    let ends = Ends {
        x: None,
        y: Some((0.0, 1.05 * highest)),
    };
    canvas::draw(vec![Marks::Bar(plot)], labels, ends, &legend, style)
}
