//! Data sets: images as bytes in memory, and the batches that training reads from them.
//!
//! ```text
//! DataConfig --load--> Splits { train, test: Dataset } --Loader--> Batch, Batch, ..
//!                             u8, NHWC                             f32, NHWC, normalised
//! ```
//!
//! A [`Dataset`] keeps the bytes of its files and nothing derived from them except the channel
//! statistics; augmentation and normalisation happen while a [`Loader`] makes a batch. Every
//! random decision is a function of (seed, epoch, sample index), so that a batch does not depend
//! on the batches before it, on threads, or on where a resumed run started.
//!
//! | name | source | images |
//! | --- | --- | --- |
//! | `shapes` | generated, needs no file ([`shapes`]) | 32x32x3 |
//! | `mnist` | the official IDX files ([`mnist`]) | 28x28x1 |
//! | `cifar10` | the official binary version ([`cifar`]) | 32x32x3 |
//! | `imagenet` | no loader yet ([`imagenet`]) | |
//!
//! ```
//! use s3_train::data::{self, DataConfig, DataName, Loader, LoaderConfig};
//!
//! let config = DataConfig { train_limit: Some(100), test_limit: Some(10), ..DataConfig::of(DataName::Shapes) };
//! let splits = data::load(&config, None)?;
//! assert_eq!((splits.train.len(), splits.test.len()), (100, 10));
//!
//! let loader = Loader::new(&splits.train, &LoaderConfig::train(32, 1, config.augment), 0, 0)?;
//! let sizes: Vec<usize> = loader.map(|batch| batch.len()).collect();
//! assert_eq!(sizes, [32, 32, 32, 4]);
//! # Ok::<(), data::DataError>(())
//! ```

pub mod augment;
pub mod cifar;
mod error;
pub mod imagenet;
pub mod loader;
pub mod mnist;
pub mod shapes;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use augment::AugmentConfig;
pub use error::{DataError, Problem};
pub use loader::{Batch, Loader, LoaderConfig, epoch_order, steps_per_epoch};

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
    /// ILSVRC2012; cannot be loaded yet.
    Imagenet,
}

impl DataName {
    /// The name as configs write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shapes => "shapes",
            Self::Mnist => "mnist",
            Self::Cifar10 => "cifar10",
            Self::Imagenet => "imagenet",
        }
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
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
/// assert_eq!(config.augment, AugmentConfig { pad: 4, flip: true });
/// assert!(toml::from_str::<DataConfig>("name = 'mnist'\nflip = true").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Random changes to the training images; none if absent.
    #[serde(default)]
    pub augment: AugmentConfig,
}

impl DataConfig {
    /// All images of `name`, without augmentation.
    #[must_use]
    pub const fn of(name: DataName) -> Self {
        Self {
            name,
            train_limit: None,
            test_limit: None,
            augment: AugmentConfig::OFF,
        }
    }
}

/// Images and labels of one split, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Name of the data set and the split, such as `mnist/train`.
    pub name: String,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// `[len, height, width, channels]`, one byte a value.
    pub images: Vec<u8>,
    /// `[len]`, each below `class_names.len()`.
    pub labels: Vec<u16>,
    /// What the labels stand for.
    pub class_names: Vec<String>,
    /// Per channel, the mean of value / 255 over the whole official **training** split, in the
    /// test split too and whatever the limits.
    pub mean: Vec<f32>,
    /// Per channel, the standard deviation that belongs to `mean` (1 where it would be 0).
    pub std: Vec<f32>,
}

