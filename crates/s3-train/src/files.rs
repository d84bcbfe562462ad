//! Files that appear whole or not at all.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// How the names of unfinished files end.
const TEMPORARY: &str = ".tmp";

/// Whether `name` is an unfinished file of [`write_atomically`], as a kill leaves it.
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

/// Takes the lock of `folder`, the file `lock` in it, and removes the unfinished files that a kill left
/// there. The system drops the lock with the process, however that ends.
///
/// # Errors
/// `busy`, behind the folder's name, if another process has it; those of the file system, naming the file.
pub fn lock_folder(folder: &Path, busy: &str) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("{}: {busy}", folder.display()),
        Err(TryLockError::Error(e)) => {
            return Err(e).with_context(|| format!("locking {}", path.display()));
        }
    }
    let entries = std::fs::read_dir(folder);
    let entries = entries.with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries.flatten() {
        if is_unfinished(&entry.file_name()) {
            let path = entry.path();
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(file)
}

/// Writes `path` through a temporary file in its folder, which is synced and then renamed over it:
/// a reader, a crash or a full disk never sees half of a file, and what stood there before stays
/// until the new one is whole.
///
/// # Errors
/// Those of the file system, naming `path`; the temporary file is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_together(&[(path, bytes)])
}

/// The same for files that belong together: all are written and synced before the first is renamed, so
/// that a full disk, a missing folder or a folder of a file's name leaves what stood there before. What
/// is left to the file system is a rename that fails after another one did not.
///
/// # Errors
/// Those of the file system, naming the file; the temporary files are removed.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<()> {
    let failed =
        |path: &Path| format!("writing {} (what stood there is unchanged)", path.display());
    let mut written = Vec::with_capacity(files.len());
    for &(path, bytes) in files {
        written.push(temporary(path, bytes).with_context(|| failed(path))?);
    }
    for (file, &(path, _)) in written.into_iter().zip(files) {
        file.persist(path).with_context(|| failed(path))?;
    }
    Ok(())
}

/// A temporary file beside `path`, synced, that can be renamed over it.
fn temporary(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    if path.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(TEMPORARY);
    // Readable by whom the umask allows, as any other new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_keeps_others_out_and_unfinished_files_in_place() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let unfinished = dir.path().join(".x.tmp");
        let lock = lock_folder(dir.path(), "busy")?;
        std::fs::write(&unfinished, b"half")?;
        let message = lock_folder(dir.path(), "busy").expect_err("busy");
        assert_eq!(
            message.to_string(),
            format!("{}: busy", dir.path().display())
        );
        assert!(unfinished.exists());
        drop(lock);
        lock_folder(dir.path(), "busy")?;
        assert!(!unfinished.exists());
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x");
        write_atomically(&path, b"old")?;
        write_atomically(&path, b"new")?;
        assert_eq!(std::fs::read(&path)?, b"new");
        let missing = dir.path().join("no/such/folder");
        let message = format!(
            "{:#}",
            write_atomically(&missing, b"x").expect_err("no folder")
        );
        assert!(message.contains("no/such/folder"), "{message}");
        assert_eq!(
            std::fs::read_dir(dir.path())?.count(),
            1,
            "no temporary file stays"
        );
        Ok(())
    }

    #[test]
    fn files_that_belong_together_are_all_written_or_none() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        let (header, source) = (path("n.h"), path("n.c"));
        write_together(&[(&header, b"old"), (&source, b"old")])?;
        std::fs::create_dir(path("folder.c"))?;
        for refused in [path("folder.c"), path("no/such/folder.c")] {
            let error = write_together(&[(&header, b"new"), (&refused, b"new")]);
            let message = format!("{:#}", error.expect_err("no file"));
            assert!(message.contains("folder.c"), "{message}");
            assert_eq!(std::fs::read(&header)?, b"old");
        }
        let left = std::fs::read_dir(dir.path())?.count();
        assert_eq!(left, 3, "no temporary file stays");
        write_together(&[(&header, b"new"), (&source, b"new")])?;
        for file in [header, source] {
            assert_eq!(std::fs::read(file)?, b"new");
        }
        Ok(())
    }
}
