//! The source files of a folder.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::tokens::{Token, tokens, without_tests};

/// A source file.
pub(super) struct Source {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) tokens: Vec<Token>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Result<Self> {
        Ok(Self {
            tokens: tokens(text).with_context(|| path.to_owned())?,
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    /// What is compiled where nothing is tested.
    pub(super) fn without_tests(&self) -> Vec<Token> {
        without_tests(&self.tokens)
    }
}

/// Every `.rs` file under a folder, in the order of their paths.
pub(super) fn rust_files(root: &Path, folder: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let listing = || format!("cannot list {folder}");
        for entry in fs::read_dir(root.join(&folder)).with_context(listing)? {
            let entry = entry.with_context(listing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{folder}/{name}");
            if entry.file_type().with_context(listing)?.is_dir() {
                // A folder with a manifest is a package of its own.
                let own = root.join(&path).join("Cargo.toml").exists();
                if name != "target" && !name.starts_with('.') && !own {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                sources.push(Source::new(&path, &read(root, &path)?)?);
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

pub(super) fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// Files that only tests compile: `tests.rs`, `tests/`, and the benches beside them.
pub(super) fn is_test_file(path: &str) -> bool {
    ["/tests/", "/tests.rs", "/benches/", "/examples/"]
        .iter()
        .any(|part| path.contains(part))
}
