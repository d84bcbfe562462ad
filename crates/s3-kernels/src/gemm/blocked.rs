//! Blocked products of many rows: weights are unpacked once, and every row meets them in the cache.
//!
//! ```text
//! u = x + 128, as u8: where x lies, or copied with rows a little apart
//! for each panel of 64 rows of w:
//!     p = its levels, one byte each                             second-level cache
//!     for each six rows of u: y = microkernel(u, p) - 128 * row sums of w
//! ```
//!
//! Width and packing are gone from the inner loop, so that 3 and 4 bits run as fast as 2.

use crate::arch::as_bytes;
use crate::micro::bytes::{AccRow, MR, Microkernel, NR, Operands, Taps};
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::lines::PANEL;
use crate::packed::unpack::QUAD;
use crate::scratch::with_scratch;

/// What makes an `i8` the `u8` that is 128 more.
const FLIP: u8 = 0x80;

/// Bytes between two rows of activations: whole quads, and no multiple of the distance at which the
/// first-level cache keeps few lines.
fn pitch(cols: usize) -> usize {
    let lines = cols.div_ceil(64);
    match lines.is_multiple_of(32) {
        false if cols.is_multiple_of(4) => cols,
        crowded => 64 * (lines + usize::from(crowded)),
    }
}

/// Unpacks weights once; activations are copied where they cannot stay.
pub(crate) fn work(shape: &Shape) -> Work {
    let in_place = pitch(shape.cols) == shape.cols;
    let activations = if in_place { 0 } else { shape.activations() };
    shape.work(activations, shape.batch, PANEL)
}

/// Runs `job` on `kernel`.
pub(crate) fn gemm(kernel: &Microkernel, job: Job<'_>) {
    let (cols, width) = (job.w.cols(), job.w.bit_width());
    let rows = job.y.len() / job.batch;
    let pitch = pitch(cols);
    let quads = cols.div_ceil(4);
    let taps = Taps::new([0].into(), 4 * quads);
    with_scratch(|scratch| {
        let in_place = pitch == cols;
        let copied = if in_place { 0 } else { job.batch * pitch };
        let (x, panel_lines) = scratch.get(copied, quads * QUAD);
        for (to, from) in x.chunks_exact_mut(pitch).zip(job.x.chunks_exact(cols)) {
            to[..cols].copy_from_slice(as_bytes(from));
        }
        let x = if in_place { as_bytes(job.x) } else { x };
        let mut sums = [AccRow::ZERO; MR];
        for (at, panel) in job.panels.clone().enumerate() {
            job.w.unpack(kernel.unpack, panel, panel_lines);
            (kernel.order)(panel_lines);
            let columns = (rows - at * PANEL).min(NR);
            let mut init = AccRow::ZERO;
            let row_sums = &job.w.row_sums()[panel * PANEL..];
            for (init, &sum) in init.0[..columns].iter_mut().zip(row_sums) {
                // The sum of magnitudes times 255 fits i32.
                *init = -i32::from(FLIP) * sum;
            }
            let tiles = job.batch.div_ceil(MR);
            for t in 0..tiles {
                // Of as equal sizes as possible: a tile of one window loads weights for nothing.
                let (first, end) = (job.batch * t / tiles, job.batch * (t + 1) / tiles);
                let windows: [usize; MR] = core::array::from_fn(|r| (first + r) * pitch);
                let operands = Operands {
                    x,
                    flip: FLIP,
                    windows: &windows[..end - first],
                    taps: &taps,
                    panel: panel_lines,
                    init: &init,
                    columns,
                    width,
                };
                (kernel.run)(&operands, &mut sums);
                for (b, sums) in (first..end).zip(&sums) {
                    job.y[b * rows + at * PANEL..][..columns].copy_from_slice(&sums.0[..columns]);
                }
            }
        }
    });
}
