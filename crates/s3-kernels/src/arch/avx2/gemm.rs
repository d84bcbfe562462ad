//! Matrix products: codes are taken apart once for many rows of `x`.
//!
//! ```text
//! for each 96 rows of x, each 1024 columns:
//!     sum each row of x
//!     for each panel of 64 rows of w:
//!         decode: [block of 16 rows][4 columns], one line each
//!         for each tile of up to 6 rows of x, each block:
//!             16-bit sums of 6 x 16 products in registers, added to 32-bit sums every `flush`
//!             results, and to y at the end
//! ```
//!
//! 6 rows times 16 are 12 sums; with two registers of codes and one of activations they leave one
//! of the 16 registers for the products. Activations are read where they lie, four columns of a row
//! at a time: packing them would cost as much as it takes to multiply them with a few panels.

use core::arch::x86_64::*;
use core::ops::Range;

use super::decode::half_step;
use super::{flush, load, load_i32, offset, store, store_i32};
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::code::BitWidth;
use crate::packed::lines::{Line, PANEL, STEP};

/// Rows of a tile, at most.
const TILE: usize = 6;
/// Rows of `x` that meet a decoded panel.
const ROWS: usize = 16 * TILE;
/// Columns that are decoded at once.
const COLS: usize = 1024;
/// Rows of `w` in a block.
const BLOCK: usize = 16;

/// Sums activations, and decodes weights for [`ROWS`] rows at a time.
pub(crate) fn work(shape: &Shape) -> Work {
    shape.work(shape.activations(), ROWS, PANEL)
}

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
    let mut excess = [0; ROWS];
    let x_blocks = job.x.chunks(ROWS * cols);
    for (x, y) in x_blocks.zip(job.y.chunks_mut(ROWS * rows)) {
        for first in (0..cols).step_by(COLS) {
            let columns = first..cols.min(first + COLS);
            for (excess, x) in excess.iter_mut().zip(x.chunks_exact(cols)) {
                *excess = sum(&x[columns.clone()]) * offset(BITS);
            }
            let steps = columns.start / STEP..columns.end.div_ceil(STEP);
            for (at, panel) in job.panels.clone().enumerate() {
                let lines = job.w.lines().panel(panel);
                let lines = &lines[steps.start * BITS as usize..steps.end * BITS as usize];
                let codes = &mut codes[..4 * 2 * steps.len()];
                decode::<BITS>(lines, codes);
                let from = at * PANEL;
                let strip = Strip {
                    x,
                    cols,
                    columns: columns.clone(),
                    excess: &excess,
                    rows,
                    width: PANEL.min(rows - from),
                };
                strip.tiles::<BITS>(codes, y, from);
            }
        }
    }
}

/// The sum of at most 1024 activations.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(x: &[i8]) -> i32 {
    let (whole, rest) = crate::arch::as_bytes(x).as_chunks();
    let (flip, zero) = (_mm256_set1_epi8(i8::MIN), _mm256_setzero_si256());
    let mut sums = zero;
    for x in whole {
        // `x + 128` as u8, eight of them added to each 64 bits.
        let x = _mm256_xor_si256(load(x), flip);
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(x, zero));
    }
    let mut lanes = [0; 8];
    store_i32(&mut lanes, sums);
    let rest: i32 = rest.iter().map(|&x| i32::from(x.cast_signed())).sum();
    lanes.iter().sum::<i32>() - 128 * 32 * whole.len() as i32 + rest
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

/// Some rows of `x`, some of their columns, and what they are multiplied with.
struct Strip<'a> {
    x: &'a [i8],
    cols: usize,
    columns: Range<usize>,
    /// The offset of the codes times the sum of each row's columns.
    excess: &'a [i32; ROWS],
    /// Rows of `w` that `y` has columns for.
    rows: usize,
    /// Rows of the panel.
    width: usize,
}

