//! From an image of any size to the square that a network sees, as torchvision does it.
//!
//! Evaluation: the short side becomes `side`, `Resize(side)`, and the middle `size` by `size` are
//! cut out, `CenterCrop(size)`. Training: `RandomResizedCrop(size)`, a window of 8 to 100 % of the
//! area whose width is 3/4 to 4/3 of its height, resized. Resizing is linear over the area that a
//! pixel covers (`antialias`), in the fixed-point arithmetic of Pillow.
//!
//! ```
//! use s3_train::data::crop::{Window, resized};
//!
//! // torchvision cuts the long side's length off, `int(256 * 375 / 330)`.
//! assert_eq!(resized(375, 330, 256), (290, 256));
//! let window = Window::draw(1, 0, 7, 500, 375);
//! assert_eq!(window, Window::draw(1, 0, 7, 500, 375));
//! assert!(window.left + window.width <= 500 && window.top + window.height <= 375);
//! ```

use std::cell::RefCell;

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::decoded::RgbImage;
use super::error::Problem;
use super::random::{below, keyed_rng};

/// Share of the area that a window covers.
const AREA: (f64, f64) = (0.08, 1.0);
/// Width over height of a window.
const ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Windows that are drawn before the middle is taken instead.
const TRIES: usize = 10;
/// No side of a resized image may be longer.
const MAX_SIDE: usize = 1 << 15;

/// Which part of an image is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum View {
    /// The middle, as evaluation sees it.
    Centre,
    /// A random window, that of this run and epoch.
    Random {
        /// Seed of the run.
        seed: u64,
        /// The epoch, from 0.
        epoch: u64,
    },
}

/// The side that the short side of an image is resized to before the middle `size` are cut out:
/// `round(size * 256 / 224)`, 256 for 224.
#[must_use]
pub const fn side_of(size: usize) -> usize {
    (size * 256 + 112) / 224
}

/// The width and height of an image whose short side becomes `side`.
///
/// # Panics
///
/// If a side is 0.
#[must_use]
pub const fn resized(width: usize, height: usize, side: usize) -> (usize, usize) {
    if width <= height {
        (side, side * height / width)
    } else {
        (side * width / height, side)
    }
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Columns to its left.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
}

impl Window {
    /// All of an image.
    const fn whole(image: &RgbImage) -> Self {
        Self {
            left: 0,
            top: 0,
            width: image.width,
            height: image.height,
        }
    }

    /// The window of image `sample`, of `width` by `height` pixels, in epoch `epoch` of a run
    /// seeded `seed`: a function of its arguments.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    // torchvision's RandomResizedCrop.get_params: area and log aspect are uniform; a window that
    // does not fit is drawn again; after 10 tries the middle, at the nearest accepted aspect.
    #[must_use]
    pub fn draw(seed: u64, epoch: u64, sample: usize, width: usize, height: usize) -> Self {
        let mut rng = keyed_rng(*b"picture.", seed, epoch, sample as u64);
        let area = (width * height) as f64;
        for _ in 0..TRIES {
            let target = area * uniform(&mut rng, AREA);
            let aspect = uniform(&mut rng, (ASPECT.0.ln(), ASPECT.1.ln())).exp();
            let w = (target * aspect).sqrt().round_ties_even() as usize;
            let h = (target / aspect).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                return Self {
                    top: below(&mut rng, height - h + 1),
                    left: below(&mut rng, width - w + 1),
                    width: w,
                    height: h,
                };
            }
        }
        let aspect = width as f64 / height as f64;
        let (w, h) = if aspect < ASPECT.0 {
            (width, (width as f64 / ASPECT.0).round_ties_even() as usize)
        } else if aspect > ASPECT.1 {
            (
                (height as f64 * ASPECT.1).round_ties_even() as usize,
                height,
            )
        } else {
            (width, height)
        };
        Self {
            left: (width - w) / 2,
            top: (height - h) / 2,
            width: w,
            height: h,
        }
    }
}

fn uniform(rng: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    low + (high - low) * unit
}

/// The image with a short side of `side`.
///
/// # Errors
///
/// [`Problem::Image`] if it is so long and thin that its other side would be beyond 32768.
pub fn with_short_side(image: RgbImage, side: usize) -> Result<RgbImage, Problem> {
    let (width, height) = resized(image.width, image.height, side);
    if width.max(height) > MAX_SIDE {
        let RgbImage { width, height, .. } = image;
        let text = format!("{width}x{height} pixels: too long and thin for a short side of {side}");
        return Err(Problem::image(text));
    }
    // torchvision leaves an image alone whose short side fits.
    if image.width.min(image.height) == side {
        return Ok(image);
    }
    let rgb = resize(&image, Window::whole(&image), width, height)?;
    Ok(RgbImage { width, height, rgb })
}

