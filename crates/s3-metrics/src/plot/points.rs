//! Named points: methods by the size of their network and their accuracy.

use kuva::plot::scatter::{MarkerShape, ScatterPlot};
use kuva::render::plots::Plot as Marks;

use super::canvas::{self, Ends, Entry, Mark};
use super::colour::hex;
use super::{Labels, Plot, PlotError, Point, Scale, Style, missing};
use crate::paired::range;

/// Points with their names beside them, a colour and a mark for each group in order of appearance.
///
/// The names are moved apart until they do not overlap, as far as there is room: at 360 pixels for
/// about eight. More points want a larger [`Style::sized`].
///
/// # Errors
/// [`PlotError`] without a point, for a number that is not finite, and for an x that is not
/// positive on an axis made by [`Axis::log`](super::Axis::log).
pub fn labelled_points(
    points: &[Point],
    labels: &Labels,
    style: &Style,
) -> Result<Plot, PlotError> {
    if points.is_empty() {
        return Err(missing("point"));
    }
    let x = |point: &Point| labels.x.shown(point.x);
    let y = |point: &Point| labels.y.shown(point.y);
    labels.x.drawable("x of the points", points.iter().map(x))?;
    labels.y.drawable("y of the points", points.iter().map(y))?;
    if labels.x.scale == Scale::Log
        && let Some(index) = points.iter().position(|point| point.x <= 0.0)
    {
        return Err(PlotError::Number {
            of: "x of the points".to_owned(),
            index,
            value: points[index].x,
            expected: "a positive number, since the axis is logarithmic",
        });
    }
    let inside = |point: &&Point| labels.x.holds(x(point)) && labels.y.holds(y(point));
    let points: Vec<&Point> = points.iter().filter(inside).collect();
    if points.is_empty() {
        return Err(missing("point between the ends of the axes"));
    }
    let points = points.iter().copied();
    let mut groups: Vec<&str> = Vec::new();
    for point in points.clone() {
        if !groups.contains(&point.group.as_str()) {
            groups.push(&point.group);
        }
    }
    let (mut plots, mut legend) = (Vec::new(), Vec::new());
    for (index, group) in groups.iter().enumerate() {
        let of_group = || points.clone().filter(|point| point.group == *group);
        let colour = style.theme.series(index);
        let (marker, glyph) = MARKERS[index % MARKERS.len()];
        let scatter = ScatterPlot::new()
            .with_data(of_group().map(|point| (x(point), y(point))))
            .with_color(hex(colour))
            .with_size(4.0)
            .with_marker(marker);
        plots.push(Marks::Scatter(scatter));
        legend.push(Entry {
            name: (*group).to_owned(),
            colour,
            mark: Mark::Glyph(glyph),
        });
    }
    // One invisible scatter carries all names, so that those of different groups keep apart.
    let named = ScatterPlot::new()
        .with_data(points.clone().map(|point| (x(point), y(point))))
        .with_color("none")
        .with_size(4.0)
        .with_labels(
            points
                .clone()
                .map(|point| canvas::cut(&point.name, 160.0, canvas::SMALL)),
        )
        .with_repel_labels();
    plots.push(Marks::Scatter(named));
    // Room for the names at the ends; kuva would round a logarithmic axis to whole decades.
    let (low, high) = range(points.clone().map(y));
    let room = if low < high { 0.12 * (high - low) } else { 1.0 };
    let mut ends = Ends {
        x: None,
        y: Some((low - room, high + room)),
    };
    if labels.x.scale == Scale::Log {
        let (low, high) = range(points.map(x));
        ends.x = Some((low / 1.6, high * 1.6));
    }
    canvas::draw(plots, labels, ends, &legend, style)
}

const MARKERS: [(MarkerShape, char); 4] = [
    (MarkerShape::Circle, '●'),
    (MarkerShape::Square, '■'),
    (MarkerShape::Triangle, '▲'),
    (MarkerShape::Diamond, '◆'),
];
