//! Making shards ([`shards`](super::shards)): on all threads, one shard after the other, each whole or not at
//! all.

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
use crate::files::{is_unfinished, write_atomically};

/// How making shards goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// A picture is stored.
    Picture,
    /// So many pictures are in a shard that was there already.
    Kept(usize),
    /// A picture could not be read; it is counted and skipped.
    Broken,
}

/// Makes the shards of `split` in `folder` from the files of `listing`, and says so to `tell`, from any
/// thread. Between shards `stop` ends it.
///
/// # Errors
///
/// A broken picture unless `skip_broken`; those of the file system, naming the file. The shards
/// that are whole stay.
pub(super) fn make(
    folder: &Path,
    split: Split,
    side: usize,
    listing: Arc<Listing>,
    skip_broken: bool,
    stop: &AtomicBool,
    tell: &(dyn Fn(Made) + Sync),
) -> Result<()> {
    let plan = Plan::new(folder, split, side, listing);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    remove_unfinished(folder)?;
    for number in 0..plan.count() {
        if stop.load(Ordering::Relaxed) {
            bail!("stopped; the same command goes on")
        }
        let pictures = plan.pictures(number);
        if read(&plan, number).is_ok() {
            tell(Made::Kept(pictures.len()));
            continue;
        }
        let record = |index: usize| match record(&plan, index) {
            Ok(record) => {
                tell(Made::Picture);
                Ok(record)
            }
            Err(e) if skip_broken && e.is_broken_picture() => {
                tell(Made::Broken);
                let DataError::Malformed { problem, .. } = e else {
                    return Err(e);
                };
                Ok([&[BROKEN], problem.to_string().as_bytes()].concat())
            }
            Err(e) => Err(e),
        };
        let records = pictures.clone().into_par_iter().map(record);
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
        write_atomically(&plan.shard(number), &bytes)?;
    }
    write_atomically(&plan.manifest(), plan.manifest_text().as_bytes())
}

/// What a kill left.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if is_unfinished(&entry.file_name()) {
            let path = entry.path();
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
