//! From plots to a plot: size, fonts, theme, the legend below, and its text as an SVG with
//! stable ids.
//!
//! kuva lays out the axes and draws the data. Three things are ours. The legend stands below the
//! plot in rows, since one at the right leaves half of 360 pixels to the data. The root element
//! gets a `viewBox`, without which a browser cuts the plot instead of scaling it. The id of the
//! clip path, which kuva counts up from plot to plot, is a hash of the plot instead, so
//! that equal data gives equal bytes and two plots fit in one page.

use std::sync::Arc;

use kuva::backend::raster::RasterBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::annotations::ReferenceLine;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot as Marks;
use kuva::render::render::{Primitive, Scene, TextAnchor, render_multiple};
use kuva::render::theme;

use super::colour::{Rgb, blend, hex};
use super::{Labels, PlotError, Scale, Style, Theme};

pub(super) const TITLE: u32 = 13;
pub(super) const LABEL: u32 = 12;
pub(super) const SMALL: u32 = 11;
/// Of DejaVu Sans, the first font asked for: the mean width of a character, as a share of its size.
const CHARACTER: f64 = 0.6;
const ROW: f64 = 17.0;
const SWATCH: f64 = 14.0;
const MARGIN: f64 = 10.0;
const GAP: f64 = 12.0;
/// Four digits and what keeps them apart.
const ROOM_OF_A_TICK: f64 = 36.0;
pub(super) const FONTS: &str = "DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif";

/// One entry of the legend.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) colour: Rgb,
    pub(super) mark: Mark,
}

pub(super) enum Mark {
    Line(Option<&'static str>),
    Area,
    Glyph(char),
}

/// The ends of the axes, where the data should not choose them.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) x: Option<(f64, f64)>,
    pub(super) y: Option<(f64, f64)>,
}

/// Axes, plots and a legend.
pub(super) fn draw(
    plots: Vec<Marks>,
    labels: &Labels,
    ends: Ends,
    legend: &[Entry],
    style: &Style,
) -> Result<Plot, PlotError> {
    let ends = Ends {
        x: labels.x.ends_or(ends.x)?,
        y: labels.y.ends_or(ends.y)?,
    };
    let mut layout = Layout::auto_from_plots(&plots)
        .with_width(f64::from(style.width))
        .with_height(f64::from(style.height))
        .with_theme(theme_of(style.theme))
        .with_font_family(FONTS)
        .with_title_size(TITLE)
        .with_label_size(LABEL)
        .with_tick_size(SMALL)
        .with_body_size(SMALL)
        .with_ticks(5)
        .with_x_label_offset(0.0, -8.0)
        .with_x_label(cut(&labels.x.title(), f64::from(style.width), LABEL))
        .with_y_label(cut(&labels.y.title(), f64::from(style.height), LABEL));
    if !labels.title.is_empty() {
        layout = layout.with_title(cut(&labels.title, f64::from(style.width), TITLE));
    }
    if labels.x.scale == Scale::Log {
        layout = layout
            .with_log_x()
            .with_x_tick_format(decades(ends.x.unwrap_or((1.0, 1.0)), style.width));
    }
    if labels.x.scale == Scale::Whole {
        let (low, high) = ends.x.unwrap_or(layout.x_range);
        layout = layout.with_x_tick_step(whole_step(high - low));
    }
    labels.x.drawable(
        "marks of the x axis",
        labels.x.marks.iter().map(|&m| labels.x.shown(m)),
    )?;
    for &mark in &labels.x.marks {
        let colour = blend(style.theme.background(), style.theme.text(), 0.55);
        let line = ReferenceLine::vertical(labels.x.shown(mark));
        layout = layout.with_reference_line(line.with_color(hex(colour)).with_dasharray("4 3"));
    }
    if let Some((low, high)) = ends.x {
        layout = layout.with_x_axis_min(low).with_x_axis_max(high);
    }
    if let Some((low, high)) = ends.y {
        layout = layout.with_y_axis_min(low).with_y_axis_max(high);
    }
    let mut scene = render_multiple(plots, layout);
    add_legend(&mut scene, legend, style);
    Ok(finish(scene, &labels.title))
}

/// The least of 1, 2, 5, 10, .. that cuts a length into six pieces at most.
fn whole_step(length: f64) -> f64 {
    let mut decade = 1.0;
    loop {
        let step = [1.0, 2.0, 5.0].map(|s| s * decade);
        match step.into_iter().find(|s| length <= 6.0 * s) {
            Some(step) => return step,
            None => decade *= 10.0,
        }
    }
}

