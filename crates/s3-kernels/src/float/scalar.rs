//! f32 products in plain Rust, without a multiplication: every multiple of an activation is made by
//! doubling it.

use alloc::vec;
use alloc::vec::Vec;

/// The sums of one row of activations with `levels`, a row of `x.len()` for each of `sums`.
pub(crate) fn row(x: &[f32], t: u32, levels: &[i8], sums: &mut [f32]) {
    let steps = t as usize + 1;
    let multiples = multiples(x, steps);
    for (sum, levels) in sums.iter_mut().zip(levels.chunks_exact(x.len().max(1))) {
        let mut products = levels
            .iter()
            .zip(multiples.chunks_exact(steps))
            .map(product);
        *sum = 0.0;
        for _ in 0..x.len().div_ceil(3) {
            let [a, b, c] = [0; 3].map(|_: u8| products.next().unwrap_or(0.0));
            *sum += (a + b) + c;
        }
    }
}

/// `x, 2 x, .., 2^t x` of every activation.
fn multiples(x: &[f32], steps: usize) -> Vec<f32> {
    let mut multiples = vec![0.0; x.len() * steps];
    for (of_x, &x) in multiples.chunks_exact_mut(steps).zip(x) {
        of_x[0] = x;
        for p in 1..steps {
            of_x[p] = of_x[p - 1] + of_x[p - 1];
        }
    }
    multiples
}

/// One level times the activation of `multiples`.
fn product((&level, multiples): (&i8, &[f32])) -> f32 {
    match level {
        0 => 0.0,
        1.. => multiples[level.trailing_zeros() as usize],
        ..0 => -multiples[level.unsigned_abs().trailing_zeros() as usize],
    }
}
