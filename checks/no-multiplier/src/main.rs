//! Products of packed weights, one line of hexadecimal integers each.
//!
//! Built for a bare RISC-V CPU without multiplier it computes them with `gemm`; built for the host it
//! computes them with the reference's three loops. `cargo xtask ci --only kernels-riscv32i` compares the
//! two, and looks for a multiplication in the former.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

#[cfg(target_os = "none")]
mod bare;

use alloc::vec::Vec;
use s3_kernels::{BitWidth, PackedMatrix};

/// Rows, columns, their product, and batch.
const SHAPES: [(usize, usize, usize, usize); 4] = [
    (1, 1, 1, 1),
    (5, 37, 185, 1),
    (66, 19, 1254, 1),
    (10, 128, 1280, 2),
];

/// Random bits, without multiplication.
struct Xorshift(u32);

impl Xorshift {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn level(&mut self, bit_width: BitWidth) -> i8 {
        loop {
            let code = (self.next() >> 7) as u8 & ((1 << bit_width.bits()) - 1);
            if let Some(level) = bit_width.decode(code) {
                return level;
            }
        }
    }
}

/// Every product; `print` takes the results of one.
fn products(mut print: impl FnMut(&[i32])) {
    for bit_width in BitWidth::ALL {
        for (rows, cols, weights, batch) in SHAPES {
            let mut random = Xorshift(0x9e37_79b9);
            let levels: Vec<i8> = (0..weights).map(|_| random.level(bit_width)).collect();
            let mut x = Vec::new();
            let mut y = Vec::new();
            for _ in 0..batch {
                x.extend((0..cols).map(|_| random.next() as i8));
                y.extend((0..rows).map(|_| 0i32));
            }
            // The extremes, so that their products are among the results.
            (x[0], x[cols - 1]) = (-128, 127);
            product(&levels, rows, cols, bit_width, &x, batch, &mut y);
            print(&y);
        }
    }
}

/// Through the byte format, as a device would.
#[cfg(target_os = "none")]
fn product(
    w: &[i8],
    rows: usize,
    cols: usize,
    bits: BitWidth,
    x: &[i8],
    batch: usize,
    y: &mut [i32],
) {
    let packed = PackedMatrix::from_levels(w, rows, cols, bits).unwrap();
    let packed = PackedMatrix::from_bytes(&packed.to_bytes()).unwrap();
    s3_kernels::gemm(&packed, x, batch, y).unwrap();
}

#[cfg(not(target_os = "none"))]
fn product(
    w: &[i8],
    rows: usize,
    cols: usize,
    bits: BitWidth,
    x: &[i8],
    batch: usize,
    y: &mut [i32],
) {
    assert!(PackedMatrix::from_levels(w, rows, cols, bits).is_ok());
    s3_kernels::reference::gemm(w, rows, cols, x, batch, y);
}

#[cfg(not(target_os = "none"))]
fn main() {
    products(|y| {
        for value in y {
            print!("{value:08x} ");
        }
        println!();
    });
}
