//! Accuracy and loss of a network on a data set.

use super::loss::cross_entropy;
use super::ranks::{Ranks, collective};
use crate::data::{Batch, Dataset, Loader, LoaderConfig, steps_per_epoch};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use s3_layers::{Mode, Net};
use s3_metrics::accuracy::Accuracy;
use std::ops::Range;
use std::sync::Arc;

/// A batch as tensors: images `[n, h, w, c]` f32 and labels `[n]` u32.
///
/// # Errors
/// Those of candle.
pub fn tensors(batch: Batch, data: &Dataset, device: &Device) -> Result<(Tensor, Tensor)> {
    let n = batch.labels.len();
    let shape = (n, data.height, data.width, data.channels);
    Ok((
        Tensor::from_vec(batch.images, shape, device)?,
        Tensor::from_vec(batch.labels, n, device)?,
    ))
}

/// What a network answers on a data set.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Loss sum and hits.
    pub accuracy: Accuracy,
    /// The class of the largest score of each image, the first of equal ones.
    pub top1: Vec<u32>,
    /// The positions of these images in the data set.
    pub images: Vec<u32>,
    /// A line for each image that could not be decoded and is left out.
    pub skipped: Vec<String>,
}

impl Answers {
    /// The number of images whose class is another one in `other`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> usize {
        let pairs = self.top1.iter().zip(&other.top1);
        pairs.filter(|(a, b)| a != b).count()
    }
}

/// What `scores` answers on every image of `data`: it is given a batch of images, `[n, h, w, c]`
/// and normalised, with `n`, and returns `[n, classes]`.
///
/// # Errors
/// Those of the loader and of `scores`; no image that can be decoded, or scores whose loss is no
/// number: there is nothing to say of either.
pub fn answers(
    data: &Arc<Dataset>,
    batch_size: usize,
    scores: impl FnMut(Vec<f32>, usize) -> Result<Vec<f32>>,
) -> Result<Answers> {
    let mut all = Answers::default();
    let steps = steps_per_epoch(data.len(), &LoaderConfig::eval(batch_size));
    each_batch(data, batch_size, 0..steps, scores, |answers| {
        all.accuracy.merge(&answers.accuracy);
        all.top1.extend(answers.top1);
        all.images.extend(answers.images);
        all.skipped.extend(answers.skipped);
    })?;
    let name = &data.name;
    let Some(loss) = all.accuracy.mean_loss() else {
        let first = all.skipped.first().map_or("there is none", String::as_str);
        bail!(
            "{name}: none of {} pictures can be read: {first}",
            data.len()
        )
    };
    ensure!(
        loss.is_finite(),
        "{name}: the loss is {loss}: scores of the network are not finite, as after a training \
         that diverged"
    );
    Ok(all)
}

/// What these scores, `[images, classes]`, front to end, answer on the images of `data` that can be
/// read.
///
/// # Errors
/// As [`answers`]; fewer scores than images.
pub fn of_scores(scores: &[f32], data: &Arc<Dataset>, batch_size: usize) -> Result<Answers> {
    let mut left = scores;
    answers(data, batch_size, |_, n| {
        let of_batch = left.split_off(..n * data.classes());
        Ok(of_batch.context("fewer scores than images")?.to_vec())
    })
}

/// Shows `see` the answers on each of the batches `steps`.
fn each_batch(
    data: &Arc<Dataset>,
    batch_size: usize,
    steps: Range<usize>,
    mut scores: impl FnMut(Vec<f32>, usize) -> Result<Vec<f32>>,
    mut see: impl FnMut(Answers),
) -> Result<()> {
    let loader = Loader::new(data, &LoaderConfig::eval(batch_size), 0, steps.start)?;
    for batch in loader.take(steps.len()) {
        let batch = batch?;
        let n = batch.len();
        if n == 0 {
            see(Answers {
                skipped: batch.skipped,
                ..Answers::default()
            });
            continue;
        }
        let scores = scores(batch.images, n)?;
        let classes = scores.len() / n.max(1);
        let logits = Tensor::from_slice(&scores, (n, classes), &Device::Cpu)?;
        let targets = Tensor::from_slice(&batch.labels, n, &Device::Cpu)?;
        let loss = f64::from(cross_entropy(&logits, &targets, 0.0)?.to_scalar::<f32>()?);
        let mut accuracy = Accuracy::default();
        accuracy.add_batch(loss * n as f64, &scores, classes, &batch.labels)?;
        let rows = scores.chunks(classes.max(1));
        see(Answers {
            accuracy,
            top1: rows.map(first_of_largest).collect(),
            images: batch.indices,
            skipped: batch.skipped,
        });
    }
    Ok(())
}

fn first_of_largest(row: &[f32]) -> u32 {
    let mut best = 0;
    for (class, score) in row.iter().enumerate() {
        if *score > row[best] {
            best = class;
        }
    }
    best as u32
}

/// What `net` answers on every image of `data`, in evaluation mode.
///
/// # Errors
/// Those of the loader and of the network.
pub fn evaluate(
    net: &Net,
    data: &Arc<Dataset>,
    batch_size: usize,
    device: &Device,
) -> Result<Answers> {
    answers(data, batch_size, |images, n| {
        scores(net, data, images, n, device)
    })
}

fn scores(
    net: &Net,
    data: &Dataset,
    images: Vec<f32>,
    n: usize,
    device: &Device,
) -> Result<Vec<f32>> {
    let shape = (n, data.height, data.width, data.channels);
    let images = Tensor::from_vec(images, shape, device)?;
    let logits = net.forward(&images, Mode::Eval)?;
    Ok(logits.flatten_all()?.to_vec1::<f32>()?)
}

/// Accuracy and loss of `net` on `data`, whose batches the ranks share. The batches are added up in
/// their order, whatever the number of ranks. After each of this rank's, `see` is given a line for
/// each image that was left out, the batches done, and how many there are.
///
/// # Errors
/// As [`evaluate`], and those of the ranks.
pub(crate) fn evaluate_together(
    net: &Net,
    data: &Arc<Dataset>,
    batch_size: usize,
    device: &Device,
    ranks: &dyn Ranks,
    mut see: impl FnMut(&[String], usize, usize),
) -> Result<Accuracy> {
    let steps = steps_per_epoch(data.len(), &LoaderConfig::eval(batch_size));
    let each = steps.div_ceil(ranks.size());
    let first = (ranks.rank() * each).min(steps);
    let mine = first..(first + each).min(steps);
    let count = mine.len();
    let mut parts = Vec::with_capacity(each);
    let on_images = |images, n| scores(net, data, images, n, device);
    each_batch(data, batch_size, mine, on_images, |answers| {
        parts.push(answers.accuracy);
        see(&answers.skipped, parts.len(), count);
    })?;
    parts.resize(each, Accuracy::default());
    let mut total = Accuracy::default();
    for part in collective::gather_accuracies(ranks, &parts)? {
        total.merge(&part);
    }
    Ok(total)
}
