//! Instruction sets, and which of them the kernels run on: chosen once at run time.
//!
//! `S3_KERNELS_ISA=scalar|avx2|avx512|neon|simd128` overrides the choice, for tests and for
//! measurements; an empty variable is none.

/// Whether this CPU has the features: asked at run time with `std`, else what the compiler may
/// assume.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! has {
    ($($feature:tt),+) => {{
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        let has = $(std::is_x86_feature_detected!($feature))&&+;
        #[cfg(all(feature = "std", target_arch = "aarch64"))]
        let has = $(std::arch::is_aarch64_feature_detected!($feature))&&+;
        #[cfg(not(feature = "std"))]
        let has = $(cfg!(target_feature = $feature))&&+;
        has
    }};
}

/// An instruction set that some kernel is written for. Later variants are wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, on any target.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, besides AVX2 and FMA. Kernels that need more, such as
    /// VNNI, are used where the CPU has it.
    Avx512,
    /// aarch64 with NEON. Kernels that need more, such as the dot product, are used where the CPU
    /// has it.
    Neon,
    /// WebAssembly with vectors of 128 bits, where the module was compiled for them
    /// (`-C target-feature=+simd128`).
    Simd128,
}

impl Isa {
    /// Every instruction set, narrowest first.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Neon, Isa::Simd128];

    /// Its name, as `S3_KERNELS_ISA` spells it.
    ///
    /// ```
    /// assert_eq!(s3_kernels::Isa::Avx512.name(), "avx512");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::Simd128 => "simd128",
        }
    }

    /// The instruction sets of this CPU, narrowest first. [`Isa::Scalar`] is always among them.
    /// The override does not shorten the list.
    ///
    /// ```
    /// use s3_kernels::Isa;
    /// assert_eq!(Isa::available().next(), Some(Isa::Scalar));
    /// ```
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this CPU has the instruction set.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has!("avx2", "fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available() && has!("avx512f", "avx512bw", "avx512dq", "avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
            Isa::Neon => cfg!(target_feature = "neon"),
            Isa::Simd128 => cfg!(target_feature = "simd128"),
        }
    }

    /// Whether a CPU with `self` runs code for `other`.
    pub(crate) fn includes(self, other: Isa) -> bool {
        match self {
            Isa::Neon | Isa::Simd128 => other == self || other == Isa::Scalar,
            _ => other <= self,
        }
    }

    /// The instruction set that kernels use: the one `S3_KERNELS_ISA` names, else the widest
    /// available. The first call decides; later calls return the same.
    ///
    /// # Panics
    ///
    /// Where `S3_KERNELS_ISA` names no instruction set, or one that this CPU does not have: to run
    /// something else than asked would make every measurement a lie.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn detect() -> Isa {
        static CHOICE: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *CHOICE.get_or_init(|| {
            let name = std::env::var_os("S3_KERNELS_ISA").unwrap_or_default();
            match choose(&name.to_string_lossy()) {
                Ok(isa) => isa,
                Err(message) => panic!("{message}"),
            }
        })
    }

    /// The widest instruction set available (without `std` there is no environment to override it).
    #[cfg(not(feature = "std"))]
    #[must_use]
    pub fn detect() -> Isa {
        widest()
    }
}

/// Instructions that some kernels need besides those of their [`Isa`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// None.
    None,
    /// x86-64: VNNI, in its AVX-512 form.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// x86-64: VNNI and VBMI, in their AVX-512 forms.
    #[cfg(target_arch = "x86_64")]
    VnniVbmi,
    /// aarch64: `sdot`.
    #[cfg(target_arch = "aarch64")]
    DotProduct,
    /// aarch64: `sdot` and `smmla`.
    #[cfg(target_arch = "aarch64")]
    MatrixProduct,
}

impl Extension {
    pub(crate) fn is_available(self) -> bool {
        match self {
            Extension::None => true,
            #[cfg(target_arch = "x86_64")]
            Extension::Vnni => has!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Extension::VnniVbmi => has!("avx512vnni", "avx512vbmi"),
            #[cfg(target_arch = "aarch64")]
            Extension::DotProduct => has!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Extension::MatrixProduct => has!("dotprod", "i8mm"),
        }
    }
}

fn widest() -> Isa {
    Isa::available().last().unwrap_or(Isa::Scalar)
}

/// The available instruction set called `name`, the widest where it is empty, else a message that
/// says what would be accepted.
#[cfg(feature = "std")]
fn choose(name: &str) -> Result<Isa, std::string::String> {
    let accepted = || {
        Isa::available()
            .map(Isa::name)
            .collect::<std::vec::Vec<_>>()
            .join(", ")
    };
    match Isa::ALL.into_iter().find(|isa| isa.name() == name) {
        _ if name.is_empty() => Ok(widest()),
        Some(isa) if isa.is_available() => Ok(isa),
        Some(_) => Err(std::format!(
            "S3_KERNELS_ISA={name}: this CPU has only {}",
            accepted()
        )),
        None => Err(std::format!(
            "S3_KERNELS_ISA={name}: unknown; expected one of {}",
            accepted()
        )),
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{Isa, choose};

    #[test]
    fn every_available_name_chooses_itself() {
        for isa in Isa::available() {
            assert_eq!(choose(isa.name()), Ok(isa));
        }
        assert_eq!(choose(""), Ok(super::widest()));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_accepted_ones() {
        let message = choose("sse9").unwrap_err();
        assert!(
            message.contains("sse9") && message.contains("scalar"),
            "{message}"
        );
    }

    #[test]
    fn detect_is_available_and_stable() {
        assert!(Isa::detect().is_available());
        assert_eq!(Isa::detect(), Isa::detect());
    }
}
