//! What a trained network answers on its test set: the confusion matrix, the images it takes for
//! another class, and the filters that see them.

use super::html::Html;
use super::plots::plot;
use crate::data::{Dataset, Image};
use crate::run::eval;
use crate::trained::Trained;
use anyhow::{Context, Result};
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use s3_core::host::{Host, on_cpu};
use s3_layers::Mode;
use s3_layers::model::Numbers;
use s3_metrics::paired::range;
use s3_metrics::plot::{Plot, PlotError, Style, confusion, filters};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// Misclassified images that are shown: the first of the test set.
const SHOWN: usize = 24;

/// An image that is taken for another class.
struct Wrong {
    caption: String,
    png: Vec<u8>,
    /// Height, width, channels.
    shape: [u32; 3],
}

/// A plot for programs that show bitmaps.
pub(crate) struct Bitmap {
    /// Its place among the others: `confusion`, `filters`, `wrong/00 cat, taken for dog`.
    pub(crate) name: String,
    pub(crate) png: Vec<u8>,
    /// Height, width, channels.
    pub(crate) shape: [u32; 3],
}

/// The answers of a run's last checkpoint.
pub struct Answers {
    classes: Vec<String>,
    /// Row: the true class; column: the answer.
    counts: Vec<u64>,
    wrong: Vec<Wrong>,
    /// What is to be said of the plots of these images.
    drawing: Option<String>,
    images: usize,
    /// The first layer's weight and its shape.
    filters: Option<(Vec<f32>, [usize; 4])>,
    /// Lines on data that is not what the run was trained on.
    pub notes: Vec<String>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Answers");
        shown.field("classes", &self.classes);
        shown.field("images", &self.images);
        shown.field("notes", &self.notes);
        shown.finish_non_exhaustive()
    }
}

/// Evaluates the last checkpoint of the run in `folder` on its test set; `other_classes` is that of
/// [`Trained::to_evaluate`].
///
/// # Errors
/// As [`Trained::open`] and [`Trained::to_evaluate`]: no checkpoint, no data, labels of other
/// classes.
pub fn answers(folder: &Path, data_dir: Option<&Path>, other_classes: bool) -> Result<Answers> {
    let trained = Trained::open(folder, "last", data_dir)?;
    let at_hand = trained.to_evaluate(data_dir, other_classes)?;
    let (test, batch) = (&at_hand.splits.test, trained.config.eval_batch_size);
    let eval::Answers { top1, images, .. } =
        eval::evaluate(&trained.net, test, batch, &trained.device)?;
    let classes = test.class_names.clone();
    let mut counts = vec![0; classes.len() * classes.len()];
    let mut wrong = Vec::new();
    for (&answer, i) in top1.iter().zip(images.into_iter().map(|i| i as usize)) {
        let (answer, label) = (answer as usize, test.labels[i] as usize);
        counts[label * classes.len() + answer] += 1;
        if answer != label
            && wrong.len() < SHOWN
            && let Some(png) = png(test, i)?
        {
            let caption = format!("{}, taken for {}", classes[label], classes[answer]);
            wrong.push(Wrong {
                caption,
                png,
                shape: [test.height, test.width, test.channels].map(|side| side as u32),
            });
        }
    }
    let drawing = match (kind(test), test.images.numbers()) {
        (None, _) => Some(format!(
            "Images that are taken for another class are not drawn: a picture has 1 or 3 channels, \
             these have {}.",
            test.channels
        )),
        (Some(_), Numbers::Floats) => Some(
            "Each image is drawn from black, its least number, to white, its largest.".to_owned(),
        ),
        (Some(_), Numbers::Bytes) => None,
    };
    let first = trained.net.layers()[0];
    let weight = on_cpu(&first.weight(Mode::Eval)?)?;
    let filters = match first.spec.shape[..] {
        [o, i, h, w] => Some((Host::new(&weight)?.to_vec(), [o, i, h, w])),
        _ => None,
    };
    Ok(Answers {
        classes,
        counts,
        wrong,
        drawing,
        images: top1.len(),
        filters,
        notes: trained
            .warnings()
            .into_iter()
            .chain(at_hand.differs)
            .collect(),
    })
}

/// What a plot of an image would be, where there are such plots.
fn kind(data: &Dataset) -> Option<ExtendedColorType> {
    match data.channels {
        1 => Some(ExtendedColorType::L8),
        3 => Some(ExtendedColorType::Rgb8),
        _ => None,
    }
}