/// An empty plot for what has no axes.
pub(super) fn blank(width: f64, height: f64, theme: Theme) -> Scene {
    let mut scene = Scene::new(width, height);
    scene.background_color = Some(hex(theme.background()));
    scene.text_color = Some(hex(theme.text()));
    scene.font_family = Some(FONTS.to_owned());
    scene
}

pub(super) fn finish(scene: Scene, title: &str) -> Plot {
    Plot {
        scene,
        title: title.to_owned(),
    }
}

/// A drawn plot.
///
/// ```
/// use s3_metrics::plot::{Plot, Style, confusion};
/// let plot = confusion(&["cat", "dog"], &[3, 1, 0, 4], "", &Style::default())?;
/// assert!(plot.to_svg().starts_with("<svg "));
/// assert!(plot.to_png(Plot::SCREEN)?.starts_with(b"\x89PNG"));
/// # Ok::<(), s3_metrics::plot::PlotError>(())
/// ```
#[derive(Debug)]
pub struct Plot {
    scene: Scene,
    title: String,
}

/// Pixels of a PNG for each unit of the SVG.
const SCALES: std::ops::RangeInclusive<f32> = 0.25..=16.0;
/// 256 MB in memory.
const MOST_PIXELS: f32 = 64e6;

impl Plot {
    /// The text of an SVG with a `viewBox`; equal data gives equal bytes.
    pub fn to_svg(&self) -> String {
        let scene = &self.scene;
        let mut svg = SvgBackend::new().render_scene(scene);
        let viewport = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"",
            scene.width,
            scene.height,
            escaped(&self.title)
        );
        svg.replace_range(.."<svg".len(), &viewport);
        // One clip path a plot; a label that looks like its id would be renamed with it.
        const ID: &str = "kuva-clip-";
        let Some(start) = svg.find(ID) else {
            return svg;
        };
        let digits = svg[start + ID.len()..]
            .bytes()
            .take_while(u8::is_ascii_digit);
        let id = svg[start..start + ID.len() + digits.count()].to_owned();
        let anonymous = svg
            .replace(&format!("{id}\""), "\"")
            .replace(&format!("{id})"), ")");
        let stable = format!("clip-{:016x}", fnv1a(anonymous.as_bytes()));
        svg.replace(&format!("\"{id}\""), &format!("\"{stable}\""))
            .replace(&format!("#{id})"), &format!("#{stable})"))
    }

    /// A scale for screens; 4.0 is for print.
    pub const SCREEN: f32 = 2.0;

    /// The bytes of a PNG in red, green, blue and opacity, with `scale` pixels for each unit of the
    /// SVG. Its letters are those of DejaVu Sans, which comes with the crate; words that read
    /// upwards come out bolder on light than in the SVG. Equal data gives equal bytes.
    ///
    /// # Errors
    /// As [`Plot::pixels`].
    pub fn to_png(&self, scale: f32) -> Result<Vec<u8>, PlotError> {
        self.pixels(scale)?;
        let backend = RasterBackend::new().with_scale(scale);
        backend
            .render_scene(&self.scene)
            .map_err(|reason| PlotError::Encoding { reason })
    }

    /// Width and height of the PNG of this scale.
    ///
    /// # Errors
    /// [`PlotError`] for a scale that is not in 0.25 to 16, and for more than 64 million pixels.
    pub fn pixels(&self, scale: f32) -> Result<[u32; 2], PlotError> {
        if !SCALES.contains(&scale) {
            return Err(PlotError::Number {
                of: "scale of a PNG".to_owned(),
                index: 0,
                value: f64::from(scale),
                expected: "0.25 to 16",
            });
        }
        let sides = [self.scene.width, self.scene.height];
        let [width, height] = sides.map(|side| (side as f32 * scale).ceil());
        if width * height > MOST_PIXELS {
            return Err(PlotError::Encoding {
                reason: format!("expected at most 64 million pixels, got {width} by {height}"),
            });
        }
        Ok([width as u32, height as u32])
    }
}

pub(super) fn text(
    content: &str,
    (x, y): (f64, f64),
    size: u32,
    anchor: TextAnchor,
    colour: Rgb,
) -> Primitive {
    Primitive::Text {
        x,
        y,
        content: visible(content),
        size,
        anchor,
        rotate: None,
        bold: false,
        color: Some(hex(colour).as_str().into()),
    }
}

