//! What an x86-64 CPU can do, asked of the CPU itself: the answer is the same with and without `std`.

use core::sync::atomic::{AtomicU32, Ordering};

/// Features that kernels ask for, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Feature {
    Avx2 = 1,
    Fma = 1 << 1,
    Avx512F = 1 << 2,
    Avx512Bw = 1 << 3,
    Avx512Dq = 1 << 4,
    Avx512Vl = 1 << 5,
    Avx512Vnni = 1 << 6,
    Avx512Vbmi = 1 << 7,
}

impl Feature {
    /// Whether the CPU has it, and the operating system saves the registers that it uses.
    pub(crate) fn is_available(self) -> bool {
        features() & self as u32 != 0
    }
}

/// The features, asked once: in a virtual machine the question is slow.
fn features() -> u32 {
    const ASKED: u32 = 1 << 31;
    static FEATURES: AtomicU32 = AtomicU32::new(0);
    let known = FEATURES.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let features = ask() | ASKED;
    FEATURES.store(features, Ordering::Relaxed);
    features
}

/// The interpreter runs no vector instructions of AVX2 and above.
#[cfg(miri)]
fn ask() -> u32 {
    0
}

#[cfg(not(miri))]
fn ask() -> u32 {
    use core::arch::x86_64::{__cpuid, __cpuid_count};

    let bit = |register: u32, bit: u32| register >> bit & 1 == 1;
    let leaf = __cpuid(1);
    if __cpuid(0).eax < 7 || !bit(leaf.ecx, 27) {
        return 0;
    }
    // SAFETY: bit 27 of leaf 1 says that the operating system allows `xgetbv`.
    let saved = unsafe { saved_registers() };
    let ymm = saved & 0x06 == 0x06;
    let zmm = saved & 0xe6 == 0xe6;
    let extended = __cpuid_count(7, 0);
    [
        (Feature::Avx2, ymm && bit(extended.ebx, 5)),
        (Feature::Fma, ymm && bit(leaf.ecx, 12)),
        (Feature::Avx512F, zmm && bit(extended.ebx, 16)),
        (Feature::Avx512Dq, zmm && bit(extended.ebx, 17)),
        (Feature::Avx512Bw, zmm && bit(extended.ebx, 30)),
        (Feature::Avx512Vl, zmm && bit(extended.ebx, 31)),
        (Feature::Avx512Vbmi, zmm && bit(extended.ecx, 1)),
        (Feature::Avx512Vnni, zmm && bit(extended.ecx, 11)),
    ]
    .into_iter()
    .filter(|(_, has)| *has)
    .fold(0, |features, (feature, _)| features | feature as u32)
}

/// The registers that the operating system saves between threads.
///
/// # Safety
///
/// The CPU has `xsave`, and the operating system uses it.
#[cfg(not(miri))]
#[target_feature(enable = "xsave")]
unsafe fn saved_registers() -> u64 {
    // SAFETY: as the function's.
    unsafe { core::arch::x86_64::_xgetbv(0) }
}

#[cfg(all(test, feature = "std", not(miri)))]
mod tests {
    use super::Feature;

    #[test]
    fn the_standard_library_says_the_same() {
        for (feature, std) in [
            (Feature::Avx2, std::is_x86_feature_detected!("avx2")),
            (Feature::Fma, std::is_x86_feature_detected!("fma")),
            (Feature::Avx512F, std::is_x86_feature_detected!("avx512f")),
            (Feature::Avx512Bw, std::is_x86_feature_detected!("avx512bw")),
            (Feature::Avx512Dq, std::is_x86_feature_detected!("avx512dq")),
            (Feature::Avx512Vl, std::is_x86_feature_detected!("avx512vl")),
            (
                Feature::Avx512Vnni,
                std::is_x86_feature_detected!("avx512vnni"),
            ),
            (
                Feature::Avx512Vbmi,
                std::is_x86_feature_detected!("avx512vbmi"),
            ),
        ] {
            assert_eq!(feature.is_available(), std, "{feature:?}");
        }
    }
}
