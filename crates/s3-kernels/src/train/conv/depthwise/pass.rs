//! Drives a depthwise forward or backward-input pass: rows of outputs in parallel.
//!
//! ```text
//! for some images, or some rows of one (parallel)
//!   for a grid, a row, a run of columns
//!     for a tile: a few vectors of neighbouring pixels, or of one pixel's channels
//!       for a tap: multiply and add
//! ```
#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays; iterator adaptors might not inline into the tile"
)]

use core::ops::Range;

use rayon::prelude::*;

use super::geometry::{Grid, Pass, Taps};
use crate::isa::Isa;
use crate::train::arch::{Walk, dispatch};
use crate::train::element::Element;
use crate::train::scratch::{Block, with_blocks};
use crate::train::simd::{LANES, Simd, Task};

/// Outputs of a piece of the work, about.
const PIECE: usize = 16 * 1024;

/// The most vectors of a tile: twice as many as a multiply-add takes cycles.
const MOST: usize = 8;

/// What the vectors of a tile are: one of neighbouring pixels each, or several pixels each.
const COLUMNS: u8 = 0;
/// Neighbouring vectors of one pixel's channels.
const PIXEL: u8 = 1;
/// One vector, of which not all lanes may be read.
const PART: u8 = 2;

/// `out = pass(input, w)` for a whole batch, or `out +=` where `add`; no argument empty. Every
/// element of `out` is written.
pub(in crate::train) fn run<T: Element>(
    isa: Isa,
    (pass, add): (&Pass, bool),
    batch: usize,
    input: &[T],
    w: &[f32],
    out: &mut [T],
) {
    let (in_len, out_len) = (input.len() / batch, out.len() / batch);
    // Where a piece of an image ends, the rows of all grids end.
    let rows = pass.out_step * pass.widths[1] * pass.channels;
    let images = (PIECE / out_len).max(1);
    let strip = match images {
        1 => (PIECE / rows).max(1),
        _ => out_len.div_ceil(rows),
    };
    with_blocks(pass.kernel[1] * pass.vectors(), |weights| {
        pack_weights::<T>(pass, w, weights);
        let weights = &*weights;
        out.par_chunks_mut(images * out_len)
            .enumerate()
            .for_each(|(i, out)| {
                let count = out.len() / out_len;
                // What follows the images is read where a vector is wider than what is left of
                // them.
                let input = &input[i * images * in_len..];
                let piece = if images == 1 { strip * rows } else { out.len() };
                out.par_chunks_mut(piece).enumerate().for_each(|(j, out)| {
                    let piece = Piece {
                        pass,
                        weights,
                        images: count,
                        lens: [in_len, out_len],
                        rows: j * strip..(j + 1) * strip,
                        input,
                        out,
                        add,
                    };
                    dispatch(isa, piece);
                });
            });
    });
}

/// Vectors of weights, `[tap][vector]`, rounded as the elements are. Few channels are repeated.
fn pack_weights<T: Element>(pass: &Pass, w: &[f32], to: &mut [Block]) {
    for (tap, to) in to.chunks_exact_mut(pass.vectors()).enumerate() {
        for (vector, to) in to.iter_mut().enumerate() {
            for (lane, to) in to.0.iter_mut().enumerate() {
                let channel = (vector * LANES + lane) % pass.channels;
                *to = T::from_f32(w[channel * pass.kernel[1] + tap]).to_f32();
            }
        }
    }
}

/// Some whole images, or some rows of one.
struct Piece<'a, T> {
    pass: &'a Pass,
    weights: &'a [Block],
    images: usize,
    /// Elements of an image of the input and of the output.
    lens: [usize; 2],
    /// Rows of each grid.
    rows: Range<usize>,
    input: &'a [T],
    out: &'a mut [T],
    /// Whether to add to what `out` holds.
    add: bool,
}

impl<T: Element> Task for Piece<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let pass = self.pass;
        let [line, out_line] = pass.widths.map(|width| width * pass.channels);
        for grid in &pass.grids {
            for image in 0..self.images {
                let input = &self.input[image * self.lens[0]..];
                let to = image * self.lens[1] + pass.first(grid);
                for run in &grid.rows.runs {
                    let start = run.outputs.start.max(self.rows.start);
                    for row in start..run.outputs.end.min(self.rows.end) {
                        let mut outputs = Outputs {
                            pass,
                            weights: self.weights,
                            input,
                            line,
                            row: row * pass.step,
                            row_taps: &run.taps,
                            out: &mut *self.out,
                            to: to + (row - self.rows.start) * pass.out_step * out_line,
                            add: self.add,
                        };
                        outputs.run(simd, grid);
                    }
                }
            }
        }
    }
}

