//! Making shards (`shards.rs`): on all threads, one shard after the other, each whole or not at all.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::decode::{Picture, decode};
use super::error::{DataError, Problem};
use super::folder::Listing;
use super::shards::{BROKEN, CHECKSUM, FILE, HEADER, Plan, QUALITY, RAW, Split, header, read};
use super::view::with_short_side;
use crate::files::write_atomically;
use crate::lock::Lock;

/// How making shards goes on ([`make_shards`](super::imagenet::make_shards)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A picture is stored.
    Picture,
    /// So many pictures are in a shard that was there already.
    Kept(usize),
    /// A picture cannot be decoded and is left out: a line that names its file and what is wrong.
    Broken(String),
}

/// Makes `folder` and keeps other processes out of it while the lock lives.
///
/// # Errors
///
/// Another process makes shards there; those of the file system, naming the file.
pub(super) fn claim(folder: &Path) -> Result<Lock> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    Lock::take(folder, "another process makes these shards")
}

/// Makes the shards of `split` in the folder of `lock`, from the files of `listing`, and says so to
/// `tell`, from any thread. Between shards `stop` ends it.
///
/// # Errors
///
/// The first broken picture of a shard unless `skip_broken`; a lock that is gone; those of the file system,
/// naming the file.
/// The shards that are whole stay.
pub(super) fn make(
    lock: &Lock,
    split: Split,
    side: usize,
    listing: Arc<Listing>,
    skip_broken: bool,
    stop: &AtomicBool,
    tell: &(dyn Fn(Made) + Sync),
) -> Result<()> {
    let plan = Plan::new(lock.folder(), split, side, listing);
    for number in 0..plan.count() {
        if stop.load(Ordering::Relaxed) {
            bail!("stopped; the same command goes on")
        }
        let pictures = plan.pictures(number);
        if read(&plan, number).is_ok() {
            tell(Made::Kept(pictures.len()));
            continue;
        }
        let made = pictures.clone().into_par_iter().map(|index| {
            let record = record(&plan, index);
            if record.is_ok() {
                tell(Made::Picture);
            }
            record
        });
        // Collected with their errors first: of several the first of the shard is told, not the fastest.
        let made: Vec<Result<Vec<u8>, DataError>> = made.collect();
        let in_place_of = |e: DataError| match e {
            DataError::Malformed { path, problem } if skip_broken && problem.is_of_picture() => {
                tell(Made::Broken(format!("{}: {problem}", path.display())));
                Ok([&[BROKEN], problem.to_string().as_bytes()].concat())
            }
            e => Err(e),
        };
        let records = made.into_iter().map(|made| made.or_else(in_place_of));
        let records: Vec<Vec<u8>> = records.collect::<Result<_, _>>()?;
        let mut bytes = header(&plan, &pictures);
        let mut end = HEADER + 8 * records.len();
        for record in &records {
            end += record.len();
            bytes.extend((end as u64).to_le_bytes());
        }
        bytes.reserve_exact(end + CHECKSUM - bytes.len());
        records.iter().for_each(|record| bytes.extend(record));
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        lock.check()?;
        write_atomically(&plan.shard(number), &bytes)?;
    }
    lock.check()?;
    remove_surplus(&plan)?;
    write_atomically(&plan.manifest(), plan.manifest_text().as_bytes())
}

/// Removes the shards behind the last one: the split was larger once.
fn remove_surplus(plan: &Plan) -> Result<()> {
    let entries = fs::read_dir(&plan.folder);
    let entries = entries.with_context(|| format!("reading {}", plan.folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let number = stem.and_then(|stem| stem.rsplit_once('-')?.1.parse().ok());
        if number.is_some_and(|n| n >= plan.count() && plan.shard(n) == path) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The record of picture `index`.
fn record(plan: &Plan, index: usize) -> Result<Vec<u8>, DataError> {
    let path = plan.listing.path(index);
    let of = |problem| DataError::malformed(&path, problem);
    let file = fs::read(&path).map_err(|source| DataError::io(&path, source))?;
    let picture = decode(&file).map_err(of)?;
    if plan.split == Split::Train && picture.width.min(picture.height) <= plan.side {
        return Ok([&[FILE], &file[..]].concat());
    }
    let Picture { width, height, rgb } = with_short_side(picture, plan.side).map_err(of)?;
    let (w, h) = (width as u32, height as u32);
    if plan.split == Split::Val {
        return Ok([&[RAW], &w.to_le_bytes()[..], &h.to_le_bytes(), &rgb].concat());
    }
    let mut out = vec![FILE];
    JpegEncoder::new_with_quality(&mut out, QUALITY)
        .encode(&rgb, w, h, ExtendedColorType::Rgb8)
        .map_err(|e| of(Problem::picture(format!("cannot be written as JPEG: {e}"))))?;
    Ok(out)
}
