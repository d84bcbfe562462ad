//! Every kernel that this CPU can run, against the three loops.

use proptest::prelude::*;
use s3_kernels::{BitWidth, Error, Isa, Kernel, PackedMatrix, gemm, reference};

/// Kernels to check for a width.
fn kernels(bit_width: BitWidth) -> impl Iterator<Item = &'static Kernel> {
    Kernel::all().filter(move |k| k.is_available() && k.serves(bit_width))
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn levels(&mut self, bit_width: BitWidth, len: usize) -> Vec<i8> {
        let all = bit_width.levels();
        (0..len)
            .map(|_| all[self.next() as usize % all.len()])
            .collect()
    }

    fn bytes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| self.next() as i8).collect()
    }
}

/// Every kernel and the front door, on one product.
fn check(bit_width: BitWidth, rows: usize, cols: usize, levels: &[i8], batch: usize, x: &[i8]) {
    let mut want = vec![0; batch * rows];
    reference::gemm(levels, rows, cols, x, batch, &mut want);
    let w = PackedMatrix::from_levels(levels, rows, cols, bit_width).unwrap();
    let shape = format!("{bit_width:?} rows {rows} cols {cols} batch {batch}");
    for kernel in kernels(bit_width) {
        let mut y = vec![i32::MIN; batch * rows];
        kernel.run(&w, x, batch, &mut y).unwrap();
        let wrong = y.iter().zip(&want).position(|(y, want)| y != want);
        assert_eq!(
            wrong.map(|at| (at, y[at], want[at])),
            None,
            "{kernel:?}, {shape}"
        );
    }
    let mut y = vec![i32::MIN; batch * rows];
    gemm(&w, x, batch, &mut y).unwrap();
    assert!(y == want, "gemm, {shape}");
}

fn check_random(bit_width: BitWidth, rows: usize, cols: usize, batch: usize) {
    let mut rng = Rng((rows * 1_000_003 + cols * 1009 + batch) as u64);
    let levels = rng.levels(bit_width, rows * cols);
    let x = rng.bytes(batch * cols);
    check(bit_width, rows, cols, &levels, batch, &x);
}

#[test]
fn every_level_times_every_activation_in_every_place_of_a_step() {
    for bit_width in BitWidth::ALL {
        let all = bit_width.levels();
        // Column c alone is nonzero; its activation takes all 256 values over the batch.
        for col in 0..9 {
            let cols = 9;
            let rows = 64 + all.len();
            let mut levels = vec![0; rows * cols];
            for row in 0..rows {
                levels[row * cols + col] = all[row % all.len()];
            }
            let mut x = vec![77; 256 * cols];
            for (batch, value) in (i8::MIN..=i8::MAX).enumerate() {
                x[batch * cols + col] = value;
            }
            check(bit_width, rows, cols, &levels, 256, &x);
        }
    }
}

#[test]
fn every_level_in_every_lane() {
    for bit_width in BitWidth::ALL {
        for &level in bit_width.levels() {
            for value in [-128, -127, -1, 1, 127] {
                check(bit_width, 129, 17, &[level; 129 * 17], 3, &[value; 3 * 17]);
            }
        }
    }
}

#[test]
fn lengths_around_every_tile_edge() {
    for bit_width in BitWidth::ALL {
        for rows in [
            0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200,
        ] {
            for cols in [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 27, 28, 63, 64, 65, 100] {
                for batch in [0, 1, 2, 5] {
                    check_random(bit_width, rows, cols, batch);
                }
            }
        }
    }
}

#[test]
fn batches_around_every_tile_edge() {
    for bit_width in BitWidth::ALL {
        for batch in (0..=34).chain([47, 48, 49, 63, 64, 65, 97]) {
            check_random(bit_width, 70, 37, batch);
            check_random(bit_width, 130, 40, batch);
        }
    }
}

