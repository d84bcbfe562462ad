//! Augmentation and normalisation: from the numbers of an image to the values a network reads.
//!
//! Per training image, in the order of the usual CIFAR recipe: a frame of `pad` black pixels is
//! put around it, a window of the original size is cut out at a uniform position, and the window
//! is mirrored with probability 1/2. Then byte `x` of channel `c` becomes
//! `(x / 255 - mean[c]) / std[c]`, and float `x` becomes `(x - mean[c]) / std[c]`. As in
//! `torchvision.transforms.RandomCrop`, padding is 0 *before* normalising, so it ends up at
//! `-mean[c] / std[c]`.
//!
//! Images in files have many sizes and another recipe, `resized_crop` ([`crop`](super::crop)).
//!
//! ```
//! use s3_train::data::augment::{AugmentConfig, Placement};
//!
//! let config = AugmentConfig { pad: 4, flip: true, ..AugmentConfig::OFF };
//! let placement = Placement::draw(config, 1, 0, 7);
//! assert_eq!(placement, Placement::draw(config, 1, 0, 7));
//! assert!(placement.down.abs() <= 4 && placement.right.abs() <= 4);
//! assert_eq!(Placement::draw(AugmentConfig::OFF, 1, 0, 7), Placement::CENTRED);
//! ```

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::random::{below, keyed_rng};

/// Which random changes training images undergo. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Pixels of black frame before the crop; 0 = no crop. 4 in the CIFAR recipe. For images in
    /// memory.
    pub pad: usize,
    /// Whether to mirror half of the images left to right.
    pub flip: bool,
    /// Whether to train on a random part of each image, resized. For images in files.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resized_crop: bool,
}

impl AugmentConfig {
    /// No augmentation.
    pub const OFF: Self = Self {
        pad: 0,
        flip: false,
        resized_crop: false,
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

/// What images are made of: bytes, of which 255 counts as 1, or floats as they are.
pub trait Number: Copy {
    /// What lies outside of an image.
    const BLACK: Self;

    /// The normalised number, one of channel `channel`.
    fn normalised(self, by: &Normalizer, channel: usize) -> f32;

    /// Writes a pixel, `[channels]`, normalised, to `out`.
    fn pixel(pixel: &[Self], by: &Normalizer, out: &mut [f32]);
}

impl Number for u8 {
    const BLACK: Self = 0;

    fn normalised(self, by: &Normalizer, channel: usize) -> f32 {
        by.table[channel][usize::from(self)]
    }

    fn pixel(pixel: &[Self], by: &Normalizer, out: &mut [f32]) {
        for ((out, &value), table) in out.iter_mut().zip(pixel).zip(&by.table) {
            *out = table[usize::from(value)];
        }
    }
}

impl Number for f32 {
    const BLACK: Self = 0.0;

    fn normalised(self, by: &Normalizer, channel: usize) -> f32 {
        (self - by.mean[channel]) / by.std[channel]
    }

    fn pixel(pixel: &[Self], by: &Normalizer, out: &mut [f32]) {
        let statistics = by.mean.iter().zip(&by.std);
        for ((out, value), (mean, std)) in out.iter_mut().zip(pixel).zip(statistics) {
            *out = (value - mean) / std;
        }
    }
}

/// The map from a number of an image to a normalised one; that of bytes is tabulated per channel.
#[derive(Debug, Clone)]
pub struct Normalizer {
    mean: Vec<f32>,
    std: Vec<f32>,
    /// `table[channel][byte]`.
    table: Vec<[f32; 256]>,
}

impl Normalizer {
    /// Tabulates `(x / 255 - mean[c]) / std[c]` of bytes, exactly as f32 arithmetic computes it.
    ///
    /// # Shapes
    ///
    /// `mean` and `std`: `[channels]`.
    #[must_use]
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        let channel = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        };
        Self {
            mean: mean.to_vec(),
            std: std.to_vec(),
            table: mean.iter().zip(std).map(channel).collect(),
        }
    }

