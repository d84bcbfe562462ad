//! A decoded image, and how large one may be.

use super::error::Problem;

/// No side of an image may be longer.
pub const MAX_SIDE: usize = 1 << 14;
/// No image may have more pixels: 402 MB of RGB.
pub const MAX_PIXELS: usize = 1 << 27;
/// No file may be longer, and none may take more bytes while it is decoded.
pub const MEMORY: usize = 1 << 29;

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// `[height, width, 3]`.
    pub rgb: Vec<u8>,
}

/// Whether an image may have so many pixels.
pub(super) fn check_size(width: usize, height: usize) -> Result<(), Problem> {
    if width == 0 || height == 0 {
        return Err(Problem::image("a picture without a pixel"));
    }
    if width.max(height) > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(Problem::image(format!(
            "{width}x{height} pixels: at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read"
        )));
    }
    Ok(())
}

/// Whether decoding may take `bytes`.
pub(super) fn check_memory(width: usize, height: usize, bytes: usize) -> Result<(), Problem> {
    if bytes > MEMORY {
        return Err(Problem::image(format!(
            "{width}x{height} pixels of this kind take {bytes} bytes to decode, at most {MEMORY} \
             are given"
        )));
    }
    Ok(())
}
