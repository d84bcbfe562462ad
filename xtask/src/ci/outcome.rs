//! What comes of a step.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// What comes of a step that did not fail.
pub(super) enum Outcome {
    Passed,
    Skipped(&'static str),
}

/// Runs `command`; a failure is an error that names it by `line`.
pub(super) fn done(command: &mut Command, line: &str) -> Result<Outcome> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("failed ({status}): {line}");
    }
    Ok(Outcome::Passed)
}
