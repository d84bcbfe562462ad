//! What can go wrong between a file of images and a [`Dataset`](super::Dataset).
//!
//! Every message is one line that names the file and the problem, so that a user can act on it
//! without reading this code.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a data set could not be loaded, or a loader not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The data set lives in files and no folder was given.
    #[error(
        "data set `{dataset}` is read from files: name their folder (--data-dir or S3_DATA_DIR)"
    )]
    NoDirectory {
        /// Name of the data set.
        dataset: &'static str,
    },
    /// A file of the data set is in none of the places where it is looked for.
    #[error("data set `{dataset}`: no {file} in {}; {there}; {way_out}", list(.searched))]
    Missing {
        /// Name of the data set.
        dataset: &'static str,
        /// The file, or the alternatives, that would have been read.
        file: String,
        /// The folders that were searched.
        searched: Vec<PathBuf>,
        /// What is there instead.
        there: String,
        /// How it is got, and how another folder is named.
        way_out: String,
    },
    /// The operating system, gzip or tar refused to deliver the bytes.
    #[error("{}: {}", .path.display(), escaped(&.cause.to_string()))]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause, which may quote bytes of the file: control characters are escaped. The
        /// message says it, so that it is no `source`, which a chain would say again.
        cause: std::io::Error,
    },
    /// The bytes are not those of the format.
    #[error("{}: {problem}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Images and labels of one split do not pair up.
    #[error("{} holds {images} images but {} holds {labels} labels",
            .image_file.display(), .label_file.display())]
    Unpaired {
        /// The file of the images.
        image_file: PathBuf,
        /// How many images it holds.
        images: usize,
        /// The file of the labels.
        label_file: PathBuf,
        /// How many labels it holds.
        labels: usize,
    },
    /// An argument makes no sense for this data set.
    #[error("data set `{dataset}`: {problem}")]
    Argument {
        /// Name of the data set.
        dataset: String,
        /// Which argument, and why.
        problem: String,
    },
}

impl DataError {
    /// `file` is in none of the folders `searched`.
    pub(super) fn missing(
        dataset: &'static str,
        file: impl Into<String>,
        searched: &[PathBuf],
    ) -> Self {
        Self::Missing {
            dataset,
            file: file.into(),
            searched: searched.to_vec(),
            there: there(searched),
            way_out: way_out(dataset),
        }
    }

    pub(super) fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            cause,
        }
    }

    pub(super) fn malformed(path: &Path, problem: Problem) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            problem,
        }
    }

    /// What is wrong with a folder of images, or with what says its classes.
    pub(super) fn folder(path: &Path, text: impl Into<String>) -> Self {
        Self::malformed(path, Problem::Folder(text.into()))
    }

    /// Why an image's file could not be read: what is no file to read is a broken image.
    pub(super) fn image(path: &Path, cause: std::io::Error) -> Self {
        match cause.kind() {
            std::io::ErrorKind::InvalidData => {
                Self::malformed(path, Problem::image(cause.to_string()))
            }
            _ => Self::io(path, cause),
        }
    }

    /// Whether the file of one image is there and cannot be decoded: what `broken = "skip"`
    /// counts and leaves out.
    #[must_use]
    pub fn is_broken_image(&self) -> bool {
        matches!(self, Self::Malformed { problem, .. } if problem.is_of_image())
    }

    /// The same where it stops a run: of a broken image, with what leaves such images out.
    pub(super) fn stopping(self) -> Self {
        match self {
            Self::Malformed {
                path,
                problem: Problem::Image(text),
            } => {
                let text = format!("{text}; {SKIPS}");
                Self::malformed(&path, Problem::Image(text))
            }
            other => other,
        }
    }

    /// `problem` of an argument or a file of `dataset`: `data set `DATASET`: PROBLEM`.
    pub fn argument(dataset: &str, problem: impl Into<String>) -> Self {
        Self::Argument {
            dataset: dataset.to_owned(),
            problem: problem.into(),
        }
    }
}

