//! f32 activations by multiply and add, in the order of [`crate::gemm_f32`].
//!
//! The products are exact, so that a product and an addition, which WebAssembly rounds one by one,
//! make what a fused instruction makes elsewhere.

use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128};

use super::registers::{load, store};
use crate::micro::float::{FloatLine, LINE, StripOperands};
use crate::packed::lines::Line;
use crate::packed::unpack::QUAD;

/// Rows of a tile, at most.
pub(super) const ROWS: usize = 4;
/// Registers of outputs that one pass over the rows fills.
const V: usize = 2;

/// [`Widen`](crate::micro::float::Widen).
pub(super) fn widen(levels: &[Line], first: usize, lines: usize, strip: &mut [FloatLine]) {
    let quads = levels.chunks_exact(QUAD);
    for (levels, strip) in quads.zip(strip.chunks_exact_mut(4 * lines)) {
        for (l, line) in levels[first..first + lines].iter().enumerate() {
            let (outputs, _) = line.0.as_chunks::<4>();
            for (output, quad) in outputs.iter().enumerate() {
                for (k, level) in quad.iter().enumerate() {
                    strip[k * lines + l].0[output] = f32::from(level.cast_signed());
                }
            }
        }
    }
}

/// [`StripKernel::run`](crate::micro::float::StripKernel::run).
pub(super) fn multiply(operands: &StripOperands<'_>, sums: &mut [FloatLine]) {
    match operands.rows() {
        1 => tile::<1>(operands, sums),
        2 => tile::<2>(operands, sums),
        3 => tile::<3>(operands, sums),
        ROWS => tile::<ROWS>(operands, sums),
        rows => panic!("a tile of {rows} rows"),
    }
}

fn tile<const R: usize>(operands: &StripOperands<'_>, sums: &mut [FloatLine]) {
    let StripOperands { seen, within, .. } = *operands;
    let sums = &mut sums[..R];
    for column in (0..LINE).step_by(4 * V) {
        let mut kept = [[f32x4_splat(0.0); V]; R];
        if !operands.fresh {
            for (kept, sums) in kept.iter_mut().zip(&*sums) {
                *kept = registers(sums, column);
            }
        }
        let mut strip = operands.strip;
        for piece in operands.pieces.clone() {
            let (own, after) = strip.split_at(within.len());
            strip = after;
            let rows: [&[f32]; R] = core::array::from_fn(|r| seen.piece(r, piece, within));
            add(&mut kept, rows, own, column);
        }
        for (kept, sums) in kept.into_iter().zip(&mut *sums) {
            let (lanes, _) = sums.0[column..column + 4 * V].as_chunks_mut();
            for (kept, lanes) in kept.into_iter().zip(lanes) {
                store(kept, lanes);
            }
        }
    }
}

/// Adds the products of a piece of each row with the weights of each of its `k`.
#[inline(always)]
fn add<const R: usize>(
    sums: &mut [[v128; V]; R],
    rows: [&[f32]; R],
    strip: &[FloatLine],
    column: usize,
) {
    let (triples, rest) = strip.as_chunks::<3>();
    let rest_of = rows.map(|row| row.as_chunks::<3>().1);
    let rows = rows.map(|row| &row.as_chunks::<3>().0[..triples.len()]);
    for (i, triple) in triples.iter().enumerate() {
        let w = triple.each_ref().map(|line| registers(line, column));
        for (sums, row) in sums.iter_mut().zip(rows) {
            let x = row[i].map(|x| f32x4_splat(x));
            for v in 0..V {
                let t = f32x4_mul(x[0], w[0][v]);
                let t = f32x4_add(t, f32x4_mul(x[1], w[1][v]));
                let t = f32x4_add(t, f32x4_mul(x[2], w[2][v]));
                sums[v] = f32x4_add(sums[v], t);
            }
        }
    }
    let Some((first, more)) = rest.split_first() else {
        return;
    };
    for (sums, rest_of) in sums.iter_mut().zip(rest_of) {
        for v in 0..V {
            let weight = |line| registers(line, column)[v];
            let mut t = f32x4_mul(f32x4_splat(rest_of[0]), weight(first));
            for (line, &x) in more.iter().zip(&rest_of[1..]) {
                t = f32x4_add(t, f32x4_mul(f32x4_splat(x), weight(line)));
            }
            sums[v] = f32x4_add(sums[v], t);
        }
    }
}

/// The weights of one `k`, or the sums of one row, from `column` on.
#[inline(always)]
fn registers(line: &FloatLine, column: usize) -> [v128; V] {
    let (lanes, _) = line.0[column..column + 4 * V].as_chunks();
    core::array::from_fn(|v| load(&lanes[v]))
}
