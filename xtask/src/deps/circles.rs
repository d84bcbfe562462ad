//! The rule `circle`: the files of a crate import each other in one direction.
//!
//! An import is a path that begins with `crate`, `self`, `super`, a child module or a name that a
//! `use` of the file brought in. It leads to the file that defines what it names: re-exports are
//! followed. A module that is only passed through is not imported, and what tests alone compile
//! imports nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::files::Source;
use super::tokens::{Kind, Token};

/// A path as it is written, the item last; `*` stands for all of a module.
type Path = Vec<String>;

/// How many re-exports one name may lead through.
const REEXPORTS: usize = 8;

/// One failure for each tangle of files of the crate that lies below `folder`.
pub(super) fn check(folder: &str, sources: &[Source]) -> Vec<String> {
    let files = Crate::new(folder, sources);
    let edges = files.edges();
    tangles(&edges)
        .into_iter()
        .map(|tangle| {
            let circle = shortest_circle(&edges, &tangle);
            let names: Vec<&str> = circle.iter().map(|&file| files.name(file)).collect();
            let others = match tangle.len() - (circle.len() - 1) {
                0 => String::new(),
                more => format!(", and {more} more files are tied to them"),
            };
            let first = &sources[circle[0]].path;
            format!("{first}:1: circle: {}{others}", names.join(" imports "))
        })
        .collect()
}

/// What a file says of the names in it.
struct File {
    /// The module that the file is, from the crate's root.
    module: Path,
    /// Names that a `use` brings in, and where from, as absolute paths.
    imported: BTreeMap<String, Path>,
    /// Modules of which everything is brought in.
    globs: Vec<Path>,
    /// What the file defines itself.
    defined: BTreeSet<String>,
    /// Every path in it, absolute, that of each `use` among them.
    paths: BTreeSet<Path>,
}

struct Crate<'a> {
    folder: &'a str,
    sources: &'a [Source],
    files: Vec<File>,
    by_module: BTreeMap<Path, usize>,
}

impl<'a> Crate<'a> {
    fn new(folder: &'a str, sources: &'a [Source]) -> Self {
        let modules: Vec<Path> = sources
            .iter()
            .map(|source| module_of(folder, &source.path))
            .collect();
        // The library's root is the root of its modules; a program's root beside it is a file of
        // its own.
        let by_module = modules.iter().cloned().zip(0..).collect();
        let children: BTreeSet<&Path> = modules.iter().collect();
        let files = sources
            .iter()
            .zip(&modules)
            .map(|(source, module)| File::new(source, module, &children))
            .collect();
        Self {
            folder,
            sources,
            files,
            by_module,
        }
    }

    fn name(&self, file: usize) -> &str {
        let path = &self.sources[file].path;
        path.strip_prefix(self.folder).unwrap_or(path)
    }

    /// The files that each file imports.
    fn edges(&self) -> Vec<BTreeSet<usize>> {
        let of_file = |(at, file): (usize, &File)| {
            let targets = file.paths.iter().filter_map(|path| self.target(path, 0));
            targets.filter(|&target| target != at).collect()
        };
        self.files.iter().enumerate().map(of_file).collect()
    }

