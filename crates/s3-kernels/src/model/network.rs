//! What a packed network is: a graph whose layers hold integers or floats, and what surrounds it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::dense::DenseMatrix;
use super::error::require;
use super::graph::{Graph, Size};
use crate::PackedMatrix;
use crate::epilogue::requant::Requant;

/// The short side of a resized picture, in sides of what is cut out of it, is at most this.
const LARGEST_RESIZE: usize = 8;

/// A frozen network, as a file holds it and as a [`Model`](super::Model) runs it.
///
/// The value of the last node is the network's scores. Its nodes are layers, `concat`, `max_pool`,
/// `avg_pool`, `mean_pool`, `flatten`, `pad` and `subsample`: a batch norm or a sum that follows no
/// layer is a depthwise layer of one tap of weight 1, and a dropout is nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// What the network is called, `resnet20`.
    pub name: String,
    /// What it is given.
    pub input: Input,
    /// The name of each score.
    pub classes: Vec<String>,
    /// What values are made of between the nodes.
    pub activations: Activations,
    /// What it computes.
    pub graph: Graph<Frozen>,
}

/// How the numbers of an image become those that a network takes.
///
/// A pixel `p` of 0 to 255 in channel `c` is the number `x = (p / 255 - mean[c]) / std[c]`, and a
/// number `v` of an image of floats is `x = (v - mean[c]) / std[c]`; this is what `Model::run`
/// takes. With 8-bit activations the first step is `clamp(round(x / scale), -127, 127)`, ties to
/// even: an i8 whose unit is `scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Mean of each channel, of bytes in units of the full range.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, in the same units.
    pub std: Vec<f32>,
    /// What one step of the 8-bit input is worth; 1.0 where activations are f32.
    pub scale: f32,
    /// What the images are made of.
    pub numbers: Numbers,
    /// How a picture becomes an image; `None` where nobody says it. Nothing here computes it.
    pub fit: Option<Fit>,
}

/// How a picture of any size becomes the image that a network takes.
///
/// ```
/// use s3_kernels::model::{Fit, Size};
///
/// let image = Size { height: 224, width: 224, channels: 3 };
/// let fit = Fit::ResizeAndCrop { resize: 256, crop: 224 };
/// assert_eq!(fit.check(image), Ok(()));
/// assert_eq!(fit.to_string(), "resized to 256 pixels, the middle 224 of them");
/// let refused = fit.check(Size { width: 200, ..image }).unwrap_err();
/// assert_eq!(refused, "input.fit: cuts 224x224 out, the network sees 224x200");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fit {
    /// Not at all: images have the network's size.
    AsIs {},
    /// The short side is resized to so many pixels, and the middle cut out.
    ResizeAndCrop {
        /// Pixels of the short side: `crop` to 8 times as many.
        resize: usize,
        /// Rows and columns of what is cut out: those of the network's image.
        crop: usize,
    },
}

impl Fit {
    /// Whether it makes images of the size `image`.
    ///
    /// # Errors
    ///
    /// One line that says what it makes, or what `resize` may be.
    pub fn check(self, image: Size) -> Result<(), String> {
        let Fit::ResizeAndCrop { resize, crop } = self else {
            return Ok(());
        };
        let (height, width) = (image.height, image.width);
        if [height, width] != [crop; 2] {
            return Err(format!(
                "input.fit: cuts {crop}x{crop} out, the network sees {height}x{width}"
            ));
        }
        let most = crop.saturating_mul(LARGEST_RESIZE);
        let what = format!("{crop} to {most}");
        require(
            (crop..=most).contains(&resize),
            "input.fit.resize",
            &what,
            resize,
        )
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fit::AsIs {} => f.write_str("as they are"),
            Fit::ResizeAndCrop { resize, crop } => {
                write!(f, "resized to {resize} pixels, the middle {crop} of them")
            }
        }
    }
}

/// What an image is made of before it is normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Pixels of 0 to 255, of which 255 counts as 1.
    #[default]
    Bytes,
    /// Numbers that count as they are: measurements, features of sound.
    Floats,
}

impl Numbers {
    /// Whether they are bytes.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        *self == Numbers::Bytes
    }
}

/// What a value between two nodes is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activations {
    /// f32: the paper's setting, where only weights are low-bit.
    F32,
    /// u8, requantized by one factor a channel.
    U8,
    /// u8, requantized by one factor a channel that has at most [`MAX_TERMS`](super::MAX_TERMS)
    /// digits other than zero in its canonical signed digits: a sum of that many shifts. Between
    /// the first convolution and the classifier nothing is multiplied.
    U8Shift,
}

/// What a layer of a packed network holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    /// As many rows as the layer has channels, of `height * width * channels` weights in this
    /// order; the channels are those of one group.
    pub weight: Weight,
    /// From the sum to the result.
    pub then: Then,
}

/// A layer's weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Weight {
    /// Levels 0 and ±2^p.
    Packed(PackedMatrix),
    /// Integers of -64 to 64: the first convolution and the classifier of an integer network.
    Dense(DenseMatrix),
    /// Full precision, row-major; only where the layer reads f32.
    F32(Vec<f32>),
}

impl Weight {
    /// Weights of a row, where there are `rows`.
    pub(crate) fn columns(&self, rows: usize) -> usize {
        match self {
            Weight::Packed(w) => w.cols(),
            Weight::Dense(w) => w.cols(),
            Weight::F32(w) => w.len() / rows.max(1),
        }
    }
}

/// How the sum `acc` of output channel `n` becomes a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// f32: `acc scale[n] + bias[n] + residual`, each step rounded, then the activation. The sum is
    /// f32 where activations are, and an i32 in the last node of an integer network.
    Scale {
        /// Factor of each channel.
        scale: Vec<f32>,
        /// Added to each channel.
        bias: Vec<f32>,
    },
    /// u8, all in integers without overflow:
    ///
    /// `a = ((acc + bias[n]) factor[n] + round) >> shift[n]`, `round = 2^(shift[n] - 1)` or 0 for
    /// shift 0,
    ///
    /// `y = clamp((a + residual residual_factor + offset + half) >> FRACTION, low, high)`,
    /// `half = 2^(FRACTION - 1)`,
    ///
    /// with arithmetic shifts and `low = zero_point` with a ReLU of either kind, else 0.
    Requant(Requant),
}
