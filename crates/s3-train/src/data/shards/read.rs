//! Reading shards: looked at when they are opened, read whole and checked when an image of theirs
//! is asked for.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::super::decode::{RgbImage, decode};
use super::super::error::{DataError, Problem};
use super::super::listing::Listing;
use super::{BROKEN, CHECKSUM, ENTRY, FILE, HEADER, MAGIC, Plan, RAW, Split, TOGETHER, header};
use crate::files::{open_regular, read_regular};

/// Files of a split whose contents are compared when shards are opened and the times are others.
const COMPARED: usize = 1024;
/// No shard may be longer, whatever its table says.
const MAX_BYTES: u64 = 1 << 34;
/// Nor what was written of all of them.
const MAX_MANIFEST: u64 = 1 << 20;
/// Shards that are kept in memory.
pub(in super::super) const KEPT: usize = 2 * TOGETHER;

/// The shards of a split, read when they are needed.
#[derive(Debug)]
pub(in super::super) struct Shards {
    plan: Plan,
    /// The last used is the last.
    kept: Mutex<Vec<(usize, Arc<Slot>)>>,
}

/// A shard that one thread reads while others wait.
type Slot = OnceLock<Result<Shard, String>>;

#[derive(Debug)]
pub(in super::super) struct Shard {
    bytes: Vec<u8>,
    count: usize,
}

impl Shards {
    /// The shards of `split` in `folder`, made from the files of `listing`.
    ///
    /// # Errors
    ///
    /// There are none, or not all, or not all of their bytes, or they were made from other files.
    pub(in super::super) fn open(
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

    pub(in super::super) fn images_each(&self) -> usize {
        self.plan.each
    }

    /// Image `index` of the split.
    pub(in super::super) fn image(&self, index: usize) -> Result<RgbImage, DataError> {
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
pub(in super::super) fn read(plan: &Plan, number: usize) -> Result<Shard, String> {
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

impl Shard {
    /// The bytes of its file with the times that its images' files have now.
    pub(in super::super) fn with_times_of(mut self, plan: &Plan, number: usize) -> Vec<u8> {
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
    pub(in super::super) fn start(&self) -> &[u8] {
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
