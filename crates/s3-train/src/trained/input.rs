//! An image file as the numbers that a network takes.
//!
//! A network that was trained on image files says so ([`Fit`]), and sees what evaluation shows
//! it: the short side resized, the middle cut out ([`crop::centre`]), by the same code. Any other
//! was trained on small images that are what they show: it sees the whole image, resized whatever
//! its proportions. Files of older versions do not say it: [`assumed`]. A network of one channel
//! sees grey. Then `(byte / 255 - mean) / std`.
//!
//! A file that NumPy has written holds one image as the network takes it, bytes or floats
//! ([`arrays::image`]); a network of floats takes no other.

use super::data_of;
use crate::data::augment::{Normalizer, Number, Placement};
use crate::data::crop::{self, side_of, squeezed};
use crate::data::decode::{self, decode};
use crate::data::{DataName, Images, arrays};
use anyhow::{Context, Result, bail};
use image::{Pixel, Rgb};
use s3_layers::model::{Fit, Network, Numbers, Size};
use std::path::Path;

/// From this side on, a network of an older file and an unknown data set sees the middle of a
/// image.
const LARGE: usize = 64;

/// How an image is fitted for a square network that does not say it and was, by its name, which
/// ends with its data set, trained on image files; or by its 64 pixels and more, where the name
/// says no data set. `None` where nothing has to be assumed: such networks see all of an image.
///
/// [`Trained::freeze`](crate::trained::Trained::freeze) leaves no network of image files to this
/// guess.
#[must_use]
pub fn assumed(network: &Network) -> Option<Fit> {
    let Size { height, width, .. } = network.graph.image;
    let on_images = match data_of(&network.name) {
        Some(data) => data == DataName::Imagenet,
        None => height >= LARGE,
    };
    let is_guessed = network.input.fit.is_none() && network.input.numbers == Numbers::Bytes;
    (is_guessed && on_images && height == width).then_some(Fit::ResizeAndCrop {
        resize: side_of(height),
        crop: height,
    })
}

/// The image in `path` ([`decode()`]), or the array, as `network` wants it: `[height, width,
/// channels]`.
///
/// # Errors
/// One line that names the file: it cannot be read, or not be decoded ([`decode()`]); the network
/// has neither one channel nor three, or takes floats, which no image holds; an array of other
/// sides or numbers.
///
/// ```
/// use s3_layers::model::{Activations, Graph, Input, Network, Numbers, Size};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("white.png");
/// image::GrayImage::from_pixel(9, 5, image::Luma([255])).save(&path)?;
/// let network = Network {
///     name: "resnet8-mnist".to_owned(),
///     input: Input {
///         mean: vec![0.5],
///         std: vec![0.25],
///         scale: 1.0,
///         numbers: Numbers::Bytes,
///         fit: None,
///     },
///     classes: Vec::new(),
///     activations: Activations::F32,
///     graph: Graph::new(Size { height: 2, width: 2, channels: 1 }),
/// };
/// assert_eq!(s3_train::input::read(&path, &network)?, [2.0; 4]);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn read(path: &Path, network: &Network) -> Result<Vec<f32>> {
    let bytes = decode::read(path).with_context(|| format!("reading {}", path.display()))?;
    numbers(&bytes, network).with_context(|| path.display().to_string())
}

fn numbers(file: &[u8], network: &Network) -> Result<Vec<f32>> {
    let image = network.graph.image;
    if arrays::is_array(file) {
        return Ok(match arrays::image(file, image, network.input.numbers)? {
            Images::Floats(floats) => normalised(&floats, network),
            bytes => normalised(bytes.bytes(), network),
        });
    }
    if network.input.numbers == Numbers::Floats {
        bail!("the network takes floats, which no picture holds: a .npy file is expected")
    }
    let decoded = decode(file)?;
    let rgb = match network.input.fit.or_else(|| assumed(network)) {
        Some(Fit::ResizeAndCrop { resize, crop }) => crop::centre(decoded, resize, crop)?,
        Some(Fit::AsIs {}) | None => squeezed(&decoded, image.width, image.height)?,
    };
    let bytes: Vec<u8> = match image.channels {
        1 => rgb
            .as_chunks()
            .0
            .iter()
            .map(|&p| Rgb(p).to_luma().0[0])
            .collect(),
        3 => rgb,
        n => bail!("the network takes {n} channels, a picture has 1 or 3"),
    };
    Ok(normalised(&bytes, network))
}

