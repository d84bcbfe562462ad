//! Accuracy and loss of a network on a data set.

use crate::data::{Batch, Dataset, Loader, LoaderConfig};
use crate::loss::cross_entropy;
use anyhow::Result;
use candle_core::{Device, Tensor};
use s3_layers::{Mode, ResNet};
use s3_metrics::accuracy::Accuracy;
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

/// Loss sum and top-1/top-5 hits of `net` over every image of `data`, in evaluation mode.
///
/// # Errors
/// Those of the loader and of the network.
pub fn evaluate(
    net: &ResNet,
    data: &Arc<Dataset>,
    batch_size: usize,
    device: &Device,
) -> Result<Accuracy> {
    let mut sums = Accuracy::default();
    for batch in Loader::new(data, &LoaderConfig::eval(batch_size), 0, 0)? {
        let labels = batch.labels.clone();
        let (images, targets) = tensors(batch, data, device)?;
        let logits = net.forward(&images, Mode::Eval)?;
        let loss = f64::from(cross_entropy(&logits, &targets, 0.0)?.to_scalar::<f32>()?);
        let scores = logits.flatten_all()?.to_vec1::<f32>()?;
        sums.add_batch(loss * labels.len() as f64, &scores, logits.dim(1)?, &labels)?;
    }
    Ok(sums)
}
