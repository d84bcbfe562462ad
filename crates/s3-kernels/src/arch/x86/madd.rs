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
    match operands.windows.len() {
        0 => {}
        1 => run::<S>(Windows::<1, V> { operands, out }),
        2 => run::<S>(Windows::<2, V> { operands, out }),
        3 => run::<S>(Windows::<3, V> { operands, out }),
        4 => run::<S>(Windows::<4, V> { operands, out }),
        5 => run::<S>(Windows::<5, V> { operands, out }),
        _ => run::<S>(Windows::<6, V> { operands, out }),
    }
}

/// A tile of `R` windows.
struct Windows<'a, const R: usize, const V: usize> {
    operands: &'a Operands<'a>,
    out: &'a mut [AccRow],
}

impl<const R: usize, const V: usize> Task for Windows<'_, R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.operands
            .check(self.operands.taps.total_quads() * 4, self.out);
        for column in (0..self.operands.columns).step_by(S::LANES * V) {
            // SAFETY: the tile is checked, and `multiply` has counted its windows.
            unsafe { columns::<S, R, V>(simd, self.operands, column, self.out) }
        }
    }
}

/// The outputs of `V` registers from `column` on.
///
/// # Safety
///
/// The tile passed [`Operands::check`] and has at least `R` windows.
#[inline(always)]
unsafe fn columns<S: Simd, const R: usize, const V: usize>(
    simd: S,
    operands: &Operands<'_>,
    column: usize,
    out: &mut [AccRow],
) {
    let (quads, step) = (
        operands.taps.quads(),
        products_in_i16(operands.width, 255) / 2,
    );
    let ones = simd.splat(0x0001_0001);
    let flip = simd.splat_u8(operands.flip);
    let columns = column..column + S::LANES * V;
    for row in &mut out[..R] {
        row.0[columns.clone()].copy_from_slice(&operands.init.0[columns.clone()]);
    }
    let mut panel = operands.panel.as_chunks::<4>().0.iter();
    for &tap in operands.taps.offsets() {
        let mut x = [&[][..]; R];
        for (x, window) in x.iter_mut().zip(operands.windows) {
            let from = window + tap;
            // SAFETY: the window's reach, which ends no earlier than the last quad, lies in `x`.
            *x = unsafe { operands.x.get_unchecked(from..from + 4 * quads) }
                .as_chunks::<4>()
                .0;
        }
        for first in (0..quads).step_by(step) {
            let mut short = [[simd.splat(0); V]; R];
            for (q, lines) in (first..quads.min(first + step)).zip(&mut panel) {
                let mut w = [simd.splat(0); V];
                for (v, w) in w.iter_mut().enumerate() {
                    let from = 4 * column + S::BYTES * v;
                    *w = simd.load(&bytes_of(lines)[from..from + S::BYTES]);
                }
                for (short, x) in short.iter_mut().zip(x) {
                    // SAFETY: there are as many as `quads`.
                    let quad = i32::from_ne_bytes(*unsafe { x.get_unchecked(q) });
                    let x = simd.xor(simd.splat(quad), flip);
                    for (short, w) in short.iter_mut().zip(w) {
                        *short = simd.add_i16(*short, simd.mul_pairs_u8(x, w));
                    }
                }
            }
            for (row, short) in out.iter_mut().zip(short) {
                let row = row.0[columns.clone()].chunks_exact_mut(S::LANES);
                for (sums, short) in row.zip(short) {
                    let more = simd.mul_pairs_i16(short, ones);
                    simd.store_i32(simd.add_i32(simd.load_i32(sums), more), sums);
                }
            }
        }
    }
}
