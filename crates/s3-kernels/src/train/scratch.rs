//! Buffers that outlive a call, one pool per thread: a fresh large allocation costs a page fault
//! for every 4 KiB, which is more time than the arithmetic of a small layer.

use std::cell::RefCell;

use super::simd::LANES;

/// One vector in memory, aligned to a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(super) struct Block(pub(super) [f32; LANES]);

impl Block {
    /// Sixteen zeros.
    pub(super) const ZERO: Block = Block([0.0; LANES]);
}

thread_local! {
    static POOL: RefCell<Vec<Vec<Block>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` blocks of unspecified content.
///
/// The buffer is taken out of the pool for the time of the call, so calls nest.
pub(super) fn with_blocks<R>(len: usize, f: impl FnOnce(&mut [Block]) -> R) -> R {
    let mut buffer = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, Block::ZERO);
    }
    // What is read without having been written shows: not a number as f32, nor as either bf16.
    #[cfg(test)]
    buffer[..len].fill(Block([f32::from_bits(0x7FC0_7FC0); LANES]));
    let result = f(&mut buffer[..len]);
    POOL.with_borrow_mut(|pool| pool.push(buffer));
    result
}