    /// The file that defines what an absolute path names; `None` for a module and for what is not
    /// here.
    fn target(&self, path: &[String], followed: usize) -> Option<usize> {
        let depth = (0..=path.len())
            .rev()
            .find(|&depth| self.by_module.contains_key(&path[..depth]))?;
        let at = self.by_module[&path[..depth]];
        let (item, rest) = path[depth..].split_first()?;
        let file = &self.files[at];
        if item == "*" || file.defined.contains(item) || followed == REEXPORTS {
            return Some(at);
        }
        if let Some(from) = file.imported.get(item) {
            let path = [from, rest].concat();
            return self.target(&path, followed + 1);
        }
        let through = file.globs.iter().find_map(|glob| {
            let path = [glob.as_slice(), &path[depth..]].concat();
            let target = self.target(&path, followed + 1)?;
            let defined = &self.files[target].defined;
            defined.contains(item).then_some(target)
        });
        Some(through.unwrap_or(at))
    }
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are the module `a::b`.
fn module_of(folder: &str, path: &str) -> Path {
    let path = path.strip_prefix(folder).unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Path = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

impl File {
    fn new(source: &Source, module: &Path, modules: &BTreeSet<&Path>) -> Self {
        let tokens = source.without_tests();
        let mut file = Self {
            module: module.clone(),
            imported: BTreeMap::new(),
            globs: Vec::new(),
            defined: defined(&tokens),
            paths: BTreeSet::new(),
        };
        // The modules inside the file that the token is in, and the depth of braces that ends each.
        let mut inside: Vec<usize> = Vec::new();
        let mut braces = 0;
        let mut others = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let token = &tokens[at];
            if token.is_mark('{') {
                if at >= 2 && tokens[at - 2].is_word("mod") {
                    inside.push(braces);
                }
                braces += 1;
            } else if token.is_mark('}') {
                braces -= 1;
                inside.pop_if(|depth| *depth == braces);
            } else if token.is_word("use") {
                let is_door = is_public(&tokens[..at]);
                let mut written = Vec::new();
                at = tree(&tokens, at + 1, &[], &mut written);
                for (path, name) in written {
                    if let Some(path) = file.import(&path, name, inside.len(), modules)
                        && !is_door
                    {
                        file.paths.insert(path);
                    }
                }
                continue;
            } else if begins_path(&tokens, at) {
                let path = path_at(&tokens, at);
                at += 3 * path.len() - 2;
                others.push((path, inside.len()));
                continue;
            }
            at += 1;
        }
        for (path, inside) in others {
            let known = path.len() > 1 || file.imported.contains_key(&path[0]);
            if let Some(path) = file.absolute(&path, inside, modules).filter(|_| known) {
                file.paths.insert(path);
            }
        }
        file
    }

    /// Takes note of a name that a `use` brings in; its path from the crate's root.
    fn import(
        &mut self,
        path: &[String],
        name: String,
        inside: usize,
        modules: &BTreeSet<&Path>,
    ) -> Option<Path> {
        let path = self.absolute(path, inside, modules)?;
        match path.split_last() {
            Some((last, module)) if last == "*" => self.globs.push(module.to_vec()),
            _ => {
                self.imported.insert(name, path.clone());
            }
        }
        Some(path)
    }

    /// A written path from the crate's root, `None` where it leads out of the crate.
    fn absolute(&self, path: &[String], inside: usize, modules: &BTreeSet<&Path>) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let mut base = self.module.clone();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                let ups = 1 + rest.iter().take_while(|word| *word == "super").count();
                let outside = ups.saturating_sub(inside);
                base.truncate(base.len().saturating_sub(outside));
                base.extend_from_slice(&rest[ups - 1..]);
                return Some(base);
            }
            name => {
                base.push(name.to_owned());
                if !modules.contains(&base) {
                    base = self.imported.get(name)?.clone();
                }
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}

/// The names of the items in a file, wherever they stand.
fn defined(tokens: &[Token]) -> BTreeSet<String> {
    const ITEMS: [&str; 9] = [
        "struct",
        "enum",
        "fn",
        "trait",
        "const",
        "static",
        "type",
        "union",
        "macro_rules",
    ];
    let mut names = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        if ITEMS.iter().any(|item| token.is_word(item)) {
            let next = tokens[at + 1..].iter().find_map(|token| match &token.kind {
                Kind::Word(word) if word != "mut" => Some(Some(word.clone())),
                Kind::Mark('!') | Kind::Word(_) => None,
                _ => Some(None),
            });
            names.extend(next.flatten());
        }
    }
    names
}

