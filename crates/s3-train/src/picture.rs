//! An image file as the numbers that a network takes.
//!
//! The image is read as RGB, or as grey where the network has one channel. Networks of 64 pixels and
//! more: the short side becomes `round(side · 256 / 224)` of the network's and the middle is cut out,
//! as ImageNet's networks are evaluated. Smaller networks: the whole image is resized, whatever its
//! proportions. Resizing is linear over the area that a pixel covers. Then
//! `(byte / 255 - mean) / std`.

use crate::data::augment::Normalizer;
use anyhow::{Context, Result, bail};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use s3_layers::model::Input;
use std::path::Path;

/// From this side on, a network sees the middle of an image.
const LARGE: usize = 64;
/// No side of a picture may be longer; guards against a file that promises the moon.
const MAX_SIDE: u32 = 1 << 15;

/// The picture in `path` (JPEG or PNG) as `input` wants it: `[height, width, channels]`.
///
/// # Errors
/// One line that names the file: it cannot be read, is no JPEG or PNG, or is empty; the network has
/// neither one channel nor three.
pub fn read(path: &Path, input: &Input) -> Result<Vec<f32>> {
    let name = path.display();
    let reader = ImageReader::open(path).with_context(|| format!("reading {name}"))?;
    let mut reader = reader
        .with_guessed_format()
        .with_context(|| format!("reading {name}"))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let picture = reader
        .decode()
        .with_context(|| format!("{name}: no JPEG or PNG that can be read"))?;
    numbers(&picture, input).with_context(|| name.to_string())
}

fn numbers(picture: &DynamicImage, input: &Input) -> Result<Vec<f32>> {
    let picture = fit(picture, input.height, input.width)?;
    let bytes = match input.channels {
        1 => picture.to_luma8().into_raw(),
        3 => picture.to_rgb8().into_raw(),
        n => bail!("the network takes {n} channels, a picture has 1 or 3"),
    };
    let normalizer = Normalizer::new(&input.mean, &input.std);
    let channel = |(i, &byte): (usize, &u8)| normalizer.value(i % input.channels, byte);
    Ok(bytes.iter().enumerate().map(channel).collect())
}

/// The picture in `height` by `width` pixels.
fn fit(picture: &DynamicImage, height: usize, width: usize) -> Result<DynamicImage> {
    let (h, w) = (u32::try_from(height)?, u32::try_from(width)?);
    let (of_h, of_w) = (picture.height(), picture.width());
    if of_h == 0 || of_w == 0 {
        bail!("an empty picture")
    }
    if height.min(width) < LARGE {
        return Ok(picture.resize_exact(w, h, FilterType::Triangle));
    }
    let larger = |side: u32| f64::from(side) * 256.0 / 224.0;
    let factor = (larger(h).round() / f64::from(of_h)).max(larger(w).round() / f64::from(of_w));
    let resized = |side: u32| (f64::from(side) * factor).round() as u32;
    let (to_h, to_w) = (resized(of_h).max(h), resized(of_w).max(w));
    if to_h > MAX_SIDE || to_w > MAX_SIDE {
        bail!("a picture of {of_w} x {of_h} pixels is too long and thin")
    }
    let scaled = picture.resize_exact(to_w, to_h, FilterType::Triangle);
    Ok(scaled.crop_imm((to_w - w) / 2, (to_h - h) / 2, w, h))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn input(side: usize, channels: usize) -> Input {
        Input {
            height: side,
            width: side,
            channels,
            mean: vec![0.5; channels],
            std: vec![0.25; channels],
            scale: 1.0,
        }
    }

    #[test]
    fn small_networks_see_all_of_a_picture_and_large_ones_its_middle() -> Result<()> {
        // Left half black, right half white, twice as wide as high.
        let half = RgbImage::from_fn(512, 256, |x, _| Rgb([if x < 256 { 0 } else { 255 }; 3]));
        let half = DynamicImage::ImageRgb8(half);
        let small = numbers(&half, &input(4, 3))?;
        assert_eq!(small.len(), 4 * 4 * 3);
        assert_eq!((small[0], small[11]), (-2.0, 2.0));
        let large = numbers(&half, &input(224, 1))?;
        assert_eq!((large[0], large[111], large[112]), (-2.0, -2.0, 2.0));
        // The 16 pixels on either side of the middle square are gone, and no others of a square.
        let edge = RgbImage::from_fn(256, 256, |x, _| Rgb([if x < 17 { 255 } else { 0 }; 3]));
        let edge = numbers(&DynamicImage::ImageRgb8(edge), &input(224, 1))?;
        assert_eq!((edge[0], edge[1]), (2.0, -2.0));
        Ok(())
    }

    #[test]
    fn grey_pictures_serve_colour_networks() -> Result<()> {
        let grey = DynamicImage::ImageLuma8(GrayImage::from_pixel(9, 5, Luma([255])));
        assert!(numbers(&grey, &input(2, 3))?.iter().all(|&v| v == 2.0));
        let message = numbers(&grey, &input(2, 2))
            .expect_err("channels")
            .to_string();
        assert!(message.contains("2 channels"), "{message}");
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_picture_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().display().to_string();
        let message = format!(
            "{:#}",
            read(dir.path(), &input(2, 1)).expect_err("a folder")
        );
        assert!(message.contains(&folder), "{message}");
        let path = dir.path().join("x.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nbroken")?;
        let message = format!("{:#}", read(&path, &input(2, 1)).expect_err("broken"));
        assert!(
            message.contains("x.png") && !message.contains('\n'),
            "{message}"
        );
        Ok(())
    }
}
