//! Weights as a microkernel reads them: panels of up to 64 outputs, one byte a level.
//!
//! A panel is `[segments][quads][4 lines]`: line `v` of a quad holds 16 outputs by 4 neighbouring
//! `k`. It is unpacked once per call and serves every window. A segment whose length is no multiple
//! of 4 is filled up with level 0, so what the microkernel reads behind it does not count.

use alloc::vec::Vec;

use crate::conv::geometry::Geometry;
use crate::micro::bytes::{AccRow, NR, Taps};
use crate::packed::lines::Line;
use crate::packed::unpack::{QUAD, Unpack};
use crate::{BitWidth, PackedMatrix};

/// A matrix whose rows panels are made of: integers that microkernels multiply with.
pub(crate) trait Weights: Sync {
    /// Outputs.
    fn rows(&self) -> usize;

    /// Inputs of each output.
    fn cols(&self) -> usize;

    /// An alphabet whose largest level is no smaller than the largest one here: it bounds how many
    /// products fit i16.
    fn bit_width(&self) -> BitWidth;

    /// The sum of each row's levels; empty where there are no columns.
    fn row_sums(&self) -> &[i32];

    /// A bound on the magnitude of every accumulator, whatever the activations.
    fn accumulator_bound(&self) -> i64;

    /// The levels, row-major.
    fn to_levels(&self) -> Vec<i8>;

    /// Fills `to` with the levels of panel `panel`, as [`crate::packed::unpack`] says.
    fn unpack(&self, unpack: Unpack, panel: usize, to: &mut [Line]);
}

impl Weights for PackedMatrix {
    fn rows(&self) -> usize {
        self.rows()
    }

    fn cols(&self) -> usize {
        self.cols()
    }

    fn bit_width(&self) -> BitWidth {
        self.bit_width()
    }

    fn row_sums(&self) -> &[i32] {
        self.row_sums()
    }

    fn accumulator_bound(&self) -> i64 {
        self.accumulator_bound()
    }

    fn to_levels(&self) -> Vec<i8> {
        self.to_levels()
    }

    fn unpack(&self, unpack: Unpack, panel: usize, to: &mut [Line]) {
        self.unpack(unpack, panel, to);
    }
}

/// The panels of one matrix, for one kind of window.
pub(crate) struct Panels<'a> {
    unpack: Unpack,
    w: &'a dyn Weights,
    taps: &'a Taps,
    /// Levels of the tile of 64 rows that `cached` names, in the order of the columns.
    plain: &'a mut [Line],
    cached: Option<usize>,
}

impl<'a> Panels<'a> {
    /// Lines of one panel.
    pub(crate) fn lines(taps: &Taps) -> usize {
        taps.total_quads() * QUAD
    }

    /// Lines that `plain` must have.
    pub(crate) fn plain_lines(w: &dyn Weights) -> usize {
        w.cols().div_ceil(4) * QUAD
    }

    pub(crate) fn new(
        unpack: Unpack,
        w: &'a dyn Weights,
        taps: &'a Taps,
        plain: &'a mut [Line],
    ) -> Self {
        Panels {
            unpack,
            w,
            taps,
            plain,
            cached: None,
        }
    }

    /// Fills `panel` with rows `first .. first + rows`, at most 64; the lanes after them hold
    /// anything.
    pub(crate) fn fill(&mut self, first: usize, rows: usize, panel: &mut [Line]) {
        if first.is_multiple_of(NR) && self.taps.segment().is_multiple_of(4) {
            self.w.unpack(self.unpack, first / NR, panel);
            return;
        }
        let mut row = first;
        while row < first + rows {
            let (tile, lane) = (row / NR, row % NR);
            let count = (NR - lane).min(first + rows - row);
            if self.cached != Some(tile) {
                self.w.unpack(self.unpack, tile, self.plain);
                self.cached = Some(tile);
            }
            self.regroup(lane..lane + count, row - first, panel);
            row += count;
        }
    }

