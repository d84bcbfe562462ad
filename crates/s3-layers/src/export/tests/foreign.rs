//! C on processors without a multiplier, or with one that is not to be used: run in an emulator,
//! and no multiplication in the object file nor a routine for it in the program. C on one that sums
//! two products at once: it does, and computes the same.
//!
//! On Debian: `gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc` and
//! `gcc-arm-none-eabi picolibc-arm-none-eabi qemu-system-arm`.

use std::path::Path;
use std::process::Command;

use s3_kernels::model::{Activations, DenseMatrix, Network, Op, Weight};
use s3_kernels::{BitWidth, PackedMatrix};

use super::super::c;
use super::forms::forms;
use super::networks::{images, model, network, sums};
use super::programs::{self, list};

/// Leaves with status 0 where every sum is what it must be.
const PROGRAM: &str = "
#include \"net.h\"
static const int8_t images[] = {@images@};
static const int32_t expected[] = {@sums@};
int main(void)
{
    const int8_t *image = images;
    const int32_t *sum = expected;
    while (image != images + sizeof images) {
        int32_t sums[NET_CLASSES];
        int n;
        net_run(image, sums);
        for (n = 0; n != NET_CLASSES; ++n)
            if (sums[n] != *sum++)
                return 1;
        image += NET_INPUT;
    }
    return 0;
}
";

const IMAGES: usize = 2;

/// A processor, its compiler and its emulator.
struct Processor {
    /// What the names of its tools begin with.
    tools: &'static str,
    compiler: &'static [&'static str],
    /// Where its program and its data lie.
    memory: [&'static str; 4],
    emulator: &'static [&'static str],
    /// The value of S3_MULTIPLIER.
    multiplier: u8,
    /// Its instructions that multiply, or, where it is to multiply, those that it must have.
    multiply: &'static [&'static str],
}

const RV32I: Processor = Processor {
    tools: "riscv64-unknown-elf-",
    compiler: &["-march=rv32i", "-mabi=ilp32"],
    memory: ["0x80000000", "0x400000", "0x80400000", "0x400000"],
    emulator: &[
        "qemu-system-riscv32",
        "-M",
        "virt",
        "-cpu",
        "rv32,m=false",
        "-bios",
        "none",
    ],
    multiplier: 0,
    multiply: &["mul", "mulh", "mulhu", "mulhsu"],
};

const CORTEX_M0: Processor = Processor {
    tools: "arm-none-eabi-",
    compiler: &["-mcpu=cortex-m0", "-mthumb"],
    memory: ["0", "0x40000", "0x20000000", "0x4000"],
    emulator: &["qemu-system-arm", "-M", "microbit"],
    multiplier: 0,
    multiply: &["mul", "muls"],
};

const CORTEX_M4: Processor = Processor {
    tools: "arm-none-eabi-",
    compiler: &["-mcpu=cortex-m4", "-mthumb"],
    memory: ["0", "0x400000", "0x20000000", "0x400000"],
    emulator: &["qemu-system-arm", "-M", "mps2-an386"],
    multiplier: 3,
    multiply: &["smlad", "smlabb", "smlatt"],
};

#[test]
fn on_a_risc_v_core_without_multiplier() {
    check(&RV32I);
}

#[test]
fn on_a_cortex_m0_without_its_multiplier() {
    check(&CORTEX_M0);
}

#[test]
fn on_a_cortex_m4_with_sums_of_two_products() {
    check(&CORTEX_M4);
}

