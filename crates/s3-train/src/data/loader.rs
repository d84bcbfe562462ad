//! The batches of one epoch, prepared on threads of their own.
//!
//! ```text
//! order = epoch_order(len, seed, epoch)            or 0..len for evaluation
//! batch s = order[s * batch_size ..][.. batch_size]
//! each image: Placement::draw(seed, epoch, sample) -> crop, flip, normalise
//! ```
//!
//! Images in files are read and decoded on `workers` threads, of which each takes the next
//! image of the batch; images in memory need one.
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

use super::augment::Normalizer;
use super::batch::{Batch, Plan, no_thread};
use super::error::DataError;
use super::order::{block_order, in_order};
use super::{Dataset, Images};

pub use super::order::{LoaderConfig, epoch_order, steps_per_epoch};

/// Iterator over the batches of one epoch: one a step, or the step's micro-batches one after the
/// other.
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
            Images::Files(images) => images.blocks(),
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

    use super::super::augment::{AugmentConfig, Placement};
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
}