    /// Fills `panel` with rows `first .. first + rows` of a convolution whose `merged` groups stand
    /// for the smaller ones of `geometry`: a row's levels where its own group lies, zeros
    /// elsewhere.
    pub(crate) fn fill_diagonal(
        &mut self,
        geometry: &Geometry,
        merged: &Geometry,
        first: usize,
        rows: usize,
        panel: &mut [Line],
    ) {
        panel.fill(Line([0; 64]));
        let taps = geometry.shape.kernel_h * geometry.shape.kernel_w;
        // A segment is one tap, or a whole row of them where all channels are one group.
        let segment_taps = taps / self.taps.offsets().len();
        for lane in 0..rows {
            let (tile, from) = ((first + lane) / NR, (first + lane) % NR);
            if self.cached != Some(tile) {
                self.w.unpack(self.unpack, tile, self.plain);
                self.cached = Some(tile);
            }
            let own = (first + lane) / geometry.group_out * geometry.group_in % merged.group_in;
            for tap in 0..taps {
                let (segment, place) = (tap / segment_taps, tap % segment_taps);
                for c in 0..geometry.group_in {
                    let level = byte(tap * geometry.group_in + c, from);
                    let at = place * merged.group_in + own + c;
                    let to = byte(4 * segment * self.taps.quads() + at, lane);
                    panel[to.0].0[to.1] = self.plain[level.0].0[level.1];
                }
            }
        }
    }

    /// Moves lanes `from` of the plain tile to lanes `to ..` of the panel, so that each segment
    /// begins a quad.
    fn regroup(&self, from: core::ops::Range<usize>, to: usize, panel: &mut [Line]) {
        let segment = self.taps.segment();
        let mut quads = panel.chunks_exact_mut(QUAD);
        for s in 0..self.taps.offsets().len() {
            for q in 0..self.taps.quads() {
                let k = s * segment + 4 * q;
                let valid = (segment - 4 * q).min(4);
                let mask = u32::MAX >> (8 * (4 - valid));
                let shift = 8 * (k % 4) as u32;
                let low = &self.plain[k / 4 * QUAD..][..QUAD];
                // Behind the last quad there is nothing that the mask would keep.
                let high = self
                    .plain
                    .get((k / 4 + 1) * QUAD..)
                    .and_then(|l| l.get(..QUAD));
                let (low, high) = (words(low), words(high.unwrap_or(low)));
                let Some(quad) = quads.next() else { return };
                let mut all = if from.len() == NR {
                    [0; NR]
                } else {
                    words(quad)
                };
                let pairs = low[from.clone()].iter().zip(&high[from.clone()]);
                for (to, (low, high)) in all[to..].iter_mut().zip(pairs) {
                    // A shift by 32 - `shift`, also where that is 32.
                    *to = (low >> shift | high << 1 << (31 - shift)) & mask;
                }
                for (line, words) in quad.iter_mut().zip(all.chunks_exact(16)) {
                    for (to, word) in line.0.chunks_exact_mut(4).zip(words) {
                        to.copy_from_slice(&word.to_le_bytes());
                    }
                }
            }
        }
    }
}

/// What the accumulators of outputs `first ..` start from where activations carry an offset of
/// `offset`: `-offset sum_k w[n, k]`.
pub(crate) fn correction(w: &dyn Weights, first: usize, offset: u8) -> AccRow {
    let mut init = AccRow::ZERO;
    let sums = w.row_sums().get(first..).unwrap_or(&[]);
    for (init, &sum) in init.0.iter_mut().zip(sums) {
        // |sum| 255 fits i32.
        *init = -i32::from(offset) * sum;
    }
    init
}

/// Line and byte of the level of column `k` and lane `lane`.
fn byte(k: usize, lane: usize) -> (usize, usize) {
    (k / 4 * QUAD + lane / 16, lane % 16 * 4 + k % 4)
}

/// The four levels of each of 64 lanes, as little-endian words.
pub(super) fn words(quad: &[Line]) -> [u32; NR] {
    let mut words = [0; NR];
    for (words, line) in words.chunks_exact_mut(16).zip(quad) {
        for (word, bytes) in words.iter_mut().zip(line.0.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
    }
    words
}