    /// The normalised `value` of channel `channel`.
    ///
    /// # Panics
    ///
    /// If there is no such channel.
    #[must_use]
    pub fn value<T: Number>(&self, channel: usize, value: T) -> f32 {
        value.normalised(self, channel)
    }

    /// Writes an image, placed and normalised, to `out`.
    ///
    /// # Shapes
    ///
    /// `image` and `out`: `[height, width, channels]`, with one mean a channel. The pixels outside
    /// of the image are those of value 0.
    ///
    /// # Panics
    ///
    /// If `out` has another length, or it does not divide into rows of `width`.
    pub fn write<T: Number>(
        &self,
        image: &[T],
        width: usize,
        placement: Placement,
        out: &mut [f32],
    ) {
        let channels = self.table.len();
        let row_len = width * channels;
        assert_eq!(out.len(), image.len(), "one value a number of the image");
        assert_eq!(image.len() % row_len, 0, "rows of {width} pixels");
        let height = image.len() / row_len;
        for (y, out_row) in out.chunks_exact_mut(row_len).enumerate() {
            let row = y
                .checked_add_signed(placement.down)
                .filter(|&row| row < height);
            let row = row.map(|row| &image[row * row_len..][..row_len]);
            let pixels = out_row.chunks_exact_mut(channels);
            match row {
                // Every pixel is inside: no test for each.
                Some(row) if placement.right == 0 && !placement.flip => {
                    let inside = pixels.zip(row.chunks_exact(channels));
                    inside.for_each(|(out, pixel)| T::pixel(pixel, self, out));
                }
                Some(row) if placement.right == 0 => {
                    let inside = pixels.zip(row.chunks_exact(channels).rev());
                    inside.for_each(|(out, pixel)| T::pixel(pixel, self, out));
                }
                _ => self.row(row, width, placement, out_row),
            }
        }
    }

