//! The loops around the f32 microkernels: the same for a matrix and for the windows of images.
//!
//! Sums go on from block to block of `k`, so blocks do not change their order. A block of `k` is a
//! multiple of 12: of three columns of the definition, and of four that weights are unpacked by.

use alloc::vec;
use core::ops::Range;

use super::scalar;
use crate::conv::geometry::Geometry;
use crate::conv::weights::Panels;
use crate::micro::bytes::{NR, Taps};
use crate::micro::float::{
    CODED, FloatKernel, FloatLine, FloatRow, How, PanelKernel, PanelOperands, TableKernel,
    TableOperands,
};
use crate::packed::lines::Line;
use crate::packed::unpack::Unpack;
use crate::parallel::Outputs;
use crate::scratch::{Scratch, with_scratch};
use crate::{PackedMatrix, Scale};

/// Lines of codes of a block of `k`: its tables, for four rows, lie in the first-level cache.
const BLOCK: usize = 16;

/// Columns of a block of weights as f32, of which a panel lies in the first-level cache.
const COLUMNS: usize = 96;

/// Panels whose codes are held at a time: together in the second- or third-level cache.
const PANELS: usize = 16;

/// Rows from which on threads share them: with fewer, the time to unpack weights counts.
const MANY: usize = 64;

/// The most rows of any tile.
const ROWS: usize = 8;

/// Where rows of activations come from.
pub(crate) enum Source<'a> {
    /// Row-major.
    Matrix(&'a [f32]),
    /// The windows of images.
    Images(&'a [f32], &'a Geometry),
}

impl Source<'_> {
    /// Copies what outputs of `group` see in `row` to `to`.
    fn copy(&self, row: usize, group: usize, to: &mut [f32]) {
        match self {
            Source::Matrix(x) => to.copy_from_slice(&x[row * to.len()..][..to.len()]),
            Source::Images(x, geometry) => geometry.copy_window(x, row, group, 0.0, to),
        }
    }
}

/// Computes all outputs; the arguments are checked and `y` is not empty.
pub(crate) fn run(
    kernel: &FloatKernel,
    w: &PackedMatrix,
    source: &Source<'_>,
    rows: usize,
    epilogue: Option<&Scale<'_>>,
    y: &mut [f32],
) {
    let outputs = match source {
        Source::Matrix(_) => Outputs {
            rows,
            groups: 1,
            group_out: w.rows(),
        },
        Source::Images(_, geometry) => geometry.outputs(),
    };
    let job = Job {
        unpack: kernel.unpack,
        w,
        source,
        outputs,
        epilogue,
    };
    outputs.for_each_part(w.cols(), MANY, y, |rows, blocks, y| match &kernel.how {
        _ if w.cols() == 0 => job.by_definition(rows, blocks, y),
        How::Scalar => job.by_definition(rows, blocks, y),
        How::Panel(kernel) => with_scratch(|s| job.by_panels(kernel, s, rows, blocks, y)),
        How::Table(kernel) if rows.len() <= kernel.rows => {
            with_scratch(|s| job.by_whole_tables(kernel, s, rows, blocks, y));
        }
        How::Table(kernel) => with_scratch(|s| job.by_tables(kernel, s, rows, blocks, y)),
    });
}

struct Job<'a> {
    unpack: Unpack,
    w: &'a PackedMatrix,
    source: &'a Source<'a>,
    outputs: Outputs,
    epilogue: Option<&'a Scale<'a>>,
}

/// The part of the outputs that a slice holds: these rows of these channels.
struct Held<'a> {
    rows: Range<usize>,
    span: Range<usize>,
    y: &'a mut [f32],
}

