//! ImageNet (ILSVRC2012), and any folder of images that is laid out like it (`folder.rs`).
//!
//! ```text
//! DATA_DIR/imagenet/{train,val}/<wnid>/*.JPEG                 `folder` names another one
//! DATA_DIR/imagenet.shards-256/{train,val}-00000.shard ..     with `shards = true`
//! ```
//!
//! With shards the folder stays needed: it is listed at each start, for the labels, the order, and
//! to see whether the shards are stale.
//!
//! A network sees 224x224 pixels, or `size`; mean and deviation are those that ImageNet's networks
//! are trained with, whatever the folder.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::config::DataConfig;
use super::crop::side_of;
use super::dataset::{Dataset, Images};
use super::error::DataError;
use super::folder::{self, Folder};
use super::image_files::ImageFiles;
use super::listing::Listing;
use super::name::DataName;
use super::shards::{Shards, Split, write};

pub use super::config::Broken;
pub use super::shards::write::Made;

/// Per channel, what every published ImageNet network subtracts from value / 255.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// What the difference is divided by.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Rows and columns that a network sees.
pub const SIZE: usize = 224;
/// Rows and columns that a network may see of an image.
pub const SIZES: RangeInclusive<usize> = 1..=1024;

/// Lists the images of the folder that `config` names; opens its shards if `config` says so.
///
/// # Errors
///
/// No folder; class folders that are missing, empty or differ between the splits; shards that are
/// missing, stale or incomplete, of which the start and the length are looked at. No image is
/// read.
pub(super) fn load(config: &DataConfig, data_dir: &Path) -> Result<(Dataset, Dataset), DataError> {
    let place = Place::of(config, data_dir)?;
    let Folder {
        classes,
        train,
        val,
    } = folder::scan(&place.folder)?;
    let split = |split: Split, listing: Listing| {
        let listing = Arc::new(listing);
        let labels = listing.files.iter().map(|file| file.label).collect();
        let open = || {
            Shards::open(
                &place.shards,
                split,
                side_of(place.size),
                Arc::clone(&listing),
            )
        };
        let shards = config.shards.then(open).transpose()?;
        let skip = config.broken == Broken::Skip;
        let images = ImageFiles::new(Arc::clone(&listing), shards, place.size, skip);
        Ok(Dataset {
            name: format!("{}/{}", place.name, split.as_str()),
            height: place.size,
            width: place.size,
            channels: 3,
            images: Images::Files(images),
            labels,
            class_names: classes.clone(),
            mean: MEAN.to_vec(),
            std: STD.to_vec(),
        })
    };
    Ok((split(Split::Train, train)?, split(Split::Val, val)?))
}

/// The class names of the folder that `config` names, in the order of the labels; `None` where it
/// has no folder `train`. No image is looked at.
///
/// # Errors
///
/// Keys of another data set; a folder that cannot be read.
pub fn classes(config: &DataConfig, data_dir: &Path) -> Result<Option<Vec<String>>, DataError> {
    let folder = Place::of(config, data_dir)?.folder;
    let is_there = folder.join("train").is_dir();
    is_there.then(|| folder::classes(&folder)).transpose()
}

/// Images of a split whose shards are being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardJob<'a> {
    /// `train` or `val`.
    pub split: &'a str,
    /// Images in all.
    pub images: usize,
    /// Where the shards go.
    pub folder: &'a Path,
}

