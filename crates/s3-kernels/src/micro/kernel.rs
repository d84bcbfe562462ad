//! The table of implementations, and the choice among them.
//!
//! Every kernel of [`TABLE`] computes the same integers for every shape; they differ in what they
//! need and where they are fast. To add one, write it under `arch/` and add its line: the tests
//! walk the table.

#[cfg(all(test, feature = "std", target_arch = "x86_64", target_os = "linux"))]
mod disassembly;
#[cfg(all(test, feature = "std"))]
mod tests;

use core::fmt;
use core::ops::Range;

#[cfg(target_arch = "aarch64")]
use crate::arch::neon;
use crate::arch::scalar;
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2, avx512};
use crate::error::{Error, check_len};
#[cfg(target_arch = "x86_64")]
use crate::gemm::blocked;
use crate::isa::{Extension, Isa};
#[cfg(feature = "std")]
use crate::micro::rates::Measured;
use crate::micro::rates::{Rates, Shape, Work, fastest};
use crate::packed::PackedMatrix;
use crate::packed::code::BitWidth;
use crate::packed::lines::PANEL;

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

impl<'a> Job<'a> {
    /// All of a product; checks the lengths.
    pub(crate) fn new(
        w: &'a PackedMatrix,
        x: &'a [i8],
        batch: usize,
        y: &'a mut [i32],
    ) -> Result<Job<'a>, Error> {
        let len = |what, length: usize| batch.checked_mul(length).ok_or(Error::Overflow { what });
        check_len("x", len("x", w.cols())?, x.len())?;
        check_len("y", len("y", w.rows())?, y.len())?;
        Ok(Job {
            w,
            panels: 0..w.rows().div_ceil(PANEL),
            x,
            batch,
            y,
        })
    }
}

/// One implementation of [`gemm`](crate::gemm).
///
/// [`gemm`](crate::gemm) picks by itself, the one that this CPU was measured to be fastest with
/// ([`Kernel::select`]); this is for tests and measurements.
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
    /// The smallest batch that it is considered for.
    least_batch: usize,
    /// What a product asks of it.
    work: fn(&Shape) -> Work,
    /// Its rates for ternary weights on an AMD Zen 4; on AArch64, of which none was measured, in proportion.
    usual: Rates,
    /// Those of this CPU.
    #[cfg(feature = "std")]
    measured: &'static Measured,
    run: fn(Job<'_>),
}

const fn usual(activation: f64, weight: f64, product: f64) -> Rates {
    Rates {
        activation,
        weight,
        product,
    }
}

/// What a kernel's rates are kept in once they are measured.
#[cfg(feature = "std")]
macro_rules! measured {
    () => {{
        static MEASURED: Measured = Measured::new();
        &MEASURED
    }};
}

/// Every kernel, of nearly equal ones the preferred first: those that keep weights in one form. The last
/// one serves everything everywhere.
static TABLE: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-any-fused",
        isa: Isa::Avx512,
        extension: Extension::VnniVbmi,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: avx512::fused::work,
        usual: usual(0.075, 0.0003, 0.0041),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: avx512::fused::gemm,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-any-tiled",
        isa: Isa::Avx512,
        extension: Extension::Vnni,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: blocked::work,
        usual: usual(0.03, 0.014, 0.0044),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: |job| blocked::gemm(&avx512::tile::VNNI, job),
    },
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    Kernel {
        name: "avx512-b2-table",
        isa: Isa::Avx512,
        extension: Extension::None,
        multiplication_free: true,
        widths: &[BitWidth::B2],
        least_batch: 2,
        work: avx512::table::work,
        usual: usual(0.45, 0.0, 0.0038),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: avx512::table::gemm,
    },
    // Without VNNI.
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-any-tiled-madd",
        isa: Isa::Avx512,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: blocked::work,
        usual: usual(0.03, 0.014, 0.0066),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: |job| blocked::gemm(&avx512::tile::MADD, job),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2-any-gemm",
        isa: Isa::Avx2,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 2,
        work: avx2::gemm::work,
        usual: usual(0.02, 0.0064, 0.0075),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: avx2::gemm::gemm,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2-any-gemv",
        isa: Isa::Avx2,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: avx2::gemv::work,
        usual: usual(0.02, 0.0, 0.0076),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: avx2::gemv::gemv,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon-any-matrix",
        isa: Isa::Neon,
        extension: Extension::MatrixProduct,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 2,
        work: neon::gemm::work,
        usual: usual(0.1, 0.01, 0.005),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: neon::gemm::matrix,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon-any-dot",
        isa: Isa::Neon,
        extension: Extension::DotProduct,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: neon::gemm::work,
        usual: usual(0.1, 0.01, 0.01),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: neon::gemm::dot,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon-any-widening",
        isa: Isa::Neon,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: neon::gemm::work,
        usual: usual(0.1, 0.01, 0.04),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: neon::gemm::widening,
    },
    #[cfg(any(
        not(any(target_arch = "riscv32", target_arch = "riscv64")),
        target_feature = "m"
    ))]
    Kernel {
        name: "scalar-any-columns",
        isa: Isa::Scalar,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: scalar::columns::work,
        usual: usual(0.0, 0.1, 0.08),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: scalar::columns::gemm,
    },
    Kernel {
        name: "scalar-any-products",
        isa: Isa::Scalar,
        extension: Extension::None,
        multiplication_free: true,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: |shape| shape.work(0, 1, PANEL),
        usual: usual(0.0, 0.0, 1.0),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: scalar::gemm,
    },
];

