//! Whose is a folder? One process writes to it at a time.

use crate::files::is_unfinished;
use anyhow::{Context, Result, bail};
use std::fs::{File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file `lock` of a folder. While this lives, no other process has the folder's lock; the
/// system drops it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of `folder` and removes the unfinished files that a kill left there.
    ///
    /// # Errors
    /// `busy`, behind the folder's name, if another process has it; a `lock` that is a link or no
    /// file; those of the file system, naming the file.
    pub fn take(folder: &Path, busy: &str) -> Result<Self> {
        let path = folder.join("lock");
        own_file(&path)?;
        // An older file keeps its bytes.
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("creating {}", path.display()))?;
        match lock_within(&file, PATIENCE) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{}: {busy}", folder.display()),
            Err(TryLockError::Error(e)) => {
                return Err(e).with_context(|| format!("locking {}", path.display()));
            }
        }
        let this = Self {
            folder: folder.to_path_buf(),
            file,
        };
        this.check()?;
        let entries = std::fs::read_dir(folder);
        let entries = entries.with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries.flatten() {
            if is_unfinished(&entry.file_name()) {
                let path = entry.path();
                std::fs::remove_file(&path)
                    .with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(this)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sees that the folder's lock is still this one: where it is not, another process may have
    /// taken its own. Asked before each file that is written there.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn check(&self) -> Result<()> {
        let path = self.folder.join("lock");
        let here = std::fs::symlink_metadata(&path).ok();
        let held = self.file.metadata().ok();
        if !here.zip(held).is_some_and(|(a, b)| is_same_file(&a, &b)) {
            bail!(
                "{}: removed or replaced while this process held it; stopped, as another may write \
                 here now",
                path.display()
            )
        }
        Ok(())
    }
}

/// Whether a process holds the lock of `folder`.
#[must_use]
pub fn is_held(folder: &Path) -> bool {
    let path = folder.join("lock");
    let file = own_file(&path).and_then(|()| Ok(File::open(&path)?));
    // A lock that is had for a moment is one that nobody holds; who takes it then waits.
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// How long a lock is waited for. A process that was killed between fork and exec of a child leaves
/// its open files to the child, which is about to close them.
const PATIENCE: Duration = Duration::from_secs(1);

fn lock_within(file: &File, patience: Duration) -> Result<(), TryLockError> {
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}

#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    a.is_file() && b.is_file()
}

/// Refuses to open what is there and no file of its folder: through a link, another file would be
/// changed.
///
/// # Errors
/// One line that names `path`.
fn own_file(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => bail!(
            "{}: a link or no regular file, which is not written to",
            path.display()
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_a_killed_process_leaves_for_a_moment_is_waited_for() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let left = Lock::take(dir.path(), "busy")?;
        let waiting = std::thread::spawn({
            let folder = dir.path().to_path_buf();
            move || Lock::take(&folder, "busy").map(drop)
        });
        drop(left);
        waiting.join().expect("no panic")
    }

    #[test]
    fn a_lock_keeps_others_out_and_unfinished_files_in_place() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(!is_held(dir.path()));
        let unfinished = dir.path().join(".x.tmp");
        let lock = Lock::take(dir.path(), "busy")?;
        std::fs::write(&unfinished, b"half")?;
        let message = Lock::take(dir.path(), "busy").expect_err("busy");
        assert_eq!(
            message.to_string(),
            format!("{}: busy", dir.path().display())
        );
        assert!(unfinished.exists());
        drop(lock);
        Lock::take(dir.path(), "busy")?;
        assert!(!unfinished.exists());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_changes_no_other_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (lock, other) = (dir.path().join("lock"), dir.path().join("precious"));
        std::fs::write(&other, b"kept")?;
        for target in [&other, &dir.path().join("nowhere")] {
            std::os::unix::fs::symlink(target, &lock)?;
            let message = Lock::take(dir.path(), "busy").expect_err("a link");
            assert!(message.to_string().contains("lock: a link"), "{message}");
            std::fs::remove_file(&lock)?;
        }
        assert_eq!(std::fs::read(&other)?, b"kept");
        assert!(!dir.path().join("nowhere").exists());
        std::fs::write(&lock, b"somebody's words")?;
        Lock::take(dir.path(), "busy")?.check()?;
        assert_eq!(std::fs::read(&lock)?, b"somebody's words");
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_gone_or_another_is_noticed() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let lock = Lock::take(dir.path(), "busy")?;
        lock.check()?;
        std::fs::remove_file(&path)?;
        let message = lock.check().expect_err("gone").to_string();
        assert!(message.contains("lock: removed or replaced"), "{message}");
        let second = Lock::take(dir.path(), "busy")?;
        second.check()?;
        lock.check().expect_err("another");
        std::fs::rename(&path, dir.path().join("moved"))?;
        std::os::unix::fs::symlink(dir.path().join("moved"), &path)?;
        second.check().expect_err("a link to it");
        Ok(())
    }
}
