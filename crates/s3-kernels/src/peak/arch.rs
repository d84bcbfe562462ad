//! The int8 peak, in the widest instructions of the CPU.
#![allow(
    unsafe_code,
    reason = "calls of functions that need a CPU feature, each behind the question for it"
)]

use core::hint::black_box;

/// See [`crate::peak::int8_multiply_adds`].
pub(crate) fn int8_multiply_adds(rounds: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(done) = x86::int8_multiply_adds(rounds) {
        return done;
    }
    black_box(rounds);
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;
    use core::hint::black_box;
    use std::is_x86_feature_detected as has;

    /// Chains of dot products, none waiting for another: more than latency times rate.
    const CHAINS: usize = 16;

    /// Those of AVX2: with both operands and a product they fit its sixteen registers.
    const PAIR_CHAINS: usize = 12;

    pub(super) fn int8_multiply_adds(rounds: u64) -> Option<u64> {
        if has!("avx512f") && has!("avx512vnni") {
            // SAFETY: the CPU has just been asked for both features.
            unsafe { dot_512(rounds) };
            return Some(rounds * CHAINS as u64 * 64);
        }
        if has!("avxvnni") {
            // SAFETY: the CPU has just been asked for the feature, which implies AVX2.
            unsafe { dot_256(rounds) };
            return Some(rounds * CHAINS as u64 * 32);
        }
        if has!("avx2") {
            // SAFETY: the CPU has just been asked for the feature.
            unsafe { pairs_256(rounds) };
            return Some(rounds * PAIR_CHAINS as u64 * 32);
        }
        None
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn dot_512(rounds: u64) {
        let mut chains = [_mm512_setzero_si512(); CHAINS];
        let a = _mm512_set1_epi8(black_box(3));
        let b = _mm512_set1_epi8(black_box(-5));
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm512_dpbusd_epi32(*chain, a, b);
            }
        }
        black_box(chains);
    }

    #[target_feature(enable = "avx2,avxvnni")]
    fn dot_256(rounds: u64) {
        let mut chains = [_mm256_setzero_si256(); CHAINS];
        let a = _mm256_set1_epi8(black_box(3));
        let b = _mm256_set1_epi8(black_box(-5));
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm256_dpbusd_avx_epi32(*chain, a, b);
            }
        }
        black_box(chains);
    }

    /// Products of bytes, added in pairs to 16 bits: exact for small weights, with an addition
    /// each.
    #[target_feature(enable = "avx2")]
    fn pairs_256(rounds: u64) {
        let mut chains = [_mm256_setzero_si256(); PAIR_CHAINS];
        let mut a = _mm256_set1_epi8(black_box(3));
        let b = _mm256_set1_epi8(black_box(-1));
        for _ in 0..rounds {
            for chain in &mut chains {
                // SAFETY: no instruction. A compiler that knew the operand to be the same would
                // multiply once for all chains.
                unsafe {
                    core::arch::asm!(
                        "/* {0} */",
                        inout(ymm_reg) a,
                        options(nomem, nostack, preserves_flags),
                    );
                }
                *chain = _mm256_add_epi16(*chain, _mm256_maddubs_epi16(a, b));
            }
        }
        black_box(chains);
    }
}
