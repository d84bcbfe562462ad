//! Packed weights to one byte a level: what microkernels that serve many rows of activations read.
//!
//! Quad `g` of a panel, columns `4 g .. 4 g + 4`, becomes four lines: byte `4 n + i` of line `q` is
//! the level, as i8, of row `16 q + n` and column `4 g + i`. Each is unpacked once and read for
//! every few rows of activations.

use super::code::BitWidth;
use super::lines::Line;

/// Fills lines with the levels of a panel's packed ones, from its first column on.
pub(crate) type Unpack = fn(BitWidth, &[Line], &mut [Line]);

/// Lines of one quad: 64 rows.
pub(crate) const QUAD: usize = 4;

/// The level of every 4-bit pattern: of a code, or of a level plus 1 in 2 bits. Patterns that do
/// not occur are 0.
pub(crate) const fn levels(width: BitWidth) -> [i8; 16] {
    let mut levels = [0; 16];
    let mut code = 0;
    while code < 16 {
        levels[code as usize] = match (width, width.decode(code)) {
            (BitWidth::B2, _) => {
                if code < 3 {
                    code as i8 - 1
                } else {
                    0
                }
            }
            (_, Some(level)) => level,
            (_, None) => 0,
        };
        code += 1;
    }
    levels
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::QUAD;
    use crate::packed::lines::Line;
    use crate::select::MICROKERNELS;
    use crate::{BitWidth, PackedMatrix};

    #[test]
    fn every_instruction_set_unpacks_the_levels_and_pads_with_zeros() {
        for width in BitWidth::ALL {
            let all = width.levels();
            for (rows, cols) in [
                (1, 1),
                (64, 8),
                (65, 3),
                (100, 4),
                (130, 21),
                (16, 17),
                (64, 64),
            ] {
                let levels: alloc::vec::Vec<i8> = (0..rows * cols)
                    .map(|i| all[(i * 5 + i / 7) % all.len()])
                    .collect();
                let w = PackedMatrix::from_levels(&levels, rows, cols, width).unwrap();
                for kernel in MICROKERNELS.iter().filter(|kernel| (kernel.available)()) {
                    for panel in 0..rows.div_ceil(64) {
                        let mut lines = vec![Line([99; 64]); cols.div_ceil(4) * QUAD];
                        w.unpack(kernel.unpack, panel, &mut lines);
                        for lane in 0..64 {
                            for col in 0..cols.next_multiple_of(4) {
                                let line = &lines[col / 4 * QUAD + lane / 16];
                                let row = panel * 64 + lane;
                                let level = match row < rows && col < cols {
                                    true => levels[row * cols + col],
                                    false => 0,
                                };
                                let got = line.0[lane % 16 * 4 + col % 4] as i8;
                                assert_eq!(got, level, "{} {width:?} {row} {col}", kernel.name);
                            }
                        }
                    }
                }
            }
        }
    }
}
