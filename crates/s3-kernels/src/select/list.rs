//! The kernels that are compiled for this architecture, the preferred ones of nearly equal ones
//! first.

#[cfg(target_arch = "aarch64")]
use crate::arch::neon;
use crate::arch::scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::arch::wasm;
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2, avx512};
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
use crate::gemm::blocked;
use crate::isa::{Extension, Isa};
use crate::micro::bytes::Microkernel;
use crate::micro::float::{FloatKernel, How};
use crate::micro::kernel::Kernel;
#[cfg(feature = "std")]
use crate::micro::rates::Measured;
use crate::micro::rates::Rates;
use crate::packed::code::BitWidth;
use crate::packed::lines::PANEL;

pub(super) const fn usual(activation: f64, weight: f64, product: f64) -> Rates {
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
pub(super) static TABLE: &[Kernel] = &[
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
        run: |job| blocked::gemm(&avx512::vnni::VNNI, job),
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
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Kernel {
        name: "simd128-any-tiled",
        isa: Isa::Simd128,
        extension: Extension::None,
        multiplication_free: false,
        widths: &BitWidth::ALL,
        least_batch: 1,
        work: blocked::work,
        usual: usual(0.03, 0.05, 0.04),
        #[cfg(feature = "std")]
        measured: measured!(),
        run: |job| blocked::gemm(&wasm::DOT, job),
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

/// Every microkernel of u8 activations, the preferred ones of an instruction set first.
pub(crate) const MICROKERNELS: &[Microkernel] = &[
    #[cfg(target_arch = "x86_64")]
    avx512::vnni::VNNI,
    #[cfg(target_arch = "x86_64")]
    avx512::MADD,
    #[cfg(target_arch = "x86_64")]
    avx2::MADD,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    wasm::DOT,
    #[cfg(any(
        not(any(target_arch = "riscv32", target_arch = "riscv64")),
        target_feature = "m"
    ))]
    scalar::columns::MICROKERNEL,
    scalar::microkernel::SHIFT,
];

/// f32 without a multiplication.
pub(super) const FLOAT_SCALAR: FloatKernel = FloatKernel {
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
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    wasm::STRIP,
    FLOAT_SCALAR,
];
