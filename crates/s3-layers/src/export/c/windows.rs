//! How the C file steps through bytes: the numbers of its `s3_window`.

use s3_kernels::model::Size;

use super::super::error::Error;

/// A window that moves over an image of `from` with `padding` pixels on each side.
pub(super) fn window(
    from: Size,
    made: Size,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
) -> String {
    let [height, width] = kernel;
    let row = width * from.channels;
    let pitch = pitch(from, padding);
    moved(from, made, [height, row, pitch - row], stride, padding)
}

/// `[rows, row, gap]` are those of the window.
fn moved(
    from: Size,
    made: Size,
    [rows, row, gap]: [usize; 3],
    stride: usize,
    padding: usize,
) -> String {
    format!(
        "{{{}, {}, {}, {}, {rows}, {row}, {gap}, {}, {}}}",
        made.height,
        made.width,
        made.channels,
        made.width * made.channels,
        stride * from.channels,
        stride * pitch(from, padding)
    )
}

/// Bytes from a row of an image to the next, with `padding` pixels on each side.
fn pitch(from: Size, padding: usize) -> usize {
    (from.width + 2 * padding) * from.channels
}

/// The channels of the pixels of `from`, each of which goes to a pixel of `channels`.
pub(super) fn of_channels(from: Size, channels: usize) -> String {
    let made = Size { channels, ..from };
    window(from, made, [1, 1], 1, 0)
}

/// All numbers of the first channel, then those of the next.
pub(super) fn of_one_channel_after_another(from: Size) -> String {
    let (pixels, channels) = (from.pixels(), from.channels);
    format!("{{{pixels}, {channels}, {pixels}, 1, 1, 1, 0, 1, {channels}}}")
}

/// An image with more pixels around it.
pub(super) struct Frame {
    from: Size,
    /// Bytes of all of it.
    pub(super) bytes: usize,
    /// Where the image begins in it.
    pub(super) first: usize,
    /// From one of its rows to the next.
    pub(super) pitch: usize,
}

impl Frame {
    /// `from` with so many pixels above it, below it, to its left and to its right.
    ///
    /// # Errors
    /// One that names node `name`, where it is no array of C.
    pub(super) fn new(from: Size, sides: [usize; 4], name: &str) -> Result<Frame, Error> {
        let [top, bottom, left, right] = sides;
        let pitch = (left + from.width + right).checked_mul(from.channels);
        let bytes = pitch.and_then(|pitch| (top + from.height + bottom).checked_mul(pitch));
        match (pitch, bytes) {
            (Some(pitch), Some(bytes)) if bytes <= u32::MAX as usize => Ok(Frame {
                from,
                bytes,
                first: top * pitch + left * from.channels,
                pitch,
            }),
            _ => Err(Error::node(
                name,
                "an image with its border leaves 32 bits of bytes",
            )),
        }
    }

    /// Bytes of a row of the image.
    pub(super) fn row(&self) -> usize {
        self.from.width * self.from.channels
    }

    /// Its rows, each of which goes to a row of the frame.
    pub(super) fn rows(&self) -> String {
        let (row, pitch) = (self.row(), self.pitch);
        let height = self.from.height;
        format!("{{{height}, 1, {row}, {pitch}, 1, {row}, 0, {row}, {row}}}")
    }
}
