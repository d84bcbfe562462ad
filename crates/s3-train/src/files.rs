//! Files that appear whole or not at all.

use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;

/// How the names of unfinished files end.
const TEMPORARY: &str = ".tmp";

/// Whether `name` is an unfinished file of [`write_atomically`], as a kill leaves it.
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

/// Writes `path` through a temporary file in its folder, which is synced and then renamed over it:
/// a reader, a crash or a full disk never sees half of a file, and what stood there before stays
/// until the new one is whole.
///
/// # Errors
/// Those of the file system, naming `path`; the temporary file is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(TEMPORARY);
        // Readable by whom the umask allows, as any other new file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {} (what stood there is unchanged)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
