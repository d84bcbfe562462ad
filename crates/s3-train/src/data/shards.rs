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
//! and [`COMPARED`] of each split when a run starts, evenly over it. A start after `cp -r` reads no
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

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::{self, RgbImage, decode};
use super::error::{DataError, Problem};
use super::listing::{Listing, stamp_text};
use crate::files::{open_regular, read_regular};

const MAGIC: &[u8; 8] = b"S3SHARD2";
/// Bytes of an image in the table.
pub(super) const ENTRY: usize = 8 + 8 + size_of::<Digest16>();
/// Files of a split whose contents are compared when shards are opened and the times are others.
const COMPARED: usize = 1024;
pub(super) const HEADER: usize = 8 + 32 + 8 + 4;
pub(super) const CHECKSUM: usize = 4;
pub(super) const QUALITY: u8 = 92;
/// Shards that are shuffled together, and read at about the same time.
pub(super) const TOGETHER: usize = 4;
/// No shard may be longer, whatever its table says.
const MAX_BYTES: u64 = 1 << 34;
/// Nor what was written of all of them.
const MAX_MANIFEST: u64 = 1 << 20;
/// Shards that are kept in memory.
pub(super) const KEPT: usize = 2 * TOGETHER;

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

/// The shards of a split, read when they are needed.
#[derive(Debug)]
pub(super) struct Shards {
    plan: Plan,
    /// The last used is the last.
    kept: Mutex<Vec<(usize, Arc<Slot>)>>,
}

/// A shard that one thread reads while others wait.
type Slot = OnceLock<Result<Shard, String>>;

#[derive(Debug)]
pub(super) struct Shard {
    bytes: Vec<u8>,
    count: usize,
}

impl Shards {
    /// The shards of `split` in `folder`, made from the files of `listing`.
    ///
    /// # Errors
    ///
    /// There are none, or not all, or not all of their bytes, or they were made from other files.
    pub(super) fn open(
        folder: &Path,
        split: Split,
        side: usize,
        listing: Arc<Listing>,
    ) -> Result<Self, DataError> {
        let plan = Plan::new(folder, split, side, listing);
        let manifest = plan.manifest();
        let wanted = plan.manifest_text();
        let text = match read_regular(&manifest, MAX_MANIFEST) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let text = "no shards here yet: `s3 shards EXPERIMENT` makes them";
                return Err(wrong(&manifest, text));
            }
            other => other.map_err(|source| DataError::io(&manifest, source))?,
        };
        if text != wanted.as_bytes() {
            let root = plan.listing.root.display();
            let text = format!(
                "the shards are stale, {root} holds other files now: `s3 shards EXPERIMENT` makes \
                 them again"
            );
            return Err(wrong(&manifest, text));
        }
        let mut moved = Vec::new();
        for number in 0..plan.count() {
            let table = glance(&plan, number).map_err(|text| wrong(&plan.shard(number), text))?;
            moved.extend(plan.moved(number, &table));
        }
        let step = moved.len().div_ceil(COMPARED).max(1);
        let compared: Vec<_> = moved.into_iter().step_by(step).collect();
        if let Some(index) = plan.changed(&compared)? {
            let path = plan.listing.path(index);
            let text = format!(
                "the shards are stale, {} is another picture now: `s3 shards EXPERIMENT` makes \
                 them again",
                path.display()
            );
            return Err(wrong(&manifest, text));
        }
        Ok(Self {
            plan,
            kept: Mutex::default(),
        })
    }

    pub(super) fn images_each(&self) -> usize {
        self.plan.each
    }

    /// Image `index` of the split.
    pub(super) fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let number = index / self.plan.each;
        let slot = self.slot(number);
        let read = || read(&self.plan, number);
        let shard = match slot.get_or_init(read) {
            Ok(shard) => shard,
            Err(text) => return Err(wrong(&self.plan.shard(number), text.as_str())),
        };
        let record = shard.record(index - number * self.plan.each);
        let of = |problem| DataError::malformed(&self.plan.listing.path(index), problem);
        match record {
            Some([BROKEN, text @ ..]) => Err(of(Problem::image(String::from_utf8_lossy(text)))),
            Some([RAW, raw @ ..]) => raw_image(raw).ok_or_else(|| self.damaged(number)),
            Some([FILE, file @ ..]) => decode(file).map_err(of),
            _ => Err(self.damaged(number)),
        }
    }

    fn damaged(&self, number: usize) -> DataError {
        wrong(&self.plan.shard(number), CORRUPTED)
    }

    fn slot(&self, number: usize) -> Arc<Slot> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match kept.iter().position(|(n, _)| *n == number) {
            Some(at) => kept.remove(at).1,
            None => Arc::default(),
        };
        kept.push((number, Arc::clone(&slot)));
        if kept.len() > KEPT {
            kept.remove(0);
        }
        slot
    }
}

