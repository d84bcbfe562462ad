//! The loops around a table: for a few rows of activations the sums of three products with ternary
//! weights, which the outputs of many panels pick from.

use alloc::vec;
use core::ops::Range;

use super::strips::store;
use super::windows::Source;
use crate::conv::weights::Panels;
use crate::epilogue::{Place, Steps};
use crate::isa::Isa;
use crate::micro::bytes::{NR, Taps};
use crate::micro::float::{CODED, FloatLine, LINE, TableKernel, TableOperands};
use crate::packed::lines::Line;
use crate::packed::unpack::Unpack;
use crate::parallel::Outputs;
use crate::scratch::{FloatScratch, Scratch};
use crate::{PackedMatrix, Scale};

/// Lines of codes of a block of `k`: its tables, for four rows, are half of the first-level cache.
const BLOCK: usize = 8;

/// Panels whose codes are held at a time: together in the second- or third-level cache.
const PANELS: usize = 16;

/// The most rows of any tile.
const ROWS: usize = 8;

/// Lines of the sums of a panel.
const LINES: usize = NR / LINE;

/// What does not change while a product runs.
pub(super) struct Job<'a> {
    pub(super) kernel: &'a TableKernel,
    /// What the epilogue runs on.
    pub(super) isa: Isa,
    pub(super) unpack: Unpack,
    pub(super) w: &'a PackedMatrix,
    pub(super) source: Source<'a>,
    pub(super) outputs: Outputs,
    pub(super) epilogue: Option<&'a Scale<'a>>,
}

