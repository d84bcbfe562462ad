//! What was taken of a file, left and missing, and what does not fit, in words.

use super::source::Source;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Names of one kind that a line spells out.
const NAMED: usize = 20;

/// What a network took of a file. Names are in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Whether a quantizer took a full-precision weight.
    pub has_weights: bool,
    /// Tensors that were taken, as the network calls them.
    pub taken: Vec<String>,
    /// Tensors of the file that were left: an optimizer's state, counters, the classifier's where
    /// it is fresh.
    pub left: Vec<String>,
    /// Parameters that start as in a run from scratch.
    pub missing: Vec<String>,
    /// What makes the scores, where it starts anew.
    pub fresh: Vec<String>,
    /// The file's SHA-256.
    pub sha256: String,
    /// That the file is a checkpoint without a checksum.
    pub warning: Option<String>,
}

impl Started {
    /// What a user is told, a line each.
    pub fn lines(&self, source: &Source<'_>) -> Vec<String> {
        let name = source.path.display();
        let fresh = self.fresh.join(", ");
        let head = match source.fresh_head {
            true => format!("; init_head = \"fresh\": the classifier starts anew ({fresh})"),
            false => String::new(),
        };
        let mut lines: Vec<String> = self.warning.iter().cloned().collect();
        lines.extend([
            format!("init_from {name}: taken {}", listed(&self.taken)),
            format!("init_from {name}: left {}{head}", listed(&self.left)),
            format!(
                "init_from {name}: missing, so as in a run from scratch, {}",
                listed(&self.missing)
            ),
        ]);
        lines
    }
}

/// A count, and the names or, where they are many, how many each part of the network has.
fn listed(names: &[String]) -> String {
    let mut text = names.len().to_string();
    if names.is_empty() {
        return text;
    }
    if names.len() <= NAMED {
        let _ = write!(text, ": {}", names.join(", "));
        return text;
    }
    let mut parts = BTreeMap::<&str, usize>::new();
    for name in names {
        *parts
            .entry(name.split(['.', '/']).next().unwrap_or(name))
            .or_default() += 1;
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|(part, n)| format!("{n} of {part}"))
        .collect();
    let _ = write!(text, ": {}", parts.join(", "));
    text
}

/// The first names of many, and how many more there are.
fn first_of(names: &[String]) -> String {
    let mut text = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED {
        let _ = write!(text, " and {} more", names.len() - NAMED);
    }
    text
}

/// What does not fit between a file and a network, each by its kind.
#[derive(Default)]
pub(super) struct Misfits {
    /// Another shape or type, or no finite number: the tensor and what is wrong with it.
    pub(super) wrong: BTreeMap<String, String>,
    pub(super) missing: Vec<String>,
    pub(super) strays: Vec<String>,
    /// Weights whose latents the method has instead, to which there is no map.
    pub(super) unmapped: BTreeSet<String>,
    pub(super) latents: Vec<String>,
}

impl Misfits {
    /// All in one line, always in the same order; `in_head` tells the classifier's.
    pub(super) fn into_result(self, path: &Path, in_head: impl Fn(&str) -> bool) -> Result<()> {
        let hint = match self
            .wrong
            .keys()
            .chain(&self.missing)
            .any(|name| in_head(name))
        {
            true => " (init_head = \"fresh\" starts the classifier anew)",
            false => "",
        };
        let wrong: Vec<String> = self
            .wrong
            .iter()
            .map(|(n, why)| format!("{n} {why}"))
            .collect();
        let unmapped = Vec::from_iter(self.unmapped);
        let parts = [
            (&wrong, first_of(&wrong)),
            (
                &self.missing,
                format!("no tensor {}", first_of(&self.missing)),
            ),
            (
                &self.strays,
                format!("{}: none of this network's", first_of(&self.strays)),
            ),
            (
                &unmapped,
                format!(
                    "it holds {} itself; this method has the latent {} instead, to which weights \
                     have no map",
                    first_of(&unmapped),
                    first_of(&self.latents)
                ),
            ),
        ];
        let parts = parts.into_iter().filter(|(names, _)| !names.is_empty());
        let parts: Vec<String> = parts.map(|(_, text)| text).collect();
        if !parts.is_empty() {
            bail!("init_from: {}: {}{hint}", path.display(), parts.join("; "))
        }
        Ok(())
    }
}
