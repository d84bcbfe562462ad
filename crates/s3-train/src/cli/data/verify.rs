//! Whether the data sets in a folder are there, whole, and the official ones.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::data::{cifar, mnist};
use clap::ValueEnum as _;

use super::hash;
use super::set::DataSet;

/// What is written beside the files of CIFAR-10 when the official archive is unpacked:
/// the MD5 and the name of each, as `md5sum` writes them.
pub(super) const CHECKSUMS: &str = "MD5SUMS";

/// What is in the folder of a data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Absent {
        /// The data set.
        set: DataSet,
    },
    /// All files, with the checksums of the official ones.
    Official {
        /// Where.
        folder: PathBuf,
    },
    /// All files, with the right sizes and labels, but no official checksum to compare with.
    Whole {
        /// Where.
        folder: PathBuf,
    },
    /// A file is missing, cut short or wrong; says which.
    Damaged(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { set } => {
                write!(f, "absent (cargo xtask data fetch {})", set.name())
            }
            Self::Official { folder } => write!(f, "ok: checksums match ({})", folder.display()),
            Self::Whole { folder } => write!(
                f,
                "whole: sizes and labels are right, but the bytes are not known to be the official \
                 ones ({})",
                folder.display()
            ),
            Self::Damaged(reason) => write!(f, "DAMAGED: {reason}"),
        }
    }
}

/// The state of every data set.
pub(super) fn all(folder: &Path) -> Result<Vec<(DataSet, State)>> {
    DataSet::value_variants()
        .iter()
        .map(|&set| Ok((set, one(set, folder)?)))
        .collect()
}

/// The state of one data set; as for training, its files may also be in the data folder itself.
pub(super) fn one(set: DataSet, folder: &Path) -> Result<State> {
    let names: Vec<String> = match set {
        DataSet::Mnist => mnist::FILES
            .iter()
            .flat_map(|f| [f.name.to_owned(), format!("{}.gz", f.name)])
            .collect(),
        DataSet::Cifar10 => cifar::FILES.map(str::to_owned).to_vec(),
    };
    let candidates = [folder.join(set.folder()), folder.to_owned()];
    let Some(folder) = candidates
        .into_iter()
        .find(|c| names.iter().any(|name| c.join(name).exists()))
    else {
        return Ok(State::Absent { set });
    };
    match set {
        DataSet::Mnist => mnist(folder),
        DataSet::Cifar10 => cifar10(folder),
    }
}

fn mnist(folder: PathBuf) -> Result<State> {
    for file in &mnist::FILES {
        let plain = folder.join(file.name);
        let packed = folder.join(format!("{}.gz", file.name));
        let (path, got) = if packed.exists() {
            let got = hash::of_gzip(&packed);
            (packed, got)
        } else if plain.exists() {
            let got = hash::of_file(&plain);
            (plain, got)
        } else {
            return Ok(State::Damaged(format!("{} is missing", packed.display())));
        };
        match got {
            Err(error) => return Ok(State::Damaged(format!("{error:#}"))),
            Ok(got) if got != file.unpacked => {
                return Ok(State::Damaged(format!(
                    "{}: the MD5 of its content is {got}, expected {}",
                    path.display(),
                    file.unpacked
                )));
            }
            Ok(_) => {}
        }
    }
    Ok(State::Official { folder })
}

/// Bytes of a file of CIFAR-10.
const CIFAR10_LENGTH: u64 = (cifar::RECORDS * cifar::RECORD) as u64;

fn cifar10(folder: PathBuf) -> Result<State> {
    for name in cifar::FILES {
        let path = folder.join(name);
        let Ok(metadata) = fs::metadata(&path) else {
            return Ok(State::Damaged(format!("{} is missing", path.display())));
        };
        if metadata.len() != CIFAR10_LENGTH {
            let got = metadata.len();
            return Ok(State::Damaged(format!(
                "{} has {got} bytes, expected {CIFAR10_LENGTH}",
                path.display()
            )));
        }
        if let Some((record, label)) = strange_label(&path)? {
            return Ok(State::Damaged(format!(
                "{}: the label of record {record} is {label}, expected 0 to 9",
                path.display()
            )));
        }
    }
    let Ok(sums) = fs::read_to_string(folder.join(CHECKSUMS)) else {
        return Ok(State::Whole { folder });
    };
    for name in cifar::FILES {
        let path = folder.join(name);
        let listed = sums
            .lines()
            .find_map(|line| line.strip_suffix(name)?.split_whitespace().next());
        let got = hash::of_file(&path)?;
        if listed != Some(got.as_str()) {
            return Ok(State::Damaged(format!(
                "{}: its MD5 is {got}, {CHECKSUMS} says {}",
                path.display(),
                listed.unwrap_or("nothing")
            )));
        }
    }
    Ok(State::Official { folder })
}

