//! The depthwise tile in plain Rust: a product with a level is a shift and a sign.

use super::tile::shifted;
use crate::conv::depthwise::{DepthwiseKernel, panel_lines, position};
use crate::epilogue::AccRow;
use crate::isa::Isa;
use crate::micro::bytes::Tile;

pub(crate) const SHIFT: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Scalar,
    run,
};

fn run(tile: &Tile<'_>, out: &mut [AccRow]) {
    let taps = tile.window.taps();
    tile.check(panel_lines(taps.len()), out);
    for (out, &start) in out.iter_mut().zip(tile.windows) {
        *out = *tile.init;
        for (t, &tap) in taps.iter().enumerate() {
            let x = &tile.x[start + tap..][..tile.columns];
            for (n, (sum, &x)) in out.0.iter_mut().zip(x).enumerate() {
                let (line, byte) = position(n, t);
                *sum += shifted(i32::from(x), tile.panel[line].0[byte] as i8);
            }
        }
    }
}