/// What evaluation sees of an image, whose short side becomes `side`: the middle, `[size, size,
/// 3]`.
///
/// # Errors
///
/// As [`with_short_side`].
pub fn centre(image: RgbImage, side: usize, size: usize) -> Result<Vec<u8>, Problem> {
    let image = with_short_side(image, side)?;
    // CenterCrop rounds half to even.
    let margin = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
    let (left, top) = (margin(image.width), margin(image.height));
    let rows = image.rgb.chunks_exact(3 * image.width);
    let inside = rows.skip(top).take(size);
    Ok(inside
        .flat_map(|row| &row[3 * left..3 * (left + size)])
        .copied()
        .collect())
}

/// What training sees of an image through `window`: `[size, size, 3]`.
///
/// # Errors
///
/// None that a window inside of the image can meet.
pub fn through(image: &RgbImage, window: Window, size: usize) -> Result<Vec<u8>, Problem> {
    resize(image, window, size, size)
}

/// All of an image in `width` by `height` pixels, whatever its proportions: `[height, width, 3]`.
///
/// # Errors
///
/// A side beyond 2^32.
pub fn squeezed(image: &RgbImage, width: usize, height: usize) -> Result<Vec<u8>, Problem> {
    resize(image, Window::whole(image), width, height)
}

thread_local! {
    /// Keeps its buffers from one image to the next.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// The window in `width` by `height` pixels.
fn resize(
    image: &RgbImage,
    window: Window,
    width: usize,
    height: usize,
) -> Result<Vec<u8>, Problem> {
    let failed = |e: &dyn std::fmt::Display| Problem::image(format!("cannot be resized: {e}"));
    let number = |n: usize| u32::try_from(n).map_err(|e| failed(&e));
    let (of_width, of_height) = (number(image.width)?, number(image.height)?);
    let from =
        ImageRef::new(of_width, of_height, &image.rgb, PixelType::U8x3).map_err(|e| failed(&e))?;
    let mut to = Image::new(number(width)?, number(height)?, PixelType::U8x3);
    // A view of the window alone: the resizer's own crop lets the filter see what lies around it.
    let (left, top) = (number(window.left)?, number(window.top)?);
    let (width, height) = (number(window.width)?, number(window.height)?);
    let from = CroppedImage::new(&from, left, top, width, height).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&from, &mut to, &options))
        .map_err(|e| failed(&e))?;
    Ok(to.into_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(width: usize, height: usize) -> RgbImage {
        let mut rgb = vec![0; 3 * width * height];
        keyed_rng(*b"testing.", 0, 0, 0).fill_bytes(&mut rgb);
        RgbImage { width, height, rgb }
    }

    /// The definition in f64: each pixel is a mean of those below it, weighted by a triangle as
    /// wide as the pixel (or as a source pixel, where the image grows), within the window.
    fn reference(image: &RgbImage, window: Window, width: usize, height: usize) -> Vec<f64> {
        let weights = |at: usize, from: usize, to: usize| -> Vec<f64> {
            let scale = from as f64 / to as f64;
            let (middle, reach) = ((at as f64 + 0.5) * scale, scale.max(1.0));
            let weight = |i: usize| (1.0 - ((i as f64 + 0.5 - middle) / reach).abs()).max(0.0);
            let all: Vec<f64> = (0..from).map(weight).collect();
            let sum: f64 = all.iter().sum();
            all.into_iter().map(|w| w / sum).collect()
        };
        let mut out = Vec::new();
        for y in 0..height {
            let down = weights(y, window.height, height);
            for x in 0..width {
                let across = weights(x, window.width, width);
                for c in 0..3 {
                    let mut sum = 0.0;
                    for (i, v) in down.iter().enumerate().filter(|(_, v)| **v > 0.0) {
                        for (j, h) in across.iter().enumerate().filter(|(_, h)| **h > 0.0) {
                            let at = (window.top + i) * image.width + window.left + j;
                            sum += v * h * f64::from(image.rgb[3 * at + c]);
                        }
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn resizing_is_the_triangle_filter_within_the_window(
            (of_width, of_height) in (1usize..60, 1usize..60),
            (width, height) in (1usize..40, 1usize..40),
            draws in prop::array::uniform4(0.0f64..1.0),
        ) {
            let image = noise(of_width, of_height);
            let part = |of: usize, a: f64, b: f64| {
                let len = 1 + (a * of as f64) as usize;
                ((b * (of - len + 1) as f64) as usize, len)
            };
            let (left, w) = part(of_width, draws[0], draws[1]);
            let (top, h) = part(of_height, draws[2], draws[3]);
            let window = Window { left, top, width: w, height: h };
            let got = resize(&image, window, width, height).unwrap();
            // Two passes, each rounded to a byte, the second spreading the error of the first.
            for (got, expected) in got.iter().zip(reference(&image, window, width, height)) {
                prop_assert!((f64::from(*got) - expected).abs() < 1.6, "{} {}", got, expected);
            }
        }

        #[test]
        fn windows_lie_inside_and_keep_area_and_aspect(
            (width, height) in (1usize..600, 1usize..600),
            (seed, epoch) in (any::<u64>(), any::<u64>()),
        ) {
            for sample in 0..20 {
                let w = Window::draw(seed, epoch, sample, width, height);
                prop_assert!(w.width >= 1 && w.left + w.width <= width);
                prop_assert!(w.height >= 1 && w.top + w.height <= height);
                // Sides are rounded, each by half a pixel at most.
                let (least, most) = (|side: usize| side as f64 - 0.5,
                    |side: usize| side as f64 + 0.5);
                prop_assert!(most(w.width) / least(w.height) >= ASPECT.0 - 1e-9, "{:?}", w);
                prop_assert!(least(w.width) / most(w.height) <= ASPECT.1 + 1e-9, "{:?}", w);
                // The middle, which is taken where no window fits, may be smaller: all of one side.
                let is_middle = (w.width == width || w.height == height)
                    && (w.left, w.top) == ((width - w.width) / 2, (height - w.height) / 2);
                let area = AREA.0 * (width * height) as f64;
                prop_assert!(is_middle || most(w.width) * most(w.height) >= area - 1e-9, "{:?}", w);
            }
        }
    }

    #[test]
    fn areas_and_positions_are_uniform_and_aspects_are_in_range() {
        let (n, side) = (4000, 1000);
        let windows = (0..n).map(|sample| Window::draw(1, 0, sample, side, side));
        let (mut below_half, mut left, mut aspects) = (0, 0.0, (f64::MAX, 0.0f64));
        for w in windows {
            let area = (w.width * w.height) as f64 / (side * side) as f64;
            let aspect = w.width as f64 / w.height as f64;
            aspects = (aspects.0.min(aspect), aspects.1.max(aspect));
            below_half += usize::from(area < 0.54);
            left += w.left as f64 / (side - w.width).max(1) as f64;
        }
        // Windows of more than 3/4 of the area fit the less often the larger they are, and are
        // drawn again: 0.59 of those that fit are below the middle of the range (deviation 0.008).
        assert!(
            (n * 56 / 100..n * 62 / 100).contains(&below_half),
            "{below_half}"
        );
        assert!((left / n as f64 - 0.5).abs() < 0.02, "{left}");
        assert!(aspects.0 > 0.745 && aspects.0 < 0.77, "{aspects:?}");
        assert!(aspects.1 < 1.342 && aspects.1 > 1.3, "{aspects:?}");
        // Another value would break the resume of older runs.
        let first = Window::draw(1, 0, 0, 500, 375);
        let known = Window {
            left: 23,
            top: 1,
            width: 385,
            height: 350,
        };
        assert_eq!(first, known);
    }

    #[test]
    fn long_thin_images_get_the_middle() {
        let w = Window::draw(1, 0, 0, 1000, 10);
        assert_eq!((w.width, w.height, w.left, w.top), (13, 10, 493, 0));
        let w = Window::draw(1, 0, 0, 10, 1000);
        assert_eq!((w.width, w.height, w.left, w.top), (10, 13, 0, 493));
    }

    #[test]
    fn the_middle_is_cut_out_of_the_resized_image() {
        assert_eq!((side_of(224), side_of(64), side_of(1)), (256, 73, 1));
        // A short side that fits is left alone: 16 columns and 20 rows go on either side.
        let image = noise(256, 265);
        let got = centre(image.clone(), 256, 224).unwrap();
        let pixel = |x: usize, y: usize| &image.rgb[3 * (256 * y + x)..][..3];
        assert_eq!(&got[..3], pixel(16, 20));
        assert_eq!(&got[got.len() - 3..], pixel(16 + 223, 20 + 223));
        // One pixel becomes a plain square.
        let one = RgbImage {
            width: 1,
            height: 1,
            rgb: vec![1, 2, 3],
        };
        assert_eq!(centre(one, 73, 64).unwrap(), [1, 2, 3].repeat(64 * 64));
        let long = RgbImage {
            width: 16000,
            height: 1,
            rgb: vec![0; 48000],
        };
        let message = centre(long, 256, 224).unwrap_err().to_string();
        assert!(message.starts_with("16000x1 pixels: too long"), "{message}");
    }
}
