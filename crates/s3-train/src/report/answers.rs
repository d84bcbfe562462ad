//! What a trained network answers on its test set: the confusion matrix, the images it takes for another
//! class, and the filters that see them.

use super::html::Html;
use super::pictures::picture;
use crate::data::Dataset;
use crate::eval;
use crate::trained::Trained;
use anyhow::{Context, Result};
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use s3_core::host::{Host, on_cpu};
use s3_layers::Mode;
use s3_metrics::plot::{confusion, filters};
use std::path::Path;

/// Misclassified images that are shown: the first of the test set.
const SHOWN: usize = 24;

/// The answers of a run's last checkpoint.
pub struct Answers {
    classes: Vec<String>,
    /// Row: the true class; column: the answer.
    counts: Vec<u64>,
    /// Caption and PNG.
    wrong: Vec<(String, Vec<u8>)>,
    images: usize,
    /// The first layer's weight and its shape.
    filters: Option<(Vec<f32>, [usize; 4])>,
}

/// Evaluates the last checkpoint of the run in `folder` on its test set.
///
/// # Errors
/// As [`Trained::open`]: no checkpoint, no data.
pub fn answers(folder: &Path, data_dir: Option<&Path>) -> Result<Answers> {
    let trained = Trained::open(folder, "last", data_dir)?;
    let (test, batch) = (&trained.splits.test, trained.config.eval_batch_size);
    let eval::Answers { top1, images, .. } =
        eval::evaluate(&trained.net, test, batch, &trained.device)?;
    let classes = test.class_names.clone();
    let mut counts = vec![0; classes.len() * classes.len()];
    let mut wrong = Vec::new();
    for (&answer, i) in top1.iter().zip(images.into_iter().map(|i| i as usize)) {
        let (answer, label) = (answer as usize, test.labels[i] as usize);
        counts[label * classes.len() + answer] += 1;
        if answer != label && wrong.len() < SHOWN {
            let caption = format!("{}, taken for {}", classes[label], classes[answer]);
            wrong.push((caption, png(test, i)?));
        }
    }
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
        images: top1.len(),
        filters,
    })
}

/// Image `index` as its files have it.
fn png(data: &Dataset, index: usize) -> Result<Vec<u8>> {
    let bytes = data.image(index)?;
    let kind = match data.channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(&bytes, data.width as u32, data.height as u32, kind)
        .context("an image of the test set as PNG")?;
    Ok(out)
}

impl Answers {
    pub(super) fn show(&self, html: &mut Html) {
        html.subheading("Answers");
        let classes: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        html.figures(|f| {
            f.push(
                &format!(
                    "The {} test images: row, the true class; column, the answer",
                    self.images
                ),
                picture(|style| confusion(&classes, &self.counts, "", style)),
            );
            if let Some((weights, shape)) = &self.filters {
                f.push(
                    "The filters of the first layer",
                    picture(|style| filters(weights, *shape, "", style)),
                );
            }
        });
        if self.wrong.is_empty() {
            html.paragraph("No test image is taken for another class.");
            return;
        }
        html.paragraph("The first images of the test set that are taken for another class.");
        html.figures(|f| {
            for (caption, png) in &self.wrong {
                f.bitmap(caption, png);
            }
        });
    }
}
