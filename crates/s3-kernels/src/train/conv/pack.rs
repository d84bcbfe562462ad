//! Copies into and out of the blocked layouts.
//!
//! ```text
//! activations  [channel block][row][column mod phases][column div phases][16 channels]
//! weights      [lane block][depth block][tap][16 depths][16 lanes]
//! ```
//!
//! Columns outside the image are zeros; rows outside it are unspecified and never read, and channels past the last are unspecified and never read.

use super::geometry::{InputLayout, WeightMap};
use crate::train::arch::LANES;
use crate::train::scratch::Block;

/// Copies the scratch rows of grid rows `start..start + grid_rows` out of one NHWC image.
#[inline(always)]
pub(super) fn pack_rows(
    layout: &InputLayout,
    image: &[f32],
    start: usize,
    grid_rows: usize,
    scratch: &mut [Block],
) {
    let [height, width, channels] = layout.image;
    let (rows, row_blocks) = (layout.rows(grid_rows), layout.row_blocks());
    for row in 0..rows {
        let from = layout.origin[0] + (start * layout.row_step + row) as isize;
        if from < 0 || from as usize >= height {
            continue;
        }
        for block in 0..layout.channel_blocks() {
            let to = &mut scratch[(block * rows + row) * row_blocks..][..row_blocks];
            let line = &image[from as usize * width * channels..][..width * channels];
            match layout.fold {
                None => {
                    for (phase, to) in to.chunks_exact_mut(layout.cols).enumerate() {
                        pack_line(layout, line, block, phase, to);
                    }
                }
                Some([_, step]) => pack_folded(layout, line, block, step, to),
            }
        }
    }
}

/// One row, one channel block, the columns of one remainder.
#[inline(always)]
fn pack_line(layout: &InputLayout, line: &[f32], block: usize, phase: usize, to: &mut [Block]) {
    let channels = layout.image[2];
    let [begin, end] = layout.phase_cols(phase);
    to[..begin].fill(Block::ZERO);
    to[end..].fill(Block::ZERO);
    if begin == end {
        return;
    }
    let first = layout.origin[1] + (phase + begin * layout.phases) as isize;
    let at = first as usize * channels + block * LANES;
    let lanes = (channels - block * LANES).min(LANES);
    let pixels = line[at..].chunks(layout.phases * channels);
    for (to, pixel) in to[begin..end].iter_mut().zip(pixels) {
        match pixel.first_chunk::<LANES>() {
            Some(full) if lanes == LANES => to.0 = *full,
            _ => {
                to.0 = [0.0; LANES];
                to.0[..lanes].copy_from_slice(&pixel[..lanes]);
            }
        }
    }
}

/// One row, one channel block, where pixel `i` holds every input under its window's row: a run of
/// `kernel_w·channels` inputs, cut where it leaves the image.
#[inline(always)]
fn pack_folded(layout: &InputLayout, line: &[f32], block: usize, step: usize, to: &mut [Block]) {
    let channels = layout.image[2];
    let lanes = (layout.channels() - block * LANES).min(LANES);
    for (i, to) in to.iter_mut().enumerate() {
        let from =
            (layout.origin[1] + (i * step) as isize) * channels as isize + (block * LANES) as isize;
        // Lanes past the last channel are never read, so whole vectors may be copied.
        let whole = usize::try_from(from)
            .ok()
            .and_then(|from| line.get(from..)?.first_chunk());
        if let Some(whole) = whole {
            to.0 = *whole;
            continue;
        }
        to.0 = [0.0; LANES];
        let skip = (-from).clamp(0, lanes as isize) as usize;
        let end = (line.len() as isize - from).clamp(skip as isize, lanes as isize) as usize;
        for (lane, to) in to.0.iter_mut().enumerate().take(end).skip(skip) {
            *to = line[(from + lane as isize) as usize];
        }
    }
}

impl WeightMap {
    /// Blocks of the weights of one lane block.
    pub(super) fn panel_blocks(&self) -> usize {
        self.depth.len().div_ceil(LANES) * self.tap.len() * LANES
    }

    /// Number of lane blocks.
    pub(super) fn panels(&self) -> usize {
        self.lanes.div_ceil(LANES)
    }

    /// Copies the weights of lane block `index` out of the OIHW weight.
    pub(super) fn pack_panel(&self, index: usize, w: &[f32], panel: &mut [Block]) {
        let first = index * LANES;
        let lanes = (self.lanes - first).min(LANES);
        let taps = self.tap.len();
        for (depths, to) in self.depth.chunks(LANES).zip(panel.chunks_mut(taps * LANES)) {
            for (d, &depth) in depths.iter().enumerate() {
                for (t, &tap) in self.tap.iter().enumerate() {
                    let to = &mut to[t * LANES + d].0;
                    let from = &w[first * self.lane_step + depth + tap..];
                    if lanes < LANES {
                        to.fill(0.0);
                    }
                    for (lane, to) in to.iter_mut().enumerate().take(lanes) {
                        *to = from[lane * self.lane_step];
                    }
                }
            }
        }
    }

    /// Adds the panels of lane block `index` of all partials in order, and writes the sum to
    /// `dw`, which begins at the block's first lane: `pack_panel`'s inverse.
    pub(super) fn unpack_panel(&self, index: usize, partials: &[Block], dw: &mut [f32]) {
        let lanes = (self.lanes - index * LANES).min(LANES);
        let taps = self.tap.len();
        let panel = self.panel_blocks();
        let partial = panel * self.panels();
        for (block, depths) in self.depth.chunks(LANES).enumerate() {
            for (d, &depth) in depths.iter().enumerate() {
                for (t, &tap) in self.tap.iter().enumerate() {
                    let at = index * panel + (block * taps + t) * LANES + d;
                    let mut sum = partials[at].0;
                    for more in partials[at..].iter().step_by(partial).skip(1) {
                        for (sum, more) in sum.iter_mut().zip(more.0) {
                            *sum += more;
                        }
                    }
                    for (lane, sum) in sum.iter().enumerate().take(lanes) {
                        dw[lane * self.lane_step + depth + tap] = *sum;
                    }
                }
            }
        }
    }
}
