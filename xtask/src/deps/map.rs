//! The rule `map`: every source file is on a line of the code map, and every line names files that
//! are there.
//!
//! A section of the map is headed by a folder, `### \`crates/s3-core\``. The first cell of a row
//! names files from that folder's `src`, or from the folder itself: `a.rs`, `a/{b,c}.rs`, `tests/`
//! for all below. Roots and what only tests compile need no line.

use std::collections::BTreeSet;

use super::files::{Source, is_test_file};

pub(super) const MAP: &str = "docs/ARCHITECTURE.md";

/// What the map says that is not so, and what it does not say. `sources` are those of the whole
/// workspace.
pub(super) fn check(map: &str, sources: &[Source]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut mapped: BTreeSet<&str> = BTreeSet::new();
    let mut folders: Vec<String> = Vec::new();
    for (line, text) in (1..).zip(map.lines()) {
        if let Some(heading) = text.strip_prefix("### ") {
            let folder = heading.trim().trim_matches('`');
            let is_folder = sources
                .iter()
                .any(|source| below(&source.path, folder).is_some());
            folders.push(if is_folder {
                folder.to_owned()
            } else {
                String::new()
            });
        } else if text.starts_with("## ") {
            folders.push(String::new());
        }
        let Some(folder) = folders.last().filter(|folder| !folder.is_empty()) else {
            continue;
        };
        let Some(cell) = text
            .strip_prefix("| `")
            .and_then(|row| row.split(" | ").next())
        else {
            continue;
        };
        // The opening backtick went with the prefix, so that names are the even parts.
        let is_source = |name: &String| name.ends_with(".rs") || name.ends_with('/');
        let names = cell.split('`').step_by(2).flat_map(alternatives);
        for name in names.filter(is_source) {
            let paths = sources.iter().map(|source| source.path.as_str());
            let named: Vec<&str> = paths.filter(|path| is_named(path, folder, &name)).collect();
            if named.is_empty() {
                failures.push(format!("{MAP}:{line}: map: {folder} has no {name}"));
            }
            mapped.extend(named);
        }
    }
    for source in sources {
        let path = source.path.as_str();
        let inner = folders.iter().find_map(|folder| below(path, folder));
        let is_root = ["src/lib.rs", "src/main.rs"].map(Some).contains(&inner);
        if !is_root && !is_test_file(path) && !mapped.contains(path) {
            failures.push(format!("{path}:1: map: on no line of {MAP}"));
        }
    }
    failures
}

/// Whether a path is that of a file, or lies in the folder, that the map of `folder` calls `name`.
fn is_named(path: &str, folder: &str, name: &str) -> bool {
    below(path, folder).is_some_and(|inner| {
        let inner = inner.strip_prefix("src/").unwrap_or(inner);
        inner == name || name.ends_with('/') && inner.starts_with(name)
    })
}

/// The part of a path below a folder.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn alternatives(name: &str) -> Vec<String> {
    match name
        .split_once('{')
        .and_then(|(head, rest)| Some((head, rest.split_once('}')?)))
    {
        Some((head, (inner, tail))) => {
            let parts = inner.split(',').map(str::trim);
            parts.map(|part| format!("{head}{part}{tail}")).collect()
        }
        None => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "\
### `crates/a`
| file | question |
| --- | --- |
| `b.rs`, `c/{mod,d}.rs` | What? |
| `e/` | All of `f.rs`? |
## Other
| `g.rs` | no map |
";

    fn failures_of(map: &str, paths: &[&str]) -> Vec<String> {
        let source = |path: &&str| Source::new(&format!("crates/a/{path}"), "").expect("nothing");
        check(map, &paths.iter().map(source).collect::<Vec<_>>())
    }

    const ALL: [&str; 6] = [
        "src/lib.rs",
        "src/b.rs",
        "src/c/mod.rs",
        "src/c/d.rs",
        "src/e/x/y.rs",
        "src/e/tests.rs",
    ];

    #[test]
    fn a_whole_map_passes() {
        assert_eq!(failures_of(ROWS, &ALL), [""; 0]);
    }

    #[test]
    fn a_file_without_a_line_and_a_line_without_a_file_are_named() {
        let more = [&ALL[..], &["src/f.rs", "src/f/tests.rs"]].concat();
        let missing = "crates/a/src/f.rs:1: map: on no line of docs/ARCHITECTURE.md";
        assert_eq!(failures_of(ROWS, &more), [missing]);
        let gone = "docs/ARCHITECTURE.md:4: map: crates/a has no c/d.rs";
        let fewer = [&ALL[..3], &ALL[4..]].concat();
        assert_eq!(failures_of(ROWS, &fewer), [gone]);
    }
}
