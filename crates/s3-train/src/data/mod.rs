//! Data sets: images in memory or in files, and the batches that training reads from them.
//!
//! ```text
//! DataConfig --load--> Splits { train, test: Dataset } --Loader--> Batch, Batch, ..
//!                          u8 or f32, NHWC                         f32, NHWC, normalised
//! ```
//!
//! A [`Dataset`] keeps the numbers of its files, or where the files are, and nothing derived from
//! them except the channel statistics; decoding, augmentation and normalisation happen while a [`Loader`] makes a batch. Every
//! random decision is a function of (seed, epoch, sample index), so that a batch does not depend
//! on the batches before it, on threads, or on where a resumed run started.
//!
//! | name | source | images |
//! | --- | --- | --- |
//! | `shapes` | generated, needs no file ([`shapes`]) | 32x32x3 |
//! | `mnist` | the official IDX files ([`mnist`]) | 28x28x1 |
//! | `cifar10` | the official binary version ([`cifar`]) | 32x32x3 |
//! | `imagenet` | a folder of picture files in class folders ([`imagenet`]) | 224x224x3, or `size` |
//! | `arrays` | arrays that NumPy has written, of bytes or floats ([`arrays`]) | those of the arrays |
//!
//! ```
//! use s3_train::data::{self, DataConfig, DataName, Loader, LoaderConfig};
//!
//! let config = DataConfig { train_limit: Some(100), test_limit: Some(10), ..DataConfig::of(DataName::Shapes) };
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
mod dataset;
pub mod decode;
mod error;
mod folder;
pub mod imagenet;
mod jpeg;
pub mod loader;
mod matlab;
pub mod mnist;
mod npy;
mod npz;
mod parts;
pub mod pictures;
mod random;
mod read;
pub mod shapes;
mod sharding;
mod shards;
mod truth;
pub mod view;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use augment::AugmentConfig;
pub use batch::Batch;
pub use dataset::{Dataset, Image, Images, fingerprint};
pub use error::{DataError, Problem};
pub use imagenet::Broken;
pub use loader::{Loader, LoaderConfig, epoch_order, steps_per_epoch};
pub use parts::Parts;

/// The data sets that a config can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataName {
    /// Generated pictures of ten geometric shapes.
    Shapes,
    /// Handwritten digits.
    Mnist,
    /// CIFAR-10.
    Cifar10,
    /// ILSVRC2012, or any other folder of pictures.
    Imagenet,
    /// Arrays that NumPy has written.
    Arrays,
}

impl DataName {
    /// Every data set.
    pub const ALL: [Self; 5] = [
        Self::Shapes,
        Self::Mnist,
        Self::Cifar10,
        Self::Imagenet,
        Self::Arrays,
    ];

    /// The name as configs write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shapes => "shapes",
            Self::Mnist => "mnist",
            Self::Cifar10 => "cifar10",
            Self::Imagenet => "imagenet",
            Self::Arrays => "arrays",
        }
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DataName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|data| data.as_str() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown data set `{name}`, expected one of {known}")
        })
    }
}

/// The `[data]` section of an experiment.
///
/// ```
/// use s3_train::data::{AugmentConfig, DataConfig, DataName};
///
/// let config: DataConfig = toml::from_str("name = 'cifar10'\naugment = { pad = 4, flip = true }")?;
/// assert_eq!(config.name, DataName::Cifar10);
/// assert_eq!(config.train_limit, None);
/// assert_eq!(config.augment, AugmentConfig { pad: 4, flip: true, ..AugmentConfig::OFF });
/// assert!(toml::from_str::<DataConfig>("name = 'mnist'\nflip = true").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which data set.
    pub name: DataName,
    /// Train on at most this many images, the first ones of the official order; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Test on at most this many images, the first ones of the official order; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// Of `imagenet` and `arrays`: the folder below the data sets' folder; the data set's name if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Of `arrays`: the mean of each channel, of bytes in units of 255; that of the training images
    /// if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Of `arrays`: the standard deviation of each channel, in the same units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Of `imagenet`: rows and columns that the network sees; 224 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Of `imagenet`: read the shards that `s3 shards` has made, instead of the picture files.
    /// Training then sees pictures that were shrunk and compressed again, in another order. The files stay
    /// needed: they are listed at each start, for the labels and to see whether the shards are stale.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shards: bool,
    /// Of `imagenet`: whether a picture that cannot be decoded stops the run (`stop`, the default)
    /// or is counted and left out of its batch (`skip`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub broken: Broken,
    /// Random changes to the training images; none if absent.
    #[serde(default)]
    pub augment: AugmentConfig,
}

fn is_default(broken: &Broken) -> bool {
    *broken == Broken::default()
}

impl DataConfig {
    /// All images of `name`, without augmentation.
    #[must_use]
    pub const fn of(name: DataName) -> Self {
        Self {
            name,
            train_limit: None,
            test_limit: None,
            folder: None,
            mean: None,
            std: None,
            size: None,
            shards: false,
            broken: Broken::Stop,
            augment: AugmentConfig::OFF,
        }
    }
}

/// A data set's training and test images, shared with the loaders' threads.
#[derive(Debug, Clone)]
pub struct Splits {
    /// Images to learn from.
    pub train: Arc<Dataset>,
    /// Images to measure accuracy on.
    pub test: Arc<Dataset>,
}

impl Splits {
    /// What was found of pictures in files, and what was left out: a line a split ([`Dataset::found`]).
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
        DataName::Shapes => shapes::generate(config.train_limit, config.test_limit),
        DataName::Mnist => mnist::load(folder?)?,
        DataName::Cifar10 => cifar::load(folder?)?,
        DataName::Imagenet => imagenet::load(config, folder?)?,
        DataName::Arrays => arrays::load(config, folder?)?,
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
    fn names_in_configs_are_those_of_as_str() {
        for name in DataName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            let config: DataConfig = toml::from_str(&format!("name = '{name}'")).unwrap();
            assert_eq!(config, DataConfig::of(name));
            assert_eq!(
                toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(),
                config
            );
        }
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_key() {
        let cases = [
            ("side", "name = 'mnist'\nside = 3"),
            ("rotate", "name = 'mnist'\naugment = { rotate = 3 }"),
        ];
        for (key, text) in cases {
            let message = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("unknown field `{key}`")),
                "{message}"
            );
        }
    }

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
        let zero = DataConfig {
            test_limit: Some(0),
            ..DataConfig::of(DataName::Shapes)
        };
        assert!(answer(zero).contains("test_limit is 0"));
    }
}
