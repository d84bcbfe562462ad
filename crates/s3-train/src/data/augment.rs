//! Augmentation and normalisation: from the bytes of an image to the values a network reads.
//!
//! Per training image, in the order of the usual CIFAR recipe: a frame of `pad` black pixels is
//! put around it, a window of the original size is cut out at a uniform position, and the window
//! is mirrored with probability 1/2. Then value `x` of channel `c` becomes
//! `(x / 255 - mean[c]) / std[c]`. As in `torchvision.transforms.RandomCrop`, padding is 0
//! *before* normalising, so it ends up at `-mean[c] / std[c]`.
//!
//! ```
//! use s3_train::data::augment::{AugmentConfig, Placement};
//!
//! let config = AugmentConfig { pad: 4, flip: true };
//! let placement = Placement::draw(config, 1, 0, 7);
//! assert_eq!(placement, Placement::draw(config, 1, 0, 7));
//! assert!(placement.down.abs() <= 4 && placement.right.abs() <= 4);
//! assert_eq!(Placement::draw(AugmentConfig::OFF, 1, 0, 7), Placement::CENTRED);
//! ```

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::{Dataset, below, keyed_rng};

/// Which random changes training images undergo. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Pixels of black frame before the crop; 0 = no crop. 4 in the CIFAR recipe.
    pub pad: usize,
    /// Whether to mirror half of the images left to right.
    pub flip: bool,
}

impl AugmentConfig {
    /// No augmentation.
    pub const OFF: Self = Self {
        pad: 0,
        flip: false,
    };
}

/// Where the window of one image lies, and whether it is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Rows by which the window lies below the image, `-pad..=pad`.
    pub down: isize,
    /// Columns by which the window lies to the right of the image, `-pad..=pad`.
    pub right: isize,
    /// Whether the window is mirrored left to right.
    pub flip: bool,
}

impl Placement {
    /// The image as it is.
    pub const CENTRED: Self = Self {
        down: 0,
        right: 0,
        flip: false,
    };

    /// The placement of image `sample` in epoch `epoch` of a run seeded `seed`.
    ///
    /// A function of its arguments. `down` and `right` are uniform over `-pad..=pad` and do not
    /// change when `flip` is switched.
    #[must_use]
    pub fn draw(config: AugmentConfig, seed: u64, epoch: u64, sample: usize) -> Self {
        if config == AugmentConfig::OFF {
            return Self::CENTRED;
        }
        let mut rng = keyed_rng(*b"augment.", seed, epoch, sample as u64);
        let mut offset = || below(&mut rng, 2 * config.pad + 1) as isize - config.pad as isize;
        let (down, right) = (offset(), offset());
        Self {
            down,
            right,
            flip: config.flip && rng.next_u32() >> 31 == 1,
        }
    }
}

/// The map from a byte to a normalised value, tabulated per channel.
#[derive(Debug, Clone)]
pub struct Normalizer {
    /// `table[channel][byte]`.
    table: Vec<[f32; 256]>,
}

impl Normalizer {
    /// Tabulates `(x / 255 - mean[c]) / std[c]`, exactly as f32 arithmetic computes it.
    #[must_use]
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        let channel = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        };
        Self {
            table: mean.iter().zip(std).map(channel).collect(),
        }
    }

    /// The normalised `value` of channel `channel`.
    ///
    /// # Panics
    ///
    /// If there is no such channel.
    #[must_use]
    pub fn value(&self, channel: usize, value: u8) -> f32 {
        self.table[channel][usize::from(value)]
    }

    /// Writes image `index` of `dataset`, placed and normalised, to `out`: `[height, width,
    /// channels]`, the pixels outside of the image being those of value 0.
    ///
    /// # Panics
    ///
    /// If there is no such image, or `out` or the table has another shape.
    pub fn write(&self, dataset: &Dataset, index: usize, placement: Placement, out: &mut [f32]) {
        let Dataset {
            height,
            width,
            channels,
            ..
        } = *dataset;
        assert_eq!(out.len(), dataset.image_len(), "one value an image byte");
        assert_eq!(self.table.len(), channels, "one table a channel");
        let image = dataset.image(index);
        for (y, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
            let row = y
                .checked_add_signed(placement.down)
                .filter(|&row| row < height);
            let row = row.map(|row| &image[row * width * channels..][..width * channels]);
            for (x, out_pixel) in out_row.chunks_exact_mut(channels).enumerate() {
                let x = if placement.flip { width - 1 - x } else { x };
                let column = x
                    .checked_add_signed(placement.right)
                    .filter(|&column| column < width);
                let pixel = row
                    .zip(column)
                    .map(|(row, column)| &row[column * channels..][..channels]);
                for (channel, out) in out_pixel.iter_mut().enumerate() {
                    *out = self.value(channel, pixel.map_or(0, |pixel| pixel[channel]));
                }
            }
        }
    }
}
