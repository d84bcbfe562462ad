//! f32 activations times weights that are any f32, in plain Rust.

use crate::micro::float::{FloatLine, LINE, StripKernel, StripOperands};

/// Six rows by 16 outputs.
pub(crate) const DENSE: StripKernel = StripKernel {
    lines: 1,
    rows: [ROWS, 0],
    run,
};

const ROWS: usize = 6;

fn run(operands: &StripOperands<'_>, sums: &mut [FloatLine]) {
    let mut kept = [[0.0; LINE]; ROWS];
    if !operands.fresh {
        for (kept, sums) in kept.iter_mut().zip(&*sums) {
            *kept = sums.0;
        }
    }
    let mut strip = operands.strip.iter();
    let (seen, within) = (operands.seen, operands.within);
    for piece in operands.pieces.clone() {
        // Rows that are not there repeat the first one.
        let row = |r| if r < operands.rows() { r } else { 0 };
        let rows: [&[f32]; ROWS] = core::array::from_fn(|r| seen.piece(row(r), piece, within));
        for (k, weights) in strip.by_ref().take(within.len()).enumerate() {
            for (kept, row) in kept.iter_mut().zip(rows) {
                for (kept, weight) in kept.iter_mut().zip(weights.0) {
                    *kept += row[k] * weight;
                }
            }
        }
    }
    for (sums, kept) in sums.iter_mut().zip(kept).take(operands.rows()) {
        sums.0 = kept;
    }
}
