//! The f32 microkernels: a few rows of f32 activations times the weights of neighbouring outputs,
//! for a block of `k`.

use core::ops::Range;

use crate::isa::Isa;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;
use crate::packed::unpack::Unpack;

/// The `k` that one line of codes stands for: four triples.
pub(crate) const CODED: usize = 12;

/// Floats of a [`FloatLine`].
pub(crate) const LINE: usize = 16;

/// One vector register of floats in memory: a table's, or of neighbouring outputs the sums of a row
/// or the weights of one `k`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct FloatLine(pub(crate) [f32; LINE]);

impl FloatLine {
    pub(crate) const ZERO: FloatLine = FloatLine([0.0; LINE]);
}

/// Lines of the widest strip.
pub(crate) const WIDEST: usize = 2;

/// Rows of the highest tile.
pub(crate) const HIGHEST: usize = 16;

/// Where the activations lie that some rows see, piece after piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// The input, and copies of parts of it.
    pub(crate) from: [&'a [f32]; 2],
    /// `[rows][pieces]`: where a piece begins, in the input, or with [`COPIED`] in the copies.
    pub(crate) places: &'a [usize],
    /// Pieces of a row.
    pub(crate) pieces: usize,
}

/// What is added to a place in the copies.
pub(crate) const COPIED: usize = 1 << (usize::BITS - 1);

impl<'a> Seen<'a> {
    /// The same of `count` rows from the `first` on.
    pub(crate) fn rows(self, first: usize, count: usize) -> Seen<'a> {
        let places = &self.places[first * self.pieces..][..count * self.pieces];
        Seen { places, ..self }
    }

    /// Values `within` of piece `piece` of row `row`.
    #[inline(always)]
    pub(crate) fn piece(&self, row: usize, piece: usize, within: &Range<usize>) -> &'a [f32] {
        let place = self.places[row * self.pieces + piece];
        let from = self.from[usize::from(place & COPIED != 0)];
        &from[place & !COPIED..][within.clone()]
    }
}

/// A tile: some rows of activations times a strip of weights as f32, for a block of `k`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StripOperands<'a> {
    /// What the rows see: at least one row, and at most [`StripKernel::rows`].
    pub(crate) seen: Seen<'a>,
    /// The pieces of it that count.
    pub(crate) pieces: &'a Range<usize>,
    /// The part of each piece. The order of sums starts anew with a piece: its last triple is
    /// filled up with zeros.
    pub(crate) within: &'a Range<usize>,
    /// The weights of each `k` of all pieces, `lines` lines each.
    pub(crate) strip: &'a [FloatLine],
    /// Lines of outputs, at least one and at most [`StripKernel::lines`].
    pub(crate) lines: usize,
    /// Whether the sums start from 0, whatever they hold.
    pub(crate) fresh: bool,
}

impl StripOperands<'_> {
    /// Rows of the tile.
    pub(crate) fn rows(&self) -> usize {
        self.seen.places.len() / self.seen.pieces
    }
}

/// A few rows of tables times a panel of codes, for a block of `k`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableOperands<'a> {
    /// `[triples][rows][2]`: the 32 entries that a code picks one of.
    pub(crate) tables: &'a [FloatLine],
    /// `[triples / 4][4]` lines of sixteen outputs, a code in each byte, and one line more.
    pub(crate) codes: &'a [Line],
}

/// A kernel that multiplies and adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StripKernel {
    /// The most lines of a strip, at most [`WIDEST`].
    pub(crate) lines: usize,
    /// The most rows of a tile on a strip of one line, and of two; at most [`HIGHEST`].
    pub(crate) rows: [usize; WIDEST],
    /// Adds to the sums, `[rows][lines]`.
    pub(crate) run: fn(&StripOperands<'_>, &mut [FloatLine]),
}

/// Turns levels into a strip: `[k / 4][4]` lines, of which a strip takes those from the given one
/// on, into as many lines for each `k` as given.
pub(crate) type Widen = fn(&[Line], usize, usize, &mut [FloatLine]);

/// A kernel that looks sums up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableKernel {
    /// The most rows of a tile.
    pub(crate) rows: usize,
    /// Turns lines of ternary levels `[3 k / 12][4]` into lines of codes `[k / 12][4]`.
    pub(crate) encode: fn(&[Line], &mut [Line]),
    /// Fills `[triples][rows][2]` tables from rows of activations.
    pub(crate) build: fn(&[&[f32]], &mut [FloatLine]),
    /// Adds to the sums, `[rows][4]`.
    pub(crate) run: fn(&TableOperands<'_>, &mut [FloatLine]),
}

/// How an instruction set computes the sums.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// Shifts of exponents and additions, weight by weight.
    Scalar,
    /// Multiply and add.
    Strip(StripKernel, Widen),
    /// Look-ups and additions: ternary weights only.
    Table(TableKernel),
}

/// One implementation of the definition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloatKernel {
    /// `{isa}-f32-{how}`.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests say which kernel differs")
    )]
    pub(crate) name: &'static str,
    /// What it runs on.
    pub(crate) isa: Isa,
    /// What unpacks its levels.
    pub(crate) unpack: Unpack,
    /// The kernel.
    pub(crate) how: How,
}

impl FloatKernel {
    /// Whether it serves weights of `width`.
    pub(crate) fn serves(&self, width: BitWidth) -> bool {
        !matches!(self.how, How::Table(_)) || width == BitWidth::B2
    }
}
