//! Which pixels of a depthwise pass meet.
//!
//! Forward and backward-input are one computation, a [`Pass`]: along each axis an output
//! `first + out_step·i` is the sum over taps of the input at `step·i + delta`, for every `i` of an
//! [`Axis`].
//!
//! ```text
//! forward          step = s, one axis:    output i reads  s·i + d·k - p            for every k
//! backward-input   step = 1, s axes:      output first + s·i  reads  i + (first + p - d·k)/s
//!                                         for the k with d·k ≡ first + p (mod s)
//! ```
//!
//! Outputs whose taps meet the image at the same places of the kernel are a [`Run`]: most of an
//! axis is one, and every pixel at a border is one of its own. What lies outside is never
//! multiplied.

use core::ops::Range;

use crate::error::Error;
use crate::shape::ConvShape;
use crate::train::simd::LANES;

/// Up to three places of the kernel along an axis, each of which reads what the one before it reads
/// for the next vector of outputs: what is loaded for one serves the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    /// The places, and their number.
    pub(super) k: [usize; 3],
    pub(super) count: usize,
    /// The input that output 0 reads at the first.
    delta: isize,
}

impl Taps {
    /// The input that is read at the first place for the output with `from = step·i`.
    pub(super) fn input(&self, from: usize) -> usize {
        (from as isize + self.delta) as usize
    }
}

/// Neighbouring outputs that meet the same taps.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The outputs.
    pub(super) outputs: Range<usize>,
    /// What they meet inside the image.
    pub(super) taps: Vec<Taps>,
}

/// Outputs along one axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// The first.
    first: usize,
    /// All of them, in order.
    pub(super) runs: Vec<Run>,
}

impl Axis {
    /// `taps`: places of the kernel, and the input that output 0 reads there.
    fn new(
        [first, count]: [usize; 2],
        mut taps: Vec<(usize, isize)>,
        [step, size]: [usize; 2],
        spacing: Option<usize>,
    ) -> Self {
        taps.sort_by_key(|&(_, delta)| delta);
        let mut ranges: Vec<[Range<usize>; 2]> = Vec::new();
        for i in 0..count {
            let before = |edge: usize| {
                taps.partition_point(|tap| (step * i) as isize + tap.1 < edge as isize)
            };
            let inside = before(0)..before(size);
            match ranges.last_mut() {
                Some([outputs, same]) if *same == inside => outputs.end += 1,
                _ => ranges.push([i..i + 1, inside]),
            }
        }
        let run = |[outputs, inside]: [Range<usize>; 2]| Run {
            outputs,
            taps: group(&taps[inside], spacing),
        };
        Axis {
            first,
            runs: ranges.into_iter().map(run).collect(),
        }
    }
}

/// Taps that read `spacing` inputs apart in threes and twos; without a spacing each on its own.
fn group(taps: &[(usize, isize)], spacing: Option<usize>) -> Vec<Taps> {
    let (most, spacing) = match spacing {
        Some(spacing) => (3, spacing as isize),
        None => (1, 1),
    };
    let mut taps = taps.to_vec();
    taps.sort_by_key(|&(_, delta)| (delta.rem_euclid(spacing), delta));
    let mut groups: Vec<Taps> = Vec::new();
    for (k, delta) in taps {
        match groups.last_mut() {
            Some(last)
                if last.count < most && delta == last.delta + last.count as isize * spacing =>
            {
                last.k[last.count] = k;
                last.count += 1;
            }
            _ => groups.push(Taps {
                k: [k; 3],
                count: 1,
                delta,
            }),
        }
    }
    groups
}

/// Outputs that share their taps, but for those that lie outside.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) rows: Axis,
    pub(super) cols: Axis,
}

/// Forward or backward-input.
#[derive(Clone, Debug)]
pub struct Pass {
    pub(super) channels: usize,
    /// Width of the input and of the output.
    pub(super) widths: [usize; 2],
    /// Inputs from one output's to its neighbour's.
    pub(super) step: usize,
    /// The same from one vector's of a row to the next's.
    pub(super) spacing: usize,
    /// Outputs from one of a grid to its neighbour.
    pub(super) out_step: usize,
    /// Whether vectors hold several whole pixels.
    pub(super) flat: bool,
    pub(super) grids: Vec<Grid>,
    /// Width of the kernel, and its taps.
    pub(super) kernel: [usize; 2],
}

