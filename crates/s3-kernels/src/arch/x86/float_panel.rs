//! f32 activations by multiply and add: a few rows by a few registers of outputs, three `k` at a
//! time, in the order of [`crate::gemm_f32`].
//!
//! The products are exact, so a fused multiply-add rounds as the addition of the definition does.

use super::simd::{Simd, Task, run};
use crate::micro::float::{FloatRow, PanelOperands};
use crate::packed::lines::Line;

/// Registers of outputs that one pass over the rows fills.
const V: usize = 2;

/// [`PanelKernel::widen`](crate::micro::float::PanelKernel::widen).
pub(crate) fn widen<S: Simd>(lines: &[Line], panel: &mut [FloatRow]) {
    struct Widen<'a>(&'a [Line], &'a mut [FloatRow]);
    impl Task for Widen<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for (lines, rows) in self.0.chunks_exact(4).zip(self.1.chunks_exact_mut(4)) {
                let registers = lines.iter().flat_map(|line| line.0.chunks_exact(S::BYTES));
                for (v, bytes) in registers.enumerate() {
                    let quads = simd.load(bytes);
                    for (row, left) in rows.iter_mut().zip([24, 16, 8, 0]) {
                        // Byte j of each lane, with its sign.
                        let byte = simd.shl_i32(quads, simd.splat(left));
                        let level = simd.to_f32(simd.shr_i32(byte, simd.splat(24)));
                        simd.store_f32(level, &mut row.0[S::LANES * v..][..S::LANES]);
                    }
                }
            }
        }
    }
    run::<S>(Widen(lines, panel));
}

/// [`PanelKernel::run`](crate::micro::float::PanelKernel::run), for up to `ROWS` rows.
pub(crate) fn multiply<S: Simd, const ROWS: usize>(
    operands: &PanelOperands<'_>,
    out: &mut [FloatRow],
) {
    match operands.rows.len() {
        0 => {}
        1 => run::<S>(Rows::<1> { operands, out }),
        2 => run::<S>(Rows::<2> { operands, out }),
        3 => run::<S>(Rows::<3> { operands, out }),
        4 => run::<S>(Rows::<4> { operands, out }),
        5 if ROWS >= 5 => run::<S>(Rows::<5> { operands, out }),
        6 if ROWS >= 6 => run::<S>(Rows::<6> { operands, out }),
        7 if ROWS >= 7 => run::<S>(Rows::<7> { operands, out }),
        8 if ROWS >= 8 => run::<S>(Rows::<8> { operands, out }),
        _ => panic!("a tile has at most {ROWS} rows"),
    }
}

/// A tile of `R` rows.
struct Rows<'a, const R: usize> {
    operands: &'a PanelOperands<'a>,
    out: &'a mut [FloatRow],
}

impl<const R: usize> Task for Rows<'_, R> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut rows = [&[][..]; R];
        rows.copy_from_slice(self.operands.rows);
        assert!(
            rows.iter()
                .all(|row| row.len() == self.operands.panel.len())
        );
        let out = &mut self.out[..R];
        for column in (0..self.operands.columns).step_by(S::LANES * V) {
            // SAFETY: the rows are as long as the panel.
            unsafe { columns(simd, rows, self.operands.panel, column, out) }
        }
    }
}

/// The outputs of `V` registers from `column` on.
///
/// # Safety
///
/// The rows are as long as the panel.
#[inline(always)]
unsafe fn columns<S: Simd, const R: usize>(
    simd: S,
    rows: [&[f32]; R],
    panel: &[FloatRow],
    column: usize,
    out: &mut [FloatRow],
) {
    let zero = simd.splat_f32(0.0);
    let mut sums = [[zero; V]; R];
    for (sums, out) in sums.iter_mut().zip(&*out) {
        *sums = load(simd, out, column);
    }
    let (triples, rest) = panel.as_chunks::<3>();
    for (i, triple) in triples.iter().enumerate() {
        let mut w = [[zero; V]; 3];
        for (w, row) in w.iter_mut().zip(triple) {
            *w = load(simd, row, column);
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            // SAFETY: the row is as long as the panel, of which these are three elements.
            let x = unsafe { row.get_unchecked(3 * i..3 * i + 3) };
            let x = [x[0], x[1], x[2]].map(|x| simd.splat_f32(x));
            for v in 0..V {
                let t = simd.mul_f32(x[0], w[0][v]);
                let t = simd.mul_add_f32(x[1], w[1][v], t);
                let t = simd.mul_add_f32(x[2], w[2][v], t);
                sums[v] = simd.add_f32(sums[v], t);
            }
        }
    }
    for ((sums, row), out) in sums.into_iter().zip(rows).zip(out) {
        let mut t = [zero; V];
        for (w, &x) in rest.iter().zip(&row[3 * triples.len()..]) {
            let w = load(simd, w, column);
            for v in 0..V {
                t[v] = simd.mul_add_f32(simd.splat_f32(x), w[v], t[v]);
            }
        }
        for v in 0..V {
            let to = &mut out.0[column + S::LANES * v..][..S::LANES];
            simd.store_f32(simd.add_f32(sums[v], t[v]), to);
        }
    }
}

/// The weights of one `k`, or the sums of one row, from `column` on.
#[inline(always)]
fn load<S: Simd>(simd: S, row: &FloatRow, column: usize) -> [S::F; V] {
    let mut registers = [simd.splat_f32(0.0); V];
    for (v, register) in registers.iter_mut().enumerate() {
        *register = simd.load_f32(&row.0[column + S::LANES * v..][..S::LANES]);
    }
    registers
}