const CORRUPTED: &str = "a corrupted shard: `s3 shards EXPERIMENT` makes it again";
const MISSING: &str = "a missing shard: `s3 shards EXPERIMENT` makes it again";
const STALE: &str = "a stale shard, made from other files: `s3 shards EXPERIMENT` makes it again";

fn wrong(path: &Path, text: impl Into<String>) -> DataError {
    DataError::malformed(path, Problem::Shard(text.into()))
}

fn raw_image(bytes: &[u8]) -> Option<RgbImage> {
    let number = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let (width, height) = (number(0)?, number(4)?);
    let rgb = bytes[8..].to_vec();
    let fits = rgb.len() == 3 * width * height && !rgb.is_empty();
    fits.then_some(RgbImage { width, height, rgb })
}

/// Reads a shard and checks it; the error says what is wrong with it.
pub(super) fn read(plan: &Plan, number: usize) -> Result<Shard, String> {
    let bytes = read_regular(&plan.shard(number), MAX_BYTES).map_err(unreadable)?;
    check_start(plan, number, &bytes, bytes.len())?;
    let body = bytes.split_last_chunk::<CHECKSUM>();
    let is_whole =
        body.is_some_and(|(body, sum)| crc32fast::hash(body) == u32::from_le_bytes(*sum));
    let count = plan.images(number).len();
    is_whole
        .then_some(Shard { bytes, count })
        .ok_or(CORRUPTED.to_owned())
}

/// What is wrong with the start or the length of a shard.
fn glance(plan: &Plan, number: usize) -> Result<Vec<u8>, String> {
    let file = open_regular(&plan.shard(number)).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    let start = (HEADER + ENTRY * plan.images(number).len()) as u64;
    let mut bytes = Vec::new();
    file.take(start)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    check_start(plan, number, &bytes, usize::try_from(len).unwrap_or(0))?;
    Ok(bytes)
}

fn unreadable(e: std::io::Error) -> String {
    match e.kind() {
        ErrorKind::NotFound => MISSING.to_owned(),
        _ => e.to_string(),
    }
}

/// Checks the header and the table at the start of a shard of `len` bytes.
fn check_start(plan: &Plan, number: usize, start: &[u8], len: usize) -> Result<(), &'static str> {
    let images = plan.images(number);
    if !start.starts_with(&header(plan, &images)) {
        let is_shard = start.len() >= HEADER && start.starts_with(MAGIC);
        return Err(if is_shard { STALE } else { CORRUPTED });
    }
    match end_of(start, images.len() - 1) {
        Some(end) if Some(len) == end.checked_add(CHECKSUM) => Ok(()),
        _ => Err(CORRUPTED),
    }
}

/// Where record `at` of a shard ends, by the table at its start.
fn end_of(shard: &[u8], at: usize) -> Option<usize> {
    let word = shard.get(HEADER + ENTRY * at..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*word)).ok()
}

pub(super) fn header(plan: &Plan, images: &std::ops::Range<usize>) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(plan.stamp);
    header.extend((images.start as u64).to_le_bytes());
    header.extend((images.len() as u32).to_le_bytes());
    header
}

impl Shard {
    /// The bytes of its file with the times that its images' files have now.
    pub(super) fn with_times_of(mut self, plan: &Plan, number: usize) -> Vec<u8> {
        let table = &mut self.bytes[HEADER..HEADER + ENTRY * self.count];
        for (index, entry) in plan.images(number).zip(table.as_chunks_mut::<ENTRY>().0) {
            let time = plan.listing.files[index].modified.to_le_bytes();
            entry[8..16].copy_from_slice(&time);
        }
        let body = self.bytes.len() - CHECKSUM;
        let sum = crc32fast::hash(&self.bytes[..body]);
        self.bytes[body..].copy_from_slice(&sum.to_le_bytes());
        self.bytes
    }

    /// Its file up to the end of the table.
    pub(super) fn start(&self) -> &[u8] {
        &self.bytes[..HEADER + ENTRY * self.count]
    }

    /// The bytes of record `at`.
    fn record(&self, at: usize) -> Option<&[u8]> {
        let start = match at.checked_sub(1) {
            Some(before) => end_of(&self.bytes, before)?,
            None => HEADER + ENTRY * self.count,
        };
        self.bytes.get(start..end_of(&self.bytes, at)?)
    }
}
