//! Convolution of f32 activations with f32 weights, for the layers that are not quantized.
//!
//! `y = (((0 + w_0 x_0) + w_1 x_1) + ..) scale + bias`, each product and each sum rounded, in the order
//! of the weight's columns; padding is 0.0. No sum is fused with a product, so every machine makes the
//! same bits.

use std::vec;
use std::vec::Vec;

use crate::conv::geometry::Geometry;
use crate::{ConvShape, Error, Isa, Scale, arch};

/// Outputs of one panel.
pub(crate) const LANES: usize = 16;

/// Windows of one tile.
pub(crate) const ROWS: usize = 6;

/// Windows from which on threads share them.
const MANY: usize = 64;

/// Weights in panels of [`LANES`] outputs: `[panels][columns][LANES]`, filled up with zeros.
#[derive(Clone, Debug)]
pub(crate) struct FloatWeights {
    panels: Vec<[f32; LANES]>,
    columns: usize,
}

impl FloatWeights {
    /// Takes `weights`, `[rows, columns]`.
    pub(crate) fn new(weights: &[f32], rows: usize) -> FloatWeights {
        let columns = weights.len() / rows.max(1);
        let mut panels = vec![[0.0; LANES]; rows.div_ceil(LANES) * columns];
        for (row, weights) in weights.chunks_exact(columns.max(1)).enumerate() {
            let panel = &mut panels[row / LANES * columns..][..columns];
            for (to, &weight) in panel.iter_mut().zip(weights) {
                to[row % LANES] = weight;
            }
        }
        FloatWeights { panels, columns }
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
        let channels = shape.out_channels;
        geometry
            .outputs()
            .split(self.columns, MANY, y, |rows, blocks, y| {
                let span = geometry.outputs().span(&blocks);
                let mut windows = vec![0.0; ROWS * self.columns];
                for first in rows.clone().step_by(ROWS) {
                    let count = ROWS.min(rows.end - first);
                    for (r, window) in windows
                        .chunks_exact_mut(self.columns)
                        .take(count)
                        .enumerate()
                    {
                        geometry.copy_window(x, first + r, 0, 0.0, window);
                    }
                    for channel in span.clone().step_by(LANES) {
                        let panel = &self.panels[channel / LANES * self.columns..][..self.columns];
                        let mut sums = [[0.0; LANES]; ROWS];
                        arch::float_dense(isa, &windows, panel, &mut sums);
                        for (r, sums) in sums[..count].iter().enumerate() {
                            let held = LANES.min(span.end - channel);
                            let at = (first + r - rows.start) * span.len() + channel - span.start;
                            let index = (first + r) * channels + channel;
                            scale.of_sums(&sums[..held], channel, index, &mut y[at..at + held]);
                        }
                    }
                }
            });
        Ok(())
    }
}

/// `sums[r][n] = sum over k of windows[r][k] panel[k][n]`, one after the other.
#[inline(always)]
pub(crate) fn sums(windows: &[f32], panel: &[[f32; LANES]], sums: &mut [[f32; LANES]; ROWS]) {
    let rows: [&[f32]; ROWS] = core::array::from_fn(|r| &windows[r * panel.len()..][..panel.len()]);
    let mut kept = [[0.0; LANES]; ROWS];
    for (k, weights) in panel.iter().enumerate() {
        for (kept, row) in kept.iter_mut().zip(rows) {
            for (kept, weight) in kept.iter_mut().zip(weights) {
                *kept += row[k] * weight;
            }
        }
    }
    *sums = kept;
}
