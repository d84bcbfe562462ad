//! `cargo xtask browser`: the page of `tools/browser` as one folder of static files.
//!
//! ```text
//! index.html page.css page.js picture.js runtime.js    tools/browser/page
//! s3.wasm s3-scalar.wasm     the runtime, compiled with vectors of 128 bits and without
//! networks.json *.safetensors                          models
//! embedded.js     the binary files in base64, for a page that is opened from a disk
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::cargo::root;
use crate::tools::{NO_LIBRARY, Toolchain};

/// What the modules are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// The package, outside the workspace.
pub(crate) const PACKAGE: &str = "tools/browser";

/// The modules, and what the compiler is told.
const MODULES: [(&str, &str); 2] = [
    ("s3.wasm", "-Ctarget-feature=+simd128"),
    ("s3-scalar.wasm", ""),
];

/// Options of `browser`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder to write
    #[arg(short, long, value_name = "FOLDER", default_value = "target/browser")]
    output: PathBuf,
}

/// Builds the page and says where it is.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Some(toolchain) = Toolchain::for_target(TARGET) else {
        bail!("{TARGET}: {NO_LIBRARY}");
    };
    let files = build(&toolchain, &options.output)?;
    for (name, bytes) in files {
        println!("{bytes:>9}  {name}");
    }
    let index = options.output.join("index.html");
    println!(
        "{}: open it, or put its folder on any web server",
        index.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The page's own files, and of `models/` the list of networks and those that it names.
fn sources() -> Result<Vec<(String, Vec<u8>)>> {
    let (page, models) = (root().join(PACKAGE).join("page"), root().join("models"));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&page).with_context(|| page.display().to_string())? {
        paths.push(entry?.path());
    }
    let list = models.join("networks.json");
    let text = std::fs::read(&list).with_context(|| list.display().to_string())?;
    let networks: Vec<Value> =
        serde_json::from_slice(&text).with_context(|| list.display().to_string())?;
    for network in &networks {
        let file = network["file"].as_str();
        let file = file.with_context(|| format!("{}: a network without file", list.display()))?;
        paths.push(models.join(file));
    }
    paths.push(list);
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default();
        Ok((name.to_string_lossy().into_owned(), bytes))
    };
    paths.into_iter().map(read).collect()
}

/// Builds the page in `folder`: its files and their bytes.
pub(crate) fn build(toolchain: &Toolchain, folder: &Path) -> Result<Vec<(String, usize)>> {
    let mut files = sources()?;
    for (name, flags) in MODULES {
        files.push((name.to_owned(), module(toolchain, name, flags)?));
    }
    files.sort();
    files.push(("embedded.js".to_owned(), embedded(&files)?.into_bytes()));
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, bytes) in &files {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    let sizes = files.into_iter().map(|(name, bytes)| (name, bytes.len()));
    Ok(sizes.collect())
}

/// The bytes of one module.
fn module(toolchain: &Toolchain, name: &str, flags: &str) -> Result<Vec<u8>> {
    // A folder for each: other flags would build the other one anew.
    let target = root().join("target/browser-modules").join(name);
    let mut command = toolchain.cargo();
    command
        .args([
            "build",
            "--release",
            "--locked",
            "--lib",
            "--target",
            TARGET,
        ])
        .current_dir(root().join(PACKAGE))
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", flags);
    let status = command.status().context("cannot run cargo build")?;
    if !status.success() {
        bail!("{PACKAGE} does not build for {TARGET} ({status})");
    }
    let path = target.join(TARGET).join("release/s3_browser.wasm");
    std::fs::read(&path).with_context(|| path.display().to_string())
}

/// The files that a page fetches, as a script: one that was opened from a disk may fetch none.
fn embedded(files: &[(String, Vec<u8>)]) -> Result<String> {
    let mut script = String::from("globalThis.EMBEDDED = {\n");
    for (name, bytes) in files {
        let fetched = [".wasm", ".safetensors", ".json"];
        if fetched.iter().any(|end| name.ends_with(end)) {
            writeln!(script, "{name:?}: \"{}\",", BASE64_STANDARD.encode(bytes))?;
        }
    }
    script.push_str("};\n");
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::{embedded, sources};

    #[test]
    fn a_page_is_its_files_and_the_networks_of_the_list() -> anyhow::Result<()> {
        let files = sources()?;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        for name in [
            "index.html",
            "networks.json",
            "mnist-resnet8-2bit-u8.s3.safetensors",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let other = |name: &&str| name.ends_with(".md") || name.starts_with("cifar10-");
        assert!(!names.iter().any(other), "{names:?}");
        assert!(files.iter().all(|(_, bytes)| !bytes.is_empty()));
        Ok(())
    }

    #[test]
    fn what_a_page_fetches_is_embedded() -> anyhow::Result<()> {
        let files = [("a.wasm", "\0asm"), ("b.js", "1")];
        let files = files.map(|(name, bytes)| (name.to_owned(), bytes.as_bytes().to_vec()));
        let script = "globalThis.EMBEDDED = {\n\"a.wasm\": \"AGFzbQ==\",\n};\n";
        assert_eq!(embedded(&files)?, script);
        Ok(())
    }
}
