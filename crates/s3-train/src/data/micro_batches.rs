//! Which micro-batches of a step a rank computes.

use anyhow::{Result, bail};
use std::ops::Range;

/// A rank's micro-batches: `count` of the step's `of`, from number `first`.
///
/// ```
/// use s3_train::data::MicroBatches;
/// let parts = MicroBatches { of: 4, first: 2, count: 2 };
/// assert_eq!((parts.images(128, 0), parts.images(128, 1)), (64..96, 96..128));
/// assert_eq!(parts.images(81, 1), 60..81); // the last, short batch of an epoch
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroBatches {
    /// Micro-batches of a step.
    pub of: usize,
    /// The rank's first one.
    pub first: usize,
    /// How many are the rank's.
    pub count: usize,
}

impl MicroBatches {
    /// The whole step at once.
    pub const WHOLE: Self = Self {
        of: 1,
        first: 0,
        count: 1,
    };

    /// The share of rank `rank` of `size`.
    ///
    /// # Errors
    /// `of` micro-batches cannot be shared evenly, or are no power of two.
    pub fn of_rank(of: usize, rank: usize, size: usize) -> Result<Self> {
        if !of.is_power_of_two() {
            bail!("micro_batches: expected a power of two, got {of}")
        }
        let count = of / size;
        if count * size != of {
            bail!(
                "micro_batches: {size} ranks cannot share {of} micro-batches (--set \
                 micro_batches={size}, or batch_norm=synced)"
            )
        }
        let first = rank * count;
        Ok(Self { of, first, count })
    }

    /// Where the rank's micro-batch `k` lies in a step of `n` images.
    pub fn images(&self, n: usize, k: usize) -> Range<usize> {
        let cut = |i: usize| n * i / self.of;
        cut(self.first + k)..cut(self.first + k + 1)
    }
}
