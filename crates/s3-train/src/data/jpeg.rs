//! JPEG: what a file's headers promise, and which decoder reads it.
//!
//! zune-jpeg is fast, and wrong without a word about some layouts: colours finer than luma,
//! sequential files whose components come in several scans, markers that contradict each other
//! about the colours. Such files are rare; jpeg-decoder reads them. Test
//! `every_layout_decodes_to_what_pillow_makes_of_it` holds both to Pillow's pixels.
//!
//! Refused by name: arithmetic coding, lossless and hierarchical files, two components and more
//! than four, components sampled 1, 2 and 4 times in several scans. Colours are told as libjpeg
//! does it: JFIF's marker before Adobe's, and that before the components' names.

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decoded::{RgbImage, check_memory, check_size};
use super::error::Problem;

/// No file may have more scans, of which each passes over all of the image; usual files have 1 to
/// 12.
const MAX_SCANS: usize = 500;

const CUT: &str = "truncated: a JPEG without its end marker";

pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, Problem> {
    let Some(headers) = Headers::read(bytes) else {
        let ended = bytes.ends_with(&[0xff, 0xd9]);
        return Err(Problem::image(if ended {
            "no JPEG that can be read: no picture behind its headers"
        } else {
            CUT
        }));
    };
    // Behind the image's own start of scan: a thumbnail's end lies before it, inside of a
    // segment; inside of compressed data 0xff 0xd9 cannot occur.
    let mut pairs = bytes[headers.scan..].windows(2);
    if pairs.rfind(|pair| pair == &[0xff, 0xd9]).is_none() {
        return Err(Problem::image(CUT));
    }
    let Headers { width, height, .. } = headers;
    check_size(width, height)?;
    let colours = headers.colours()?;
    let usual = headers.is_usual(colours)?;
    check_memory(width, height, headers.memory(usual))?;
    headers.check_scans(bytes)?;
    let rgb = if usual {
        by_zune(bytes)?
    } else {
        by_jpeg_decoder(bytes, colours)?
    };
    if rgb.len() != 3 * width * height {
        return Err(Problem::image("a JPEG of a kind that has no RGB"));
    }
    Ok(RgbImage { width, height, rgb })
}

fn failed(e: &dyn std::fmt::Debug) -> Problem {
    let text = format!("no JPEG that can be read: {e:?}");
    Problem::image(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn by_zune(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode().map_err(|e| failed(&e))
}

fn by_jpeg_decoder(bytes: &[u8], colours: ColorTransform) -> Result<Vec<u8>, Problem> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_color_transform(colours);
    let pixels = decoder.decode().map_err(|e| failed(&e))?;
    Ok(match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::RGB24) => pixels,
        Some(PixelFormat::L8) => pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
        Some(PixelFormat::CMYK32) => pixels.as_chunks().0.iter().flat_map(rgb_of_cmyk).collect(),
        _ => Vec::new(),
    })
}

/// From amounts of ink: jpeg-decoder inverts what Adobe's programs write inverted.
fn rgb_of_cmyk(inks: &[u8; 4]) -> [u8; 3] {
    let [c, m, y, light] = inks.map(|ink| u32::from(255 - ink));
    [c, m, y].map(|paper| ((paper * light + 127) / 255) as u8)
}

/// A component of the image.
#[derive(Debug, Clone, Copy)]
struct Component {
    id: u8,
    /// How often it is sampled across and down, compared with the others.
    sampling: (u8, u8),
}

/// What stands before the first scan.
#[derive(Debug)]
struct Headers {
    /// The frame's marker, which says the kind of coding.
    frame: u8,
    width: usize,
    height: usize,
    components: Vec<Component>,
    has_jfif: bool,
    /// The transform that Adobe's marker names.
    adobe: Option<u8>,
    /// Where the first start of scan is, and the components in it.
    scan: usize,
    in_scan: Vec<u8>,
}