/// Whether the tokens end in `pub` or in `pub(..)`.
fn is_public(before: &[Token]) -> bool {
    let end = match before.last() {
        Some(last) if last.is_mark(')') => before.iter().rposition(|token| token.is_mark('(')),
        _ => Some(before.len()),
    };
    let last = end.and_then(|end| before[..end].last());
    last.is_some_and(|token| token.is_word("pub"))
}

/// Whether a path begins here: a word that no `::` or `.` leads to.
fn begins_path(tokens: &[Token], at: usize) -> bool {
    let is_word = matches!(tokens[at].kind, Kind::Word(_));
    let before = at.checked_sub(1).map(|before| &tokens[before]);
    is_word && !before.is_some_and(|token| token.is_mark(':') && is_colons(tokens, at - 2))
}

fn is_colons(tokens: &[Token], at: usize) -> bool {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| token.is_mark(':'));
    colon(at) && colon(at + 1)
}

/// The words of the path that begins here.
fn path_at(tokens: &[Token], mut at: usize) -> Path {
    let mut path = Vec::new();
    while let Some(Kind::Word(word)) = tokens.get(at).map(|token| &token.kind) {
        path.push(word.clone());
        if !is_colons(tokens, at + 1) {
            break;
        }
        at += 3;
    }
    path
}

/// Reads the tree of a `use` from `at` and gives each of its paths with the name that it brings in.
/// The place behind it.
fn tree(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    out: &mut Vec<(Path, String)>,
) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(word) if word == "as" => {
                if let Some(Kind::Word(name)) = tokens.get(at + 1).map(|token| &token.kind) {
                    out.push((path.clone(), name.clone()));
                }
                return at + 2;
            }
            Kind::Word(word) if word == "self" && path.len() > before.len() => {}
            Kind::Word(word) if word == "self" && !before.is_empty() => {}
            Kind::Word(word) => path.push(word.clone()),
            Kind::Mark('*') => {
                path.push("*".into());
                out.push((path, "*".into()));
                return at + 1;
            }
            Kind::Mark('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|token| !token.is_mark('}')) {
                    at = tree(tokens, at, &path, out);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.is_mark(',')));
                }
                return at + 1;
            }
            Kind::Mark(':') => {}
            _ => break,
        }
        at += 1;
        let goes_on = tokens.get(at).is_some_and(|token| {
            token.is_mark(':') || token.is_mark('{') || token.is_mark('*') || token.is_word("as")
        }) || tokens[at - 1].is_mark(':');
        if !goes_on {
            break;
        }
    }
    if let Some(name) = path.last().cloned() {
        out.push((path, name));
    }
    at
}

/// The sets of files from each of which every other can be reached, the largest first.
fn tangles(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..edges.len()).map(|from| reach(edges, from)).collect();
    let mut found: BTreeSet<Vec<usize>> = BTreeSet::new();
    for (from, within) in reached.iter().enumerate() {
        if within.contains(&from) {
            let back = within.iter().filter(|&&to| reached[to].contains(&from));
            found.insert(back.copied().collect());
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|tangle| std::cmp::Reverse(tangle.len()));
    found
}

/// Every file that is imported from `from`, directly or through others.
fn reach(edges: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<usize> = edges[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(&edges[file]);
        }
    }
    reached
}

