//! The folders of data and runs: flags, the environment, what a run says.

use crate::run::RunFolder;
use crate::terminal::note;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where data and runs are.
#[derive(Args, Clone)]
pub(super) struct Folders {
    /// Folder of the data sets' files [default: the one of the run that is resumed, where it is
    /// still there, else $S3_DATA_DIR, else data].
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder in which run folders are made.
    #[arg(long, default_value = "runs")]
    pub(super) out: PathBuf,
}

/// The flag; else the folder that the run `run` was trained on; else as [`data_dir`], which is
/// said.
pub(super) fn data_dir_of(run: &Path, flag: Option<&PathBuf>) -> PathBuf {
    let (folder, gone) = find_data_dir(run, flag);
    note(gone);
    folder
}

/// The same, with what is to be said where the folder is read.
pub(super) fn find_data_dir(run: &Path, flag: Option<&PathBuf>) -> (PathBuf, Option<String>) {
    let kept = || RunFolder::open(run).ok()?.data_dir();
    let kept = flag.is_none().then(kept).flatten();
    match kept {
        None => (data_dir(flag), None),
        Some(kept) if kept.is_dir() => (kept, None),
        Some(gone) => {
            let other = data_dir(None);
            let text = format!(
                "{}: the data folder {} of this run is gone, {} stands in (--data-dir names \
                 another)",
                run.display(),
                gone.display(),
                other.display()
            );
            (other, Some(text))
        }
    }
}

/// The flag, else the environment (an empty variable is none), else `data`.
pub(super) fn data_dir(flag: Option<&PathBuf>) -> PathBuf {
    let environment = || std::env::var_os("S3_DATA_DIR").filter(|v| !v.is_empty());
    flag.cloned()
        .or_else(|| environment().map(PathBuf::from))
        .unwrap_or_else(|| "data".into())
}
