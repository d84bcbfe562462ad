//! Vectors that lie a fixed number of elements apart, checked once.
#![allow(
    unsafe_code,
    reason = "a place within bounds that were checked for all places at once"
)]

use crate::train::simd::LANES;

/// `count` runs of sixteen elements, `step` elements from one's first to the next's. They may
/// overlap.
#[derive(Clone, Copy)]
pub(in crate::train) struct Walk<'a, T> {
    x: &'a [T],
    step: usize,
    count: usize,
}

impl<'a, T> Walk<'a, T> {
    /// Those that begin with `x[0]`; `None` where `x` ends before the last does.
    #[inline(always)]
    pub(in crate::train) fn new(x: &'a [T], step: usize, count: usize) -> Option<Self> {
        let last = count.saturating_sub(1).checked_mul(step)?;
        (last.checked_add(LANES)? <= x.len()).then_some(Walk { x, step, count })
    }

    /// The run with index `i`.
    ///
    /// # Panics
    ///
    /// Where there are not so many.
    #[inline(always)]
    pub(in crate::train) fn get(self, i: usize) -> &'a [T; LANES] {
        assert!(i < self.count, "a place behind the last");
        // SAFETY: `i * step` is at most `(count - 1) * step`, where `new` found elements of `x`.
        let first = unsafe { self.x.as_ptr().add(i * self.step) };
        // SAFETY: `new` found `LANES` elements from `(count - 1) * step` on, so there are as many
        // from `first` on, borrowed for `'a`.
        unsafe { &*first.cast() }
    }
}
