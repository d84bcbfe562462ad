//! The kernels on CPUs that this machine does not have, and under the tools that watch memory.
//!
//! Each step says what it misses where a compiler or an emulator is not installed. On Debian:
//! `qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross lld`, and a Rust compiler with the
//! aarch64 library and the sources of the standard library.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::outcome::{Outcome, done};
use crate::cargo::root;
use crate::tools::{NO_LIBRARY, Toolchain, program};

const AARCH64: &str = "aarch64-unknown-linux-gnu";
const WASIP1: &str = "wasm32-wasip1";
const RISCV32I: &str = "riscv32i-unknown-none-elf";
/// The package of the RISC-V step, outside the workspace.
const NO_MULTIPLIER: &str = "checks/no-multiplier";

/// What the sections of the kernel that needs no multiplier have in their names.
const KERNEL_SECTION: &str = "s3_kernels4arch6scalar4gemm";

/// Every kernel for aarch64, over the whole battery, in an emulator that has all its extensions.
pub(super) fn aarch64() -> Result<Outcome> {
    if cfg!(target_arch = "aarch64") {
        return Ok(Outcome::Skipped("this CPU has run these tests itself"));
    }
    let Some(toolchain) = Toolchain::for_target(AARCH64) else {
        return Ok(Outcome::Skipped(NO_LIBRARY));
    };
    if program(&["aarch64-linux-gnu-gcc"]).is_none() {
        return Ok(Outcome::Skipped("aarch64-linux-gnu-gcc is not installed"));
    }
    if program(&["qemu-aarch64"]).is_none() {
        return Ok(Outcome::Skipped("qemu-aarch64 is not installed"));
    }
    let mut command = toolchain.cargo();
    command
        .args(["test", "--release", "--package", "s3-kernels", "--target"])
        .args([AARCH64, "--lib", "--test", "gemm", "--test", "packed"])
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        )
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
            // The libraries of `-L` only: a system that also has its own for aarch64 must not mix
            // the two.
            "qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib \
             -cpu max",
        );
    done(&mut command, "cargo test --package s3-kernels on aarch64")
}

/// Every kernel for WebAssembly with vectors of 128 bits, over the whole battery, in Node.
pub(super) fn wasm() -> Result<Outcome> {
    let Some(toolchain) = Toolchain::with_library_for(WASIP1) else {
        return Ok(Outcome::Skipped("no Rust library for wasm32-wasip1"));
    };
    let Some(node) = program(&["node", "nodejs"]) else {
        return Ok(Outcome::Skipped("Node is not installed"));
    };
    let runner = format!(
        "{node} {}",
        root().join("tools/browser/test/wasi.js").display()
    );
    let mut command = toolchain.cargo();
    command
        .args(["test", "--release", "--package", "s3-kernels", "--target"])
        .args([WASIP1, "--features", "model", "--lib"])
        .args(["--test", "gemm", "--test", "packed"])
        // It passes, but Node 20 then ends by a fault: the memory has grown by gigabytes.
        .args(["--", "--skip", "the_longest_rows_that_packing_accepts"])
        .env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner)
        .env("CARGO_TARGET_DIR", root().join("target/wasm"))
        .env("RUSTFLAGS", "-Ctarget-feature=+simd128");
    done(&mut command, "cargo test --package s3-kernels on wasm32")
}

/// A packed product on a RISC-V CPU without multiplier, bit for bit: no multiply instruction in the
/// program, no multiplication routine in the kernel. The checks of lengths before it and the
/// allocator do multiply.
pub(super) fn riscv32i() -> Result<Outcome> {
    let Some(toolchain) = Toolchain::for_target(RISCV32I) else {
        return Ok(Outcome::Skipped(NO_LIBRARY));
    };
    let Some(linker) = program(&["ld.lld", "rust-lld"]) else {
        return Ok(Outcome::Skipped("ld.lld is not installed"));
    };
    let Some(emulator) = program(&["qemu-riscv32", "qemu-riscv32-static"]) else {
        return Ok(Outcome::Skipped("qemu-riscv32 is not installed"));
    };
    let Some(symbols) = program(&["readelf", "llvm-readelf"]) else {
        return Ok(Outcome::Skipped("readelf is not installed"));
    };
    let target = root().join("target/no-multiplier");
    let mut build = toolchain.cargo();
    build
        .args(["build", "--release", "--target"])
        .arg(RISCV32I)
        .current_dir(root().join(NO_MULTIPLIER))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_RISCV32I_UNKNOWN_NONE_ELF_LINKER", linker);
    done(&mut build, "cargo build for riscv32i")?;
    let object = target.join(RISCV32I).join("release/no-multiplier");

    let library = root().join("target/no-multiplier").join(RISCV32I);
    let library = newest(&library.join("release/deps"), "libs3_kernels", "rlib")?;
    let relocations = answer(Command::new(symbols).args(["-rW"]).arg(&library))?;
    let kernel: Vec<&str> = sections(&relocations, KERNEL_SECTION).collect();
    if kernel.is_empty() {
        bail!("{} holds no {KERNEL_SECTION}", library.display());
    }
    for section in kernel {
        if let Some(call) = section.lines().find(|line| line.contains("__mul")) {
            bail!("a kernel without multiplication calls a routine for it: {call}\n{section}");
        }
    }

    // A multiply instruction ends the program there.
    let mut run = Command::new(emulator);
    run.args(["-cpu", "rv32,m=false,a=false,f=false,d=false,c=false"]);
    let got = answer(run.arg(&object))?;
    let mut reference = crate::cargo::cargo();
    reference
        .args(["run", "--quiet", "--release"])
        .current_dir(root().join(NO_MULTIPLIER))
        .env("CARGO_TARGET_DIR", &target);
    let want = answer(&mut reference)?;
    if want.lines().count() < 3 || got != want {
        bail!("riscv32i computed\n{got}instead of the reference's\n{want}");
    }
    println!(
        "riscv32i: {} products equal the reference's",
        want.lines().count()
    );
    Ok(Outcome::Passed)
}

