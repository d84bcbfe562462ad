//! Work over threads: the outputs of a product, in blocks of channels, are divided among them.

use core::ops::Range;

use crate::micro::bytes::NR;

/// The outputs of a product or a convolution: `rows` by `groups * group_out` channels.
///
/// A *block* is up to [`NR`] neighbouring channels of one group: what one panel of weights makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outputs {
    /// Rows of a product, pixels of all images.
    pub(crate) rows: usize,
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Channels of one group.
    pub(crate) group_out: usize,
}

impl Outputs {
    /// Channels of all groups.
    pub(crate) fn channels(&self) -> usize {
        self.groups * self.group_out
    }

    /// Blocks of all groups.
    pub(crate) fn blocks(&self) -> usize {
        self.groups * self.group_blocks()
    }

    fn group_blocks(&self) -> usize {
        self.group_out.div_ceil(NR)
    }

    /// The group of a block.
    pub(crate) fn group(&self, block: usize) -> usize {
        block / self.group_blocks()
    }

    /// The first channel of a block; of the block behind the last one, the number of channels.
    pub(crate) fn channel(&self, block: usize) -> usize {
        let (group, panel) = (block / self.group_blocks(), block % self.group_blocks());
        group * self.group_out + panel * NR
    }

    /// Channels of a block.
    pub(crate) fn columns(&self, block: usize) -> usize {
        let end = (self.group(block) + 1) * self.group_out;
        (end - self.channel(block)).min(NR)
    }

    /// The channels of neighbouring blocks.
    pub(crate) fn span(&self, blocks: &Range<usize>) -> Range<usize> {
        self.channel(blocks.start)..self.channel(blocks.end)
    }

    /// Calls `part` with rows, blocks, and a slice for the outputs of these rows by the channels of
    /// these blocks, until all of `y` is done. With feature `rayon` the calls share the threads of
    /// the current pool where `k` products a sum are enough work.
    ///
    /// Threads share the rows where there are `many` for each of them, else the blocks.
    pub(crate) fn for_each_part<T: Copy + Default + Send + Sync>(
        &self,
        k: usize,
        many: usize,
        y: &mut [T],
        part: impl Fn(Range<usize>, Range<usize>, &mut [T]) + Sync,
    ) {
        #[cfg(feature = "rayon")]
        {
            let threads = self.threads(k);
            if threads > 1 {
                return self.for_each_part_among(threads, many, y, part);
            }
        }
        let _ = (k, many);
        part(0..self.rows, 0..self.blocks(), y);
    }
}

#[cfg(feature = "rayon")]
impl Outputs {
    /// Threads of the current pool that are worth their while.
    fn threads(&self, k: usize) -> usize {
        // Products below which handing them to another thread costs more than it saves.
        const SHARE: usize = 1 << 18;
        let work = self.rows.saturating_mul(self.channels()).saturating_mul(k);
        rayon::current_num_threads().min(work / SHARE).max(1)
    }

    fn for_each_part_among<T: Copy + Default + Send + Sync>(
        &self,
        threads: usize,
        many: usize,
        y: &mut [T],
        part: impl Fn(Range<usize>, Range<usize>, &mut [T]) + Sync,
    ) {
        use alloc::vec::Vec;

        use rayon::prelude::*;

        let (rows, blocks, channels) = (self.rows, self.blocks(), self.channels());
        if rows / threads >= many || blocks < threads {
            let share = rows.div_ceil(threads).next_multiple_of(24);
            let chunks = y.par_chunks_mut(share * channels).enumerate();
            chunks.for_each(|(i, y)| {
                let first = i * share;
                part(first..(first + share).min(rows), 0..blocks, y);
            });
            return;
        }
        let share = blocks.div_ceil(threads);
        let parts: Vec<(Range<usize>, Vec<T>)> = (0..blocks.div_ceil(share))
            .into_par_iter()
            .map(|i| {
                let blocks = i * share..((i + 1) * share).min(blocks);
                let span = self.span(&blocks);
                let mut y = alloc::vec![T::default(); rows * span.len()];
                part(0..rows, blocks, &mut y);
                (span, y)
            })
            .collect();
        for (span, from) in parts {
            let from = from.chunks_exact(span.len());
            for (y, from) in y.chunks_exact_mut(channels).zip(from) {
                y[span.clone()].copy_from_slice(from);
            }
        }
    }
}
