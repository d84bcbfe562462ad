//! The f32 microkernels: a few rows of f32 activations times a panel of levels, for a block of `k`.

use super::bytes::NR;
use crate::isa::Isa;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;
use crate::packed::unpack::Unpack;

/// The `k` that one line of codes stands for: four triples.
pub(crate) const CODED: usize = 12;

/// One vector register of floats in memory.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct FloatLine(pub(crate) [f32; 16]);

impl FloatLine {
    pub(crate) const ZERO: FloatLine = FloatLine([0.0; 16]);
}

/// Neighbouring outputs of one row: sums, or the weights of one `k`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct FloatRow(pub(crate) [f32; NR]);

impl FloatRow {
    pub(crate) const ZERO: FloatRow = FloatRow([0.0; NR]);
}

/// A few rows of activations times a panel of weights as f32, for a block of `k`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelOperands<'a> {
    /// Rows of activations, of `panel.len()` values each; at most [`PanelKernel::rows`].
    pub(crate) rows: &'a [&'a [f32]],
    /// The weights of each `k`.
    pub(crate) panel: &'a [FloatRow],
    /// Outputs that count; the others may be left as they are.
    pub(crate) columns: usize,
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
pub(crate) struct PanelKernel {
    /// The most rows of a tile.
    pub(crate) rows: usize,
    /// Turns lines of levels `[k / 4][4]` into one row for each `k`.
    pub(crate) widen: fn(&[Line], &mut [FloatRow]),
    /// Adds to the sums of each row.
    pub(crate) run: fn(&PanelOperands<'_>, &mut [FloatRow]),
}

/// A kernel that looks sums up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableKernel {
    /// The most rows of a tile.
    pub(crate) rows: usize,
    /// Turns lines of ternary levels `[3 k / 12][4]` into lines of codes `[k / 12][4]`.
    pub(crate) encode: fn(&[Line], &mut [Line]),
    /// Fills `[triples][rows][2]` tables from rows of activations.
    pub(crate) build: fn(&[&[f32]], &mut [FloatLine]),
    /// Adds to the sums of each row.
    pub(crate) run: fn(&TableOperands<'_>, &mut [FloatRow]),
}

/// How an instruction set computes the sums.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// Shifts of exponents and additions, weight by weight.
    Scalar,
    /// Multiply and add.
    Panel(PanelKernel),
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
