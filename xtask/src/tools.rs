//! Finding what a check needs beside cargo: another compiler, an emulator, a disassembler.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{forget_this_package, root};

/// Why there is no [`Toolchain::for_target`].
pub(crate) const NO_LIBRARY: &str = "\
    no Rust library for its target (`rustup target add` brings one), \
    and not all that builds one: its sources (rust-src) and, for WebAssembly, a linker (lld)";

/// A compiler and the cargo that belongs to it.
pub(crate) struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    from_sources: Option<FromSources>,
}

/// How a standard library comes of its sources.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FromSources {
    /// What cargo builds of it.
    crates: &'static str,
    /// What links, where the toolchain came without its own.
    linker: Option<&'static str>,
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
        Self::all().into_iter().find_map(|toolchain| {
            let sysroot = PathBuf::from(toolchain.ask(&["--print", "sysroot"])?);
            let _known = toolchain.ask(&["--print", "cfg", "--target", target])?;
            let host = format!(
                "lib/rustlib/{}-unknown-linux-gnu/bin",
                std::env::consts::ARCH
            );
            let own = sysroot.join(host).join("rust-lld").exists();
            let linker = || program(&["rust-lld", "wasm-ld"]);
            let from_sources = FromSources::of(target, &sysroot, own, linker)?;
            Some(Toolchain {
                from_sources: Some(from_sources),
                ..toolchain
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
        if let Some(FromSources { crates, linker }) = self.from_sources {
            // Building the standard library is not stable; what needs it must not wait for that.
            command.arg(format!("-Zbuild-std={crates}"));
            command.env("RUSTC_BOOTSTRAP", "1");
            if let Some(linker) = linker {
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

impl FromSources {
    /// What `target` needs of the sources below `sysroot`; `own`: the toolchain has its linker,
    /// else `linker` finds another. Only WebAssembly has no C compiler that links.
    fn of(
        target: &str,
        sysroot: &Path,
        own: bool,
        linker: impl Fn() -> Option<&'static str>,
    ) -> Option<Self> {
        let crates = match target.ends_with("-none-elf") {
            true => "core,alloc",
            false => "std,panic_abort",
        };
        let library = sysroot.join("lib/rustlib/src/rust/library");
        let has = |name: &str| library.join(name).exists();
        if !crates.split(',').all(has) {
            return None;
        }
        let linker = match target.starts_with("wasm32") && !own {
            true => Some(linker()?),
            false => None,
        };
        Some(Self { crates, linker })
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
    fn sources_are_taken_where_all_that_a_target_needs_is_there() {
        let sysroot = tempfile::tempdir().expect("a folder");
        let folder = |name: &str| {
            let library = sysroot.path().join("lib/rustlib/src/rust/library");
            std::fs::create_dir_all(library.join(name)).expect("created");
        };
        let of = |target, own, linker| FromSources::of(target, sysroot.path(), own, || linker);
        let (bare, web) = ("riscv32i-unknown-none-elf", "wasm32-unknown-unknown");
        let lld = Some("wasm-ld");
        assert_eq!(of(bare, false, None), None);
        folder("core");
        folder("alloc");
        let (crates, linker) = ("core,alloc", None);
        assert_eq!(of(bare, false, lld), Some(FromSources { crates, linker }));
        assert_eq!(of(web, false, lld), None, "no std");
        folder("std");
        folder("panic_abort");
        assert_eq!(of(web, false, None), None, "nothing links");
        let crates = "std,panic_abort";
        let own = FromSources { crates, linker };
        assert_eq!(of(web, true, lld), Some(own));
        let linker = lld;
        assert_eq!(of(web, false, lld), Some(FromSources { crates, linker }));
    }

    #[test]
    fn a_program_that_is_not_there_is_none() {
        assert_eq!(program(&["no-such-program-7f"]), None);
    }
}