    /// [`write`](Self::write) for one row; `None` lies outside of the image.
    fn row<T: Number>(
        &self,
        row: Option<&[T]>,
        width: usize,
        placement: Placement,
        out: &mut [f32],
    ) {
        let channels = self.table.len();
        for (x, out_pixel) in out.chunks_exact_mut(channels).enumerate() {
            let x = if placement.flip { width - 1 - x } else { x };
            let column = x
                .checked_add_signed(placement.right)
                .filter(|&column| column < width);
            let pixel = row
                .zip(column)
                .map(|(row, column)| &row[column * channels..][..channels]);
            for (channel, out) in out_pixel.iter_mut().enumerate() {
                *out = self.value(channel, pixel.map_or(T::BLACK, |pixel| pixel[channel]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dataset::{Dataset, Image, Images, channel_statistics};
    use super::*;

    /// `len` images of random bytes.
    fn noise(len: usize, height: usize, width: usize, channels: usize) -> Dataset {
        let mut images = vec![0; len * height * width * channels];
        keyed_rng(*b"testing.", 0, 0, 0).fill_bytes(&mut images);
        let (mean, std) = channel_statistics(&images, channels);
        Dataset {
            name: "noise".to_owned(),
            height,
            width,
            channels,
            images: Images::Bytes(images),
            labels: vec![0; len],
            class_names: vec!["noise".to_owned()],
            mean,
            std,
        }
    }

    fn placed(dataset: &Dataset, index: usize, placement: Placement) -> Vec<f32> {
        let mut out = vec![f32::NAN; dataset.image_len()];
        let (image, normalizer) = (
            dataset.image(index).unwrap(),
            Normalizer::new(&dataset.mean, &dataset.std),
        );
        match image {
            Image::Bytes(bytes) => normalizer.write(&bytes, dataset.width, placement, &mut out),
            Image::Floats(floats) => normalizer.write(floats, dataset.width, placement, &mut out),
        }
        out
    }

    /// What the module's documentation says, step by step: pad, crop, mirror, normalise.
    fn reference(dataset: &Dataset, index: usize, pad: usize, placement: Placement) -> Vec<f32> {
        let Dataset {
            height,
            width,
            channels,
            ref mean,
            ref std,
            ..
        } = *dataset;
        let mut padded = vec![vec![vec![0u8; channels]; width + 2 * pad]; height + 2 * pad];
        for (at, &value) in dataset.image(index).unwrap().bytes().iter().enumerate() {
            let (y, x, c) = (at / channels / width, at / channels % width, at % channels);
            padded[y + pad][x + pad][c] = value;
        }
        let top = (pad as isize + placement.down) as usize;
        let left = (pad as isize + placement.right) as usize;
        let mut rows: Vec<Vec<Vec<u8>>> = padded[top..][..height]
            .iter()
            .map(|row| row[left..][..width].to_vec())
            .collect();
        if placement.flip {
            rows.iter_mut().for_each(|row| row.reverse());
        }
        let values = rows.into_iter().flatten().flatten().enumerate();
        values
            .map(|(at, x)| (f32::from(x) / 255.0 - mean[at % channels]) / std[at % channels])
            .collect()
    }

    proptest! {
        #[test]
        fn placing_is_padding_then_cropping_then_mirroring_then_normalising(
            (height, width, channels) in (1usize..9, 1usize..9, 1usize..4),
            (pad, flip) in (0usize..6, any::<bool>()),
            (seed, epoch) in (any::<u64>(), any::<u64>()),
        ) {
            let dataset = noise(3, height, width, channels);
            for index in 0..3 {
                let augment = AugmentConfig { pad, flip, ..AugmentConfig::OFF };
                let placement = Placement::draw(augment, seed, epoch, index);
                let expected = reference(&dataset, index, pad, placement);
                prop_assert_eq!(placed(&dataset, index, placement), expected);
            }
        }
    }

    #[test]
    fn floats_are_placed_like_bytes_and_count_as_they_are() {
        let bytes = noise(2, 5, 7, 3);
        // Bytes / 255 as floats: the same division, so the same bits.
        let floats = bytes.images.bytes().iter().map(|&b| f32::from(b) / 255.0);
        let floats = Dataset {
            images: Images::Floats(floats.collect()),
            ..bytes.clone()
        };
        let config = AugmentConfig {
            pad: 3,
            flip: true,
            ..AugmentConfig::OFF
        };
        for (index, epoch) in (0..40).map(|i| (i % 2, i as u64)) {
            let placement = Placement::draw(config, 1, epoch, index);
            assert_eq!(
                placed(&floats, index, placement),
                placed(&bytes, index, placement)
            );
        }
        let normalizer = Normalizer::new(&[0.5, -8.0], &[0.5, 2.0]);
        assert_eq!(normalizer.value(0, -1.5f32), -4.0);
        assert_eq!(normalizer.value(1, 1000.0f32), 504.0);
    }

    #[test]
    fn pixels_outside_of_the_image_are_black_before_normalising() {
        let dataset = noise(1, 8, 8, 3);
        let out = placed(
            &dataset,
            0,
            Placement {
                down: -4,
                right: 3,
                flip: false,
            },
        );
        let inside = placed(&dataset, 0, Placement::CENTRED);
        for (y, x, c) in (0..8 * 8 * 3).map(|at| (at / 24, at / 3 % 8, at % 3)) {
            let expected = if y < 4 || x >= 5 {
                -dataset.mean[c] / dataset.std[c]
            } else {
                inside[((y - 4) * 8 + x + 3) * 3 + c]
            };
            assert_eq!(out[(y * 8 + x) * 3 + c], expected, "{y} {x} {c}");
        }
    }

    #[test]
    fn normalised_values_have_mean_0_and_deviation_1() {
        let dataset = noise(50, 8, 8, 2);
        let values: Vec<f32> = (0..50)
            .flat_map(|i| placed(&dataset, i, Placement::CENTRED))
            .collect();
        for channel in 0..2 {
            let of_channel = values
                .iter()
                .skip(channel)
                .step_by(2)
                .map(|&x| f64::from(x));
            let mean = of_channel.clone().sum::<f64>() / 3200.0;
            let square = of_channel.map(|x| x * x).sum::<f64>() / 3200.0;
            assert!(
                mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-5,
                "{mean} {square}"
            );
        }
        let normalizer = Normalizer::new(&[0.5, 0.25], &[0.5, 2.0]);
        assert_eq!([0u8, 255].map(|x| normalizer.value(0, x)), [-1.0, 1.0]);
        assert_eq!([0u8, 255].map(|x| normalizer.value(1, x)), [-0.125, 0.375]);
    }

    #[test]
    fn mirroring_twice_is_the_identity() {
        let dataset = noise(1, 5, 7, 3);
        let mut mirrored = dataset.clone();
        let Images::Bytes(bytes) = &mut mirrored.images else {
            unreachable!("noise is in memory")
        };
        let flip = Placement {
            flip: true,
            ..Placement::CENTRED
        };
        for (row, source) in bytes
            .chunks_mut(21)
            .zip(dataset.image(0).unwrap().bytes().chunks(21))
        {
            let pixels: Vec<u8> = source.chunks(3).rev().flatten().copied().collect();
            row.copy_from_slice(&pixels);
        }
        assert_ne!(
            placed(&dataset, 0, flip),
            placed(&dataset, 0, Placement::CENTRED)
        );
        assert_eq!(
            placed(&mirrored, 0, flip),
            placed(&dataset, 0, Placement::CENTRED)
        );
    }

    #[test]
    fn a_placement_is_a_function_of_seed_epoch_and_sample() {
        let config = AugmentConfig {
            pad: 4,
            flip: true,
            ..AugmentConfig::OFF
        };
        let draws = |seed, epoch, first| -> Vec<Placement> {
            (first..first + 50)
                .map(|sample| Placement::draw(config, seed, epoch, sample))
                .collect()
        };
        let base = draws(1, 2, 3);
        assert_eq!(draws(1, 2, 3), base);
        assert_eq!(draws(1, 2, 4)[..49], base[1..]);
        for other in [draws(2, 2, 3), draws(1, 3, 3), draws(1, 2, 1000)] {
            let equal = other.iter().zip(&base).filter(|(a, b)| a == b).count();
            assert!(equal < 10, "{equal} of 50 placements coincide");
        }
        // Another value would break the resume of older runs.
        let first = Placement::draw(config, 1, 0, 0);
        assert_eq!(
            first,
            Placement {
                down: -3,
                right: 4,
                flip: false
            }
        );
    }

    #[test]
    fn offsets_and_mirroring_are_uniform() {
        let config = AugmentConfig {
            pad: 2,
            flip: true,
            ..AugmentConfig::OFF
        };
        let (mut down, mut right, mut flips) = ([0; 5], [0; 5], 0);
        for sample in 0..5000 {
            let placement = Placement::draw(config, 7, 1, sample);
            down[(placement.down + 2) as usize] += 1;
            right[(placement.right + 2) as usize] += 1;
            flips += usize::from(placement.flip);
        }
        // Each count is binomial with mean 1000 and deviation 28; the flips' is 35 around 2500.
        assert!(
            down.iter()
                .chain(&right)
                .all(|count| (850..1150).contains(count)),
            "{down:?} {right:?}"
        );
        assert!((2325..2675).contains(&flips), "{flips}");
    }

    #[test]
    fn switching_mirroring_leaves_the_crop() {
        for sample in 0..20 {
            let with = Placement::draw(
                AugmentConfig {
                    pad: 4,
                    flip: true,
                    ..AugmentConfig::OFF
                },
                1,
                0,
                sample,
            );
            let without = Placement::draw(
                AugmentConfig {
                    pad: 4,
                    ..AugmentConfig::OFF
                },
                1,
                0,
                sample,
            );
            assert_eq!(
                Placement {
                    flip: false,
                    ..with
                },
                without
            );
        }
    }
}
