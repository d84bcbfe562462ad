//! The rules that source files show.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::circles;
use super::files::{Source, is_test_file, read, rust_files};
use super::map;
use super::tokens::{Kind, Token, texts_of};
use super::workspace::{Package, Workspace};

/// The crates that must not know a method by name.
const WITHOUT_METHOD_NAMES: [&str; 3] = ["s3-layers", "s3-train", "s3-metrics"];
/// Columns of a line at most: those of rustfmt, which leaves comments, strings and macros alone.
const COLUMNS: usize = 100;
/// The list in which every method is one line, and the folders where the methods live.
const REGISTRATION_LIST: &str = "crates/s3-quant/src/lib.rs";
const METHOD_FOLDERS: [&str; 2] = ["crates/s3-quant/src", "crates/s3-core/src"];

/// The list of architectures, and the folder where they live.
const ARCHITECTURE_LIST: &str = "crates/s3-kernels/src/zoo/mod.rs";
const ARCHITECTURE_FOLDER: &str = "crates/s3-kernels/src/zoo";

/// What may not be written where.
struct Names {
    methods: Vec<String>,
    architectures: Vec<String>,
}

/// Checks the sources of every member.
pub(crate) fn check(root: &Path, workspace: &Workspace) -> Result<Vec<String>> {
    let source = |path: &str| Source::new(path, &read(root, path)?);
    let mut methods = Vec::new();
    for folder in METHOD_FOLDERS {
        methods.extend(rust_files(root, folder)?);
    }
    let zoo = rust_files(root, ARCHITECTURE_FOLDER)?;
    let names = Names {
        methods: method_names(&source(REGISTRATION_LIST)?, &methods)?,
        architectures: architecture_names(&source(ARCHITECTURE_LIST)?, &zoo)?,
    };

    let mut failures = Vec::new();
    let mut all = Vec::new();
    for member in &workspace.members {
        let folder = member
            .manifest
            .trim_end_matches("Cargo.toml")
            .trim_end_matches('/');
        let sources = rust_files(root, folder)?;
        for source in &sources {
            failures.extend(check_file(member, source, &names));
        }
        let src = format!("{folder}/src/");
        let (own, others): (Vec<Source>, Vec<Source>) = sources
            .into_iter()
            .partition(|source| source.path.starts_with(&src) && !is_test_file(&source.path));
        failures.extend(circles::check(&src, &own));
        all.extend(own);
        all.extend(others);
    }
    failures.extend(map::check(&read(root, map::MAP)?, &all));
    Ok(failures)
}

fn check_file(member: &Package, source: &Source, names: &Names) -> Vec<String> {
    let all = &source.tokens;
    let mut failures = Vec::new();
    let mut fail = |line: usize, rule: &str, what: &str| {
        failures.push(format!("{}:{line}: {rule}: {what}", source.path));
    };

    if member.name != "s3-kernels" && member.roots.contains(&source.path) && !forbids_unsafe(all) {
        fail(1, "forbid-unsafe", "#![forbid(unsafe_code)] is missing");
    }
    if !may_be_unsafe(member, &source.path) {
        for token in all.iter().filter(|token| token.is_word("unsafe")) {
            fail(token.line, "unsafe", "allowed only in arch/ of s3-kernels");
        }
    }
    let verbatim = verbatim(all);
    for (line, text) in (1..).zip(source.text.lines()) {
        let columns = text.chars().count();
        if columns > COLUMNS && !is_row(text) && !verbatim.contains(&line) {
            let what = format!("{columns} columns, at most {COLUMNS}");
            fail(line, "columns", &what);
        }
    }
    if !is_test_file(&source.path) {
        let knows_methods = !WITHOUT_METHOD_NAMES.contains(&member.name.as_str());
        let knows_architectures = !member.manifest.starts_with("crates/")
            || source.path.starts_with(&format!("{ARCHITECTURE_FOLDER}/"));
        for token in source.without_tests() {
            let Kind::Text(text) = &token.kind else {
                continue;
            };
            if !knows_methods && names.methods.contains(text) {
                let what = format!("\"{text}\" names a method outside its own file");
                fail(token.line, "method-name", &what);
            }
            if !knows_architectures && names.architectures.contains(text) {
                let what = format!("\"{text}\" names a network outside its architecture's file");
                fail(token.line, "network-name", &what);
            }
        }
    }
    failures
}

