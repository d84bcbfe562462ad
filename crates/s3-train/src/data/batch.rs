//! One batch: its images made, on worker threads where they are image files, in the order that
//! the epoch has.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::augment::{Normalizer, Placement};
use super::crop::View;
use super::error::DataError;
use super::order::LoaderConfig;
use super::{Dataset, Image, Images};

/// Images and labels of one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// `[len, height, width, channels]`, normalised.
    pub images: Vec<f32>,
    /// `[len]`, each below the number of classes.
    pub labels: Vec<u32>,
    /// `[len]`, the positions in the data set.
    pub indices: Vec<u32>,
    /// A line for each image that is left out because it cannot be decoded, naming its file.
    pub skipped: Vec<String>,
    /// Where the batch lies in its step, images that are left out included.
    pub images_of_step: Range<usize>,
    /// Images of the whole step.
    pub step_len: usize,
}

impl Batch {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// All that the batches of an epoch depend on.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) dataset: Arc<Dataset>,
    pub(super) config: LoaderConfig,
    pub(super) epoch: u64,
    pub(super) order: Vec<u32>,
    pub(super) normalizer: Normalizer,
}

impl Plan {
    /// The rank's micro-batch `k` of step `step`.
    pub(super) fn batch(&self, step: usize, k: usize) -> Result<Batch, DataError> {
        let start = step * self.config.batch_size;
        let end = (start + self.config.batch_size).min(self.order.len());
        let part = self.config.parts.images(end - start, k);
        let mut batch = self.images(self.order[start..end][part.clone()].to_vec())?;
        (batch.images_of_step, batch.step_len) = (part, end - start);
        Ok(batch)
    }

    fn images(&self, indices: Vec<u32>) -> Result<Batch, DataError> {
        let size = self.dataset.image_len();
        let mut images = vec![0.0; indices.len() * size];
        let jobs = indices.iter().zip(images.chunks_exact_mut(size));
        let failures = match &self.dataset.images {
            Images::Bytes(_) | Images::Floats(_) => jobs
                .filter_map(|(&index, out)| self.image(index, out).err().map(|e| (index, e)))
                .collect(),
            Images::Files(_) => self.on_workers(jobs)?,
        };
        let labels = |indices: &[u32]| {
            let label = |&index: &u32| u32::from(self.dataset.labels[index as usize]);
            indices.iter().map(label).collect()
        };
        if failures.is_empty() {
            return Ok(Batch {
                images,
                labels: labels(&indices),
                indices,
                ..Batch::default()
            });
        }
        self.without(failures, &indices, &images, labels)
    }

    /// Makes all images on the workers; returns the failures in the order of the batch.
    fn on_workers<'a>(
        &self,
        jobs: impl Iterator<Item = (&'a u32, &'a mut [f32])> + Send,
    ) -> Result<Vec<(u32, DataError)>, DataError> {
        let jobs = Mutex::new(jobs.enumerate());
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut failures = Vec::new();
            while let Some((at, (&index, out))) = next() {
                if let Err(e) = self.image(index, out) {
                    failures.push((at, index, e));
                }
            }
            failures
        };
        let mut failures = thread::scope(|scope| {
            let mut others = Vec::new();
            for _ in 1..self.config.workers {
                let builder = thread::Builder::new().name("s3-decoder".to_owned());
                let started = builder.spawn_scoped(scope, work);
                others.push(started.map_err(no_thread)?);
            }
            let mut failures = work();
            for other in others {
                match other.join() {
                    Ok(more) => failures.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(failures)
        })?;
        failures.sort_unstable_by_key(|(at, ..)| *at);
        Ok(failures
            .into_iter()
            .map(|(_, index, e)| (index, e))
            .collect())
    }

    /// Writes image `index`, normalised, to `out`.
    fn image(&self, index: u32, out: &mut [f32]) -> Result<(), DataError> {
        let (index, dataset) = (index as usize, &*self.dataset);
        let LoaderConfig { augment, seed, .. } = self.config;
        let placement = Placement::draw(augment, seed, self.epoch, index);
        let image = match &dataset.images {
            Images::Files(images) if augment.resized_crop => {
                let epoch = self.epoch;
                Image::Bytes(images.view(index, View::Random { seed, epoch })?.into())
            }
            _ => dataset.image(index)?,
        };
        let (by, width) = (&self.normalizer, dataset.width);
        match image {
            Image::Bytes(bytes) => by.write(&bytes, width, placement, out),
            Image::Floats(floats) => by.write(floats, width, placement, out),
        }
        Ok(())
    }

    /// The batch without the images that failed, or the first failure that stops the run.
    fn without(
        &self,
        failures: Vec<(u32, DataError)>,
        indices: &[u32],
        images: &[f32],
        labels: impl Fn(&[u32]) -> Vec<u32>,
    ) -> Result<Batch, DataError> {
        let skips = match &self.dataset.images {
            Images::Files(images) => images.skips_broken(),
            Images::Bytes(_) | Images::Floats(_) => false,
        };
        let mut failed = Vec::new();
        let mut skipped = Vec::new();
        for (index, e) in failures {
            if !skips || !e.is_broken_image() {
                return Err(e.stopping());
            }
            failed.push(index);
            skipped.push(e.to_string());
        }
        let good: Vec<bool> = indices.iter().map(|i| !failed.contains(i)).collect();
        let kept = |at: &usize| good[*at];
        let indices: Vec<u32> = (0..indices.len())
            .filter(kept)
            .map(|at| indices[at])
            .collect();
        let size = self.dataset.image_len();
        let images = images
            .chunks_exact(size)
            .zip(&good)
            .filter(|(_, good)| **good);
        Ok(Batch {
            images: images.flat_map(|(image, _)| image).copied().collect(),
            labels: labels(&indices),
            indices,
            skipped,
            ..Batch::default()
        })
    }
}

pub(super) fn no_thread(source: std::io::Error) -> DataError {
    DataError::io("(thread of the data loader)".as_ref(), source)
}
