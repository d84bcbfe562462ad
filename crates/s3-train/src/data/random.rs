//! Counter-based randomness: every draw is a function of (purpose, seed, epoch, sample).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A generator whose numbers depend on nothing but the arguments.
///
/// `purpose` keeps the users apart; `stream` is the sample index where there is one.
pub(super) fn keyed_rng(purpose: [u8; 8], seed: u64, epoch: u64, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&purpose);
    key[8..16].copy_from_slice(&seed.to_le_bytes());
    key[16..24].copy_from_slice(&epoch.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

/// A number in `0..bound`; the bias is below `bound / 2^64`.
///
/// Written out here because the sampling algorithms of `rand` may change between its versions,
/// and a resumed or repeated run must draw the same numbers.
pub(super) fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_bound_reach_every_value() {
        let mut rng = keyed_rng(*b"testing.", 1, 2, 3);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[below(&mut rng, 5)] += 1;
        }
        assert!(
            seen.iter().all(|&count| (140..260).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn generators_differ_in_purpose_seed_epoch_and_stream() {
        let first =
            |purpose, seed, epoch, stream| keyed_rng(purpose, seed, epoch, stream).next_u64();
        let base = first(*b"testing.", 1, 2, 3);
        assert_eq!(first(*b"testing.", 1, 2, 3), base);
        let others = [
            first(*b"Testing.", 1, 2, 3),
            first(*b"testing.", 2, 2, 3),
            first(*b"testing.", 1, 3, 3),
            first(*b"testing.", 1, 2, 4),
        ];
        assert!(!others.contains(&base));
    }
}
