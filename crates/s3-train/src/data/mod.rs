//! Data sets: images in memory or in files, and the batches that training reads from them.
//!
//! ```text
//! DataConfig --load--> Splits { train, test: Dataset } --Loader--> Batch, Batch, ..
//!                          u8 or f32, NHWC                         f32, NHWC, normalised
//! ```
//!
//! A [`Dataset`] keeps the numbers of its files, or where the files are, and nothing derived from
//! them except the channel statistics; decoding, augmentation and normalisation happen while a
//! [`Loader`] makes a batch. Every random decision is a function of (seed, epoch, sample index), so
//! that a batch does not depend on the batches before it, on threads, or on where a resumed run
//! started.
//!
//! | name | source | images |
//! | --- | --- | --- |
//! | `shapes` | generated, needs no file ([`shapes`]) | 32x32x3 |
//! | `mnist` | the official IDX files ([`mnist`]) | 28x28x1 |
//! | `cifar10` | the official binary version ([`cifar`]) | 32x32x3 |
//! | `imagenet` | a folder of image files in class folders ([`imagenet`]) | 224x224x3, or `size` |
//! | `arrays` | arrays that NumPy has written, of bytes or floats ([`arrays`]) | those of the arrays |
//!
//! A program may add its own ([`DataSet`]).
//!
//! ```
//! use s3_train::data::{self, DataConfig, DataName, Loader, LoaderConfig};
//!
//! let config = DataConfig {
//!     train_limit: Some(100),
//!     test_limit: Some(10),
//!     ..DataConfig::of(DataName::Shapes)
//! };
//! let splits = data::load(&config, None)?;
//! assert_eq!((splits.train.len(), splits.test.len()), (100, 10));
//!
//! let loader = Loader::new(&splits.train, &LoaderConfig::train(32, 1, config.augment), 0, 0)?;
//! let sizes: Result<Vec<usize>, data::DataError> = loader.map(|batch| Ok(batch?.len())).collect();
//! assert_eq!(sizes?, [32, 32, 32, 4]);
//! # Ok::<(), data::DataError>(())
//! ```

pub mod arrays;
pub mod augment;
mod batch;
pub mod cifar;
mod config;
pub mod crop;
mod dataset;
pub mod decode;
mod decoded;
mod error;
mod folder;
pub mod image_files;
pub mod imagenet;
mod jpeg;
mod listing;
pub mod loader;
mod matlab;
mod micro_batches;
pub mod mnist;
mod name;
mod npy;
mod npz;
mod order;
pub(crate) mod own;
mod random;
mod read;
pub mod shapes;
mod shards;
mod val_labels;
mod walk;

use std::path::Path;
use std::sync::Arc;

pub use augment::AugmentConfig;
pub use batch::Batch;
pub use config::{Broken, DataConfig};
pub use dataset::{Dataset, Image, Images, fingerprint, statistics};
pub use error::{DataError, Problem};
pub use loader::Loader;
pub use micro_batches::MicroBatches;
pub use name::DataName;
pub use order::{LoaderConfig, epoch_order, steps_per_epoch};
pub use own::DataSet;
pub use shapes::Difficulty;

/// A data set's training and test images, shared with the loaders' threads.
#[derive(Debug, Clone)]
pub struct Splits {
    /// Images to learn from.
    pub train: Arc<Dataset>,
    /// Images to measure accuracy on.
    pub test: Arc<Dataset>,
}

impl Splits {
    /// What was found of images in files, and what was left out: a line a split
    /// ([`Dataset::found`]).
    #[must_use]
    pub fn found(&self) -> Vec<String> {
        [&self.train, &self.test]
            .into_iter()
            .filter_map(|split| split.found())
            .collect()
    }
}

