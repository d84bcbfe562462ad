//! What stands at a path that was given, so that a command that wants something else can say what
//! it got.

use crate::files::open_regular;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A word that the metadata of a checkpoint has, and of no other file.
const CHECKPOINT: &[u8] = b"\"s3.checkpoint\"";
/// The same of a packed network.
const PACKED: &[u8] = b"\"s3-packed\"";

/// Bytes of a file's start that hold these words: safetensors writes the metadata first.
const START: u64 = 4096;

/// The file that makes a folder a run's.
pub(crate) const CONFIG: &str = "config.toml";

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing that can be seen.
    Nothing,
    /// A run's folder.
    Run,
    /// Another folder.
    Folder,
    /// A checkpoint, and the run that it lies in.
    Checkpoint(Option<PathBuf>),
    /// A packed network.
    Packed,
    /// An experiment's file, by its ending.
    Experiment,
    /// A named pipe, a socket or a device.
    Endless,
    /// Anything else.
    Other,
}

impl Given {
    /// Looks at `path`: at the first bytes of a file, and at what a folder holds.
    ///
    /// ```
    /// use s3_train::given::Given;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// assert_eq!(Given::at(&dir.path().join("x")), Given::Nothing);
    /// assert_eq!(Given::at(dir.path()), Given::Folder);
    /// std::fs::write(dir.path().join("config.toml"), "")?;
    /// assert_eq!(Given::at(dir.path()), Given::Run);
    /// assert_eq!(Given::at(&dir.path().join("config.toml")), Given::Experiment);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let Ok(about) = std::fs::metadata(path) else {
            return Self::Nothing;
        };
        if about.is_dir() {
            return match is_run(path) {
                true => Self::Run,
                false => Self::Folder,
            };
        }
        if !about.is_file() {
            return Self::Endless;
        }
        let mut start = Vec::new();
        let read = open_regular(path).and_then(|file| file.take(START).read_to_end(&mut start));
        let has = |word: &[u8]| start.windows(word.len()).any(|part| part == word);
        if read.is_ok() && has(CHECKPOINT) {
            let run = path.parent().filter(|run| is_run(run));
            return Self::Checkpoint(run.map(Path::to_path_buf));
        }
        if read.is_ok() && has(PACKED) {
            return Self::Packed;
        }
        match path.extension().is_some_and(|ending| ending == "toml") {
            true => Self::Experiment,
            false => Self::Other,
        }
    }

    /// In words: `a checkpoint of the run runs/x`.
    #[must_use]
    pub fn words(&self) -> String {
        let words = match self {
            Self::Nothing => "nothing is there",
            Self::Run => "a run's folder",
            Self::Folder => "a folder",
            Self::Checkpoint(Some(run)) => {
                return format!("a checkpoint of the run {}", run.display());
            }
            Self::Checkpoint(None) => "a checkpoint",
            Self::Packed => "a packed network",
            Self::Experiment => "an experiment's file",
            Self::Endless => "a named pipe, a socket or a device",
            Self::Other => "a file",
        };
        words.to_owned()
    }
}

/// Whether a folder is a run's.
pub(crate) fn is_run(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Folders between that of all runs and that of one: an experiment's name has two parts.
const DEEPEST: usize = 2;

/// The runs in a folder and in folders of it, by name.
///
/// ```
/// use s3_train::given::runs_below;
///
/// # let dir = tempfile::tempdir()?;
/// let runs = ["b", "mnist/a", "x/y/too-deep"].map(|name| dir.path().join(name));
/// for run in &runs {
///     std::fs::create_dir_all(run)?;
///     std::fs::write(run.join("config.toml"), "")?;
/// }
/// assert_eq!(runs_below(dir.path()), runs[..2]);
/// assert!(runs_below(&dir.path().join("none")).is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn runs_below(folder: &Path) -> Vec<PathBuf> {
    let mut runs = Vec::new();
    collect(folder, DEEPEST, &mut runs);
    runs
}

fn collect(folder: &Path, deep: usize, runs: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    for path in folders {
        if is_run(&path) {
            runs.push(path);
        } else if deep > 1 {
            collect(&path, deep - 1, runs);
        }
    }
}
