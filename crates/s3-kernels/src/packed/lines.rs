//! The resident form of packed weights: 64-byte lines that every kernel reads.
//!
//! Rows are grouped into *panels* of 64, columns into *steps* of 8, and the last of each is padded
//! with level 0. One step of one panel, 512 weights, is `b` lines of 64 bytes for `b` bits a
//! weight. Steps follow each other along the columns, panels along the rows, so that a kernel that
//! walks one panel reads one sequential stream.
//!
//! Byte `4 n + i` of a line belongs to rows `16 q + n` of the panel (`n < 16`, block `q < 4`) and
//! to column `4 g + i` of the step (`i < 4`, half `g < 2`). A line read as sixteen 4-byte lanes
//! is therefore 16 rows times 4 columns, the operand shape of `vpdpbusd` and `sdot`; AVX2 reads
//! halves of it and NEON quarters. What the bits of a byte hold depends on the width:
//!
//! | width | lines of a step | bits of the byte |
//! | --- | --- | --- |
//! | 2 | half 0, half 1 | block `q` in bits `2q, 2q+1`: the level plus 1 |
//! | 3 | A, B, C | bits 0-5: a pair of 3-bit codes; bits 6-7 of A, B, C: a third of pair D |
//! | 4 | half 0 blocks 0-1, 2-3, half 1 blocks 0-1, 2-3 | even block in bits 0-3, odd one in 4-7 |
//!
//! The pairs of width 3 are (half 0, blocks 0-1), (half 0, blocks 2-3), (half 1, blocks 0-1) and
//! (half 1, blocks 2-3) in A, B, C, D; the code of the even block is in bits 0-2, of the odd one in
//! bits 3-5. Pair D is `A >> 6 | (B >> 6) << 2 | (C >> 6) << 4`. Codes are those of [`BitWidth`].
//!
//! Why: with level plus 1 in 2 bits, `w & (3 << 2q)` is a valid unsigned operand for block `q` that
//! is merely `4^q` times too large; no shift is needed before the dot product. The pairs of width 3
//! keep 3.0 bits a weight and let a 64-entry byte permutation decode either code of a pair without
//! a mask, because it ignores bits 6 and 7.

use alloc::vec::Vec;

use crate::packed::arch::pages;
use crate::packed::code::BitWidth;

/// Rows of a panel.
pub(crate) const PANEL: usize = 64;

/// Columns of a step.
pub(crate) const STEP: usize = 8;

/// Sixty-four bytes on a 64-byte boundary: one cache line, one AVX-512 register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// All lines of a matrix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PackedLines {
    rows: usize,
    cols: usize,
    bit_width: BitWidth,
    lines: Vec<Line>,
}

