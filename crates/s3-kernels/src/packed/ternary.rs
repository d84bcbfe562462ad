//! The second resident form of ternary weights: three to a table index.
//!
//! Three levels are a number `(l0 + 1) + 3 (l1 + 1) + 9 (l2 + 1)` below 27. Three such numbers, of
//! 5 bits each, are a 16-bit word: 9 columns of one row. The words of the 64 rows of a [`PANEL`]
//! are a pair of lines, 32 rows each. The last word of a row is filled up with level 0.
//!
//! Pairs are ordered by blocks of [`BLOCK`] words, then by panels, then by words, as the kernel
//! reads them: 32 bits of line for 9 weights of two rows, 1.78 bits a weight.

use alloc::vec::Vec;
use std::sync::OnceLock;

use crate::packed::arch::pages;
use crate::packed::lines::{Line, PANEL, PackedLines};

/// Columns of one word.
pub(crate) const WORD: usize = 9;

/// Words of a block, save perhaps the last: as many as have their sums in `i16`, whatever the
/// activations. A word is three sums of three activations.
pub(crate) const BLOCK: usize = 32768 / (3 * 3 * 128);

/// The words of a ternary matrix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TernaryWords {
    /// Words of one row.
    words: usize,
    panels: usize,
    lines: Vec<Line>,
}

impl TernaryWords {
    /// Of ternary weights.
    pub(crate) fn of(matrix: &PackedLines) -> TernaryWords {
        let words = matrix.cols().div_ceil(WORD);
        let panels = matrix.rows().div_ceil(PANEL);
        let mut lines = pages::with_capacity(2 * words * panels);
        for first in (0..words).step_by(BLOCK) {
            for panel in 0..panels {
                for word in first..words.min(first + BLOCK) {
                    for half in 0..2 {
                        let mut line = [0; 64];
                        for (lane, bytes) in line.as_chunks_mut().0.iter_mut().enumerate() {
                            let row = panel * PANEL + 32 * half + lane;
                            *bytes = u16::to_le_bytes(packed(matrix, row, word * WORD));
                        }
                        lines.push(Line(line));
                    }
                }
            }
        }
        TernaryWords {
            words,
            panels,
            lines,
        }
    }

    /// Of a matrix of zeros.
    fn zeros(rows: usize, cols: usize) -> TernaryWords {
        /// Three levels 0, three times.
        const WORD_OF_ZEROS: u16 = 13 | 13 << 5 | 13 << 10;
        let mut line = [0; 64];
        for bytes in line.as_chunks_mut().0 {
            *bytes = WORD_OF_ZEROS.to_le_bytes();
        }
        let words = cols.div_ceil(WORD);
        let panels = rows.div_ceil(PANEL);
        TernaryWords {
            words,
            panels,
            lines: alloc::vec![Line(line); 2 * words * panels],
        }
    }

    /// Words of one row.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// The words of one panel in the block that begins with word `first`, a multiple of [`BLOCK`].
    pub(crate) fn block(&self, first: usize, panel: usize) -> &[[Line; 2]] {
        let words = BLOCK.min(self.words - first);
        &self.lines.as_chunks().0[first * self.panels + panel * words..][..words]
    }
}

/// The words of a matrix from the first time that a kernel asks for them. They follow from the
/// matrix: matrices are equal with and without them, and a clone has none.
#[derive(Debug, Default)]
pub(crate) struct Lazy(OnceLock<TernaryWords>);

impl Lazy {
    /// Those of a matrix of zeros.
    pub(crate) fn zeros(rows: usize, cols: usize) -> Lazy {
        Lazy(TernaryWords::zeros(rows, cols).into())
    }

    pub(crate) fn get(&self, matrix: &PackedLines) -> &TernaryWords {
        self.0.get_or_init(|| TernaryWords::of(matrix))
    }
}

impl Clone for Lazy {
    fn clone(&self) -> Lazy {
        Lazy::default()
    }
}

impl PartialEq for Lazy {
    fn eq(&self, _: &Lazy) -> bool {
        true
    }
}

impl Eq for Lazy {}

/// Three levels from every number below 27, and zeros from 27 to 31.
pub(crate) const fn levels(number: usize) -> [i8; 3] {
    if number < 27 {
        let digits = [number % 3, number / 3 % 3, number / 9];
        [
            digits[0] as i8 - 1,
            digits[1] as i8 - 1,
            digits[2] as i8 - 1,
        ]
    } else {
        [0; 3]
    }
}

/// The word of the 9 columns from `col` on.
fn packed(matrix: &PackedLines, row: usize, col: usize) -> u16 {
    let digit = |i: usize| {
        let inside = row < matrix.rows() && col + i < matrix.cols();
        let level = if inside {
            matrix.level(row, col + i)
        } else {
            0
        };
        u16::from((level + 1) as u8)
    };
    let number = |i: usize| digit(i) + 3 * digit(i + 1) + 9 * digit(i + 2);
    number(0) | number(3) << 5 | number(6) << 10
}

#[cfg(test)]
mod tests {
    use super::TernaryWords;
    use crate::BitWidth;
    use crate::packed::lines::PackedLines;

    #[test]
    fn zeros_are_the_words_of_a_matrix_of_zeros() {
        for (rows, cols) in [(1, 1), (64, 252), (65, 253), (130, 600)] {
            let matrix = PackedLines::zeros(rows, cols, BitWidth::B2).unwrap();
            assert_eq!(TernaryWords::zeros(rows, cols), TernaryWords::of(&matrix));
        }
    }
}