impl Dataset {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Values of one image: `height * width * channels`.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The bytes of image `index`, `[height, width, channels]`.
    ///
    /// # Panics
    ///
    /// If `index >= self.len()`.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.image_len();
        &self.images[index * size..(index + 1) * size]
    }

    /// The first `limit` images, or all if there are fewer. The statistics stay.
    #[must_use]
    pub fn truncated(mut self, limit: usize) -> Self {
        if limit < self.len() {
            self.images.truncate(limit * self.image_len());
            self.labels.truncate(limit);
        }
        self
    }

    /// A line for a log: name, count, shape and number of classes.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self {
            name,
            height,
            width,
            channels,
            ..
        } = self;
        format!(
            "{name}: {} images of {height}x{width}x{channels}, {} classes",
            self.len(),
            self.classes()
        )
    }

    /// Checks what the public fields promise to each other.
    fn check(&self) -> Result<(), DataError> {
        let fail = |problem: &str| Err(DataError::argument(&self.name, problem));
        if self.images.len() != self.len() * self.image_len() {
            return fail("the image bytes do not divide into one image a label");
        }
        if self.mean.len() != self.channels || self.std.len() != self.channels {
            return fail("there is not one mean and one standard deviation a channel");
        }
        if !self.std.iter().all(|&std| std > 0.0) {
            return fail("a standard deviation is not positive");
        }
        Ok(())
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

/// Loads, or generates, the data set that `config` names.
///
/// `data_dir` is where the files of the data sets are; `shapes` needs none. No file is written.
/// A limit keeps the first images of the official order: in MNIST, CIFAR-10 and `shapes` that
/// order is class-balanced in expectation, so a prefix is a fair subset and needs no seed.
///
/// # Errors
///
/// [`DataError`]: no folder or file, damaged files, a limit of 0, or a data set without a loader.
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
    let folder = data_dir.ok_or(DataError::NoDirectory { dataset });
    let (train, test) = match config.name {
        DataName::Shapes => shapes::generate(config.train_limit, config.test_limit),
        DataName::Mnist => mnist::load(folder?)?,
        DataName::Cifar10 => cifar::load(folder?)?,
        DataName::Imagenet => return imagenet::load(),
    };
    let limit = |split: Dataset, limit: Option<usize>| {
        Arc::new(split.truncated(limit.unwrap_or(usize::MAX)))
    };
    Ok(Splits {
        train: limit(train, config.train_limit),
        test: limit(test, config.test_limit),
    })
}