/// A row of outputs.
struct Outputs<'a, T> {
    pass: &'a Pass,
    weights: &'a [Block],
    /// The image, and what follows it.
    input: &'a [T],
    /// Elements of a row of the image.
    line: usize,
    /// The input row that the row's taps count from.
    row: usize,
    row_taps: &'a [Taps],
    out: &'a mut [T],
    /// Elements of `out` before the row.
    to: usize,
    add: bool,
}

/// Some vectors of outputs.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// The input column that the first's taps count from.
    col: usize,
    col_taps: &'a [Taps],
    /// The vector of channels.
    vector: usize,
    /// Elements of the row before the first.
    to: usize,
    /// Elements from one to the next, of the input and of the output.
    steps: [usize; 2],
    /// Lanes of each.
    lanes: usize,
}

impl<T: Element> Outputs<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, grid: &Grid) {
        let pass = self.pass;
        let channels = pass.channels;
        let most = S::GROUPED_ACCUMULATORS.min(MOST);
        for run in &grid.cols.runs {
            let first = run.outputs.start;
            let count = run.outputs.len();
            let tile = Tile {
                col: first * pass.step,
                col_taps: &run.taps,
                vector: 0,
                to: first * pass.out_step * channels,
                steps: [pass.step, pass.out_step].map(|step| step * channels),
                lanes: LANES,
            };
            if pass.flat {
                // Whole vectors, and what is left.
                let (whole, rest) = (count * channels / LANES, count * channels % LANES);
                let together = LANES / channels;
                let flat = |vector: usize| Tile {
                    col: tile.col + vector * together,
                    to: tile.to + vector * LANES,
                    steps: [LANES; 2],
                    ..tile
                };
                for vector in (0..whole).step_by(most) {
                    self.tile::<S, COLUMNS>(simd, &flat(vector), most.min(whole - vector));
                }
                if rest > 0 {
                    let last = Tile {
                        lanes: rest,
                        ..flat(whole)
                    };
                    self.sums::<S, 1, PART>(simd, &last);
                }
            } else if count == 1 {
                // Neighbouring vectors of one pixel.
                let (whole, rest) = (channels / LANES, channels % LANES);
                let of = |vector: usize| Tile {
                    vector,
                    to: tile.to + vector * LANES,
                    steps: [LANES; 2],
                    ..tile
                };
                for vector in (0..whole).step_by(most) {
                    self.tile::<S, PIXEL>(simd, &of(vector), most.min(whole - vector));
                }
                if rest > 0 {
                    let last = Tile {
                        lanes: rest,
                        ..of(whole)
                    };
                    self.sums::<S, 1, PART>(simd, &last);
                }
            } else {
                let wide = count.div_ceil(count.div_ceil(most));
                for col in (0..count).step_by(wide) {
                    for vector in 0..pass.vectors() {
                        let tile = Tile {
                            col: tile.col + col * pass.step,
                            vector,
                            to: tile.to + col * tile.steps[1] + vector * LANES,
                            lanes: LANES.min(channels - vector * LANES),
                            ..tile
                        };
                        self.tile::<S, COLUMNS>(simd, &tile, wide.min(count - col));
                    }
                }
            }
        }
    }

    /// The sums of `count` vectors.
    #[inline(always)]
    fn tile<S: Simd, const KIND: u8>(&mut self, simd: S, tile: &Tile<'_>, count: usize) {
        if tile.lanes < LANES && !self.fits(tile, count) {
            for n in 0..count {
                let tile = Tile {
                    col: tile.col + n * self.pass.step,
                    to: tile.to + n * tile.steps[1],
                    ..*tile
                };
                self.sums::<S, 1, PART>(simd, &tile);
            }
            return;
        }
        macro_rules! by_count {
            ($($n:literal)*) => {
                match count {
                    $($n => self.sums::<S, $n, KIND>(simd, tile),)*
                    _ => unreachable!("larger than the largest tile"),
                }
            };
        }
        by_count!(1 2 3 4 5 6 7 8);
    }

    /// Whether whole vectors can be read where not all lanes are wanted.
    #[inline(always)]
    fn fits(&self, tile: &Tile<'_>, count: usize) -> bool {
        let reads = |row: &Taps, col: &Taps| {
            let right = (col.count - 1) * self.pass.spacing * self.pass.channels;
            let last = self.at(tile, row, col) + right + (count - 1) * tile.steps[0];
            last + LANES <= self.input.len()
        };
        let row = self.row_taps.last();
        row.is_none_or(|row| tile.col_taps.iter().all(|col| reads(row, col)))
    }

    /// Where a tile's first vector reads at the first of `cols`.
    #[inline(always)]
    fn at(&self, tile: &Tile<'_>, row: &Taps, cols: &Taps) -> usize {
        let col = cols.input(tile.col) * self.pass.channels + tile.vector * LANES;
        row.input(self.row) * self.line + col
    }

    #[inline(always)]
    fn sums<S: Simd, const N: usize, const KIND: u8>(&mut self, simd: S, tile: &Tile<'_>) {
        if N > S::GROUPED_ACCUMULATORS {
            unreachable!("a tile beyond the instruction set's registers");
        }
        let pass = self.pass;
        let [step, out_step] = tile.steps;
        let to = self.to + tile.to;
        let mut sums = [simd.splat(0.0); N];
        if self.add {
            for n in 0..N {
                sums[n] = T::load_first(simd, &self.out[to + n * out_step..], tile.lanes);
            }
        }
        for row in self.row_taps {
            let weights = &self.weights[row.k[0] * pass.kernel[0] * pass.vectors() + tile.vector..];
            for cols in tile.col_taps {
                let x = &self.input[self.at(tile, row, cols)..];
                let mut w: [&[Block]; 3] = [weights; 3];
                for (w, k) in w.iter_mut().zip(cols.k) {
                    *w = &weights[k * pass.vectors()..];
                }
                match (KIND, cols.count) {
                    (COLUMNS, 1) => columns::<S, T, N, 1>(simd, x, step, [w[0]], &mut sums),
                    (COLUMNS, 2) => columns::<S, T, N, 2>(simd, x, step, [w[0], w[1]], &mut sums),
                    (COLUMNS, _) => columns::<S, T, N, 3>(simd, x, step, w, &mut sums),
                    _ => {
                        let right = pass.spacing * pass.channels;
                        for (i, w) in w.iter().enumerate().take(cols.count) {
                            let x = &x[i * right..];
                            tap::<S, T, N, KIND>(simd, x, tile, w, &mut sums);
                        }
                    }
                }
            }
        }
        for n in 0..N {
            let to = &mut self.out[to + n * out_step..];
            match to.first_chunk_mut() {
                Some(to) if tile.lanes == LANES => T::store(simd, sums[n], to),
                _ => T::store_first(simd, sums[n], to, tile.lanes),
            }
        }
    }
}

