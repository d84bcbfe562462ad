//! The driver: levels are taken apart once for many rows of `x`.
//!
//! ```text
//! for each 64 rows of x, each 512 columns:
//!     pack x: [tile of 4, 2 or 1 rows][step of 8 columns][row][8]
//!     for each panel of 64 rows of w:
//!         decode: [block of 16 rows][4 columns], one line each
//!         for each block, each tile: the microkernel, added to y
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use super::decode::decode;
use super::microkernel::{self, BLOCK, Sums};
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::code::BitWidth;
use crate::packed::lines::{Line, PANEL, STEP};

/// Rows of `x` that are packed at once.
const ROWS: usize = 64;
/// Columns that are packed and decoded at once.
const COLS: usize = 512;

/// The sums of one tile: levels of 16 rows and packed activations, of as many steps.
type Microkernel = fn(levels: &[Line], x: &[i8], height: usize, sums: &mut Sums);

/// Packs activations, and decodes weights for [`ROWS`] rows at a time.
pub(crate) fn work(shape: &Shape) -> Work {
    shape.work(shape.activations(), ROWS, PANEL)
}

/// Serves every width and shape on any CPU of this target.
pub(crate) fn widening(job: Job<'_>) {
    match job.w.bit_width() {
        BitWidth::B2 => blocks::<2>(job, microkernel::widening::<2>),
        BitWidth::B3 => blocks::<3>(job, microkernel::widening::<3>),
        BitWidth::B4 => blocks::<4>(job, microkernel::widening::<4>),
    }
}

/// Serves every width and shape where the CPU has the dot product.
pub(crate) fn dot(job: Job<'_>) {
    match job.w.bit_width() {
        BitWidth::B2 => blocks::<2>(job, microkernel::dot),
        BitWidth::B3 => blocks::<3>(job, microkernel::dot),
        BitWidth::B4 => blocks::<4>(job, microkernel::dot),
    }
}

/// Serves every width and shape where the CPU has the dot product and the matrix product.
pub(crate) fn matrix(job: Job<'_>) {
    match job.w.bit_width() {
        BitWidth::B2 => blocks::<2>(job, microkernel::matrix),
        BitWidth::B3 => blocks::<3>(job, microkernel::matrix),
        BitWidth::B4 => blocks::<4>(job, microkernel::matrix),
    }
}

fn blocks<const BITS: u32>(job: Job<'_>, microkernel: Microkernel) {
    let (rows, cols) = (job.y.len() / job.batch, job.w.cols());
    let quads = COLS.min(cols.next_multiple_of(STEP)) / 4;
    let mut levels = alloc::vec![Line([0; 64]); 4 * quads];
    let mut packed = Vec::new();
    let x_blocks = job.x.chunks(ROWS * cols);
    for (x, y) in x_blocks.zip(job.y.chunks_mut(ROWS * rows)) {
        for first in (0..cols).step_by(COLS) {
            let columns = first..cols.min(first + COLS);
            pack(x, cols, columns.clone(), &mut packed);
            let steps = first / STEP..columns.end.div_ceil(STEP);
            for (at, panel) in job.panels.clone().enumerate() {
                let lines = job.w.lines().panel(panel);
                let lines = &lines[steps.start * BITS as usize..steps.end * BITS as usize];
                let levels = &mut levels[..4 * 2 * steps.len()];
                decode::<BITS>(lines, levels);
                for (block, levels) in levels.chunks_exact(2 * steps.len()).enumerate() {
                    let from = at * PANEL + block * BLOCK;
                    let outputs = from..rows.min(from + BLOCK);
                    if !outputs.is_empty() {
                        let x = (&packed[..], x.len() / cols);
                        tiles(microkernel, levels, x, &mut *y, rows, outputs, first == 0);
                    }
                }
            }
        }
    }
}

/// How many of `rows` the next tile takes.
fn height(rows: usize) -> usize {
    match rows {
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Packs the columns `columns` of every row of `x`, filled up with zeros to whole steps.
fn pack(x: &[i8], cols: usize, columns: Range<usize>, packed: &mut Vec<i8>) {
    packed.clear();
    let mut x = x;
    while !x.is_empty() {
        let (tile, rest) = x.split_at(height(x.len() / cols) * cols);
        for step in columns.clone().step_by(STEP) {
            for row in tile.chunks_exact(cols) {
                let bytes = &row[step..columns.end.min(step + STEP)];
                let mut filled = [0; STEP];
                filled[..bytes.len()].copy_from_slice(bytes);
                packed.extend(filled);
            }
        }
        x = rest;
    }
}

/// One block of 16 rows of `w` with all packed rows of `x`, as many as `x` says: adds to `outputs`
/// of each row of `y`, or writes them where `first`.
fn tiles(
    microkernel: Microkernel,
    levels: &[Line],
    (mut x, count): (&[i8], usize),
    mut y: &mut [i32],
    rows: usize,
    outputs: Range<usize>,
    first: bool,
) {
    let mut left = count;
    while left > 0 {
        let height = height(left);
        let (x_tile, x_rest) = x.split_at(height * STEP * (levels.len() / 2));
        let (y_tile, y_rest) = core::mem::take(&mut y).split_at_mut(height * rows);
        let mut sums = [[0; BLOCK]; 4];
        microkernel(levels, x_tile, height, &mut sums);
        for (y, sums) in y_tile.chunks_exact_mut(rows).zip(&sums) {
            for (y, &sum) in y[outputs.clone()].iter_mut().zip(sums) {
                *y = if first { sum } else { y.wrapping_add(sum) };
            }
        }
        (x, y, left) = (x_rest, y_rest, left - height);
    }
}