pub(super) fn rectangle((x, y): (f64, f64), (width, height): (f64, f64), fill: Rgb) -> Primitive {
    Primitive::Rect {
        x,
        y,
        width,
        height,
        fill: hex(fill).as_str().into(),
        stroke: None,
        stroke_width: None,
        opacity: None,
    }
}

/// The text cut with an ellipsis where it is wider than `width` pixels; no control characters.
pub(super) fn cut(content: &str, width: f64, size: u32) -> String {
    let content = visible(content);
    let fits = ((width / (CHARACTER * f64::from(size))) as usize).max(2);
    if content.chars().count() <= fits {
        return content;
    }
    content.chars().take(fits - 1).chain(['…']).collect()
}

pub(super) fn width_of(content: &str, size: u32) -> f64 {
    content.chars().count() as f64 * CHARACTER * f64::from(size)
}

/// XML has no control characters, not even escaped.
fn visible(content: &str) -> String {
    let shown = |c: char| {
        if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') {
            '\u{fffd}'
        } else {
            c
        }
    };
    content.chars().map(shown).collect()
}

fn escaped(content: &str) -> String {
    visible(content)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Entries one behind the other, below what is drawn; a new row where there is no room.
fn add_legend(scene: &mut Scene, legend: &[Entry], style: &Style) {
    let (mut x, mut y) = (MARGIN, scene.height + 0.5 * ROW);
    for entry in legend {
        let name = cut(
            &entry.name,
            scene.width - 2.0 * MARGIN - SWATCH - 5.0,
            SMALL,
        );
        let width = SWATCH + 5.0 + width_of(&name, SMALL);
        if x > MARGIN && x + width > scene.width - MARGIN {
            (x, y) = (MARGIN, y + ROW);
        }
        scene.elements.push(match entry.mark {
            Mark::Line(dashes) => Primitive::Line {
                x1: x,
                y1: y,
                x2: x + SWATCH,
                y2: y,
                stroke: hex(entry.colour).as_str().into(),
                stroke_width: 2.5,
                stroke_dasharray: dashes.map(str::to_owned),
            },
            Mark::Area => rectangle((x, y - 5.0), (SWATCH, 10.0), entry.colour),
            Mark::Glyph(glyph) => {
                let place = (x + 0.5 * SWATCH, y + 4.0);
                text(
                    &glyph.to_string(),
                    place,
                    TITLE,
                    TextAnchor::Middle,
                    entry.colour,
                )
            }
        });
        let place = (x + SWATCH + 5.0, y + 4.0);
        let ink = style.theme.text();
        scene
            .elements
            .push(text(&name, place, SMALL, TextAnchor::Start, ink));
        x += width + GAP;
    }
    if !legend.is_empty() {
        scene.height = y + 0.5 * ROW + 4.0;
    }
}

fn theme_of(theme: Theme) -> theme::Theme {
    let (background, ink, grid) = (
        hex(theme.background()),
        hex(theme.text()),
        hex(theme.grid()),
    );
    theme::Theme {
        background: background.clone(),
        axis_color: ink.clone(),
        grid_color: grid.clone(),
        tick_color: ink.clone(),
        text_color: ink.clone(),
        legend_bg: background.clone(),
        legend_border: grid.clone(),
        pie_leader: grid.clone(),
        box_median: background,
        violin_border: ink,
        colorbar_border: grid,
        font_family: None,
        show_grid: true,
    }
}

/// Names the ticks of a logarithmic axis: 1, 2, 5 of each decade where there is room, else 1 alone.
fn decades((low, high): (f64, f64), width: u32) -> TickFormat {
    // The data has about 0.8 of the width; 5 and 10 stand 0.3 of a decade apart.
    let apart = 0.3 * 0.8 * f64::from(width) / (high / low).log10();
    let all = apart >= ROOM_OF_A_TICK;
    TickFormat::Custom(Arc::new(move |tick: f64| {
        let leading = tick / 10f64.powf((tick.log10() + 1e-9).floor());
        let shown = match leading.round() as i32 {
            1 => true,
            2 | 5 => all,
            _ => false,
        };
        if shown {
            format!("{tick}")
        } else {
            String::new()
        }
    }))
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