/// Makes the shards of both splits of the folder that `config` names, whatever `config.shards`
/// says, on all threads of the pool. Shards that are whole and up to date stay.
///
/// `begin` is told of each split and returns who is told of each image; `stop` ends it between
/// two shards.
///
/// # Errors
///
/// As [`load`](super::load) has them of the folder; a broken image, unless `config` skips them;
/// another process that makes the same shards; those of the file system.
///
/// ```
/// use s3_train::data::imagenet::{Made, make_shards};
/// use s3_train::data::{self, DataConfig, DataName};
/// use std::sync::{Mutex, atomic::AtomicBool};
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
/// let told = Mutex::new(Vec::new());
/// for _ in 0..2 {
///     make_shards(&config, dir.path(), &AtomicBool::new(false), |job| {
///         assert_eq!((job.images, job.folder), (1, &*dir.path().join("pets.shards-18")));
///         |made| told.lock().unwrap().push(made)
///     })?;
/// }
/// let told = told.into_inner().unwrap();
/// assert_eq!(told, [Made::Image, Made::Image, Made::Kept(1), Made::Kept(1)]);
///
/// config.shards = true;
/// let splits = data::load(&config, Some(dir.path()))?;
/// assert_eq!(splits.test.image(0)?.bytes(), [9, 8, 7].repeat(16 * 16));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn make_shards<T: Fn(Made) + Sync>(
    config: &DataConfig,
    data_dir: &Path,
    stop: &AtomicBool,
    mut begin: impl FnMut(ShardJob<'_>) -> T,
) -> anyhow::Result<()> {
    let place = Place::of(config, data_dir)?;
    let Folder { train, val, .. } = folder::scan(&place.folder)?;
    let skip = config.broken == Broken::Skip;
    let lock = write::claim(&place.shards)?;
    for (split, listing) in [(Split::Train, train), (Split::Val, val)] {
        let tell = begin(ShardJob {
            split: split.as_str(),
            images: listing.files.len(),
            folder: &place.shards,
        });
        let (side, listing) = (side_of(place.size), Arc::new(listing));
        write::make(&lock, split, side, listing, skip, stop, &tell)?;
    }
    Ok(())
}

/// What `config` says of folders and sizes.
struct Place<'a> {
    name: &'a str,
    folder: PathBuf,
    shards: PathBuf,
    size: usize,
}