impl Strip<'_> {
    /// Every tile of rows with every block of a panel; adds to `y` from column `from` on, or writes
    /// it where the columns are the first.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn tiles<const BITS: u32>(&self, codes: &[Line], y: &mut [i32], from: usize) {
        let height = self.x.len() / self.cols;
        let tiles = height.div_ceil(TILE);
        for t in 0..tiles {
            // The fewest tiles, of nearly equal height.
            let rows = height * t / tiles..height * (t + 1) / tiles;
            let y = &mut y[rows.start * self.rows..rows.end * self.rows];
            for (block, codes) in codes.chunks_exact(codes.len() / 4).enumerate() {
                let start = BLOCK * block;
                if start < self.width {
                    let columns = from + start..from + self.width.min(start + BLOCK);
                    match rows.len() {
                        1 => self.tile::<BITS, 1>(codes, rows.start, y, columns),
                        2 => self.tile::<BITS, 2>(codes, rows.start, y, columns),
                        3 => self.tile::<BITS, 3>(codes, rows.start, y, columns),
                        4 => self.tile::<BITS, 4>(codes, rows.start, y, columns),
                        5 => self.tile::<BITS, 5>(codes, rows.start, y, columns),
                        _ => self.tile::<BITS, TILE>(codes, rows.start, y, columns),
                    }
                }
            }
        }
    }

    /// Rows `row .. row + R` of `x` with one block of 16 rows of `w`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn tile<const BITS: u32, const R: usize>(
        &self,
        codes: &[Line],
        row: usize,
        y: &mut [i32],
        columns: Range<usize>,
    ) {
        let x: [&[i8]; R] = core::array::from_fn(|r| {
            let start = (row + r) * self.cols;
            &self.x[start + self.columns.start..start + self.columns.end]
        });
        let mut wide = [[_mm256_setzero_si256(); 2]; R];
        let quads: [&[[i8; 4]]; R] = x.map(|x| x.as_chunks().0);
        let whole = quads[0].len();
        products::<BITS, R>(&codes[..whole], quads, &mut wide);
        if whole < codes.len() {
            // The last columns, filled up with zeros.
            let last: [[[i8; 4]; 1]; R] = x.map(|x| {
                let (mut last, rest) = ([0; 4], x.as_chunks::<4>().1);
                last[..rest.len()].copy_from_slice(rest);
                [last]
            });
            let last: [&[[i8; 4]]; R] = core::array::from_fn(|r| &last[r][..]);
            products::<BITS, R>(&codes[whole..=whole], last, &mut wide);
        }
        let first = self.columns.start == 0;
        for (r, wide) in wide.into_iter().enumerate() {
            let excess = self.excess[row + r];
            let y = &mut y[r * self.rows..][columns.clone()];
            if let Ok(y) = <&mut [i32; BLOCK]>::try_from(&mut *y) {
                for (y, wide) in y.as_chunks_mut().0.iter_mut().zip(wide) {
                    let mut sums = _mm256_sub_epi32(wide, _mm256_set1_epi32(excess));
                    if !first {
                        sums = _mm256_add_epi32(sums, load_i32(y));
                    }
                    store_i32(y, sums);
                }
            } else {
                let mut sums = [0; BLOCK];
                for (sums, wide) in sums.as_chunks_mut().0.iter_mut().zip(wide) {
                    store_i32(sums, wide);
                }
                for (y, sum) in y.iter_mut().zip(sums) {
                    let before = if first { 0 } else { *y };
                    *y = before.wrapping_add(sum.wrapping_sub(excess));
                }
            }
        }
    }
}

/// Adds to `wide[r][n]` the sum over the columns of the code of row `n` times the activation of row
/// `r`.
#[inline]
#[target_feature(enable = "avx2")]
fn products<const BITS: u32, const R: usize>(
    codes: &[Line],
    x: [&[[i8; 4]]; R],
    wide: &mut [[__m256i; 2]; R],
) {
    let ones = _mm256_set1_epi16(1);
    let quads = codes.len();
    let x = x.map(|x| &x[..quads]);
    let pairs = |line: &Line| {
        let [left, right] = line.0.as_chunks().0 else {
            unreachable!("a line has two halves")
        };
        [load(left), load(right)]
    };
    let broadcast = |x: [i8; 4]| _mm256_set1_epi32(i32::from_le_bytes(x.map(i8::cast_unsigned)));
    if flush(BITS) == 1 {
        let mut held = *wide;
        for (q, line) in codes.iter().enumerate() {
            let codes = pairs(line);
            for r in 0..R {
                let x = broadcast(x[r][q]);
                for v in 0..2 {
                    let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(codes[v], x), ones);
                    held[r][v] = _mm256_add_epi32(held[r][v], sums);
                }
            }
        }
        *wide = held;
        return;
    }
    let mut start = 0;
    while start < quads {
        let end = quads.min(start + flush(BITS));
        let mut narrow = [[_mm256_setzero_si256(); 2]; R];
        for (q, line) in (start..end).zip(&codes[start..end]) {
            let codes = pairs(line);
            for r in 0..R {
                let x = broadcast(x[r][q]);
                for v in 0..2 {
                    let sums = _mm256_maddubs_epi16(codes[v], x);
                    narrow[r][v] = _mm256_add_epi16(narrow[r][v], sums);
                }
            }
        }
        for (wide, narrow) in wide.iter_mut().zip(narrow) {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide = _mm256_add_epi32(*wide, _mm256_madd_epi16(narrow, ones));
            }
        }
        start = end;
    }
}
