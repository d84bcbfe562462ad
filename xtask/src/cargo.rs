//! Calling the cargo that runs this command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    Path::new(&manifest)
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// A cargo command in the folder of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_this_package(&mut command);
    command.current_dir(root());
    command
}

/// Lets a command inherit nothing that cargo has set for this package alone.
pub(crate) fn forget_this_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_this_package) {
            command.env_remove(name);
        }
    }
}

/// Whether cargo sets a variable for this package's process alone. Build scripts read variables of
/// these names (ring's does), so that inherited they rebuild `s3` at each change between `cargo`
/// and `cargo xtask`.
fn is_of_this_package(variable: &str) -> bool {
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    ours.iter().any(|prefix| variable.starts_with(prefix))
}

/// Whether cargo has a subcommand, its own or an installed one.
pub(crate) fn is_installed(subcommand: &str) -> bool {
    let mut command = cargo();
    command.args([subcommand, "--version"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// What `cargo metadata` says of the workspace and of all it depends on.
pub(crate) fn metadata() -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--format-version", "1"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason: Vec<&str> = reason
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        bail!("cargo metadata failed: {}", reason.join(" "));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata wrote something else than JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_inherits_no_variable_of_this_package() {
        let cargo = cargo();
        let removed: Vec<_> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .collect();
        for set in [
            "CARGO_PKG_VERSION_MAJOR",
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
        ] {
            assert!(std::env::var_os(set).is_some(), "cargo test sets {set}");
            assert!(removed.iter().any(|(name, _)| *name == set), "{set}");
        }
        for kept in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS"] {
            assert!(!is_of_this_package(kept), "{kept}");
        }
    }

    /// Whether cargo failed for want of a crate that it may not download, and not of a lock file
    /// that is stale.
    fn is_of_the_network(errors: &str) -> bool {
        let offline = errors.contains("offline mode") || errors.contains("--offline was specified");
        offline && !errors.contains("--locked was passed")
    }

    #[test]
    fn a_stale_lock_file_is_no_want_of_the_network() {
        let wanting = "error: failed to download `png v0.18.1`\n  attempting to make an HTTP \
                       request, but --offline was specified";
        assert!(is_of_the_network(wanting));
        let reminder = "error: no matching package named `png` found\nAs a reminder, you're \
                        using offline mode (--offline) which can sometimes cause surprises";
        assert!(is_of_the_network(reminder));
        let stale = "error: the lock file needs to be updated but --locked was passed to prevent \
                     this\nIf you want to try without the network, remove the --locked flag and \
                     use --offline instead.";
        assert!(!is_of_the_network(stale));
        assert!(!is_of_the_network("error: failed to parse manifest"));
    }

    #[test]
    fn lock_files_outside_the_workspace_are_current() {
        for folder in [
            "benches/peers",
            "checks/classify",
            "checks/no-multiplier",
            "checks/own",
            "fuzz",
            "tools/browser",
            "tools/onnx-proto",
        ] {
            let manifest = format!("{folder}/Cargo.toml");
            let mut cargo = cargo();
            cargo.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
            let output = cargo.args(["--manifest-path", &manifest]).output();
            let output = output.expect("cargo runs");
            if output.status.success() {
                continue;
            }
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(is_of_the_network(&errors), "{manifest}: {errors}");
            let line = errors.lines().next().unwrap_or_default();
            eprintln!("skipped: {manifest}: a crate was never downloaded: {line}");
        }
    }
}
