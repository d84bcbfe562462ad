//! Pools, sums and moves: the nodes that are no convolutions.

use core::ops::Range;

use super::graph::{Op, Size, Window};

/// What these nodes need of a number.
pub(crate) trait Number: Copy + Default + PartialOrd + Send + Sync {
    /// What numbers are added up in.
    type Sum: Copy;

    /// The sum of `count` numbers that stand for 0.
    fn zeros(zero: Self, count: usize) -> Self::Sum;

    /// One more number.
    fn plus(sum: Self::Sum, x: Self) -> Self::Sum;

    /// The mean of `count` numbers, `2^shift` times as large.
    fn mean(sum: Self::Sum, count: usize, shift: u8) -> Self;
}

/// Runs `op` on the images `x` of `size`; `y` begins with room for as many results. `zero` is the
/// number that stands for 0.
pub(crate) fn run<T: Number, L>(op: &Op<L>, x: &[T], size: Size, zero: T, y: &mut [T]) {
    let images = x.chunks_exact(size.len());
    match *op {
        Op::MaxPool(window) => windows(x, size, window, y, |x, rows, columns, y| {
            largest(x, size, rows, columns, y);
        }),
        Op::AvgPool(window) => windows(x, size, window, y, |x, rows, columns, y| {
            let taps = window.kernel[0] * window.kernel[1];
            let zeros = T::zeros(zero, taps - rows.len() * columns.len());
            for (channel, y) in y.iter_mut().enumerate() {
                let mut sum = zeros;
                for row in rows.clone() {
                    let pixels = columns.clone().map(|column| row * size.width + column);
                    let all = pixels.map(|pixel| x[pixel * size.channels + channel]);
                    sum = all.fold(sum, T::plus);
                }
                *y = T::mean(sum, taps, 0);
            }
        }),
        Op::Subsample { stride, channels } => {
            let before = (channels - size.channels) / 2;
            let (height, width) = (size.height.div_ceil(stride), size.width.div_ceil(stride));
            let row = width * channels;
            for (x, y) in images.zip(y.chunks_exact_mut(height * row)) {
                for (oy, y) in y.chunks_exact_mut(row).enumerate() {
                    for (ox, y) in y.chunks_exact_mut(channels).enumerate() {
                        let pixel = (oy * size.width + ox) * stride;
                        y.fill(zero);
                        y[before..before + size.channels]
                            .copy_from_slice(&x[pixel * size.channels..][..size.channels]);
                    }
                }
            }
        }
        Op::MeanPool { shift } => {
            let pixels = size.pixels();
            for (x, y) in images.zip(y.chunks_exact_mut(size.channels)) {
                for (channel, y) in y.iter_mut().enumerate() {
                    let all = x[channel..].iter().step_by(size.channels);
                    let sum = all.fold(T::zeros(zero, 0), |sum, &x| T::plus(sum, x));
                    *y = T::mean(sum, pixels, shift);
                }
            }
        }
        Op::Flatten => {
            for (x, y) in images.zip(y.chunks_exact_mut(size.len())) {
                for (channel, y) in y.chunks_exact_mut(size.pixels()).enumerate() {
                    let all = x[channel..].iter().step_by(size.channels);
                    y.iter_mut().zip(all).for_each(|(y, &x)| *y = x);
                }
            }
        }
        Op::Pad {
            sides: [top, bottom, left, right],
        } => {
            let (from, margin) = (size.width * size.channels, left * size.channels);
            let row = from + margin + right * size.channels;
            for (x, y) in images.zip(y.chunks_exact_mut((top + size.height + bottom) * row)) {
                y.fill(zero);
                let rows = y.chunks_exact_mut(row).skip(top);
                for (x, y) in x.chunks_exact(from).zip(rows) {
                    y[margin..margin + from].copy_from_slice(x);
                }
            }
        }
        // Layers and concatenations run elsewhere, the others have no packed form.
        _ => {}
    }
}

/// Puts the channels of the images `x` into pixels of `channels` of them, `y`, from channel `first`
/// on.
pub(crate) fn put<T: Copy>(x: &[T], own: usize, channels: usize, first: usize, y: &mut [T]) {
    for (x, y) in x.chunks_exact(own).zip(y.chunks_exact_mut(channels)) {
        y[first..first + own].copy_from_slice(x);
    }
}

/// Calls `make` with the image, the rows and columns of it that a window sees, and the pixel that
/// is made.
fn windows<T: Number>(
    x: &[T],
    size: Size,
    window: Window,
    y: &mut [T],
    make: impl Fn(&[T], Range<usize>, Range<usize>, &mut [T]),
) {
    let Size { height, width, .. } = window.size(&size);
    let row = width * size.channels;
    let images = x.chunks_exact(size.len());
    for (x, y) in images.zip(y.chunks_exact_mut(height * row)) {
        for (oy, y) in y.chunks_exact_mut(row).enumerate() {
            for (ox, y) in y.chunks_exact_mut(size.channels).enumerate() {
                let rows = seen(oy, window.kernel[0], window, size.height);
                let columns = seen(ox, window.kernel[1], window, size.width);
                make(x, rows, columns, y);
            }
        }
    }
}

/// The inputs that output `out` of a window sees, on one axis of `side` inputs.
fn seen(out: usize, kernel: usize, window: Window, side: usize) -> Range<usize> {
    let (first, padding) = (out * window.stride, window.padding);
    first.saturating_sub(padding)..(first + kernel - padding).min(side)
}

/// The largest number of each channel.
fn largest<T: Number>(x: &[T], size: Size, rows: Range<usize>, columns: Range<usize>, y: &mut [T]) {
    let first = rows.start * size.width + columns.start;
    y.copy_from_slice(&x[first * size.channels..][..size.channels]);
    for row in rows {
        let line = row * size.width;
        let pixels = (line + columns.start) * size.channels..(line + columns.end) * size.channels;
        for pixel in x[pixels].chunks_exact(size.channels) {
            for (y, &x) in y.iter_mut().zip(pixel) {
                *y = if x > *y { x } else { *y };
            }
        }
    }
}

impl Number for f32 {
    type Sum = f32;

    fn zeros(_: f32, _: usize) -> f32 {
        0.0
    }

    fn plus(sum: f32, x: f32) -> f32 {
        sum + x
    }

    fn mean(sum: f32, count: usize, _: u8) -> f32 {
        sum / count as f32
    }
}

impl Number for u8 {
    type Sum = u64;

    fn zeros(zero: u8, count: usize) -> u64 {
        u64::from(zero).saturating_mul(count as u64)
    }

    fn plus(sum: u64, x: u8) -> u64 {
        sum.saturating_add(x.into())
    }

    fn mean(sum: u64, count: usize, shift: u8) -> u8 {
        let count = count as u64;
        // Of at most 2^56 numbers: no sum leaves 64 bits where the shift is 0.
        ((sum << shift).saturating_add(count / 2) / count).min(255) as u8
    }
}
