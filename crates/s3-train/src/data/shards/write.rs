//! Making shards: on all threads, one shard after the other, each whole or not at
//! all.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::super::crop::with_short_side;
use super::super::decode::{self, RgbImage, decode};
use super::super::error::{DataError, Problem};
use super::super::listing::Listing;
use super::read::read;
use super::{
    BROKEN, CHECKSUM, Digest16, ENTRY, FILE, HEADER, Plan, QUALITY, RAW, Split, UNREADABLE, digest,
    header,
};
use crate::files::write_atomically;
use crate::lock::Lock;

/// How making shards goes on ([`make_shards`](super::super::imagenet::make_shards)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Made {
    /// An image is stored.
    Image,
    /// So many images are in a shard that was there already.
    Kept(usize),
    /// An image cannot be decoded and is left out: a line that names its file and what is wrong.
    Broken(String),
}

/// Makes `folder` and keeps other processes out of it while the lock lives.
///
/// # Errors
///
/// Another process makes shards there; those of the file system, naming the file.
pub(in super::super) fn claim(folder: &Path) -> Result<Lock> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    Lock::take(folder, "another process makes these shards")
}

/// Makes the shards of `split` in the folder of `lock`, from the files of `listing`, and says so to
/// `tell`, from any thread. Between shards `stop` ends it.
///
/// # Errors
///
/// The first broken image of a shard unless `skip_broken`; a lock that is gone; those of the file
/// system, naming the file. The shards that are whole stay.
pub(in super::super) fn make(
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
        let images = plan.images(number);
        if is_kept(&plan, number)? {
            tell(Made::Kept(images.len()));
            continue;
        }
        let made = images.clone().into_par_iter().map(|index| {
            let (hash, record) = record(&plan, index);
            if record.is_ok() {
                tell(Made::Image);
            }
            (hash, record)
        });
        // Collected with their errors first: of several the first of the shard is told, not the
        // fastest.
        let made: Vec<(Digest16, Result<Vec<u8>, DataError>)> = made.collect();
        let in_place_of = |e: DataError| match e {
            DataError::Malformed { path, problem } if skip_broken && problem.is_of_image() => {
                tell(Made::Broken(format!("{}: {problem}", path.display())));
                Ok([&[BROKEN], problem.to_string().as_bytes()].concat())
            }
            e => Err(e.stopping()),
        };
        let whole = |(hash, made): (Digest16, Result<_, _>)| Ok((hash, made.or_else(in_place_of)?));
        let records = made.into_iter().map(whole);
        let records: Vec<(Digest16, Vec<u8>)> = records.collect::<Result<_, DataError>>()?;
        let mut bytes = header(&plan, &images);
        let mut end = HEADER + ENTRY * records.len();
        for ((hash, record), index) in records.iter().zip(images) {
            end += record.len();
            bytes.extend((end as u64).to_le_bytes());
            bytes.extend(plan.listing.files[index].modified.to_le_bytes());
            bytes.extend(hash);
        }
        bytes.reserve_exact(end + CHECKSUM - bytes.len());
        records.iter().for_each(|(_, record)| bytes.extend(record));
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

/// Whether shard `number` is there, whole, and of the files' contents; if only their times are
/// others, those are written down, and the next start need not compare.
fn is_kept(plan: &Plan, number: usize) -> Result<bool> {
    let Ok(shard) = read(plan, number) else {
        return Ok(false);
    };
    let moved = plan.moved(number, shard.start());
    if plan.changed(&moved)?.is_some() {
        return Ok(false);
    }
    if !moved.is_empty() {
        write_atomically(&plan.shard(number), &shard.with_times_of(plan, number))?;
    }
    Ok(true)
}

/// The hash of image `index`, and its record.
fn record(plan: &Plan, index: usize) -> (Digest16, Result<Vec<u8>, DataError>) {
    let path = plan.listing.path(index);
    match decode::read(&path) {
        Ok(file) => (digest(&file), stored(plan, &path, &file)),
        Err(e) => (UNREADABLE, Err(DataError::image(&path, e))),
    }
}

fn stored(plan: &Plan, path: &Path, file: &[u8]) -> Result<Vec<u8>, DataError> {
    let of = |problem| DataError::malformed(path, problem);
    let image = decode(file).map_err(of)?;
    if plan.split == Split::Train && image.width.min(image.height) <= plan.side {
        return Ok([&[FILE], file].concat());
    }
    let RgbImage { width, height, rgb } = with_short_side(image, plan.side).map_err(of)?;
    let (w, h) = (width as u32, height as u32);
    if plan.split == Split::Val {
        return Ok([&[RAW], &w.to_le_bytes()[..], &h.to_le_bytes(), &rgb].concat());
    }
    let mut out = vec![FILE];
    JpegEncoder::new_with_quality(&mut out, QUALITY)
        .encode(&rgb, w, h, ExtendedColorType::Rgb8)
        .map_err(|e| of(Problem::image(format!("cannot be written as JPEG: {e}"))))?;
    Ok(out)
}
