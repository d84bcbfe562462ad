//! The yardstick of the train kernels: how fast one core can multiply and add at all.

use std::hint::black_box;

use super::arch::{LANES, Simd, Task, dispatch};
use crate::dispatch::Isa;

/// Runs `rounds` rounds of independent f32 multiply-adds on registers, with the instruction set
/// that the kernels use, and returns the floating-point operations done (2 for a multiply-add).
///
/// Divided by the time it takes, that is the peak against which benches state a share.
///
/// ```
/// let flops = s3_kernels::train::multiply_adds(1000);
/// assert_eq!(flops % (2 * 16 * 1000), 0); // whole vectors of 16
/// ```
#[must_use]
pub fn multiply_adds(rounds: u64) -> u64 {
    let mut flops = 0;
    dispatch(
        Isa::detect(),
        Rounds {
            rounds,
            flops: &mut flops,
        },
    );
    flops
}

struct Rounds<'a> {
    rounds: u64,
    flops: &'a mut u64,
}

impl Task for Rounds<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let chains = match S::ACCUMULATORS {
            24.. => chains::<S, 24>(simd, self.rounds),
            6.. => chains::<S, 6>(simd, self.rounds),
            _ => chains::<S, 3>(simd, self.rounds),
        };
        *self.flops = 2 * LANES as u64 * chains as u64 * self.rounds;
    }
}

/// `N` chains, none waiting for another.
#[inline(always)]
fn chains<S: Simd, const N: usize>(simd: S, rounds: u64) -> usize {
    let mut acc = [simd.splat(0.0); N];
    let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = simd.mul_add(*acc, a, b);
        }
    }
    let mut out = [0.0; LANES];
    for acc in acc {
        simd.store(acc, &mut out);
        black_box(&mut out);
    }
    N
}
