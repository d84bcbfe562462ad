//! `shapes`: ten classes of generated images, so that a run needs no download.
//!
//! An image is 32x32 RGB: one shape, antialiased, of random position, size, rotation and colour,
//! on a background of random colour with a mild texture; then noise on every value. The shape is
//! lighter than its background in three images of four and darker in the fourth, so that the
//! mean image of a class says little: a linear model stays near chance (10 %), while a small
//! convolutional network learns the classes from a few thousand images. The networks were
//! measured in PyTorch with SGD, momentum 0.9, a one-cycle learning rate up to 0.1 and no
//! augmentation; the linear models are those of the tests below:
//!
//! | model | images seen | test accuracy |
//! | --- | --- | --- |
//! | ResNet-8 (16-32-64 channels), batch 32 | 10,000 (1 epoch) | 97.2 to 99.2 % (3 seeds) |
//! | ResNet-8, batch 64 | 20,000 (2 epochs) | 99.75 to 99.95 % (3 seeds) |
//! | ResNet-8, batch 128 | 20,000 (2 epochs) | 90 % (1 seed) |
//! | softmax regression | 60,000 (6 epochs) | 25 % |
//! | nearest class mean | 10,000 | 21 % |
//!
//! ```text
//! image i of a split, all numbers drawn from the stream (split, i):
//!   class = i mod 10
//!   place = centre, radius, rotation        the circumscribed circle lies inside the image
//!   paint = background, foreground = mid -/+ contrast, each with a tint; swapped in 1 of 4
//!   for each pixel
//!     p        = rotation^-1 (pixel - centre) / radius
//!     coverage = clamp(1/2 - radius * distance(class, p), 0, 1)
//!     value    = mix(background + texture, foreground, coverage) + noise
//! ```
//!
//! **The same bytes on every machine.** Only `+ - * /`, `sqrt`, comparisons and casts of f32 are
//! used, which IEEE 754 defines to the last bit, and Rust neither fuses nor reorders them.
//! Functions of the platform's mathematics library are not so defined and do not occur: a
//! rotation is made of the half-angle tangent instead of a sine and a cosine, and the corners of
//! the shapes are literal constants.
//!
//! ```
//! use s3_train::data::shapes;
//!
//! let (train, test) = shapes::generate(Some(20), Some(10));
//! assert_eq!(train.image(13)?.len(), 32 * 32 * 3);
//! assert_eq!(train.class_names[usize::from(train.labels[13])], "frame");
//! // A prefix of the data set is the data set of that size.
//! assert_eq!(shapes::generate(Some(5), Some(1)).0, train.truncated(5));
//! # assert_eq!(test.len(), 10);
//! # Ok::<(), s3_train::data::DataError>(())
//! ```

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use super::dataset::{Dataset, Images};
use super::random::keyed_rng;

/// Images of the training split.
pub const TRAIN_LEN: usize = 10_000;

/// Images of the test split.
pub const TEST_LEN: usize = 2_000;

/// What the labels `0..10` stand for.
pub const CLASS_NAMES: [&str; 10] = [
    "circle", "ring", "square", "frame", "triangle", "star", "cross", "bar", "crescent", "bowtie",
];

/// Rows, and columns, of an image.
const SIDE: usize = 32;

/// Red, green, blue.
const CHANNELS: usize = 3;

/// Part of the definition of the data set, like the constants below: another value is another
/// data set. Runs have seeds of their own.
const SEED: u64 = 1;

/// Smallest and largest radius of a shape's circumscribed circle, in pixels.
const RADIUS: (f32, f32) = (10.0, 13.5);

/// Smallest and largest half distance between the greys of shape and background.
const CONTRAST: (f32, f32) = (0.18, 0.30);

/// Largest deviation of a colour channel from its grey.
const TINT: f32 = 0.15;

/// Largest deviation of the background's texture.
const TEXTURE: f32 = 0.05;

/// Cells along a side of the texture; its values at their corners are random.
const CELLS: usize = 4;

/// Largest deviation of the noise on a value.
const NOISE: f32 = 0.06;

/// Mean and standard deviation of the whole training split; a test computes them.
const MEAN: [f32; CHANNELS] = [0.431_293_34, 0.431_593_63, 0.431_901_4];
const STD: [f32; CHANNELS] = [0.250_638_04, 0.250_613_03, 0.250_498_86];

