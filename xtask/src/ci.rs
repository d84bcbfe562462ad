//! `cargo xtask ci`: every check of the project, in the order in which they fail fastest.
//!
//! Everything builds in the release profile, so that the tensor library is compiled once for the
//! tests and checked once for the lints and the documentation. The first step that fails ends the
//! run with the command that failed.

mod browser;
mod classify;
mod foreign;
mod hls4ml;
mod outcome;
mod package;
mod semver;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub(crate) use foreign::answer;
use outcome::{Outcome, done};

use crate::cargo::{cargo, is_installed};
use crate::tools::program;
use crate::{deps, repro, s3};

/// Options of `ci`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs only these steps, named as in the table of a full run
    #[arg(long, value_name = "STEP", num_args = 1..)]
    only: Vec<String>,
}

/// Steps that take many minutes in an emulator, under a sanitizer or to build, and run when they
/// are named.
const ON_REQUEST: [&str; 5] = [
    "kernels-address",
    "kernels-aarch64",
    "kernels-miri",
    "own",
    "package-verify",
];

/// One check.
struct Step {
    name: String,
    work: Work,
}

enum Work {
    Cargo {
        arguments: Vec<&'static str>,
        environment: Vec<(&'static str, String)>,
    },
    /// A function of this package, and what a person would type to run it alone.
    Own(fn() -> Result<Outcome>, String),
}

/// Runs the steps; fails with the first that fails.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut steps = steps();
    for wanted in &options.only {
        if !steps.iter().any(|step| step.name == *wanted) {
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            bail!("no step `{wanted}`, expected one of {}", names.join(", "));
        }
    }
    if !options.only.is_empty() {
        steps.retain(|step| options.only.contains(&step.name));
    }

