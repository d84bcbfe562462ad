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
    // Cargo sets these for this process; a build script of a dependency might take them for its
    // own.
    for inherited in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
    ] {
        command.env_remove(inherited);
    }
    command.current_dir(root());
    command
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
