//! Unpacking: shifts and masks, then a table of sixteen levels by `vpshufb`.

use super::simd::{Simd, Task, run};
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;
use crate::packed::unpack::{QUAD, levels};

/// [`Unpack`](crate::packed::unpack::Unpack).
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn unpack<S: Simd>(width: BitWidth, from: &[Line], to: &mut [Line]) {
    run::<S>(Lines { width, from, to });
}

struct Lines<'a> {
    width: BitWidth,
    from: &'a [Line],
    to: &'a mut [Line],
}

impl Task for Lines<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.width {
            BitWidth::B2 => self.steps(simd, codes2),
            BitWidth::B3 => self.steps(simd, codes3),
            BitWidth::B4 => self.steps(simd, codes4),
        }
    }
}

impl Lines<'_> {
    /// Unpacks step by step: `BITS` lines become the codes of eight.
    #[inline(always)]
    fn steps<S: Simd, const BITS: usize>(
        self,
        simd: S,
        codes: impl Fn(S, [S::I; BITS]) -> [S::I; 8],
    ) {
        let levels = levels(self.width).map(i8::cast_unsigned);
        let mut table = [0; size_of::<Line>()];
        table.as_chunks_mut().0.fill(levels);
        let table = simd.load(&table);
        let (from, _) = self.from.as_chunks::<BITS>();
        for (from, to) in from.iter().zip(self.to.chunks_mut(2 * QUAD)) {
            for at in (0..size_of::<Line>()).step_by(S::BYTES) {
                let mut lines = [table; BITS];
                for (register, line) in lines.iter_mut().zip(from) {
                    *register = simd.load(&line.0[at..at + S::BYTES]);
                }
                let codes = codes(simd, lines);
                match to.first_chunk_mut::<{ 2 * QUAD }>() {
                    Some(all) => store(simd, table, codes, all, at),
                    // The last step may be asked for one quad only.
                    None => store(simd, table, codes, to, at),
                }
            }
        }
    }
}

/// Stores the levels of `codes`, those of one register a line, from byte `at` of the lines on.
#[inline(always)]
fn store<S: Simd>(simd: S, table: S::I, codes: [S::I; 8], to: &mut [Line], at: usize) {
    for (line, codes) in to.iter_mut().zip(codes) {
        simd.store(simd.look_up(table, codes), &mut line.0[at..at + S::BYTES]);
    }
}

// The codes of the eight lines that a step of packed lines stands for, one a byte. Shifts move 32
// bits; the masks drop what comes from the neighbouring byte.

#[inline(always)]
fn codes2<S: Simd>(simd: S, [a, b]: [S::I; 2]) -> [S::I; 8] {
    let field = |v, shift| simd.and(simd.shr_i32(v, simd.splat(shift)), simd.splat_i8(3));
    [
        field(a, 0),
        field(a, 2),
        field(a, 4),
        field(a, 6),
        field(b, 0),
        field(b, 2),
        field(b, 4),
        field(b, 6),
    ]
}

/// Pairs of 3-bit codes; the last pairs are in the top bits of all three lines.
#[inline(always)]
fn codes3<S: Simd>(simd: S, [a, b, c]: [S::I; 3]) -> [S::I; 8] {
    let field = |v, shift, mask| simd.and(simd.shr_i32(v, simd.splat(shift)), simd.splat_i8(mask));
    let d = simd.or(field(b, 4, 0x0c), field(c, 2, 0x30));
    let d = simd.or(field(a, 6, 0x03), d);
    [
        field(a, 0, 7),
        field(a, 3, 7),
        field(b, 0, 7),
        field(b, 3, 7),
        field(c, 0, 7),
        field(c, 3, 7),
        field(d, 0, 7),
        field(d, 3, 7),
    ]
}

#[inline(always)]
fn codes4<S: Simd>(simd: S, [a, b, c, d]: [S::I; 4]) -> [S::I; 8] {
    let field = |v, shift| simd.and(simd.shr_i32(v, simd.splat(shift)), simd.splat_i8(15));
    [
        field(a, 0),
        field(a, 4),
        field(b, 0),
        field(b, 4),
        field(c, 0),
        field(c, 4),
        field(d, 0),
        field(d, 4),
    ]
}
