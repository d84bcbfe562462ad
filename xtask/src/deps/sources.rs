//! The rules that source files show.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::lexer::{Kind, Token, tokens, without_tests};
use super::workspace::{Package, Workspace};

/// The crates that must not know a method by name.
const WITHOUT_METHOD_NAMES: [&str; 3] = ["s3-layers", "s3-train", "s3-metrics"];
/// The list in which every method is one line, and the folders where the methods live.
const REGISTRATION_LIST: &str = "crates/s3-quant/src/lib.rs";
const METHOD_FOLDERS: [&str; 2] = ["crates/s3-quant/src", "crates/s3-core/src"];

/// A source file: its path from the root of the workspace, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// Checks the sources of every member.
pub(crate) fn check(root: &Path, workspace: &Workspace) -> Result<Vec<String>> {
    let list = read(root, REGISTRATION_LIST)?;
    let mut methods = Vec::new();
    for folder in METHOD_FOLDERS {
        methods.extend(rust_files(root, folder)?);
    }
    let names = method_names(&list, &methods)?;

    let mut failures = Vec::new();
    for member in &workspace.members {
        let folder = member
            .manifest
            .trim_end_matches("Cargo.toml")
            .trim_end_matches('/');
        for source in rust_files(root, folder)? {
            failures.extend(check_file(member, &source, &names));
        }
    }
    Ok(failures)
}

fn check_file(member: &Package, source: &Source, names: &[String]) -> Vec<String> {
    let all = tokens(&source.text);
    let mut failures = Vec::new();
    let mut fail = |line: usize, rule: &str, what: &str| {
        failures.push(format!("{}:{line}: {rule}: {what}", source.path));
    };

    if member.name != "s3-kernels" && member.roots.contains(&source.path) && !forbids_unsafe(&all) {
        fail(1, "forbid-unsafe", "#![forbid(unsafe_code)] is missing");
    }
    if !may_be_unsafe(member, &source.path) {
        for token in all.iter().filter(|token| token.is_word("unsafe")) {
            fail(
                token.line,
                "unsafe",
                "allowed only in arch/ and dispatch of s3-kernels",
            );
        }
    }
    if WITHOUT_METHOD_NAMES.contains(&member.name.as_str()) && !is_test_file(&source.path) {
        for token in without_tests(&all) {
            if let Kind::Text(text) = &token.kind
                && names.contains(text)
            {
                let what = format!("\"{text}\" names a method outside its own file");
                fail(token.line, "method-name", &what);
            }
        }
    }
    failures
}

/// Whether the file has `#![forbid(unsafe_code)]`, alone or among other lints.
fn forbids_unsafe(tokens: &[Token]) -> bool {
    let places = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_word("forbid"));
    places.into_iter().any(|(at, _)| {
        let is_inner = at >= 3 && tokens[at - 3].is_mark('#') && tokens[at - 2].is_mark('!');
        let lints = tokens[at + 1..]
            .iter()
            .take_while(|token| !token.is_mark(')'));
        is_inner && lints.into_iter().any(|token| token.is_word("unsafe_code"))
    })
}

/// Kernels keep `unsafe` in their `arch/` folders and their dispatch; their tests, which are not
/// part of the crate, may need it too (to count allocations, say).
fn may_be_unsafe(member: &Package, path: &str) -> bool {
    let kernels = member.name == "s3-kernels";
    let allowed = ["/arch/", "/arch.rs", "/dispatch/", "/dispatch.rs"];
    kernels && (allowed.iter().any(|part| path.contains(part)) || !path.contains("/src/"))
}

/// Files that only tests compile: `tests.rs`, `tests/`, and the benches beside them.
fn is_test_file(path: &str) -> bool {
    ["/tests/", "/tests.rs", "/benches/", "/examples/"]
        .iter()
        .any(|part| path.contains(part))
}

/// The names behind the registration list: for each `entry::<path::Type>()`, the `NAME` in the
/// `impl MethodConfig for Type`.
fn method_names(list: &str, methods: &[Source]) -> Result<Vec<String>> {
    let list = without_tests(&tokens(list));
    let methods: Vec<Vec<Token>> = methods
        .iter()
        .map(|source| without_tests(&tokens(&source.text)))
        .collect();
    let start = list.iter().position(|token| token.is_word("METHODS"));
    let start = start.with_context(|| format!("{REGISTRATION_LIST} has no METHODS"))?;
    let length = list[start..].iter().position(|token| token.is_mark(';'));
    let list = &list[start..length.map_or(list.len(), |length| start + length)];
    let mut names = Vec::new();
    for (at, _) in list
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_word("entry"))
    {
        let path = list[at..].iter().take_while(|token| !token.is_mark('>'));
        let last = path.filter_map(|token| match &token.kind {
            Kind::Word(word) => Some(word.as_str()),
            _ => None,
        });
        let method = last.last().unwrap_or_default();
        match methods
            .iter()
            .find_map(|tokens| name_in_impl(tokens, method))
        {
            Some(name) => names.push(name),
            None => bail!("{REGISTRATION_LIST}: no `impl MethodConfig for {method}` with a NAME"),
        }
    }
    if names.is_empty() {
        bail!("{REGISTRATION_LIST}: METHODS has no `entry::<Type>()`");
    }
    Ok(names)
}