impl PackedLines {
    /// A matrix of zeros, or `None` where its bytes do not fit `usize`.
    pub(crate) fn zeros(rows: usize, cols: usize, bit_width: BitWidth) -> Option<PackedLines> {
        let len = rows
            .div_ceil(PANEL)
            .checked_mul(cols.div_ceil(STEP))?
            .checked_mul(bit_width.bits() as usize)?;
        len.checked_mul(size_of::<Line>())?;
        let zero = match bit_width {
            BitWidth::B2 => Line([0b01_01_01_01; 64]),
            BitWidth::B3 | BitWidth::B4 => Line([0; 64]),
        };
        let mut lines = pages::with_capacity(len);
        lines.resize(len, zero);
        Some(PackedLines {
            rows,
            cols,
            bit_width,
            lines,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn bit_width(&self) -> BitWidth {
        self.bit_width
    }

    /// Steps of each panel, the last one padded.
    pub(crate) fn steps(&self) -> usize {
        self.cols.div_ceil(STEP)
    }

    /// The lines of every panel, one after the other.
    pub(crate) fn all(&self) -> &[Line] {
        &self.lines
    }

    /// The lines of one panel: `steps * bits` of them.
    pub(crate) fn panel(&self, panel: usize) -> &[Line] {
        let lines = self.steps() * self.bit_width.bits() as usize;
        &self.lines[panel * lines..][..lines]
    }

    /// The level at `row`, `col`.
    pub(crate) fn level(&self, row: usize, col: usize) -> i8 {
        let step = self.step_index(row, col);
        let at = Place::of(row, col);
        let byte = |line: usize| self.lines[step + line].0[at.byte];
        match self.bit_width {
            BitWidth::B2 => (byte(at.half) >> (2 * at.block) & 3) as i8 - 1,
            BitWidth::B3 => {
                let pair = match at.pair() {
                    3 => byte(0) >> 6 | byte(1) >> 6 << 2 | byte(2) >> 6 << 4,
                    line => byte(line),
                };
                decoded(self.bit_width, pair >> (3 * (at.block % 2)) & 7)
            }
            BitWidth::B4 => decoded(self.bit_width, byte(at.pair()) >> (4 * (at.block % 2)) & 15),
        }
    }

    /// Puts a level of the alphabet where a zero is.
    pub(crate) fn set_level(&mut self, row: usize, col: usize, level: i8) {
        let step = self.step_index(row, col);
        let at = Place::of(row, col);
        let code = self.bit_width.encode(level).unwrap_or(0);
        let odd = at.block % 2;
        let mut put = |line: usize, bits: u8| self.lines[step + line].0[at.byte] |= bits;
        match self.bit_width {
            BitWidth::B2 => {
                // From 0b01 (level 0) to 0b10 (level 1) or 0b00 (level -1).
                let line = &mut self.lines[step + at.half].0[at.byte];
                *line &= !(3 << (2 * at.block));
                *line |= ((level + 1) as u8) << (2 * at.block);
            }
            BitWidth::B3 => match at.pair() {
                3 => {
                    let pair = code << (3 * odd);
                    put(0, pair << 6);
                    put(1, pair >> 2 << 6);
                    put(2, pair >> 4 << 6);
                }
                line => put(line, code << (3 * odd)),
            },
            BitWidth::B4 => put(at.pair(), code << (4 * odd)),
        }
    }

    /// Index of the first line of the step that holds `row`, `col`.
    fn step_index(&self, row: usize, col: usize) -> usize {
        (row / PANEL * self.steps() + col / STEP) * self.bit_width.bits() as usize
    }
}

impl Clone for PackedLines {
    fn clone(&self) -> PackedLines {
        let mut lines = pages::with_capacity(self.lines.len());
        lines.extend_from_slice(&self.lines);
        PackedLines { lines, ..*self }
    }
}

/// Where a weight is inside its step.
struct Place {
    half: usize,
    block: usize,
    byte: usize,
}

impl Place {
    fn of(row: usize, col: usize) -> Place {
        Place {
            half: col % STEP / 4,
            block: row % PANEL / 16,
            byte: 4 * (row % 16) + col % 4,
        }
    }

    /// Which pair of blocks, in the order of the lines of widths 3 and 4.
    fn pair(&self) -> usize {
        2 * self.half + self.block / 2
    }
}

/// The level of a code that `set_level` wrote.
fn decoded(bit_width: BitWidth, code: u8) -> i8 {
    bit_width.decode(code).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{PANEL, PackedLines, STEP};
    use crate::BitWidth;

    #[test]
    fn every_place_of_a_step_holds_every_level_and_leaves_the_others_zero() {
        for bit_width in BitWidth::ALL {
            for row in 0..PANEL {
                for col in 0..STEP {
                    for &level in bit_width.levels() {
                        let mut lines = PackedLines::zeros(PANEL, STEP, bit_width).unwrap();
                        lines.set_level(row, col, level);
                        for r in 0..PANEL {
                            for c in 0..STEP {
                                let want = if (r, c) == (row, col) { level } else { 0 };
                                assert_eq!(lines.level(r, c), want);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_step_is_as_many_lines_as_a_weight_has_bits() {
        for bit_width in BitWidth::ALL {
            let lines = PackedLines::zeros(65, 17, bit_width).unwrap();
            assert_eq!(lines.panel(1).len(), 3 * bit_width.bits() as usize);
        }
        assert!(PackedLines::zeros(usize::MAX, usize::MAX, BitWidth::B2).is_none());
    }
}