/// Adds `N` neighbouring pixels under `G` taps: every vector is loaded once.
#[inline(always)]
fn columns<S: Simd, T: Element, const N: usize, const G: usize>(
    simd: S,
    x: &[T],
    step: usize,
    weights: [&[Block]; G],
    sums: &mut [S::F; N],
) {
    let Some(x) = Walk::new(x, step, N + G - 1) else {
        unreachable!("the pixels fit")
    };
    let mut w = [simd.splat(0.0); G];
    for g in 0..G {
        w[g] = simd.load(&weights[g][0].0);
    }
    for i in 0..N + G - 1 {
        let x = T::load(simd, x.get(i));
        for g in 0..G {
            if i >= g && i - g < N {
                sums[i - g] = simd.mul_add(x, w[g], sums[i - g]);
            }
        }
    }
}

/// Adds `N` vectors of one pixel under one tap.
#[inline(always)]
fn tap<S: Simd, T: Element, const N: usize, const KIND: u8>(
    simd: S,
    x: &[T],
    tile: &Tile<'_>,
    weights: &[Block],
    sums: &mut [S::F; N],
) {
    if KIND == PART {
        let x = T::load_first(simd, x, tile.lanes);
        sums[0] = simd.mul_add(x, simd.load(&weights[0].0), sums[0]);
        return;
    }
    let Some(x) = Walk::new(x, tile.steps[0], N) else {
        unreachable!("the vectors fit")
    };
    let weights = &weights[..N];
    for n in 0..N {
        let w = simd.load(&weights[n].0);
        sums[n] = simd.mul_add(T::load(simd, x.get(n)), w, sums[n]);
    }
}
