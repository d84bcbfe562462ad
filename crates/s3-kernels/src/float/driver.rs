//! The loops around the f32 microkernels: the same for a matrix and for the windows of images.

use alloc::vec;
use alloc::vec::Vec;

use super::kernel::{
    CODED, FloatKernel, FloatLine, FloatRow, How, LineTile, NR, PanelKernel, PanelTile, TableKernel,
};
use super::scalar;
use crate::conv::geometry::Geometry;
use crate::conv::panel::Panels;
use crate::dispatch::Isa;
use crate::tile::Window;
use crate::tiles::Line;
use crate::{PackedMatrix, Scale};

/// Lines of codes of a block: its tables, for four rows, lie in the first-level cache.
const BLOCK: usize = 10;

/// Where rows of activations come from.
pub(crate) enum Source<'a> {
    /// Row-major.
    Matrix(&'a [f32]),
    /// The windows of images.
    Images(&'a [f32], &'a Geometry),
}

impl Source<'_> {
    /// Groups of outputs that see the same activations, and the outputs of one.
    fn groups(&self, outputs: usize) -> (usize, usize) {
        match self {
            Source::Matrix(_) => (1, outputs),
            Source::Images(_, geometry) => (geometry.shape.groups, geometry.group_out),
        }
    }

    /// Copies what outputs of `group` see in `row` to the front of `to`.
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
    let job = Job {
        isa: kernel.isa,
        w,
        source,
        rows,
        epilogue,
    };
    match &kernel.how {
        How::Scalar => job.by_definition(y),
        How::Panel(kernel) => job.by_panels(kernel, y),
        How::Table(kernel) => job.by_tables(kernel, y),
    }
}

struct Job<'a> {
    isa: Isa,
    w: &'a PackedMatrix,
    source: &'a Source<'a>,
    rows: usize,
    epilogue: Option<&'a Scale<'a>>,
}

