//! What is in a folder, and below it: images, folders, and what is left out.
//!
//! Files with the endings that torchvision takes for images count
//! ([`ENDINGS`](super::listing::ENDINGS)), in any case; others and hidden ones do not, and a line
//! says so. Links are followed, in no circle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::listing::{LeftOut, stem};
use super::val_labels;

/// What is in a folder, sorted.
pub(super) struct Entries {
    pub(super) folders: Vec<String>,
    pub(super) images: Vec<String>,
    /// For which reasons others are left out, how many each.
    pub(super) left_out: BTreeMap<String, usize>,
}

/// What is directly in a folder.
///
/// # Errors
///
/// It cannot be read; an image that is no regular file; a name that is not UTF-8.
pub(super) fn entries(folder: &Path) -> Result<Entries, DataError> {
    let io = |source| DataError::io(folder, source);
    let (mut folders, mut images) = (Vec::new(), Vec::new());
    let mut left_out = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (name, path) = (entry.file_name(), entry.path());
        let readable = name.to_string_lossy();
        // Before anything is asked of it: a hidden link may lead nowhere.
        if readable.starts_with('.') {
            *left_out.entry("hidden".to_owned()).or_default() += 1;
            continue;
        }
        let mut kind = entry.file_type().map_err(io)?;
        if kind.is_symlink() {
            match fs::metadata(&path) {
                Ok(about) => kind = about.file_type(),
                Err(_) if stem(&readable).is_none() => {
                    *left_out
                        .entry("links that lead nowhere".to_owned())
                        .or_default() += 1;
                    continue;
                }
                Err(source) => return Err(DataError::io(&path, source)),
            }
        }
        let list = if kind.is_dir() {
            &mut folders
        } else if stem(&readable).is_none() {
            if !val_labels::is_of(&readable) {
                let ending = readable
                    .rsplit_once('.')
                    .map(|(_, e)| format!(".{}", e.escape_debug()));
                let reason = ending.unwrap_or("without an ending".to_owned());
                *left_out.entry(reason).or_default() += 1;
            }
            continue;
        } else if kind.is_file() {
            &mut images
        } else {
            let text = "a named pipe, a socket or a device, no regular file";
            return Err(DataError::folder(&path, text));
        };
        let text = || DataError::folder(&path, "a name that is not UTF-8");
        list.push(name.to_str().ok_or_else(text)?.to_owned());
    }
    folders.sort_unstable();
    images.sort_unstable();
    Ok(Entries {
        folders,
        images,
        left_out,
    })
}

/// The images below a folder, and what else there is.
#[derive(Default)]
pub(super) struct Below {
    pub(super) images: Vec<String>,
    pub(super) left_out: LeftOut,
}

/// What is below folder `within` of `root`, with paths from `root` on: its files by name, then its
/// folders'.
pub(super) fn all_below(root: &Path, within: &str) -> Result<Below, DataError> {
    let mut found = Below::default();
    walk(root, within, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn walk(
    root: &Path,
    within: &str,
    above: &mut Vec<PathBuf>,
    found: &mut Below,
) -> Result<(), DataError> {
    let folder = root.join(within);
    let here = fs::canonicalize(&folder).map_err(|source| DataError::io(&folder, source))?;
    if above.iter().any(|above| above.starts_with(&here)) {
        let link = (within.to_owned(), "link in a circle".to_owned());
        found.left_out.insert(link, 1);
        return Ok(());
    }
    let path = |name: &String| match within {
        "" => name.clone(),
        _ => format!("{within}/{name}"),
    };
    let Entries {
        folders,
        images,
        left_out,
    } = entries(&folder)?;
    found.images.extend(images.iter().map(path));
    let left_out = left_out.into_iter();
    found
        .left_out
        .extend(left_out.map(|(reason, n)| ((within.to_owned(), reason), n)));
    above.push(here);
    for folder in &folders {
        walk(root, &path(folder), above, found)?;
    }
    above.pop();
    Ok(())
}
