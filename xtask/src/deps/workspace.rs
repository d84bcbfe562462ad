//! What the rules need of `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The members and what depends on what.
pub(crate) struct Workspace {
    /// The members.
    pub(crate) members: Vec<Package>,
    /// Names: a package, and one that it links (tests aside), direct arrows only.
    pub(crate) edges: BTreeSet<(String, String)>,
}

/// A member of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Path of its manifest, from the root of the workspace.
    pub(crate) manifest: String,
    /// Paths of its library's and its binaries' root files, from the root of the workspace.
    pub(crate) roots: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A line of a manifest's dependency tables.
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) optional: bool,
    pub(crate) for_tests: bool,
}

impl Workspace {
    /// Reads the output of `cargo metadata --format-version 1`.
    pub(crate) fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = text(&metadata["workspace_root"])?;
        let packages = list(&metadata["packages"])?;
        let members = list(&metadata["workspace_members"])?;
        let mut names = BTreeMap::new();
        let mut found = Vec::new();
        for package in packages {
            names.insert(text(&package["id"])?, text(&package["name"])?);
            if members.contains(&package["id"]) {
                found.push(member(package, root)?);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            members: found,
            edges: edges(&metadata["resolve"], &names)?,
        })
    }

    /// The shortest chain of arrows from a package to one that is wanted.
    pub(crate) fn path_to(&self, from: &str, wanted: impl Fn(&str) -> bool) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut paths = VecDeque::from([vec![from.to_owned()]]);
        while let Some(path) = paths.pop_front() {
            let last = path.last()?;
            if wanted(last) {
                return Some(path);
            }
            for (_, next) in self.edges.iter().filter(|(package, _)| package == last) {
                if seen.insert(next.clone()) {
                    paths.push_back([&path[..], std::slice::from_ref(next)].concat());
                }
            }
        }
        None
    }
}

fn member(package: &Value, root: &str) -> Result<Package> {
    let from_root = |path: &Value| -> Result<String> {
        let path = Path::new(text(path)?);
        Ok(path
            .strip_prefix(root)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/"))
    };
    let mut roots = Vec::new();
    for target in list(&package["targets"])? {
        if list(&target["kind"])?
            .iter()
            .any(|kind| kind == "lib" || kind == "bin")
        {
            roots.push(from_root(&target["src_path"])?);
        }
    }
    let mut dependencies = Vec::new();
    for dependency in list(&package["dependencies"])? {
        dependencies.push(Dependency {
            name: text(&dependency["name"])?.to_owned(),
            optional: dependency["optional"] == true,
            for_tests: dependency["kind"] == "dev",
        });
    }
    Ok(Package {
        name: text(&package["name"])?.to_owned(),
        manifest: from_root(&package["manifest_path"])?,
        roots,
        dependencies,
    })
}

fn edges(resolve: &Value, names: &BTreeMap<&str, &str>) -> Result<BTreeSet<(String, String)>> {
    let name_of = |id: &Value| -> Result<String> {
        let id = text(id)?;
        Ok((*names
            .get(id)
            .with_context(|| format!("cargo metadata: no package {id}"))?)
        .to_owned())
    };
    let mut edges = BTreeSet::new();
    for node in list(&resolve["nodes"])? {
        for dependency in list(&node["deps"])? {
            // A null kind is a normal dependency; build scripts count too.
            if list(&dependency["dep_kinds"])?
                .iter()
                .any(|kind| kind["kind"] != "dev")
            {
                edges.insert((name_of(&node["id"])?, name_of(&dependency["pkg"])?));
            }
        }
    }
    Ok(edges)
}

fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .with_context(|| format!("cargo metadata: expected a string, got {value}"))
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("cargo metadata: expected a list, got {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_a_small_workspace() {
        let metadata = serde_json::json!({
            "workspace_root": "/w",
            "workspace_members": ["a 1"],
            "packages": [
                {"id": "a 1", "name": "a", "manifest_path": "/w/crates/a/Cargo.toml",
                 "targets": [{"kind": ["lib"], "src_path": "/w/crates/a/src/lib.rs"},
                             {"kind": ["test"], "src_path": "/w/crates/a/tests/t.rs"}],
                 "dependencies": [{"name": "b", "optional": true, "kind": null},
                                  {"name": "c", "optional": false, "kind": "dev"}]},
                {"id": "b 2", "name": "b"}, {"id": "c 3", "name": "c"},
            ],
            "resolve": {"nodes": [
                {"id": "a 1", "deps": [{"pkg": "b 2", "dep_kinds": [{"kind": null}]},
                                       {"pkg": "c 3", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "b 2", "deps": []}, {"id": "c 3", "deps": []},
            ]},
        });
        let workspace = Workspace::from_metadata(&metadata).expect("reads");
        let [a] = &workspace.members[..] else {
            panic!("one member")
        };
        assert_eq!(
            (a.name.as_str(), a.manifest.as_str()),
            ("a", "crates/a/Cargo.toml")
        );
        assert_eq!(a.roots, ["crates/a/src/lib.rs"]);
        let flags: Vec<_> = a
            .dependencies
            .iter()
            .map(|d| (d.optional, d.for_tests))
            .collect();
        assert_eq!(flags, [(true, false), (false, true)]);
        assert_eq!(
            workspace.path_to("a", |n| n == "b"),
            Some(vec!["a".into(), "b".into()])
        );
        assert_eq!(workspace.path_to("a", |n| n == "c"), None);
    }
}
