//! Plots made of cells: the confusion matrix and the filters of a first layer.

use kuva::render::render::{Primitive, TextAnchor};

use super::canvas::{self, LABEL, SMALL, TITLE, cut, rectangle, text, width_of};
use super::colour::{Rgb, blend, readable_on};
use super::{Plot, PlotError, Style, drawable, missing};

const MARGIN: f64 = 10.0;
const TITLE_HEIGHT: f64 = 26.0;

/// Which class is taken for which: a row for each true class, a column for each answer.
///
/// A cell is shaded by, and shows, the share of its row in per cent, rounded; a share of zero shows
/// nothing. Above 20 classes, or where the cells are small, the numbers are left out, and where the
/// rows are lower than the text the names too. A class without an image has an unshaded
/// row.
///
/// # Shapes
/// `counts`: `[classes, classes]`, row-major, the true class first.
///
/// # Errors
/// [`PlotError`] without a class, without a count, and where there are not as many counts as the
/// classes squared.
///
/// ```
/// use s3_metrics::plot::{Style, confusion};
/// let svg = confusion(&["cat", "dog"], &[3, 1, 0, 4], "", &Style::default())?.to_svg();
/// assert!(svg.contains(">75<") && svg.contains(">100<"));
/// # Ok::<(), s3_metrics::plot::PlotError>(())
/// ```
pub fn confusion(
    classes: &[&str],
    counts: &[u64],
    title: &str,
    style: &Style,
) -> Result<Plot, PlotError> {
    if classes.is_empty() {
        return Err(missing("class"));
    }
    if counts.len() != classes.len().saturating_mul(classes.len()) {
        return Err(PlotError::Length {
            of: format!("counts of {} classes", classes.len()),
            expected: classes.len().saturating_mul(classes.len()),
            got: counts.len(),
        });
    }
    if counts.iter().all(|count| *count == 0) {
        return Err(missing("answer in the confusion matrix"));
    }
    let width = f64::from(style.width);
    let ink = style.theme.text();
    let names = classes.iter().map(|name| cut(name, 0.22 * width, SMALL));
    let names: Vec<String> = names.collect();
    // Where the rows are lower than the text no class is named.
    let named = classes.len() as f64 * f64::from(SMALL) < 0.7 * width;
    let widths = names.iter().map(|name| width_of(name, SMALL));
    let widest = if named {
        widths.fold(0.0, f64::max)
    } else {
        0.0
    };
    let top = top_of(title);
    let left = MARGIN + 18.0 + widest + 6.0;
    let side = (width - left - MARGIN) / classes.len() as f64;
    let bottom = top + side * classes.len() as f64;
    let mut scene = canvas::blank(width, bottom + widest + 30.0, style.theme);
    add_title(&mut scene.elements, title, width, ink);

    let gap = if side >= 8.0 { 1.0 } else { 0.0 };
    for (row, row_counts) in counts.chunks(classes.len()).enumerate() {
        let all: u64 = row_counts.iter().sum();
        let y = top + side * row as f64;
        for (column, &count) in row_counts.iter().enumerate() {
            let share = if all == 0 {
                0.0
            } else {
                count as f64 / all as f64
            };
            let x = left + side * column as f64;
            let empty = blend(style.theme.background(), ink, 0.04);
            let fill = blend(empty, style.theme.series(0), share);
            scene
                .elements
                .push(rectangle((x, y), (side - gap, side - gap), fill));
            let shown = (100.0 * share).round();
            if count > 0 && classes.len() <= 20 && side >= 16.0 {
                let content = if shown == 0.0 {
                    "<1".to_owned()
                } else {
                    format!("{shown}")
                };
                let size = if side >= 24.0 { SMALL } else { 9 };
                let place = (
                    x + 0.5 * side - 0.5,
                    y + 0.5 * side + 0.35 * f64::from(size),
                );
                let colour = readable_on(fill);
                scene
                    .elements
                    .push(text(&content, place, size, TextAnchor::Middle, colour));
            }
        }
        if named {
            let name = &names[row];
            let middle = side * (row as f64 + 0.5);
            let place = (left - 6.0, top + middle + 4.0);
            scene
                .elements
                .push(text(name, place, SMALL, TextAnchor::End, ink));
            let place = (left + middle + 4.0, bottom + 6.0);
            scene
                .elements
                .push(turned(name, place, SMALL, TextAnchor::End, ink));
        }
    }
    let place = (left + 0.5 * (bottom - top), bottom + widest + 20.0);
    let answer = "answer of the network (% of the row)";
    scene
        .elements
        .push(text(answer, place, LABEL, TextAnchor::Middle, ink));
    let place = (MARGIN + 8.0, 0.5 * (top + bottom));
    scene
        .elements
        .push(turned("true class", place, LABEL, TextAnchor::Middle, ink));
    Ok(canvas::finish(scene, title))
}

