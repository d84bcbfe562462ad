//! `PackedMatrix::from_bytes` takes any bytes: it refuses them, or they are the bytes of its matrix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_kernels::{PackedMatrix, gemm};

fuzz_target!(|bytes: &[u8]| {
    let Ok(w) = PackedMatrix::from_bytes(bytes) else {
        return;
    };
    assert_eq!(w.to_bytes(), bytes);
    if w.cols() == 0 || w.rows() == 0 {
        return;
    }
    let mut y = vec![0; w.rows()];
    assert_eq!(gemm(&w, &vec![-128; w.cols()], 1, &mut y), Ok(()));
    let levels = w.to_levels();
    for (row, &y) in levels.chunks_exact(w.cols()).zip(&y) {
        assert_eq!(y, row.iter().map(|&level| -128 * i32::from(level)).sum::<i32>());
    }
});