/// Generates the training and the test split: [`TRAIN_LEN`] and [`TEST_LEN`] images, or fewer
/// where a limit says so.
///
/// Image `i` has the class `i % 10`. Every prefix is therefore class-balanced, and the images
/// in it are those of the whole split.
#[must_use]
pub fn generate(train_limit: Option<usize>, test_limit: Option<usize>) -> (Dataset, Dataset) {
    let limit = |len: usize, limit: Option<usize>| limit.map_or(len, |limit| limit.min(len));
    let train = split("shapes/train", 0, limit(TRAIN_LEN, train_limit));
    let test = split("shapes/test", 1, limit(TEST_LEN, test_limit));
    (train, test)
}

fn split(name: &str, number: u64, len: usize) -> Dataset {
    const SIZE: usize = SIDE * SIDE * CHANNELS;
    let mut images = vec![0; len * SIZE];
    images
        .par_chunks_exact_mut(SIZE)
        .enumerate()
        .for_each(|(index, image)| {
            draw(
                class_of(index),
                Draw(keyed_rng(*b"shapes  ", SEED, number, index as u64)),
                image,
            );
        });
    Dataset {
        name: name.to_owned(),
        height: SIDE,
        width: SIDE,
        channels: CHANNELS,
        images: Images::Bytes(images),
        labels: (0..len).map(|index| class_of(index) as u16).collect(),
        class_names: CLASS_NAMES.map(String::from).to_vec(),
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
    }
}

fn class_of(index: usize) -> usize {
    index % CLASS_NAMES.len()
}

/// The random numbers of one image.
struct Draw(ChaCha8Rng);

impl Draw {
    /// Uniform in `low..high`, a multiple of 2^-24 of the way: exact in f32.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.0.next_u32() >> 8) as f32 / 16_777_216.0;
        low + (high - low) * unit
    }

    fn around_zero(&mut self, most: f32) -> f32 {
        self.between(-most, most)
    }

    /// Uniform in `0..bound`, a power of two.
    fn choose(&mut self, bound: u32) -> u32 {
        self.0.next_u32() & (bound - 1)
    }

    /// Cosine and sine of a random angle.
    ///
    /// For t = tan(a / 2), cos a = (1 - t^2) / (1 + t^2) and sin a = 2 t / (1 + t^2). With t
    /// uniform, |a| up to an eighth turn and a random number of quarter turns added, every angle
    /// occurs, and its density varies by 17 %.
    fn rotation(&mut self) -> (f32, f32) {
        /// tan(pi / 8): half angles up to an eighth turn.
        const LIMIT: f32 = 0.414_213_57;
        let t = self.around_zero(LIMIT);
        let scale = 1.0 / (1.0 + t * t);
        let (cos, sin) = ((1.0 - t * t) * scale, 2.0 * t * scale);
        match self.choose(4) {
            0 => (cos, sin),
            1 => (-sin, cos),
            2 => (-cos, -sin),
            _ => (sin, -cos),
        }
    }

    fn colour(&mut self, grey: f32) -> [f32; CHANNELS] {
        [(); CHANNELS].map(|()| grey + self.around_zero(TINT))
    }
}

/// Paints the image of `class` that `random` describes into `image`: `[SIDE, SIDE, CHANNELS]`.
fn draw(class: usize, mut random: Draw, image: &mut [u8]) {
    let radius = random.between(RADIUS.0, RADIUS.1);
    let room = SIDE as f32 / 2.0 - radius;
    let centre = [(); 2].map(|()| SIDE as f32 / 2.0 + random.around_zero(room));
    let (cos, sin) = random.rotation();

    let mid = random.between(0.4, 0.6);
    let contrast = random.between(CONTRAST.0, CONTRAST.1);
    let contrast = if random.choose(4) == 0 {
        -contrast
    } else {
        contrast
    };
    let background = random.colour(mid - contrast);
    let foreground = random.colour(mid + contrast);
    let texture = Texture([(); (CELLS + 1) * (CELLS + 1)].map(|()| random.around_zero(TEXTURE)));

    for (y, row) in image.chunks_exact_mut(SIDE * CHANNELS).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(CHANNELS).enumerate() {
            let (dx, dy) = (x as f32 + 0.5 - centre[0], y as f32 + 0.5 - centre[1]);
            let p = [
                (dx * cos + dy * sin) / radius,
                (dy * cos - dx * sin) / radius,
            ];
            let coverage = (0.5 - radius * distance(class, p)).clamp(0.0, 1.0);
            let texture = texture.at(x, y);
            for (channel, value) in pixel.iter_mut().enumerate() {
                let behind = background[channel] + texture;
                let clean = behind + (foreground[channel] - behind) * coverage;
                // The cast saturates: values outside of 0..=1 become black or full.
                *value = ((clean + random.around_zero(NOISE)) * 255.0 + 0.5) as u8;
            }
        }
    }
}

