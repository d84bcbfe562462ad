//! The batches of one epoch, prepared on threads of their own.
//!
//! ```text
//! order = epoch_order(len, seed, epoch)            or 0..len for evaluation
//! batch s = order[s * batch_size ..][.. batch_size]
//! each image: Placement::draw(seed, epoch, sample) -> crop, flip, normalise
//! ```
//!
//! Pictures in files are read and decoded on `workers` threads, of which each takes the next picture of
//! the batch; images in memory need one. Pictures in shards have an order that reads four shards at a
//! time, each whole: the shards are shuffled, and then all pictures of four shards among each other.
//!
//! Step `s` is a function of (config, epoch, s) alone. A run that resumes in the middle of an
//! epoch therefore starts the loader at its step and sees what the uninterrupted run saw.
//!
//! The loader's thread stays `prefetch` batches ahead through a bounded channel, so that a
//! training step does not wait for its images and memory stays bounded. Dropping the loader ends
//! the threads.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use super::augment::{AugmentConfig, Normalizer};
use super::batch::{Batch, Plan, no_thread};
use super::error::DataError;
use super::parts::Parts;
use super::random::{below, keyed_rng};
use super::shards::TOGETHER;
use super::{Dataset, Images};

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
    /// Threads that decode pictures; changes no result. 0: as many as rayon has.
    pub workers: usize,
    /// The micro-batches that are made of each step's batch.
    pub parts: Parts,
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
            workers: 0,
            parts: Parts::WHOLE,
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
            workers: 0,
            parts: Parts::WHOLE,
        }
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
    shuffle(&mut order, seed, epoch, 0);
    order
}

fn shuffle<T>(order: &mut [T], seed: u64, epoch: u64, stream: u64) {
    let mut rng = keyed_rng(*b"shuffle.", seed, epoch, stream);
    for last in (1..order.len()).rev() {
        order.swap(last, below(&mut rng, last + 1));
    }
}