impl Job<'_> {
    /// Stores sums of neighbouring channels of `row`, the first of which is `channel`.
    fn store(&self, sums: &[f32], row: usize, channel: usize, held: &mut Held<'_>) {
        let at = (row - held.rows.start) * held.span.len() + channel - held.span.start;
        let y = &mut held.y[at..at + sums.len()];
        match self.epilogue {
            None => y.copy_from_slice(sums),
            Some(epilogue) => {
                let index = row * self.outputs.channels() + channel;
                epilogue.of_sums(sums, channel, index, y);
            }
        }
    }

    fn held<'y>(&self, rows: Range<usize>, blocks: &Range<usize>, y: &'y mut [f32]) -> Held<'y> {
        let span = self.outputs.span(blocks);
        Held { rows, span, y }
    }

    /// Channels of a block.
    fn columns(&self, block: usize) -> usize {
        let end = (self.outputs.group(block) + 1) * self.outputs.group_out;
        (end - self.outputs.channel(block)).min(NR)
    }

    /// Copies `rows` to the front of `to`, `pitch` values apart.
    fn gather(&self, rows: Range<usize>, group: usize, pitch: usize, to: &mut [f32]) {
        for (r, row) in rows.enumerate() {
            let to = &mut to[r * pitch..][..self.w.cols()];
            self.source.copy(row, group, to);
        }
    }

    /// Weight by weight, on levels.
    fn by_definition(&self, rows: Range<usize>, blocks: Range<usize>, y: &mut [f32]) {
        let mut held = self.held(rows.clone(), &blocks, y);
        let k = self.w.cols();
        let levels = self.w.to_levels();
        let mut x = vec![0.0; k];
        for block in blocks {
            let (first, columns) = (self.outputs.channel(block), self.columns(block));
            let levels = &levels[first * k..][..columns * k];
            for row in rows.clone() {
                let mut sums = [0.0; NR];
                self.source.copy(row, self.outputs.group(block), &mut x);
                scalar::row(&x, self.w.bit_width().t(), levels, &mut sums[..columns]);
                self.store(&sums[..columns], row, first, &mut held);
            }
        }
    }

    /// Panel by panel: weights become f32, all of them for many rows, block by block for few.
    fn by_panels(
        &self,
        kernel: &PanelKernel,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        let mut held = self.held(rows.clone(), &blocks, y);
        let k = self.w.cols();
        let taps = Taps::new(vec![0], k);
        let length = if rows.len() > kernel.rows { k } else { COLUMNS };
        let lines = Panels::lines(&taps);
        let (lines, panel) = scratch.get_floats(
            lines + Panels::plain_lines(self.w),
            length.next_multiple_of(4),
        );
        let (levels, plain) = lines.split_at_mut(Panels::lines(&taps));
        let mut weights = Panels::new(self.unpack, self.w, &taps, plain);
        let mut copied = vec![0.0; kernel.rows * k];
        let mut sums = [FloatRow::ZERO; ROWS];
        for block in blocks {
            let group = self.outputs.group(block);
            let (channel, columns) = (self.outputs.channel(block), self.columns(block));
            weights.fill(channel, columns, levels);
            if rows.len() > kernel.rows {
                (kernel.widen)(levels, panel);
            }
            for first in rows.clone().step_by(kernel.rows) {
                let operands = first..(first + kernel.rows).min(rows.end);
                let sums = &mut sums[..operands.len()];
                sums.fill(FloatRow::ZERO);
                let whole: &[f32] = match self.source {
                    Source::Matrix(x) => &x[operands.start * k..operands.end * k],
                    Source::Images(..) => {
                        self.gather(operands.clone(), group, k, &mut copied);
                        &copied
                    }
                };
                for start in (0..k).step_by(length) {
                    let end = (start + length).min(k);
                    if rows.len() <= kernel.rows {
                        (kernel.widen)(&levels[start..], panel);
                    }
                    let mut x = [&[][..]; ROWS];
                    for (r, x) in x[..sums.len()].iter_mut().enumerate() {
                        *x = &whole[r * k + start..r * k + end];
                    }
                    let operands = PanelOperands {
                        rows: &x[..sums.len()],
                        panel: &panel[..end - start],
                        columns,
                    };
                    (kernel.run)(&operands, sums);
                }
                for (row, sums) in operands.zip(sums) {
                    self.store(&sums.0[..columns], row, channel, &mut held);
                }
            }
        }
    }

    /// A few rows at a time: the tables of a block of `k` serve the panels of one group that are
    /// held.
    fn by_tables(
        &self,
        kernel: &TableKernel,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        let mut held = self.held(rows.clone(), &blocks, y);
        let coded = self.w.cols().div_ceil(CODED);
        let taps = Taps::new(vec![0], self.w.cols());
        // One line more: a code is read as the first byte of a register that may reach behind.
        let (codes, rest) = coding(scratch, coded, PANELS.min(blocks.len()) * coded * 4 + 1);
        let (levels, plain) = rest.split_at_mut(12 * coded);
        let mut weights = Panels::new(self.unpack, self.w, &taps, plain);
        let mut copied = vec![0.0; kernel.rows * coded * CODED];
        let mut tables = vec![FloatLine::ZERO; BLOCK * 4 * kernel.rows * 2];
        let mut sums = vec![FloatRow::ZERO; PANELS * kernel.rows];
        let mut from = blocks.start;
        while from < blocks.end {
            let group = self.outputs.group(from);
            let same_group = (from..blocks.end).take(PANELS);
            let to = from
                + same_group
                    .filter(|&b| self.outputs.group(b) == group)
                    .count();
            for (block, codes) in (from..to).zip(codes.chunks_mut(coded * 4)) {
                let (channel, columns) = (self.outputs.channel(block), self.columns(block));
                weights.fill(channel, columns, &mut levels[..Panels::lines(&taps)]);
                (kernel.encode)(levels, codes);
            }
            for first in rows.clone().step_by(kernel.rows) {
                let operands = first..(first + kernel.rows).min(rows.end);
                let count = operands.len();
                self.gather(operands.clone(), group, coded * CODED, &mut copied);
                sums.fill(FloatRow::ZERO);
                for start in (0..coded).step_by(BLOCK) {
                    let length = BLOCK.min(coded - start);
                    let tables = &mut tables[..length * 4 * count * 2];
                    build(kernel, &copied, coded, start..start + length, tables);
                    let panels = sums.chunks_exact_mut(kernel.rows).take(to - from);
                    for (panel, sums) in panels.enumerate() {
                        let at = (panel * coded + start) * 4;
                        let codes = &codes[at..][..length * 4 + 1];
                        (kernel.run)(&TableOperands { tables, codes }, &mut sums[..count]);
                    }
                }
                for (block, sums) in (from..to).zip(sums.chunks_exact(kernel.rows)) {
                    let (channel, columns) = (self.outputs.channel(block), self.columns(block));
                    for (row, sums) in operands.clone().zip(sums) {
                        self.store(&sums.0[..columns], row, channel, &mut held);
                    }
                }
            }
            from = to;
        }
    }

    /// Rows of one tile: their tables are built once, for all `k`, and each panel is unpacked as it
    /// is met.
    fn by_whole_tables(
        &self,
        kernel: &TableKernel,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        let mut held = self.held(rows.clone(), &blocks, y);
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
            let (channel, columns) = (self.outputs.channel(block), self.columns(block));
            weights.fill(channel, columns, &mut levels[..Panels::lines(&taps)]);
            (kernel.encode)(levels, codes);
            let mut sums = [FloatRow::ZERO; ROWS];
            let sums = &mut sums[..rows.len()];
            (kernel.run)(
                &TableOperands {
                    tables: &tables,
                    codes,
                },
                sums,
            );
            for (row, sums) in rows.clone().zip(sums) {
                self.store(&sums.0[..columns], row, channel, &mut held);
            }
        }
    }
}

/// Lines for codes, and zeroed lines for the levels of one panel and for unpacking it.
fn coding(scratch: &mut Scratch, coded: usize, codes: usize) -> (&mut [Line], &mut [Line]) {
    let (lines, _) = scratch.get_floats(codes + 24 * coded, 0);
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
