//! From the bytes of an image file to RGB: JPEG, PNG, WebP, TIFF, BMP, and PPM and PGM.
//!
//! What the bytes are is read from their start and not from the file's name: one `.JPEG` of
//! ImageNet is a PNG. Baseline and progressive JPEG; grey becomes three equal channels, CMYK and
//! YCCK (inverted, as Adobe's programs write them) become RGB, an alpha channel is dropped, 16 bits
//! become 8 (of grey too, where Pillow's `convert` cuts off what is above 255). Of several images
//! in a file the first counts.
//!
//! An image comes as its rows are stored. EXIF's orientation is not looked at, as torchvision's
//! `ImageFolder` does not: Pillow's `convert("RGB")` turns nothing. A network that is to see
//! images upright needs files that are; turning some would make another data set than the one
//! that others train on.
//!
//! No file takes more than [`MEMORY`] while it is decoded, whatever its headers promise: what a
//! image needs is computed and compared before it is asked for; a colour profile that unpacks to
//! more than [`METADATA`] is left out. The code tables of a lossless WebP come on top.
//!
//! A JPEG without its end marker is an error, as it is in Pillow, and so is one whose headers are
//! damaged; damage inside of the compressed data that still decodes is not seen.
//!
//! ```
//! use s3_train::data::decode::decode;
//!
//! assert_eq!(decode(b"").unwrap_err().to_string(), "an empty file");
//! assert!(decode(b"GIF89a").unwrap_err().to_string().starts_with("no JPEG, PNG, WebP,"));
//! let image = decode(b"P6 2 1 255\n\x01\x02\x03\x04\x05\x06")?;
//! assert_eq!((image.width, image.height, &image.rgb[..]), (2, 1, &[1, 2, 3, 4, 5, 6][..]));
//! # Ok::<(), s3_train::data::Problem>(())
//! ```

use std::io::{self, Cursor};
use std::panic::{UnwindSafe, catch_unwind};
use std::path::Path;

use image::codecs::bmp::BmpDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::pnm::PnmDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageResult, Limits};

pub use super::decoded::{MAX_PIXELS, MAX_SIDE, MEMORY, RgbImage};

use super::decoded::{check_memory, check_size};
use super::error::Problem;
use super::jpeg;
use crate::files::read_regular;

/// No more of a PNG's profile and texts is kept.
pub const METADATA: usize = 1 << 24;

/// The bytes of an image file, of at most [`MEMORY`].
///
/// # Errors
///
/// Those of the file system; [`InvalidData`](io::ErrorKind::InvalidData) for what is no regular
/// file or longer.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_regular(path, MEMORY as u64)
}

/// Decodes the bytes of an image file.
///
/// # Errors
///
/// [`Problem::Image`]: empty, another format, truncated, damaged, of no pixel, larger than
/// [`MAX_SIDE`] and [`MAX_PIXELS`], or in need of more than [`MEMORY`]; a decoder that panics.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, Problem> {
    caught(|| decode_or_panic(bytes))
}

/// A decoder that panics must not end a run of days without a word of the file.
fn caught<T>(decode: impl FnOnce() -> Result<T, Problem> + UnwindSafe) -> Result<T, Problem> {
    let panicked = |_| Err(Problem::image("the decoder panics on this file"));
    catch_unwind(decode).unwrap_or_else(panicked)
}

fn decode_or_panic(bytes: &[u8]) -> Result<RgbImage, Problem> {
    let file = Cursor::new(bytes);
    match bytes {
        [] => Err(Problem::image("an empty file")),
        [0xff, 0xd8, ..] => jpeg::decode(bytes),
        [0x89, b'P', b'N', b'G', ..] => {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(METADATA as u64);
            through("PNG", PngDecoder::with_limits(file, limits), 0).map(rgb)
        }
        // Lossless and animated ones are put together with four bytes a pixel, twice at most.
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => through("WebP", WebPDecoder::new(file), 8).map(rgb),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => tiff(file),
        [b'B', b'M', ..] => through("BMP", BmpDecoder::new(file), 0).map(rgb),
        [b'P', b'1'..=b'7', ..] => through("PNM", PnmDecoder::new(file), 0).map(rgb),
        _ => Err(Problem::image("no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM")),
    }
}

/// A TIFF is turned as its own tag says: that is no EXIF, and Pillow does it.
fn tiff(file: Cursor<&[u8]>) -> Result<RgbImage, Problem> {
    let mut decoder = TiffDecoder::new(file);
    let turn = decoder.as_mut().ok().and_then(|d| d.orientation().ok());
    let turn = turn.unwrap_or(Orientation::NoTransforms);
    let copy = if turn == Orientation::NoTransforms {
        0
    } else {
        8
    };
    let mut image = through("TIFF", decoder, copy)?;
    image.apply_orientation(turn);
    Ok(rgb(image))
}