/// The first record whose label is not a class, and the label.
fn strange_label(path: &Path) -> Result<Option<(u64, u8)>> {
    let reading = || format!("cannot read {}", path.display());
    let mut reader = BufReader::new(File::open(path).with_context(reading)?);
    let mut record = vec![0; cifar::RECORD];
    for index in 0..cifar::RECORDS as u64 {
        reader.read_exact(&mut record).with_context(reading)?;
        if record[0] > 9 {
            return Ok(Some((index, record[0])));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::fetch::unpack_cifar10;
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    /// An archive laid out as the official one, of images that are all black.
    fn archive_in(folder: &Path) -> PathBuf {
        let path = folder.join("cifar.tar.gz");
        let file = File::create(&path).expect("makes the archive");
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        let batch = vec![0u8; CIFAR10_LENGTH as usize];
        let html = "readme.html";
        for (name, bytes) in cifar::FILES
            .iter()
            .map(|n| (*n, &batch[..]))
            .chain([(html, &b"hi"[..])])
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            let inside = format!("cifar-10-batches-bin/{name}");
            archive
                .append_data(&mut header, inside, bytes)
                .expect("appends");
        }
        archive
            .into_inner()
            .and_then(GzEncoder::finish)
            .expect("finishes");
        path
    }

    #[test]
    fn an_empty_folder_has_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        for (set, state) in all(folder.path()).expect("looks") {
            assert_eq!(state, State::Absent { set });
        }
    }

    #[test]
    fn an_unpacked_archive_is_official_until_a_byte_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("cifar-10-batches-bin");
        unpack_cifar10(&archive_in(folder.path()), &to).expect("unpacks");
        let state = || one(DataSet::Cifar10, folder.path()).expect("looks");
        assert_eq!(state(), State::Official { folder: to.clone() });
        assert!(to.join("readme.html").exists());
        assert_eq!(
            fs::read_dir(folder.path()).expect("lists").count(),
            2,
            "no folder left over"
        );

        let batch = to.join("data_batch_3.bin");
        let mut bytes = fs::read(&batch).expect("reads");
        bytes[5] ^= 1;
        fs::write(&batch, &bytes).expect("writes");
        assert!(matches!(state(), State::Damaged(reason) if reason.contains("MD5SUMS says")));
        fs::remove_file(to.join(CHECKSUMS)).expect("removes");
        assert_eq!(state(), State::Whole { folder: to.clone() });

        bytes[3073] = 10;
        fs::write(&batch, &bytes).expect("writes");
        assert!(matches!(state(), State::Damaged(reason) if reason.contains("record 1 is 10")));
        fs::write(&batch, &bytes[1..]).expect("writes");
        assert!(matches!(state(), State::Damaged(reason) if reason.contains("30729999 bytes")));
        fs::remove_file(&batch).expect("removes");
        assert!(matches!(state(), State::Damaged(reason) if reason.ends_with("is missing")));
    }

    #[test]
    fn an_archive_without_a_batch_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("empty.tar.gz");
        let file = File::create(&path).expect("makes the archive");
        let archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        archive
            .into_inner()
            .and_then(GzEncoder::finish)
            .expect("finishes");
        let to = folder.path().join("out");
        let error = unpack_cifar10(&path, &to).expect_err("empty").to_string();
        assert!(error.ends_with("holds no data_batch_1.bin"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
    }

    #[test]
    fn mnist_that_is_not_mnist_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("train-images-idx3-ubyte.gz");
        let state = || one(DataSet::Mnist, folder.path()).expect("looks");
        fs::write(&path, "not gzip").expect("writes");
        assert!(matches!(state(), State::Damaged(reason) if reason.starts_with("cannot unpack")));
        let file = File::create(&path).expect("makes the file");
        GzEncoder::new(file, Compression::fast())
            .finish()
            .expect("finishes");
        let State::Damaged(reason) = state() else {
            panic!("an empty file is not MNIST")
        };
        assert!(
            reason.contains("is d41d8cd98f00b204e9800998ecf8427e, expected 6bbc9"),
            "{reason}"
        );
    }
}
