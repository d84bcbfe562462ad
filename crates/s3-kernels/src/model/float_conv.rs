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
use crate::micro::bytes::NR;
use crate::micro::loops::{LANES, ROWS};
use crate::parallel::Outputs;
use crate::{ConvShape, Error, Isa, Scale, select};

/// Windows from which on threads share them.
const MANY: usize = 64;

/// Weights as the loops read them.
#[derive(Clone, Debug)]
pub(crate) struct FloatWeights {
    /// In panels of [`LANES`] outputs of one group, `[groups][panels][columns][LANES]`, filled up
    /// with zeros; none where each channel sees itself.
    panels: Vec<[f32; LANES]>,
    /// `[columns][channels]` where each channel sees itself, else empty.
    taps: Vec<f32>,
    columns: usize,
}

impl FloatWeights {
    /// Takes `weights`, `[rows, columns]`, of `layer`.
    pub(crate) fn new<L>(weights: &[f32], layer: &Layer<L>) -> FloatWeights {
        let (rows, groups) = (layer.channels, layer.groups);
        let columns = weights.len() / rows.max(1);
        let group_out = (rows / groups.max(1)).max(1);
        let group_panels = group_out.div_ceil(LANES);
        let lines = weights.chunks_exact(columns.max(1)).enumerate();
        // In a panel of one output all lanes but one would be idle.
        let sees_one = columns == layer.kernel[0] * layer.kernel[1];
        if groups > 1 && group_out == 1 && sees_one {
            let mut taps = vec![0.0; weights.len()];
            for (row, weights) in lines {
                for (tap, &weight) in weights.iter().enumerate() {
                    taps[tap * rows + row] = weight;
                }
            }
            let panels = Vec::new();
            return FloatWeights {
                panels,
                taps,
                columns,
            };
        }
        let mut panels = vec![[0.0; LANES]; groups * group_panels * columns];
        for (row, weights) in lines {
            let (group, row) = (row / group_out, row % group_out);
            let panel = group * group_panels + row / LANES;
            for (to, &weight) in panels[panel * columns..][..columns].iter_mut().zip(weights) {
                to[row % LANES] = weight;
            }
        }
        let taps = Vec::new();
        FloatWeights {
            panels,
            taps,
            columns,
        }
    }

    /// Convolves; the weights are those of `shape`.
    pub(crate) fn conv2d(
        &self,
        isa: Isa,
        x: &[f32],
        shape: &ConvShape,
        scale: &Scale<'_>,
        y: &mut [f32],
    ) -> Result<(), Error> {
        let geometry = Geometry::new(shape)?;
        crate::error::check_len("x", shape.input_len()?, x.len())?;
        crate::error::check_len("y", shape.output_len()?, y.len())?;
        scale.check(geometry.rows, shape.out_channels)?;
        let outputs = geometry.outputs();
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
        outputs.for_each_part(self.columns, MANY, y, |rows, blocks, y| {
            self.blocks(isa, x, &geometry, scale, (rows, blocks), y);
        });
        Ok(())
    }

    /// The outputs `rows` of the channels of `blocks`.
    fn blocks(
        &self,
        isa: Isa,
        x: &[f32],
        geometry: &Geometry,
        scale: &Scale<'_>,
        (rows, blocks): (Range<usize>, Range<usize>),
        y: &mut [f32],
    ) {
        let outputs = geometry.outputs();
        let (channels, span) = (outputs.channels(), outputs.span(&blocks));
        let group_panels = geometry.group_out.div_ceil(LANES);
        let mut windows = vec![0.0; ROWS * self.columns];
        for first in rows.clone().step_by(ROWS) {
            let count = ROWS.min(rows.end - first);
            let mut copied = None;
            for block in blocks.clone() {
                let group = outputs.group(block);
                if copied.replace(group) != Some(group) {
                    let windows = windows.chunks_exact_mut(self.columns).take(count);
                    for (r, window) in windows.enumerate() {
                        geometry.copy_window(x, first + r, group, 0.0, window);
                    }
                }
                let group_first = group * geometry.group_out;
                let start = outputs.channel(block);
                let end = (start + NR).min(group_first + geometry.group_out);
                for channel in (start..end).step_by(LANES) {
                    let panel = group * group_panels + (channel - group_first) / LANES;
                    let panel = &self.panels[panel * self.columns..][..self.columns];
                    let mut sums = [[0.0; LANES]; ROWS];
                    select::float_dense(isa, &windows, panel, &mut sums);
                    for (r, sums) in sums[..count].iter().enumerate() {
                        let held = LANES.min(end - channel);
                        let at = (first + r - rows.start) * span.len() + channel - span.start;
                        let index = (first + r) * channels + channel;
                        scale.of_sums(&sums[..held], channel, index, &mut y[at..at + held]);
                    }
                }
            }
        }
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
