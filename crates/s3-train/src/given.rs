//! What stands at a path that was given, so that a command that wants something else can say what
//! it got.

use crate::files::open_regular;
use std::collections::{HashSet, VecDeque};
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
#[non_exhaustive]
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

/// What [`runs_below`] finds.
#[derive(Debug, Default)]
pub struct Below {
    /// The runs' folders, by name.
    pub runs: Vec<PathBuf>,
    /// Folders that cannot be read, the one that was asked for among them, and why.
    pub unread: Vec<(PathBuf, std::io::Error)>,
}

/// The runs in a folder and in folders of it.
///
/// A folder counts once, whatever symbolic links lead to it: by its own name where that is below
/// `folder`, else by the first link's.
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
/// assert_eq!(runs_below(dir.path()).runs, runs[..2]);
/// let none = runs_below(&dir.path().join("none"));
/// assert!(none.runs.is_empty() && none.unread[0].0.ends_with("none"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn runs_below(folder: &Path) -> Below {
    let mut walk = Walk::default();
    walk.enter(folder, 0);
    while let Some((link, depth)) = walk.links.pop_front() {
        walk.visit(link, depth);
    }
    walk.found.runs.sort();
    walk.found
}

#[derive(Default)]
struct Walk {
    found: Below,
    /// Folders that were seen, by the path without links.
    seen: HashSet<PathBuf>,
    /// Links to folders, which wait until every folder was seen by its own name; and how deep they
    /// lie.
    links: VecDeque<(PathBuf, usize)>,
}

impl Walk {
    /// Looks into `folder`, `depth` folders below the first.
    fn enter(&mut self, folder: &Path, depth: usize) {
        let (folders, links) = match folders_in(folder) {
            Ok(both) => both,
            Err(e) => return self.found.unread.push((folder.to_path_buf(), e)),
        };
        if let Ok(whole) = folder.canonicalize() {
            self.seen.insert(whole);
        }
        self.links
            .extend(links.into_iter().map(|link| (link, depth + 1)));
        for path in folders {
            self.visit(path, depth + 1);
        }
    }

    fn visit(&mut self, path: PathBuf, depth: usize) {
        if path
            .canonicalize()
            .is_ok_and(|whole| !self.seen.insert(whole))
        {
            return;
        }
        if is_run(&path) {
            self.found.runs.push(path);
        } else if depth < DEEPEST {
            self.enter(&path, depth);
        }
    }
}

/// The folders in a folder, and the links to folders, by name.
fn folders_in(folder: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    // Fails where the folder may be listed, but nothing in it be looked at.
    std::fs::metadata(folder.join("."))?;
    let (mut folders, mut links) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            folders.push(path);
        } else if kind.is_symlink() && path.is_dir() {
            links.push(path);
        }
    }
    folders.sort();
    links.sort();
    Ok((folders, links))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_run_counts_once_whatever_links_lead_to_it() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (runs, other) = (dir.path().join("runs"), dir.path().join("other"));
        for run in [&runs.join("mnist/a"), &runs.join("z"), &other.join("b")] {
            std::fs::create_dir_all(run)?;
            std::fs::write(run.join(CONFIG), "")?;
        }
        symlink(".", runs.join("loop"))?;
        symlink("..", runs.join("mnist/up"))?;
        symlink("z", runs.join("latest"))?;
        symlink("mnist", runs.join("again"))?;
        symlink(&other, runs.join("elsewhere"))?;
        symlink("elsewhere", runs.join("twice"))?;
        symlink("nowhere", runs.join("broken"))?;
        let found = runs_below(&runs);
        let names = ["elsewhere/b", "mnist/a", "z"].map(|name| runs.join(name));
        assert_eq!(found.runs, names);
        assert!(found.unread.is_empty(), "{found:?}");
        // A folder of runs may itself be given by a link; what is not below it is by a link's name.
        let again = runs.join("again");
        let names = ["a", "up/z"].map(|name| again.join(name));
        assert_eq!(runs_below(&again).runs, names);
        Ok(())
    }
}
