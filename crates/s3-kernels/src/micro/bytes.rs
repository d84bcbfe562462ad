//! The microkernel's contract: a few windows of u8 activations times a panel of s8 levels.
//!
//! `out[r][n] = init[n] + sum of (x[windows[r] + t + k] ^ flip) panel[t, k, n]`
//!
//! over taps `t` and `k < 4 quads`, in i32, exact: sums wrap, and packing has shown that the final
//! ones do not. The convolution and the matrix product of u8 activations are loops around it.

use alloc::vec::Vec;

use crate::isa::Isa;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;
use crate::packed::unpack::Unpack;

/// Windows of one tile, at most.
pub(crate) const MR: usize = 6;

/// Outputs of one panel: the columns of a tile.
pub(crate) const NR: usize = 64;

/// The accumulators of one output row in a tile: [`NR`] neighbouring channels.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct AccRow(pub(crate) [i32; NR]);

impl AccRow {
    pub(crate) const ZERO: AccRow = AccRow([0; NR]);
}

/// Rows of sums that are handed to an epilogue at a time, at most: it reads a channel's numbers
/// once for all.
pub(crate) const HELD: usize = 4 * MR;

/// The taps of a kernel: the same for every window.
#[derive(Clone, Debug)]
pub(crate) struct Taps {
    /// Offset of each segment of neighbouring bytes from the first byte of the window.
    offsets: Vec<usize>,
    /// Bytes of one segment.
    segment: usize,
    /// Bytes from the first of a window to the last that a microkernel reads.
    reach: usize,
}

impl Taps {
    pub(crate) fn new(offsets: Vec<usize>, segment: usize) -> Taps {
        let last = offsets.iter().max().copied().unwrap_or(0);
        let reach = last + segment.next_multiple_of(4);
        Taps {
            offsets,
            segment,
            reach,
        }
    }

    /// Offset of each segment from the first byte of the window.
    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Bytes of one segment.
    pub(crate) fn segment(&self) -> usize {
        self.segment
    }

    /// Groups of four bytes in one segment, the last one filled up.
    pub(crate) fn quads(&self) -> usize {
        self.segment.div_ceil(4)
    }

    /// Groups of four bytes in all segments.
    pub(crate) fn total_quads(&self) -> usize {
        self.offsets.len() * self.quads()
    }

    /// Bytes from the first of a window to the end of the last group of four.
    pub(crate) fn reach(&self) -> usize {
        self.reach
    }
}

/// The operands of one microkernel call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands<'a> {
    /// Activations.
    pub(crate) x: &'a [u8],
    /// What each byte of `x` is XORed with before it is a u8: 128 makes an i8 the u8 that is 128
    /// more.
    pub(crate) flip: u8,
    /// Offset of each window in `x`, 1 to [`MR`] of them; a window's reach lies in `x`.
    pub(crate) windows: &'a [usize],
    /// The taps of every window.
    pub(crate) taps: &'a Taps,
    /// `[taps][quads][4]` lines: 16 outputs by 4 `k` each, after [`Microkernel::order`].
    pub(crate) panel: &'a [Line],
    /// What the accumulators of every window start from.
    pub(crate) init: &'a AccRow,
    /// Outputs that count, 1 to 64; the others may be left as they are.
    pub(crate) columns: usize,
    /// The alphabet of the levels, which bounds how many products fit i16.
    pub(crate) width: BitWidth,
}

/// One implementation of a depthwise microkernel:
/// `out[r][n] = init[n] + sum over taps t of x[windows[r] + t + n] w[t, n]`,
/// with the panel in the order of [`position`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct DepthwiseKernel {
    /// What it runs on.
    pub(crate) isa: Isa,
    /// What unpacks its levels, which [`position`] then reorders.
    pub(crate) unpack: Unpack,
    /// Fills one row of `out` for each window.
    ///
    /// Panics where the operands break the contract, or the CPU cannot run it.
    pub(crate) run: fn(&Operands<'_>, &mut [AccRow]),
}

/// Lines of the panel of `taps` taps: two for each two taps.
pub(crate) const fn panel_lines(taps: usize) -> usize {
    2 * taps.div_ceil(2)
}

/// Where the level of `channel` and `tap` lies in a panel: line and byte.
///
/// Two taps of a channel are neighbours; the channels are in the order that interleaving two
/// vectors within their 16-byte parts leaves: the first line has channels 0..8 of each 16, the
/// second 8..16.
pub(crate) const fn position(channel: usize, tap: usize) -> (usize, usize) {
    let (part, half, lane) = (channel / 16, channel % 16 / 8, channel % 8);
    (tap / 2 * 2 + half, part * 16 + lane * 2 + tap % 2)
}

/// One implementation of the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Microkernel {
    /// `{isa}-u8s8-{how}`.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests say which kernel differs")
    )]
    pub(crate) name: &'static str,
    /// What it runs on.
    pub(crate) isa: Isa,
    /// Whether this CPU has what it needs besides `isa`.
    pub(crate) available: fn() -> bool,
    /// What unpacks its panels.
    pub(crate) unpack: Unpack,
    /// What takes its place where channels do not see each other.
    pub(crate) depthwise: &'static DepthwiseKernel,
    /// Brings a panel from lines of 16 outputs by 4 `k` to the order that `run` reads; once for all
    /// windows.
    pub(crate) order: fn(&mut [Line]),
    /// Fills one row of `out` for each window.
    ///
    /// Panics where the operands break the contract, or the CPU cannot run it.
    pub(crate) run: fn(&Operands<'_>, &mut [AccRow]),
}

impl Operands<'_> {
    /// Checks that a microkernel reads inside `x`, and inside `panel` if it reads `lines` lines of
    /// it, and writes inside `out`.
    ///
    /// # Panics
    ///
    /// Where it would not.
    pub(crate) fn check(&self, lines: usize, out: &[AccRow]) {
        assert!(self.windows.len() <= MR.min(out.len()));
        assert!(self.panel.len() >= lines);
        let room = self.x.len().checked_sub(self.taps.reach());
        for &window in self.windows {
            assert!(room.is_some_and(|room| window <= room));
        }
    }
}