impl Headers {
    /// `None` if there is no frame or no scan.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut at = 2;
        let mut frame = None;
        let (mut has_jfif, mut adobe) = (false, None);
        loop {
            let marker = at + bytes.get(at..)?.iter().position(|&b| b == 0xff)?;
            let kind = *bytes.get(marker + 1)?;
            match kind {
                // Fill bytes, and markers without a segment.
                0xff => {
                    at = marker + 1;
                    continue;
                }
                0x00 | 0x01 | 0xd0..=0xd9 => {
                    at = marker + 2;
                    continue;
                }
                _ => {}
            }
            let length = usize::from(number(bytes.get(marker + 2..)?)?);
            let segment = bytes.get(marker + 4..(marker + 2 + length).min(bytes.len()));
            let segment = segment.unwrap_or_default();
            at = marker + 2 + length;
            match kind {
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf if frame.is_none() => {
                    frame = Some((kind, segment));
                }
                0xe0 if segment.starts_with(b"JFIF\0") => has_jfif = true,
                0xee if segment.starts_with(b"Adobe") => {
                    adobe = segment.get(11).copied().or(adobe);
                }
                0xda => {
                    let (frame, header) = frame?;
                    let component = |c: &[u8; 3]| Component {
                        id: c[0],
                        sampling: (c[1] >> 4, c[1] & 15),
                    };
                    let count = usize::from(*segment.first()?);
                    let pairs = segment.get(1..)?.as_chunks::<2>().0.iter();
                    return Some(Self {
                        frame,
                        height: usize::from(number(header.get(1..)?)?),
                        width: usize::from(number(header.get(3..)?)?),
                        components: header
                            .get(6..)?
                            .as_chunks()
                            .0
                            .iter()
                            .map(component)
                            .collect(),
                        has_jfif,
                        adobe,
                        scan: marker,
                        in_scan: pairs.take(count).map(|pair| pair[0]).collect(),
                    });
                }
                _ => {}
            }
        }
    }

    fn is_progressive(&self) -> bool {
        self.frame == 0xc2
    }

    fn has_names(&self, names: &[u8; 3]) -> bool {
        self.components.iter().map(|c| &c.id).eq(names)
    }

    /// What the components stand for, as libjpeg tells it.
    fn colours(&self) -> Result<ColorTransform, Problem> {
        if !matches!(self.frame, 0xc0..=0xc2) {
            let number = self.frame - 0xc0;
            let text = format!(
                "a JPEG with frame SOF{number}: baseline and progressive ones with Huffman codes \
                 are read"
            );
            return Err(Problem::image(text));
        }
        Ok(match (self.components.len(), self.adobe) {
            (1, _) => ColorTransform::Grayscale,
            (3, _) if self.has_jfif => ColorTransform::YCbCr,
            (3, Some(0)) => ColorTransform::RGB,
            (3, None) if self.has_names(b"RGB") => ColorTransform::RGB,
            (3, _) => ColorTransform::YCbCr,
            (4, None | Some(0)) => ColorTransform::CMYK,
            (4, _) => ColorTransform::YCCK,
            (count, _) => {
                let text = format!("a JPEG of {count} components: 1, 3 and 4 are read");
                return Err(Problem::image(text));
            }
        })
    }

    /// Whether zune-jpeg reads the file rightly; otherwise jpeg-decoder does.
    fn is_usual(&self, colours: ColorTransform) -> Result<bool, Problem> {
        let Some(&Component { sampling: luma, .. }) = self.components.first() else {
            return Ok(false);
        };
        let most = self.most();
        let of_all = |fits: &dyn Fn(u8, u8) -> bool| {
            let mut all = self.components.iter().map(|c| c.sampling);
            all.all(|(h, v)| fits(h, most.0) && fits(v, most.1))
        };
        let in_one = self
            .in_scan
            .iter()
            .eq(self.components.iter().map(|c| &c.id));
        // Of a component between the finest and the coarsest both miscount the blocks of a scan of
        // its own.
        let is_plain = of_all(&|n, most| n == 1 || n == most);
        if !is_plain && (self.is_progressive() || !in_one) {
            let text = "a JPEG in several scans with components sampled 1, 2 and 4 times: \
                        interleaved ones are read";
            return Err(Problem::image(text));
        }
        let same_colours = match (colours, self.adobe) {
            (_, Some(3..)) => false,
            (ColorTransform::YCbCr, adobe) => adobe != Some(0) && !self.has_names(b"RGB"),
            (ColorTransform::YCCK, adobe) => adobe == Some(2),
            _ => true,
        };
        // A progressive image is put together before it is decoded, a sequential one scan by
        // scan.
        let in_order = self.is_progressive() || in_one;
        Ok(luma == most && is_plain && of_all(&|n, _| n != 3) && same_colours && in_order)
    }

    /// The finest sampling, across and down.
    fn most(&self) -> (u8, u8) {
        let all = || self.components.iter().map(|c| c.sampling);
        let most = |of: fn((u8, u8)) -> u8| all().map(of).max().unwrap_or(1).max(1);
        (most(|s| s.0), most(|s| s.1))
    }

    /// Bytes that decoding takes at most.
    fn memory(&self, usual: bool) -> usize {
        let pixels = self.width * self.height;
        let (across, down) = self.most();
        let units = self.width.div_ceil(8 * usize::from(across))
            * self.height.div_ceil(8 * usize::from(down));
        let sampling = self.components.iter().map(|c| c.sampling);
        let blocks: usize = sampling.map(|(h, v)| usize::from(h) * usize::from(v)).sum();
        let samples = 64 * units * blocks;
        let held = match (usual, self.is_progressive()) {
            (true, false) => 0,
            // Two bytes a coefficient.
            (true, true) => 2 * samples,
            // And planes, and pixels in the file's colours.
            (false, _) => 3 * samples + self.components.len() * pixels,
        };
        3 * pixels + held
    }

    fn check_scans(&self, bytes: &[u8]) -> Result<(), Problem> {
        let pairs = bytes[self.scan..].iter().zip(&bytes[self.scan + 1..]);
        let scans = pairs.filter(|&pair| pair == (&0xff, &0xda)).count();
        if scans > MAX_SCANS {
            let text = format!("a JPEG of {scans} scans: at most {MAX_SCANS} are read");
            return Err(Problem::image(text));
        }
        Ok(())
    }
}

