//! Convolution of f32 activations with f32 weights, for the layers that are not quantized.
//!
//! `y = (((0 + w_0 x_0) + w_1 x_1) + ..) scale + bias`, each product and each sum rounded, in the
//! order of the weight's columns, which are those of the output's group; padding is 0.0. No sum is
//! fused with a product, so every machine makes the same bits.

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use super::graph::Layer;
use crate::conv::geometry::Geometry;
use crate::float::strips::{Job, Strips};
use crate::float::windows::Source;
use crate::micro::float::{FloatLine, LINE, StripKernel};
use crate::parallel::Outputs;
use crate::scratch::with_scratch;
use crate::{ConvShape, Error, Isa, Scale, select};

/// Windows from which on threads share them.
const MANY: usize = 64;

/// Weights as the loops read them.
#[derive(Clone, Debug)]
pub(crate) struct FloatWeights {
    isa: Isa,
    kernel: &'static StripKernel,
    /// In strips of outputs of one group, `[groups][strips][columns][lines]`, filled up with zeros;
    /// none where each channel sees itself.
    strips: Vec<FloatLine>,
    /// `[columns][channels]` where each channel sees itself, else empty.
    taps: Vec<f32>,
    columns: usize,
}

impl FloatWeights {
    /// Takes `weights`, `[rows, columns]`, of `layer`, for a network that runs on `isa`.
    pub(crate) fn new<L>(isa: Isa, weights: &[f32], layer: &Layer<L>) -> FloatWeights {
        let (rows, groups) = (layer.channels, layer.groups);
        let columns = weights.len() / rows.max(1);
        let group_out = (rows / groups.max(1)).max(1);
        let rows_of_weights = weights.chunks_exact(columns.max(1)).enumerate();
        let kernel = select::float_dense(isa);
        let (mut strips, mut taps) = (Vec::new(), Vec::new());
        // In a line of one output all lanes but one would be idle.
        let sees_one = columns == layer.kernel[0] * layer.kernel[1];
        if groups > 1 && group_out == 1 && sees_one {
            taps.resize(weights.len(), 0.0);
            for (row, weights) in rows_of_weights {
                for (tap, &weight) in weights.iter().enumerate() {
                    taps[tap * rows + row] = weight;
                }
            }
        } else {
            let group_lines = group_out.div_ceil(LINE);
            strips.resize(groups * group_lines * columns, FloatLine::ZERO);
            for (row, weights) in rows_of_weights {
                let (group, row) = (row / group_out, row % group_out);
                let line = row / LINE;
                // The strip that the line is in, and its place there.
                let (within, first) = (line % kernel.lines, line - line % kernel.lines);
                let lines = (group_lines - first).min(kernel.lines);
                let strip = &mut strips[(group * group_lines + first) * columns..];
                let lines = strip.chunks_exact_mut(lines).zip(weights);
                for (lines, &weight) in lines {
                    lines[within].0[row % LINE] = weight;
                }
            }
        }
        FloatWeights {
            isa,
            kernel,
            strips,
            taps,
            columns,
        }
    }

    /// Convolves; the weights are those of `shape`.
    pub(crate) fn conv2d(
        &self,
        x: &[f32],
        shape: &ConvShape,
        scale: &Scale<'_>,
        y: &mut [f32],
    ) -> Result<(), Error> {
        let geometry = Geometry::new(shape)?;
        crate::error::check_len("x", shape.input_len()?, x.len())?;
        crate::error::check_len("y", shape.output_len()?, y.len())?;
        scale.check(geometry.rows, shape.out_channels)?;
        if !self.taps.is_empty() {
            let outputs = Outputs {
                rows: geometry.rows,
                groups: 1,
                group_out: shape.out_channels,
            };
            outputs.for_each_part(self.columns, 0, y, |rows, _, y| {
                self.depthwise(x, &geometry, scale, rows, y);
            });
            return Ok(());
        }
        let job = Job {
            kernel: self.kernel,
            isa: self.isa,
            weights: Strips::Plain(&self.strips),
            source: Source::Images(x, &geometry),
            outputs: geometry.outputs(),
            k: self.columns,
            epilogue: Some(scale),
        };
        let outputs = job.outputs;
        outputs.for_each_part(self.columns, MANY, y, |rows, blocks, y| {
            with_scratch(|scratch| job.part(scratch, rows, blocks, y));
        });
        Ok(())
    }

    /// The outputs `rows` where each channel sees itself. Taps in the padding are left out: a sum
    /// that begins with 0 is the same with a product of 0.
    fn depthwise(
        &self,
        x: &[f32],
        geometry: &Geometry,
        scale: &Scale<'_>,
        rows: Range<usize>,
        y: &mut [f32],
    ) {
        let shape = &geometry.shape;
        let channels = shape.out_channels;
        let pixels = geometry.out_height * geometry.out_width;
        let mut sums = vec![0.0; channels];
        for (row, y) in rows.zip(y.chunks_exact_mut(channels)) {
            let (image, pixel) = (row / pixels, row % pixels);
            let (oy, ox) = (pixel / geometry.out_width, pixel % geometry.out_width);
            sums.fill(0.0);
            let mut taps = self.taps.chunks_exact(channels);
            for i in 0..shape.kernel_h {
                let line = geometry.input(oy, i, shape.height);
                for (j, taps) in (0..shape.kernel_w).zip(&mut taps) {
                    let column = geometry.input(ox, j, shape.width);
                    let (Some(line), Some(column)) = (line, column) else {
                        continue;
                    };
                    let pixel = (image * shape.height + line) * shape.width + column;
                    let x = &x[pixel * channels..][..channels];
                    for ((sum, x), tap) in sums.iter_mut().zip(x).zip(taps) {
                        *sum += x * tap;
                    }
                }
            }
            scale.of_sums(&sums, 0, row * channels, y);
        }
    }
}
