//! The page of `cargo xtask browser`: in Node every value of a thousand images is the native
//! program's; in a headless Chromium drawn digits and pictures get the right answers.
//!
//! Needs `rustup target add wasm32-unknown-unknown`, or the library's sources and a linker. On
//! Debian: `nodejs chromium rustc-web rust-web-src cargo-web lld`.

use std::process::Command;

use anyhow::Result;

use super::outcome::{Outcome, done};
use crate::cargo::root;
use crate::tools::{NO_LIBRARY, Toolchain, program};
use crate::{browser, s3};

/// Builds the page and runs its scripts as far as there is something to run them.
pub(super) fn browser() -> Result<Outcome> {
    let Some(toolchain) = Toolchain::for_target(browser::TARGET) else {
        return Ok(Outcome::Skipped(NO_LIBRARY));
    };
    let page = root().join("target/browser");
    browser::build(&toolchain, &page)?;
    let mut tests = crate::cargo::cargo();
    tests.args(["test", "--release", "--locked", "--manifest-path"]);
    let manifest = format!("{}/Cargo.toml", browser::PACKAGE);
    done(tests.arg(&manifest), "cargo test in tools/browser")?;
    let twin = s3::build_at(&["--locked", "--manifest-path", &manifest], "s3-browser")?;
    let scripts = root().join(browser::PACKAGE).join("test");
    let Some(node) = program(&["node", "nodejs"]) else {
        return Ok(Outcome::Skipped("the page is built; Node is not installed"));
    };
    let mut equal = Command::new(node);
    equal.arg(scripts.join("node.js")).arg(&page).arg(&twin);
    done(&mut equal, "node tools/browser/test/node.js")?;
    let Some(chromium) = program(&["chromium", "chromium-browser", "google-chrome"]) else {
        return Ok(Outcome::Skipped("Node agrees; Chromium is not installed"));
    };
    let mut shown = Command::new(node);
    shown.arg(scripts.join("chromium.js")).arg(chromium);
    done(
        shown.arg(&page).arg(&twin),
        "node tools/browser/test/chromium.js",
    )
}
