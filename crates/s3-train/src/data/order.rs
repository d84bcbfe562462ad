//! Which images does each batch of an epoch have?
//!
//! Those of a shuffle of all. Images in shards have an order that reads four shards at a time,
//! each whole: the shards are shuffled, and then all images of four shards among each other.

use std::ops::Range;

use super::augment::AugmentConfig;
use super::micro_batches::MicroBatches;
use super::random::{below, keyed_rng};
use super::shards::TOGETHER;

/// How a [`Loader`](super::Loader) cuts a data set into batches.
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
    /// Threads that decode images; changes no result. 0: as many as rayon has.
    pub workers: usize,
    /// The micro-batches that are made of each step's batch.
    pub parts: MicroBatches,
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
            parts: MicroBatches::WHOLE,
        }
    }

    /// Every image once, as it is, in the order of the data set.
    #[must_use]
    pub const fn eval(batch_size: usize) -> Self {
        Self {
            shuffle: false,
            ..Self::train(batch_size, 0, AugmentConfig::OFF)
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
pub(super) fn block_order(mut blocks: Vec<Range<usize>>, seed: u64, epoch: u64) -> Vec<u32> {
    shuffle(&mut blocks, seed, epoch, 0);
    let mut order = Vec::new();
    for (stream, group) in (1..).zip(blocks.chunks(TOGETHER)) {
        let first = order.len();
        order.extend(group.iter().cloned().flatten().map(|i| i as u32));
        shuffle(&mut order[first..], seed, epoch, stream);
    }
    order
}

pub(super) fn in_order(len: usize) -> Vec<u32> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
