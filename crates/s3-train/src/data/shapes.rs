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
//! That is [`Difficulty::Easy`]. On the hard images small networks of few bits differ, and softmax
//! regression fails: shapes are stretched, and darker than their background in every second image;
//! a stroke crosses the image behind the shape; the texture is stronger.
//!
//! ```text
//! image i of a split, all numbers drawn from the stream (split, i):
//!   class = i mod 10
//!   place = centre, radius, rotation        the circumscribed circle lies inside the image
//!   paint = background, foreground = mid -/+ contrast, each with a tint; swapped in 1 of 4, or 2
//!   stroke of a hard image: point, direction, width, colour
//!   for each pixel
//!     p        = rotation^-1 (pixel - centre) / radius
//!     coverage = clamp(1/2 - radius * distance(class, p), 0, 1)
//!     value    = mix(background + texture, under a stroke, foreground, coverage) + noise
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
use serde::{Deserialize, Serialize};

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

/// Cells along a side of the texture; its values at their corners are random.
const CELLS: usize = 4;

/// Smallest and largest half width of a stroke, in pixels.
const STROKE: (f32, f32) = (0.4, 1.2);

/// How hard the images are to tell apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Difficulty {
    /// One shape on a mild background: a small network is right on nearly all images.
    #[default]
    Easy,
    /// Stretched shapes, as often darker as lighter than their background, over a stroke.
    Hard,
}

/// What images of one difficulty are drawn with.
struct Look {
    /// The data set's name, before the split's.
    name: &'static str,
    /// Where the random numbers come from.
    stream: [u8; 8],
    /// Smallest and largest radius of a shape's circumscribed circle, in pixels.
    radius: (f32, f32),
    /// The smallest height of a shape in units of its width, along axes that turn with it.
    flattest: f32,
    /// Smallest and largest half distance between the greys of shape and background.
    contrast: (f32, f32),
    /// The shape is darker than its background in one image of so many, a power of two.
    darker: u32,
    /// Largest deviation of a colour channel from its grey.
    tint: f32,
    /// Largest deviation of the background's texture.
    texture: f32,
    /// Strokes behind the shape.
    strokes: usize,
    /// Largest deviation of the noise on a value.
    noise: f32,
    /// Mean and standard deviation of the whole training split; a test computes them.
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
}

const EASY: Look = Look {
    name: "shapes",
    stream: *b"shapes  ",
    radius: (10.0, 13.5),
    flattest: 1.0,
    contrast: (0.18, 0.30),
    darker: 4,
    tint: 0.15,
    texture: 0.05,
    strokes: 0,
    noise: 0.06,
    mean: [0.431_293_34, 0.431_593_63, 0.431_901_4],
    std: [0.250_638_04, 0.250_613_03, 0.250_498_86],
};

const HARD: Look = Look {
    name: "shapes/hard",
    stream: *b"shapes-h",
    radius: EASY.radius,
    flattest: 0.8,
    contrast: EASY.contrast,
    darker: 2,
    tint: EASY.tint,
    texture: 0.08,
    strokes: 1,
    noise: EASY.noise,
    mean: [0.501_589_83, 0.502_097_85, 0.501_564_44],
    std: [0.257_845_55, 0.258_556_22, 0.257_519_33],
};

impl Difficulty {
    fn look(self) -> &'static Look {
        match self {
            Self::Easy => &EASY,
            Self::Hard => &HARD,
        }
    }
}

/// Generates the training and the test split: [`TRAIN_LEN`] and [`TEST_LEN`] images, or fewer
/// where a limit says so.
///
/// Image `i` has the class `i % 10`. Every prefix is therefore class-balanced, and the images
/// in it are those of the whole split.
#[must_use]
pub fn generate(train_limit: Option<usize>, test_limit: Option<usize>) -> (Dataset, Dataset) {
    generate_as(Difficulty::Easy, train_limit, test_limit)
}

