//! Copies into and out of the blocked layouts.
//!
//! ```text
//! activations  [channel block][row][column mod phases][column div phases][16 channels]
//! weights      [lane block][depth block][tap][16 depths][16 lanes]
//! ```
//!
//! Columns outside the image are zeros; rows outside it are unspecified and never read, and
//! channels past the last are unspecified and never read. With [`Operand::Bf16Pair`] and
//! [`Operand::Bf16Matrix`] read "pair of channels" for channel and "pair of depths" for depth; the
//! missing half of a last pair is zero.

use super::geometry::{InputLayout, WeightMap};
use crate::train::arch::Stored;
use crate::train::bf16::Bf16;
use crate::train::scratch::{Block, with_blocks};
use crate::train::simd::{LANES, Operand, Simd, Task};

/// Copies the scratch rows of grid rows `start..start + grid_rows` out of one NHWC image.
#[inline(always)]
pub(super) fn pack_rows<T: Stored>(
    layout: &InputLayout,
    image: &[T],
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
fn pack_line<T: Stored>(
    layout: &InputLayout,
    line: &[T],
    block: usize,
    phase: usize,
    to: &mut [Block],
) {
    let channels = layout.image[2];
    let [begin, end] = layout.phase_cols(phase);
    to[..begin].fill(Block::ZERO);
    to[end..].fill(Block::ZERO);
    if begin == end {
        return;
    }
    let first = layout.origin[1] + (phase + begin * layout.phases) as isize;
    let full = LANES * layout.lane.elements();
    let at = first as usize * channels + block * full;
    let count = (channels - block * full).min(full);
    let pixels = line[at..].chunks(layout.phases * channels);
    for (to, pixel) in to[begin..end].iter_mut().zip(pixels) {
        T::fill(&mut to.0, &pixel[..count]);
    }
}

/// One row, one channel block, where pixel `i` holds every input under its window's row: a run of
/// `kernel_w·channels` inputs, cut where it leaves the image.
#[inline(always)]
fn pack_folded<T: Stored>(
    layout: &InputLayout,
    line: &[T],
    block: usize,
    step: usize,
    to: &mut [Block],
) {
    let channels = layout.image[2];
    let full = LANES * layout.lane.elements();
    let count = (layout.elements() - block * full).min(full);
    for (i, to) in to.iter_mut().enumerate() {
        let from = (layout.origin[1] + (i * step) as isize) * channels as isize;
        let from = from + (block * full) as isize;
        let run = usize::try_from(from).ok().and_then(|from| line.get(from..));
        if let Some(run) = run.and_then(|run| run.get(..count)) {
            T::fill(&mut to.0, run);
            continue;
        }
        let mut run = [T::default(); 2 * LANES];
        let skip = (-from).clamp(0, count as isize) as usize;
        let end = (line.len() as isize - from).clamp(skip as isize, count as isize) as usize;
        for (i, to) in run.iter_mut().enumerate().take(end).skip(skip) {
            *to = line[(from + i as isize) as usize];
        }
        T::fill(&mut to.0, &run[..count]);
    }
}

impl WeightMap {
    /// Blocks of the weights of one lane block.
    pub(super) fn panel_blocks(&self) -> usize {
        self.depth.len().div_ceil(LANES * self.lane.elements()) * self.tap.len() * LANES
    }

    /// Number of lane blocks.
    pub(super) fn panels(&self) -> usize {
        self.lanes.div_ceil(LANES)
    }

    /// The runs of the weights of `depths`, a chunk of `depth`, that lie one after another in the
    /// OIHW weight of a lane, in order: where the first begins, and how many depths a run has.
    /// `None` where not even the taps of one depth do.
    fn runs(&self, depths: &[usize]) -> Option<usize> {
        let taps = self.tap.len();
        let plain = self.tap.iter().enumerate().all(|(t, &tap)| t == tap);
        let joined = depths.windows(2).all(|d| d[1] == d[0] + taps);
        plain.then_some(if joined { depths.len() } else { 1 })
    }
}

/// Copies the weights of lane block `index` out of the OIHW weight.
pub(super) struct PackPanel<'a> {
    pub(super) map: &'a WeightMap,
    pub(super) index: usize,
    pub(super) w: &'a [f32],
    pub(super) panel: &'a mut [Block],
}

impl Task for PackPanel<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (map, piece) = (self.map, self.map.tap.len() * LANES);
        let w = &self.w[self.index * LANES * map.lane_step..];
        let lanes = (map.lanes - self.index * LANES).min(LANES);
        let pieces = self.panel.chunks_exact_mut(piece);
        match map.lane {
            Operand::F32 => {
                for (depths, to) in map.depth.chunks(LANES).zip(pieces) {
                    pack_piece(simd, map, w, lanes, depths, to);
                }
            }
            Operand::Bf16Pair | Operand::Bf16Matrix => with_blocks(2 * piece, |halves| {
                for (depths, to) in map.depth.chunks(2 * LANES).zip(pieces) {
                    for (depths, half) in depths.chunks(LANES).zip(halves.chunks_mut(piece)) {
                        pack_piece(simd, map, w, lanes, depths, half);
                    }
                    join_pairs(halves, depths.len(), to);
                }
            }),
        }
    }
}

