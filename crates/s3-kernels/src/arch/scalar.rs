//! The kernel for any CPU: additions, subtractions and shifts, no multiplication.
//!
//! ```text
//! for each panel of 64 rows, each batch row b, each column c:
//!     table[code] = level(code) * x[b, c]          built by shifts: 2^s * x = x << s
//!     for each row r of the panel: sum[r] += table[code of w[r, c]]
//! ```
//!
//! Four columns at a time share a line, so four tables are built at once.

pub(crate) mod depthwise;
pub(crate) mod tile;
pub(crate) mod unpack;

use crate::code::BitWidth;
use crate::kernel::Job;
use crate::tiles::{Line, PANEL, STEP};

/// Serves every width and shape.
pub(crate) fn gemm(job: Job<'_>) {
    let (rows, cols) = (job.y.len() / job.batch, job.w.cols());
    let bits = job.w.bit_width().bits() as usize;
    let (mut y_row, mut x_row) = (&mut job.y[..], job.x);
    for _ in 0..job.batch {
        let (x, x_rest) = x_row.split_at(cols);
        let (y, y_rest) = core::mem::take(&mut y_row).split_at_mut(rows);
        for (panel, y) in job.panels.clone().zip(y.chunks_mut(PANEL)) {
            let mut sums = [0; PANEL];
            let steps = job.w.tiles().panel(panel).chunks_exact(bits);
            for (lines, x) in steps.zip(x.chunks(STEP)) {
                for (half, x) in x.chunks(4).enumerate() {
                    let mut four = [0; 4];
                    four[..x.len()].copy_from_slice(x);
                    add_half_step(job.w.bit_width(), lines, half, four, &mut sums);
                }
            }
            y.copy_from_slice(&sums[..y.len()]);
        }
        (y_row, x_row) = (y_rest, x_rest);
    }
}

/// Adds the products of four columns to the sums of 64 rows.
#[inline]
fn add_half_step(
    bit_width: BitWidth,
    lines: &[Line],
    half: usize,
    x: [i8; 4],
    sums: &mut [i32; PANEL],
) {
    let products = x.map(|x| products(bit_width, x.into()));
    let mut add = |block: usize, code: &dyn Fn(usize) -> u8| {
        for (n, sum) in sums[16 * block..][..16].iter_mut().enumerate() {
            for (i, products) in products.iter().enumerate() {
                *sum += products[usize::from(code((n << 2) + i) & 15)];
            }
        }
    };
    match bit_width {
        BitWidth::B2 => {
            let line = &lines[half].0;
            for block in 0..4 {
                add(block, &|byte| line[byte] >> (block << 1) & 3);
            }
        }
        BitWidth::B3 => {
            let [a, b, c] = [&lines[0].0, &lines[1].0, &lines[2].0];
            for block in 0..4 {
                let shift = if block & 1 == 0 { 0 } else { 3 };
                match (half << 1) + (block >> 1) {
                    3 => add(block, &|byte| {
                        let pair = a[byte] >> 6 | b[byte] >> 6 << 2 | c[byte] >> 6 << 4;
                        pair >> shift & 7
                    }),
                    pair => {
                        let line = &lines[pair].0;
                        add(block, &|byte| line[byte] >> shift & 7);
                    }
                }
            }
        }
        BitWidth::B4 => {
            for block in 0..4 {
                let line = &lines[(half << 1) + (block >> 1)].0;
                let shift = if block & 1 == 0 { 0 } else { 4 };
                add(block, &|byte| line[byte] >> shift & 15);
            }
        }
    }
}

/// `x` times the level of every resident code.
#[inline]
fn products(bit_width: BitWidth, x: i32) -> [i32; 16] {
    let mut products = [0; 16];
    if bit_width == BitWidth::B2 {
        [products[0], products[2]] = [-x, x];
        return products;
    }
    let negative = 1 << (bit_width.bits() - 1);
    for shift in 0..=bit_width.t() as usize {
        products[shift + 1] = x << shift;
        products[negative + shift + 1] = -(x << shift);
    }
    products
}
