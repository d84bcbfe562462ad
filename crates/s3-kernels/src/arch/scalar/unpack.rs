//! Unpacking in plain Rust: a table of levels for each line.

use crate::code::BitWidth;
use crate::tiles::Line;
use crate::unpack::{QUAD, levels};

pub(crate) fn unpack(width: BitWidth, from: &[Line], to: &mut [Line]) {
    let levels = levels(width);
    let steps = from.chunks_exact(width.bits() as usize);
    for (lines, to) in steps.zip(to.chunks_mut(2 * QUAD)) {
        for (at, to) in to.iter_mut().enumerate() {
            let (half, block) = (at / QUAD, at % QUAD);
            let pair = at / 2;
            for (byte, to) in to.0.iter_mut().enumerate() {
                let line = |line: usize| lines[line].0[byte];
                let code = match width {
                    BitWidth::B2 => line(half) >> (2 * block) & 3,
                    BitWidth::B3 => {
                        let pair = match pair {
                            3 => line(0) >> 6 | line(1) >> 6 << 2 | line(2) >> 6 << 4,
                            pair => line(pair),
                        };
                        pair >> (3 * (block % 2)) & 7
                    }
                    BitWidth::B4 => line(pair) >> (4 * (block % 2)) & 15,
                };
                *to = levels[usize::from(code)] as u8;
            }
        }
    }
}