/// One depth block, every tap: 16 depths × 16 lanes each.
#[inline(always)]
fn pack_piece<S: Simd>(
    simd: S,
    map: &WeightMap,
    w: &[f32],
    lanes: usize,
    depths: &[usize],
    to: &mut [Block],
) {
    let taps = map.tap.len();
    // One tap, whose lanes lie side by side.
    if map.lane_step == 1 && lanes == LANES {
        for (depth, to) in depths.iter().zip(to) {
            to.0.copy_from_slice(&w[depth + map.tap[0]..][..LANES]);
        }
        return;
    }
    let Some(run) = map.runs(depths).filter(|_| lanes == LANES) else {
        for (d, &depth) in depths.iter().enumerate() {
            for (to, &tap) in to[d..].iter_mut().step_by(LANES).zip(&map.tap) {
                to.0 = [0.0; LANES];
                for (lane, to) in to.0.iter_mut().enumerate().take(lanes) {
                    *to = w[lane * map.lane_step + depth + tap];
                }
            }
        }
        return;
    };
    for (d, depth) in depths.iter().enumerate().step_by(run) {
        for first in (0..run * taps).step_by(LANES) {
            let count = (run * taps - first).min(LANES);
            let mut rows = [simd.splat(0.0); LANES];
            for (lane, row) in rows.iter_mut().enumerate() {
                let from = &w[lane * map.lane_step + depth + first..];
                *row = match from.first_chunk() {
                    Some(full) => simd.load(full),
                    None => simd.load_first(from, count),
                };
            }
            let columns = simd.transpose(rows);
            let (mut d, mut t) = (d + first / taps, first % taps);
            for column in columns.into_iter().take(count) {
                simd.store(column, &mut to[t * LANES + d].0);
                t += 1;
                if t == taps {
                    (d, t) = (d + 1, 0);
                }
            }
        }
    }
}

/// Rounds two depth blocks, of which `depths` depths are there, to one block of pairs.
#[inline(always)]
fn join_pairs(halves: &[Block], depths: usize, to: &mut [Block]) {
    let (first, second) = halves.split_at(halves.len() / 2);
    for (tap, to) in to.chunks_exact_mut(LANES).enumerate() {
        for (pair, to) in to.iter_mut().enumerate().take(depths.div_ceil(2)) {
            let half = if pair < LANES / 2 { first } else { second };
            let rows = &half[tap * LANES + 2 * pair % LANES..][..2];
            let missing = 2 * pair + 1 == depths;
            for (lane, to) in to.0.iter_mut().enumerate() {
                let high = if missing { 0.0 } else { rows[1].0[lane] };
                *to = Bf16::pair(Bf16::from_f32(rows[0].0[lane]), Bf16::from_f32(high));
            }
        }
    }
}

/// Writes the sum of the panels of lane block `index` to `dw`, which begins at the block's first
/// lane: [`PackPanel`]'s inverse.
pub(super) struct UnpackPanel<'a> {
    pub(super) map: &'a WeightMap,
    pub(super) index: usize,
    /// Begins with the first panel.
    pub(super) panels: &'a [Block],
    /// Blocks from a panel to the next that is to be added.
    pub(super) step: usize,
    pub(super) dw: &'a mut [f32],
}

impl Task for UnpackPanel<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (map, taps) = (self.map, self.map.tap.len());
        let lanes = (map.lanes - self.index * LANES).min(LANES);
        let one = simd.splat(1.0);
        for (block, depths) in map.depth.chunks(LANES).enumerate() {
            // Without runs, one weight at a time is one.
            let (run, length) = match map.runs(depths) {
                Some(run) => (run, run * taps),
                None => (1, 1),
            };
            for (d, depth) in depths.iter().enumerate().step_by(run) {
                for first in (0..run * taps).step_by(LANES.min(length)) {
                    let count = (run * taps - first).min(length).min(LANES);
                    let mut columns = [simd.splat(0.0); LANES];
                    let (mut d, mut t) = (d + first / taps, first % taps);
                    let tap = map.tap[t];
                    for column in columns.iter_mut().take(count) {
                        let at = (block * taps + t) * LANES + d;
                        *column = simd.load(&self.panels[at].0);
                        for more in self.panels[at..].iter().step_by(self.step).skip(1) {
                            *column = simd.mul_add(simd.load(&more.0), one, *column);
                        }
                        t += 1;
                        if t == taps {
                            (d, t) = (d + 1, 0);
                        }
                    }
                    let begin = if length == 1 {
                        depth + tap
                    } else {
                        depth + first
                    };
                    let rows = simd.transpose(columns);
                    for (lane, row) in rows.into_iter().enumerate().take(lanes) {
                        let to = &mut self.dw[lane * map.lane_step + begin..];
                        simd.store_first(row, to, count);
                    }
                }
            }
        }
    }
}