    let start = Instant::now();
    let mut table: Vec<(String, Duration, String)> = Vec::new();
    let mut failure = None;
    for step in &steps {
        println!("ci: {}: {}", step.name, step.command_line());
        let begun = Instant::now();
        let outcome = if options.only.is_empty() && ON_REQUEST.contains(&step.name.as_str()) {
            Ok(Outcome::Skipped("takes many minutes: runs with --only"))
        } else {
            step.run()
        };
        let time = begun.elapsed();
        let word = match &outcome {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(_) => "FAILED".to_owned(),
        };
        println!("ci: {}: {word} ({})\n", step.name, seconds(time));
        table.push((step.name.clone(), time, word));
        if let Err(error) = outcome {
            failure = Some(error.context(format!("ci stopped at step `{}`", step.name)));
            break;
        }
    }
    let width = table
        .iter()
        .map(|row| row.0.len())
        .max()
        .unwrap_or(0)
        .max("total".len());
    for (name, time, word) in &table {
        println!("{name:width$}  {:>8}  {word}", seconds(*time));
    }
    println!("{:width$}  {:>8}", "total", seconds(start.elapsed()));
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

impl Step {
    fn new(name: impl Into<String>, arguments: &[&'static str]) -> Self {
        Self {
            name: name.into(),
            work: Work::Cargo {
                arguments: arguments.to_vec(),
                environment: Vec::new(),
            },
        }
    }

    fn own(name: &str, work: fn() -> Result<Outcome>) -> Self {
        let line = format!("cargo xtask ci --only {name}");
        Self {
            name: name.to_owned(),
            work: Work::Own(work, line),
        }
    }

    fn with(mut self, variable: &'static str, value: &str) -> Self {
        if let Work::Cargo { environment, .. } = &mut self.work {
            environment.push((variable, value.to_owned()));
        }
        self
    }

    /// What a person would type to run the step alone.
    fn command_line(&self) -> String {
        let (arguments, environment) = match &self.work {
            Work::Own(_, line) => return line.clone(),
            Work::Cargo {
                arguments,
                environment,
            } => (arguments, environment),
        };
        let mut words: Vec<String> = Vec::new();
        for (variable, value) in environment {
            let quote = if value.contains(' ') { "'" } else { "" };
            words.push(format!("{variable}={quote}{value}{quote}"));
        }
        words.push("cargo".to_owned());
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        words.join(" ")
    }

    fn run(&self) -> Result<Outcome> {
        let (arguments, environment) = match &self.work {
            Work::Own(work, _) => return work(),
            Work::Cargo {
                arguments,
                environment,
            } => (arguments, environment),
        };
        if arguments[0] == "deny" && !is_installed("deny") {
            return Ok(Outcome::Skipped("cargo-deny is not installed"));
        }
        let mut command = cargo();
        command.args(arguments);
        command.envs(
            environment
                .iter()
                .map(|(variable, value)| (variable, value)),
        );
        done(&mut command, &self.command_line())
    }
}

fn arrows() -> Result<Outcome> {
    match deps::run()? {
        ExitCode::SUCCESS => Ok(Outcome::Passed),
        _ => bail!("failed: cargo xtask deps"),
    }
}

/// What the tests hold of the GPU: that it trains as the CPU does.
fn gpu() -> Result<Outcome> {
    if !Path::new("/proc/driver/nvidia/version").exists() {
        return Ok(Outcome::Skipped("no NVIDIA driver here (docs/gpu.md)"));
    }
    if program(&["nvcc"]).is_none() {
        return Ok(Outcome::Skipped("no nvcc in PATH (docs/gpu.md)"));
    }
    let arguments = ["test", "--release", "--package", "s3-train"];
    let more = ["--features", "cuda", "--test", "gpu", "--", "--nocapture"];
    let mut command = cargo();
    command.args(arguments).args(more);
    done(
        &mut command,
        "cargo test --package s3-train --features cuda --test gpu",
    )
}

/// Every figure and table of the paper, trained for seconds on generated images.
fn pages() -> Result<Outcome> {
    // As for `classify`: the features of the test step.
    let s3 = s3::build_at(&["--workspace", "--test", "learns"], "s3")?;
    repro::smoke(s3)?;
    Ok(Outcome::Passed)
}

/// Runs on two processes; needs `libopenmpi-dev openmpi-bin libclang-dev`, by Debian's names.
fn mpi() -> Result<Outcome> {
    if program(&["mpirun"]).is_none() || program(&["mpicc"]).is_none() {
        return Ok(Outcome::Skipped("mpirun and mpicc are not installed"));
    }
    let libraries = Command::new("ldconfig").arg("-p").output();
    let has_libclang = libraries.is_ok_and(|l| {
        let list = String::from_utf8_lossy(&l.stdout).into_owned();
        list.contains("libclang")
    });
    if !has_libclang && std::env::var_os("LIBCLANG_PATH").is_none() {
        return Ok(Outcome::Skipped("libclang is not installed"));
    }
    let mut test = cargo();
    test.args(["test", "--release", "--package", "s3-train"]);
    test.args(["--features", "mpi", "--test", "mpi"]);
    done(
        &mut test,
        "cargo test --release --package s3-train --features mpi --test mpi",
    )
}

fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::new("fmt", &["fmt", "--all", "--check"]),
        Step {
            name: "deps".to_owned(),
            work: Work::Own(arrows, "cargo xtask deps".to_owned()),
        },
        Step::new(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--release",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::new(
            "kernels-no-std",
            &[
                "build",
                "--release",
                "--package",
                "s3-kernels",
                "--no-default-features",
            ],
        ),
        Step::new("test", &["test", "--release", "--workspace"]),
    ];
    // The workspace's tests have run the kernels on the widest instruction set, in the features
    // that the other crates ask for; here each instruction set runs with every feature.
    for isa in instruction_sets() {
        let arguments = [
            "test",
            "--release",
            "--package",
            "s3-kernels",
            "--all-features",
        ];
        let step = Step::new(format!("kernels-{isa}"), &arguments);
        steps.push(step.with("S3_KERNELS_ISA", isa));
    }
    steps.push(Step::own("kernels-address", foreign::address_sanitizer));
    steps.push(Step::own("kernels-aarch64", foreign::aarch64));
    steps.push(Step::own("kernels-wasm", foreign::wasm));
    steps.push(Step::own("kernels-riscv32i", foreign::riscv32i));
    steps.push(Step::own("kernels-miri", foreign::miri));
    steps.push(Step::own("c-foreign", foreign::c));
    // What a downstream crate sees: its only dependency is s3-kernels.
    steps.push(Step::own("classify", classify::classify));
    // The same program is an example of s3-train, which the tests run; here it is built against
    // what a downstream crate sees, the tensor library anew.
    let own = [
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "checks/own/Cargo.toml",
    ];
    steps.push(Step::new("own", &own));
    steps.push(Step::own("package", package::package));
    steps.push(Step::own("package-verify", package::verify));
    steps.push(Step::own("semver", semver::semver));
    steps.push(Step::own("browser", browser::browser));
    steps.push(Step::own("hls4ml", hls4ml::hls4ml));
    steps.push(Step::own("repro", pages));
    steps.push(Step::own("mpi", mpi));
    steps.push(Step::own("gpu", gpu));
    steps.push(
        Step::new("doc", &["doc", "--release", "--workspace", "--no-deps"])
            .with("RUSTDOCFLAGS", "-D warnings"),
    );
    steps.push(Step::new(
        "bench-build",
        &["bench", "--workspace", "--benches", "--no-run"],
    ));
    // Not the advisories: they need a network.
    steps.push(Step::new(
        "deny",
        &["deny", "check", "licenses", "bans", "sources"],
    ));
    steps
}

/// What `S3_KERNELS_ISA` accepts on this CPU, narrowest first.
fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma");
        let avx512 =
            avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        let sets = [("scalar", true), ("avx2", avx2), ("avx512", avx512)];
        sets.into_iter()
            .filter(|set| set.1)
            .map(|set| set.0)
            .collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec!["scalar"]
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_a_step_can_be_typed() {
        let lines: Vec<String> = steps().iter().map(Step::command_line).collect();
        assert!(lines.contains(&"cargo fmt --all --check".to_owned()));
        assert!(lines.contains(&"cargo xtask deps".to_owned()));
        assert!(
            lines.contains(
                &"S3_KERNELS_ISA=scalar cargo test --release --package s3-kernels --all-features"
                    .into()
            )
        );
        assert!(lines.contains(
            &"RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps".into()
        ));
    }

    #[test]
    fn a_step_that_does_not_exist_is_named() {
        let options = Options {
            only: vec!["lint".into()],
        };
        let error = run(&options).expect_err("no such step").to_string();
        assert!(
            error.starts_with("no step `lint`, expected one of fmt, deps, clippy,"),
            "{error}"
        );
    }

    #[test]
    fn a_failed_step_is_an_error_with_its_command() {
        let error = Step::new("x", &["no-such-subcommand-of-cargo"])
            .run()
            .err()
            .expect("fails");
        let error = error.to_string();
        assert!(
            error.ends_with(": cargo no-such-subcommand-of-cargo"),
            "{error}"
        );
    }
}