impl Kernel {
    /// Every kernel that is compiled for this architecture, whether or not this CPU can run it.
    pub fn all() -> impl Iterator<Item = &'static Kernel> + Clone {
        TABLE.iter()
    }

    /// The kernel that [`gemm`](crate::gemm) would run on `isa`: the fastest of those that need no
    /// more than `isa` and what this CPU has, or the one that `S3_KERNELS_KERNEL` names, where it serves
    /// the weights. Whichever it is, the results are the same.
    ///
    /// With `std` the first call for a width may time a few small products, some hundred microseconds in
    /// all, once a process; where one kernel is by far the fastest on any CPU, as for a vector, it times none. Without
    /// `std` the choice is that of one CPU, an AMD Zen 4.
    ///
    /// # Panics
    ///
    /// Where `S3_KERNELS_KERNEL` names no kernel that this CPU can run.
    ///
    /// ```
    /// use s3_kernels::{BitWidth, Isa, Kernel, PackedMatrix};
    /// let w = PackedMatrix::from_levels(&[1], 1, 1, BitWidth::B2)?;
    /// assert_eq!(Kernel::select(Isa::Scalar, &w, 1).isa(), Isa::Scalar);
    /// # Ok::<(), s3_kernels::Error>(())
    /// ```
    #[must_use]
    pub fn select(isa: Isa, w: &PackedMatrix, batch: usize) -> &'static Kernel {
        let shape = Shape {
            rows: w.rows(),
            cols: w.cols(),
            batch,
        };
        let width = w.bit_width();
        let slowest = &TABLE[TABLE.len() - 1];
        if TABLE.len() == 1 || shape.rows == 0 || shape.cols == 0 {
            return slowest;
        }
        let kernels = TABLE.iter().filter(|kernel| {
            isa.includes(kernel.isa)
                && kernel.is_available()
                && kernel.serves(width)
                && kernel.least_batch <= batch
        });
        #[cfg(feature = "std")]
        if let Some(named) = named()
            && kernels.clone().any(|kernel| kernel.name == named.name)
        {
            return named;
        }
        choose(kernels, &shape, |kernel| kernel.rates(width)).unwrap_or(slowest)
    }

    /// Its rates on this CPU.
    #[cfg(feature = "std")]
    fn rates(&self, width: BitWidth) -> Rates {
        self.measured.get(width, || {
            crate::micro::rates::rates(self.work, |shape| {
                let w = PackedMatrix::zeros(shape.rows, shape.cols, width);
                let x = std::vec![0; shape.activations()];
                let mut y = std::vec![0; shape.batch * shape.rows];
                let batch = shape.batch;
                move || {
                    self.start(Job {
                        w: &w,
                        panels: 0..w.rows().div_ceil(PANEL),
                        x: &x,
                        batch,
                        y: &mut y,
                    });
                }
            })
        })
    }

    /// Its rates: there is no clock.
    #[cfg(not(feature = "std"))]
    fn rates(&self, _: BitWidth) -> Rates {
        self.usual
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
        self.start(Job::new(w, x, batch, y)?);
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

/// The fastest for `shape`, at these rates.
fn choose(
    kernels: impl Iterator<Item = &'static Kernel> + Clone,
    shape: &Shape,
    rates: impl Fn(&'static Kernel) -> Rates,
) -> Option<&'static Kernel> {
    let usual = |kernel: &Kernel| kernel.usual.time(&(kernel.work)(shape));
    fastest(kernels, usual, |kernel| {
        rates(kernel).time(&(kernel.work)(shape))
    })
}

/// The kernel that `S3_KERNELS_KERNEL` names; none where it is not set or empty. The first call decides.
///
/// # Panics
///
/// Where it names no kernel, or one that this CPU cannot run: to run something else than asked would
/// make every measurement a lie.
#[cfg(feature = "std")]
fn named() -> Option<&'static Kernel> {
    static NAMED: std::sync::OnceLock<Option<&'static Kernel>> = std::sync::OnceLock::new();
    *NAMED.get_or_init(|| {
        let name = std::env::var_os("S3_KERNELS_KERNEL").unwrap_or_default();
        match find(&name.to_string_lossy()) {
            Ok(kernel) => kernel,
            Err(message) => panic!("{message}"),
        }
    })
}

/// The kernel called `name` that this CPU can run, none for the empty name, else a message that says what
/// would be accepted.
#[cfg(feature = "std")]
fn find(name: &str) -> Result<Option<&'static Kernel>, std::string::String> {
    let mut kernels = Kernel::all().filter(|kernel| kernel.is_available());
    let accepted: std::vec::Vec<&str> = kernels.clone().map(Kernel::name).collect();
    match kernels.find(|kernel| kernel.name == name) {
        None if !name.is_empty() => Err(std::format!(
            "S3_KERNELS_KERNEL={name}: no kernel of this CPU; expected one of {}",
            accepted.join(", ")
        )),
        kernel => Ok(kernel),
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