impl Pass {
    /// Elements of the first output of a grid, in its image.
    pub(super) fn first(&self, grid: &Grid) -> usize {
        (grid.rows.first * self.widths[1] + grid.cols.first) * self.channels
    }

    /// Vectors of a pixel's channels.
    pub(super) fn vectors(&self) -> usize {
        self.channels.div_ceil(LANES)
    }
}

/// Whether vectors hold several whole pixels: where so few channels divide a vector, and neighbours
/// read and write neighbours.
fn is_flat(shape: &ConvShape) -> bool {
    let channels = shape.in_channels;
    channels < LANES && LANES.is_multiple_of(channels) && shape.stride == 1
}

/// Inputs from those of one vector of outputs to those of the next, in a row of outputs that read
/// `step` inputs apart.
fn spacing(shape: &ConvShape, step: usize) -> usize {
    if is_flat(shape) {
        LANES / shape.in_channels
    } else {
        step
    }
}

/// The forward pass of `shape`, which is depthwise and whose lengths are known to fit.
pub(in crate::train) fn forward(shape: &ConvShape) -> Result<Pass, Error> {
    let axis = |kernel: usize, sizes: [usize; 2], spacing: Option<usize>| {
        let delta = |k: usize| (k * shape.dilation) as isize - shape.padding as isize;
        let taps = (0..kernel).map(|k| (k, delta(k))).collect();
        Axis::new([0, sizes[0]], taps, [shape.stride, sizes[1]], spacing)
    };
    let out = [shape.out_height()?, shape.out_width()?];
    let spacing = spacing(shape, shape.stride);
    Ok(Pass {
        channels: shape.in_channels,
        widths: [shape.width, out[1]],
        step: shape.stride,
        spacing,
        out_step: 1,
        flat: is_flat(shape),
        grids: vec![Grid {
            rows: axis(shape.kernel_h, [out[0], shape.height], None),
            cols: axis(shape.kernel_w, [out[1], shape.width], Some(spacing)),
        }],
        kernel: [shape.kernel_w, shape.kernel_h * shape.kernel_w],
    })
}

/// The pass from `dy` to `dx`.
pub(in crate::train) fn backward_input(shape: &ConvShape) -> Result<Pass, Error> {
    let (stride, padding) = (shape.stride, shape.padding);
    let axes = |kernel: usize, [length, size]: [usize; 2], spacing: Option<usize>| -> Vec<Axis> {
        let axis = |first: usize| {
            let meets = |k: &usize| (k * shape.dilation) % stride == (first + padding) % stride;
            let delta = |k: usize| {
                ((first + padding) as isize - (k * shape.dilation) as isize) / stride as isize
            };
            let taps = (0..kernel).filter(meets).map(|k| (k, delta(k))).collect();
            let count = (length - first).div_ceil(stride);
            Axis::new([first, count], taps, [1, size], spacing)
        };
        (0..stride.min(length)).map(axis).collect()
    };
    let out = [shape.out_height()?, shape.out_width()?];
    let spacing = spacing(shape, 1);
    let rows = axes(shape.kernel_h, [shape.height, out[0]], None);
    let cols = axes(shape.kernel_w, [shape.width, out[1]], Some(spacing));
    let mut grids = Vec::new();
    for rows in &rows {
        for cols in &cols {
            let (rows, cols) = (rows.clone(), cols.clone());
            grids.push(Grid { rows, cols });
        }
    }
    Ok(Pass {
        channels: shape.in_channels,
        widths: [out[1], shape.width],
        step: 1,
        spacing,
        out_step: stride,
        flat: is_flat(shape),
        grids,
        kernel: [shape.kernel_w, shape.kernel_h * shape.kernel_w],
    })
}
