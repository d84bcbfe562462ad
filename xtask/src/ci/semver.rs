//! The public items of the six crates against those of the last tag, by `cargo-semver-checks`.

use std::process::Command;

use anyhow::Result;

use super::outcome::{Outcome, done};
use crate::cargo::{cargo, is_installed, root};

pub(super) fn semver() -> Result<Outcome> {
    if !is_installed("semver-checks") {
        return Ok(Outcome::Skipped("cargo-semver-checks is not installed"));
    }
    let Some(tag) = last_tag() else {
        return Ok(Outcome::Skipped("no tag `v*` to compare with"));
    };
    // Packages that are not published are left out where none is named.
    let mut check = cargo();
    // All features would ask for MPI and a CUDA compiler.
    let features = "--default-features";
    check.args([
        "semver-checks",
        "--workspace",
        features,
        "--baseline-rev",
        &tag,
    ]);
    let line = format!("cargo semver-checks --workspace {features} --baseline-rev {tag}");
    done(&mut check, &line)
}

/// The nearest tag `v*` behind what is checked out.
fn last_tag() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--tags", "--abbrev=0", "--match", "v*"]);
    let answer = git.current_dir(root()).output().ok()?;
    let tag = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    (answer.status.success() && !tag.is_empty()).then_some(tag)
}
