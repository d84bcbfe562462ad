//! How a data set is fetched, and made whole.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

use crate::data::{cifar, mnist};

use super::set::DataSet;
use super::verify::{self, CHECKSUMS, State};
use super::{download, hash};

/// Makes a data set whole in the data folder.
///
/// # Errors
/// One line: no source answers, a checksum is wrong, or files that are there are damaged (they
/// are never overwritten).
pub(super) fn fetch(set: DataSet, folder: &Path, mirror: Option<&str>) -> Result<()> {
    match set {
        DataSet::Mnist => fetch_mnist(folder, mirror)?,
        DataSet::Cifar10 => fetch_cifar10(folder, mirror)?,
    }
    match verify::one(set, folder)? {
        State::Damaged(reason) => bail!("{}: {reason}", set.name()),
        state => say!("{:8} {state}", set.name()),
    }
    Ok(())
}

fn fetch_mnist(folder: &Path, mirror: Option<&str>) -> Result<()> {
    let agent = download::agent();
    let folder = folder.join(DataSet::Mnist.folder());
    for file in &mnist::FILES {
        let packed = format!("{}.gz", file.name);
        let to = folder.join(&packed);
        if !to.exists() && !folder.join(file.name).exists() {
            say!("fetching {packed}");
            let sources = download::sources(mirror, mnist::SOURCES, &packed);
            download::fetch(&agent, &sources, file.packed, &to)?;
        }
    }
    Ok(())
}

fn fetch_cifar10(folder: &Path, mirror: Option<&str>) -> Result<()> {
    let to = folder.join(DataSet::Cifar10.folder());
    if to.exists() {
        return Ok(());
    }
    let archive = folder.join(cifar::ARCHIVE);
    if !archive.exists() || hash::of_file(&archive)? != cifar::ARCHIVE_MD5 {
        say!("fetching {} (162 MB)", cifar::ARCHIVE);
        let sources = download::sources(mirror, cifar::SOURCES, cifar::ARCHIVE);
        download::fetch(&download::agent(), &sources, cifar::ARCHIVE_MD5, &archive)?;
    }
    unpack_cifar10(&archive, &to)?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

/// Unpacks the files of the archive into a folder that appears when all of them are there.
pub(super) fn unpack_cifar10(archive: &Path, to: &Path) -> Result<()> {
    let unpacking = || format!("cannot unpack {}", archive.display());
    let parent = to.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let mut names = Vec::new();
    let file = File::open(archive).with_context(unpacking)?;
    for entry in tar::Archive::new(GzDecoder::new(file))
        .entries()
        .with_context(unpacking)?
    {
        let mut entry = entry.with_context(unpacking)?;
        let path = entry.path().with_context(unpacking)?.into_owned();
        // Only plain files of the known folder, by their last name: no path can lead elsewhere.
        let is_known = path.parent() == Some(Path::new(DataSet::Cifar10.folder()));
        if let (true, true, Some(name)) = (
            entry.header().entry_type().is_file(),
            is_known,
            path.file_name(),
        ) {
            entry
                .unpack(new.path().join(name))
                .with_context(unpacking)?;
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    if let Some(missing) = cifar::FILES
        .iter()
        .find(|name| !names.iter().any(|n| n == *name))
    {
        bail!("{} holds no {missing}", archive.display());
    }
    let mut sums = String::new();
    for name in &names {
        sums += &format!("{}  {name}\n", hash::of_file(&new.path().join(name))?);
    }
    let writing = || format!("cannot write {}", to.display());
    fs::write(new.path().join(CHECKSUMS), sums).with_context(writing)?;
    make_readable(new.path()).with_context(writing)?;
    fs::rename(new.path(), to).with_context(writing)?;
    // The folder has its name now; there is nothing left to clean up.
    let _ = new.keep();
    Ok(())
}

/// A temporary folder is private; a data folder is like any other.
#[cfg(unix)]
fn make_readable(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
