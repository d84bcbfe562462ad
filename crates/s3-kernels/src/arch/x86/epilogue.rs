//! Epilogues in registers: the definitions of [`crate::epilogue`], in i32 or f32 lanes.

use core::hint::black_box;
use core::ops::Range;

use super::simd::{Simd, Task, run};
use crate::epilogue::{Epilogue, Place, Scale, ShiftRequant};
use crate::micro::bytes::{AccRow, NR};
use crate::micro::float::{FloatLine, LINE};

/// An epilogue that stores from registers.
pub(crate) trait Vectorized: Epilogue {
    /// Stores the outputs of one tile; integer sums were shown to stay in i32 (`Narrow`).
    /// Implementations are `#[inline(always)]`.
    fn store_on<S: Simd>(&self, simd: S, tile: &[AccRow], place: &Place, y: &mut [Self::Output]);
}

/// Stores the outputs of one tile, whose integer sums were shown to stay in i32 (`Narrow`).
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn store<S: Simd, E: Vectorized>(
    epilogue: &E,
    tile: &[AccRow],
    place: &Place,
    y: &mut [E::Output],
) {
    struct Store<'a, E: Vectorized>(&'a E, &'a [AccRow], &'a Place, &'a mut [E::Output]);
    impl<E: Vectorized> Task for Store<'_, E> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Store(epilogue, tile, place, y) = self;
            if place.columns == NR {
                // Compiled for so many columns: nothing is asked for each register.
                let place = Place {
                    columns: NR,
                    ..*place
                };
                epilogue.store_on(simd, tile, &place, y);
            } else {
                epilogue.store_on(simd, tile, place, y);
            }
        }
    }
    run::<S>(Store(epilogue, tile, place, y));
}

/// Stores what `epilogue` makes of sums that are already f32, `lines` lines a row.
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn store_floats<S: Simd>(
    epilogue: &Scale<'_>,
    sums: &[FloatLine],
    lines: usize,
    place: &Place,
    y: &mut [f32],
) {
    struct Store<'a>(
        &'a Scale<'a>,
        &'a [FloatLine],
        usize,
        &'a Place,
        &'a mut [f32],
    );
    impl Task for Store<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Store(epilogue, sums, lines, place, y) = self;
            for block in Block::all::<S>(*place) {
                let scaled = Scaled::new(simd, epilogue, block);
                for (r, row) in sums.chunks_exact(lines).enumerate() {
                    let line = &row[block.column / LINE].0;
                    let sums = simd.load_f32(&line[block.column % LINE..][..S::LANES]);
                    scaled.store(simd, sums, r, y);
                }
            }
        }
    }
    run::<S>(Store(epilogue, sums, lines, place, y));
}

/// Registers of a tile's row, at most: those of eight lanes.
const BLOCKS: usize = NR / 8;

/// A register's columns of a tile, and where they lie.
#[derive(Clone, Copy)]
pub(super) struct Block {
    place: Place,
    column: usize,
    width: usize,
}

impl Block {
    /// The blocks of a tile, the last of which may be narrower than a register.
    #[inline(always)]
    pub(super) fn all<S: Simd>(place: Place) -> impl Iterator<Item = Block> {
        (0..place.columns)
            .step_by(S::LANES)
            .map(move |column| Block {
                place,
                column,
                width: (place.columns - column).min(S::LANES),
            })
    }

    /// Its channels.
    #[inline(always)]
    pub(super) fn channels(self) -> Range<usize> {
        let first = self.place.column + self.column;
        first..first + self.width
    }

    /// Its sums of a row.
    #[inline(always)]
    pub(super) fn sums<S: Simd>(self, simd: S, row: &AccRow) -> S::I {
        simd.load_i32(&row.0[self.column..self.column + S::LANES])
    }

    /// Its values of row `r`, of values that lie as the outputs do.
    #[inline(always)]
    pub(super) fn values<T>(self, all: &[T], r: usize) -> &[T] {
        let first = self.place.index(r) + self.column;
        &all[first..first + self.width]
    }

    /// Its outputs of row `r`.
    #[inline(always)]
    pub(super) fn outputs<T>(self, y: &mut [T], r: usize) -> &mut [T] {
        let first = self.place.stored(r).start + self.column;
        &mut y[first..first + self.width]
    }
}

impl Vectorized for ShiftRequant<'_> {
    #[inline(always)]
    fn store_on<S: Simd>(&self, simd: S, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        let zero = simd.splat(0);
        // A limit that is not known when this is compiled: see `store_u8`.
        let most = black_box(u8::MAX);
        let residual = self
            .residual
            .map(|r| (r.values, simd.splat(r.shift.into())));
        let mut numbers = [(zero, zero); BLOCKS];
        for (block, (bias, shift)) in Block::all::<S>(*place).zip(&mut numbers) {
            *shift = simd.load_u8(&self.shift[block.channels()]);
            let biases = simd.load_i32(&self.bias[block.channels()]);
            *bias = simd.add_i32(biases, half(simd, *shift));
        }
        for (r, row) in tile.iter().enumerate() {
            for (block, &(bias, shift)) in Block::all::<S>(*place).zip(&numbers) {
                let mut v = simd.add_i32(block.sums(simd, row), bias);
                if let Some((values, count)) = residual {
                    let values = simd.load_u8(block.values(values, r));
                    v = simd.add_i32(v, simd.shl_i32(values, count));
                }
                let v = simd.max_i32(simd.shr_i32(v, shift), zero);
                simd.store_u8(v, most, block.outputs(y, r));
            }
        }
    }
}

impl Vectorized for Scale<'_> {
    #[inline(always)]
    fn store_on<S: Simd>(&self, simd: S, tile: &[AccRow], place: &Place, y: &mut [f32]) {
        for block in Block::all::<S>(*place) {
            let scaled = Scaled::new(simd, self, block);
            for (r, row) in tile.iter().enumerate() {
                scaled.store(simd, simd.to_f32(block.sums(simd, row)), r, y);
            }
        }
    }
}

/// A [`Scale`] for one block of columns.
struct Scaled<'a, S: Simd> {
    block: Block,
    scale: S::F,
    bias: S::F,
    residual: Option<&'a [f32]>,
    relu: bool,
}

impl<'a, S: Simd> Scaled<'a, S> {
    #[inline(always)]
    fn new(simd: S, epilogue: &Scale<'a>, block: Block) -> Self {
        Scaled {
            block,
            scale: simd.load_f32(&epilogue.scale[block.channels()]),
            bias: simd.load_f32(&epilogue.bias[block.channels()]),
            residual: epilogue.residual,
            relu: epilogue.relu,
        }
    }

    /// Stores the outputs of the sums of row `r`.
    #[inline(always)]
    fn store(&self, simd: S, sums: S::F, r: usize, y: &mut [f32]) {
        // Two roundings: contraction to one would differ from other instruction sets.
        let mut v = simd.add_f32(simd.mul_f32(sums, self.scale), self.bias);
        if let Some(residual) = self.residual {
            v = simd.add_f32(v, simd.load_f32(self.block.values(residual, r)));
        }
        if self.relu {
            v = simd.max_f32(v, simd.splat_f32(0.0));
        }
        simd.store_f32(v, self.block.outputs(y, r));
    }
}

/// `2^(s-1)` of each shift `s`, 0 where `s` is 0: there the count is no number below 32.
#[inline(always)]
pub(super) fn half<S: Simd>(simd: S, shift: S::I) -> S::I {
    simd.shl_i32(simd.splat(1), simd.sub_i32(shift, simd.splat(1)))
}
