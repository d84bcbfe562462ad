//! The rule `link`: what a page of text links to, and every page below `docs/` that it names, is
//! there.
//!
//! Links are `](path)`, `src="path"` and `srcset="path"`, from the page's folder; a page is named
//! as `docs/NAME.md`, from the root. Addresses with a scheme, and places within a page, are left
//! alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::files::read;

/// What a link begins with, and the character that it ends at.
const LINKS: [(&str, char); 3] = [("](", ')'), (" src=\"", '"'), (" srcset=\"", '"')];
/// Folders of others' text, of what is built and of what is trained.
const LEFT_OUT: [&str; 5] = ["target", "data", "runs", "node_modules", "shared"];

/// Every link of every page of the repository that leads nowhere.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for page in pages(root)? {
        let text = read(root, &page)?;
        failures.extend(dead(&page, &text, |path| root.join(path).exists()));
    }
    Ok(failures)
}

/// What `page` names and `exists` does not know.
fn dead(page: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut failures = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let linked = linked(text).map(|path| resolved(folder, path));
        for path in linked.chain(named(text).map(str::to_owned)) {
            if !exists(&path) {
                failures.push(format!("{page}:{line}: link: there is no {path}"));
            }
        }
    }
    failures
}

/// The paths that a line links to.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    let after = |(begin, end): (&'static str, char)| {
        let links = text.split(begin).skip(1);
        links.filter_map(move |rest| Some(rest.split_once(end)?.0))
    };
    let paths = LINKS.into_iter().flat_map(after);
    let paths = paths.map(|link| link.split_once('#').map_or(link, |(path, _)| path));
    paths.filter(|path| !path.is_empty() && !path.contains(':'))
}

/// The pages below `docs/` that a line names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words = text.split(move |c| !is_part(c));
    let words = words.map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.starts_with("docs/") && word.ends_with(".md"))
}

/// `path` from the root, where `folder` is that of the page.
fn resolved(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every `.md` file below the root, links aside, in the order of their paths.
fn pages(root: &Path) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let listing = || format!("cannot list {folder}");
        for entry in fs::read_dir(root.join(&folder)).with_context(listing)? {
            let entry = entry.with_context(listing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = resolved(&folder, &name);
            let kind = entry.file_type().with_context(listing)?;
            if kind.is_file() && name.ends_with(".md") {
                pages.push(path);
            } else if kind.is_dir() && !name.starts_with('.') && !LEFT_OUT.contains(&name.as_str())
            {
                folders.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_names_of_pages_are_followed_from_where_they_stand() {
        let text = "[a](b.md#c), [d](../e/), [f](https://g.h/i.md), [j](#k)\n\
                    <img alt=\"l\" src=\"m.svg\">, see docs/n.md: docs/{o,p}.md and docs/q/r.md.";
        let there = ["docs/x/b.md", "docs/e", "docs/n.md"];
        let failures = dead("docs/x/y.md", text, |path| there.contains(&path));
        assert_eq!(
            failures,
            [
                "docs/x/y.md:2: link: there is no docs/x/m.svg",
                "docs/x/y.md:2: link: there is no docs/q/r.md",
            ]
        );
    }
}
