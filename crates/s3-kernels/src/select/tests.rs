//! Does the choice follow the rates?

use super::choice::{candidates, choose, find};
use super::list::{TABLE, usual};
use crate::BitWidth::{self, B2, B3};
use crate::isa::Isa;
use crate::micro::kernel::Kernel;
use crate::micro::rates::{Rates, Shape};

/// Kernels of `isa` for a product, whether or not this CPU has it.
fn kernels(
    isa: Isa,
    width: BitWidth,
    batch: usize,
) -> impl Iterator<Item = &'static Kernel> + Clone {
    let serves = move |k: &&Kernel| k.serves(width) && k.least_batch <= batch;
    let kernels = TABLE.iter().filter(serves);
    kernels.filter(move |k| isa.includes(k.isa))
}

fn shape((batch, rows, cols): (usize, usize, usize)) -> Shape {
    Shape { rows, cols, batch }
}

#[test]
fn a_vector_has_one_candidate_and_is_measured_for_nothing() {
    for isa in Isa::ALL {
        for width in BitWidth::ALL {
            for shape in [(1, 4096, 4096), (1, 64, 576), (1, 1000, 512)].map(shape) {
                let measured = |_: &Kernel| -> Rates { panic!("nothing is measured") };
                let kernels = candidates(kernels(isa, width, 1), &shape);
                assert!(choose(kernels, &shape, measured).is_some());
            }
        }
    }
}

#[test]
fn every_kernel_that_is_available_can_be_named_and_no_other() {
    for kernel in Kernel::all() {
        match find(kernel.name()) {
            Ok(found) => assert!(found.is_some_and(|f| f.name == kernel.name)),
            Err(message) => assert!(!kernel.is_available(), "{message}"),
        }
    }
    assert!(find("").is_ok_and(|none| none.is_none()));
    let message = find("fastest").unwrap_err();
    assert!(
        message.contains("fastest") && message.contains("scalar-any-products"),
        "{message}"
    );
}

