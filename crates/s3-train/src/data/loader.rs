//! The batches of one epoch, prepared on a thread of their own.
//!
//! ```text
//! order = epoch_order(len, seed, epoch)            or 0..len for evaluation
//! batch s = order[s * batch_size ..][.. batch_size]
//! each image: Placement::draw(seed, epoch, sample) -> crop, flip, normalise
//! ```
//!
//! Step `s` is a function of (config, epoch, s) alone. A run that resumes in the middle of an
//! epoch therefore starts the loader at its step and sees what the uninterrupted run saw.
//!
//! The loader's thread stays `prefetch` batches ahead through a bounded channel, so that a
//! training step does not wait for its images and memory stays bounded. Dropping the loader ends
//! the thread.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use super::augment::{AugmentConfig, Normalizer, Placement};
use super::error::DataError;
use super::{Dataset, below, keyed_rng};

/// How a [`Loader`] cuts a data set into batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Images of a batch.
    pub batch_size: usize,
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Whether each epoch has an order of its own; else it is that of the data set.
    pub shuffle: bool,
    /// Whether to leave out a last batch that is not full.
    pub drop_last: bool,
    /// Random changes to the images.
    pub augment: AugmentConfig,
    /// Batches to keep ready, besides the one being made.
    pub prefetch: usize,
}

impl LoaderConfig {
    /// Shuffled and augmented, with the last short batch, two batches ahead.
    #[must_use]
    pub const fn train(batch_size: usize, seed: u64, augment: AugmentConfig) -> Self {
        Self {
            batch_size,
            seed,
            shuffle: true,
            drop_last: false,
            augment,
            prefetch: 2,
        }
    }

    /// Every image once, as it is, in the order of the data set.
    #[must_use]
    pub const fn eval(batch_size: usize) -> Self {
        let augment = AugmentConfig::OFF;
        Self {
            batch_size,
            seed: 0,
            shuffle: false,
            drop_last: false,
            augment,
            prefetch: 2,
        }
    }
}

/// Images and labels of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[len, height, width, channels]`, normalised.
    pub images: Vec<f32>,
    /// `[len]`, each below the number of classes.
    pub labels: Vec<u32>,
    /// `[len]`, the positions in the data set.
    pub indices: Vec<u32>,
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

/// The numbers `0..len` in the order of epoch `epoch` of a run seeded `seed`.
///
/// A uniform shuffle (Fisher-Yates), a function of its arguments.
///
/// ```
/// use s3_train::data::epoch_order;
///
/// let mut order = epoch_order(1000, 1, 0);
/// assert_eq!(order, epoch_order(1000, 1, 0));
/// assert_ne!(order, epoch_order(1000, 1, 1));
/// order.sort_unstable();
/// assert!(order.into_iter().eq(0..1000));
/// ```
///
/// # Panics
///
/// If `len` does not fit into a `u32`.
#[must_use]
pub fn epoch_order(len: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order = in_order(len);
    let mut rng = keyed_rng(*b"shuffle.", seed, epoch, 0);
    for last in (1..len).rev() {
        order.swap(last, below(&mut rng, last + 1));
    }
    order
}

fn in_order(len: usize) -> Vec<u32> {
    (0..u32::try_from(len).expect("a data set has fewer than 2^32 images")).collect()
}

/// Number of batches of an epoch over `len` images.
///
/// ```
/// use s3_train::data::{LoaderConfig, steps_per_epoch};
///
/// let config = LoaderConfig::eval(32);
/// assert_eq!(steps_per_epoch(100, &config), 4);
/// assert_eq!(steps_per_epoch(100, &LoaderConfig { drop_last: true, ..config }), 3);
/// ```
///
/// # Panics
///
/// If the batch size is 0.
#[must_use]
pub fn steps_per_epoch(len: usize, config: &LoaderConfig) -> usize {
    if config.drop_last {
        len / config.batch_size
    } else {
        len.div_ceil(config.batch_size)
    }
}

/// All that the batches of an epoch depend on.
#[derive(Debug)]
struct Plan {
    dataset: Arc<Dataset>,
    config: LoaderConfig,
    epoch: u64,
    order: Vec<u32>,
    normalizer: Normalizer,
}

impl Plan {
    fn batch(&self, step: usize) -> Batch {
        let start = step * self.config.batch_size;
        let end = (start + self.config.batch_size).min(self.order.len());
        let indices = self.order[start..end].to_vec();
        let size = self.dataset.image_len();
        let mut images = vec![0.0; indices.len() * size];
        for (&index, out) in indices.iter().zip(images.chunks_exact_mut(size)) {
            let index = index as usize;
            let LoaderConfig { augment, seed, .. } = self.config;
            let placement = Placement::draw(augment, seed, self.epoch, index);
            self.normalizer.write(&self.dataset, index, placement, out);
        }
        let labels = indices
            .iter()
            .map(|&i| u32::from(self.dataset.labels[i as usize]))
            .collect();
        Batch {
            images,
            labels,
            indices,
        }
    }
}

/// Iterator over the batches of one epoch.
#[derive(Debug)]
pub struct Loader {
    /// Steps that are still to come.
    steps: Range<usize>,
    /// `None` once the loader is being dropped.
    batches: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// The batches `start_step..` of epoch `epoch`.
    ///
    /// `start_step` is 0 except when a run resumes in the middle of an epoch; it may equal the
    /// number of steps, and then there is no batch.
    ///
    /// # Errors
    ///
    /// [`DataError::Argument`] if the batch size is 0, the start lies behind the end of the epoch
    /// or the fields of `dataset` contradict each other; [`DataError::Io`] if no thread starts.
    pub fn new(
        dataset: &Arc<Dataset>,
        config: &LoaderConfig,
        epoch: u64,
        start_step: usize,
    ) -> Result<Self, DataError> {
        dataset.check()?;
        if config.batch_size == 0 {
            return Err(DataError::argument(&dataset.name, "the batch size is 0"));
        }
        let steps = steps_per_epoch(dataset.len(), config);
        if start_step > steps {
            let problem = format!("step {start_step} lies behind the {steps} steps of the epoch");
            return Err(DataError::argument(&dataset.name, problem));
        }
        let order = if config.shuffle {
            epoch_order(dataset.len(), config.seed, epoch)
        } else {
            in_order(dataset.len())
        };
        let plan = Plan {
            dataset: Arc::clone(dataset),
            config: config.clone(),
            epoch,
            order,
            normalizer: Normalizer::new(&dataset.mean, &dataset.std),
        };
        let (sender, receiver) = sync_channel(config.prefetch);
        let work = move || {
            for step in start_step..steps {
                // The loader was dropped: nobody waits for the rest.
                if sender.send(plan.batch(step)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("s3-loader".to_owned())
            .spawn(work)
            .map_err(|source| DataError::io("(thread of the data loader)".as_ref(), source))?;
        Ok(Self {
            steps: start_step..steps,
            batches: Some(receiver),
            thread: Some(thread),
        })
    }
}

impl Iterator for Loader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.steps.next()?;
        match self.batches.as_ref()?.recv() {
            Ok(batch) => Some(batch),
            // The thread ended before its last batch, so it panicked: an epoch must not end early
            // in silence.
            Err(_) => match self.thread.take()?.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("the thread sends every batch while the loader lives"),
            },
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.steps.size_hint()
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic was either passed on by `next` or concerns batches that nobody asked for.
            let _ = thread.join();
        }
    }
}
