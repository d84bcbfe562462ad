//! Building the `s3` binary and becoming it.
//!
//! The binary is built in the release profile, the one that the tests use, so that the tensor
//! library is compiled once. On Unix this process is then *replaced* by it: a signal, Ctrl-C or a
//! `kill` of the command reaches `s3` itself, its exit status is ours, and nothing can be orphaned.
//! Elsewhere it is a child that is waited for, and this process leaves Ctrl-C to it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo::cargo;

/// Runs `s3 VERB ARGUMENTS`, its name before them or not; returns only where it cannot be started,
/// or its exit status.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let binary = build("s3-train", "s3")?;
    let mut command = Command::new(&binary);
    let is_named = arguments.first().is_some_and(|first| first == "s3");
    command.args(&arguments[usize::from(is_named)..]);
    become_process(command).with_context(|| format!("cannot run {}", binary.display()))
}

/// Builds a binary of the workspace in the release profile and returns its path, wherever the
/// target folder is.
pub(crate) fn build(package: &str, name: &str) -> Result<PathBuf> {
    build_at(&["--package", package], name)
}

/// The same for the package that these arguments of cargo select.
pub(crate) fn build_at(selection: &[&str], name: &str) -> Result<PathBuf> {
    let mut child = cargo()
        .args(["build", "--release", "--bin", name])
        .args(selection)
        .args(["--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo build")?;
    let messages = child.stdout.take().context("cargo build has no output")?;
    let mut binary = None;
    for line in BufReader::new(messages).lines() {
        let line = line.context("reading the messages of cargo build")?;
        binary = executable(&line, name).or(binary);
    }
    let status = child.wait().context("waiting for cargo build")?;
    if !status.success() {
        bail!("{name} does not build ({status})");
    }
    binary.with_context(|| format!("cargo build did not say where it put {name}"))
}

/// The path of the binary `name`, if this message of cargo announces it.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["target"]["name"] != name {
        return None;
    }
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(unix)]
fn become_process(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec().into()) // returns only where it failed
}

#[cfg(not(unix))]
fn become_process(mut command: Command) -> Result<ExitCode> {
    // Ctrl-C reaches every process of the console; the child decides what to do about it.
    ctrlc::set_handler(|| {})?;
    let status = command.status()?;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_artifact_of_the_binary_names_it() {
        let path = |message| executable(message, "s3");
        assert_eq!(
            path(r#"{"reason":"compiler-artifact","target":{"name":"s3"},"executable":"/t/s3"}"#),
            Some(PathBuf::from("/t/s3"))
        );
        assert_eq!(
            path(r#"{"reason":"compiler-artifact","target":{"name":"s3"},"executable":null}"#),
            None
        );
        assert_eq!(
            path(r#"{"reason":"compiler-artifact","target":{"name":"s3_core"},"executable":null}"#),
            None
        );
        assert_eq!(path(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(path("not JSON"), None);
    }
}