/// As [`generate`], of images of one difficulty.
///
/// ```
/// use s3_train::data::shapes::{self, Difficulty};
///
/// let (hard, _) = shapes::generate_as(Difficulty::Hard, Some(3), Some(1));
/// assert_eq!((hard.len(), hard.name.as_str()), (3, "shapes/hard/train"));
/// assert_ne!(hard.image(0)?, shapes::generate(Some(3), Some(1)).0.image(0)?);
/// # Ok::<(), s3_train::data::DataError>(())
/// ```
#[must_use]
pub fn generate_as(
    difficulty: Difficulty,
    train_limit: Option<usize>,
    test_limit: Option<usize>,
) -> (Dataset, Dataset) {
    let limit = |len: usize, limit: Option<usize>| limit.map_or(len, |limit| limit.min(len));
    let look = difficulty.look();
    let train = split(look, "train", 0, limit(TRAIN_LEN, train_limit));
    let test = split(look, "test", 1, limit(TEST_LEN, test_limit));
    (train, test)
}

fn split(look: &Look, name: &str, number: u64, len: usize) -> Dataset {
    const SIZE: usize = SIDE * SIDE * CHANNELS;
    let mut images = vec![0; len * SIZE];
    images
        .par_chunks_exact_mut(SIZE)
        .enumerate()
        .for_each(|(index, image)| {
            let random = Draw(keyed_rng(look.stream, SEED, number, index as u64));
            draw(class_of(index), look, random, image);
        });
    Dataset {
        name: format!("{}/{name}", look.name),
        height: SIDE,
        width: SIDE,
        channels: CHANNELS,
        images: Images::Bytes(images),
        labels: (0..len).map(|index| class_of(index) as u16).collect(),
        class_names: CLASS_NAMES.map(String::from).to_vec(),
        mean: look.mean.to_vec(),
        std: look.std.to_vec(),
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

    fn colour(&mut self, grey: f32, tint: f32) -> [f32; CHANNELS] {
        [(); CHANNELS].map(|()| grey + self.around_zero(tint))
    }
}

/// Paints the image of `class` that `random` describes into `image`: `[SIDE, SIDE, CHANNELS]`.
fn draw(class: usize, look: &Look, mut random: Draw, image: &mut [u8]) {
    let radius = random.between(look.radius.0, look.radius.1);
    let room = SIDE as f32 / 2.0 - radius;
    let centre = [(); 2].map(|()| SIDE as f32 / 2.0 + random.around_zero(room));
    let (cos, sin) = random.rotation();

    let mid = random.between(0.4, 0.6);
    let contrast = random.between(look.contrast.0, look.contrast.1);
    let contrast = if random.choose(look.darker) == 0 {
        -contrast
    } else {
        contrast
    };
    let background = random.colour(mid - contrast, look.tint);
    let foreground = random.colour(mid + contrast, look.tint);
    let corners = [(); (CELLS + 1) * (CELLS + 1)];
    let texture = Texture(corners.map(|()| random.around_zero(look.texture)));
    // Nothing is drawn from the stream for what a look has not.
    let height = if look.flattest < 1.0 {
        random.between(look.flattest, 1.0)
    } else {
        1.0
    };
    let strokes = Stroke::some(look.strokes, &mut random, look);

    for (y, row) in image.chunks_exact_mut(SIDE * CHANNELS).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(CHANNELS).enumerate() {
            let at = [x as f32 + 0.5, y as f32 + 0.5];
            let (dx, dy) = (at[0] - centre[0], at[1] - centre[1]);
            let p = [
                (dx * cos + dy * sin) / radius,
                (dy * cos - dx * sin) / (radius * height),
            ];
            let coverage = (0.5 - radius * distance(class, p)).clamp(0.0, 1.0);
            let texture = texture.at(x, y);
            for (channel, value) in pixel.iter_mut().enumerate() {
                let mut clean = background[channel] + texture;
                for stroke in &strokes {
                    clean = stroke.over(clean, channel, at);
                }
                clean += (foreground[channel] - clean) * coverage;
                // The cast saturates: values outside of 0..=1 become black or full.
                *value = ((clean + random.around_zero(look.noise)) * 255.0 + 0.5) as u8;
            }
        }
    }
}

/// A straight stroke across the whole image.
struct Stroke {
    point: [f32; 2],
    /// A unit normal.
    normal: [f32; 2],
    half_width: f32,
    colour: [f32; CHANNELS],
}