/// Random values at the corners of a grid, interpolated linearly between them.
struct Texture([f32; (CELLS + 1) * (CELLS + 1)]);

impl Texture {
    fn at(&self, x: usize, y: usize) -> f32 {
        const STEP: usize = SIDE / CELLS;
        let corner = |row: usize, column: usize| self.0[row * (CELLS + 1) + column];
        let (row, column) = (y / STEP, x / STEP);
        let (down, right) = (
            (y % STEP) as f32 / STEP as f32,
            (x % STEP) as f32 / STEP as f32,
        );
        let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
        let above = mix(corner(row, column), corner(row, column + 1), right);
        let under = mix(corner(row + 1, column), corner(row + 1, column + 1), right);
        mix(above, under, down)
    }
}

/// Signed distance of `p` to the edge of shape `class`, negative inside. The circumscribed radius
/// is about 1 (1.06 for the bowtie, at most 1.02 for the others). Exact near the edge, which is
/// all that antialiasing asks for; elsewhere it may be too small in magnitude.
fn distance(class: usize, p: [f32; 2]) -> f32 {
    let [x, y] = p;
    let (ax, ay) = (x.abs(), y.abs());
    let slab = |half_width: f32, half_height: f32| (ax - half_width).max(ay - half_height);
    match class {
        0 => length(x, y) - 0.90,
        1 => (length(x, y) - 0.72).abs() - 0.22,
        2 => slab(0.72, 0.72),
        3 => (slab(0.0, 0.0) - 0.56).abs() - 0.16,
        4 => {
            /// Half the square root of 3.
            const NORMAL: f32 = 0.866_025_4;
            (ax * NORMAL + y * 0.5).max(-y) - 0.5
        }
        5 => star(p),
        6 => slab(0.95, 0.26).min(slab(0.26, 0.95)),
        7 => slab(0.97, 0.26),
        8 => (length(x, y) - 0.90).max(0.75 - length(x - 0.50, y)),
        // Two triangles that meet in a waist; 0.8 and 0.6 are a unit normal.
        _ => (ay - 0.80).max(ax * 0.8 - ay * 0.6 - 0.08),
    }
}