/// The C files of a network on a RISC-V core without multiplier and on a Cortex-M0: the runtime's
/// integers, and no multiplication in the object file nor a routine for it in the program. On
/// Debian: `gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc gcc-arm-none-eabi
/// picolibc-arm-none-eabi qemu-system-arm`.
pub(super) fn c() -> Result<Outcome> {
    let needed = [
        (
            "riscv64-unknown-elf-gcc",
            "riscv64-unknown-elf-gcc is not installed",
        ),
        (
            "qemu-system-riscv32",
            "qemu-system-riscv32 is not installed",
        ),
        ("arm-none-eabi-gcc", "arm-none-eabi-gcc is not installed"),
        ("qemu-system-arm", "qemu-system-arm is not installed"),
    ];
    for (name, reason) in needed {
        if program(&[name]).is_none() {
            return Ok(Outcome::Skipped(reason));
        }
    }
    let mut command = crate::cargo::cargo();
    command
        // The selection of the test step: another one would build the tensor library again.
        .args(["test", "--release", "--workspace", "--lib"])
        .args(["export::tests::foreign", "--", "--nocapture"]);
    done(
        &mut command,
        "cargo test --workspace --lib export::tests::foreign",
    )
}

/// The kernels in Miri, without SIMD: undefined behaviour in what every CPU runs.
pub(super) fn miri() -> Result<Outcome> {
    let cargo = || {
        let mut command = Command::new("cargo");
        command
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .current_dir(root());
        command
    };
    let installed = cargo().args(["miri", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::Skipped("cargo-miri is not installed"));
    }
    let mut command = cargo();
    command
        .args(["miri", "test", "--package", "s3-kernels"])
        .args(["--no-default-features", "--lib"])
        .env("MIRIFLAGS", "-Zmiri-disable-isolation");
    done(&mut command, "cargo miri test --package s3-kernels --lib")
}

/// The kernels with every load and store checked against the memory that was allocated.
pub(super) fn address_sanitizer() -> Result<Outcome> {
    let target = concat!("x86_64", "-unknown-linux-gnu");
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Ok(Outcome::Skipped("written for x86-64 Linux"));
    }
    let Some(toolchain) = Toolchain::with_sanitizer(target) else {
        return Ok(Outcome::Skipped("no address sanitizer is installed"));
    };
    let mut command = toolchain.cargo();
    command
        .args(["test", "--release", "--package", "s3-kernels", "--target"])
        .args([target, "--lib", "--test", "gemm", "--test", "packed"])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("RUSTC_BOOTSTRAP", "1");
    done(&mut command, "RUSTFLAGS=-Zsanitizer=address cargo test")
}

/// The relocation sections of functions whose names contain `name`, in the words of `readelf -rW`.
fn sections<'a>(listing: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    listing
        .split("Relocation section '")
        .filter(move |section| {
            section
                .lines()
                .next()
                .is_some_and(|head| head.contains(name))
        })
}

/// The newest file of `folder` with these ends.
fn newest(folder: &Path, start: &str, end: &str) -> Result<PathBuf> {
    let mut newest = None;
    for file in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let (file, name) = file.map(|file| (file.path(), file.file_name()))?;
        let name = name.to_string_lossy().into_owned();
        if name.starts_with(start) && name.ends_with(end) {
            let time = file.metadata()?.modified()?;
            newest = newest.max(Some((time, file)));
        }
    }
    let missing = || format!("no {start}*.{end} in {}", folder.display());
    newest.map(|(_, file)| file).with_context(missing)
}

/// What `command` writes; its failure is an error.
pub(crate) fn answer(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("failed ({}): {command:?}\n{reason}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::sections;

    #[test]
    fn the_sections_of_a_function_are_found_by_its_name() {
        let listing = "Relocation section '.rela.text.a':\n x __mulsi3\n\
                       Relocation section '.rela.text.b':\n y memcpy\n";
        assert_eq!(sections(listing, ".b").count(), 1);
        assert!(sections(listing, ".a").all(|section| section.contains("__mulsi3")));
        assert_eq!(sections(listing, ".c").count(), 0);
    }
}
