//! C on processors without a multiplier, or with one that is not to be used: run in an emulator,
//! and no multiplication in the object file nor a routine for it in the program.
//!
//! On Debian: `gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc` and
//! `gcc-arm-none-eabi picolibc-arm-none-eabi qemu-system-arm`.

use std::path::Path;
use std::process::Command;

use s3_kernels::BitWidth;
use s3_kernels::model::Activations;

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
    /// Its instructions that multiply.
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
    multiply: &["mul", "mulh", "mulhu", "mulhsu"],
};

const CORTEX_M0: Processor = Processor {
    tools: "arm-none-eabi-",
    compiler: &["-mcpu=cortex-m0", "-mthumb"],
    memory: ["0", "0x40000", "0x20000000", "0x4000"],
    emulator: &["qemu-system-arm", "-M", "microbit"],
    multiply: &["mul", "muls"],
};

#[test]
fn on_a_risc_v_core_without_multiplier() {
    check(&RV32I);
}

#[test]
fn on_a_cortex_m0_without_its_multiplier() {
    check(&CORTEX_M0);
}

fn check(processor: &Processor) {
    let compiler = format!("{}gcc", processor.tools);
    for program in [compiler.as_str(), processor.emulator[0]] {
        if Command::new(program).arg("--version").output().is_err() {
            return programs::skip(&format!("{program} is not installed"));
        }
    }
    let networks = [Activations::U8, Activations::U8Shift]
        .map(|form| [network(form, BitWidth::B3, 8), forms(form, BitWidth::B3, 8)]);
    for network in networks.into_iter().flatten() {
        let x = images(IMAGES);
        let sums = sums(&network, &x, IMAGES);
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

fn build_and_run(processor: &Processor, compiler: &str, optimization: &str, folder: &Path) {
    let gcc = || {
        let mut command = Command::new(compiler);
        command
            .current_dir(folder)
            .arg("--specs=picolibc.specs")
            .args(processor.compiler);
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
    let instructions = code
        .lines()
        .filter_map(|line| line.split_once(":\t")?.1.split_whitespace().next());
    let mut count = 0;
    for instruction in instructions {
        assert!(
            !processor.multiply.contains(&instruction),
            "{instruction} in net.o"
        );
        count += 1;
    }
    assert!(count > 100, "{code}");

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
