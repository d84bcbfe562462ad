//! What a registry would get: each package holds every file that it needs, and together they
//! build.
//!
//! `cargo package` would verify each by building it in the development profile, the tensor library
//! with it; [`verify`] does, on request. Here the packages are unpacked into one workspace, which
//! is checked in the profile, and so with the dependencies, of the lints.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::outcome::{Outcome, done};
use crate::cargo::{cargo, metadata, root};

/// What a user of each looks for beside its code.
const FILES: [&str; 4] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"];

pub(super) fn package() -> Result<Outcome> {
    let metadata = metadata()?;
    let published = published(&metadata);
    let target = metadata["target_directory"].as_str();
    let target = Path::new(target.context("no target_directory")?);

    // No build of its own.
    let mut make = make(&published);
    make.args(["--quiet", "--no-verify"]);
    done(&mut make, "cargo package --no-verify")?;

    let folder = tempfile::tempdir().context("a temporary folder")?;
    let mut workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n".to_owned();
    let _ = writeln!(workspace, "[patch.crates-io]");
    for Published { name, version } in &published {
        let archive = target.join(format!("package/{name}-{version}.crate"));
        let file = File::open(&archive).with_context(|| archive.display().to_string())?;
        tar::Archive::new(GzDecoder::new(file))
            .unpack(folder.path())
            .with_context(|| archive.display().to_string())?;
        let unpacked = folder.path().join(format!("{name}-{version}"));
        for wanted in FILES {
            let there = unpacked.join(wanted).is_file();
            ensure!(there, "the package {name} has no {wanted}");
        }
        let _ = writeln!(workspace, "{name} = {{ path = \"{name}-{version}\" }}");
    }
    std::fs::write(folder.path().join("Cargo.toml"), workspace)?;
    std::fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock"))?;
    let mut check = cargo();
    check.args(["check", "--quiet", "--release", "--workspace", "--offline"]);
    check.arg("--target-dir").arg(target);
    check.current_dir(folder.path());
    done(&mut check, "cargo check of the unpacked packages")?;
    println!("{} packages, unpacked and checked", published.len());
    Ok(Outcome::Passed)
}

/// Lets Cargo build each package from its archive, as before it is published. Nothing is run, so
/// that nothing is optimised.
pub(super) fn verify() -> Result<Outcome> {
    let mut make = make(&published(&metadata()?));
    make.args(["--config", "profile.dev.opt-level=0"]);
    make.args(["--config", "profile.dev.debug=false"]);
    make.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    done(&mut make, "cargo package")
}

/// `cargo package` of all; a changed file is a contributor's, who may package it.
fn make(published: &[Published]) -> Command {
    let mut make = cargo();
    make.args(["package", "--allow-dirty"]);
    for package in published {
        make.args(["--package", &package.name]);
    }
    make
}

struct Published {
    name: String,
    version: String,
}

/// The workspace's packages that may be published.
fn published(metadata: &Value) -> Vec<Published> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let members = metadata["workspace_members"].as_array();
    let is_member = |package: &&Value| members.is_some_and(|all| all.contains(&package["id"]));
    // A list of registries, none for `publish = false`.
    let may_be = |package: &&Value| package["publish"].is_null();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = packages.filter(is_member).filter(may_be);
    found
        .map(|package| Published {
            name: word(&package["name"]),
            version: word(&package["version"]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of the manifest by which a registry shows and finds it.
    const KEYS: [&str; 7] = [
        "categories",
        "description",
        "documentation",
        "keywords",
        "license",
        "readme",
        "rust_version",
    ];

    #[test]
    fn the_six_crates_are_published_and_say_what_they_are() -> Result<()> {
        let metadata = metadata()?;
        let mut names: Vec<String> = Vec::new();
        for Published { name, .. } in published(&metadata) {
            let packages = metadata["packages"].as_array().into_iter().flatten();
            let package = packages.into_iter().find(|p| p["name"] == *name);
            let package = package.context("a package")?;
            for key in KEYS {
                let said = match &package[key] {
                    Value::Array(words) => !words.is_empty() && words.len() <= 5,
                    value => value.is_string(),
                };
                assert!(said, "{name}: {key}");
            }
            names.push(name);
        }
        names.sort();
        let six = ["core", "kernels", "layers", "metrics", "quant", "train"];
        assert_eq!(names, six.map(|name| format!("s3-{name}")));
        Ok(())
    }

    #[test]
    fn the_toolchain_is_the_oldest_that_is_promised() -> Result<()> {
        let metadata = metadata()?;
        let mut packages = metadata["packages"].as_array().into_iter().flatten();
        let package = packages.find(|p| p["name"] == "s3-train");
        let oldest = package.context("s3-train")?["rust_version"].as_str();
        let file = std::fs::read_to_string(root().join("rust-toolchain.toml"))?;
        let channel = file
            .lines()
            .find_map(|line| line.strip_prefix("channel = "));
        let channel = channel.context("channel")?.trim_matches('"');
        assert_eq!(Some(channel.trim_end_matches(".0")), oldest);
        Ok(())
    }
}