/// SHA-256 of the shape, the images and the labels, as 64 hexadecimal digits: what a run's
/// manifest records to say which data it saw. Names and statistics do not count.
#[must_use]
pub fn fingerprint(dataset: &Dataset) -> String {
    let Dataset {
        height,
        width,
        channels,
        ..
    } = *dataset;
    let mut hash = Sha256::new();
    for size in [dataset.len(), height, width, channels] {
        hash.update((size as u64).to_le_bytes());
    }
    hash.update(&dataset.images);
    for label in &dataset.labels {
        hash.update(label.to_le_bytes());
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Mean and standard deviation of value / 255 per channel of NHWC `images`.
///
/// Sums are exact integers, so the result does not depend on any order of summation. A channel
/// that never varies gets the standard deviation 1, so that normalising it gives 0.
fn channel_statistics(images: &[u8], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let mut histogram = vec![[0u64; 256]; channels];
    for pixel in images.chunks_exact(channels) {
        for (counts, &value) in histogram.iter_mut().zip(pixel) {
            counts[usize::from(value)] += 1;
        }
    }
    let statistics = |counts: &[u64; 256]| {
        let (mut count, mut sum, mut squares) = (0u64, 0u64, 0u64);
        for (value, &times) in (0u64..).zip(counts) {
            count += times;
            sum += times * value;
            squares += times * value * value;
        }
        let count = count.max(1) as f64;
        let mean = sum as f64 / count;
        let variance = squares as f64 / count - mean * mean;
        let std = if variance > 0.0 {
            variance.sqrt() / 255.0
        } else {
            1.0
        };
        ((mean / 255.0) as f32, std as f32)
    };
    histogram.iter().map(statistics).unzip()
}

/// A generator whose numbers depend on nothing but the arguments.
///
/// `purpose` keeps the users apart; `stream` is the sample index where there is one.
fn keyed_rng(purpose: [u8; 8], seed: u64, epoch: u64, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&purpose);
    key[8..16].copy_from_slice(&seed.to_le_bytes());
    key[16..24].copy_from_slice(&epoch.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

/// A number in `0..bound`; the bias is below `bound / 2^64`.
///
/// Written out here because the sampling algorithms of `rand` may change between its versions,
/// and a resumed or repeated run must draw the same numbers.
fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `len` images of 2x3x2 whose values count upwards.
    fn counting(len: usize) -> Dataset {
        let images: Vec<u8> = (0..len * 12).map(|value| value as u8).collect();
        let (mean, std) = channel_statistics(&images, 2);
        Dataset {
            name: "counting".to_owned(),
            height: 2,
            width: 3,
            channels: 2,
            images,
            labels: (0..len).map(|index| (index % 3) as u16).collect(),
            class_names: ["a", "b", "c"].map(String::from).to_vec(),
            mean,
            std,
        }
    }

    #[test]
    fn names_in_configs_are_those_of_as_str() {
        for name in [
            DataName::Shapes,
            DataName::Mnist,
            DataName::Cifar10,
            DataName::Imagenet,
        ] {
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
        for text in [
            "name = 'mnist'\nsize = 3",
            "name = 'mnist'\naugment = { rotate = 3 }",
        ] {
            let message = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
            assert!(
                message.contains("size") || message.contains("rotate"),
                "{message}"
            );
        }
    }

    #[test]
    fn statistics_are_those_of_the_definition() {
        let (mean, std) = channel_statistics(&[0, 10, 255, 10, 51, 10], 2);
        let values = [0.0f64, 1.0, 0.2];
        let expected = values.iter().sum::<f64>() / 3.0;
        let variance = values.iter().map(|v| (v - expected).powi(2)).sum::<f64>() / 3.0;
        assert!((f64::from(mean[0]) - expected).abs() < 1e-7);
        assert!((f64::from(std[0]) - variance.sqrt()).abs() < 1e-7);
        assert_eq!((mean[1], std[1]), (10.0 / 255.0, 1.0));
    }

    #[test]
    fn truncating_keeps_the_first_images_and_the_statistics() {
        let whole = counting(5);
        let part = whole.clone().truncated(2);
        assert_eq!(part.len(), 2);
        assert_eq!(
            (part.image(1), &part.labels[..]),
            (whole.image(1), &whole.labels[..2])
        );
        assert_eq!((&part.mean, &part.std), (&whole.mean, &whole.std));
        assert_eq!(whole.clone().truncated(9), whole);
        part.check().unwrap();
    }

    #[test]
    fn the_fingerprint_sees_shape_images_and_labels_only() {
        let base = counting(4);
        let print = fingerprint(&base);
        assert_eq!(print.len(), 64);
        assert_eq!(
            fingerprint(&Dataset {
                name: "other".to_owned(),
                ..base.clone()
            }),
            print
        );
        let mut changed = [counting(4), counting(4), counting(4), counting(3)];
        (changed[0].height, changed[0].width) = (3, 2);
        changed[1].images[47] ^= 1;
        changed[2].labels[3] ^= 1;
        assert!(changed.iter().all(|dataset| fingerprint(dataset) != print));
    }

    #[test]
    fn data_sets_that_cannot_be_had_say_why() {
        let answer = |config: DataConfig| load(&config, None).unwrap_err().to_string();
        assert!(answer(DataConfig::of(DataName::Mnist)).contains("S3_DATA_DIR"));
        assert!(answer(DataConfig::of(DataName::Imagenet)).contains("no loader"));
        let zero = DataConfig {
            test_limit: Some(0),
            ..DataConfig::of(DataName::Shapes)
        };
        assert!(answer(zero).contains("test_limit is 0"));
    }

    #[test]
    fn numbers_below_a_bound_reach_every_value() {
        let mut rng = keyed_rng(*b"testing.", 1, 2, 3);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[below(&mut rng, 5)] += 1;
        }
        assert!(
            seen.iter().all(|&count| (140..260).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn generators_differ_in_purpose_seed_epoch_and_stream() {
        let first =
            |purpose, seed, epoch, stream| keyed_rng(purpose, seed, epoch, stream).next_u64();
        let base = first(*b"testing.", 1, 2, 3);
        assert_eq!(first(*b"testing.", 1, 2, 3), base);
        let others = [
            first(*b"Testing.", 1, 2, 3),
            first(*b"testing.", 2, 2, 3),
            first(*b"testing.", 1, 3, 3),
            first(*b"testing.", 1, 2, 4),
        ];
        assert!(!others.contains(&base));
    }
}
