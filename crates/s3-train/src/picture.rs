//! An image file as the numbers that a network takes.
//!
//! A network that was trained on picture files sees what evaluation shows it: the short side resized, the
//! middle cut out ([`view::centre`]), by the same code. It is known by its name, which ends with its data
//! set as [`Trained::freeze`](crate::trained::Trained::freeze) writes it; where the name says none, a square
//! network of 64 pixels and more counts as one. Any other network was trained on small images that are what
//! they show: it sees the whole image, resized whatever its proportions. A network of one channel sees grey.
//! Then `(byte / 255 - mean) / std`.
//!
//! A file that NumPy has written holds one image as the network takes it, bytes or floats
//! ([`arrays::image`]); a network of floats takes no other.

use crate::data::augment::{Normalizer, Number, Placement};
use crate::data::decode::{self, decode};
use crate::data::view::{self, squeezed};
use crate::data::{DataName, Images, arrays};
use crate::trained::data_of;
use anyhow::{Context, Result, bail};
use image::{Pixel, Rgb};
use s3_layers::model::{Network, Numbers};
use std::path::Path;

/// From this side on, a network of an unknown data set sees the middle of an image.
const LARGE: usize = 64;

/// The picture in `path` ([`decode()`]), or the array, as `network` wants it: `[height, width,
/// channels]`.
///
/// # Errors
/// One line that names the file: it cannot be read, or not be decoded ([`decode()`]); the network
/// has neither one channel nor three, or takes floats, which no picture holds; an array of other
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
///     input: Input { mean: vec![0.5], std: vec![0.25], scale: 1.0, numbers: Numbers::Bytes },
///     classes: Vec::new(),
///     activations: Activations::F32,
///     graph: Graph::new(Size { height: 2, width: 2, channels: 1 }),
/// };
/// assert_eq!(s3_train::picture::read(&path, &network)?, [2.0; 4]);
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
    let picture = decode(file)?;
    let rgb = if sees_middle(network) {
        view::centre(picture, image.height)?
    } else {
        squeezed(&picture, image.width, image.height)?
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

fn sees_middle(network: &Network) -> bool {
    let image = network.graph.image;
    let on_pictures = match data_of(&network.name) {
        Some(data) => data == DataName::Imagenet,
        None => image.height >= LARGE,
    };
    on_pictures && image.height == image.width
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

    fn png(picture: impl Into<image::DynamicImage>) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let written = picture.into().write_to(&mut bytes, ImageFormat::Png);
        written.expect("a PNG");
        bytes.into_inner()
    }

    #[test]
    fn a_network_for_picture_files_sees_what_evaluation_shows_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for (split, width, height) in [("train", 90, 41), ("val", 33, 120)] {
            let class = dir.path().join("pets").join(split).join("cat");
            std::fs::create_dir_all(&class)?;
            let colour = |x: u32, y: u32| Rgb([x as u8, y as u8, (x * y) as u8]);
            RgbImage::from_fn(width, height, colour).save(class.join("0.png"))?;
        }
        // Smaller and larger than LARGE, and than the pictures.
        for size in [16, 32, 96] {
            let config = DataConfig {
                folder: Some("pets".to_owned()),
                size: Some(size),
                ..DataConfig::of(DataName::Imagenet)
            };
            let splits = data::load(&config, Some(dir.path()))?;
            for split in [&splits.train, &splits.test] {
                let data::Images::Pictures(pictures) = &split.images else {
                    bail!("pictures in memory")
                };
                let mut network = network("resnet18-imagenet", size, 3);
                network.input.mean.clone_from(&split.mean);
                network.input.std.clone_from(&split.std);
                let batch = data::Loader::new(split, &data::LoaderConfig::eval(1), 0, 0)?.next();
                let shown = batch.context("a batch")??.images;
                assert_eq!(read(&pictures.path(0), &network)?, shown, "{}", split.name);
            }
        }
        Ok(())
    }

    #[test]
    fn small_networks_see_all_of_a_picture_and_unknown_large_ones_its_middle() -> Result<()> {
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
    fn a_picture_of_the_networks_size_is_taken_as_it_is() -> Result<()> {
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
    fn arrays_are_taken_as_they_are_and_floats_from_no_picture() -> Result<()> {
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
    fn grey_pictures_serve_colour_networks() -> Result<()> {
        let grey = png(GrayImage::from_pixel(9, 5, Luma([255])));
        let white = numbers(&grey, &network("resnet8-shapes", 2, 3))?;
        assert!(white.len() == 12 && white.iter().all(|&v| v == 2.0));
        let refused = numbers(&grey, &network("resnet8-shapes", 2, 2));
        let message = refused.expect_err("channels").to_string();
        assert!(message.contains("2 channels"), "{message}");
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_picture_is_named() -> Result<()> {
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
