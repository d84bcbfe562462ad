//! The kernels on CPUs that this machine does not have, and under the tools that watch memory.
//!
//! Each step says what it misses where a compiler or an emulator is not installed. On Debian:
//! `qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross lld`, and a Rust compiler with the
//! aarch64 library and the sources of the standard library.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Outcome, done};
use crate::cargo::root;
use crate::tools::{Toolchain, program};

const AARCH64: &str = "aarch64-unknown-linux-gnu";
const RISCV32I: &str = "riscv32i-unknown-none-elf";
/// The package of the RISC-V step, outside the workspace.
const NO_MULTIPLIER: &str = "checks/no-multiplier";

/// Every kernel for aarch64, over the whole battery, in an emulator that has all its extensions.
pub(super) fn aarch64() -> Result<Outcome> {
    if cfg!(target_arch = "aarch64") {
        return Ok(Outcome::Skipped("this CPU has run these tests itself"));
    }
    let Some(toolchain) = Toolchain::with_library_for(AARCH64) else {
        return Ok(Outcome::Skipped("no Rust library for aarch64 is installed"));
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
            "qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu max",
        );
    done(&mut command, "cargo test --package s3-kernels on aarch64")
}

/// A packed product on a RISC-V CPU without multiplier, bit for bit, and no multiplication in the
/// program.
pub(super) fn riscv32i() -> Result<Outcome> {
    let Some(toolchain) = Toolchain::with_library_sources() else {
        return Ok(Outcome::Skipped(
            "no sources of the Rust library are installed",
        ));
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
        .args(["build", "--release", "-Zbuild-std=core,alloc", "--target"])
        .arg(RISCV32I)
        .current_dir(root().join(NO_MULTIPLIER))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_RISCV32I_UNKNOWN_NONE_ELF_LINKER", linker)
        // Building the standard library is not stable; the check of it must not wait for that.
        .env("RUSTC_BOOTSTRAP", "1");
    done(&mut build, "cargo build for riscv32i")?;
    let object = target.join(RISCV32I).join("release/no-multiplier");

    let listed = answer(Command::new(symbols).args(["-sW"]).arg(&object))?;
    if !listed.contains("_start") {
        bail!("{symbols} lists no symbols of {}", object.display());
    }
    let routines: Vec<&str> = listed
        .split_whitespace()
        .filter(|name| name.starts_with("__mul"))
        .collect();
    if !routines.is_empty() {
        bail!("the program holds {}", routines.join(", "));
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

/// What `command` writes; its failure is an error.
fn answer(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("failed ({}): {command:?}\n{reason}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