/// Image `index` as its files have it, floats from its least to its largest; `None` where it is no
/// plot.
fn png(data: &Dataset, index: usize) -> Result<Option<Vec<u8>>> {
    let Some(kind) = kind(data) else {
        return Ok(None);
    };
    let bytes = match data.image(index)? {
        Image::Bytes(bytes) => bytes,
        Image::Floats(floats) => Cow::Owned(stretched(floats)),
    };
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(&bytes, data.width as u32, data.height as u32, kind)
        .context("an image of the test set as PNG")?;
    Ok(Some(out))
}

/// `floats` as bytes, the least as 0 and the largest as 255.
fn stretched(floats: &[f32]) -> Vec<u8> {
    let floats = || floats.iter().map(|&v| f64::from(v));
    let (least, largest) = range(floats());
    let length = (largest - least).max(f64::MIN_POSITIVE);
    let byte = |v: f64| (255.0 * (v - least) / length).round() as u8;
    floats().map(byte).collect()
}

impl Answers {
    fn confusion(&self, style: &Style) -> Result<Plot, PlotError> {
        let classes: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        confusion(&classes, &self.counts, "", style)
    }

    fn filters(&self, style: &Style) -> Result<Plot, PlotError> {
        match &self.filters {
            Some((weights, shape)) => filters(weights, *shape, "", style),
            None => Err(PlotError::Missing {
                what: "convolution in the first layer".to_owned(),
            }),
        }
    }

    /// The plots of the answers as bitmaps; one that cannot be drawn is left out.
    pub(crate) fn bitmaps(&self) -> Vec<Bitmap> {
        let style = Style::default();
        let drawn = [
            ("confusion", self.confusion(&style)),
            ("filters", self.filters(&style)),
        ];
        let drawn = drawn
            .into_iter()
            .filter_map(|(name, plot)| Bitmap::of(name, &plot.ok()?));
        let wrong = self.wrong.iter().enumerate().map(|(i, wrong)| Bitmap {
            name: format!("wrong/{i:02} {}", wrong.caption),
            png: wrong.png.clone(),
            shape: wrong.shape,
        });
        drawn.chain(wrong).collect()
    }

    pub(super) fn show(&self, html: &mut Html) {
        html.subheading("Answers");
        self.notes.iter().for_each(|line| html.note(line));
        html.figures(|f| {
            f.push(
                &format!(
                    "The {} test images: row, the true class; column, the answer",
                    self.images
                ),
                plot(|style| self.confusion(style)),
            );
            if self.filters.is_some() {
                let drawn = plot(|style| self.filters(style));
                f.push("The filters of the first layer", drawn);
            }
        });
        let right =
            (0..self.classes.len()).map(|class| self.counts[class * (self.classes.len() + 1)]);
        if right.sum::<u64>() == self.images as u64 {
            html.paragraph("No test image is taken for another class.");
            return;
        }
        if !self.wrong.is_empty() {
            html.paragraph("The first images of the test set that are taken for another class.");
        }
        if let Some(drawing) = &self.drawing {
            html.paragraph(drawing);
        }
        html.figures(|f| {
            for wrong in &self.wrong {
                f.bitmap(&wrong.caption, &wrong.png);
            }
        });
    }
}

impl Bitmap {
    /// A plot in red, green, blue and opacity, twice as large as its SVG.
    pub(crate) fn of(name: &str, plot: &Plot) -> Option<Self> {
        let [width, height] = plot.pixels(Plot::SCREEN).ok()?;
        Some(Self {
            name: name.to_owned(),
            png: plot.to_png(Plot::SCREEN).ok()?,
            shape: [height, width, 4],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;

    #[test]
    fn floats_are_drawn_from_their_least_to_their_largest() {
        assert_eq!(stretched(&[-2.0, 2.0, 0.0, -1.0]), [0, 255, 128, 64]);
        assert_eq!(stretched(&[7.0; 3]), [0; 3]);
        assert_eq!(stretched(&[f32::MIN, f32::MAX]), [0, 255]);
    }

    #[test]
    fn images_of_other_channels_than_a_plots_are_not_drawn() -> Result<()> {
        let of = |channels: usize| Dataset {
            name: "arrays/test".to_owned(),
            height: 2,
            width: 1,
            channels,
            images: Images::Floats((0..2 * channels).map(|i| i as f32).collect()),
            labels: vec![0],
            class_names: vec!["0".to_owned()],
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        };
        assert_eq!(png(&of(2), 0)?, None);
        for (channels, expected) in [(1, vec![0, 255]), (3, vec![0, 51, 102, 153, 204, 255])] {
            let drawn = png(&of(channels), 0)?.context("a picture")?;
            let drawn = image::load_from_memory(&drawn)?;
            assert_eq!((drawn.width(), drawn.height()), (1, 2));
            assert_eq!(drawn.into_bytes(), expected);
        }
        Ok(())
    }
}