#[test]
fn long_rows_of_extreme_values() {
    for bit_width in BitWidth::ALL {
        let max = *bit_width.levels().last().unwrap();
        for cols in [765, 766, 1023, 1024, 1025, 4096, 8200] {
            for level in [max, -max] {
                for value in [-128, 127] {
                    for batch in [1, 3, 8, 33] {
                        check(
                            bit_width,
                            65,
                            cols,
                            &vec![level; 65 * cols],
                            batch,
                            &vec![value; batch * cols],
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_longest_rows_that_packing_accepts_are_exact() {
    for (bit_width, cols) in [
        (BitWidth::B2, 300_001),
        (BitWidth::B3, 300_001),
        (BitWidth::B4, 131_586),
    ] {
        let max = *bit_width.levels().last().unwrap();
        for (level, value) in [(max, -128), (-max, -128), (max, 127)] {
            check(
                bit_width,
                2,
                cols,
                &vec![level; 2 * cols],
                2,
                &vec![value; 2 * cols],
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_kernel_equals_the_reference(
        bit_width in prop::sample::select(BitWidth::ALL.to_vec()),
        rows in 1usize..260, cols in 1usize..530, batch in 1usize..20, seed: u64,
    ) {
        let mut rng = Rng(seed);
        let levels = rng.levels(bit_width, rows * cols);
        let x = rng.bytes(batch * cols);
        check(bit_width, rows, cols, &levels, batch, &x);
    }
}

#[test]
fn wrong_lengths_are_errors_and_leave_y_alone() {
    let w = PackedMatrix::from_levels(&[1; 6], 2, 3, BitWidth::B2).unwrap();
    let mut y = [7; 4];
    let error = |what, expected, got| {
        Err(Error::Length {
            what,
            expected,
            got,
        })
    };
    assert_eq!(gemm(&w, &[0; 5], 2, &mut y), error("x", 6, 5));
    assert_eq!(gemm(&w, &[0; 6], 2, &mut y[..3]), error("y", 4, 3));
    assert_eq!(
        gemm(&w, &[], usize::MAX, &mut y),
        Err(Error::Overflow { what: "x" })
    );
    assert_eq!(y, [7; 4]);
}

#[test]
fn a_kernel_for_another_cpu_is_an_error() {
    let w = PackedMatrix::from_levels(&[1], 1, 1, BitWidth::B2).unwrap();
    for kernel in Kernel::all().filter(|k| !k.is_available()) {
        let name = kernel.name();
        assert_eq!(
            kernel.run(&w, &[1], 1, &mut [0]),
            Err(Error::Kernel { name })
        );
    }
}

#[test]
fn the_choice_stays_inside_the_instruction_set() {
    for bit_width in BitWidth::ALL {
        for (rows, cols, batch) in [(1, 1, 1), (4096, 16, 1), (64, 64, 64), (2048, 8, 8)] {
            let w =
                PackedMatrix::from_levels(&vec![0; rows * cols], rows, cols, bit_width).unwrap();
            for isa in Isa::available() {
                let kernel = Kernel::select(isa, &w, batch);
                assert!(
                    kernel.is_available() && kernel.serves(bit_width),
                    "{isa:?} {kernel:?}"
                );
                assert!(
                    kernel.isa() == Isa::Scalar || kernel.isa() <= isa,
                    "{isa:?} {kernel:?}"
                );
            }
        }
    }
}

#[cfg(feature = "rayon")]
#[test]
fn any_number_of_threads_computes_the_same() {
    let mut rng = Rng(7);
    for bit_width in BitWidth::ALL {
        for (rows, cols, batch) in [(700, 900, 1), (700, 900, 3), (130, 900, 40), (65, 9000, 2)] {
            let levels = rng.levels(bit_width, rows * cols);
            let x = rng.bytes(batch * cols);
            let w = PackedMatrix::from_levels(&levels, rows, cols, bit_width).unwrap();
            let mut want = vec![0; batch * rows];
            reference::gemm(&levels, rows, cols, &x, batch, &mut want);
            for threads in [1, 2, 3, 5, 16] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let mut y = vec![i32::MIN; batch * rows];
                pool.unwrap()
                    .install(|| gemm(&w, &x, batch, &mut y))
                    .unwrap();
                assert!(y == want, "{bit_width:?} {rows} {cols} {batch} {threads}");
            }
        }
    }
}
