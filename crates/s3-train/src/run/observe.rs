//! What a run tells whoever watches it; libraries do not print.

use s3_metrics::record::{EpochRecord, TimingRecord};
use std::path::Path;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A line that the user should know and that stops nothing.
    Note {
        /// The line.
        text: &'a str,
    },
    /// The run starts, or goes on after `epochs_done` epochs and `steps_done` steps of the next.
    Start {
        /// The run's folder.
        folder: &'a Path,
        /// The experiment's name.
        experiment: &'a str,
        /// Epochs of the run.
        epochs: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Whole epochs that a checkpoint brings.
        epochs_done: usize,
        /// Steps of the next epoch that it brings.
        steps_done: usize,
    },
    /// A training step is done.
    Step {
        /// The epoch under way, from 0.
        epoch: usize,
        /// Steps of it that are done.
        done: usize,
        /// Images of it that were seen.
        images: u64,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Top-1 accuracy of the epoch so far, 0..=1.
        top1: f64,
    },
    /// A batch of an evaluation at the end of an epoch is done.
    Evaluated {
        /// Batches that are done.
        done: usize,
        /// Batches of the evaluation.
        steps: usize,
    },
    /// Images that cannot be decoded are left out (`data.broken = "skip"`).
    Skipped {
        /// A line each, naming the file.
        images: &'a [String],
    },
    /// An epoch is evaluated and saved.
    Epoch {
        /// Its line of `epochs.jsonl`.
        record: &'a EpochRecord,
        /// Its line of `timing.jsonl`.
        timing: &'a TimingRecord,
    },
}

/// Whoever watches a run.
pub trait Observer: Send {
    /// Called for each event, in order.
    fn event(&mut self, event: Event<'_>);
}

impl<F: FnMut(Event<'_>) + Send> Observer for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}

/// Tells lines that stop nothing.
pub(super) fn tell(observer: &mut dyn Observer, notes: &[String]) {
    for text in notes {
        observer.event(Event::Note { text });
    }
}

/// Tells images that were left out, where there are such.
pub(super) fn skipped(observer: &mut dyn Observer, images: &[String]) {
    if !images.is_empty() {
        observer.event(Event::Skipped { images });
    }
}