impl Stroke {
    fn some(count: usize, random: &mut Draw, look: &Look) -> Vec<Self> {
        (0..count).map(|_| Self::of(random, look)).collect()
    }

    fn of(random: &mut Draw, look: &Look) -> Self {
        let point = [(); 2].map(|()| random.between(0.0, SIDE as f32));
        let (cos, sin) = random.rotation();
        let half_width = random.between(STROKE.0, STROKE.1);
        let grey = random.between(0.5 - look.contrast.1, 0.5 + look.contrast.1);
        let colour = random.colour(grey, look.tint);
        Self {
            point,
            normal: [cos, sin],
            half_width,
            colour,
        }
    }

    /// `value` of a channel at a place with the stroke over it.
    fn over(&self, value: f32, channel: usize, at: [f32; 2]) -> f32 {
        let along = (at[0] - self.point[0]) * self.normal[0];
        let off = along + (at[1] - self.point[1]) * self.normal[1];
        let coverage = (0.5 + self.half_width - off.abs()).clamp(0.0, 1.0);
        value + (self.colour[channel] - value) * coverage
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

    /// SHA-256 of the first 100 images of both splits.
    const FIRST: [(Difficulty, [&str; 2]); 2] = [
        (
            Difficulty::Easy,
            [
                "87a67367e476ee611bf0354a34d6fade01a2ed830b579341797d8ef0c0fd24aa",
                "e18edbe17533472a366ad5edc1793365bcd28af7c00e2ad5a277d0a7865ae9af",
            ],
        ),
        (
            Difficulty::Hard,
            [
                "1c9dfa90b23d14930bf47169f61ed16293677d906bcc8f984687b9b9676a2d9d",
                "3ffab452ed70b0a04a2948b5d8fa0dfe1f84be21649047e6e25e65fd04a2bdf8",
            ],
        ),
    ];

    #[test]
    fn the_first_images_are_the_same_bytes_on_every_machine() {
        for (difficulty, expected) in FIRST {
            let (train, test) = generate_as(difficulty, Some(100), Some(100));
            let hashes = [train, test].map(|split| sha256(split.images.bytes()));
            assert_eq!(hashes, expected, "{difficulty:?}");
        }
    }

    #[test]
    fn the_constants_are_the_statistics_of_the_training_split() {
        for (difficulty, _) in FIRST {
            let (train, test) = generate_as(difficulty, None, Some(1));
            assert_eq!((train.len(), test.len()), (TRAIN_LEN, 1));
            let found = channel_statistics(train.images.bytes(), 3);
            assert_eq!(found, (train.mean, train.std), "{difficulty:?}");
            assert_eq!(found, (test.mean, test.std), "{difficulty:?}");
        }
    }

    #[test]
    fn the_splits_share_no_image() {
        for (difficulty, _) in FIRST {
            let (train, test) = generate_as(difficulty, Some(300), Some(300));
            let train: Vec<_> = train.images.bytes().chunks(3072).collect();
            let mut test = test.images.bytes().chunks(3072);
            assert!(test.all(|image| !train.contains(&image)));
        }
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
        let (mean, std) = (&dataset.mean, &dataset.std);
        let value = |(i, &byte): (usize, &u8)| (f32::from(byte) / 255.0 - mean[i % 3]) / std[i % 3];
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

    /// Of the hard images.
    const HARD_LINEAR_LIMIT: f64 = 20.0;

    #[test]
    fn softmax_regression_is_above_chance_and_under_60_percent() {
        let (on_train, on_test) = regression(Difficulty::Easy);
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
    fn softmax_regression_fails_on_hard_images() {
        let (on_train, on_test) = regression(Difficulty::Hard);
        assert!(
            on_train > 20.0,
            "the regression did not learn its own pictures: {on_train} %"
        );
        assert!(on_test < HARD_LINEAR_LIMIT, "{on_test} %");
    }

    /// Percent of the training and of the test images that six epochs of softmax regression get
    /// right.
    fn regression(difficulty: Difficulty) -> (f64, f64) {
        /// Learning rate of one image.
        const RATE: f32 = 1e-4;
        let (train, test) = generate_as(difficulty, None, None);
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
        (model.accuracy(&train), model.accuracy(&test))
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
