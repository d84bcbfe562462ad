//! TensorBoard event files: scalars, histograms and images of a run, written as a stream.
//!
//! An event file is a sequence of records, all numbers little-endian,
//!
//! ```text
//! record = length u64 | masked crc of the length u32 | data | masked crc of the data u32
//! masked(crc) = rotate_right(crc, 15) + 0xa282_ead8         mod 2^32; crc is CRC-32C (Castagnoli)
//! ```
//!
//! whose data is one protobuf message `tensorflow.Event`. Of `event.proto` and `summary.proto` four
//! messages are written, field numbers in brackets:
//!
//! ```text
//! Event          wall_time f64 [1], step i64 [2], file_version string [3], summary [5]
//! Summary        value [1], repeated:  tag string [1], simple_value f32 [2], image [4], histo [5]
//! Image          height [1], width [2], colorspace [3] (1 grey, 3 RGB, 4 RGBA), encoded PNG [4]
//! HistogramProto min, max, num, sum, sum_squares f64 [1..5], bucket_limit [6], bucket [7] packed
//! ```
//!
//! The first record is the version, `brain.Event:2`. The clock is an argument: the same calls write
//! the same bytes. TensorBoard finds files whose name contains `tfevents`, and plots a run a
//! folder.
//!
//! Left out: graphs, text, hyper-parameters, and the encoding of images, which come as PNG.
//!
//! ```
//! use s3_metrics::tensorboard::EventWriter;
//! let mut file = Vec::new();
//! let mut events = EventWriter::new(&mut file, 0.0)?;
//! events.scalar(1.5, 391, "test/top1", 0.875)?;
//! assert_eq!(file.len(), 40 + 48); // the version and one scalar
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Write};

use crate::density::Density;

mod proto;

use proto::Message;

/// Writes events, one record each, as they come.
///
/// Each event is one `write_all`; nothing is kept back. `wall_time` is in seconds since 1970.
#[derive(Debug)]
pub struct EventWriter<W> {
    out: W,
}

impl<W: Write> EventWriter<W> {
    /// Starts a file: writes the record of its version.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, wall_time: f64) -> io::Result<Self> {
        let mut writer = Self { out };
        let mut event = Message::default();
        event.double(1, wall_time);
        event.bytes(3, b"brain.Event:2");
        writer.record(&event)?;
        Ok(writer)
    }

    /// Goes on with a file that has its version record, as a resumed run does.
    pub fn resume(out: W) -> Self {
        Self { out }
    }

    /// A number at a step; NaN and the infinities are written as they are.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn scalar(&mut self, wall_time: f64, step: i64, tag: &str, value: f64) -> io::Result<()> {
        // The format has an f32; one too large for it becomes an infinity.
        self.value(wall_time, step, tag, |message| {
            message.float(2, value as f32)
        })
    }

    /// The histogram of a layer at a step.
    ///
    /// Each bin is a bucket, with its upper edge in the unit of the weights (times
    /// [`Density::scale`]). The format also has the sum and the sum of squares, which a density
    /// does not keep: they are those of the centres of the bins. Weights outside the range are left
    /// out.
    ///
    /// # Errors
    /// Those of `out`, and [`io::ErrorKind::InvalidInput`] where no weight is in a bin: TensorBoard
    /// has no plot of that.
    pub fn histogram(
        &mut self,
        wall_time: f64,
        step: i64,
        tag: &str,
        density: &Density,
    ) -> io::Result<()> {
        let centres = density.polygon();
        if centres.is_empty() {
            let text = format!("histogram {tag}: expected a weight in its range, got none");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // All weights zero: scale 0, where the bins would all lie on one another.
        let scale = if density.scale == 0.0 {
            1.0
        } else {
            density.scale
        };
        let (low, high) = (scale * density.low, scale * density.high);
        let width = (high - low) / density.counts.len() as f64;
        let (mut sum, mut squares) = (0.0, 0.0);
        let (mut limits, mut buckets) = (Vec::new(), Vec::new());
        for (bin, ((centre, _), &count)) in centres.iter().zip(&density.counts).enumerate() {
            let (centre, count) = (scale * centre, count as f64);
            sum += count * centre;
            squares += count * centre * centre;
            limits.push(low + width * (bin + 1) as f64);
            buckets.push(count);
        }
        let mut histogram = Message::default();
        histogram.double(1, low);
        histogram.double(2, high);
        histogram.double(3, density.inside() as f64);
        histogram.double(4, sum);
        histogram.double(5, squares);
        histogram.doubles(6, &limits);
        histogram.doubles(7, &buckets);
        self.value(wall_time, step, tag, |message| {
            message.bytes(5, histogram.as_bytes())
        })
    }

    /// A PNG at a step, given with its size in pixels and its count of channels (1, 3, or 4 with
    /// opacity).
    ///
    /// # Errors
    /// Those of `out`, and [`io::ErrorKind::InvalidInput`] where `png` does not start as a PNG
    /// does.
    pub fn image(
        &mut self,
        wall_time: f64,
        step: i64,
        tag: &str,
        [height, width, channels]: [u32; 3],
        png: &[u8],
    ) -> io::Result<()> {
        if !png.starts_with(b"\x89PNG\r\n\x1a\n") {
            let text = format!("image {tag}: expected the bytes of a PNG");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut image = Message::default();
        image.varint(1, u64::from(height));
        image.varint(2, u64::from(width));
        image.varint(3, u64::from(channels));
        image.bytes(4, png);
        self.value(wall_time, step, tag, |message| {
            message.bytes(4, image.as_bytes())
        })
    }

    /// Passes a flush on to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn value(
        &mut self,
        wall_time: f64,
        step: i64,
        tag: &str,
        add: impl FnOnce(&mut Message),
    ) -> io::Result<()> {
        let mut value = Message::default();
        value.bytes(1, tag.as_bytes());
        add(&mut value);
        let mut summary = Message::default();
        summary.bytes(1, value.as_bytes());
        let mut event = Message::default();
        event.double(1, wall_time);
        event.varint(2, step as u64);
        event.bytes(5, summary.as_bytes());
        self.record(&event)
    }

    fn record(&mut self, message: &Message) -> io::Result<()> {
        let data = message.as_bytes();
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc(&length).to_le_bytes());
        record.extend_from_slice(data);
        record.extend_from_slice(&masked_crc(data).to_le_bytes());
        self.out.write_all(&record)
    }
}

/// So that the checksum of data that holds checksums does not vanish.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
