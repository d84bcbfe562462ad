//! The depthwise tile: a register of channels and two taps for each pair of `vpmaddubsw`.

use super::simd::{Simd, Task, run};
use crate::arch::products_in_i16;
use crate::micro::bytes::{AccRow, NR, Operands, panel_lines};
use crate::packed::lines::Line;

/// [`DepthwiseKernel::run`](crate::micro::bytes::DepthwiseKernel::run).
pub(crate) fn depthwise<S: Simd>(operands: &Operands<'_>, out: &mut [AccRow]) {
    assert!(operands.taps.segment() == NR);
    operands.check(panel_lines(operands.taps.offsets().len()), out);
    run::<S>(Rows { operands, out });
}

struct Rows<'a> {
    operands: &'a Operands<'a>,
    out: &'a mut [AccRow],
}

impl Task for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let operands = self.operands;
        let (pairs, last) = operands.taps.offsets().as_chunks();
        let taps = Taps {
            lines: &operands.panel.as_chunks().0[..pairs.len() + last.len()],
            pairs,
            last: last.first().copied(),
            most: products_in_i16(operands.width, 255) / 2,
        };
        for (out, &start) in self.out.iter_mut().zip(operands.windows) {
            for part in 0..NR / S::BYTES {
                // SAFETY: `depthwise` has checked the tile, and its segments are `NR` bytes.
                unsafe { row(simd, operands, &taps, start, part * S::BYTES, out) }
            }
        }
    }
}

/// The taps of a tile, in pairs.
struct Taps<'a> {
    pairs: &'a [[usize; 2]],
    last: Option<usize>,
    /// The levels of each, those of a last one alone included.
    lines: &'a [[Line; 2]],
    /// Pairs whose products fit i16 together.
    most: usize,
}

/// A register's channels of one window, from channel `first` on.
///
/// # Safety
///
/// `NR` bytes of `x` begin at `start` plus each tap, and `first` is at most `NR` less the bytes of
/// a register.
#[inline(always)]
unsafe fn row<S: Simd>(
    simd: S,
    operands: &Operands<'_>,
    taps: &Taps<'_>,
    start: usize,
    first: usize,
    out: &mut AccRow,
) {
    let load = |tap: usize| {
        let from = start + first + tap;
        // SAFETY: the caller's.
        simd.load(unsafe { operands.x.get_unchecked(from..from + S::BYTES) })
    };
    let mut sums = [simd.splat(0); 4];
    for (b, sums) in sums.iter_mut().enumerate() {
        *sums = simd.load_i32(&operands.init.0[first + S::LANES * b..][..S::LANES]);
    }
    let (mut short, mut count) = ([simd.splat(0); 2], 0);
    for (&[tap, next], lines) in taps.pairs.iter().zip(taps.lines) {
        if count == taps.most {
            widen(simd, short, &mut sums);
            (short, count) = ([simd.splat(0); 2], 0);
        }
        pair(simd, [load(tap), load(next)], lines, first, &mut short);
        count += 1;
    }
    if let (Some(tap), Some(lines)) = (taps.last, taps.lines.last()) {
        if count == taps.most {
            widen(simd, short, &mut sums);
            short = [simd.splat(0); 2];
        }
        // The levels of a tap that does not exist are 0.
        pair(simd, [load(tap); 2], lines, first, &mut short);
    }
    widen(simd, short, &mut sums);
    for (b, sum) in sums.into_iter().enumerate() {
        simd.store_i32(sum, &mut out.0[first + S::LANES * b..][..S::LANES]);
    }
}

/// Adds the products of two taps to sums in the order of the interleaving.
#[inline(always)]
fn pair<S: Simd>(
    simd: S,
    [x, next]: [S::I; 2],
    lines: &[Line; 2],
    first: usize,
    short: &mut [S::I; 2],
) {
    let x = [simd.interleave_low(x, next), simd.interleave_high(x, next)];
    for ((short, x), line) in short.iter_mut().zip(x).zip(lines) {
        let w = simd.load(&line.0[first..first + S::BYTES]);
        *short = simd.add_i16(*short, simd.mul_pairs_u8(x, w));
    }
}

/// Adds sums in the order of the interleaving to sums in the order of the channels.
#[inline(always)]
fn widen<S: Simd>(simd: S, short: [S::I; 2], sums: &mut [S::I; 4]) {
    for (sum, part) in sums.iter_mut().zip(simd.deinterleave(short)) {
        *sum = simd.add_i32(*sum, part);
    }
}