/// What is wrong with the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends too early.
    #[error("truncated: {got} bytes where {expected} are needed")]
    Truncated {
        /// Bytes that the format asks for.
        expected: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// The file goes on after its last record.
    #[error("bytes after the end: the format asks for {expected} and there are more")]
    TrailingBytes {
        /// Bytes that the format asks for.
        expected: usize,
    },
    /// The first four bytes are those of another kind of file.
    #[error("wrong magic number: {got:#010x} instead of {expected:#010x}")]
    BadMagic {
        /// The number of the expected kind of file.
        expected: u32,
        /// The number in the file.
        got: u32,
    },
    /// The images have another size than the data set's.
    #[error("images of {got_height}x{got_width} pixels instead of {height}x{width}")]
    BadSize {
        /// Expected height in pixels.
        height: usize,
        /// Expected width in pixels.
        width: usize,
        /// Height in the header.
        got_height: usize,
        /// Width in the header.
        got_width: usize,
    },
    /// The header promises no image, or more than any data set of this format has.
    #[error("the header promises {got} items (1 to {limit} are accepted)")]
    BadCount {
        /// The largest accepted count.
        limit: usize,
        /// The count in the header.
        got: usize,
    },
    /// The file does not divide into records.
    #[error("{got} bytes are not a whole number of {record}-byte records")]
    PartialRecord {
        /// Bytes of one record.
        record: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// A label that names no class.
    #[error("label {label} of item {index} is out of range (0 to {})", .classes - 1)]
    BadLabel {
        /// Position of the label, from 0.
        index: usize,
        /// The label.
        label: i128,
        /// Number of classes.
        classes: usize,
    },
    /// A folder that is not laid out as the data set's.
    #[error("{0}")]
    Folder(String),
    /// An image that cannot be decoded.
    #[error("{0}")]
    Image(String),
    /// An array, or an archive of arrays, that is not read.
    #[error("{0}")]
    Array(String),
    /// Shards that are missing, stale or corrupted.
    #[error("{0}")]
    Shard(String),
    /// An archive without one of its members.
    #[error("the archive has no `{name}`")]
    MissingMember {
        /// Name of the member.
        name: String,
    },
}

impl Problem {
    pub(super) fn image(text: impl Into<String>) -> Self {
        Self::Image(escaped(&text.into()))
    }

    pub(super) fn array(text: impl Into<String>) -> Self {
        Self::Array(escaped(&text.into()))
    }

    pub(super) fn is_of_image(&self) -> bool {
        matches!(self, Self::Image(_))
    }
}

/// `text`, in which a reader may quote bytes of a file, as one line.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// What leaves broken images out: as a run's key, and as the flag of the command that has no key.
pub(super) const SKIPS: &str =
    "data.broken = \"skip\" (of `s3 eval`: --broken skip) leaves such pictures out";

/// How the data set is got, and how another folder is named.
pub(super) fn way_out(dataset: &str) -> String {
    let elsewhere = "--data-dir or S3_DATA_DIR names another folder";
    match dataset {
        "mnist" | "cifar10" => {
            format!("`cargo xtask data fetch {dataset}` fetches it, {elsewhere}")
        }
        _ => format!("{elsewhere}, data.folder (of a packed network: --folder) the one in it"),
    }
}

/// Names that are listed of what is in a folder.
const LISTED: usize = 8;

/// What is in the first of `folders` that is there, else in the nearest above the first.
fn there(folders: &[PathBuf]) -> String {
    let open = |folder: &Path| {
        let entries = std::fs::read_dir(folder).ok()?;
        Some((folder.display().to_string(), entries))
    };
    if let Some((folder, entries)) = folders.iter().find_map(|folder| open(folder)) {
        return holds(&folder, entries);
    }
    let above = folders.first().into_iter().flat_map(|f| f.ancestors());
    match above.skip(1).find_map(open) {
        Some((folder, entries)) => {
            format!("there is no such folder, {}", holds(&folder, entries))
        }
        None => "there is no such folder".to_owned(),
    }
}

fn holds(folder: &str, entries: std::fs::ReadDir) -> String {
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .escape_debug()
                .to_string()
        })
        .collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    match (names.is_empty(), more) {
        (true, _) => format!("{folder} is empty"),
        (false, 0) => format!("{folder} holds {}", names.join(", ")),
        (false, more) => format!("{folder} holds {} and {more} more", names.join(", ")),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn list(folders: &[PathBuf]) -> impl fmt::Display {
    let names: Vec<String> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "any folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_naming_the_file_and_the_problem() {
        let error = DataError::malformed(
            Path::new("d/labels"),
            Problem::BadLabel {
                index: 7,
                label: 10,
                classes: 10,
            },
        );
        assert_eq!(
            error.to_string(),
            "d/labels: label 10 of item 7 is out of range (0 to 9)"
        );
        let error = DataError::io(Path::new("d/x"), std::io::ErrorKind::NotFound.into());
        assert_eq!(
            format!("{:#}", anyhow::Error::from(error)),
            "d/x: entity not found"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there_and_where_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let message = |dataset| {
            let searched = [root.join("none"), root.to_owned()];
            let error = DataError::missing(dataset, "x[.gz]", &searched).to_string();
            assert_eq!(error.lines().count(), 1);
            error.replace(&root.display().to_string(), "ROOT")
        };
        assert_eq!(
            message("mnist"),
            "data set `mnist`: no x[.gz] in ROOT/none or ROOT; ROOT is empty; `cargo xtask data \
             fetch mnist` fetches it, --data-dir or S3_DATA_DIR names another folder"
        );
        for i in 0..9 {
            std::fs::write(root.join(format!("f{i}\u{1b}")), b"").unwrap();
        }
        let told = message("imagenet");
        let expected = "; ROOT holds f0\\u{1b}, f1\\u{1b}, ";
        assert!(told.contains(expected), "{told}");
        assert!(
            told.contains(", f7\\u{1b} and 1 more; --data-dir"),
            "{told}"
        );
        let above = [root.join("Pets/small")];
        let told = DataError::missing("imagenet", "x", &above).to_string();
        let told = told.replace(&root.display().to_string(), "ROOT");
        let expected = "no x in ROOT/Pets/small; there is no such folder, ROOT holds f0\\u{1b}, ";
        assert!(told.contains(expected), "{told}");
        let nowhere = DataError::missing("mnist", "x", &["no/where".into()]).to_string();
        assert!(nowhere.contains("; there is no such folder;"), "{nowhere}");
    }
}