impl<'a> Place<'a> {
    fn of(config: &'a DataConfig, data_dir: &Path) -> Result<Self, DataError> {
        let dataset = config.name.as_str();
        if config.name != DataName::Imagenet {
            return Err(DataError::argument(dataset, "no data set of picture files"));
        }
        if config.augment.pad != 0 {
            let text = "augment.pad is for images in memory, pictures have resized_crop";
            return Err(DataError::argument(dataset, text));
        }
        let size = config.size.unwrap_or(SIZE);
        if !SIZES.contains(&size) {
            let (least, most) = (SIZES.start(), SIZES.end());
            let text = format!("size is {size}: {least} to {most} are accepted");
            return Err(DataError::argument(dataset, text));
        }
        let name = config.folder.as_deref().unwrap_or(dataset);
        let name = name.trim_end_matches('/');
        if name.is_empty() {
            let text = "folder is empty: name a folder below the data sets' folder";
            return Err(DataError::argument(dataset, text));
        }
        Ok(Self {
            name,
            folder: data_dir.join(name),
            shards: data_dir.join(format!("{name}.shards-{}", side_of(size))),
            size,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use super::super::batch::Batch;
    use super::super::error::SKIPS;
    use super::super::folder::testing::{folder_of, png};
    use super::super::loader::{Loader, LoaderConfig};
    use super::super::read::testing::real_data;
    use super::super::shards::{ENTRY, HEADER};
    use super::super::{AugmentConfig, DataName, Splits};
    use super::*;

    const AUGMENT: AugmentConfig = AugmentConfig {
        resized_crop: true,
        flip: true,
        ..AugmentConfig::OFF
    };

    fn config(folder: &str, size: usize) -> DataConfig {
        DataConfig {
            folder: Some(folder.to_owned()),
            size: Some(size),
            augment: AUGMENT,
            ..DataConfig::of(DataName::Imagenet)
        }
    }

    /// A data folder with `pets`, 2 classes of 12 and 3 images whose sides are 20 to 90.
    fn pets() -> tempfile::TempDir {
        let image = |split: &str, n: usize| {
            (0..n)
                .flat_map(move |i| {
                    ["cat", "dog"].map(|class| format!("pets/{split}/{class}/{i}.png"))
                })
                .collect::<Vec<_>>()
        };
        let names = [image("train", 12), image("val", 3)].concat();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        folder_of(&names, |name| {
            let seed = name
                .bytes()
                .fold(0, |sum: u8, b| sum.wrapping_mul(31).wrapping_add(b));
            png(20 + u32::from(seed % 71), 20 + u32::from(seed / 4), seed)
        })
    }

    fn splits(config: &DataConfig, data: &Path) -> Splits {
        super::super::load(config, Some(data)).unwrap()
    }

    fn refusal(config: &DataConfig, data: &Path) -> String {
        let message = super::super::load(config, Some(data))
            .unwrap_err()
            .to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    fn batches(data: &Arc<Dataset>, loader: &LoaderConfig, epoch: u64) -> Vec<Batch> {
        let loader = Loader::new(data, loader, epoch, 0).unwrap();
        loader.collect::<Result<_, _>>().unwrap()
    }

    fn make(config: &DataConfig, data: &Path) -> anyhow::Result<Vec<Made>> {
        let seen = Mutex::new(Vec::new());
        make_shards(config, data, &AtomicBool::new(false), |_| {
            |made| seen.lock().unwrap().push(made)
        })?;
        Ok(seen.into_inner().unwrap())
    }

    #[test]
    fn batches_are_the_same_whatever_the_number_of_workers() {
        let data = pets();
        let train = splits(&config("pets", 16), data.path()).train;
        assert_eq!(
            (train.len(), train.classes(), train.image_len()),
            (24, 2, 768)
        );
        let loader = |workers| LoaderConfig {
            workers,
            ..LoaderConfig::train(7, 3, AUGMENT)
        };
        for epoch in 0..2 {
            let one = batches(&train, &loader(1), epoch);
            assert_eq!(one.iter().map(Batch::len).collect::<Vec<_>>(), [7, 7, 7, 3]);
            for workers in [2, 5, 64] {
                assert_eq!(batches(&train, &loader(workers), epoch), one);
            }
            // A sample's view does not depend on the batch it is in.
            let whole = LoaderConfig {
                batch_size: 24,
                ..loader(3)
            };
            let whole = batches(&train, &whole, epoch).remove(0);
            let images: Vec<f32> = one.into_iter().flat_map(|b| b.images).collect();
            assert_eq!(whole.images, images);
        }
        let views = |seed, epoch| {
            let loader = LoaderConfig {
                seed,
                shuffle: false,
                ..loader(2)
            };
            batches(&train, &loader, epoch)
        };
        assert_ne!(views(3, 0), views(3, 1));
        assert_ne!(views(3, 0), views(4, 0));
    }

    #[test]
    fn limits_and_held_out_images_are_parts_of_the_split() {
        let data = pets();
        let all = splits(&config("pets", 16), data.path()).train;
        let limited = DataConfig {
            train_limit: Some(10),
            ..config("pets", 16)
        };
        let part = splits(&limited, data.path()).train;
        assert_eq!((part.len(), &part.labels[..]), (10, &all.labels[..10]));
        let (kept, held) = Dataset::clone(&part).split_at(6);
        assert_eq!((kept.len(), held.len()), (6, 4));
        for i in 0..4 {
            assert_eq!(held.image(i).unwrap(), all.image(6 + i).unwrap());
        }
        let print = super::super::fingerprint;
        assert_eq!(print(&part), print(&splits(&limited, data.path()).train));
        assert!(print(&part) != print(&all) && print(&kept) != print(&held));
    }

    #[test]
    fn a_broken_image_stops_or_is_skipped() {
        let data = pets();
        let broken = data.path().join("pets/train/cat/7.png");
        fs::write(&broken, b"").unwrap();
        let train = splits(&config("pets", 16), data.path()).train;
        let loader = LoaderConfig::train(8, 3, AUGMENT);
        let mut results = Loader::new(&train, &loader, 0, 0).unwrap();
        let error = results.find_map(Result::err).unwrap();
        assert!(
            error
                .to_string()
                .ends_with(&stopped("pets/train/cat/7.png: an empty file")),
            "{error}"
        );

        let skip = DataConfig {
            broken: Broken::Skip,
            ..config("pets", 16)
        };
        let train = splits(&skip, data.path()).train;
        let got = batches(&train, &loader, 0);
        assert_eq!(got.iter().map(Batch::len).sum::<usize>(), 23);
        let skipped: Vec<&String> = got.iter().flat_map(|b| &b.skipped).collect();
        assert!(
            skipped.len() == 1 && skipped[0].contains("cat/7.png"),
            "{skipped:?}"
        );
        for batch in &got {
            assert_eq!(
                (batch.labels.len(), batch.images.len()),
                (batch.len(), batch.len() * 768)
            );
            for (label, index) in batch.labels.iter().zip(&batch.indices) {
                assert_eq!(*label, u32::from(train.labels[*index as usize]));
            }
        }
        // A file that went away is no broken image.
        fs::remove_file(&broken).unwrap();
        let mut results = Loader::new(&train, &loader, 0, 0).unwrap();
        assert!(results.any(|b| b.is_err()));
        // A batch whose only image is broken is an empty one.
        fs::write(&broken, b"x").unwrap();
        let one = LoaderConfig {
            batch_size: 1,
            ..loader
        };
        let results = Loader::new(&splits(&skip, data.path()).train, &one, 0, 0).unwrap();
        let batches: Vec<Batch> = results.map(Result::unwrap).collect();
        let empty: Vec<&Batch> = batches.iter().filter(|b| b.is_empty()).collect();
        assert_eq!(empty.len(), 1);
        assert!(empty[0].skipped[0].contains(broken.file_name().unwrap().to_str().unwrap()));
        assert_eq!(
            (empty[0].images_of_step.clone(), empty[0].step_len),
            (0..1, 1)
        );
    }

    #[test]
    fn shards_of_val_change_no_byte_and_those_of_train_little() {
        let data = pets();
        let files = splits(&config("pets", 16), data.path());
        let made = make(&config("pets", 16), data.path()).unwrap();
        assert_eq!(made, vec![Made::Image; 30]);
        assert_eq!(
            make(&config("pets", 16), data.path()).unwrap(),
            [Made::Kept(24), Made::Kept(6)]
        );
        let sharded = DataConfig {
            shards: true,
            ..config("pets", 16)
        };
        let shards = splits(&sharded, data.path());
        let eval = LoaderConfig::eval(4);
        assert_eq!(
            batches(&shards.test, &eval, 0),
            batches(&files.test, &eval, 0)
        );
        assert_eq!(shards.train.labels, files.train.labels);
        for i in 0..24 {
            let (a, b) = (
                shards.train.image(i).unwrap(),
                files.train.image(i).unwrap(),
            );
            let sum: u32 = a
                .bytes()
                .iter()
                .zip(b.bytes())
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum();
            // JPEG of quality 92 on noise.
            assert!(sum < 768 * 6, "{i}: {sum}");
        }
        let train = LoaderConfig::train(5, 3, AUGMENT);
        let one = batches(
            &shards.train,
            &LoaderConfig {
                workers: 1,
                ..train.clone()
            },
            1,
        );
        assert_eq!(
            batches(
                &shards.train,
                &LoaderConfig {
                    workers: 4,
                    ..train
                },
                1
            ),
            one
        );
        let mut order: Vec<u32> = one.iter().flat_map(|b| b.indices.clone()).collect();
        order.sort_unstable();
        assert!(order.into_iter().eq(0..24));
        let print = super::super::fingerprint;
        assert_ne!(print(&shards.train), print(&files.train));
    }

    #[test]
    fn shards_that_are_missing_stale_or_corrupted_are_named() {
        let data = pets();
        let sharded = DataConfig {
            shards: true,
            ..config("pets", 16)
        };
        let root = data.path().join("pets.shards-18");
        assert!(
            refusal(&sharded, data.path())
                .contains("pets.shards-18/train.json: no shards here yet")
        );
        make(&sharded, data.path()).unwrap();
        let other = DataConfig {
            size: Some(32),
            ..sharded.clone()
        };
        assert!(refusal(&other, data.path()).contains("pets.shards-37/train.json"));

        let shard = root.join("val-00000.shard");
        let whole = fs::read(&shard).unwrap();
        let line = |what: &str| {
            let shard = shard.display();
            format!("{shard}: a {what}: `s3 shards EXPERIMENT` makes it again")
        };
        // What a command prints: the chain of causes.
        let refused = || match super::super::load(&sharded, Some(data.path())) {
            Ok(_) => "none".to_owned(),
            Err(e) => format!("{:#}", anyhow::Error::from(e)),
        };
        assert_eq!(refused(), "none");
        let stale = "stale shard, made from other files";
        for (at, what) in [
            (0, "corrupted shard"),
            (20, stale),
            (45, stale),
            (HEADER + ENTRY * 5, "corrupted shard"),
        ] {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&shard, damaged).unwrap();
            assert_eq!(refused(), line(what), "{at}");
        }
        for cut in [0, 3, 30, HEADER + 20, whole.len() - 1] {
            fs::write(&shard, &whole[..cut]).unwrap();
            assert_eq!(refused(), line("corrupted shard"), "{cut}");
        }
        fs::write(&shard, [&whole[..], b"x"].concat()).unwrap();
        assert_eq!(refused(), line("corrupted shard"));
        fs::remove_file(&shard).unwrap();
        assert_eq!(refused(), line("missing shard"));

        // What is wrong behind the start, or later on, is found when the shard is read.
        let first_error = |test: Arc<Dataset>| {
            let mut loader = Loader::new(&test, &LoaderConfig::eval(6), 0, 0).unwrap();
            let error = loader.find_map(Result::err).unwrap();
            format!("{:#}", anyhow::Error::from(error))
        };
        for at in [HEADER, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&shard, damaged).unwrap();
            let test = splits(&sharded, data.path()).test;
            assert_eq!(first_error(test), line("corrupted shard"), "{at}");
        }
        fs::write(&shard, &whole).unwrap();
        let test = splits(&sharded, data.path()).test;
        fs::remove_file(&shard).unwrap();
        assert_eq!(first_error(test), line("missing shard"));
        // Making them again writes what is wrong and leaves what is right.
        let made = make(&sharded, data.path()).unwrap();
        assert_eq!((&made[0], made.len()), (&Made::Kept(24), 7));
        assert_eq!(fs::read(&shard).unwrap(), whole);

        #[cfg(target_os = "linux")]
        {
            let manifest = root.join("train.json");
            let whole = fs::read(&manifest).unwrap();
            fs::remove_file(&manifest).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&manifest).status();
            assert!(made.unwrap().success());
            let expected = "train.json: a named pipe, a socket or a device, no regular file";
            assert!(refused().ends_with(expected), "{}", refused());
            fs::remove_file(&manifest).unwrap();
            fs::write(&manifest, whole).unwrap();
        }

        fs::write(data.path().join("pets/train/cat/new.png"), png(30, 30, 1)).unwrap();
        let message = refusal(&sharded, data.path());
        assert!(
            message.contains("train.json: the shards are stale"),
            "{message}"
        );
        assert_eq!(make(&sharded, data.path()).unwrap().len(), 25 + 1);
        splits(&sharded, data.path());
    }

    #[test]
    fn copied_shards_are_good_and_an_edited_image_makes_them_stale() {
        let data = pets();
        let sharded = DataConfig {
            shards: true,
            ..config("pets", 16)
        };
        make(&sharded, data.path()).unwrap();
        let path = |name: &str| data.path().join(name);
        let touch = |name: &str, seconds: u64| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let file = fs::File::options().append(true).open(path(name)).unwrap();
            file.set_modified(time).unwrap();
        };
        // As after `cp -r`: all bytes are equal and all times are others.
        let listing = folder::scan(&path("pets")).unwrap();
        for (split, listing) in [("train", listing.train), ("val", listing.val)] {
            for (i, file) in listing.files.iter().enumerate() {
                touch(&format!("pets/{split}/{}", file.path), 1_000_000 + i as u64);
            }
        }
        let copied = splits(&sharded, data.path());
        // Making keeps them and writes the times down.
        let shard = path("pets.shards-18/train-00000.shard");
        let before = fs::read(&shard).unwrap();
        assert_eq!(
            make(&sharded, data.path()).unwrap(),
            [Made::Kept(24), Made::Kept(6)]
        );
        let after = fs::read(&shard).unwrap();
        assert!(before != after && before.len() == after.len());
        assert_eq!(
            copied.train.image(3).unwrap(),
            splits(&sharded, data.path()).train.image(3).unwrap()
        );

        // Another image of the same size in bytes, of which only the time tells.
        let edited = "pets/train/cat/3.png";
        let mut bytes = fs::read(path(edited)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path(edited), bytes).unwrap();
        touch(edited, 5);
        let message = refusal(&sharded, data.path());
        let words = "train.json: the shards are stale, ";
        assert!(
            message.contains(words) && message.contains("cat/3.png is another picture"),
            "{message}"
        );
        assert_eq!(make(&sharded, data.path()).unwrap().len(), 24 + 1);
        splits(&sharded, data.path());
    }

