//! Images that do not fit into memory: read, decoded and cut whenever one is asked for.
//!
//! They come from the files of a folder or from its shards (`shards/`); both decode and cut by
//! the same code. Asking is a function of its arguments and needs no lock, so any number of threads
//! may ask.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::crop::{View, Window, centre, side_of, through};
use super::decode::{self, RgbImage, decode};
use super::error::DataError;
use super::listing::Listing;
use super::shards::{KEPT, Shards};

/// The images of a split, or a range of them; a clone shares them.
///
/// ```
/// use s3_train::data::{self, DataConfig, DataName, Images, crop::View};
///
/// # let dir = tempfile::tempdir()?;
/// # for split in ["train", "val"] {
/// #     let class = dir.path().join("pets").join(split).join("cat");
/// #     std::fs::create_dir_all(&class)?;
/// #     image::RgbImage::from_pixel(40, 30, image::Rgb([9, 8, 7])).save(class.join("0.png"))?;
/// # }
/// // A data folder with pets/train/cat/0.png and pets/val/cat/0.png.
/// let mut config = DataConfig::of(DataName::Imagenet);
/// config.folder = Some("pets".to_owned());
/// config.size = Some(16);
/// let train = data::load(&config, Some(dir.path()))?.train;
/// let Images::Files(images) = &train.images else {
///     panic!("pictures are not kept in memory")
/// };
/// assert_eq!((images.len(), images.shards()), (1, 0));
/// assert!(images.path(0).ends_with("pets/train/cat/0.png"));
/// assert_eq!(images.view(0, View::Centre)?, [9, 8, 7].repeat(16 * 16));
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageFiles {
    all: Arc<All>,
    range: Range<usize>,
}

#[derive(Debug)]
struct All {
    listing: Arc<Listing>,
    shards: Option<Shards>,
    size: usize,
    skip_broken: bool,
}

impl ImageFiles {
    pub(super) fn new(
        listing: Arc<Listing>,
        shards: Option<Shards>,
        size: usize,
        skip_broken: bool,
    ) -> Self {
        let range = 0..listing.files.len();
        let all = All {
            listing,
            shards,
            size,
            skip_broken,
        };
        Self {
            all: Arc::new(all),
            range,
        }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Number of images that were found in the split's folder.
    pub(super) fn found(&self) -> usize {
        self.all.listing.files.len()
    }

    /// What was left out of the folder and why.
    pub(super) fn left_out(&self) -> Option<String> {
        self.all.listing.left_out()
    }

    /// Whether one that cannot be decoded is left out of its batch, instead of stopping the run.
    #[must_use]
    pub fn skips_broken(&self) -> bool {
        self.all.skip_broken
    }

    /// The file of image `index`.
    ///
    /// # Panics
    ///
    /// If `index >= self.len()`.
    #[must_use]
    pub fn path(&self, index: usize) -> PathBuf {
        self.all.listing.path(self.place(index))
    }

    /// What a network sees of image `index`: `[size, size, 3]`, a function of the arguments.
    ///
    /// # Errors
    ///
    /// [`DataError`] naming the file: it cannot be read, or it is broken
    /// ([`DataError::is_broken_image`]).
    ///
    /// # Panics
    ///
    /// If `index >= self.len()`.
    pub fn view(&self, index: usize, view: View) -> Result<Vec<u8>, DataError> {
        let image = self.image(index)?;
        let (size, of) = (self.all.size, |problem| {
            DataError::malformed(&self.path(index), problem)
        });
        match view {
            View::Centre => centre(image, side_of(size), size).map_err(of),
            View::Random { seed, epoch } => {
                let window = Window::draw(seed, epoch, index, image.width, image.height);
                through(&image, window, size).map_err(of)
            }
        }
    }

    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let All {
            listing, shards, ..
        } = &*self.all;
        match shards {
            Some(shards) => shards.image(self.place(index)),
            None => {
                let path = listing.path(self.place(index));
                let bytes = decode::read(&path).map_err(|e| DataError::image(&path, e))?;
                decode(&bytes).map_err(|problem| DataError::malformed(&path, problem))
            }
        }
    }

    /// Number of the shards that hold these images; 0 where each is a file of its own.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.blocks().map_or(0, |blocks| blocks.len())
    }

    /// Whether all of these shards stay in memory once they are read: a second epoch then reads no
    /// file.
    #[must_use]
    pub fn stay_in_memory(&self) -> bool {
        (1..=KEPT).contains(&self.shards())
    }

    fn place(&self, index: usize) -> usize {
        assert!(index < self.len(), "picture {index} of {}", self.len());
        self.range.start + index
    }

    /// The images of each shard that is part of this range, or `None` where each is its own file.
    pub(super) fn blocks(&self) -> Option<Vec<Range<usize>>> {
        let each = self.all.shards.as_ref()?.images_each();
        let Range { start, end } = self.range;
        let blocks = start / each..end.div_ceil(each);
        let cut =
            |block: usize| (block * each).max(start) - start..((block + 1) * each).min(end) - start;
        Some(blocks.map(cut).filter(|block| !block.is_empty()).collect())
    }

    /// Cuts everything from `keep` on off and returns it.
    pub(super) fn split_off(&mut self, keep: usize) -> Self {
        assert!(keep <= self.len(), "{keep} of {} pictures", self.len());
        let middle = self.range.start + keep;
        let rest = middle..self.range.end;
        self.range.end = middle;
        Self {
            all: Arc::clone(&self.all),
            range: rest,
        }
    }

    /// What the data's fingerprint says of them.
    pub(super) fn identify(&self, hash: &mut Sha256) {
        hash.update(if self.all.shards.is_some() {
            "shards"
        } else {
            "files"
        });
        self.all.listing.identify(self.range.clone(), hash);
    }
}

/// The same images, not equal ones.
impl PartialEq for ImageFiles {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all) && self.range == other.range
    }
}