/// The numbers of an image, `[height, width, channels]`, as `network` takes them.
fn normalised<T: Number>(image: &[T], network: &Network) -> Vec<f32> {
    let input = &network.input;
    let mut numbers = vec![0.0; image.len()];
    let by = Normalizer::new(&input.mean, &input.std);
    let width = network.graph.image.width;
    by.write(image, width, Placement::CENTRED, &mut numbers);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, DataConfig};
    use image::{GrayImage, ImageFormat, Luma, RgbImage};
    use s3_layers::model::{Activations, Graph, Input, Size};

    fn network(name: &str, side: usize, channels: usize) -> Network {
        let input = Input {
            mean: vec![0.5; channels],
            std: vec![0.25; channels],
            scale: 1.0,
            numbers: Numbers::Bytes,
            fit: None,
        };
        Network {
            name: name.to_owned(),
            input,
            classes: Vec::new(),
            activations: Activations::F32,
            graph: Graph::new(Size {
                height: side,
                width: side,
                channels,
            }),
        }
    }

    fn png(image: impl Into<image::DynamicImage>) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let written = image.into().write_to(&mut bytes, ImageFormat::Png);
        written.expect("a PNG");
        bytes.into_inner()
    }

    #[test]
    fn a_network_for_image_files_sees_what_evaluation_shows_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for (split, width, height) in [("train", 90, 41), ("val", 33, 120)] {
            let class = dir.path().join("pets").join(split).join("cat");
            std::fs::create_dir_all(&class)?;
            let colour = |x: u32, y: u32| Rgb([x as u8, y as u8, (x * y) as u8]);
            RgbImage::from_fn(width, height, colour).save(class.join("0.png"))?;
        }
        // Smaller and larger than LARGE, and than the images.
        for size in [16, 32, 96] {
            let config = DataConfig {
                folder: Some("pets".to_owned()),
                size: Some(size),
                ..DataConfig::of(DataName::Imagenet)
            };
            let splits = data::load(&config, Some(dir.path()))?;
            for split in [&splits.train, &splits.test] {
                let data::Images::Files(images) = &split.images else {
                    bail!("pictures in memory")
                };
                let mut network = network("resnet18-imagenet", size, 3);
                network.input.mean.clone_from(&split.mean);
                network.input.std.clone_from(&split.std);
                let batch = data::Loader::new(split, &data::LoaderConfig::eval(1), 0, 0)?.next();
                let shown = batch.context("a batch")??.images;
                assert_eq!(read(&images.path(0), &network)?, shown, "{}", split.name);
            }
        }
        Ok(())
    }

    #[test]
    fn small_networks_see_all_of_an_image_and_unknown_large_ones_its_middle() -> Result<()> {
        // Left half black, right half white, twice as wide as high.
        let half = |x, _| Rgb([if x < 256 { 0 } else { 255 }; 3]);
        let half = png(RgbImage::from_fn(512, 256, half));
        let small = numbers(&half, &network("resnet8-shapes", 4, 3))?;
        assert_eq!(small.len(), 4 * 4 * 3);
        assert_eq!((small[0], small[11]), (-2.0, 2.0));
        let large = numbers(&half, &network("mine", 224, 1))?;
        assert_eq!((large[0], large[111], large[112]), (-2.0, -2.0, 2.0));
        // The 16 pixels on either side of the middle square are gone, and no others of a square.
        let edge = |x, _| Rgb([if x < 17 { 255 } else { 0 }; 3]);
        let edge = numbers(
            &png(RgbImage::from_fn(256, 256, edge)),
            &network("mine", 224, 1),
        )?;
        assert_eq!((edge[0], edge[1]), (2.0, -2.0));
        Ok(())
    }

    #[test]
    fn what_a_network_says_of_its_images_counts_and_not_its_name() -> Result<()> {
        // Each pixel is its column; the middle of 6 x 4 pixels is columns 1 to 4.
        let columns = png(RgbImage::from_fn(6, 4, |x, _| Rgb([x as u8; 3])));
        let middle = Fit::ResizeAndCrop { resize: 4, crop: 4 };
        let shown = |name: &str, side, fit| {
            let mut network = network(name, side, 1);
            network.input.mean = vec![0.0];
            network.input.std = vec![1.0 / 255.0];
            network.input.fit = fit;
            let seen = numbers(&columns, &network)?;
            let row = seen[..side].iter().map(|v| v.round() as u8).collect();
            anyhow::Ok((row, assumed(&network)))
        };
        let (row, guess): (Vec<u8>, _) = shown("x-shapes", 4, Some(middle))?;
        assert_eq!((&row[..], guess), (&[1, 2, 3, 4][..], None));
        let (all, guess) = shown("x-imagenet", 4, Some(Fit::AsIs {}))?;
        assert_eq!((all[0], all[3], guess), (0, 5, None));
        // 64 pixels of 4: the image grows to 96 x 64, and 16 columns, one pixel's, go on either
        // side.
        let large = Fit::ResizeAndCrop {
            resize: 64,
            crop: 64,
        };
        let (row, guess) = shown("x-imagenet", 64, Some(large))?;
        assert_eq!((row[8], row[56], guess), (1, 4, None));
        // Files of older versions say nothing; a side of 4 is cut out of 5.
        let guessed = |resize, crop| Some(Fit::ResizeAndCrop { resize, crop });
        assert_eq!(shown("x-imagenet", 4, None)?.1, guessed(5, 4));
        assert_eq!(shown("mine", 64, None)?.1, guessed(73, 64));
        for (name, side) in [("x-shapes", 64), ("mine", 63)] {
            let (row, guess) = shown(name, side, None)?;
            assert_eq!((row[0], row[side - 1], guess), (0, 5, None), "{name}");
        }
        Ok(())
    }

    #[test]
    fn an_image_of_the_networks_size_is_taken_as_it_is() -> Result<()> {
        let ramp = GrayImage::from_fn(28, 28, |x, y| Luma([(9 * x + y) as u8]));
        let got = numbers(&png(ramp.clone()), &network("resnet8-mnist", 28, 1))?;
        let expected = ramp
            .as_raw()
            .iter()
            .map(|&b| (f32::from(b) / 255.0 - 0.5) / 0.25);
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
        Ok(())
    }

    #[test]
    fn arrays_are_taken_as_they_are_and_floats_from_no_image() -> Result<()> {
        let npy = |descr: &str, values: &[u8]| {
            let text =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 2), }}\n");
            let length = (text.len() as u16).to_le_bytes();
            let start = [&b"\x93NUMPY\x01\0"[..], &length].concat();
            [&start[..], text.as_bytes(), values].concat()
        };
        let floats = [0.5f32, 1.0, -3.5, 0.0];
        let floats = npy("<f4", &floats.map(f32::to_le_bytes).concat());
        let bytes = npy("|u1", &[0, 255, 255, 0]);
        let mut network = network("mlp-arrays", 2, 1);
        assert_eq!(numbers(&bytes, &network)?, [-2.0, 2.0, 2.0, -2.0]);
        let refused = numbers(&floats, &network).expect_err("floats").to_string();
        assert_eq!(refused, "floats, the network takes bytes");
        network.input.numbers = Numbers::Floats;
        assert_eq!(numbers(&floats, &network)?, [0.0, 2.0, -16.0, -2.0]);
        let grey = png(GrayImage::from_pixel(2, 2, Luma([255])));
        let refused = numbers(&grey, &network).expect_err("a picture").to_string();
        assert!(
            refused.contains("floats, which no picture holds"),
            "{refused}"
        );
        Ok(())
    }

    #[test]
    fn grey_images_serve_colour_networks() -> Result<()> {
        let grey = png(GrayImage::from_pixel(9, 5, Luma([255])));
        let white = numbers(&grey, &network("resnet8-shapes", 2, 3))?;
        assert!(white.len() == 12 && white.iter().all(|&v| v == 2.0));
        let refused = numbers(&grey, &network("resnet8-shapes", 2, 2));
        let message = refused.expect_err("channels").to_string();
        assert!(message.contains("2 channels"), "{message}");
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_image_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let network = network("resnet8-mnist", 2, 1);
        let refusal = |path: &Path| format!("{:#}", read(path, &network).expect_err("no picture"));
        let message = refusal(dir.path());
        let folder = format!("reading {}: ", dir.path().display());
        assert!(message.starts_with(&folder), "{message}");
        let path = dir.path().join("x.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nbroken")?;
        let message = refusal(&path);
        assert!(
            message.contains("x.png: no PNG that can be read") && !message.contains('\n'),
            "{message}"
        );
        std::fs::write(&path, b"\xff\xd8\xff\xd9 and \xff\xda")?;
        assert_eq!(
            refusal(&path),
            format!(
                "{}: truncated: a JPEG without its end marker",
                path.display()
            )
        );
        Ok(())
    }
}
