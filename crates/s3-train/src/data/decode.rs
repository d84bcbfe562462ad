//! JPEG and PNG: from the bytes of a file to RGB.
//!
//! What the bytes are is read from their start and not from the file's name: one `.JPEG` of ImageNet
//! is a PNG. Baseline and progressive JPEG; grey becomes three equal channels, CMYK and YCCK (inverted,
//! as Adobe's programs write them) become RGB, an alpha channel is dropped.
//!
//! A JPEG without its end marker is an error, as it is in Pillow, and so is one whose headers are
//! damaged; damage inside of the compressed data that still decodes is not seen.
//!
//! ```
//! use s3_train::data::decode::decode;
//!
//! assert_eq!(decode(b"").unwrap_err().to_string(), "an empty file");
//! assert!(decode(b"GIF89a").unwrap_err().to_string().contains("no JPEG or PNG"));
//! ```

use std::io::Cursor;
use std::panic::{UnwindSafe, catch_unwind};

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::Problem;

/// No side of a picture may be longer.
pub const MAX_SIDE: usize = 1 << 14;
/// No picture may have more pixels: 402 MB of RGB.
pub const MAX_PIXELS: usize = 1 << 27;

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// `[height, width, 3]`.
    pub rgb: Vec<u8>,
}

/// Decodes the bytes of a JPEG or PNG file.
///
/// # Errors
///
/// [`Problem::Picture`]: empty, another format, truncated, damaged, of no pixel, or larger than
/// [`MAX_SIDE`] and [`MAX_PIXELS`]; a decoder that panics.
pub fn decode(bytes: &[u8]) -> Result<Picture, Problem> {
    caught(|| decode_or_panic(bytes))
}

/// A decoder that panics must not end a run of days without a word of the file.
fn caught<T>(decode: impl FnOnce() -> Result<T, Problem> + UnwindSafe) -> Result<T, Problem> {
    let panicked = |_| Err(Problem::picture("the decoder panics on this file"));
    catch_unwind(decode).unwrap_or_else(panicked)
}

fn decode_or_panic(bytes: &[u8]) -> Result<Picture, Problem> {
    match bytes {
        [] => Err(Problem::picture("an empty file")),
        [0xff, 0xd8, ..] => jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        _ => Err(Problem::picture("no JPEG or PNG")),
    }
}

fn jpeg(bytes: &[u8]) -> Result<Picture, Problem> {
    let failed = |e: &dyn std::fmt::Debug| {
        let text = format!("no JPEG that can be read: {e:?}");
        Problem::picture(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    if !has_end(bytes) {
        return Err(Problem::picture("truncated: a JPEG without its end marker"));
    }
    decoder.decode_headers().map_err(|e| failed(&e))?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    check_size(width, height)?;
    let rgb = decoder.decode().map_err(|e| failed(&e))?;
    whole(width, height, rgb)
}

fn png(bytes: &[u8]) -> Result<Picture, Problem> {
    let failed = |e: image::ImageError| {
        let text = format!("no PNG that can be read: {e}");
        Problem::picture(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    whole(width, height, picture.into_rgb8().into_raw())
}

fn whole(width: usize, height: usize, rgb: Vec<u8>) -> Result<Picture, Problem> {
    if rgb.len() != 3 * width * height {
        return Err(Problem::picture("a JPEG of a kind that has no RGB"));
    }
    Ok(Picture { width, height, rgb })
}

fn check_size(width: usize, height: usize) -> Result<(), Problem> {
    if width == 0 || height == 0 {
        return Err(Problem::picture("a picture without a pixel"));
    }
    if width.max(height) > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(Problem::picture(format!(
            "{width}x{height} pixels: at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read"
        )));
    }
    Ok(())
}

/// Whether an end marker stands behind the picture's own start of scan. A thumbnail's lies before
/// it, inside of a segment; inside of compressed data 0xff 0xd9 cannot occur.
fn has_end(bytes: &[u8]) -> bool {
    let Some(scan) = start_of_scan(bytes) else {
        // The decoder says what is wrong with the headers.
        return bytes.ends_with(&[0xff, 0xd9]);
    };
    let mut pairs = bytes[scan..].windows(2);
    pairs.rfind(|pair| pair == &[0xff, 0xd9]).is_some()
}

/// The position of the first start-of-scan marker.
fn start_of_scan(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        let marker = at + bytes.get(at..)?.iter().position(|&b| b == 0xff)?;
        match *bytes.get(marker + 1)? {
            0xda => return Some(marker),
            // Fill bytes, and markers without a segment.
            0xff => at = marker + 1,
            0x00 | 0x01 | 0xd0..=0xd9 => at = marker + 2,
            _ => {
                let length = bytes.get(marker + 2..marker + 4)?;
                at = marker + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/pictures");

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(format!("{FOLDER}/{name}")).unwrap()
    }

    /// Mean absolute difference in units of a byte.
    fn difference(a: &[u8], b: &[u8]) -> f64 {
        assert_eq!(a.len(), b.len());
        let sum: u32 = a
            .iter()
            .zip(b)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        f64::from(sum) / a.len() as f64
    }

    /// Pillow's decoder rounds in other places than ours; upsampled colour differs most.
    const TOLERANCE: f64 = 0.75;

    #[test]
    fn every_kind_of_file_decodes_to_what_pillow_makes_of_it() {
        for kind in [
            "baseline.jpg",
            "progressive.jpg",
            "grey.jpg",
            "cmyk.jpg",
            "full.jpg",
        ] {
            let got = decode(&file(kind)).unwrap();
            let pillow = decode(&file(&format!("{kind}.png"))).unwrap();
            assert_eq!((got.width, got.height), (pillow.width, pillow.height));
            let difference = difference(&got.rgb, &pillow.rgb);
            assert!(difference < TOLERANCE, "{kind}: {difference}");
        }
    }

    #[test]
    fn a_jpeg_cut_anywhere_is_an_error() {
        for kind in ["baseline.jpg", "progressive.jpg"] {
            let whole = file(kind);
            for cut in 0..whole.len() {
                let problem = decode(&whole[..cut]).expect_err("cut").to_string();
                assert!(!problem.contains('\n'), "{problem}");
            }
            // Bytes behind the end do not matter.
            decode(&[&whole[..], b"trailing"].concat()).unwrap();
        }
    }

    #[test]
    fn no_damage_panics() {
        for kind in [
            "baseline.jpg",
            "progressive.jpg",
            "cmyk.jpg",
            "grey.jpg.png",
        ] {
            let whole = file(kind);
            for at in (0..whole.len()).step_by(3) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x55;
                let _ = decode_or_panic(&damaged);
            }
        }
    }

    #[test]
    fn a_panic_is_an_error_of_the_picture() {
        let problem = caught::<Picture>(|| panic!("a decoder's assertion")).unwrap_err();
        assert_eq!(problem, Problem::picture("the decoder panics on this file"));
    }

    #[test]
    fn sizes_beyond_the_limits_are_errors_before_any_decoding() {
        let mut wide = file("baseline.jpg");
        let frame = wide
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        wide[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
        let message = decode(&wide).unwrap_err().to_string();
        assert!(message.starts_with("20000x20000 pixels"), "{message}");
        wide[frame + 5..frame + 9].copy_from_slice(&[0x40, 0x00, 0x40, 0x00]);
        let message = decode(&wide).unwrap_err().to_string();
        assert!(message.starts_with("16384x16384 pixels"), "{message}");
        wide[frame + 5..frame + 9].copy_from_slice(&[0, 0, 0, 0]);
        decode(&wide).unwrap_err();
    }
}