impl Job<'_> {
    /// Computes the outputs `rows` of the channels of `blocks`, all of which `y` holds.
    pub(super) fn part(
        &self,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        if rows.len() <= self.kernel.rows {
            self.of_few_rows(scratch, rows, blocks, y);
        } else {
            self.of_many_rows(scratch, rows, blocks, y);
        }
    }

    /// A few rows at a time: the tables of a block of `k` serve the panels of one group that are
    /// held.
    fn of_many_rows(
        &self,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        let kernel = self.kernel;
        let span = self.outputs.span(&blocks);
        let coded = self.w.cols().div_ceil(CODED);
        let taps = Taps::new(vec![0], self.w.cols());
        // One line more: a code is read as the first byte of a register that may reach behind.
        let (codes, rest) = coding(scratch, coded, PANELS.min(blocks.len()) * coded * 4 + 1);
        let (levels, plain) = rest.split_at_mut(12 * coded);
        let mut weights = Panels::new(self.unpack, self.w, &taps, plain);
        let mut copied = vec![0.0; kernel.rows * coded * CODED];
        let mut tables = vec![FloatLine::ZERO; BLOCK * 4 * kernel.rows * 2];
        let mut sums = vec![FloatLine::ZERO; PANELS * kernel.rows * LINES];
        let mut from = blocks.start;
        while from < blocks.end {
            let group = self.outputs.group(from);
            let same_group = (from..blocks.end).take(PANELS);
            let to = from
                + same_group
                    .filter(|&b| self.outputs.group(b) == group)
                    .count();
            for (block, codes) in (from..to).zip(codes.chunks_mut(coded * 4)) {
                let (channel, columns) = (self.outputs.channel(block), self.outputs.columns(block));
                weights.fill(channel, columns, &mut levels[..Panels::lines(&taps)]);
                (kernel.encode)(levels, codes);
            }
            for first in rows.clone().step_by(kernel.rows) {
                let operands = first..(first + kernel.rows).min(rows.end);
                let count = operands.len();
                self.gather(operands.clone(), group, coded * CODED, &mut copied);
                sums.fill(FloatLine::ZERO);
                for start in (0..coded).step_by(BLOCK) {
                    let length = BLOCK.min(coded - start);
                    let tables = &mut tables[..length * 4 * count * 2];
                    build(kernel, &copied, coded, start..start + length, tables);
                    let panels = sums.chunks_exact_mut(count * LINES).take(to - from);
                    for (panel, sums) in panels.enumerate() {
                        let at = (panel * coded + start) * 4;
                        let codes = &codes[at..][..length * 4 + 1];
                        (kernel.run)(&TableOperands { tables, codes }, sums);
                    }
                }
                for (block, sums) in (from..to).zip(sums.chunks_exact(count * LINES)) {
                    self.store(sums, first, block, rows.start, &span, y);
                }
            }
            from = to;
        }
    }

    /// Rows of one tile: their tables are built once, for all `k`, and each panel is unpacked as it
    /// is met.
    fn of_few_rows(
        &self,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        let kernel = self.kernel;
        let span = self.outputs.span(&blocks);
        let coded = self.w.cols().div_ceil(CODED);
        let taps = Taps::new(vec![0], self.w.cols());
        let (codes, rest) = coding(scratch, coded, coded * 4 + 1);
        let (levels, plain) = rest.split_at_mut(12 * coded);
        let mut weights = Panels::new(self.unpack, self.w, &taps, plain);
        let mut copied = vec![0.0; rows.len() * coded * CODED];
        let mut tables = vec![FloatLine::ZERO; coded * 4 * rows.len() * 2];
        let mut built = None;
        for block in blocks {
            let group = self.outputs.group(block);
            if built != Some(group) {
                self.gather(rows.clone(), group, coded * CODED, &mut copied);
                build(kernel, &copied, coded, 0..coded, &mut tables);
                built = Some(group);
            }
            let (channel, columns) = (self.outputs.channel(block), self.outputs.columns(block));
            weights.fill(channel, columns, &mut levels[..Panels::lines(&taps)]);
            (kernel.encode)(levels, codes);
            let mut sums = [FloatLine::ZERO; ROWS * LINES];
            let sums = &mut sums[..rows.len() * LINES];
            let tables = &tables;
            (kernel.run)(&TableOperands { tables, codes }, sums);
            self.store(sums, rows.start, block, rows.start, &span, y);
        }
    }

    /// Copies `rows` to the front of `to`, `pitch` values apart.
    fn gather(&self, rows: Range<usize>, group: usize, pitch: usize, to: &mut [f32]) {
        for (r, row) in rows.enumerate() {
            let to = &mut to[r * pitch..][..self.w.cols()];
            self.source.copy(row, group, to);
        }
    }

    /// Stores the sums of rows from `row` on by the channels of `block`, in `y`, which begins with
    /// row `begin` and holds the channels `span`.
    fn store(
        &self,
        sums: &[FloatLine],
        row: usize,
        block: usize,
        begin: usize,
        span: &Range<usize>,
        y: &mut [f32],
    ) {
        let channel = self.outputs.channel(block);
        let place = Place {
            column: channel,
            columns: self.outputs.columns(block),
            whole: Steps {
                first: row * self.outputs.channels() + channel,
                step: self.outputs.channels(),
            },
            slice: Steps {
                first: (row - begin) * span.len() + channel - span.start,
                step: span.len(),
            },
        };
        store(self.isa, self.epilogue, sums, LINES, &place, y);
    }
}

/// Lines for codes, and zeroed lines for the levels of one panel and for unpacking it.
fn coding(scratch: &mut Scratch, coded: usize, codes: usize) -> (&mut [Line], &mut [Line]) {
    let FloatScratch { lines, .. } = scratch.get_floats(codes + 24 * coded, 0);
    let (codes, rest) = lines.split_at_mut(codes);
    rest.fill(Line([0; 64]));
    (codes, rest)
}

/// Builds the tables of lines `lines` of the rows in `copied`.
fn build(
    kernel: &TableKernel,
    copied: &[f32],
    coded: usize,
    lines: Range<usize>,
    tables: &mut [FloatLine],
) {
    let count = tables.len() / (lines.len() * 8);
    let mut rows = [&[][..]; ROWS];
    for (row, x) in rows[..count]
        .iter_mut()
        .zip(copied.chunks_exact(coded * CODED))
    {
        *row = &x[lines.start * CODED..lines.end * CODED];
    }
    (kernel.build)(&rows[..count], tables);
}
