//! The kernels for any CPU. Where it has a multiplier, [`columns`] is for it; the one here does
//! with additions, subtractions and shifts.
//!
//! ```text
//! for each panel of 64 rows, each batch row b, each column c:
//!     table[code] = level(code) * x[b, c]          built by shifts: 2^s * x = x << s
//!     for each row r of the panel: sum[r] += table[code of w[r, c]]
//! ```
//!
//! Four columns at a time share a line, so four tables are built at once.

#[cfg(any(
    not(any(target_arch = "riscv32", target_arch = "riscv64")),
    target_feature = "m"
))]
pub(crate) mod columns;
#[cfg(feature = "model")]
pub(crate) mod float;
pub(crate) mod microkernel;
pub(crate) mod unpack;

use crate::micro::kernel::Job;
use crate::packed::PackedMatrix;
use crate::packed::code::BitWidth;
use crate::packed::lines::{Line, PANEL};

/// Whether the target multiplies by an instruction: every one but RISC-V without its extension M.
/// Kernels that multiply are compiled only where it does.
#[cfg(feature = "model")]
pub(crate) const MULTIPLIER: bool = cfg!(any(
    not(any(target_arch = "riscv32", target_arch = "riscv64")),
    target_feature = "m"
));

/// Serves every width and shape.
///
/// Panels and steps are found by walking, not by index: an index would be a product.
pub(crate) fn gemm(job: Job<'_>) {
    let bit_width = job.w.bit_width();
    let bits = bit_width.bits() as usize;
    // Opaque, because compilers know that many equal steps are one product.
    let walk = |lines, _| core::hint::black_box(after(job.w, lines));
    let first = (0..job.panels.start).fold(job.w.lines().all(), walk);
    let (rows, cols) = (job.y.len() / job.batch, job.w.cols());
    let (mut y_rows, mut x_rows) = (&mut job.y[..], job.x);
    for _ in 0..job.batch {
        let (mut x_row, x_rest) = (&x_rows[..cols], &x_rows[cols..]);
        let (mut y_row, y_rest) = core::mem::take(&mut y_rows).split_at_mut(rows);
        let mut lines = first;
        while !y_row.is_empty() {
            let (y, y_after) = y_row.split_at_mut(PANEL.min(y_row.len()));
            let mut sums = [0; PANEL];
            let mut x = core::mem::replace(&mut x_row, &x_rows[..cols]);
            while !x.is_empty() {
                let (step, lines_after) = lines.split_at(bits);
                for half in 0..2 {
                    let mut four = [0; 4];
                    let (now, x_after) = x.split_at(x.len().min(4));
                    for (four, &now) in four.iter_mut().zip(now) {
                        *four = now;
                    }
                    add_half_step(bit_width, step, half, four, &mut sums);
                    x = x_after;
                }
                lines = lines_after;
            }
            for (y, &sum) in y.iter_mut().zip(&sums) {
                *y = sum;
            }
            y_row = y_after;
        }
        (y_rows, x_rows) = (y_rest, x_rest);
    }
}

/// The lines after those of one panel.
fn after<'a>(w: &PackedMatrix, lines: &'a [Line]) -> &'a [Line] {
    let steps = w.lines().steps();
    let twice = &lines[steps << 1..];
    match w.bit_width() {
        BitWidth::B2 => twice,
        BitWidth::B3 => &twice[steps..],
        BitWidth::B4 => &twice[steps << 1..],
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