/// The filters of a first layer as small images, in rows, in the order of the output channels.
///
/// With three input channels a pixel is a colour,
///
/// ```text
/// channel = 0.5 + 0.5 * w / max|w|       of the whole layer; grey is zero
/// ```
///
/// and with any other number the channels are rows of images, each a scale from one colour (below
/// zero) over the background (zero) to another (above zero).
///
/// # Shapes
/// `weights`: `[filters, channels, height, width]`, row-major, as `shape` says.
///
/// # Errors
/// [`PlotError`] without a weight, where the lengths disagree, for a weight that is not finite, and
/// for more than 16,384 weights.
///
/// ```
/// use s3_metrics::plot::{Style, filters};
/// let svg = filters(&[1.0, 0.0, -1.0], [1, 3, 1, 1], "conv1", &Style::default())?.to_svg();
/// assert!(svg.contains("#ff8000"));
/// # Ok::<(), s3_metrics::plot::PlotError>(())
/// ```
pub fn filters(
    weights: &[f32],
    shape: [usize; 4],
    title: &str,
    style: &Style,
) -> Result<Plot, PlotError> {
    const MOST: usize = 16_384;
    let [count, channels, height, width] = shape;
    let expected = shape
        .iter()
        .fold(1usize, |product, side| product.saturating_mul(*side));
    if expected == 0 {
        return Err(missing(format!("weight in filters of shape {shape:?}")));
    }
    if weights.len() != expected || expected > MOST {
        return Err(PlotError::Length {
            of: format!("weights of filters of shape {shape:?}"),
            expected: expected.min(MOST),
            got: weights.len(),
        });
    }
    drawable("filters", weights.iter().map(|w| f64::from(*w)))?;
    let largest = weights
        .iter()
        .fold(0.0f32, |largest, w| largest.max(w.abs()));
    let relative = |w: f32| {
        if largest == 0.0 {
            0.0
        } else {
            f64::from(w / largest)
        }
    };

    let coloured = channels == 3;
    let images = if coloured { count } else { count * channels };
    // With one colour a row is a filter where its channels fit; else as square as it gets.
    let square = (images as f64).sqrt().ceil() as usize;
    let columns = if coloured || channels == 1 {
        square.max(images.min(8))
    } else {
        channels
    };
    let page = f64::from(style.width);
    let gap = if columns > 24 { 1.0 } else { 4.0 };
    let side = ((page - 2.0 * MARGIN + gap) / columns as f64 - gap).clamp(1.0, 64.0);
    let pixel = side / height.max(width) as f64;
    let (top, ink) = (top_of(title), style.theme.text());
    let rows = images.div_ceil(columns);
    let bottom = top + rows as f64 * (pixel * height as f64 + gap);
    let mut scene = canvas::blank(page, bottom + 26.0, style.theme);
    add_title(&mut scene.elements, title, page, ink);

    let plane = height * width;
    for image in 0..images {
        let x = MARGIN + (image % columns) as f64 * (pixel * width as f64 + gap);
        let y = top + (image / columns) as f64 * (pixel * height as f64 + gap);
        for place in 0..plane {
            let at = |plane_index: usize| relative(weights[plane_index * plane + place]);
            let fill = if coloured {
                std::array::from_fn(|c| (127.5 + 127.5 * at(image * 3 + c)).round() as u8)
            } else {
                let [negative, positive] = style.theme.arms();
                let value = at(image);
                let full = if value < 0.0 { negative } else { positive };
                blend(style.theme.background(), full, value.abs())
            };
            let corner = (
                x + (place % width) as f64 * pixel,
                y + (place / width) as f64 * pixel,
            );
            // A hair wider, so that no seam shows between the pixels of an image.
            scene
                .elements
                .push(rectangle(corner, (pixel + 0.05, pixel + 0.05), fill));
        }
        if !coloured {
            let size = (pixel * width as f64, pixel * height as f64);
            scene.elements.push(frame((x, y), size, style.theme.grid()));
        }
    }
    let end = rounded(largest);
    let unit = if coloured {
        format!("{count} filters; grey is 0, the ends are ±{end}")
    } else {
        format!("{count} x {channels}; blue below 0, orange above, ends ±{end}")
    };
    let place = (MARGIN, bottom + 14.0);
    let unit = cut(&unit, page - 2.0 * MARGIN, SMALL);
    scene
        .elements
        .push(text(&unit, place, SMALL, TextAnchor::Start, ink));
    Ok(canvas::finish(scene, title))
}

/// Three decimals, or two digits and an exponent where that would be nothing.
fn rounded(value: f32) -> String {
    if value == 0.0 || value >= 0.01 {
        format!("{}", (f64::from(value) * 1000.0).round() / 1000.0)
    } else {
        format!("{value:.1e}")
    }
}

fn top_of(title: &str) -> f64 {
    if title.is_empty() {
        MARGIN
    } else {
        MARGIN + TITLE_HEIGHT
    }
}

fn add_title(elements: &mut Vec<Primitive>, title: &str, width: f64, ink: Rgb) {
    if !title.is_empty() {
        let title = cut(title, width - 2.0 * MARGIN, TITLE);
        let place = (0.5 * width, MARGIN + 12.0);
        elements.push(text(&title, place, TITLE, TextAnchor::Middle, ink));
    }
}

/// Reads from the bottom to the top.
fn turned(
    content: &str,
    place: (f64, f64),
    size: u32,
    anchor: TextAnchor,
    colour: Rgb,
) -> Primitive {
    let mut turned = text(content, place, size, anchor, colour);
    if let Primitive::Text { rotate, .. } = &mut turned {
        *rotate = Some(-90.0);
    }
    turned
}

fn frame((x, y): (f64, f64), (width, height): (f64, f64), colour: Rgb) -> Primitive {
    Primitive::Rect {
        x,
        y,
        width,
        height,
        fill: "none".into(),
        stroke: Some(super::colour::hex(colour).as_str().into()),
        stroke_width: Some(0.5),
        opacity: None,
    }
}
