//! The microkernel without a dot product: `vpmaddubsw` gives sums of two products in i16.
//!
//! Packing's alphabets are small enough that many of them fit i16 (64 of a ternary weight, 16 of a
//! 3-bit one, one of a 4-bit one), and only then they are widened to i32 by `vpmaddwd` with ones.
//! Where it is one, it is added to sums that stay in registers; the others have words there.

use super::simd::{Simd, Task, run};
use crate::arch::{bytes_of, products_in_i16};
use crate::micro::bytes::{AccRow, Operands};

/// [`Microkernel::run`](crate::micro::bytes::Microkernel::run), `V` registers of outputs a pass
/// over the windows.
pub(crate) fn multiply<S: Simd, const V: usize>(operands: &Operands<'_>, out: &mut [AccRow]) {
    operands.check(operands.taps.total_quads() * 4, out);
    let step = products_in_i16(operands.width, 255) / 2;
    match (step, operands.flip) {
        (1, 0) => of_windows::<S, V, true, false>(operands, step, out),
        (1, _) => of_windows::<S, V, true, true>(operands, step, out),
        (_, 0) => of_windows::<S, V, false, false>(operands, step, out),
        (_, _) => of_windows::<S, V, false, true>(operands, step, out),
    }
}

/// The products of as many windows as there are.
fn of_windows<S: Simd, const V: usize, const WIDE: bool, const FLIP: bool>(
    operands: &Operands<'_>,
    step: usize,
    out: &mut [AccRow],
) {
    macro_rules! run {
        ($($window:ident)*) => {
            run::<S>(Windows::<_, V, WIDE, FLIP> {
                windows: [$($window),*],
                operands,
                step,
                out,
            })
        };
    }
    match *operands.windows {
        [] => {}
        [a] => run!(a),
        [a, b] => run!(a b),
        [a, b, c] => run!(a b c),
        [a, b, c, d] => run!(a b c d),
        [a, b, c, d, e] => run!(a b c d e),
        [a, b, c, d, e, f, ..] => run!(a b c d e f),
    }
}

/// `R` windows of operands that were checked, whose bytes are as they are, or to be flipped where
/// `FLIP`. Registers hold sums where these are `WIDE`, else sums of `step` quads, in words.
struct Windows<'a, const R: usize, const V: usize, const WIDE: bool, const FLIP: bool> {
    windows: [usize; R],
    operands: &'a Operands<'a>,
    step: usize,
    out: &'a mut [AccRow],
}

impl<const R: usize, const V: usize, const WIDE: bool, const FLIP: bool> Task
    for Windows<'_, R, V, WIDE, FLIP>
{
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for column in (0..self.operands.columns).step_by(S::LANES * V) {
            // SAFETY: the operands are checked, and the windows are theirs.
            unsafe { self.columns(simd, column) }
        }
    }
}

impl<const R: usize, const V: usize, const WIDE: bool, const FLIP: bool>
    Windows<'_, R, V, WIDE, FLIP>
{
    /// The outputs of `V` registers from `column` on.
    ///
    /// # Safety
    ///
    /// The operands passed [`Operands::check`], and the windows are theirs.
    #[inline(always)]
    unsafe fn columns<S: Simd>(&mut self, simd: S, column: usize) {
        let Windows {
            windows,
            operands,
            step,
            ref mut out,
        } = *self;
        let quads = operands.taps.quads();
        let ones = simd.splat(0x0001_0001);
        let flip = simd.splat_i8(operands.flip.cast_signed());
        let columns = column..column + S::LANES * V;
        let init = &operands.init.0[columns.clone()];
        let mut sums = [[simd.splat(0); V]; R];
        for (row, sums) in out[..R].iter_mut().zip(&mut sums) {
            if WIDE {
                for (sum, init) in sums.iter_mut().zip(init.chunks_exact(S::LANES)) {
                    *sum = simd.load_i32(init);
                }
            } else {
                row.0[columns.clone()].copy_from_slice(init);
            }
        }
        let bytes = 4 * columns.start..4 * columns.end;
        let mut panel = operands.panel.as_chunks::<4>().0;
        for &tap in operands.taps.offsets() {
            let (lines, after) = panel.split_at(quads);
            panel = after;
            let x = windows.map(|window| {
                let from = window + tap;
                // SAFETY: the window's reach, which ends no earlier than the last quad, is in `x`.
                let x = unsafe { operands.x.get_unchecked(from..from + 4 * quads) };
                x.as_chunks::<4>().0
            });
            let mut q = 0;
            while q < quads {
                let end = if WIDE { quads } else { quads.min(q + step) };
                while q < end {
                    let mut w = [simd.splat(0); V];
                    let registers = bytes_of(&lines[q])[bytes.clone()].chunks_exact(S::BYTES);
                    for (w, register) in w.iter_mut().zip(registers) {
                        *w = simd.load(register);
                    }
                    for (sums, x) in sums.iter_mut().zip(x) {
                        // SAFETY: there are as many as `quads`.
                        let quad = i32::from_ne_bytes(*unsafe { x.get_unchecked(q) });
                        let x = simd.splat(quad);
                        let x = if FLIP { simd.xor(x, flip) } else { x };
                        for (sum, w) in sums.iter_mut().zip(w) {
                            let pairs = simd.mul_pairs_u8(x, w);
                            *sum = if WIDE {
                                simd.add_i32(*sum, simd.mul_pairs_i16(pairs, ones))
                            } else {
                                simd.add_i16(*sum, pairs)
                            };
                        }
                    }
                    q += 1;
                }
                if WIDE {
                    continue;
                }
                for (row, sums) in out.iter_mut().zip(&mut sums) {
                    let registers = row.0[columns.clone()].chunks_exact_mut(S::LANES);
                    for (row, words) in registers.zip(sums) {
                        let more = simd.mul_pairs_i16(*words, ones);
                        simd.store_i32(simd.add_i32(simd.load_i32(row), more), row);
                        *words = simd.splat(0);
                    }
                }
            }
        }
        if WIDE {
            for (row, sums) in out.iter_mut().zip(sums) {
                let registers = row.0[columns.clone()].chunks_exact_mut(S::LANES);
                for (row, sum) in registers.zip(sums) {
                    simd.store_i32(sum, row);
                }
            }
        }
    }
}
