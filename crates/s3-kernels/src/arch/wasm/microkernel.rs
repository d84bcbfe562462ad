//! The microkernel: a few windows by eight outputs, four `k` at a time.
//!
//! ```text
//! w = [n0k0 n0k1 n0k2 n0k3 n1k0 n1k1 n1k2 n1k3]    eight levels, as i16
//! x = [k0 k1 k2 k3 k0 k1 k2 k3]                    four activations, as i16
//! dot(w, x) = [n0: k0 + k1, n0: k2 + k3, n1: k0 + k1, n1: k2 + k3]
//! ```
//!
//! The halves of an output are added once, behind all taps.

use core::arch::wasm32::*;

use super::registers::{load, store};
use crate::micro::bytes::{AccRow, Operands};

/// Outputs that one pass over the windows fills.
const COLUMNS: usize = 8;

/// [`Microkernel::run`](crate::micro::bytes::Microkernel::run).
pub(super) fn multiply(operands: &Operands<'_>, out: &mut [AccRow]) {
    operands.check(operands.taps.total_quads() * 4, out);
    match operands.flip {
        0 => of_windows::<false>(operands, out),
        _ => of_windows::<true>(operands, out),
    }
}

fn of_windows<const FLIP: bool>(operands: &Operands<'_>, out: &mut [AccRow]) {
    let (pairs, last) = operands.windows.as_chunks();
    let (out_pairs, out_last) = out.as_chunks_mut();
    for (&pair, out) in pairs.iter().zip(out_pairs) {
        windows::<2, FLIP>(operands, pair, out);
    }
    if let [last] = *last {
        // The row after the pairs, wherever the rows end.
        let out = match out_last {
            [] => &mut out[2 * pairs.len()],
            [out, ..] => out,
        };
        windows::<1, FLIP>(operands, [last], core::array::from_mut(out));
    }
}

/// Some of the windows of operands that were checked.
fn windows<const R: usize, const FLIP: bool>(
    operands: &Operands<'_>,
    windows: [usize; R],
    out: &mut [AccRow; R],
) {
    let quads = operands.taps.quads();
    let flip = u8x16_splat(operands.flip);
    for column in (0..operands.columns).step_by(COLUMNS) {
        let (line, byte) = (column / 16, column % 16 * 4);
        let mut sums = [[i32x4_splat(0); 4]; R];
        let mut panel = operands.panel.as_chunks::<4>().0;
        for &tap in operands.taps.offsets() {
            let (lines, after) = panel.split_at(quads);
            panel = after;
            let x = windows.map(|window| {
                let x = &operands.x[window + tap..][..4 * quads];
                x.as_chunks::<4>().0
            });
            for (q, quad) in lines.iter().enumerate() {
                let (levels, _) = quad[line].0[byte..byte + 4 * COLUMNS].as_chunks();
                let mut w = [i32x4_splat(0); 4];
                for (w, levels) in w.iter_mut().zip(levels) {
                    *w = widened(levels);
                }
                for (sums, x) in sums.iter_mut().zip(x) {
                    // SAFETY: `x` has `quads` groups of four, as `lines` has.
                    let four = u32::from_le_bytes(*unsafe { x.get_unchecked(q) });
                    let x = u32x4_splat(four);
                    let x = if FLIP { v128_xor(x, flip) } else { x };
                    let x = u16x8_extend_low_u8x16(x);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = i32x4_add(*sum, i32x4_dot_i16x8(w, x));
                    }
                }
            }
        }
        let init = operands.init.0[column..column + COLUMNS].as_chunks().0;
        for (out, [a, b, c, d]) in out.iter_mut().zip(sums) {
            let out = out.0[column..column + COLUMNS].as_chunks_mut().0;
            for ((out, init), (low, high)) in out.iter_mut().zip(init).zip([(a, b), (c, d)]) {
                let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
                let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
                store(i32x4_add(load(init), i32x4_add(even, odd)), out);
            }
        }
    }
}

/// Eight levels as i16.
#[inline(always)]
fn widened(levels: &[u8; 8]) -> v128 {
    // SAFETY: the array has the eight bytes that are read; no alignment is asked for.
    unsafe { i16x8_load_extend_i8x8(levels.as_ptr().cast()) }
}
