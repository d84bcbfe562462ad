//! The images and labels of a split, in memory or in files, with statistics and fingerprint.

use s3_layers::model::{Numbers, Size};
use std::borrow::Cow;
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::crop::View;
use super::error::DataError;
use super::image_files::ImageFiles;
use crate::digest::hex;

/// Where the images of a split are.
#[derive(Debug, Clone, PartialEq)]
pub enum Images {
    /// `[len, height, width, channels]`, one byte a value, in memory.
    Bytes(Vec<u8>),
    /// `[len, height, width, channels]`, finite numbers that count as they are, in memory.
    Floats(Vec<f32>),
    /// Image files, or shards of them, read and decoded whenever they are asked for.
    Files(ImageFiles),
}

impl Images {
    /// The bytes of images in memory; none of floats and of images in files.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Floats(_) | Self::Files(_) => &[],
        }
    }

    /// What they are made of.
    #[must_use]
    pub const fn numbers(&self) -> Numbers {
        match self {
            Self::Bytes(_) | Self::Files(_) => Numbers::Bytes,
            Self::Floats(_) => Numbers::Floats,
        }
    }
}

/// The numbers of one image, `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Image<'a> {
    /// Bytes, of which 255 counts as 1.
    Bytes(Cow<'a, [u8]>),
    /// Numbers that count as they are.
    Floats(&'a [f32]),
}

impl Image<'_> {
    /// The bytes; none of floats.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Floats(_) => &[],
        }
    }

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Floats(floats) => floats.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Images and labels of one split.
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
    /// The images, one a label.
    pub images: Images,
    /// `[len]`, each below `class_names.len()`.
    pub labels: Vec<u16>,
    /// What the labels stand for.
    pub class_names: Vec<String>,
    /// Per channel, the mean of value / 255, of floats that of the values, over the whole official
    /// **training** split, in the test split too and whatever the limits. Of images in files it
    /// is ImageNet's ([`imagenet::MEAN`](super::imagenet::MEAN)), whatever the folder; of arrays
    /// the config may name it.
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

    /// The size of an image.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            height: self.height,
            width: self.width,
            channels: self.channels,
        }
    }

    /// Values of one image: `height * width * channels`.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The numbers of image `index` as evaluation sees it, `[height, width, channels]`.
    ///
    /// # Errors
    ///
    /// An image that cannot be read; images in memory always can.
    ///
    /// # Panics
    ///
    /// If `index >= self.len()`.
    pub fn image(&self, index: usize) -> Result<Image<'_>, DataError> {
        let size = self.image_len();
        let range = index * size..(index + 1) * size;
        Ok(match &self.images {
            Images::Bytes(bytes) => Image::Bytes(bytes[range].into()),
            Images::Floats(floats) => Image::Floats(&floats[range]),
            Images::Files(images) => Image::Bytes(images.view(index, View::Centre)?.into()),
        })
    }

    /// The first `limit` images, or all if there are fewer. The statistics stay.
    #[must_use]
    pub fn truncated(self, limit: usize) -> Self {
        if limit < self.len() {
            self.split_at(limit).0
        } else {
            self
        }
    }

    /// The first `keep` images and the others, both with the statistics of the whole.
    ///
    /// # Panics
    ///
    /// If `keep > self.len()`.
    #[must_use]
    pub fn split_at(mut self, keep: usize) -> (Self, Self) {
        let labels = self.labels.split_off(keep);
        let size = self.image_len();
        let images = match &mut self.images {
            Images::Bytes(bytes) => Images::Bytes(bytes.split_off(keep * size)),
            Images::Floats(floats) => Images::Floats(floats.split_off(keep * size)),
            Images::Files(images) => Images::Files(images.split_off(keep)),
        };
        let rest = Self {
            name: self.name.clone(),
            images,
            labels,
            class_names: self.class_names.clone(),
            mean: self.mean.clone(),
            std: self.std.clone(),
            ..self
        };
        (self, rest)
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

    /// Of images in files, a line that says how many there are, of how many classes, and what was
    /// left out of the folder and why; `None` of images in memory.
    #[must_use]
    pub fn found(&self) -> Option<String> {
        let Images::Files(images) = &self.images else {
            return None;
        };
        let (name, classes, all) = (&self.name, self.classes(), images.found());
        let used = match self.len() {
            used if used < all => format!(", {used} of them used"),
            _ => String::new(),
        };
        let left_out = images.left_out().map(|text| format!("; {text}"));
        let left_out = left_out.unwrap_or_default();
        Some(format!(
            "{name}: {all} pictures of {classes} classes{used}{left_out}"
        ))
    }

    /// Checks what the public fields promise to each other.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let fail = |problem: &str| Err(DataError::argument(&self.name, problem));
        let one_a_label = match &self.images {
            Images::Bytes(bytes) => bytes.len() == self.len() * self.image_len(),
            Images::Floats(floats) => floats.len() == self.len() * self.image_len(),
            Images::Files(images) => images.len() == self.len(),
        };
        if !one_a_label {
            return fail("the images' numbers do not divide into one image a label");
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

/// SHA-256 of the shape, the images and the labels, as 64 hexadecimal digits: what a run's
/// manifest records to say which data it saw. Names and statistics do not count.
///
/// Of images in files it is the files' names and sizes that count, and not what is in them:
/// reading all of them would take as long as an epoch.
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
    match &dataset.images {
        Images::Bytes(bytes) => hash.update(bytes),
        Images::Floats(floats) => {
            for floats in floats.chunks(1 << 12) {
                let bytes: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
                hash.update(bytes);
            }
        }
        Images::Files(images) => images.identify(&mut hash),
    }
    for label in &dataset.labels {
        hash.update(label.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// Channels whose sums are held at once: features are channels, and there may be millions of them.
const BLOCK: usize = 1 << 12;

/// The channels in blocks, front to end.
fn blocks(channels: usize) -> impl Iterator<Item = Range<usize>> {
    let block = move |first: usize| first..(first + BLOCK).min(channels);
    (0..channels).step_by(BLOCK).map(block)
}

/// Mean and standard deviation per channel, of value / 255 for bytes and of the values for floats,
/// as [`Dataset`] wants them of the training images. Of pictures in files it is 0 and 1.
///
/// ```
/// use s3_train::data::{Images, statistics};
///
/// let images = Images::Bytes(vec![0, 51, 255, 51]);
/// assert_eq!(statistics(&images, 2), (vec![0.5, 0.2], vec![0.5, 1.0]));
/// ```
#[must_use]
pub fn statistics(images: &Images, channels: usize) -> (Vec<f32>, Vec<f32>) {
    match images {
        Images::Bytes(bytes) if !bytes.is_empty() => channel_statistics(bytes, channels),
        Images::Floats(floats) if !floats.is_empty() => float_statistics(floats, channels),
        _ => (vec![0.0; channels], vec![1.0; channels]),
    }
}

/// Mean and standard deviation of value / 255 per channel of NHWC `images`.
///
/// Sums are exact integers, so the result does not depend on any order of summation. A channel
/// that never varies gets the standard deviation 1, so that normalising it gives 0.
pub(super) fn channel_statistics(images: &[u8], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (images.len() / channels).max(1) as f64;
    let statistics = |(sum, squares): (u64, u64)| {
        let mean = sum as f64 / count;
        let variance = squares as f64 / count - mean * mean;
        let std = if variance > 0.0 {
            variance.sqrt() / 255.0
        } else {
            1.0
        };
        ((mean / 255.0) as f32, std as f32)
    };
    let of_block = |block: Range<usize>| {
        let mut sums = vec![(0u64, 0u64); block.len()];
        for pixel in images.chunks_exact(channels) {
            for ((sum, squares), &value) in sums.iter_mut().zip(&pixel[block.clone()]) {
                let value = u64::from(value);
                *sum += value;
                *squares += value * value;
            }
        }
        sums.into_iter().map(statistics)
    };
    blocks(channels).flat_map(of_block).unzip()
}

/// Mean and standard deviation per channel of NHWC `images`, which hold at least one finite pixel.
///
/// Sums are f64 and run from the first pixel to the last, so that they are the same everywhere. A
/// channel that never varies, or by less than an f32 can say, gets the standard deviation 1.
pub(super) fn float_statistics(images: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (images.len() / channels) as f64;
    let of_block = |block: Range<usize>| {
        let pixels = || images.chunks_exact(channels).map(|p| &p[block.clone()]);
        let means_of = |term: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; block.len()];
            for pixel in pixels() {
                for (c, (sum, &value)) in sums.iter_mut().zip(pixel).enumerate() {
                    *sum += term(c, f64::from(value));
                }
            }
            sums.iter().map(|sum| sum / count).collect()
        };
        let mean: Vec<f64> = means_of(&|_, value| value);
        let variance: Vec<f64> = means_of(&|c, value| (value - mean[c]).powi(2));
        let varies = |c: usize| pixels().any(|pixel| pixel[c] != images[block.start + c]);
        let statistics = |(c, (mean, variance)): (usize, (&f64, &f64))| {
            let std = variance.sqrt() as f32;
            let std = if std > 0.0 && varies(c) { std } else { 1.0 };
            (*mean as f32, std)
        };
        let channels = mean.iter().zip(&variance).enumerate();
        channels.map(statistics).collect::<Vec<_>>()
    };
    blocks(channels).flat_map(of_block).unzip()
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
            images: Images::Bytes(images),
            labels: (0..len).map(|index| (index % 3) as u16).collect(),
            class_names: ["a", "b", "c"].map(String::from).to_vec(),
            mean,
            std,
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
    fn statistics_of_a_channel_are_those_of_it_alone() {
        let channels = 2 * BLOCK + 3;
        let byte = |pixel: usize, channel: usize| (pixel * 71 + channel * 37 + channel / 256) as u8;
        let bytes: Vec<u8> = (0..3 * channels)
            .map(|at| byte(at / channels, at % channels))
            .collect();
        let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 7.0).collect();
        let (of_bytes, of_floats) = (
            channel_statistics(&bytes, channels),
            float_statistics(&floats, channels),
        );
        assert_eq!([of_bytes.1.len(), of_floats.1.len()], [channels; 2]);
        for channel in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, channels - 1] {
            let bytes = [0, 1, 2].map(|pixel| byte(pixel, channel));
            let (mean, std) = channel_statistics(&bytes, 1);
            assert_eq!(
                (of_bytes.0[channel], of_bytes.1[channel]),
                (mean[0], std[0])
            );
            let (mean, std) = float_statistics(&bytes.map(|byte| f32::from(byte) / 7.0), 1);
            assert_eq!(
                (of_floats.0[channel], of_floats.1[channel]),
                (mean[0], std[0])
            );
        }
    }

    #[test]
    fn statistics_of_floats_are_those_of_the_definition() {
        let values = [-3.5f32, 1e6, 0.25, 1e6, 7.0, 1e6 + 1.0];
        let (mean, std) = float_statistics(&values, 2);
        let first = [-3.5f64, 0.25, 7.0];
        let expected = first.iter().sum::<f64>() / 3.0;
        let variance = first.iter().map(|v| (v - expected).powi(2)).sum::<f64>() / 3.0;
        assert_eq!((mean[0], std[0]), (expected as f32, variance.sqrt() as f32));
        // A small change of large numbers is not lost.
        assert!(
            (f64::from(std[1]) - (2f64 / 9.0).sqrt()).abs() < 1e-6,
            "{std:?}"
        );
        // A third of each: the sum of three is rounded, and the channel does not vary all the same.
        let (mean, std) = float_statistics(&[0.1; 3], 1);
        assert_eq!((mean, std), (vec![0.1], vec![1.0]));
        let tiny = f32::from_bits(1);
        assert_eq!(float_statistics(&[0.0, tiny], 1).1.len(), 1);
        assert!(float_statistics(&[0.0, tiny], 1).1[0] > 0.0);
    }

    #[test]
    fn floats_are_split_and_printed_like_bytes() {
        let bytes = counting(5);
        let floats: Vec<f32> = bytes.images.bytes().iter().map(|&b| f32::from(b)).collect();
        let floats = Dataset {
            images: Images::Floats(floats),
            ..bytes.clone()
        };
        floats.check().unwrap();
        assert_eq!(floats.images.numbers(), Numbers::Floats);
        let (first, rest) = floats.clone().split_at(2);
        assert_eq!(rest.image(2).unwrap(), floats.image(4).unwrap());
        assert_eq!(first.image(1).unwrap().len(), 12);
        first.check().unwrap();
        let print = fingerprint(&floats);
        assert_ne!(print, fingerprint(&bytes));
        let mut changed = floats.clone();
        let Images::Floats(values) = &mut changed.images else {
            unreachable!("floats")
        };
        values[59] += 1.0;
        let whole = fingerprint(&changed);
        assert_ne!(whole, print);
        let Images::Floats(values) = &mut changed.images else {
            unreachable!("floats")
        };
        values.pop();
        assert!(changed.check().is_err());
    }

    #[test]
    fn truncating_keeps_the_first_images_and_the_statistics() {
        let whole = counting(5);
        let part = whole.clone().truncated(2);
        assert_eq!(part.len(), 2);
        assert_eq!(
            (part.image(1).unwrap(), &part.labels[..]),
            (whole.image(1).unwrap(), &whole.labels[..2])
        );
        assert_eq!((&part.mean, &part.std), (&whole.mean, &whole.std));
        assert_eq!(whole.clone().truncated(9), whole);
        part.check().unwrap();
        let (first, rest) = whole.clone().split_at(2);
        assert_eq!((first, rest.len()), (part, 3));
        assert_eq!(rest.image(2).unwrap(), whole.image(4).unwrap());
        rest.check().unwrap();
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
        let Images::Bytes(bytes) = &mut changed[1].images else {
            unreachable!("counting images are in memory")
        };
        bytes[47] ^= 1;
        changed[2].labels[3] ^= 1;
        assert!(changed.iter().all(|dataset| fingerprint(dataset) != print));
    }
}