/// The order of an epoch over `blocks` that lie one behind the other: the blocks shuffled, then all
/// that is in each [`TOGETHER`] of them.
fn block_order(mut blocks: Vec<Range<usize>>, seed: u64, epoch: u64) -> Vec<u32> {
    shuffle(&mut blocks, seed, epoch, 0);
    let mut order = Vec::new();
    for (stream, group) in (1..).zip(blocks.chunks(TOGETHER)) {
        let first = order.len();
        order.extend(group.iter().cloned().flatten().map(|i| i as u32));
        shuffle(&mut order[first..], seed, epoch, stream);
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

/// Iterator over the batches of one epoch: one a step, or the step's micro-batches one after the other.
#[derive(Debug)]
pub struct Loader {
    /// Batches that are still to come.
    steps: Range<usize>,
    /// `None` once the loader is being dropped.
    batches: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// The batches of the steps `start_step..` of epoch `epoch`, `parts.count` of each step.
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
        let blocks = match &dataset.images {
            Images::Pictures(pictures) => pictures.blocks(),
            Images::Bytes(_) | Images::Floats(_) => None,
        };
        let order = match blocks {
            _ if !config.shuffle => in_order(dataset.len()),
            Some(blocks) => block_order(blocks, config.seed, epoch),
            None => epoch_order(dataset.len(), config.seed, epoch),
        };
        let mut config = config.clone();
        if config.workers == 0 {
            config.workers = rayon::current_num_threads();
        }
        let prefetch = config.prefetch;
        let plan = Plan {
            dataset: Arc::clone(dataset),
            config,
            epoch,
            order,
            normalizer: Normalizer::new(&dataset.mean, &dataset.std),
        };
        let each = plan.config.parts.count;
        Self::spawn(start_step * each..steps * each, prefetch, move |i| {
            plan.batch(i / each, i % each)
        })
    }

    /// The batches that `make` gives for `steps`, made on a new thread.
    fn spawn(
        steps: Range<usize>,
        prefetch: usize,
        mut make: impl FnMut(usize) -> Result<Batch, DataError> + Send + 'static,
    ) -> Result<Self, DataError> {
        let (sender, receiver) = sync_channel(prefetch);
        let to_make = steps.clone();
        let work = move || {
            for step in to_make {
                let batch = make(step);
                let is_last = batch.is_err();
                // The loader was dropped: nobody waits for the rest.
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("s3-loader".to_owned())
            .spawn(work)
            .map_err(no_thread)?;
        Ok(Self {
            steps,
            batches: Some(receiver),
            thread: Some(thread),
        })
    }
}

impl Iterator for Loader {
    /// After an error there is nothing more.
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Result<Batch, DataError>> {
        self.steps.next()?;
        // This waits on a worker of the pool: the loader's thread must not need the pool itself.
        match self.batches.as_ref()?.recv() {
            Ok(batch) => {
                if batch.is_err() {
                    self.steps = self.steps.end..self.steps.end;
                }
                Some(batch)
            }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::super::augment::Placement;
    use super::super::shapes;
    use super::*;

    const AUGMENT: AugmentConfig = AugmentConfig {
        pad: 4,
        flip: true,
        ..AugmentConfig::OFF
    };

    fn dataset() -> Arc<Dataset> {
        Arc::new(shapes::generate(Some(103), Some(1)).0)
    }

    fn batches(config: &LoaderConfig, epoch: u64, start: usize) -> Vec<Batch> {
        Loader::new(&dataset(), config, epoch, start)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// The batches as the module's documentation defines them, in one thread.
    fn serial(dataset: &Dataset, config: &LoaderConfig, epoch: u64) -> Vec<Batch> {
        let normalizer = Normalizer::new(&dataset.mean, &dataset.std);
        let order = epoch_order(dataset.len(), config.seed, epoch);
        let one = |indices: &[u32]| {
            let mut images = Vec::new();
            for &index in indices {
                let index = index as usize;
                let placement = Placement::draw(config.augment, config.seed, epoch, index);
                let mut image = vec![0.0; dataset.image_len()];
                let numbers = dataset.image(index).unwrap();
                normalizer.write(numbers.bytes(), dataset.width, placement, &mut image);
                images.extend(image);
            }
            let labels = indices
                .iter()
                .map(|&i| u32::from(dataset.labels[i as usize]))
                .collect();
            Batch {
                images,
                labels,
                indices: indices.to_vec(),
                skipped: Vec::new(),
                images_of_step: 0..indices.len(),
                step_len: indices.len(),
            }
        };
        order.chunks(config.batch_size).map(one).collect()
    }

    #[test]
    fn batches_equal_those_computed_serially() {
        for (batch_size, prefetch) in [(1, 2), (16, 0), (16, 7), (103, 1), (500, 2)] {
            let config = LoaderConfig {
                prefetch,
                ..LoaderConfig::train(batch_size, 5, AUGMENT)
            };
            for epoch in 0..2 {
                assert_eq!(
                    batches(&config, epoch, 0),
                    serial(&dataset(), &config, epoch)
                );
            }
        }
    }

    #[test]
    fn starting_at_a_step_gives_the_tail() {
        let config = LoaderConfig::train(16, 5, AUGMENT);
        let whole = batches(&config, 3, 0);
        assert_eq!(whole.len(), 7);
        for start in 0..=7 {
            assert_eq!(batches(&config, 3, start), whole[start..]);
        }
    }

    #[test]
    fn an_epoch_visits_every_image_once_and_the_next_in_another_order() {
        let config = LoaderConfig::train(10, 5, AUGMENT);
        let visited = |epoch| -> Vec<u32> {
            batches(&config, epoch, 0)
                .into_iter()
                .flat_map(|batch| batch.indices)
                .collect()
        };
        let (first, second) = (visited(0), visited(1));
        assert_ne!(first, second);
        for mut order in [first, second] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..103));
        }
    }

    #[test]
    fn evaluation_is_the_data_set_in_order_and_untouched() {
        let dataset = dataset();
        let normalizer = Normalizer::new(&dataset.mean, &dataset.std);
        let all: Vec<Batch> = Loader::new(&dataset, &LoaderConfig::eval(40), 9, 0)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(all.iter().map(Batch::len).collect::<Vec<_>>(), [40, 40, 23]);
        let values = all.iter().flat_map(|batch| &batch.images);
        let expected = dataset.images.bytes().iter().enumerate();
        assert!(
            values
                .copied()
                .eq(expected.map(|(at, &byte)| normalizer.value(at % 3, byte)))
        );
        let labels = all.iter().flat_map(|batch| batch.labels.iter().copied());
        assert!(labels.eq(dataset.labels.iter().map(|&label| u32::from(label))));
    }

    #[test]
    fn dropping_the_last_short_batch_drops_only_that() {
        let keep = LoaderConfig::train(16, 5, AUGMENT);
        let drop = LoaderConfig {
            drop_last: true,
            ..keep.clone()
        };
        assert_eq!(batches(&drop, 0, 0), batches(&keep, 0, 0)[..6]);
        assert_eq!(
            batches(
                &LoaderConfig {
                    batch_size: 104,
                    ..drop
                },
                0,
                0
            ),
            []
        );
    }

    #[test]
    fn the_length_counts_down() {
        let mut loader = Loader::new(&dataset(), &LoaderConfig::eval(40), 0, 1).unwrap();
        assert_eq!(loader.len(), 2);
        assert!(loader.next().is_some());
        assert_eq!(loader.len(), 1);
        assert!(loader.next().is_some() && loader.next().is_none() && loader.next().is_none());
    }

    #[test]
    fn dropping_the_loader_ends_its_thread() {
        let dataset = dataset();
        for taken in 0..3 {
            let mut loader = Loader::new(&dataset, &LoaderConfig::eval(1), 0, 0).unwrap();
            assert_eq!(loader.by_ref().take(taken).count(), taken);
            drop(loader);
            // The thread held the only other reference.
            assert_eq!(Arc::strong_count(&dataset), 1);
        }
    }

    /// An image-free batch that says which step it is.
    fn marker(step: usize) -> Batch {
        Batch {
            indices: vec![step as u32],
            ..Batch::default()
        }
    }

    #[test]
    fn batches_are_made_ahead_but_not_more_than_asked() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let make = move |step| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(marker(step))
        };
        let mut loader = Loader::spawn(0..100, 3, make).unwrap();
        for taken in 0..3 {
            // Three lie in the channel and one waits to be put there.
            let ahead = taken + 3 + 1;
            let start = Instant::now();
            while made.load(Ordering::SeqCst) < ahead && start.elapsed() < Duration::from_secs(30) {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(20));
            assert_eq!(made.load(Ordering::SeqCst), ahead);
            assert_eq!(loader.next().unwrap().unwrap(), marker(taken));
        }
    }

    #[test]
    fn a_panic_of_the_thread_reaches_the_caller() {
        let make = |step| {
            if step == 2 {
                panic!("no batch 2")
            } else {
                Ok(marker(step))
            }
        };
        let mut loader = Loader::spawn(0..5, 2, make).unwrap();
        assert_eq!(loader.by_ref().take(2).count(), 2);
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loader.next()));
        assert_eq!(next.unwrap_err().downcast_ref(), Some(&"no batch 2"));
    }

    #[test]
    fn an_error_ends_the_epoch() {
        let make = |step| {
            if step == 2 {
                Err(DataError::argument("x", "no batch 2"))
            } else {
                Ok(marker(step))
            }
        };
        let mut loader = Loader::spawn(0..5, 2, make).unwrap();
        assert_eq!(loader.by_ref().take(2).filter(Result::is_ok).count(), 2);
        let message = loader.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("no batch 2"), "{message}");
        assert_eq!((loader.len(), loader.next().is_none()), (0, true));
    }

    #[test]
    fn blocks_are_shuffled_and_mixed_four_at_a_time() {
        let blocks: Vec<Range<usize>> = (0..10).map(|b| b * 7..(b + 1) * 7).collect();
        let order = block_order(blocks.clone(), 1, 0);
        assert_eq!(order, block_order(blocks.clone(), 1, 0));
        assert_ne!(order, block_order(blocks.clone(), 1, 1));
        let mut seen = std::collections::BTreeSet::new();
        for group in order.chunks(4 * 7) {
            let of_group: std::collections::BTreeSet<u32> = group.iter().map(|i| i / 7).collect();
            assert_eq!(of_group.len(), group.len() / 7);
            assert!(of_group.iter().all(|block| seen.insert(*block)));
        }
        let mut all = order;
        all.sort_unstable();
        assert!(all.into_iter().eq(0..70));
        assert!(block_order(Vec::new(), 1, 0).is_empty());
    }

    #[test]
    fn arguments_that_make_no_sense_are_errors() {
        let dataset = dataset();
        let message = |config: &LoaderConfig, start| {
            Loader::new(&dataset, config, 0, start)
                .unwrap_err()
                .to_string()
        };
        assert!(message(&LoaderConfig::eval(0), 0).contains("batch size is 0"));
        assert!(message(&LoaderConfig::eval(50), 4).contains("step 4 lies behind the 3 steps"));
        let mut broken = Dataset::clone(&dataset);
        let Images::Bytes(bytes) = &mut broken.images else {
            unreachable!("shapes are in memory")
        };
        bytes.pop();
        assert!(Loader::new(&Arc::new(broken), &LoaderConfig::eval(50), 0, 0).is_err());
    }

    #[test]
    fn the_order_of_an_epoch_does_not_change_between_versions() {
        assert_eq!(epoch_order(8, 1, 0), [5, 0, 3, 4, 1, 2, 6, 7]);
        assert!(epoch_order(0, 1, 0).is_empty());
        assert_eq!(epoch_order(1, 1, 0), [0]);
    }

    #[test]
    fn shuffling_is_uniform() {
        // Each of the 6 orders of 3 images: binomial with mean 1000 and deviation 29.
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(epoch_order(3, 1, epoch)).or_insert(0) += 1;
        }
        assert!(
            counts.len() == 6 && counts.values().all(|n| (850..1150).contains(n)),
            "{counts:?}"
        );
    }
}