/// Loads, or generates, the data set that `config` names.
///
/// `data_dir` is where the files of the data sets are; `shapes` needs none. No file is written.
/// A limit keeps the first images of the official order: in MNIST, CIFAR-10 and `shapes` that
/// order is class-balanced in expectation, so a prefix is a fair subset and needs no seed. The
/// files of a folder have a fixed shuffled order for the same reason.
///
/// # Errors
///
/// [`DataError`]: no folder or file, damaged files, a limit of 0, or a key of another data set.
pub fn load(config: &DataConfig, data_dir: Option<&Path>) -> Result<Splits, DataError> {
    let dataset = config.name.as_str();
    for (limit, key) in [
        (config.train_limit, "train_limit"),
        (config.test_limit, "test_limit"),
    ] {
        if limit == Some(0) {
            return Err(DataError::argument(
                dataset,
                format!("{key} is 0: leave it out for all images"),
            ));
        }
    }
    if config.name != DataName::Shapes && config.difficulty != Difficulty::Easy {
        let text = "difficulty is of `shapes` alone";
        return Err(DataError::argument(dataset, text));
    }
    if config.name != DataName::Arrays {
        if config.folder.is_some() && config.name != DataName::Imagenet {
            let text = "folder is of `imagenet` and `arrays` alone";
            return Err(DataError::argument(dataset, text));
        }
        let keys = [
            ("mean", config.mean.is_some()),
            ("std", config.std.is_some()),
        ];
        if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
            let text = format!("{key} is of `arrays` alone");
            return Err(DataError::argument(dataset, text));
        }
    }
    if config.name != DataName::Imagenet {
        let keys = [
            ("size", config.size.is_some()),
            ("shards", config.shards),
            ("broken", config.broken != Broken::Stop),
            ("augment.resized_crop", config.augment.resized_crop),
        ];
        if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
            let text = format!("{key} is for pictures in files, of `imagenet` alone");
            return Err(DataError::argument(dataset, text));
        }
    }
    let folder = data_dir.ok_or(DataError::NoDirectory { dataset });
    let (train, test) = match config.name {
        DataName::Shapes => {
            shapes::generate_as(config.difficulty, config.train_limit, config.test_limit)
        }
        DataName::Mnist => mnist::load(folder?)?,
        DataName::Cifar10 => cifar::load(folder?)?,
        DataName::Imagenet => imagenet::load(config, folder?)?,
        DataName::Arrays => arrays::load(config, folder?)?,
        DataName::Own(name) => own::load(name, config, data_dir)?,
    };
    let limit = |split: Dataset, limit: Option<usize>| {
        Arc::new(split.truncated(limit.unwrap_or(usize::MAX)))
    };
    Ok(Splits {
        train: limit(train, config.train_limit),
        test: limit(test, config.test_limit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sets_that_cannot_be_had_say_why() {
        let answer = |config: DataConfig| load(&config, None).unwrap_err().to_string();
        assert!(answer(DataConfig::of(DataName::Mnist)).contains("S3_DATA_DIR"));
        assert!(answer(DataConfig::of(DataName::Imagenet)).contains("S3_DATA_DIR"));
        assert!(answer(DataConfig::of(DataName::Arrays)).contains("S3_DATA_DIR"));
        let elsewhere = DataConfig {
            folder: Some("pets".to_owned()),
            ..DataConfig::of(DataName::Cifar10)
        };
        assert!(answer(elsewhere).contains("`cifar10`: folder is of `imagenet` and"));
        let shifted = DataConfig {
            mean: Some(vec![0.5]),
            ..DataConfig::of(DataName::Imagenet)
        };
        assert!(answer(shifted).contains("`imagenet`: mean is of `arrays` alone"));
        let sized = DataConfig {
            size: Some(64),
            ..DataConfig::of(DataName::Mnist)
        };
        assert!(answer(sized).contains("`mnist`: size is for pictures"));
        let hard = DataConfig {
            difficulty: Difficulty::Hard,
            ..DataConfig::of(DataName::Cifar10)
        };
        assert!(answer(hard).contains("`cifar10`: difficulty is of `shapes` alone"));
        let zero = DataConfig {
            test_limit: Some(0),
            ..DataConfig::of(DataName::Shapes)
        };
        assert!(answer(zero).contains("test_limit is 0"));
    }
}
