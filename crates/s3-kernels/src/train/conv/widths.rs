//! Which widths a register tile is compiled for: each is code of its own, so only those that divide
//! the rows and blocks of real layers well. No sum depends on how they are divided.

use crate::train::simd::LANES;

/// Widths from 1 to [`LANES`], 1 among them.
pub(super) struct Widths {
    /// The widest that is not above its index.
    widest: [usize; LANES + 1],
}

impl Widths {
    pub(super) const fn new(widths: &[usize]) -> Self {
        assert!(widths[0] == 1, "a rest of one");
        let mut widest = [1; LANES + 1];
        let mut at = 1;
        while at < widths.len() {
            assert!(widths[at - 1] < widths[at], "ascending");
            let mut width = widths[at];
            while width < widest.len() {
                widest[width] = widths[at];
                width += 1;
            }
            at += 1;
        }
        Widths { widest }
    }

    /// The widest that is not above `most`, which is not 0.
    #[inline(always)]
    pub(super) fn widest(&self, most: usize) -> usize {
        self.widest[most.min(LANES)]
    }

    /// A width of at most `limit` that divides `len` into few and even parts; the last may be
    /// narrower.
    #[inline(always)]
    pub(super) fn evenly(&self, len: usize, limit: usize) -> usize {
        let parts = len.div_ceil(limit).max(1);
        let mut width = len.div_ceil(parts).max(1);
        while width < limit && self.widest(width) < width {
            width += 1;
        }
        self.widest(width)
    }
}

#[cfg(test)]
mod tests {
    use super::Widths;

    const FEW: Widths = Widths::new(&[1, 2, 3, 4, 6, 8, 16]);

    #[test]
    fn lengths_are_divided_evenly_into_widths_that_there_are() {
        assert_eq!(
            [1, 5, 7, 15, 16, 40].map(|most| FEW.widest(most)),
            [1, 4, 6, 8, 16, 16]
        );
        // A block in halves, in three parts of at most six, and a first layer's colours.
        assert_eq!(
            [(16, 8), (16, 6), (3, 16)].map(|(len, limit)| FEW.evenly(len, limit)),
            [8, 6, 3]
        );
        // Up to a width that is compiled, but never above the limit.
        assert_eq!(
            [(7, 8), (5, 5), (0, 4)].map(|(len, limit)| FEW.evenly(len, limit)),
            [8, 4, 1]
        );
    }
}