fn check(processor: &Processor) {
    let compiler = format!("{}gcc", processor.tools);
    for program in [compiler.as_str(), processor.emulator[0]] {
        if Command::new(program).arg("--version").output().is_err() {
            return programs::skip(&format!("{program} is not installed"));
        }
    }
    let widths = match processor.multiplier {
        0 => &[BitWidth::B3][..],
        _ => &BitWidth::ALL[..],
    };
    let networks = widths.iter().flat_map(|&width| {
        [Activations::U8, Activations::U8Shift]
            .map(|form| [network(form, width, 8), forms(form, width, 8)])
    });
    let ends = largest(network(Activations::U8, BitWidth::B4, 8));
    for network in networks.flatten().chain([ends]) {
        // By chance, and the largest and the smallest numbers that there are.
        let mut x = images(IMAGES);
        for end in [10.0, -10.0] {
            x.extend(std::iter::repeat_n(end, network.graph.image.len()));
        }
        let sums = sums(&network, &x, IMAGES + 2);
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let source = c(&network, "net").unwrap();
        write("net.h", &source.header);
        write("net.c", &source.source);
        let program = PROGRAM
            .replace("@images@", &list(&model(&network).quantized(&x)))
            .replace("@sums@", &list(&sums));
        write("main.c", &program);
        for optimization in ["-Os", "-O2", "-O3"] {
            build_and_run(processor, &compiler, optimization, folder.path());
        }
    }
}

/// `network` with the largest weights there are, those of every third output negative.
fn largest(mut network: Network) -> Network {
    for node in &mut network.graph.nodes {
        let Op::Layer(layer) = &mut node.op else {
            continue;
        };
        let ends = |most: i8, rows: usize, columns: usize| -> Vec<i8> {
            let end = |row| if row % 3 == 2 { -most } else { most };
            let rows = 0..rows;
            rows.flat_map(|row| std::iter::repeat_n(end(row), columns))
                .collect()
        };
        match &mut layer.holds.weight {
            Weight::Packed(w) => {
                let (rows, columns, width) = (w.rows(), w.cols(), w.bit_width());
                let most = width.levels().iter().copied().max().unwrap();
                let levels = ends(most, rows, columns);
                *w = PackedMatrix::from_levels(&levels, rows, columns, width).unwrap();
            }
            Weight::Dense(w) => {
                let (rows, columns) = (w.rows(), w.cols());
                *w = DenseMatrix::from_levels(ends(64, rows, columns), rows, columns).unwrap();
            }
            Weight::F32(_) => {}
        }
    }
    network
}

fn build_and_run(processor: &Processor, compiler: &str, optimization: &str, folder: &Path) {
    let gcc = || {
        let mut command = Command::new(compiler);
        command
            .current_dir(folder)
            .arg("--specs=picolibc.specs")
            .args(processor.compiler)
            .arg(format!("-DS3_MULTIPLIER={}", processor.multiplier));
        command.args(["-std=c99", "-Wall", "-Wextra", "-Werror", optimization]);
        command
    };
    let tool = |name: &str| {
        let mut command = Command::new(format!("{}{name}", processor.tools));
        command.current_dir(folder);
        command
    };
    programs::output(gcc().args(["-c", "net.c", "-o", "net.o"]));
    let code = programs::output(tool("objdump").args(["-d", "--no-show-raw-insn", "net.o"]));
    let instructions: Vec<&str> = code
        .lines()
        .filter_map(|line| line.split_once(":\t")?.1.split_whitespace().next())
        .collect();
    let multiplies = processor.multiplier > 0;
    for name in processor.multiply {
        assert_eq!(instructions.contains(name), multiplies, "{name} in net.o");
    }
    assert!(instructions.len() > 100, "{code}");

    let names = ["flash", "flash_size", "ram", "ram_size"];
    let place = |(name, at): (&str, &str)| format!("-Wl,--defsym=__{name}={at}");
    let memory = names.into_iter().zip(processor.memory).map(place);
    let library = ["--oslib=semihost", "--crt0=hosted"];
    programs::output(
        gcc()
            .args(library)
            .args(memory)
            .args(["net.o", "main.c", "-o", "net.elf"]),
    );
    for file in ["net.o", "net.elf"] {
        let symbols = programs::output(tool("nm").arg(file));
        let routine = symbols
            .lines()
            .find(|line| line.contains("__mul") || line.contains("mul_"));
        assert_eq!(routine, None, "{file} has a multiplication routine");
    }

    let mut run = Command::new(processor.emulator[0]);
    run.args(&processor.emulator[1..])
        .args(["-nographic", "-semihosting", "-kernel"]);
    programs::output(
        run.arg(folder.join("net.elf"))
            .stdin(std::process::Stdio::null()),
    );
}