    #[test]
    fn found_images_are_told_with_what_was_left_out() {
        let data = pets();
        fs::write(data.path().join("pets/train/cat/notes.txt"), b"").unwrap();
        let found = |config: &DataConfig| splits(config, data.path()).train.found();
        assert_eq!(
            found(&config("pets", 16)).unwrap(),
            "pets/train: 24 pictures of 2 classes; 1 left out: 1 .txt in cat"
        );
        let limited = DataConfig {
            train_limit: Some(10),
            ..config("pets", 16)
        };
        assert!(
            found(&limited)
                .unwrap()
                .contains("24 pictures of 2 classes, 10 of them used; ")
        );
        assert_eq!(found(&DataConfig::of(DataName::Shapes)), None);
    }

    #[test]
    fn a_broken_image_stops_the_making_of_shards_or_is_stored_as_broken() {
        let data = pets();
        fs::write(data.path().join("pets/train/dog/2.png"), b"GIF89a").unwrap();
        let stop = DataConfig {
            shards: true,
            ..config("pets", 16)
        };
        let message = format!("{:#}", make(&stop, data.path()).unwrap_err());
        assert!(
            message.ends_with(&stopped(
                "dog/2.png: no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM"
            )),
            "{message}"
        );
        let skip = DataConfig {
            broken: Broken::Skip,
            ..stop.clone()
        };
        let made = make(&skip, data.path()).unwrap();
        let path = data.path().join("pets/train/dog/2.png");
        let line = format!(
            "{}: no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM",
            path.display()
        );
        let broken: Vec<&Made> = made.iter().filter(|m| **m != Made::Image).collect();
        assert_eq!(broken, [&Made::Broken(line)]);
        let got = batches(
            &splits(&skip, data.path()).train,
            &LoaderConfig::eval(24),
            0,
        );
        assert!(
            got[0].skipped[0].ends_with("dog/2.png: no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM"),
            "{:?}",
            got[0].skipped
        );
        let train = splits(&stop, data.path()).train;
        let mut loader = Loader::new(&train, &LoaderConfig::eval(24), 0, 0).unwrap();
        assert!(loader.any(|b| b.is_err()));
    }