/// The shortest way from a file of the tangle back to it, that file first and last.
fn shortest_circle(edges: &[BTreeSet<usize>], tangle: &[usize]) -> Vec<usize> {
    let circle_from = |start: usize| {
        let mut ways = VecDeque::from([vec![start]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            for &next in &edges[*way.last()?] {
                let longer = [way.as_slice(), &[next]].concat();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next) {
                    ways.push_back(longer);
                }
            }
        }
        None
    };
    let circles = tangle.iter().filter_map(|&start| circle_from(start));
    circles.min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures_of(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| {
            Source::new(&format!("crates/a/src/{path}"), text).expect("Rust")
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        check("crates/a/src/", &sources)
    }

    #[test]
    fn files_that_import_each_other_are_a_circle() {
        let up = ("up.rs", "use crate::down::f;\npub fn g() { f() }");
        let straight = [("down.rs", "pub fn f() {}"), ("lib.rs", "mod up;"), up];
        assert!(failures_of(&straight).is_empty());
        let round = [("down.rs", "pub fn f() { super::up::g() }"), up];
        assert_eq!(
            failures_of(&round),
            ["crates/a/src/down.rs:1: circle: down.rs imports up.rs imports down.rs"]
        );
    }

    #[test]
    fn re_exports_lead_to_the_file_that_defines() {
        let named = ("lib.rs", "mod a;\nmod b;\npub use a::Thing;");
        let a = (
            "a.rs",
            "pub struct Thing;\nuse crate::b;\nfn f() { b::g() }",
        );
        let b = ("b.rs", "pub fn g() { let _ = crate::Thing; }");
        assert_eq!(
            failures_of(&[a, b, named]),
            ["crates/a/src/a.rs:1: circle: a.rs imports b.rs imports a.rs"]
        );
        let all = ("lib.rs", "mod a;\nmod b;\npub use a::*;");
        assert_eq!(failures_of(&[a, b, all]).len(), 1);
        // The root names `a`, `b` names the root: no circle, what it wants is in `a`.
        let a = ("a.rs", "pub struct Thing;");
        assert!(failures_of(&[a, b, named]).is_empty());
        assert!(failures_of(&[a, b, all]).is_empty());
    }

    #[test]
    fn a_child_that_takes_from_its_parent_is_a_circle_where_the_parent_calls_it() {
        let child = ("a/b.rs", "use super::Shape;\npub fn area(s: Shape) {}");
        let names = ("a/mod.rs", "mod b;\npub struct Shape;\npub use b::area;");
        assert!(
            failures_of(&[child, names]).is_empty(),
            "a re-export is a door"
        );
        let imports = ("a/mod.rs", "mod b;\npub struct Shape;\nuse b::area;");
        assert_eq!(failures_of(&[child, imports]).len(), 1);
        let only = ("a/mod.rs", "pub mod b;\npub struct Shape;");
        assert!(failures_of(&[child, only]).is_empty());
        let calls = (
            "a.rs",
            "mod b;\npub struct Shape;\nfn f() { b::area(Shape) }",
        );
        assert_eq!(failures_of(&[calls, child]).len(), 1);
        let inline = (
            "a.rs",
            "mod b;\npub struct Shape;\nmod c { use super::super::d::X; }",
        );
        assert!(failures_of(&[inline, child, ("d.rs", "struct X;")]).is_empty());
    }

    #[test]
    fn trees_names_and_tests_are_read_as_rust_reads_them() {
        let a = (
            "a.rs",
            "use crate::{b::{self as other, C}, d};\nfn f() { other::g(); d::h() }",
        );
        let b = (
            "b.rs",
            "pub fn g() {}\npub struct C;\n#[cfg(test)]\nmod tests { use crate::a::f; }",
        );
        let d = ("d.rs", "use std::fmt;\npub fn h() { /* crate::a::f */ }");
        assert!(failures_of(&[a, b, d]).is_empty());
        let d = ("d.rs", "pub fn h() { crate::a::f() }");
        assert_eq!(failures_of(&[a, b, d]).len(), 1);
        let three = [
            ("x.rs", "use crate::y::Y; pub struct X;"),
            ("y.rs", "use crate::z::Z; pub struct Y;"),
            ("z.rs", "use crate::x::X; use crate::y::Y; pub struct Z;"),
        ];
        assert_eq!(
            failures_of(&three),
            [
                "crates/a/src/y.rs:1: circle: y.rs imports z.rs imports y.rs, and 1 more files are \
                 tied to them"
            ]
        );
    }
}