/// Whether a line is a row of a table in a comment, which Markdown cannot break.
fn is_row(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix("//");
    comment.is_some_and(|text| text.trim_start_matches(['/', '!']).starts_with(" |"))
}

/// The lines that are whole lines of a text: where they break is part of what it says.
fn verbatim(tokens: &[Token]) -> BTreeSet<usize> {
    let of_token = |token: &Token| {
        let Kind::Text(text) = &token.kind else {
            return Vec::new();
        };
        let lines: Vec<&str> = text.split('\n').collect();
        let is_continued = |line: &str| line.ends_with('\\');
        let whole = (1..lines.len().saturating_sub(1))
            .filter(|&at| !is_continued(lines[at - 1]) && !is_continued(lines[at]));
        whole.map(|at| token.line + at).collect()
    };
    tokens.iter().flat_map(of_token).collect()
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

/// Kernels keep `unsafe` in their `arch/` folders; their tests, which are not
/// part of the crate, may need it too (to count allocations, say).
fn may_be_unsafe(member: &Package, path: &str) -> bool {
    let kernels = member.name == "s3-kernels";
    let allowed = ["/arch/", "/arch.rs"];
    kernels && (allowed.iter().any(|part| path.contains(part)) || !path.contains("/src/"))
}

/// The names behind the registration list: for each `entry::<path::Type>()`, the `NAME` in the
/// `impl MethodConfig for Type`.
fn method_names(list: &Source, methods: &[Source]) -> Result<Vec<String>> {
    let methods: Vec<Vec<Token>> = methods.iter().map(Source::without_tests).collect();
    let mut names = Vec::new();
    for method in entries(list, "METHODS")? {
        let method = method.as_str();
        match methods
            .iter()
            .find_map(|tokens| name_in_impl(tokens, method))
        {
            Some(name) => names.push(name),
            None => bail!("{REGISTRATION_LIST}: no `impl MethodConfig for {method}` with a NAME"),
        }
    }
    Ok(names)
}

/// The names behind the list of architectures: for each `entry::<Type>()`, the texts of `NAMES` and
/// of `FORMS`, which it may be made of, in the file of the `impl Architecture for Type`.
fn architecture_names(list: &Source, zoo: &[Source]) -> Result<Vec<String>> {
    let zoo: Vec<Vec<Token>> = zoo.iter().map(Source::without_tests).collect();
    let mut names = Vec::new();
    for architecture in entries(list, "ARCHITECTURES")? {
        let header = ["Architecture", "for", &architecture];
        let starts = |window: &[Token]| window.iter().zip(header).all(|(t, word)| t.is_word(word));
        let file = zoo
            .iter()
            .find(|tokens| tokens.windows(header.len()).any(starts));
        let texts = file.map(|tokens| texts_of(tokens, &["NAMES", "FORMS"]));
        match texts {
            Some(texts) if !texts.is_empty() => names.extend(texts),
            _ => bail!("{ARCHITECTURE_LIST}: no `impl Architecture for {architecture}` with NAMES"),
        }
    }
    Ok(names)
}

/// The types of each `entry::<path::Type>()` in the constant `name` of a list.
fn entries(source: &Source, name: &str) -> Result<Vec<String>> {
    let (list, path) = (source.without_tests(), &source.path);
    let is_name = |pair: &[Token]| pair[0].is_word("const") && pair[1].is_word(name);
    let start = list.windows(2).position(is_name);
    let start = start.with_context(|| format!("{path} has no {name}"))?;
    let length = list[start..].iter().position(|token| token.is_mark(';'));
    let list = &list[start..length.map_or(list.len(), |length| start + length)];
    let mut types = Vec::new();
    for (at, _) in list
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_word("entry"))
    {
        let path = list[at..].iter().take_while(|token| !token.is_mark('>'));
        let last = path.filter_map(|token| match &token.kind {
            Kind::Word(word) => Some(word.clone()),
            _ => None,
        });
        types.extend(last.last());
    }
    if types.is_empty() {
        bail!("{path}: {name} has no `entry::<Type>()`");
    }
    Ok(types)
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
        let source = Source::new(&format!("crates/{crate_name}/{file}"), text).expect("Rust");
        let names = Names {
            methods: vec!["s3".into(), "twn".into()],
            architectures: vec!["resnet20".into()],
        };
        check_file(&package(crate_name), &source, &names)
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
    fn unsafe_lives_in_arch_of_the_kernels() {
        let code = "// unsafe\nfn f() {\n    unsafe { g() }\n}";
        let rule = "unsafe: allowed only in arch/ of s3-kernels";
        assert_eq!(
            failures_of("s3-core", "src/a.rs", code),
            [format!("crates/s3-core/src/a.rs:3: {rule}")]
        );
        assert_eq!(
            failures_of("s3-kernels", "src/train/conv.rs", code),
            [format!("crates/s3-kernels/src/train/conv.rs:3: {rule}")]
        );
        for fine in ["src/arch/avx2.rs", "src/train/arch/avx2.rs", "tests/a.rs"] {
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
                "crates/s3-train/src/train.rs:2: method-name: \"twn\" names a method outside its \
                 own file"
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
    fn a_branch_on_a_networks_name_is_found_and_its_own_file_is_not() {
        let branch = "fn f(m: &str) -> bool {\n    m == \"resnet20\"\n}";
        let found = "src/run.rs:2: network-name: \"resnet20\" names a network outside its \
                     architecture's file";
        for name in ["s3-kernels", "s3-train"] {
            let wanted = format!("crates/{name}/{found}");
            assert_eq!(failures_of(name, "src/run.rs", branch), [wanted]);
        }
        assert!(failures_of("s3-kernels", "src/zoo/resnet.rs", branch).is_empty());
        assert!(failures_of("s3-train", "tests/learns.rs", branch).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_named_by_its_characters() {
        let line = |columns: usize| format!("fn f() {{}}\n// {}\n", "σ".repeat(columns - 3));
        assert!(failures_of("s3-kernels", "src/a.rs", &line(COLUMNS)).is_empty());
        let long = ["crates/s3-kernels/src/a.rs:2: columns: 101 columns, at most 100"];
        assert_eq!(
            failures_of("s3-kernels", "src/a.rs", &line(COLUMNS + 1)),
            long
        );
        assert_eq!(
            failures_of("s3-kernels", "tests/a.rs", &line(COLUMNS + 1)).len(),
            1
        );
        let row = format!("fn f() {{}}\n//! | {} |\n", "σ".repeat(COLUMNS));
        assert!(failures_of("s3-kernels", "src/a.rs", &row).is_empty());
        let text = |end: &str| {
            let long = "σ".repeat(COLUMNS + 1);
            format!("const A: &str = \"a{end}\n{long}{end}\nb\";")
        };
        assert!(failures_of("s3-kernels", "src/a.rs", &text("")).is_empty());
        assert_eq!(failures_of("s3-kernels", "src/a.rs", &text(" \\")).len(), 1);
    }

    #[test]
    fn networks_are_read_from_the_list_of_architectures() {
        let list = "pub const ARCHITECTURES: &[Entry] = &[entry::<A>(), entry::<B>()];";
        let source = |text: &str| Source::new("", text).expect("Rust");
        let zoo = [
            source(
                "impl Architecture for A { const NAMES: &'static [&'static str] = &[\"a\", \"b\"]; \
                 const X: &str = \"x\"; }",
            ),
            source(
                "const FORMS: &[Form] = &[(\"c\", &[1; 3]), (\"d\", &[2; 3])]; impl Architecture \
                 for B { const NAMES: &[&str] = &NAMES; }",
            ),
        ];
        let names = architecture_names(&source(list), &zoo).expect("reads");
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert!(architecture_names(&source(list), &zoo[..1]).is_err());
        assert!(architecture_names(&source(""), &zoo).is_err());
    }

    #[test]
    fn names_are_read_from_the_registration_list() {
        let list = "pub const METHODS: &[Entry] = &[ entry::<Twn>(), entry::<s3_core::s3::S3>() ];
                    fn entry_of() { entry::<Other>() }";
        let source = |text: &str| Source::new("", text).expect("Rust");
        let methods = [
            source("impl MethodConfig for Twn { const NAME: &'static str = \"twn\"; }"),
            source("impl MethodConfig for S3 { const BITS: u8 = 1; const NAME: &str = \"s3\"; }"),
        ];
        assert_eq!(
            method_names(&source(list), &methods).expect("reads"),
            ["twn", "s3"]
        );
        let error = method_names(&source(list), &methods[..1])
            .expect_err("no S3")
            .to_string();
        assert!(
            error.ends_with("no `impl MethodConfig for S3` with a NAME"),
            "{error}"
        );
        assert!(method_names(&source(""), &methods).is_err());
    }
}
