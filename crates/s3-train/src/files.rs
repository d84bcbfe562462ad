//! Files that appear whole or not at all, and files that are read: regular ones, no more of them
//! than asked for.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How the names of unfinished files end.
const TEMPORARY: &str = ".tmp";

/// Whether `name` is an unfinished file of [`write_atomically`], as a kill leaves it.
#[must_use]
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

/// Opens a regular file to read it. A named pipe would wait for whoever writes it, a device never
/// ends.
///
/// # Errors
/// Those of the file system; a folder, a named pipe, a socket or a device, also where a link leads
/// to one.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("x");
/// std::fs::write(&path, b"12345678")?;
/// assert_eq!(s3_train::files::open_regular(&path)?.metadata()?.len(), 8);
/// let folder = s3_train::files::open_regular(dir.path()).unwrap_err();
/// assert_eq!(folder.to_string(), "a folder, no regular file");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened: opening a pipe waits already.
    is_regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    is_regular(&file.metadata()?)?;
    Ok(file)
}

fn is_regular(about: &std::fs::Metadata) -> io::Result<()> {
    let what = match about.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        _ => "a named pipe, a socket or a device",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what}, no regular file"),
    ))
}

/// The bytes of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`]; a file that is longer, before memory is asked for.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    if len <= limit {
        bytes.try_reserve_exact(len as usize)?;
        // The file may grow meanwhile.
        file.take(limit + 1).read_to_end(&mut bytes)?;
    }
    let len = len.max(bytes.len() as u64);
    if len > limit {
        let text = format!("{len} bytes, at most {limit} are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
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

/// The same for files that belong together: all are written and synced before the first is renamed,
/// so that a full disk, a missing folder or a folder of a file's name leaves what stood there
/// before. What is left to the file system is a rename that fails after another one did not.
///
/// # Errors
/// Those of the file system, naming the file; the temporary files are removed.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<()> {
    let failed =
        |path: &Path| format!("writing {} (what stood there is unchanged)", path.display());
    let mut written = Vec::with_capacity(files.len());
    for &(path, bytes) in files {
        let file = replaced(path).and_then(|to| Ok((temporary(&to, bytes)?, to)));
        written.push((file.with_context(|| failed(path))?, path));
    }
    for ((file, to), path) in written {
        file.persist(to).with_context(|| failed(path))?;
    }
    Ok(())
}

/// What a rename may replace: `path`, or the regular file that a link there leads to. A device or a
/// pipe would be gone by it, for everybody.
fn replaced(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => {
            is_regular(&std::fs::metadata(path)?)?;
            path.canonicalize()
        }
        Ok(about) => is_regular(&about).map(|()| path.to_owned()),
        Err(_) => Ok(path.to_owned()),
    }
}

/// A temporary file beside `path`, synced, that can be renamed over it.
fn temporary(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
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
    fn what_is_no_regular_file_is_refused_without_waiting() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let message = |path: &Path| read_regular(path, 9).expect_err("no file").to_string();
        assert_eq!(message(dir.path()), "a folder, no regular file");
        assert!(read_regular(&dir.path().join("none"), 9).is_err());
        #[cfg(unix)]
        {
            let pipe = dir.path().join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
            assert!(made.success());
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&pipe, &link)?;
            for path in [&pipe, &link, Path::new("/dev/zero")] {
                let expected = "a named pipe, a socket or a device, no regular file";
                assert_eq!(message(path), expected, "{}", path.display());
            }
        }
        Ok(())
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_refused_beyond_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x");
        for len in [0, 1, 8] {
            std::fs::write(&path, vec![7; len])?;
            assert_eq!(read_regular(&path, 8)?, vec![7; len]);
        }
        // Nobody has a tebibyte of memory for a file that is all hole.
        File::create(&path)?.set_len(1 << 40)?;
        let message = read_regular(&path, 8).expect_err("too long").to_string();
        assert_eq!(message, "1099511627776 bytes, at most 8 are read");
        Ok(())
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_or_a_device_is_never_replaced_and_a_link_is_followed() -> Result<()> {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status()?;
        assert!(made.success());
        symlink(path("pipe"), path("to_pipe"))?;
        for refused in [path("pipe"), path("to_pipe"), "/dev/null".into()] {
            let error = write_atomically(&refused, b"x").expect_err("no file");
            let message = format!("{error:#}");
            assert!(message.ends_with("a device, no regular file"), "{message}");
        }
        assert!(std::fs::metadata(path("pipe"))?.file_type().is_fifo());
        // A link that leads nowhere.
        symlink(path("none"), path("dangling"))?;
        assert!(write_atomically(&path("dangling"), b"x").is_err());
        symlink(path("file"), path("link"))?;
        std::fs::write(path("file"), b"old")?;
        write_atomically(&path("link"), b"new")?;
        assert_eq!(std::fs::read(path("file"))?, b"new");
        assert!(std::fs::symlink_metadata(path("link"))?.is_symlink());
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
