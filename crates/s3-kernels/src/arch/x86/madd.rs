//! The microkernel without a dot product: `vpmaddubsw` gives sums of two products in i16.
//!
//! Packing's alphabets are small enough that many of them fit i16 (64 of a ternary weight, 16 of a
//! 3-bit one, one of a 4-bit one), and only then they are widened to i32 by `vpmaddwd` with ones.

use super::simd::{Simd, Task, run};
use crate::arch::{bytes_of, products_in_i16};
use crate::micro::bytes::{AccRow, Operands};

/// [`Microkernel::run`](crate::micro::bytes::Microkernel::run), `V` registers of outputs a pass
/// over the windows.
pub(crate) fn multiply<S: Simd, const V: usize>(operands: &Operands<'_>, out: &mut [AccRow]) {
    operands.check(operands.taps.total_quads() * 4, out);
    match *operands.windows {
        [] => {}
        [a] => run::<S>(Windows::<1, V>([a], operands, out)),
        [a, b] => run::<S>(Windows::<2, V>([a, b], operands, out)),
        [a, b, c] => run::<S>(Windows::<3, V>([a, b, c], operands, out)),
        [a, b, c, d] => run::<S>(Windows::<4, V>([a, b, c, d], operands, out)),
        [a, b, c, d, e] => run::<S>(Windows::<5, V>([a, b, c, d, e], operands, out)),
        [a, b, c, d, e, f, ..] => run::<S>(Windows::<6, V>([a, b, c, d, e, f], operands, out)),
    }
}

/// `R` windows of operands that were checked.
struct Windows<'a, const R: usize, const V: usize>([usize; R], &'a Operands<'a>, &'a mut [AccRow]);

impl<const R: usize, const V: usize> Task for Windows<'_, R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Windows(windows, operands, out) = self;
        for column in (0..operands.columns).step_by(S::LANES * V) {
            // SAFETY: the operands are checked, and the windows are theirs.
            unsafe { columns::<S, R, V>(simd, windows, operands, column, out) }
        }
    }
}

/// The outputs of `V` registers from `column` on.
///
/// # Safety
///
/// The operands passed [`Operands::check`], and the windows are theirs.
#[inline(always)]
unsafe fn columns<S: Simd, const R: usize, const V: usize>(
    simd: S,
    windows: [usize; R],
    operands: &Operands<'_>,
    column: usize,
    out: &mut [AccRow],
) {
    let (quads, step) = (
        operands.taps.quads(),
        products_in_i16(operands.width, 255) / 2,
    );
    let ones = simd.splat(0x0001_0001);
    let flip = simd.splat_i8(operands.flip.cast_signed());
    let columns = column..column + S::LANES * V;
    for row in &mut out[..R] {
        row.0[columns.clone()].copy_from_slice(&operands.init.0[columns.clone()]);
    }
    let bytes = 4 * columns.start..4 * columns.end;
    let mut panel = operands.panel.as_chunks::<4>().0;
    for &tap in operands.taps.offsets() {
        let (lines, after) = panel.split_at(quads);
        panel = after;
        let x = windows.map(|window| {
            let from = window + tap;
            // SAFETY: the window's reach, which ends no earlier than the last quad, lies in `x`.
            let x = unsafe { operands.x.get_unchecked(from..from + 4 * quads) };
            x.as_chunks::<4>().0
        });
        let mut q = 0;
        while q < quads {
            let end = quads.min(q + step);
            let mut short = [[simd.splat(0); V]; R];
            while q < end {
                let mut w = [simd.splat(0); V];
                let registers = bytes_of(&lines[q])[bytes.clone()].chunks_exact(S::BYTES);
                for (w, register) in w.iter_mut().zip(registers) {
                    *w = simd.load(register);
                }
                for (short, x) in short.iter_mut().zip(x) {
                    // SAFETY: there are as many as `quads`.
                    let quad = i32::from_ne_bytes(*unsafe { x.get_unchecked(q) });
                    let x = simd.xor(simd.splat(quad), flip);
                    for (short, w) in short.iter_mut().zip(w) {
                        *short = simd.add_i16(*short, simd.mul_pairs_u8(x, w));
                    }
                }
                q += 1;
            }
            for (row, short) in out.iter_mut().zip(short) {
                let registers = row.0[columns.clone()].chunks_exact_mut(S::LANES);
                for (sums, short) in registers.zip(short) {
                    let more = simd.mul_pairs_i16(short, ones);
                    simd.store_i32(simd.add_i32(simd.load_i32(sums), more), sums);
                }
            }
        }
    }
}