    #[test]
    fn of_several_broken_images_the_first_of_the_order_is_named() {
        let data = pets();
        let folder = data.path().join("pets");
        for i in 0..12 {
            fs::write(folder.join(format!("train/dog/{i}.png")), b"GIF89a").unwrap();
        }
        let order = folder::scan(&folder).unwrap().train;
        let is_broken = |at: &usize| order.files[*at].path.starts_with("dog/");
        let first = order.path((0..24).find(is_broken).unwrap());
        for _ in 0..3 {
            let error = make(&config("pets", 16), data.path()).unwrap_err();
            let expected = format!(
                "{}: no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM",
                first.display()
            );
            assert_eq!(format!("{error:#}"), stopped(&expected));
        }
    }

    /// What is said of a broken image where it ends a run.
    fn stopped(said: &str) -> String {
        format!("{said}; {SKIPS}")
    }

    #[test]
    fn making_keeps_others_out_and_removes_the_shards_of_a_larger_split() {
        let data = pets();
        let root = data.path().join("pets.shards-18");
        let lock = write::claim(&root).unwrap();
        let (mine, unfinished) = (root.join("train-00001.shard"), root.join(".x.tmp"));
        let foreign = [
            "train-1.shard",
            "train-00001.shard.bak",
            "other-00001.shard",
        ];
        for path in [&mine, &unfinished].into_iter().cloned() {
            fs::write(path, b"x").unwrap();
        }
        for name in foreign {
            fs::write(root.join(name), b"x").unwrap();
        }
        let refused = make(&config("pets", 16), data.path()).unwrap_err();
        let expected = format!("{}: another process makes these shards", root.display());
        assert_eq!(format!("{refused:#}"), expected);
        assert!(mine.exists() && unfinished.exists());
        drop(lock);
        make(&config("pets", 16), data.path()).unwrap();
        assert!(!mine.exists() && !unfinished.exists());
        assert!(foreign.iter().all(|name| root.join(name).exists()));
    }