/// The string given to `NAME` in the `impl MethodConfig for method`.
fn name_in_impl(tokens: &[Token], method: &str) -> Option<String> {
    let header = ["MethodConfig", "for", method];
    let starts = |window: &[Token]| window.iter().zip(header).all(|(t, word)| t.is_word(word));
    let start = tokens.windows(header.len()).position(starts)?;
    let constant = tokens[start..]
        .iter()
        .position(|token| token.is_word("NAME"))?;
    tokens[start + constant..]
        .iter()
        .take_while(|token| !token.is_mark(';'))
        .find_map(|token| match &token.kind {
            Kind::Text(name) => Some(name.clone()),
            _ => None,
        })
}

/// Every `.rs` file under a folder, in the order of their paths.
fn rust_files(root: &Path, folder: &str) -> Result<Vec<Source>> {
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
                sources.push(Source {
                    text: read(root, &path)?,
                    path,
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Package {
        Package {
            name: name.into(),
            manifest: format!("crates/{name}/Cargo.toml"),
            roots: vec![format!("crates/{name}/src/lib.rs")],
            dependencies: Vec::new(),
        }
    }

    fn failures_of(crate_name: &str, file: &str, text: &str) -> Vec<String> {
        let source = Source {
            path: format!("crates/{crate_name}/{file}"),
            text: text.into(),
        };
        check_file(&package(crate_name), &source, &["s3".into(), "twn".into()])
    }

    #[test]
    fn a_root_without_the_fence_is_named() {
        let missing = [
            "crates/s3-core/src/lib.rs:1: forbid-unsafe: #![forbid(unsafe_code)] is \
                        missing",
        ];
        assert_eq!(
            failures_of("s3-core", "src/lib.rs", "//! #![forbid(unsafe_code)]"),
            missing
        );
        assert_eq!(
            failures_of("s3-core", "src/lib.rs", "#![deny(unsafe_code)]"),
            missing
        );
        assert!(failures_of("s3-core", "src/lib.rs", "#![forbid(unsafe_code)]").is_empty());
        assert!(failures_of("s3-core", "src/lib.rs", "#![forbid(a, unsafe_code)]").is_empty());
        assert!(failures_of("s3-core", "src/ste.rs", "fn f() {}").is_empty());
    }

    #[test]
    fn unsafe_lives_in_arch_and_dispatch_of_the_kernels() {
        let code = "// unsafe\nfn f() {\n    unsafe { g() }\n}";
        let rule = "unsafe: allowed only in arch/ and dispatch of s3-kernels";
        assert_eq!(
            failures_of("s3-core", "src/a.rs", code),
            [format!("crates/s3-core/src/a.rs:3: {rule}")]
        );
        assert_eq!(
            failures_of("s3-kernels", "src/train/conv.rs", code),
            [format!("crates/s3-kernels/src/train/conv.rs:3: {rule}")]
        );
        for fine in [
            "src/arch/avx2.rs",
            "src/train/arch/avx2.rs",
            "src/dispatch.rs",
            "tests/a.rs",
        ] {
            assert!(failures_of("s3-kernels", fine, code).is_empty(), "{fine}");
        }
        assert!(failures_of("s3-core", "src/a.rs", "#![deny(unsafe_op_in_unsafe_fn)]").is_empty());
    }

    #[test]
    fn a_branch_on_a_methods_name_is_found_and_a_test_is_not() {
        let branch = "fn f(m: &str) -> bool {\n    m == \"twn\"\n}";
        assert_eq!(
            failures_of("s3-train", "src/train.rs", branch),
            [
                "crates/s3-train/src/train.rs:2: method-name: \"twn\" names a method outside its own \
              file"
            ]
        );
        let test = format!("#[cfg(test)] mod tests {{ {branch} }}");
        assert!(failures_of("s3-train", "src/train.rs", &test).is_empty());
        assert!(failures_of("s3-train", "tests/cli.rs", branch).is_empty());
        assert!(failures_of("s3-quant", "src/twn.rs", branch).is_empty());
        // A message that mentions one is prose, and the binary's own name is its name.
        assert!(failures_of("s3-train", "src/a.rs", "let x = \"try twn\";").is_empty());
        let cli = "#[command(name = \"s3\")] struct Cli;";
        assert!(failures_of("s3-train", "src/a.rs", cli).is_empty());
    }

    #[test]
    fn names_are_read_from_the_registration_list() {
        let list = "pub const METHODS: &[Entry] = &[ entry::<Twn>(), entry::<s3_core::s3::S3>() ];
                    fn entry_of() { entry::<Other>() }";
        let source = |text: &str| Source {
            path: String::new(),
            text: text.into(),
        };
        let methods = [
            source("impl MethodConfig for Twn { const NAME: &'static str = \"twn\"; }"),
            source("impl MethodConfig for S3 { const BITS: u8 = 1; const NAME: &str = \"s3\"; }"),
        ];
        assert_eq!(method_names(list, &methods).expect("reads"), ["twn", "s3"]);
        let error = method_names(list, &methods[..1])
            .expect_err("no S3")
            .to_string();
        assert!(
            error.ends_with("no `impl MethodConfig for S3` with a NAME"),
            "{error}"
        );
        assert!(method_names("", &methods).is_err());
    }
}