/// The first two bytes.
fn number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use safetensors::SafeTensors;

    use super::*;

    /// The files of tools/golden/jpegs.py.
    fn files() -> Vec<u8> {
        let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jpegs.safetensors.gz");
        let mut bytes = Vec::new();
        let file = std::fs::File::open(packed).unwrap();
        flate2::read::GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    /// Mean and largest difference to Pillow, in units of a byte: other roundings, and other
    /// weights where colours are upsampled. A misplaced block or a wrong colour is 10 and more.
    const TOLERANCE: (f64, u8) = (0.5, 5);

    #[test]
    fn every_layout_decodes_to_what_pillow_makes_of_it() {
        let bytes = files();
        let files = SafeTensors::deserialize(&bytes).unwrap();
        let mut count = 0;
        for (name, file) in files.tensors() {
            let Some(layout) = name.strip_prefix("file/") else {
                continue;
            };
            let kind = layout.rsplit_once('/').unwrap().0;
            let pillow = files.tensor(&format!("rgb/{kind}")).unwrap();
            let got = decode(file.data()).unwrap_or_else(|e| panic!("{layout}: {e}"));
            assert_eq!(pillow.shape(), [got.height, got.width, 3], "{layout}");
            let apart = got
                .rgb
                .iter()
                .zip(pillow.data())
                .map(|(a, b)| a.abs_diff(*b));
            let sum: u32 = apart.clone().map(u32::from).sum();
            let mean = f64::from(sum) / got.rgb.len() as f64;
            let most = apart.max().unwrap();
            assert!(
                mean < TOLERANCE.0 && most <= TOLERANCE.1,
                "{layout}: {mean}, {most}"
            );
            count += 1;
        }
        assert_eq!(count, 212);
    }

    #[test]
    fn layouts_that_neither_decoder_reads_rightly_are_refused_by_name() {
        let bytes = files();
        let files = SafeTensors::deserialize(&bytes).unwrap();
        for (name, words) in [
            ("between", "components sampled 1, 2 and 4 times"),
            ("between-progressive", "components sampled 1, 2 and 4 times"),
            ("arithmetic", "frame SOF9"),
            ("adobe-5", "color transform"),
        ] {
            let file = files.tensor(&format!("refused/{name}")).unwrap();
            let message = decode(file.data()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn files_of_very_many_scans_are_refused() {
        let bytes = files();
        let files = SafeTensors::deserialize(&bytes).unwrap();
        let file = files.tensor("file/2x2,1x1,1x1/progressive").unwrap();
        let (scans, end) = file.data().split_at(file.data().len() - 2);
        let last = scans
            .windows(2)
            .rposition(|pair| pair == [0xff, 0xda])
            .unwrap();
        let with = |more: usize| [scans, &scans[last..].repeat(more), end].concat();
        let message = decode(&with(MAX_SCANS)).unwrap_err().to_string();
        assert_eq!(message, "a JPEG of 510 scans: at most 500 are read");
    }

    #[test]
    fn a_jpeg_without_an_image_is_refused() {
        for (bytes, words) in [
            (&b"\xff\xd8\xff\xd9"[..], "no picture behind its headers"),
            (
                b"\xff\xd8\xff\xda\0\x08\x01\x01\0\0\x3f\0\xff\xd9",
                "no picture",
            ),
            (b"\xff\xd8", "truncated"),
        ] {
            let message = decode(bytes).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
