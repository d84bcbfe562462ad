//! What are the classes called, and does each label name one?

use std::path::{Path, PathBuf};

use super::super::error::{DataError, Problem};
use super::super::npy::{Array, MAX_TEXT};
use crate::files::read_regular;

/// Labels are `u16`.
const MAX_CLASSES: usize = 1 << 16;
/// Bytes that `classes.txt` may have.
const MAX_NAMES: u64 = 1 << 24;

/// What the classes are called: by `classes.txt`, by the arrays `classes` that there are, or by
/// their numbers.
pub(super) fn class_names(
    folder: &Path,
    y: &Path,
    labels: &Array,
    arrays: &[&Option<(PathBuf, Vec<String>)>],
) -> Result<Vec<String>, DataError> {
    let file = folder.join("classes.txt");
    let mut said = Vec::new();
    if file.exists() {
        let bytes = read_regular(&file, MAX_NAMES).map_err(|cause| DataError::io(&file, cause))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            DataError::malformed(
                &file,
                Problem::array("not UTF-8, a name a line is expected"),
            )
        })?;
        let names = text.lines().map(|line| line.trim().to_owned()).collect();
        said.push((file, names));
    }
    said.extend(arrays.iter().copied().flatten().cloned());
    let Some((path, names)) = said.first() else {
        let of_y = |problem| DataError::malformed(y, problem);
        let most = labels.integers().map_err(of_y)?.max().unwrap_or(0).max(0);
        let classes = usize::try_from(most).map_or(MAX_CLASSES, |most| most.saturating_add(1));
        let classes = classes.min(MAX_CLASSES);
        return Ok((0..classes).map(|class| class.to_string()).collect());
    };
    if let Some((other, _)) = said.iter().find(|(_, others)| others != names) {
        let text = format!("other classes than {} names", path.display());
        return Err(DataError::malformed(other, Problem::array(text)));
    }
    check_count(names.len()).map_err(|problem| DataError::malformed(path, problem))?;
    let is_bad = |name: &String| name.is_empty() || name.contains(char::is_control);
    if let Some(class) = names.iter().position(is_bad) {
        let text = format!("the name of class {class} is empty or holds control characters");
        return Err(DataError::malformed(path, Problem::array(text)));
    }
    // No array has a longer one.
    match names.iter().position(|name| name.len() > MAX_TEXT) {
        Some(class) => {
            let bytes = names[class].len();
            let text =
                format!("the name of class {class} has {bytes} bytes, at most {MAX_TEXT} are read");
            Err(DataError::malformed(path, Problem::array(text)))
        }
        None => Ok(names.clone()),
    }
}

/// Refuses more classes than labels can name, or none.
pub(super) fn check_count(classes: usize) -> Result<(), Problem> {
    if (1..=MAX_CLASSES).contains(&classes) {
        return Ok(());
    }
    let text = format!("{classes} classes, expected 1 to {MAX_CLASSES}");
    Err(Problem::array(text))
}

/// `labels`, each of which names one of `classes` classes.
pub(super) fn checked(labels: &Array, classes: usize) -> Result<Vec<u16>, Problem> {
    let one = |(index, label): (usize, i128)| {
        let is_known = usize::try_from(label).is_ok_and(|label| label < classes);
        let known = u16::try_from(label).ok().filter(|_| is_known);
        known.ok_or(Problem::BadLabel {
            index,
            label,
            classes,
        })
    };
    labels.integers()?.enumerate().map(one).collect()
}
