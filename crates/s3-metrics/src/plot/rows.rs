//! Named values, one below another: the rows of a table by their accuracy.

use kuva::plot::ForestPlot;
use kuva::plot::forest::ForestRow;
use kuva::render::plots::Plot as Marks;

use super::canvas::{self, Ends, Entry, Mark};
use super::colour::hex;
use super::{Labels, Plot, PlotError, Style, Valued, missing};

/// Pixels of a row, and of what is above and below all of them.
const ROW: u32 = 17;
const FRAME: u32 = 64;

/// A row for each value, in the order given from above: its name at the left, a mark at the value,
/// and a line between its ends where it has some. Of the style the width counts; the height is that
/// of the rows. Values outside of the x axis's ends are left out; of the y axis nothing counts.
///
/// # Errors
/// [`PlotError`] without a row, and for a number that is not finite.
///
/// ```
/// use s3_metrics::plot::{Axis, Labels, Style, Valued, value_rows};
/// let labels = Labels::new("", Axis::percent("test top-1"), Axis::plain(""));
/// let rows = [
///     Valued::new("fp32", "multiply", 0.8126, None),
///     Valued::new("s3-3bit", "shift", 0.8137, Some((0.8108, 0.8166))),
/// ];
/// let svg = value_rows(&rows, &labels, &Style::default())?.to_svg();
/// assert!(svg.contains("s3-3bit") && svg.contains("test top-1 (%)"));
/// # Ok::<(), s3_metrics::plot::PlotError>(())
/// ```
pub fn value_rows(rows: &[Valued], labels: &Labels, style: &Style) -> Result<Plot, PlotError> {
    if rows.is_empty() {
        return Err(missing("row"));
    }
    for row in rows {
        let (low, high) = row.ends.unwrap_or((row.value, row.value));
        let shown = [row.value, low, high].map(|v| labels.x.shown(v));
        labels.x.drawable(&format!("x of {}", row.name), shown)?;
    }
    let inside = |row: &&Valued| labels.x.holds(labels.x.shown(row.value));
    let rows: Vec<&Valued> = rows.iter().filter(inside).collect();
    if rows.is_empty() {
        return Err(missing("row between the ends of the axis"));
    }
    let mut groups: Vec<&str> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.group.as_str()) {
            groups.push(&row.group);
        }
    }
    let mut forest = ForestPlot::new()
        .with_marker_size(4.0)
        .with_show_null_line(false);
    for row in &rows {
        let group = groups.iter().position(|g| *g == row.group).unwrap_or(0);
        let (low, high) = row.ends.unwrap_or((row.value, row.value));
        let [value, low, high] = [row.value, low, high].map(|v| labels.x.shown(v));
        let name = canvas::cut(&row.name, 0.4 * f64::from(style.width), canvas::SMALL);
        let mut drawn = ForestRow::new(name, value, low, high);
        drawn.color = Some(hex(style.theme.series(group)));
        forest.rows.push(drawn);
    }
    let legend = groups.iter().enumerate().map(|(index, group)| Entry {
        name: (*group).to_owned(),
        colour: style.theme.series(index),
        mark: Mark::Glyph('■'),
    });
    let legend: Vec<Entry> = legend.collect();
    let style = style.sized(style.width, FRAME + ROW * rows.len() as u32);
    canvas::draw(
        vec![Marks::Forest(forest)],
        labels,
        Ends::default(),
        &legend,
        &style,
    )
}
