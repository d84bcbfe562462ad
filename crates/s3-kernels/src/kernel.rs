//! The table of implementations, and the choice among them.
//!
//! Every kernel of [`TABLE`] computes the same integers for every shape; they differ in what they
//! need and where they are fast. To add one, write it under `arch/` and add its line: the tests
//! walk the table.

#[cfg(all(test, feature = "std", target_arch = "x86_64", target_os = "linux"))]
mod disassembly;

use core::fmt;
use core::ops::Range;

#[cfg(target_arch = "aarch64")]
use crate::arch::neon;
use crate::arch::scalar;
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2, avx512};
use crate::code::BitWidth;
use crate::dispatch::{Extension, Isa};
use crate::error::Error;
use crate::packed::PackedMatrix;
#[cfg(target_arch = "x86_64")]
use crate::tiled;

/// A product whose lengths are checked: `y = x · wᵀ` for some panels of `w`.
pub(crate) struct Job<'a> {
    /// The weights. There are rows in `panels`, and columns, wherever a kernel is called.
    pub(crate) w: &'a PackedMatrix,
    /// The panels of `w` to compute; all are full, save perhaps the last of `w`.
    pub(crate) panels: Range<usize>,
    /// `[batch, cols]`; the batch is at least 1 wherever a kernel is called.
    pub(crate) x: &'a [i8],
    /// Rows of `x` and `y`.
    pub(crate) batch: usize,
    /// `[batch, rows of the panels]`. A kernel writes every element.
    pub(crate) y: &'a mut [i32],
}

/// One implementation of [`gemm`](crate::gemm).
///
/// [`gemm`](crate::gemm) picks by itself; this is for tests and measurements.
///
/// ```
/// use s3_kernels::{BitWidth, Kernel, PackedMatrix};
///
/// let w = PackedMatrix::from_levels(&[1, -2, 0, 4], 2, 2, BitWidth::B3)?;
/// for kernel in Kernel::all().filter(|k| k.is_available() && k.serves(BitWidth::B3)) {
///     let mut y = [0; 2];
///     kernel.run(&w, &[100, -128], 1, &mut y)?;
///     assert_eq!(y, [356, -512], "{}", kernel.name());
/// }
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub struct Kernel {
    /// `{arch}-{width or "any"}-{variant}`.
    name: &'static str,
    isa: Isa,
    /// What it needs besides `isa`.
    extension: Extension,
    multiplication_free: bool,
    widths: &'static [BitWidth],
    /// Whether it is the fastest of those that come after it in the table, where it can run.
    pays: fn(&PackedMatrix, batch: usize) -> bool,
    run: fn(Job<'_>),
}

/// Every kernel, the preferred ones first. The last one serves everything everywhere.
static TABLE: &[Kernel] = &[
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    Kernel {
        name: "avx512-b2-table",
        isa: Isa::Avx512,
        extension: Extension::None,
        multiplication_free: true,
        widths: &[BitWidth::B2],
        pays: |w, batch| {
            w.rows() >= 1024 && batch >= 2 || w.rows() >= 512 && (4..=64).contains(&batch)
        },
        run: avx512::table::gemm,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-any-tiled",
        isa: Isa::Avx512,
        extension: Extension::Vnni,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |w, batch| {
            w.rows() <= 512 && batch >= 32 || !Extension::VnniVbmi.is_available() && batch >= 8
        },
        run: |job| tiled::gemm(&avx512::tile::VNNI, job),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-any-fused",
        isa: Isa::Avx512,
        extension: Extension::VnniVbmi,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, _| true,
        run: avx512::fused::gemm,
    },
    // Without VNNI.
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-any-tiled-madd",
        isa: Isa::Avx512,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, batch| batch >= 16,
        run: |job| tiled::gemm(&avx512::tile::MADD, job),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2-any-gemm",
        isa: Isa::Avx2,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, batch| batch > 1,
        run: avx2::gemm::gemm,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2-any-gemv",
        isa: Isa::Avx2,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, _| true,
        run: avx2::gemv::gemv,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon-any-matrix",
        isa: Isa::Neon,
        extension: Extension::MatrixProduct,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, batch| batch > 1,
        run: neon::gemm::matrix,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon-any-dot",
        isa: Isa::Neon,
        extension: Extension::DotProduct,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, _| true,
        run: neon::gemm::dot,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon-any-widening",
        isa: Isa::Neon,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        pays: |_, _| true,
        run: neon::gemm::widening,
    },
    Kernel {
        name: "scalar-any-products",
        isa: Isa::Scalar,
        extension: Extension::None,
        multiplication_free: true,
        widths: &BitWidth::ALL,
        pays: |_, _| true,
        run: scalar::gemm,
    },
];

impl Kernel {
    /// Every kernel that is compiled for this architecture, whether or not this CPU can run it.
    pub fn all() -> impl Iterator<Item = &'static Kernel> {
        TABLE.iter()
    }

    /// The kernel that [`gemm`](crate::gemm) would run on `isa`: the fastest of those that need no
    /// more than `isa` and what this CPU has.
    ///
    /// ```
    /// use s3_kernels::{BitWidth, Isa, Kernel, PackedMatrix};
    /// let w = PackedMatrix::from_levels(&[1], 1, 1, BitWidth::B2)?;
    /// assert!(Kernel::select(Isa::Scalar, &w, 1).is_multiplication_free());
    /// # Ok::<(), s3_kernels::Error>(())
    /// ```
    #[must_use]
    pub fn select(isa: Isa, w: &PackedMatrix, batch: usize) -> &'static Kernel {
        TABLE
            .iter()
            .find(|k| {
                isa.includes(k.isa)
                    && k.is_available()
                    && k.serves(w.bit_width())
                    && (k.pays)(w, batch)
            })
            .unwrap_or(&TABLE[TABLE.len() - 1])
    }

    /// Its name: the instruction set, the width, and what it does.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The instruction set it is written for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether its inner loops hold no multiply instruction.
    #[must_use]
    pub fn is_multiplication_free(&self) -> bool {
        self.multiplication_free
    }

    /// Whether this CPU can run it.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.isa.is_available() && self.extension.is_available()
    }

    /// Whether it reads weights of this width.
    #[must_use]
    pub fn serves(&self, bit_width: BitWidth) -> bool {
        self.widths.contains(&bit_width)
    }

    /// [`gemm`](crate::gemm), by this kernel.
    ///
    /// # Errors
    ///
    /// As [`gemm`](crate::gemm); [`Error::Kernel`] where this CPU cannot run the kernel, or the kernel
    /// does not serve the width.
    pub fn run(
        &self,
        w: &PackedMatrix,
        x: &[i8],
        batch: usize,
        y: &mut [i32],
    ) -> Result<(), Error> {
        if !self.is_available() || !self.serves(w.bit_width()) {
            return Err(Error::Kernel { name: self.name });
        }
        self.start(Job::new(w, 0..w.rows(), x, batch, y)?);
        Ok(())
    }

    /// Runs a job that this kernel can run, on the current thread.
    pub(crate) fn start(&self, job: Job<'_>) {
        if job.w.cols() == 0 {
            job.y.fill(0);
        } else if !job.y.is_empty() {
            (self.run)(job);
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
