//! The depthwise tile: a register of channels and two taps for each pair of `vpmaddubsw`.

use super::simd::{Simd, Task, run};
use crate::arch::products_in_i16;
use crate::micro::bytes::{AccRow, NR, Operands, panel_lines};

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
        for (out, &start) in self.out.iter_mut().zip(self.operands.windows) {
            for first in (0..NR).step_by(S::BYTES) {
                // SAFETY: `depthwise` has checked the tile, and its segments are `NR` bytes.
                unsafe { row(simd, self.operands, start, first, out) }
            }
        }
    }
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
    let mut panel = operands.panel.as_chunks::<2>().0;
    let most = products_in_i16(operands.width, 255) / 2 * 2;
    for taps in operands.taps.offsets().chunks(most) {
        let (lines, after) = panel.split_at(taps.len().div_ceil(2));
        panel = after;
        let mut short = [simd.splat(0); 2];
        for (i, pair) in taps.chunks(2).enumerate() {
            // SAFETY: there are as many as pairs, the last of which may be one tap.
            let lines = unsafe { lines.get_unchecked(i) };
            let x = load(pair[0]);
            // The levels of a tap that does not exist are 0.
            let next = pair.get(1).map_or(x, |&tap| load(tap));
            let x = [simd.interleave_low(x, next), simd.interleave_high(x, next)];
            for ((short, x), line) in short.iter_mut().zip(x).zip(lines) {
                let w = simd.load(&line.0[first..first + S::BYTES]);
                *short = simd.add_i16(*short, simd.mul_pairs_u8(x, w));
            }
        }
        for (sum, part) in sums.iter_mut().zip(simd.deinterleave(short)) {
            *sum = simd.add_i32(*sum, part);
        }
    }
    for (b, sum) in sums.into_iter().enumerate() {
        simd.store_i32(sum, &mut out.0[first + S::LANES * b..][..S::LANES]);
    }
}