#[test]
fn every_kernel_has_rates_of_its_own_on_this_cpu() {
    for kernel in Kernel::all().filter(|k| k.is_available() && k.isa() != Isa::Scalar) {
        for width in BitWidth::ALL.into_iter().filter(|&w| kernel.serves(w)) {
            let rates = kernel.rates(width);
            let time = rates.time(&(kernel.work)(&shape((8, 512, 512))));
            assert!(time.is_finite() && time > 0.0, "{kernel:?} {rates:?}");
            assert_eq!(rates, kernel.rates(width), "measured once");
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod two_cpus {
    use super::*;

    /// A product (batch, rows, columns), a width, and what three kernels were measured at on it,
    /// GMAC/s: the table, tiled, fused.
    type Case = ((usize, usize, usize), BitWidth, [u32; 3]);

    const KERNELS: [&str; 3] = ["avx512-b2-table", "avx512-any-tiled", "avx512-any-fused"];

    /// Intel Xeon, model 207: one table look-up a cycle. One core, other work on the machine.
    const XEON: &[Case] = &[
        ((8, 4096, 4096), B2, [109, 107, 232]),
        ((8, 4096, 4096), B3, [0, 105, 187]),
        ((64, 4096, 4096), B2, [104, 173, 225]),
        ((64, 4096, 4096), B3, [0, 163, 182]),
        ((512, 4096, 4096), B2, [112, 184, 264]),
        ((512, 4096, 4096), B3, [0, 243, 237]),
        ((1024, 1024, 1024), B2, [116, 239, 253]),
        ((1024, 1024, 1024), B3, [0, 232, 206]),
        ((512, 512, 4608), B2, [107, 256, 248]),
        ((512, 512, 4608), B3, [0, 247, 211]),
        ((3136, 64, 576), B2, [38, 235, 170]),
        ((3136, 64, 576), B3, [0, 245, 159]),
        ((784, 128, 1152), B2, [79, 265, 227]),
        ((784, 128, 1152), B3, [0, 266, 197]),
        ((2, 4096, 4096), B2, [120, 56, 190]),
        ((2, 4096, 4096), B3, [0, 50, 128]),
        ((4, 4096, 4096), B2, [113, 77, 222]),
        ((4, 4096, 4096), B3, [0, 71, 164]),
        ((16, 4096, 4096), B2, [138, 191, 290]),
        ((16, 4096, 4096), B3, [0, 180, 236]),
        ((32, 2048, 2048), B2, [131, 219, 278]),
        ((32, 2048, 2048), B3, [0, 211, 237]),
        ((128, 2048, 2048), B2, [108, 183, 229]),
        ((128, 2048, 2048), B3, [0, 182, 196]),
        ((512, 2048, 2048), B2, [101, 174, 211]),
        ((512, 2048, 2048), B3, [0, 164, 169]),
        ((2048, 2048, 2048), B2, [103, 171, 237]),
        ((2048, 2048, 2048), B3, [0, 198, 172]),
        ((128, 2048, 8192), B2, [103, 202, 239]),
        ((128, 2048, 8192), B3, [0, 193, 219]),
        ((128, 8192, 2048), B2, [109, 174, 217]),
        ((128, 8192, 2048), B3, [0, 180, 178]),
        ((8, 2560, 2560), B2, [103, 109, 231]),
        ((8, 2560, 2560), B3, [0, 97, 175]),
        ((64, 6912, 2560), B2, [121, 174, 260]),
        ((64, 6912, 2560), B3, [0, 174, 184]),
        ((512, 2560, 6912), B2, [122, 215, 236]),
        ((512, 2560, 6912), B3, [0, 223, 193]),
        ((64, 192, 4096), B2, [71, 229, 256]),
        ((64, 192, 4096), B3, [0, 228, 216]),
        ((196, 256, 2304), B2, [96, 252, 250]),
        ((196, 256, 2304), B3, [0, 254, 217]),
    ];

    /// AMD Zen 4: two table look-ups a cycle.
    const ZEN_4: &[Case] = &[
        ((8, 4096, 4096), B2, [256, 161, 234]),
        ((8, 4096, 4096), B3, [0, 153, 230]),
        ((64, 4096, 4096), B2, [230, 201, 227]),
        ((64, 4096, 4096), B3, [0, 195, 221]),
        ((512, 4096, 4096), B2, [230, 218, 227]),
        ((512, 4096, 4096), B3, [0, 218, 225]),
        ((1024, 1024, 1024), B2, [221, 205, 215]),
        ((1024, 1024, 1024), B3, [0, 202, 207]),
        ((512, 512, 4608), B2, [202, 220, 220]),
        ((512, 512, 4608), B3, [0, 220, 217]),
        ((3136, 64, 576), B2, [67, 219, 188]),
        ((3136, 64, 576), B3, [0, 218, 186]),
        ((784, 128, 1152), B2, [129, 226, 212]),
        ((784, 128, 1152), B3, [0, 225, 209]),
        ((2, 4096, 4096), B2, [239, 95, 232]),
        ((2, 4096, 4096), B3, [0, 86, 204]),
        ((4, 4096, 4096), B2, [250, 136, 233]),
        ((4, 4096, 4096), B3, [0, 126, 230]),
        ((16, 4096, 4096), B2, [248, 180, 233]),
        ((16, 4096, 4096), B3, [0, 171, 230]),
        ((32, 2048, 2048), B2, [248, 211, 232]),
        ((32, 2048, 2048), B3, [0, 207, 230]),
        ((128, 2048, 2048), B2, [220, 205, 209]),
        ((128, 2048, 2048), B3, [0, 201, 223]),
        ((512, 2048, 2048), B2, [194, 171, 184]),
        ((512, 2048, 2048), B3, [0, 165, 175]),
        ((2048, 2048, 2048), B2, [235, 209, 223]),
        ((2048, 2048, 2048), B3, [0, 199, 222]),
        ((128, 2048, 8192), B2, [224, 214, 227]),
        ((128, 2048, 8192), B3, [0, 212, 223]),
        ((128, 8192, 2048), B2, [221, 203, 225]),
        ((128, 8192, 2048), B3, [0, 200, 221]),
        ((8, 2560, 2560), B2, [250, 172, 233]),
        ((8, 2560, 2560), B3, [0, 164, 231]),
        ((64, 6912, 2560), B2, [241, 197, 215]),
        ((64, 6912, 2560), B3, [0, 189, 209]),
        ((512, 2560, 6912), B2, [228, 219, 227]),
        ((512, 2560, 6912), B3, [0, 217, 216]),
        ((64, 192, 4096), B2, [132, 215, 215]),
        ((64, 192, 4096), B3, [0, 217, 220]),
        ((196, 256, 2304), B2, [163, 220, 219]),
        ((196, 256, 2304), B3, [0, 223, 215]),
    ];

    /// The rates of a kernel that is not among the three put it out of question.
    fn rates(of: [[Rates; 3]; 2], kernel: &Kernel, width: BitWidth) -> Rates {
        let of = if width == B2 { of[0] } else { of[1] };
        let at = KERNELS.iter().position(|name| *name == kernel.name());
        at.map_or(usual(1.0, 1.0, 1.0), |at| of[at])
    }

    /// Ternary, then wider weights; in the order of [`KERNELS`].
    const XEON_RATES: [[Rates; 3]; 2] = [
        [
            usual(0.7, 0.0, 0.0072),
            usual(0.03, 0.04, 0.0038),
            usual(0.1, 0.004, 0.0025),
        ],
        [
            usual(0.0, 0.0, 0.0),
            usual(0.03, 0.07, 0.0038),
            usual(0.1, 0.007, 0.00255),
        ],
    ];

    const ZEN_4_RATES: [[Rates; 3]; 2] = [
        [
            usual(0.45, 0.0, 0.0038),
            usual(0.03, 0.014, 0.0044),
            usual(0.075, 0.0008, 0.0041),
        ],
        [
            usual(0.0, 0.0, 0.0),
            usual(0.03, 0.016, 0.0044),
            usual(0.075, 0.0012, 0.0040),
        ],
    ];

    fn chosen(product: (usize, usize, usize), width: BitWidth, of: [[Rates; 3]; 2]) -> usize {
        let shape = shape(product);
        let kernels = kernels(Isa::Avx512, width, shape.batch);
        let kernels = candidates(kernels, &shape);
        let kernel = choose(kernels, &shape, |kernel| rates(of, kernel, width)).unwrap();
        let at = KERNELS.iter().position(|name| *name == kernel.name());
        at.unwrap_or_else(|| panic!("{kernel:?} for {product:?}"))
    }

    #[test]
    fn at_the_rates_of_either_cpu_the_chosen_kernel_was_the_fastest_there_or_nearly() {
        // The Xeon's figures spread by more than Zen 4's: other work ran beside them.
        for (cpu, cases, of, loss) in [
            ("Xeon", XEON, XEON_RATES, 1.06),
            ("Zen 4", ZEN_4, ZEN_4_RATES, 1.05),
        ] {
            for &(product, width, speeds) in cases {
                let at = chosen(product, width, of);
                let fastest = *speeds.iter().max().unwrap();
                assert!(
                    f64::from(fastest) <= loss * f64::from(speeds[at]),
                    "{cpu}, {product:?}, {width:?}: {}",
                    KERNELS[at]
                );
            }
        }
    }

    #[test]
    fn the_same_product_takes_another_kernel_on_another_cpu() {
        let product = (8, 4096, 4096);
        assert_eq!(KERNELS[chosen(product, B2, XEON_RATES)], KERNELS[2]);
        assert_eq!(KERNELS[chosen(product, B2, ZEN_4_RATES)], KERNELS[0]);
    }

    #[test]
    fn a_kernel_that_becomes_slower_is_left_and_one_that_becomes_faster_is_taken() {
        for product in [(16, 4096, 4096), (64, 2048, 2048), (512, 1024, 1024)] {
            for favourite in 0..3 {
                let mut of = ZEN_4_RATES;
                of[0][favourite].product /= 3.0;
                of[0][favourite].weight = 0.0;
                assert_eq!(chosen(product, B2, of), favourite, "{product:?}");
                let mut of = ZEN_4_RATES;
                of[0][favourite].product *= 3.0;
                assert_ne!(chosen(product, B2, of), favourite, "{product:?}");
            }
        }
    }
}
