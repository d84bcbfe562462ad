//! The nodes that are no convolutions.

use super::graph::{Op, Size, Window};

/// What these nodes need of a number.
pub(crate) trait Number: Copy + Default + PartialOrd + Send + Sync {
    /// The mean of each channel of one image.
    fn means(x: &[Self], channels: usize, shift: u8, y: &mut [Self]);
}

/// Runs `op` on the images `x` of `shape`; `y` begins with room for as many results.
pub(crate) fn run<T: Number, L>(op: &Op<L>, x: &[T], shape: Size, y: &mut [T]) {
    let images = x.chunks_exact(shape.len());
    match *op {
        Op::MaxPool(window) => {
            let Size { height, width, .. } = window.size(&shape);
            let row = width * shape.channels;
            for (x, y) in images.zip(y.chunks_exact_mut(height * row)) {
                for (oy, y) in y.chunks_exact_mut(row).enumerate() {
                    for (ox, y) in y.chunks_exact_mut(shape.channels).enumerate() {
                        let rows = seen(oy, window.kernel[0], window, shape.height);
                        let columns = seen(ox, window.kernel[1], window, shape.width);
                        largest(x, shape, rows, columns, y);
                    }
                }
            }
        }
        Op::Subsample { stride, channels } => {
            let before = (channels - shape.channels) / 2;
            let (height, width) = (shape.height.div_ceil(stride), shape.width.div_ceil(stride));
            let row = width * channels;
            for (x, y) in images.zip(y.chunks_exact_mut(height * row)) {
                for (oy, y) in y.chunks_exact_mut(row).enumerate() {
                    for (ox, y) in y.chunks_exact_mut(channels).enumerate() {
                        let pixel = (oy * shape.width + ox) * stride;
                        y.fill(T::default());
                        y[before..before + shape.channels]
                            .copy_from_slice(&x[pixel * shape.channels..][..shape.channels]);
                    }
                }
            }
        }
        Op::MeanPool { shift } => {
            for (x, y) in images.zip(y.chunks_exact_mut(shape.channels)) {
                T::means(x, shape.channels, shift, y);
            }
        }
        // Layers run elsewhere, the others have no packed form.
        _ => {}
    }
}

/// The inputs that output `out` of a window sees, on one axis of `side` inputs.
fn seen(out: usize, kernel: usize, window: Window, side: usize) -> core::ops::Range<usize> {
    let (first, padding) = (out * window.stride, window.padding);
    first.saturating_sub(padding)..(first + kernel - padding).min(side)
}

/// The largest number of each channel.
fn largest<T: Number>(
    x: &[T],
    shape: Size,
    rows: core::ops::Range<usize>,
    columns: core::ops::Range<usize>,
    y: &mut [T],
) {
    let first = rows.start * shape.width + columns.start;
    y.copy_from_slice(&x[first * shape.channels..][..shape.channels]);
    for row in rows {
        let line = row * shape.width;
        let pixels = (line + columns.start) * shape.channels..(line + columns.end) * shape.channels;
        for pixel in x[pixels].chunks_exact(shape.channels) {
            for (y, &x) in y.iter_mut().zip(pixel) {
                *y = if x > *y { x } else { *y };
            }
        }
    }
}

impl Number for f32 {
    fn means(x: &[f32], channels: usize, _: u8, y: &mut [f32]) {
        let pixels = x.len() / channels;
        y.fill(0.0);
        for pixel in x.chunks_exact(channels) {
            y.iter_mut().zip(pixel).for_each(|(y, x)| *y += x);
        }
        y.iter_mut().for_each(|y| *y /= pixels as f32);
    }
}

impl Number for u8 {
    fn means(x: &[u8], channels: usize, shift: u8, y: &mut [u8]) {
        let pixels = (x.len() / channels) as u64;
        for (channel, y) in y.iter_mut().enumerate() {
            let sum: u64 = x[channel..]
                .iter()
                .step_by(channels)
                .map(|&x| u64::from(x))
                .sum();
            *y = (((sum << shift) + pixels / 2) / pixels).min(255) as u8;
        }
    }
}
