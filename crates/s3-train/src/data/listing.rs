//! The files of a split: which images, of which class, in which order.
//!
//! The order is a fixed shuffle of the sorted paths: a prefix (`train_limit`), a suffix
//! (`validation_images`) and a shard are then fair samples of all classes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::error::DataError;
use super::random::{below, keyed_rng};
use crate::digest::hex;

/// torchvision's `IMG_EXTENSIONS`.
pub(super) const ENDINGS: [&str; 9] = [
    "jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp",
];

/// Folders of which is told what was left out.
const TOLD: usize = 5;

/// How many files, or folders, were left out: of a folder below the split's, and for a reason.
pub(super) type LeftOut = BTreeMap<(String, String), usize>;

/// An image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path below the split's folder, with `/`.
    pub(super) path: String,
    /// Its class.
    pub(super) label: u16,
    /// Its bytes.
    size: u64,
    /// When it was last written, in nanoseconds since 1970; 0 where the file system does not say.
    pub(super) modified: u64,
}

/// The files of a split, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// The split's folder.
    pub(super) root: PathBuf,
    pub(super) files: Vec<File>,
    left_out: LeftOut,
}

impl Listing {
    /// Where file `index` is.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.files[index].path)
    }

    /// Names and sizes of the files in `range`.
    pub(super) fn identify(&self, range: std::ops::Range<usize>, hash: &mut Sha256) {
        for file in &self.files[range] {
            hash.update(file.path.as_bytes());
            hash.update([0]);
            hash.update(file.size.to_le_bytes());
        }
    }

    /// What was left out and why, by folder; `None` if nothing was.
    pub(super) fn left_out(&self) -> Option<String> {
        let mut folders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((folder, reason), count) in &self.left_out {
            let of_folder = folders.entry(folder).or_default();
            of_folder.push(format!("{count} {reason}"));
        }
        let sum: usize = self.left_out.values().sum();
        let told = folders.iter().take(TOLD).map(|(folder, reasons)| {
            let folder = if folder.is_empty() { "." } else { folder };
            format!("{} in {}", reasons.join(", "), folder.escape_debug())
        });
        let mut told: Vec<String> = told.collect();
        if folders.len() > TOLD {
            told.push(format!("and {} more folders", folders.len() - TOLD));
        }
        (sum > 0).then(|| format!("{sum} left out: {}", told.join("; ")))
    }

    /// SHA-256 of the order, and of name, size and class of every file.
    pub(super) fn stamp(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.identify(0..self.files.len(), &mut hash);
        for file in &self.files {
            hash.update(file.label.to_le_bytes());
        }
        hash.finalize().into()
    }
}

/// The files in the split's order; they come in that of their paths.
pub(super) fn listing(root: PathBuf, mut files: Vec<File>, left_out: LeftOut) -> Listing {
    let mut rng = keyed_rng(*b"listing.", 0, 0, 0);
    for last in (1..files.len()).rev() {
        files.swap(last, below(&mut rng, last + 1));
    }
    Listing {
        root,
        files,
        left_out,
    }
}

/// The image file at `path` below `root`.
pub(super) fn file(root: &Path, path: String, label: u16) -> Result<File, DataError> {
    let whole = root.join(&path);
    let about = fs::metadata(&whole).map_err(|source| DataError::io(&whole, source))?;
    let modified = about.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(File {
        path,
        label,
        size: about.len(),
        modified: since.map_or(0, |since| since.as_nanos() as u64),
    })
}

/// A listing's stamp as a manifest has it.
pub(super) fn stamp_text(stamp: &[u8; 32]) -> String {
    hex(stamp)
}

/// The name of an image without its ending; `None` of what is no image.
pub(super) fn stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    let is_image = ENDINGS.iter().any(|e| ending.eq_ignore_ascii_case(e));
    is_image.then_some(stem)
}