/// Five-pointed star: the plane is folded onto one half of one point, whose edge is a segment
/// (after I. Quilez, "2D distance functions").
fn star(p: [f32; 2]) -> f32 {
    /// Cosine and sine of a tenth of a turn.
    const K: [f32; 2] = [0.809_017, 0.587_785_25];
    /// Radius of the inner corners.
    const INNER: f32 = 0.42;
    let [mut x, mut y] = [p[0].abs(), p[1]];
    for normal in [[K[0], -K[1]], [-K[0], -K[1]]] {
        let over = 2.0 * (x * normal[0] + y * normal[1]).max(0.0);
        (x, y) = (x - over * normal[0], y - over * normal[1]);
    }
    // From the tip at (0, 1) along the edge to the inner corner.
    let (x, y) = (x.abs(), y - 1.0);
    let edge = [INNER * K[1], INNER * K[0] - 1.0];
    let along = (x * edge[0] + y * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1]);
    let along = along.clamp(0.0, 1.0);
    let distance = length(x - edge[0] * along, y - edge[1] * along);
    if y * edge[0] < x * edge[1] {
        -distance
    } else {
        distance
    }
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::dataset::channel_statistics;
    use super::super::epoch_order;
    use super::*;
    use crate::digest::sha256;

    #[test]
    fn the_first_images_are_the_same_bytes_on_every_machine() {
        let (train, test) = generate(Some(100), Some(100));
        let hash = |dataset: &Dataset| sha256(dataset.images.bytes());
        let expected = "87a67367e476ee611bf0354a34d6fade01a2ed830b579341797d8ef0c0fd24aa";
        assert_eq!(hash(&train), expected);
        let expected = "e18edbe17533472a366ad5edc1793365bcd28af7c00e2ad5a277d0a7865ae9af";
        assert_eq!(hash(&test), expected);
    }

    #[test]
    fn the_constants_are_the_statistics_of_the_training_split() {
        let (train, test) = generate(None, Some(1));
        assert_eq!((train.len(), test.len()), (TRAIN_LEN, 1));
        assert_eq!(
            channel_statistics(train.images.bytes(), 3),
            (train.mean, train.std)
        );
        assert_eq!((test.mean, test.std), (MEAN.to_vec(), STD.to_vec()));
    }

    #[test]
    fn the_splits_share_no_image() {
        let (train, test) = generate(Some(300), Some(300));
        let train: Vec<_> = train.images.bytes().chunks(3072).collect();
        assert!(
            test.images
                .bytes()
                .chunks(3072)
                .all(|image| !train.contains(&image))
        );
    }

    #[test]
    fn rotations_keep_lengths_and_reach_every_quadrant() {
        let mut random = Draw(keyed_rng(*b"testing.", 0, 0, 0));
        let mut seen = [0; 4];
        for _ in 0..1000 {
            let (cos, sin) = random.rotation();
            assert!((cos * cos + sin * sin - 1.0).abs() < 1e-6);
            seen[usize::from(cos < 0.0) * 2 + usize::from(sin < 0.0)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 200), "{seen:?}");
    }

    /// Centres of cells of 0.01 x 0.01 over -1.2..1.2 in both directions.
    fn grid() -> impl Iterator<Item = [f32; 2]> {
        let centre = |i: i32| (i as f32 + 0.5) / 100.0;
        (-120..120).flat_map(move |y| (-120..120).map(move |x| [centre(x), centre(y)]))
    }

    #[test]
    fn shapes_have_the_areas_of_their_geometry_and_lie_within_the_radius() {
        let pi = std::f64::consts::PI;
        let areas = [
            (0, pi * 0.90 * 0.90),
            (1, pi * (0.94 * 0.94 - 0.50 * 0.50)),
            (2, 1.44 * 1.44),
            (3, 1.44 * 1.44 - 0.80 * 0.80),
            (4, 0.75 * 3.0_f64.sqrt()),
            // Ten triangles between the centre, a tip and an inner corner.
            (5, 5.0 * 0.42 * (pi / 5.0).sin()),
            // Two bars, less their common square.
            (6, 2.0 * 1.90 * 0.52 - 0.52 * 0.52),
            (7, 1.94 * 0.52),
            // Half width 0.1 at the waist and 0.7 at both ends, 0.8 away.
            (9, 2.0 * 0.8 * (0.1 + 0.7)),
        ];
        for (class, area) in areas {
            let inside = grid().filter(|&p| distance(class, p) < 0.0).count();
            assert!(
                (inside as f64 * 1e-4 - area).abs() < 0.02,
                "{class}: {inside} of {area}"
            );
        }
        for class in 0..10 {
            // The bowtie has the longest reach: its corners are at (0.7, 0.8).
            let beyond = |&p: &[f32; 2]| length(p[0], p[1]) > 1.07;
            assert!(
                grid().filter(beyond).all(|p| distance(class, p) > 0.0),
                "{class}"
            );
        }
    }

    #[test]
    fn distances_have_unit_slope_at_the_edges() {
        for class in 0..10 {
            let at = |x, y| distance(class, [x, y]);
            let (mut near, mut unit) = (0, 0);
            for [x, y] in grid().filter(|&p| distance(class, p).abs() < 0.02) {
                let across = (at(x + 1e-3, y) - at(x - 1e-3, y)) / 2e-3;
                let along = (at(x, y + 1e-3) - at(x, y - 1e-3)) / 2e-3;
                near += 1;
                unit += usize::from((length(across, along) - 1.0).abs() < 0.01);
            }
            // All but the points at corners, where two edges meet.
            assert!(
                near > 500 && unit * 10 > near * 9,
                "{class}: {unit} of {near}"
            );
        }
    }

    /// Values of all images, standardised by channel.
    fn standardised(dataset: &Dataset) -> Vec<f32> {
        let value = |(i, &byte): (usize, &u8)| (f32::from(byte) / 255.0 - MEAN[i % 3]) / STD[i % 3];
        dataset
            .images
            .bytes()
            .iter()
            .enumerate()
            .map(value)
            .collect()
    }

    /// A linear model: `weight[pixel][class]` and `bias[class]`.
    struct Linear {
        weight: Vec<[f32; 10]>,
        bias: [f32; 10],
    }

    impl Linear {
        fn scores(&self, x: &[f32]) -> [f32; 10] {
            let mut scores = self.bias;
            for (row, &x) in self.weight.iter().zip(x) {
                for (score, w) in scores.iter_mut().zip(row) {
                    *score += w * x;
                }
            }
            scores
        }

        /// Percent of `dataset` on which the largest score is that of the label.
        fn accuracy(&self, dataset: &Dataset) -> f64 {
            let values = standardised(dataset);
            let images = values
                .chunks_exact(dataset.image_len())
                .zip(&dataset.labels);
            let right = images.filter(|(x, label)| {
                let scores = self.scores(x);
                let best = (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                best == Some(usize::from(**label))
            });
            100.0 * right.count() as f64 / dataset.len() as f64
        }
    }

    /// Chance is 10 %; its standard deviation over 2,000 images is 0.7 %.
    const ABOVE_CHANCE: f64 = 12.5;

    /// What the data set promises of linear models.
    const LINEAR_LIMIT: f64 = 60.0;

    #[test]
    fn softmax_regression_is_above_chance_and_under_60_percent() {
        /// Learning rate of one image.
        const RATE: f32 = 1e-4;
        let (train, test) = generate(None, None);
        let (values, size) = (standardised(&train), train.image_len());
        let mut model = Linear {
            weight: vec![[0.0; 10]; size],
            bias: [0.0; 10],
        };
        for index in (0..6).flat_map(|epoch| epoch_order(train.len(), 1, epoch)) {
            let index = index as usize;
            let x = &values[index * size..][..size];
            let scores = model.scores(x);
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let mut step = scores.map(|score| (score - top).exp());
            let sum: f32 = step.iter().sum();
            for (class, value) in step.iter_mut().enumerate() {
                let target = f32::from(u8::from(class == usize::from(train.labels[index])));
                *value = RATE * (*value / sum - target);
            }
            for (row, &x) in model.weight.iter_mut().zip(x) {
                for (w, step) in row.iter_mut().zip(step) {
                    *w -= step * x;
                }
            }
            for (b, step) in model.bias.iter_mut().zip(step) {
                *b -= step;
            }
        }
        let (on_train, on_test) = (model.accuracy(&train), model.accuracy(&test));
        assert!(
            on_train > 25.0,
            "the regression did not learn its own pictures: {on_train} %"
        );
        assert!(
            (ABOVE_CHANCE..LINEAR_LIMIT).contains(&on_test),
            "{on_test} %"
        );
    }

    #[test]
    fn the_nearest_class_mean_is_above_chance_and_under_60_percent() {
        let (train, test) = generate(None, None);
        let size = train.image_len();
        let mut weight = vec![[0.0; 10]; size];
        for (image, &label) in standardised(&train).chunks_exact(size).zip(&train.labels) {
            for (row, x) in weight.iter_mut().zip(image) {
                row[usize::from(label)] += x / (TRAIN_LEN / 10) as f32;
            }
        }
        // -|x - mean|^2 / 2 = x . mean - |mean|^2 / 2 + what all classes share.
        let square = |class: usize| {
            weight
                .iter()
                .map(|row| row[class] * row[class])
                .sum::<f32>()
        };
        let bias = std::array::from_fn(|class| -square(class) / 2.0);
        let on_test = Linear { weight, bias }.accuracy(&test);
        assert!(
            (ABOVE_CHANCE..LINEAR_LIMIT).contains(&on_test),
            "{on_test} %"
        );
    }
}
