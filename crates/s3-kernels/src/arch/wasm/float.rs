//! f32 activations by multiply and add, in the order of [`crate::gemm_f32`].
//!
//! The products are exact, so that a product and an addition, which WebAssembly rounds one by one,
//! make what a fused instruction makes elsewhere.

use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128};

use super::registers::{load, store};
use crate::micro::float::{FloatRow, PanelOperands};
use crate::packed::lines::Line;

/// Rows of a tile, at most.
pub(super) const ROWS: usize = 4;
/// Registers of outputs that one pass over the rows fills.
const V: usize = 2;

/// [`PanelKernel::widen`](crate::micro::float::PanelKernel::widen).
pub(super) fn widen(lines: &[Line], panel: &mut [FloatRow]) {
    for (lines, rows) in lines.chunks_exact(4).zip(panel.chunks_exact_mut(4)) {
        for (block, line) in lines.iter().enumerate() {
            let (quads, _) = line.0.as_chunks::<4>();
            for (k, row) in rows.iter_mut().enumerate() {
                for (to, quad) in row.0[16 * block..][..16].iter_mut().zip(quads) {
                    *to = f32::from(quad[k].cast_signed());
                }
            }
        }
    }
}

/// [`PanelKernel::run`](crate::micro::float::PanelKernel::run).
pub(super) fn multiply(operands: &PanelOperands<'_>, out: &mut [FloatRow]) {
    match *operands.rows {
        [] => {}
        [a] => rows([a], operands, out),
        [a, b] => rows([a, b], operands, out),
        [a, b, c] => rows([a, b, c], operands, out),
        [a, b, c, d] => rows([a, b, c, d], operands, out),
        _ => panic!("a tile has at most {ROWS} rows"),
    }
}

fn rows<const R: usize>(rows: [&[f32]; R], operands: &PanelOperands<'_>, out: &mut [FloatRow]) {
    let panel = operands.panel;
    let rows = rows.map(|row| &row[..panel.len()]);
    let out = &mut out[..R];
    let (triples, rest) = panel.as_chunks::<3>();
    let rest_of = rows.map(|row| row.as_chunks::<3>().1);
    let rows = rows.map(|row| row.as_chunks::<3>().0);
    for column in (0..operands.columns).step_by(4 * V) {
        let zero = f32x4_splat(0.0);
        let mut sums = [[zero; V]; R];
        for (sums, out) in sums.iter_mut().zip(&*out) {
            *sums = registers(out, column);
        }
        for (i, triple) in triples.iter().enumerate() {
            let w = triple.each_ref().map(|row| registers(row, column));
            for (sums, row) in sums.iter_mut().zip(rows) {
                // SAFETY: the row is as long as the panel.
                let x = unsafe { row.get_unchecked(i) }.map(|x| f32x4_splat(x));
                for v in 0..V {
                    let t = f32x4_mul(x[0], w[0][v]);
                    let t = f32x4_add(t, f32x4_mul(x[1], w[1][v]));
                    let t = f32x4_add(t, f32x4_mul(x[2], w[2][v]));
                    sums[v] = f32x4_add(sums[v], t);
                }
            }
        }
        for ((sums, rest_of), out) in sums.into_iter().zip(rest_of).zip(&mut *out) {
            let mut t = [zero; V];
            for (w, &x) in rest.iter().zip(rest_of) {
                let w = registers(w, column);
                for v in 0..V {
                    t[v] = f32x4_add(t[v], f32x4_mul(f32x4_splat(x), w[v]));
                }
            }
            let (lanes, _) = out.0[column..column + 4 * V].as_chunks_mut();
            for v in 0..V {
                store(f32x4_add(sums[v], t[v]), &mut lanes[v]);
            }
        }
    }
}

/// The weights of one `k`, or the sums of one row, from `column` on.
#[inline(always)]
fn registers(row: &FloatRow, column: usize) -> [v128; V] {
    let (lanes, _) = row.0[column..column + 4 * V].as_chunks();
    core::array::from_fn(|v| load(&lanes[v]))
}