    #[test]
    fn keys_that_make_no_sense_are_refused() {
        let data = pets();
        let base = || config("pets", 16);
        let padded = AugmentConfig { pad: 4, ..AUGMENT };
        for (config, words) in [
            (config("cats", 16), "no folder `train` of pictures in"),
            (config("", 16), "folder is empty"),
            (config("pets", 0), "size is 0"),
            (config("pets", 5000), "size is 5000"),
            (
                DataConfig {
                    augment: padded,
                    ..base()
                },
                "augment.pad",
            ),
        ] {
            let message = refusal(&config, data.path());
            assert!(message.contains(words), "{message}");
        }
    }

    /// Mean absolute difference to torchvision, in units of a byte; the bar of the pipeline.
    const TOLERANCE: f64 = 1.0;

    #[test]
    fn validation_of_the_sample_is_torchvisions() {
        let Some(data) = real_data("imagenet-sample/val") else {
            return;
        };
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/testdata/imagenet-sample.safetensors"
        );
        let golden = fs::read(golden).unwrap();
        let golden = safetensors::SafeTensors::deserialize(&golden).unwrap();
        let (means, pixels) = (
            golden.tensor("means").unwrap(),
            golden.tensor("pixels").unwrap(),
        );
        let found = folder::scan(&data.join("imagenet-sample")).unwrap();
        let test = splits(&config("imagenet-sample", 224), &data).test;
        let mut order: Vec<usize> = (0..test.len()).collect();
        order.sort_by_key(|&i| &found.val.files[i].path);
        let mut dump = Vec::new();
        for (place, index) in order.into_iter().enumerate() {
            let image = test.image(index).unwrap();
            let image = image.bytes();
            let (mut of_means, mut of_pixels) = (0.0, 0.0);
            for (at, (y, x, c)) in (0..192).map(|at| (at, (at / 24, at / 3 % 8, at % 3))) {
                let value = |i: usize, j: usize| {
                    f64::from(image[3 * (224 * (28 * y + i) + 28 * x + j) + c])
                };
                let sum: f64 = (0..784).map(|k| value(k / 28, k % 28)).sum();
                let at = 192 * place + at;
                let mean = f32::from_le_bytes(*means.data()[4 * at..].first_chunk().unwrap());
                of_means += (sum / 784.0 - f64::from(mean)).abs() / 192.0;
                of_pixels += (value(14, 14) - f64::from(pixels.data()[at])).abs() / 192.0;
            }
            let path = &found.val.files[index].path;
            assert!(
                of_means < TOLERANCE && of_pixels < TOLERANCE,
                "{path}: {of_means} {of_pixels}"
            );
            dump.extend_from_slice(image);
        }
        // For tools/golden/pictures.py, which compares every pixel.
        if let Some(file) = std::env::var_os("S3_DUMP") {
            fs::write(file, dump).unwrap();
        }
    }
}
