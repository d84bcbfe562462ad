//! A split's images in few large files, so that an epoch opens few files and reads each of them
//! whole.
//!
//! Training takes the shards in random order, [`TOGETHER`] at a time, and mixes the images of
//! those; evaluation takes one after the other.
//!
//! An image of the training split is stored with its short side shrunk to what evaluation resizes
//! to (256 for 224), as JPEG of quality 92 without chroma subsampling, or as its file's own bytes
//! where that side is not larger. One of `val` is stored as evaluation resizes it, without loss: a
//! network sees the same bytes of it with shards and without.
//!
//! The image files stay needed: labels and order come from listing them, and so does the stamp
//! that tells stale shards from those that are up to date.
//!
//! Shards are stale if names, sizes, classes or contents of the files are others; when the files
//! were written does not matter by itself, so that a copied folder is as good as the first. A file
//! whose time is the one in the shard's table counts as unchanged. Of the others the contents are
//! compared with the hashes in the table: all by `s3 shards`, which then writes the new times down,
//! and 1024 of each split when a run starts, evenly over it. A start after `cp -r` reads no
//! more than that; a few edited files are all compared.
//!
//! ```text
//! FOLDER.shards-<side>/<split>-00000.shard ..   2048 images each (val: 256), in the split's
//!                                               order
//! FOLDER.shards-<side>/<split>.json             written last: what the shards were made from
//! FOLDER.shards-<side>/lock                     empty, held by the process that makes them
//!
//! a shard, little endian:
//!   8 bytes   "S3SHARD2"
//!   32 bytes  stamp: SHA-256 of the files' names, sizes and classes, and of this format
//!   8 bytes   number of the first image
//!   4 bytes   number of images, n
//!   n x 32    of each image: where its record ends, from the start of the file (8); when its
//!             file was last written, in nanoseconds since 1970 (8); the first half of its file's
//!             SHA-256 (16)
//!   records   1 byte kind, then  0: what is wrong with the image (UTF-8)
//!                                1: width and height (4 bytes each), RGB
//!                                2: the file of an image
//!   4 bytes   CRC-32 of everything before
//! ```
//!
//! A shard appears whole or not at all, and one that is whole and up to date is not written again:
//! a full disk or a kill loses the shard under way. Opening looks at the start and the length of
//! every shard; reading loads one whole and checks its checksum once. A few are kept.

mod read;
pub(super) mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode;
use super::error::DataError;
use super::listing::{Listing, stamp_text};

pub(super) use read::{KEPT, Shards};

const MAGIC: &[u8; 8] = b"S3SHARD2";
/// Bytes of an image in the table.
pub(super) const ENTRY: usize = 8 + 8 + size_of::<Digest16>();
pub(super) const HEADER: usize = 8 + 32 + 8 + 4;
pub(super) const CHECKSUM: usize = 4;
pub(super) const QUALITY: u8 = 92;
/// Shards that are shuffled together, and read at about the same time.
pub(super) const TOGETHER: usize = 4;

pub(super) const BROKEN: u8 = 0;
pub(super) const RAW: u8 = 1;
pub(super) const FILE: u8 = 2;

/// Which split, which decides how its images are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Train,
    Val,
}

impl Split {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }

    const fn images_each(self) -> usize {
        match self {
            Self::Train => 2048,
            Self::Val => 256,
        }
    }
}

/// Where the shards of a split are and what they must be made from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) split: Split,
    pub(super) each: usize,
    pub(super) side: usize,
    pub(super) listing: Arc<Listing>,
    pub(super) stamp: [u8; 32],
}

impl Plan {
    pub(super) fn new(folder: &Path, split: Split, side: usize, listing: Arc<Listing>) -> Self {
        let each = split.images_each();
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update([QUALITY]);
        for number in [each, side] {
            hash.update((number as u64).to_le_bytes());
        }
        hash.update(listing.stamp());
        Self {
            folder: folder.to_owned(),
            split,
            each,
            side,
            listing,
            stamp: hash.finalize().into(),
        }
    }

    pub(super) fn shard(&self, number: usize) -> PathBuf {
        let split = self.split.as_str();
        self.folder.join(format!("{split}-{number:05}.shard"))
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.split.as_str()))
    }

    pub(super) fn manifest_text(&self) -> String {
        let value = serde_json::json!({
            "format": 2,
            "pictures": self.listing.files.len(),
            "short_side": self.side,
            "stamp": stamp_text(&self.stamp),
        });
        format!("{value:#}\n")
    }

    /// The images of shard `number`.
    pub(super) fn images(&self, number: usize) -> std::ops::Range<usize> {
        let first = number * self.each;
        first..(first + self.each).min(self.listing.files.len())
    }

    pub(super) fn count(&self) -> usize {
        self.listing.files.len().div_ceil(self.each)
    }

    /// The images of shard `number` whose files have other times than in its table, with the
    /// hashes there.
    pub(super) fn moved(&self, number: usize, start: &[u8]) -> Vec<(usize, Digest16)> {
        let table = start[HEADER..].as_chunks::<ENTRY>().0.iter();
        let of_file = |(index, entry): (usize, &[u8; ENTRY])| {
            let time = u64::from_le_bytes(*entry[8..].first_chunk()?);
            let hash = entry[16..].first_chunk().copied()?;
            (time != self.listing.files[index].modified).then_some((index, hash))
        };
        self.images(number).zip(table).filter_map(of_file).collect()
    }

    /// The first of these images whose file has another hash.
    pub(super) fn changed(&self, files: &[(usize, Digest16)]) -> Result<Option<usize>, DataError> {
        let is_other = |&(index, hash): &(usize, Digest16)| {
            let path = self.listing.path(index);
            let now = match decode::read(&path).map_err(|e| DataError::image(&path, e)) {
                Ok(file) => digest(&file),
                Err(e) if e.is_broken_image() => UNREADABLE,
                Err(e) => return Err(e),
            };
            Ok((now != hash).then_some(index))
        };
        let changed: Vec<_> = files.par_iter().map(is_other).collect();
        changed.into_iter().find_map(Result::transpose).transpose()
    }
}

/// The first half of a file's SHA-256.
pub(super) type Digest16 = [u8; 16];
/// That of what is no file to read.
pub(super) const UNREADABLE: Digest16 = [0; 16];

pub(super) fn digest(file: &[u8]) -> Digest16 {
    let sum = Sha256::digest(file);
    std::array::from_fn(|at| sum[at])
}

/// The start of a shard of these images.
pub(super) fn header(plan: &Plan, images: &std::ops::Range<usize>) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(plan.stamp);
    header.extend((images.start as u64).to_le_bytes());
    header.extend((images.len() as u32).to_le_bytes());
    header
}