/// Decodes a `format` of the crate `image`, which holds `more` bytes a pixel besides the pixels.
fn through(
    format: &str,
    decoder: ImageResult<impl ImageDecoder>,
    more: usize,
) -> Result<DynamicImage, Problem> {
    let failed = |e: image::ImageError| {
        let text = format!("no {format} that can be read: {e}");
        Problem::image(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut decoder = decoder.map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height)?;
    let colours = decoder.color_type();
    if matches!(colours, ColorType::Rgb32F | ColorType::Rgba32F) {
        let text = format!("a {format} of floats: 8 and 16 bits are read");
        return Err(Problem::image(text));
    }
    let converted = if colours == ColorType::Rgb8 { 0 } else { 3 };
    let each = usize::from(colours.bytes_per_pixel()) + converted + more;
    check_memory(width, height, each * width * height)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MEMORY as u64);
    decoder.set_limits(limits).map_err(failed)?;
    DynamicImage::from_decoder(decoder).map_err(failed)
}

fn rgb(image: DynamicImage) -> RgbImage {
    let rgb = image.into_rgb8();
    RgbImage {
        width: rgb.width() as usize,
        height: rgb.height() as usize,
        rgb: rgb.into_raw(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/pictures");

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(format!("{FOLDER}/{name}")).unwrap()
    }

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// No two rows, columns or channels are alike.
    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([7 * x as u8, 11 * y as u8, (5 * x + 3 * y) as u8])
        })
    }

    const LOSSLESS: [ImageFormat; 5] = [
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Tiff,
        ImageFormat::Bmp,
        ImageFormat::Pnm,
    ];

    fn refusal(bytes: &[u8]) -> String {
        let message = decode(bytes).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
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
    fn lossless_files_come_back_as_written_whatever_their_colours() {
        for format in LOSSLESS {
            let image = ramp(5, 3);
            let expected = super::RgbImage {
                width: 5,
                height: 3,
                rgb: image.as_raw().clone(),
            };
            let grey = DynamicImage::from(image.clone()).into_luma8();
            let of_grey: Vec<u8> = grey.as_raw().iter().flat_map(|&g| [g; 3]).collect();
            assert_eq!(
                decode(&encoded(image.clone(), format)),
                Ok(expected.clone())
            );
            assert_eq!(decode(&encoded(grey, format)).unwrap().rgb, of_grey);
            if format != ImageFormat::Pnm {
                // Alpha is dropped, not multiplied with.
                let mut seen_through = DynamicImage::from(image).into_rgba8();
                seen_through.pixels_mut().for_each(|pixel| pixel.0[3] = 40);
                let expected = Ok(expected);
                assert_eq!(
                    decode(&encoded(seen_through, format)),
                    expected,
                    "{format:?}"
                );
            }
        }
        let deep = DynamicImage::from(ramp(5, 3)).into_rgb16();
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let got = decode(&encoded(deep.clone(), format)).unwrap();
            assert_eq!(got.rgb, *ramp(5, 3).as_raw());
        }
        // Samples of a PNM count up to what its header says, as text and as bytes.
        let of = |bytes: &[u8]| decode(bytes).unwrap().rgb;
        assert_eq!(of(b"P5 2 1 15\n\x00\x0f"), [0, 0, 0, 255, 255, 255]);
        assert_eq!(of(b"P3 1 1 255\n1 20 255\n"), [1, 20, 255]);
    }

    /// The EXIF data that says how an image is to be turned.
    fn orientation(turn: u8) -> Vec<u8> {
        let mut exif = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([turn, 0, 0, 0, 0, 0, 0, 0]);
        exif
    }

    #[test]
    fn exif_orientation_turns_nothing_as_in_torchvision() {
        let plain = file("baseline.jpg");
        let expected = decode(&plain).unwrap();
        let png = encoded(ramp(5, 3), ImageFormat::Png);
        for turn in 1..=8 {
            let exif = [b"Exif\0\0", &orientation(turn)[..]].concat();
            let length = (exif.len() as u16 + 2).to_be_bytes();
            let jpeg = [&plain[..2], b"\xff\xe1", &length, &exif, &plain[2..]].concat();
            assert_eq!(decode(&jpeg).as_ref(), Ok(&expected), "{turn}");
            let png = with_chunk(&png, b"eXIf", &orientation(turn));
            assert_eq!(decode(&png).unwrap().rgb, *ramp(5, 3).as_raw(), "{turn}");
        }
    }

    #[test]
    fn a_tiff_is_turned_as_pillow_turns_it() {
        let mut bytes = encoded(ramp(5, 3), ImageFormat::Tiff);
        // The tag before which Orientation has its place is one that decoding does not need.
        let entry = |tag: u16| [&tag.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0]].concat();
        let resolution = [&296u16.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0]].concat();
        let at = bytes.windows(8).position(|w| w == resolution).unwrap();
        bytes[at..at + 8].copy_from_slice(&entry(274));
        bytes[at + 8] = 6;
        let turned = image::imageops::rotate90(&ramp(5, 3));
        let got = decode(&bytes).unwrap();
        assert_eq!((got.width, got.height), (3, 5));
        assert_eq!(got.rgb, *turned.as_raw());
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        for kind in ["baseline.jpg", "progressive.jpg"] {
            let whole = file(kind);
            for cut in 0..whole.len() {
                refusal(&whole[..cut]);
            }
            // Bytes behind the end do not matter.
            decode(&[&whole[..], b"trailing"].concat()).unwrap();
        }
        for format in LOSSLESS {
            let whole = encoded(ramp(9, 9), format);
            // Behind the pixels a PNG has its end, and a TIFF what it says first.
            for cut in 0..whole.len() / 2 {
                refusal(&whole[..cut]);
            }
        }
    }

    #[test]
    fn no_damage_panics() {
        let mut files: Vec<Vec<u8>> = ["baseline.jpg", "progressive.jpg", "cmyk.jpg"]
            .map(file)
            .to_vec();
        files.extend(LOSSLESS.map(|format| encoded(ramp(9, 9), format)));
        for whole in files {
            for at in (0..whole.len()).step_by(3) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x55;
                let _ = decode_or_panic(&damaged);
            }
        }
    }

    #[test]
    fn a_panic_is_an_error_of_the_image() {
        let problem = caught::<super::RgbImage>(|| panic!("a decoder's assertion")).unwrap_err();
        assert_eq!(problem, Problem::image("the decoder panics on this file"));
    }

    #[test]
    fn sizes_beyond_the_limits_are_errors_before_any_decoding() {
        let mut wide = file("baseline.jpg");
        let frame = wide
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        wide[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
        assert!(refusal(&wide).starts_with("20000x20000 pixels"));
        wide[frame + 5..frame + 9].copy_from_slice(&[0x40, 0x00, 0x40, 0x00]);
        assert!(refusal(&wide).starts_with("16384x16384 pixels"));
        wide[frame + 5..frame + 9].copy_from_slice(&[0, 0, 0, 0]);
        refusal(&wide);
    }

    /// A PNG with a chunk behind its header.
    fn with_chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let (before, behind) = png.split_at(8 + 25);
        let body = [&kind[..], content].concat();
        let (length, sum) = (content.len() as u32, crc32fast::hash(&body));
        let chunk = [&length.to_be_bytes()[..], &body, &sum.to_be_bytes()].concat();
        [before, &chunk, behind].concat()
    }

    /// The PNG with another header: width, height, bits and kind of colours.
    fn with_header(png: &[u8], width: u32, height: u32, colours: [u8; 2]) -> Vec<u8> {
        let mut png = png.to_vec();
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        png[24..26].copy_from_slice(&colours);
        let sum = crc32fast::hash(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        png
    }

    #[test]
    fn what_an_image_needs_is_refused_before_it_is_asked_for() {
        let png = encoded(ramp(8, 8), ImageFormat::Png);
        // 16 bits of four channels, and three bytes of what becomes of them.
        let deep = with_header(&png, 1 << 13, 1 << 13, [16, 6]);
        let expected = "8192x8192 pixels of this kind take 738197504 bytes to decode, \
                        at most 536870912 are given";
        assert_eq!(refusal(&deep), expected);
        let mut progressive = file("progressive.jpg");
        let frame = progressive.windows(2).position(|p| p == [0xff, 0xc2]);
        let size = frame.unwrap() + 5;
        progressive[size..size + 4].copy_from_slice(&[0x20, 0, 0x40, 0]);
        assert!(refusal(&progressive).starts_with("16384x8192 pixels of this kind take 805306368"));
        let pnm = |size: &str| refusal(format!("P6 {size} 65535\nxx").as_bytes());
        assert!(pnm("16384 8192").starts_with("16384x8192 pixels of this kind take"));
        assert!(pnm("99999999 1").starts_with("99999999x1 pixels: at most"));
        let mut tiff = encoded(ramp(8, 8), ImageFormat::Tiff);
        let width = [0u8, 1, 4, 0, 1, 0, 0, 0];
        let at = tiff.windows(8).position(|w| w == width).unwrap();
        tiff[at + 8..at + 12].copy_from_slice(&(1u32 << 30).to_le_bytes());
        assert!(refusal(&tiff).starts_with("1073741824x8 pixels: at most"));
        let mut bmp = encoded(ramp(8, 8), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&(1u32 << 30).to_le_bytes());
        refusal(&bmp);
    }

    #[test]
    fn a_profile_that_unpacks_to_more_than_its_limit_is_left_out() {
        let png = encoded(ramp(8, 8), ImageFormat::Png);
        let profile = |bytes: usize| {
            let mut packed =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&vec![0; bytes]).unwrap();
            let content = [&b"p\0\0"[..], &packed.finish().unwrap()].concat();
            with_chunk(&png, b"iCCP", &content)
        };
        assert_eq!(decode(&profile(METADATA / 8)), decode(&png));
        assert_eq!(decode(&profile(METADATA + 1)), decode(&png));
    }

    #[test]
    fn what_is_no_image_is_named() {
        for bytes in [&b"GIF89a"[..], b"text", b"RIFF\0\0\0\0WAVE", b"P8 1 1"] {
            assert_eq!(refusal(bytes), "no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM");
        }
    }
}
