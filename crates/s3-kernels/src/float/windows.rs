//! Where the activations lie that a row of outputs sees: pieces of the input itself, and copies
//! where an edge of the image cuts one.
//!
//! A row sees `k` activations, piece after piece. A piece is a row of a matrix; of a convolution it
//! is a row of the kernel, whose columns and channels are neighbours in memory, or one tap. Where a
//! sum's triples would go from one piece to the next, the window is copied and is one piece.

use alloc::vec::Vec;
use core::ops::Range;

use crate::conv::geometry::Geometry;
use crate::micro::float::{COPIED, Seen};

/// Where rows of activations come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Row-major.
    Matrix(&'a [f32]),
    /// The windows of images.
    Images(&'a [f32], &'a Geometry),
}

impl<'a> Source<'a> {
    /// Copies what outputs of `group` see in `row` to `to`.
    pub(super) fn copy(&self, row: usize, group: usize, to: &mut [f32]) {
        match self {
            Source::Matrix(x) => to.copy_from_slice(&x[row * to.len()..][..to.len()]),
            Source::Images(x, geometry) => geometry.copy_window(x, row, group, 0.0, to),
        }
    }

    fn x(&self) -> &'a [f32] {
        match self {
            Source::Matrix(x) | Source::Images(x, _) => x,
        }
    }
}

/// How windows are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Pieces of a window.
    pub(super) pieces: usize,
    /// Activations of a piece.
    pub(super) length: usize,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// The whole row of a matrix.
    Row,
    /// Kernel row by kernel row.
    KernelRow,
    /// Tap by tap.
    Tap,
    /// The whole window, copied.
    Window,
}

impl Cut {
    /// For sums that take `step` of `k` activations together.
    pub(super) fn new(source: &Source<'_>, k: usize, step: usize) -> Cut {
        let Source::Images(_, geometry) = source else {
            return Cut {
                pieces: 1,
                length: k,
                by: By::Row,
            };
        };
        let shape = &geometry.shape;
        let fits = |pieces: usize, length: usize| pieces == 1 || length.is_multiple_of(step);
        let (rows, columns) = (shape.kernel_h, shape.kernel_w);
        let row = columns * geometry.group_in;
        let neighbours = shape.groups == 1 && (shape.dilation == 1 || columns == 1);
        let (pieces, length, by) = if neighbours && fits(rows, row) {
            (rows, row, By::KernelRow)
        } else if fits(rows * columns, geometry.group_in) {
            (rows * columns, geometry.group_in, By::Tap)
        } else {
            (1, k, By::Window)
        };
        Cut { pieces, length, by }
    }
}

/// Finds the pieces that some rows see.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// `[rows][pieces]`, as [`Seen`] says.
    pub(super) places: &'a mut Vec<usize>,
    /// The first piece is zeros.
    pub(super) copies: &'a mut Vec<f32>,
}

impl Places<'_> {
    /// The pieces that outputs of `group` see in `rows`.
    pub(super) fn find<'s>(
        &'s mut self,
        source: &Source<'s>,
        cut: &Cut,
        rows: Range<usize>,
        group: usize,
    ) -> Seen<'s> {
        self.copies.clear();
        self.copies.resize(cut.length, 0.0);
        self.places.clear();
        self.places.resize(rows.len() * cut.pieces, COPIED);
        match source {
            Source::Matrix(_) => {
                for (place, row) in self.places.iter_mut().zip(rows) {
                    *place = row * cut.length;
                }
            }
            Source::Images(x, geometry) => match cut.by {
                By::Window | By::Row => {
                    for (to, row) in rows.enumerate() {
                        let copy = self.copied(to, cut.length);
                        geometry.copy_window(x, row, group, 0.0, copy);
                    }
                }
                By::KernelRow => self.kernel_rows(x, geometry, cut.length, rows),
                By::Tap => self.taps(geometry, rows, group),
            },
        }
        Seen {
            from: [source.x(), self.copies],
            places: self.places,
            pieces: cut.pieces,
        }
    }

    /// A copy of `length` values, which are still zeros, as piece `to`.
    fn copied(&mut self, to: usize, length: usize) -> &mut [f32] {
        let at = self.copies.len();
        self.places[to] = COPIED | at;
        self.copies.resize(at + length, 0.0);
        &mut self.copies[at..]
    }

    /// One piece of all columns of the kernel for each of its rows.
    fn kernel_rows(&mut self, x: &[f32], geometry: &Geometry, length: usize, rows: Range<usize>) {
        let shape = &geometry.shape;
        let (pieces, channels) = (shape.kernel_h, shape.in_channels);
        // In columns of the line, the padding before it included.
        let inside = shape.padding..shape.padding + shape.width;
        // Outputs whose kernel rows are inside.
        let first_inside = shape.padding.div_ceil(shape.stride);
        let rest = inside.end.checked_sub(shape.kernel_w);
        let end_inside = rest.map_or(0, |rest| rest / shape.stride + 1);
        for line in lines(geometry, rows) {
            let whole = line.columns.start.max(first_inside)..line.columns.end.min(end_inside);
            for i in 0..pieces {
                let Some(y) = geometry.input(line.y, i, shape.height) else {
                    continue;
                };
                let first = (line.image * shape.height + y) * shape.width;
                let to = |column: usize| (line.to + column - line.columns.start) * pieces + i;
                if !whole.is_empty() {
                    let pixel = first + whole.start * shape.stride - shape.padding;
                    let mut place = pixel * channels;
                    let to = self.places[to(whole.start)..].iter_mut().step_by(pieces);
                    for to in to.take(whole.len()) {
                        *to = place;
                        place += shape.stride * channels;
                    }
                }
                for column in line
                    .columns
                    .clone()
                    .filter(|column| !whole.contains(column))
                {
                    let from = column * shape.stride;
                    let start = from.max(inside.start);
                    let stop = (from + shape.kernel_w).min(inside.end);
                    if start < stop {
                        let copy = self.copied(to(column), length);
                        let copy = &mut copy[(start - from) * channels..(stop - from) * channels];
                        let pixel = first + start - shape.padding;
                        copy.copy_from_slice(&x[pixel * channels..][..copy.len()]);
                    }
                }
            }
        }
    }

    /// A piece for each tap.
    fn taps(&mut self, geometry: &Geometry, rows: Range<usize>, group: usize) {
        let shape = &geometry.shape;
        let mut places = self.places.iter_mut();
        for line in lines(geometry, rows) {
            for column in line.columns {
                for i in 0..shape.kernel_h {
                    let y = geometry.input(line.y, i, shape.height);
                    for (j, place) in (0..shape.kernel_w).zip(&mut places) {
                        let at = y.zip(geometry.input(column, j, shape.width));
                        if let Some((y, x)) = at {
                            let pixel = (line.image * shape.height + y) * shape.width + x;
                            *place = pixel * shape.in_channels + group * geometry.group_in;
                        }
                    }
                }
            }
        }
    }
}

/// Outputs of one line of an image.
struct Line {
    image: usize,
    y: usize,
    columns: Range<usize>,
    /// How many outputs are before them.
    to: usize,
}

/// The output `rows`, line by line.
fn lines(geometry: &Geometry, rows: Range<usize>) -> impl Iterator<Item = Line> {
    let width = geometry.out_width;
    let mut row = rows.start;
    core::iter::from_fn(move || {
        let (line, from) = (row / width, row % width);
        let columns = from..width.min(from + rows.end - row);
        let to = row - rows.start;
        row += columns.len();
        (!columns.is_empty()).then_some(Line {
            image: line / geometry.out_height,
            y: line % geometry.out_height,
            columns,
            to,
        })
    })
}
