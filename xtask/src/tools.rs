//! Finding what a check needs beside cargo: another compiler, an emulator, a disassembler.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{forget_this_package, root};

/// What [`Toolchain::for_target`] tells a user to install.
pub(crate) const NO_LIBRARY: &str = "no Rust library for this target and no sources to build it of";

/// A compiler and the cargo that belongs to it.
pub(crate) struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    /// What cargo builds of the standard library.
    from_sources: Option<&'static str>,
}

impl Toolchain {
    /// The toolchain that runs this command, then the operating system's own.
    fn all() -> Vec<Toolchain> {
        let own = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        [(PathBuf::from("rustc"), PathBuf::from(own))]
            .into_iter()
            .chain([("/usr/bin/rustc".into(), "/usr/bin/cargo".into())])
            .map(|(rustc, cargo)| Toolchain {
                rustc,
                cargo,
                from_sources: None,
            })
            .collect()
    }

    /// One that compiles for `target`: with a compiled standard library, else with its sources.
    pub(crate) fn for_target(target: &str) -> Option<Toolchain> {
        Self::with_library_for(target).or_else(|| Self::with_library_sources(target))
    }

    /// One that has a compiled standard library for `target`: that of WASI holds C that the sources
    /// do not have.
    pub(crate) fn with_library_for(target: &str) -> Option<Toolchain> {
        Self::all().into_iter().find(|toolchain| {
            let folder = toolchain.ask(&["--print", "target-libdir", "--target", target]);
            folder.is_some_and(|folder| holds(Path::new(&folder), "libcore"))
        })
    }

    /// One that has the sources of the standard library and knows `target`.
    fn with_library_sources(target: &str) -> Option<Toolchain> {
        let found = Self::all().into_iter().find(|toolchain| {
            let sysroot = toolchain.ask(&["--print", "sysroot"]);
            let sources = "lib/rustlib/src/rust/library/core";
            sysroot.is_some_and(|sysroot| Path::new(&sysroot).join(sources).exists())
                && toolchain
                    .ask(&["--print", "cfg", "--target", target])
                    .is_some()
        })?;
        let crates = match target.ends_with("-none-elf") {
            true => "core,alloc",
            false => "std,panic_abort",
        };
        Some(Toolchain {
            from_sources: Some(crates),
            ..found
        })
    }

    /// One with the run-time part of the address sanitizer for `target`.
    pub(crate) fn with_sanitizer(target: &str) -> Option<Toolchain> {
        Self::all().into_iter().find(|toolchain| {
            let folder = toolchain.ask(&["--print", "target-libdir", "--target", target]);
            folder.is_some_and(|folder| holds(Path::new(&folder), "rt.asan"))
        })
    }

    /// Its cargo, in the folder of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        forget_this_package(&mut command);
        command.env("RUSTC", &self.rustc).current_dir(root());
        if let Some(crates) = self.from_sources {
            // Building the standard library is not stable; what needs it must not wait for that.
            command.arg(format!("-Zbuild-std={crates}"));
            command.env("RUSTC_BOOTSTRAP", "1");
            // A toolchain that came without libraries may have come without its linker.
            if let Some(linker) = program(&["rust-lld", "wasm-ld"]) {
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
        command
    }

    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(&self.rustc);
        command.args(arguments).current_dir(root());
        let output = command.output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    }
}

/// Whether some file of `folder` has `part` in its name.
fn holds(folder: &Path, part: &str) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().contains(part)))
    })
}

/// The first of `programs` that is on the path; all of them do the same.
pub(crate) fn program(programs: &[&'static str]) -> Option<&'static str> {
    let folders = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    programs
        .iter()
        .copied()
        .find(|program| folders.iter().any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_that_built_this_has_a_library_for_its_own_target() {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert!(Toolchain::for_target(&target).is_some());
        }
        assert!(Toolchain::for_target("no-such-target").is_none());
    }

    #[test]
    fn a_program_that_is_not_there_is_none() {
        assert_eq!(program(&["no-such-program-7f"]), None);
    }
}
