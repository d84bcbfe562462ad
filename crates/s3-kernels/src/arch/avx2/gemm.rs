//! Matrix products: codes are taken apart once for many rows of `x`.
//!
//! ```text
//! for each 96 rows of x, each 1024 columns:
//!     pack x: [tile of up to 6 rows][4 columns][row]
//!     for each panel of 64 rows of w:
//!         decode: [block of 16 rows][4 columns], one line each
//!         for each tile, each block: 16-bit sums of 6 x 16 products in registers,
//!             added to 32-bit sums every `flush` results, and to y at the end
//! ```
//!
//! 6 rows times 16 are 12 sums; with two registers of codes and one of activations they leave one of
//! the 16 registers for the products.

use alloc::vec::Vec;
use core::arch::x86_64::*;

use super::decode::half_step;
use super::{flush, load, offset, store, store_i32};
use crate::code::BitWidth;
use crate::kernel::Job;
use crate::tiles::{Line, PANEL, STEP};

/// Rows of a tile, at most.
const TILE: usize = 6;
/// Rows of `x` that are packed at once.
const ROWS: usize = 16 * TILE;
/// Columns that are packed and decoded at once.
const COLS: usize = 1024;
/// Rows of `w` in a block.
const BLOCK: usize = 16;

/// Serves every width and shape.
pub(crate) fn gemm(job: Job<'_>) {
    let run = match job.w.bit_width() {
        BitWidth::B2 => blocks::<2>,
        BitWidth::B3 => blocks::<3>,
        BitWidth::B4 => blocks::<4>,
    };
    // SAFETY: a kernel is started only where the CPU has the instructions of its line in the table.
    unsafe { run(job) }
}

#[target_feature(enable = "avx2")]
fn blocks<const BITS: u32>(job: Job<'_>) {
    let (rows, cols) = (job.y.len() / job.batch, job.w.cols());
    let quads = COLS.min(cols.next_multiple_of(STEP)) / 4;
    let mut codes = alloc::vec![Line([0; 64]); 4 * quads];
    let mut packed = Packed::default();
    let x_blocks = job.x.chunks(ROWS * cols);
    for (x, y) in x_blocks.zip(job.y.chunks_mut(ROWS * rows)) {
        for first in (0..cols).step_by(COLS) {
            let last = cols.min(first + COLS);
            packed.fill(x, cols, first..last);
            let steps = first / STEP..last.div_ceil(STEP);
            for (at, panel) in job.panels.clone().enumerate() {
                let lines = job.w.tiles().panel(panel);
                let lines = &lines[steps.start * BITS as usize..steps.end * BITS as usize];
                let codes = &mut codes[..4 * 2 * steps.len()];
                decode::<BITS>(lines, codes);
                let width = PANEL.min(rows - at * PANEL);
                for (block, codes) in codes.chunks_exact(2 * steps.len()).enumerate() {
                    let from = BLOCK * block;
                    if from < width {
                        let to = width.min(from + BLOCK);
                        let columns = at * PANEL + from..at * PANEL + to;
                        tiles::<BITS>(codes, &packed, y, rows, columns, first == 0);
                    }
                }
            }
        }
    }
}

/// Codes of some steps of a panel: four blocks of 16 rows, each a line for 4 columns.
#[inline]
#[target_feature(enable = "avx2")]
fn decode<const BITS: u32>(steps: &[Line], codes: &mut [Line]) {
    let quads = codes.len() / 4;
    for (at, step) in steps.chunks_exact(BITS as usize).enumerate() {
        for half in 0..2 {
            for side in 0..2 {
                let blocks = half_step::<BITS>(step, half, side);
                for (block, bytes) in blocks.into_iter().enumerate() {
                    let line = &mut codes[block * quads + 2 * at + half];
                    store(&mut line.0.as_chunks_mut().0[side], bytes);
                }
            }
        }
    }
}

/// Activations in the order in which the tiles read them.
#[derive(Default)]
struct Packed {
    /// Rows of each tile but the last, which has the rest.
    tile: usize,
    rows: usize,
    /// Four columns of a row each; `[tile][4 columns][row]`.
    words: Vec<i32>,
    /// The sum of each row's columns.
    sums: Vec<i32>,
}

