//! How fast one core can multiply and add at all: the yardstick of the train kernels, and what
//! decides in which instruction bf16 are multiplied.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::arch::{dispatch, dispatch_pairs};
use super::simd::{LANES, Simd, Task};
use crate::isa::Isa;

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

/// Whether pairs of bf16 are multiplied as such, on a CPU that can: where `S3_KERNELS_BF16` says
/// so, else where the instruction gains by it. The first call decides.
///
/// # Panics
///
/// Where the variable is neither empty nor `0` nor `1`.
pub(super) fn pairs_pay() -> bool {
    static PAY: OnceLock<bool> = OnceLock::new();
    *PAY.get_or_init(|| {
        let value = std::env::var_os("S3_KERNELS_BF16").unwrap_or_default();
        match value.to_str() {
            Some("0") => false,
            Some("1") => true,
            Some("") => pay(measured()),
            _ => panic!("S3_KERNELS_BF16: expected 0 or 1, got {}", value.display()),
        }
    })
}

/// Whether pairs pay, by the times of as many multiplications of f32 and of pairs.
///
/// An instruction for pairs does twice the products. It starts as often as that for f32, or half as
/// often; three quarters is far from both, so that no noise changes what a run computes.
fn pay([single, pair]: [Duration; 2]) -> bool {
    4 * single > 3 * pair
}

/// Rounds of one measurement: some microseconds.
const ROUNDS: u64 = 1000;

/// Measurements of each, in turns; the shortest counts.
const TURNS: usize = 10;

/// The times of [`ROUNDS`] rounds of f32 and of pairs.
fn measured() -> [Duration; 2] {
    let time = |rounds: &dyn Fn(Rounds<'_>)| {
        let clock = Instant::now();
        let mut flops = 0;
        rounds(Rounds {
            rounds: ROUNDS,
            flops: &mut flops,
        });
        black_box(flops);
        clock.elapsed()
    };
    let turns = (0..TURNS).map(|_| {
        [
            time(&|rounds| dispatch(Isa::Avx512, rounds)),
            time(&|rounds| dispatch_pairs(rounds)),
        ]
    });
    turns.fold([Duration::MAX; 2], |[a, b], [c, d]| [a.min(c), b.min(d)])
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
            // As the kernels do: an instruction for pairs overwrites the sum, not a factor.
            *acc = simd.mul_add(a, b, *acc);
        }
    }
    let mut out = [0.0; LANES];
    for acc in acc {
        simd.store(acc, &mut out);
        black_box(&mut out);
    }
    N
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pay;

    /// Times of as many multiplications of f32 and of pairs, from how many start in a cycle.
    fn times(singles: f64, pairs: f64) -> [Duration; 2] {
        [singles, pairs].map(|starts| Duration::from_secs_f64(1e-5 / starts))
    }

    #[test]
    fn pairs_are_multiplied_where_their_instruction_starts_as_often_and_not_where_half_as_often() {
        // AMD Zen 4: one of each a cycle. Intel Xeon, model 207: two of f32, one of pairs.
        for noise in [0.8, 1.0, 1.25] {
            assert!(pay(times(1.0, noise)), "Zen 4, {noise}");
            assert!(!pay(times(2.0, noise)), "Xeon, {noise}");
        }
    }
}
