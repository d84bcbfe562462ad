//! Dispatch: every implementation there is, and the choice among them by instruction set and shape.
//!
//! All kernels of a list compute the same numbers for every shape; they differ in what they need
//! and where they are fast. To add one, write it under `arch/` and add its line here: the tests
//! walk the lists.

#[cfg(all(test, feature = "std", target_arch = "x86_64", target_os = "linux"))]
mod disassembly;
#[cfg(all(test, feature = "std"))]
mod tests;

#[cfg(target_arch = "aarch64")]
use crate::arch::neon;
use crate::arch::scalar;
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2, avx512, x86};
#[cfg(feature = "model")]
use crate::epilogue::requant::Requantize;
use crate::epilogue::sealed::Store;
use crate::epilogue::{Narrow, Place, Scale, ShiftRequant, store_by_value};
#[cfg(target_arch = "x86_64")]
use crate::gemm::blocked;
use crate::isa::{Extension, Isa};
use crate::micro::bytes::{AccRow, TileKernel};
use crate::micro::float::{FloatKernel, How};
use crate::micro::kernel::Kernel;
use crate::micro::loops;
#[cfg(feature = "std")]
use crate::micro::rates::Measured;
use crate::micro::rates::{Rates, Shape, fastest};
use crate::packed::PackedMatrix;
use crate::packed::code::BitWidth;
use crate::packed::lines::PANEL;

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

/// Every kernel, of nearly equal ones the preferred first: those that keep weights in one form. The
/// last one serves everything everywhere.
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
        run: |job| blocked::gemm(&avx512::MADD, job),
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
    /// more than `isa` and what this CPU has, or the one that `S3_KERNELS_KERNEL` names, where it
    /// serves the weights. Whichever it is, the results are the same.
    ///
    /// With `std` the first call for a width may time a few small products, some hundred
    /// microseconds in all, once a process; where one kernel is by far the fastest on any CPU, as
    /// for a vector, it times none. Without `std` the choice is that of one CPU, an AMD Zen 4.
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

/// Every microkernel of u8 activations, the preferred ones of an instruction set first.
pub(crate) const MICROKERNELS: &[TileKernel] = &[
    #[cfg(target_arch = "x86_64")]
    avx512::tile::VNNI,
    #[cfg(target_arch = "x86_64")]
    avx512::MADD,
    #[cfg(target_arch = "x86_64")]
    avx2::MADD,
    #[cfg(any(
        not(any(target_arch = "riscv32", target_arch = "riscv64")),
        target_feature = "m"
    ))]
    scalar::columns::TILE,
    scalar::tile::SHIFT,
];

impl TileKernel {
    /// The kernel that `isa` runs fastest; a scalar one where it has none.
    pub(crate) fn of(isa: Isa) -> &'static TileKernel {
        let runs = |isa| {
            let runs = move |kernel: &&TileKernel| kernel.isa == isa && (kernel.available)();
            MICROKERNELS.iter().find(runs)
        };
        let found = runs(isa).or_else(|| runs(Isa::Scalar));
        found.unwrap_or(&scalar::tile::SHIFT)
    }

    /// The kernel that `isa` runs fastest for levels that need not be powers of two.
    #[cfg(feature = "model")]
    pub(crate) fn dense(isa: Isa) -> &'static TileKernel {
        match TileKernel::of(isa) {
            kernel if kernel.isa == Isa::Scalar && !scalar::MULTIPLIER => &scalar::tile::MULTIPLY,
            kernel => kernel,
        }
    }
}

/// f32 without a multiplication.
const FLOAT_SCALAR: FloatKernel = FloatKernel {
    name: "scalar-f32-shift",
    isa: Isa::Scalar,
    unpack: scalar::unpack::unpack,
    how: How::Scalar,
};

/// Every microkernel of f32 activations, the preferred ones of an instruction set first.
pub(crate) const FLOAT_KERNELS: &[FloatKernel] = &[
    #[cfg(target_arch = "x86_64")]
    avx512::float_table::TABLE,
    #[cfg(target_arch = "x86_64")]
    avx512::FMA,
    #[cfg(target_arch = "x86_64")]
    avx2::FMA,
    FLOAT_SCALAR,
];

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

impl Store for Scale<'_> {
    fn store(&self, isa: Isa, _narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [f32]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::epilogue::store::<avx512::Avx512, _>(self, tile, place, y),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::epilogue::store::<avx2::Avx2, _>(self, tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

impl Store for ShiftRequant<'_> {
    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if narrow.0 => {
                x86::epilogue::store::<avx512::Avx512, _>(self, tile, place, y)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if narrow.0 => x86::epilogue::store::<avx2::Avx2, _>(self, tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

#[cfg(feature = "model")]
impl Store for Requantize<'_> {
    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if narrow.0 => {
                x86::epilogue::store::<avx512::Avx512, _>(self, tile, place, y)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if narrow.0 => x86::epilogue::store::<avx2::Avx2, _>(self, tile, place, y),
            _ if narrow.0 && self.table.places.is_none() => self.store_narrow(tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

/// The loops of [`loops::depthwise`], compiled for `isa`.
pub(crate) fn float_depthwise(isa: Isa, strip: &loops::Strip<'_>, y: &mut [f32]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::loops::depthwise::<avx512::Avx512>(strip, y),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::loops::depthwise::<avx2::Avx2>(strip, y),
        _ => loops::depthwise(strip, y),
    }
}

/// The loops of [`loops::dense`], compiled for `isa`.
#[cfg(feature = "model")]
pub(crate) fn float_dense(
    isa: Isa,
    windows: &[f32],
    panel: &[[f32; loops::LANES]],
    sums: &mut [[f32; loops::LANES]; loops::ROWS],
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::loops::dense::<avx512::Avx512>(windows, panel, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::loops::dense::<avx2::Avx2>(windows, panel, sums),
        _ => loops::dense(windows, panel, sums),
    }
}
