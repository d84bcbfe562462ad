//! The yardsticks of the integer kernels: how fast one core multiplies int8 at all, and reads
//! memory.
//!
//! Benchmarks divide by these. The multiplier is asked in the widest instructions of the
//! CPU, whatever `S3_KERNELS_ISA` says: a path that holds back is measured against the machine.

mod arch;

use std::vec::Vec;

use crate::packed::arch::pages;
use crate::packed::lines::Line;

/// Bytes of a line.
const LINE: usize = size_of::<Line>();

/// Runs `rounds` rounds of independent int8 dot products on registers and returns the multiply-adds
/// done: the integer peak of the multiplier, where a product of two bytes and its addition count
/// as one. Without dot-product instructions that this function knows, it is 0.
///
/// ```
/// let done = s3_kernels::peak::int8_multiply_adds(1000);
/// assert_eq!(done % 1000, 0);
/// ```
#[must_use]
pub fn int8_multiply_adds(rounds: u64) -> u64 {
    arch::int8_multiply_adds(rounds)
}

/// Memory to read, in the pages that packed weights are kept in.
///
/// The time of [`Memory::read`] gives the bandwidth of the level of memory that holds this many
/// bytes.
///
/// ```
/// let memory = s3_kernels::peak::Memory::new(1000);
/// assert_eq!(memory.len(), 1024); // whole lines of 64 bytes
/// assert_eq!(memory.read(), 0);
/// ```
pub struct Memory(Vec<Line>);

impl core::fmt::Debug for Memory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Memory").field("len", &self.len()).finish()
    }
}

impl Memory {
    /// At least `bytes` bytes, each page of them touched.
    #[must_use]
    pub fn new(bytes: usize) -> Memory {
        let len = bytes.div_ceil(LINE);
        let mut lines = pages::with_capacity(len);
        lines.resize(len, Line([1; LINE]));
        Memory(lines)
    }

    /// Bytes that one [`read`](Memory::read) reads.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "it is a quantity, not a container"
    )]
    pub fn len(&self) -> usize {
        self.0.len() * LINE
    }

    /// Reads all of it once, in two streams that memory can serve at a time, and returns the
    /// exclusive or of its 64-bit words: 0, which the compiler does not know.
    #[must_use]
    pub fn read(&self) -> u64 {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        let words = |line: &Line| {
            let words = line.0.as_chunks::<8>().0.iter();
            words.fold(0, |all, word| all ^ u64::from_le_bytes(*word))
        };
        let all = first
            .iter()
            .zip(second)
            .fold(0, |all, (a, b)| all ^ words(a) ^ words(b));
        second
            .get(first.len())
            .map_or(all, |last| all ^ words(last))
    }
}