impl Packed {
    /// Packs the columns `columns` of `x`, filled up with zeros to whole steps.
    fn fill(&mut self, x: &[i8], cols: usize, columns: core::ops::Range<usize>) {
        self.rows = x.len() / cols;
        // The fewest tiles, of nearly equal height.
        self.tile = self.rows.div_ceil(self.rows.div_ceil(TILE));
        let quads = columns.len().next_multiple_of(STEP) / 4;
        self.words.clear();
        self.words.resize(self.rows * quads, 0);
        self.sums.clear();
        let tiles = self.words.chunks_mut(self.tile * quads);
        for (x, words) in x.chunks(self.tile * cols).zip(tiles) {
            let height = x.len() / cols;
            for (row, x) in x.chunks_exact(cols).enumerate() {
                let x = &x[columns.clone()];
                let (whole, rest) = x.as_chunks::<4>();
                let mut last = [0; 4];
                last[..rest.len()].copy_from_slice(rest);
                let words = words[row..].iter_mut().step_by(height);
                for (word, x) in words.zip(whole.iter().chain([&last])) {
                    *word = i32::from_le_bytes(x.map(i8::cast_unsigned));
                }
                self.sums.push(x.iter().map(|&x| i32::from(x)).sum());
            }
        }
    }

    /// The words of each tile, with its first row and its number of rows.
    fn tiles(&self) -> impl Iterator<Item = (&[i32], usize, usize)> {
        let words = self.words.len() / self.rows * self.tile;
        self.words
            .chunks(words)
            .enumerate()
            .map(move |(at, words)| {
                let first = at * self.tile;
                (words, first, self.tile.min(self.rows - first))
            })
    }
}

/// One block of 16 rows of `w` with all packed rows of `x`; adds to the columns `columns` of `y`, or
/// writes them where `first`.
#[inline]
#[target_feature(enable = "avx2")]
fn tiles<const BITS: u32>(
    codes: &[Line],
    packed: &Packed,
    y: &mut [i32],
    rows: usize,
    columns: core::ops::Range<usize>,
    first: bool,
) {
    for (words, row, height) in packed.tiles() {
        let mut sums = [[0; BLOCK]; TILE];
        let [s0, s1, s2, s3, s4, s5] = &mut sums;
        match height {
            1 => tile::<BITS, 1>(codes, words, [s0]),
            2 => tile::<BITS, 2>(codes, words, [s0, s1]),
            3 => tile::<BITS, 3>(codes, words, [s0, s1, s2]),
            4 => tile::<BITS, 4>(codes, words, [s0, s1, s2, s3]),
            5 => tile::<BITS, 5>(codes, words, [s0, s1, s2, s3, s4]),
            _ => tile::<BITS, TILE>(codes, words, [s0, s1, s2, s3, s4, s5]),
        }
        let y = y[row * rows..].chunks_mut(rows).take(height);
        for ((sums, y), &total) in sums.iter().zip(y).zip(&packed.sums[row..]) {
            let excess = total.wrapping_mul(offset(BITS));
            for (y, sum) in y[columns.clone()].iter_mut().zip(sums) {
                let before = if first { 0 } else { *y };
                *y = before.wrapping_add(sum.wrapping_sub(excess));
            }
        }
    }
}

/// `sums[r][n]`: the sum over the columns of the code of row `n` times the activation of row `r`.
#[inline]
#[target_feature(enable = "avx2")]
fn tile<const BITS: u32, const R: usize>(
    codes: &[Line],
    words: &[i32],
    sums: [&mut [i32; BLOCK]; R],
) {
    let zero = _mm256_setzero_si256();
    let ones = _mm256_set1_epi16(1);
    let mut wide = [[zero; 2]; R];
    let words = words.as_chunks::<R>().0;
    let flushes = codes.chunks(flush(BITS)).zip(words.chunks(flush(BITS)));
    for (codes, words) in flushes {
        let mut narrow = [[zero; 2]; R];
        for (line, words) in codes.iter().zip(words) {
            let [left, right] = line.0.as_chunks().0 else {
                continue;
            };
            let codes = [load(left), load(right)];
            for (narrow, &word) in narrow.iter_mut().zip(words) {
                let x = _mm256_set1_epi32(word);
                for (narrow, code) in narrow.iter_mut().zip(codes) {
                    *narrow = _mm256_add_epi16(*narrow, _mm256_maddubs_epi16(code, x));
                }
            }
        }
        for (wide, narrow) in wide.iter_mut().zip(narrow) {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide = _mm256_add_epi32(*wide, _mm256_madd_epi16(narrow, ones));
            }
        }
    }
    for (sums, wide) in sums.into_iter().zip(wide) {
        for (sums, wide) in sums.as_chunks_mut().0.iter_mut().zip(wide) {
            store_i32(sums, wide);
        }
    }
}
