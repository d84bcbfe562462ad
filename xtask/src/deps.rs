//! `cargo xtask deps`: the arrows between the crates, and the invariants that sources show.
//!
//! | rule | what it says |
//! | --- | --- |
//! | `arrow` | a crate depends only on the crates that [`ARROWS`] lists, for tests as well |
//! | `leaf` | `s3-kernels` has no required dependency |
//! | `no-candle` | `s3-kernels`, `s3-metrics` and `xtask` do not reach candle, through whatever crate |
//! | `forbid-unsafe` | every crate root but that of `s3-kernels` has `#![forbid(unsafe_code)]` |
//! | `unsafe` | `unsafe` is written only in `s3-kernels`, in `arch/` folders |
//! | `method-name` | no method's name is a string in layers, train or metrics, tests aside |
//! | `circle` | the files of a crate import each other in one direction |
//! | `map` | every source file is on one line of the code map, and every line names files |
//! | `link` | what a page of text links to, and every page that it names, is there |
//! | `columns` | no line is longer than 100 columns, rows of tables and whole lines of texts aside |
//! | `network-name` | no network's name is a string in a crate, its architecture's file and tests aside |
//!
//! The names of the methods and of the networks are read from their lists. A line a failure: the
//! file, the rule, what is wrong.

mod circles;
mod files;
mod links;
mod map;
mod sources;
mod tokens;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use workspace::{Package, Workspace};

/// The arrows of the design: a crate, and all that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("s3-kernels", &[]),
    ("s3-metrics", &[]),
    ("s3-core", &["s3-kernels", "s3-metrics"]),
    ("s3-quant", &["s3-core"]),
    ("s3-layers", &["s3-core", "s3-kernels"]),
    (
        "s3-train",
        &["s3-layers", "s3-quant", "s3-metrics", "s3-core"],
    ),
    // What finished runs are and say, typed; no tensor library.
    ("xtask", &["s3-metrics"]),
    // Kernels alone, so that who works on them waits for no tensor library.
    ("s3-kernel-benches", &["s3-kernels"]),
    // Measures whatever it likes; nothing depends on it.
    (
        "s3-benches",
        &[
            "s3-kernels",
            "s3-metrics",
            "s3-core",
            "s3-quant",
            "s3-layers",
            "s3-train",
        ],
    ),
];

/// The crates that build in seconds because the tensor library is not below them.
const WITHOUT_CANDLE: [&str; 4] = ["s3-kernels", "s3-metrics", "s3-kernel-benches", "xtask"];

/// Prints every failure; fails where there is one.
pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace::from_metadata(&cargo::metadata()?)?;
    let mut failures = arrows(&workspace);
    failures.extend(sources::check(&cargo::root(), &workspace)?);
    failures.extend(links::check(&cargo::root())?);
    for failure in &failures {
        println!("{failure}");
    }
    if failures.is_empty() {
        println!("deps: {} crates, every rule holds", workspace.members.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("deps: {} failures", failures.len());
    Ok(ExitCode::FAILURE)
}

/// The rules that manifests show.
fn arrows(workspace: &Workspace) -> Vec<String> {
    let mut failures = Vec::new();
    for member in &workspace.members {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member.name) else {
            failures.push(failure(
                member,
                "arrow",
                "this crate is not in the design's list",
            ));
            continue;
        };
        for dependency in &member.dependencies {
            let name = dependency.name.as_str();
            let is_member = workspace.members.iter().any(|other| other.name == name);
            if is_member && !allowed.contains(&name) && name != member.name {
                let what = format!("{} must not depend on {name}", member.name);
                failures.push(failure(member, "arrow", &what));
            }
            if member.name == "s3-kernels" && !dependency.optional && !dependency.for_tests {
                let what = format!("the dependency on {name} is required, make it a feature");
                failures.push(failure(member, "leaf", &what));
            }
        }
        if WITHOUT_CANDLE.contains(&member.name.as_str()) {
            failures.extend(
                workspace
                    .path_to(&member.name, |name| name.starts_with("candle"))
                    .map(|path| failure(member, "no-candle", &path.join(" -> "))),
            );
        }
    }
    failures
}

fn failure(member: &Package, rule: &str, what: &str) -> String {
    format!("{}: {rule}: {what}", member.manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use workspace::Dependency;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependency = |name: &&str| Dependency {
            name: (*name).into(),
            optional: false,
            for_tests: false,
        };
        Package {
            name: name.into(),
            manifest: format!("crates/{name}/Cargo.toml"),
            roots: Vec::new(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    fn failures_of(members: Vec<Package>, edges: &[(&str, &str)]) -> Vec<String> {
        let edges = edges
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        arrows(&Workspace { members, edges })
    }

    #[test]
    fn the_arrows_of_the_design_hold_and_others_do_not() {
        let good = [
            package("s3-core", &["s3-kernels", "candle-core"]),
            package("s3-kernels", &[]),
            package("s3-layers", &["s3-core", "s3-kernels"]),
            package("s3-quant", &["s3-core"]),
        ];
        assert!(failures_of(good.into(), &[]).is_empty());

        let bad = vec![
            package("s3-layers", &["s3-quant"]),
            package("s3-quant", &["s3-layers"]),
        ];
        assert_eq!(
            failures_of(bad, &[]),
            [
                "crates/s3-layers/Cargo.toml: arrow: s3-layers must not depend on s3-quant",
                "crates/s3-quant/Cargo.toml: arrow: s3-quant must not depend on s3-layers",
            ]
        );
        let strange = failures_of(vec![package("s3-utils", &[])], &[]);
        assert_eq!(
            strange,
            ["crates/s3-utils/Cargo.toml: arrow: this crate is not in the design's list"]
        );
    }

    #[test]
    fn the_kernels_may_have_optional_and_test_dependencies_only() {
        let mut kernels = package("s3-kernels", &["rayon", "proptest", "libm"]);
        kernels.dependencies[0].optional = true;
        kernels.dependencies[1].for_tests = true;
        assert_eq!(
            failures_of(vec![kernels], &[]),
            [
                "crates/s3-kernels/Cargo.toml: leaf: the dependency on libm is required, make it a \
              feature"
            ]
        );
    }

    #[test]
    fn candle_is_found_through_other_crates() {
        let edges = [
            ("s3-metrics", "plot"),
            ("plot", "maths"),
            ("maths", "candle-core"),
        ];
        assert_eq!(
            failures_of(vec![package("s3-metrics", &["plot"])], &edges),
            ["crates/s3-metrics/Cargo.toml: no-candle: s3-metrics -> plot -> maths -> candle-core"]
        );
        assert!(failures_of(vec![package("s3-metrics", &["plot"])], &edges[..2]).is_empty());
    }
}