impl Job<'_> {
    /// Stores sums of neighbouring outputs, the first of which is `column` of `row`.
    fn store(&self, sums: &[f32], row: usize, column: usize, y: &mut [f32]) {
        let index = row * self.w.rows() + column;
        let y = &mut y[index..index + sums.len()];
        match self.epilogue {
            None => y.copy_from_slice(sums),
            Some(epilogue) => epilogue.of_sums(sums, column, index, y),
        }
    }

    /// Weight by weight, on levels.
    fn by_definition(&self, y: &mut [f32]) {
        let (groups, outputs) = self.source.groups(self.w.rows());
        let k = self.w.cols();
        let levels = self.w.to_levels();
        let (mut x, mut sums) = (vec![0.0; k], vec![0.0; outputs]);
        for row in 0..self.rows {
            for group in 0..groups {
                self.source.copy(row, group, &mut x);
                sums.fill(0.0);
                let levels = &levels[group * outputs * k..][..outputs * k];
                scalar::row(&x, self.w.bit_width().t(), levels, &mut sums);
                self.store(&sums, row, group * outputs, y);
            }
        }
    }

    /// Panel by panel: weights become f32 once, then serve all rows.
    fn by_panels(&self, kernel: &PanelKernel, y: &mut [f32]) {
        let (groups, outputs) = self.source.groups(self.w.rows());
        let k = self.w.cols();
        let quads = k.div_ceil(4);
        let mut plain = vec![Line([0; 64]); 4 * quads];
        let mut lines = plain.clone();
        let window = Window::new(vec![0], k);
        let mut weights = Panels::new(self.isa, self.w, &window, &mut plain);
        let mut panel = vec![FloatRow([0.0; NR]); 4 * quads];
        let mut copied = vec![0.0; kernel.rows * k];
        let mut sums = vec![FloatRow([0.0; NR]); kernel.rows];
        for group in 0..groups {
            for column in (0..outputs).step_by(NR) {
                let columns = (outputs - column).min(NR);
                weights.fill(group * outputs + column, columns, &mut lines);
                (kernel.widen)(&lines, &mut panel);
                for first in (0..self.rows).step_by(kernel.rows) {
                    let count = (self.rows - first).min(kernel.rows);
                    let rows = self.gather(first, count, group, k, &mut copied);
                    let tile = PanelTile {
                        rows: &rows[..count],
                        panel: &panel[..k],
                        columns,
                    };
                    (kernel.run)(&tile, &mut sums[..count]);
                    for (r, sums) in sums[..count].iter().enumerate() {
                        let column = group * outputs + column;
                        self.store(&sums.0[..columns], first + r, column, y);
                    }
                }
            }
        }
    }

    /// `count` rows of activations: in place, or copied.
    fn gather<'x>(
        &'x self,
        first: usize,
        count: usize,
        group: usize,
        k: usize,
        copied: &'x mut [f32],
    ) -> [&'x [f32]; 8] {
        let mut rows = [&[][..]; 8];
        match self.source {
            Source::Matrix(x) => {
                for (r, row) in rows[..count].iter_mut().enumerate() {
                    *row = &x[(first + r) * k..][..k];
                }
            }
            Source::Images(..) => {
                for r in 0..count {
                    self.source
                        .copy(first + r, group, &mut copied[r * k..][..k]);
                }
                let copied = &*copied;
                for (r, row) in rows[..count].iter_mut().enumerate() {
                    *row = &copied[r * k..][..k];
                }
            }
        }
        rows
    }

    /// A few rows at a time: the tables of a block of `k` serve all outputs.
    fn by_tables(&self, kernel: &TableKernel, y: &mut [f32]) {
        let (groups, outputs) = self.source.groups(self.w.rows());
        let k = self.w.cols();
        let coded = k.div_ceil(CODED);
        let panels = outputs.div_ceil(NR);
        let mut plain = vec![Line([0; 64]); 12 * coded];
        let mut lines = plain.clone();
        let window = Window::new(vec![0], k);
        let mut weights = Panels::new(self.isa, self.w, &window, &mut plain);
        // One line more: a code is read as the first byte of a register that may reach behind.
        let mut codes = vec![Line([0; 64]); panels * coded * 4 + 1];
        let mut copied = vec![0.0; kernel.rows * coded * CODED];
        let mut tables = vec![FloatLine([0.0; 16]); BLOCK * 4 * kernel.rows * 2];
        let mut sums = vec![FloatRow([0.0; NR]); panels * kernel.rows];
        for group in 0..groups {
            for panel in 0..panels {
                let columns = (outputs - panel * NR).min(NR);
                let lines_of_levels = &mut lines[..4 * k.div_ceil(4)];
                weights.fill(group * outputs + panel * NR, columns, lines_of_levels);
                (kernel.encode)(&lines, &mut codes[panel * coded * 4..][..coded * 4]);
            }
            for first in (0..self.rows).step_by(kernel.rows) {
                let count = (self.rows - first).min(kernel.rows);
                for r in 0..count {
                    let to = &mut copied[r * coded * CODED..][..k];
                    self.source.copy(first + r, group, to);
                }
                sums.fill(FloatRow([0.0; NR]));
                for block in (0..coded).step_by(BLOCK) {
                    let length = BLOCK.min(coded - block);
                    let rows: Vec<&[f32]> = copied
                        .chunks_exact(coded * CODED)
                        .take(count)
                        .map(|x| &x[block * CODED..][..length * CODED])
                        .collect();
                    let tables = &mut tables[..length * 4 * count * 2];
                    (kernel.build)(&rows, tables);
                    for (panel, sums) in sums.chunks_exact_mut(kernel.rows).enumerate() {
                        let at = (panel * coded + block) * 4;
                        let codes = &codes[at..][..length * 4 + 1];
                        (kernel.run)(&LineTile { tables, codes }, &mut sums[..count]);
                    }
                }
                for (panel, sums) in sums.chunks_exact(kernel.rows).enumerate() {
                    let columns = (outputs - panel * NR).min(NR);
                    let column = group * outputs + panel * NR;
                    for (r, sums) in sums[..count].iter().enumerate() {
                        self.store(&sums.0[..columns], first + r, column, y);
                    }
                }
            }
        }
    }
}
