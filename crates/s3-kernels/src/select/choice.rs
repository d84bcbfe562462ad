//! Which kernel runs: the fastest for a shape, among those that the CPU has and the weights allow.

use super::list::{FLOAT_KERNELS, FLOAT_SCALAR, MICROKERNELS, TABLE};
use crate::arch::scalar;
use crate::isa::Isa;
use crate::micro::bytes::Microkernel;
use crate::micro::float::{FloatKernel, How};
use crate::micro::kernel::Kernel;
use crate::micro::rates::{Rates, Shape, fastest, near};
use crate::packed::PackedMatrix;
use crate::packed::code::BitWidth;

impl Kernel {
    /// Every kernel that is compiled for this architecture, whether or not this CPU can run it.
    pub fn all() -> impl Iterator<Item = &'static Kernel> + Clone {
        TABLE.iter()
    }

    /// The kernel that [`gemm`](crate::gemm), and [`gemm_fused`](crate::gemm_fused) of few rows,
    /// would run on `isa`: the fastest of those that need no
    /// more than `isa` and what this CPU has, or the one that `S3_KERNELS_KERNEL` names, where it
    /// serves the weights. Whichever it is, the results are the same.
    ///
    /// With `std` the first call for a width may time a few products, one or two milliseconds in
    /// all, once a process; where one kernel is by far the fastest on any CPU, as for a vector, it
    /// times none. Without `std` the choice is that of one CPU, an AMD Zen 4.
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
        let kernels = candidates(kernels, &shape);
        // Those that compete, together.
        #[cfg(feature = "std")]
        if kernels.clone().nth(1).is_some() {
            Kernel::measure(kernels.clone(), width);
        }
        choose(kernels, &shape, |kernel| kernel.rates(width)).unwrap_or(slowest)
    }
}

/// Those that are near enough to the fastest for `shape` to be measured.
pub(super) fn candidates(
    kernels: impl Iterator<Item = &'static Kernel> + Clone,
    shape: &Shape,
) -> impl Iterator<Item = &'static Kernel> + Clone {
    near(kernels, |kernel| kernel.usual.time(&(kernel.work)(shape)))
}

/// The fastest for `shape` of candidates with these rates.
pub(super) fn choose(
    candidates: impl Iterator<Item = &'static Kernel>,
    shape: &Shape,
    rates: impl Fn(&'static Kernel) -> Rates,
) -> Option<&'static Kernel> {
    fastest(candidates, |kernel| {
        rates(kernel).time(&(kernel.work)(shape))
    })
}

/// The kernel that `S3_KERNELS_KERNEL` names; none where it is not set or empty. The first call
/// decides.
///
/// # Panics
///
/// Where it names no kernel, or one that this CPU cannot run: to run something else than asked
/// would make every measurement a lie.
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

/// The kernel called `name` that this CPU can run, none for the empty name, else a message that
/// says what would be accepted.
#[cfg(feature = "std")]
pub(super) fn find(name: &str) -> Result<Option<&'static Kernel>, std::string::String> {
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

impl Microkernel {
    /// The kernel that `isa` runs fastest; a scalar one where it has none.
    pub(crate) fn of(isa: Isa) -> &'static Microkernel {
        let runs = |isa| {
            let runs = move |kernel: &&Microkernel| kernel.isa == isa && (kernel.available)();
            MICROKERNELS.iter().find(runs)
        };
        let found = runs(isa).or_else(|| runs(Isa::Scalar));
        found.unwrap_or(&scalar::microkernel::SHIFT)
    }

    /// The kernel that `isa` runs fastest for levels that need not be powers of two.
    #[cfg(feature = "model")]
    pub(crate) fn dense(isa: Isa) -> &'static Microkernel {
        match Microkernel::of(isa) {
            kernel if kernel.isa == Isa::Scalar && !scalar::MULTIPLIER => {
                &scalar::microkernel::MULTIPLY
            }
            kernel => kernel,
        }
    }
}

/// Outputs from which on tables pay: a table costs about as much as two panels' look-ups in it.
const TABLE_ROWS: usize = 128;

impl FloatKernel {
    /// The kernel that `isa` runs fastest for a matrix of `rows` outputs.
    pub(crate) fn of(isa: Isa, width: BitWidth, rows: usize) -> &'static FloatKernel {
        let pays = |kernel: &FloatKernel| match kernel.how {
            How::Table(_) => rows >= TABLE_ROWS,
            _ => true,
        };
        let mut kernels = FLOAT_KERNELS.iter();
        kernels
            .find(|kernel| kernel.isa == isa && kernel.serves(width) && pays(kernel))
            .unwrap_or(&FLOAT_SCALAR)
    }
}
