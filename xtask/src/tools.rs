//! Finding what a check needs beside cargo: another compiler, an emulator, a disassembler.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{forget_this_package, root};

/// A compiler and the cargo that belongs to it.
pub(crate) struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
}

impl Toolchain {
    /// The toolchain that runs this command, then the operating system's own.
    fn all() -> Vec<Toolchain> {
        let own = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        [(PathBuf::from("rustc"), PathBuf::from(own))]
            .into_iter()
            .chain([("/usr/bin/rustc".into(), "/usr/bin/cargo".into())])
            .map(|(rustc, cargo)| Toolchain { rustc, cargo })
            .collect()
    }

    /// One that has a compiled standard library for `target`.
    pub(crate) fn with_library_for(target: &str) -> Option<Toolchain> {
        Self::all().into_iter().find(|toolchain| {
            let folder = toolchain.ask(&["--print", "target-libdir", "--target", target]);
            folder.is_some_and(|folder| holds(Path::new(&folder), "libcore"))
        })
    }

    /// One that has the sources of the standard library, to compile them for any target.
    pub(crate) fn with_library_sources() -> Option<Toolchain> {
        Self::all().into_iter().find(|toolchain| {
            let sysroot = toolchain.ask(&["--print", "sysroot"]);
            sysroot.is_some_and(|sysroot| {
                let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
                sources.exists()
            })
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
            assert!(Toolchain::with_library_for(&target).is_some());
        }
        assert!(Toolchain::with_library_for("no-such-target").is_none());
    }

    #[test]
    fn a_program_that_is_not_there_is_none() {
        assert_eq!(program(&["no-such-program-7f"]), None);
    }
}
