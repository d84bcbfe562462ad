//! The loops around a tile: the same for a matrix and for the windows of images, for packed weights
//! and for f32 ones.
//!
//! ```text
//! for some rows of outputs:                  whose sums lie in the second-level cache
//!     find what they see
//!     for each block of 64 outputs, each span of k, each strip of the block:
//!         make the strip's weights f32       in the second-level cache; f32 ones lie there so
//!         for each tile of rows:             sums in registers
//!             add the products; after the last span, the epilogue
//! ```
//!
//! Sums go on from span to span, so spans do not change their order.

use core::ops::Range;

use super::windows::{Cut, Places, Source};
use crate::conv::weights::Panels;
use crate::epilogue::{Place, Steps};
use crate::isa::Isa;
use crate::micro::bytes::{NR, Taps};
use crate::micro::float::{
    FloatLine, HIGHEST, LINE, Seen, StripKernel, StripOperands, WIDEST, Widen,
};
use crate::packed::lines::Line;
use crate::packed::unpack::QUAD;
use crate::parallel::Outputs;
use crate::scratch::{FloatScratch, Scratch};
use crate::{PackedMatrix, Scale, select};

/// `k` of a span, at least 12 and a multiple of it: of triples, and of four columns that weights
/// are unpacked by. A strip of so many takes 48 KiB.
const SPAN: usize = 384;

/// Rows whose sums are held at a time.
const HELD: usize = 784;

/// Rows at a time where one span is all of `k`, and only places are held.
const PLACED: usize = 1024;

/// Activations that are copied at a time, at most, if a tile does not see more.
const COPIES: usize = 1 << 21;

/// The weights of a job.
#[derive(Clone, Copy)]
pub(crate) enum Strips<'a> {
    /// Levels, and what turns them into f32.
    Packed(&'a PackedMatrix, crate::packed::unpack::Unpack, Widen),
    /// f32, `[groups][strips][k][lines]`.
    #[cfg_attr(
        not(feature = "model"),
        expect(dead_code, reason = "networks alone have such weights")
    )]
    Plain(&'a [FloatLine]),
}

/// What does not change while a product runs.
pub(crate) struct Job<'a> {
    pub(crate) kernel: &'a StripKernel,
    /// What the epilogue runs on.
    pub(crate) isa: Isa,
    pub(crate) weights: Strips<'a>,
    pub(crate) source: Source<'a>,
    pub(crate) outputs: Outputs,
    /// Activations of a window, at least one.
    pub(crate) k: usize,
    pub(crate) epilogue: Option<&'a Scale<'a>>,
}

/// Some pieces, or a part of one.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    pieces: Range<usize>,
    within: Range<usize>,
    /// Columns of the weight.
    k: Range<usize>,
}

/// The spans of windows, as equal as possible.
fn spans(cut: Cut) -> impl Iterator<Item = Span> + Clone {
    let Cut { pieces, length, .. } = cut;
    let parts = length.div_ceil(SPAN);
    let part = length.div_ceil(parts).next_multiple_of(12);
    let most = (SPAN / length).max(1);
    let together = pieces.div_ceil(pieces.div_ceil(most));
    (0..pieces).step_by(together).flat_map(move |first| {
        (0..length).step_by(part).map(move |start| {
            let pieces = first..(first + together).min(pieces);
            let within = start..(start + part).min(length);
            let k = pieces.start * length + start..(pieces.end - 1) * length + within.end;
            Span { pieces, within, k }
        })
    })
}

impl Job<'_> {
    /// Computes the outputs `rows` of the channels of `blocks`, all of which `y` holds.
    pub(crate) fn part(
        &self,
        scratch: &mut Scratch,
        rows: Range<usize>,
        blocks: Range<usize>,
        y: &mut [f32],
    ) {
        let step = match self.weights {
            Strips::Packed(..) => 3,
            Strips::Plain(_) => 1,
        };
        let cut = Cut::new(&self.source, self.k, step);
        let spans = spans(cut);
        let is_one_span = spans.clone().nth(1).is_none();
        let held = if is_one_span { PLACED } else { HELD };
        let held = held.min((COPIES / self.k).max(HIGHEST));
        let taps = Taps::new(alloc::vec![0], self.k);
        let level_lines = Panels::lines(&taps);
        let (lines, floats) = match self.weights {
            Strips::Packed(w, ..) => (level_lines + Panels::plain_lines(w), (SPAN + 8) * WIDEST),
            Strips::Plain(_) => (0, 0),
        };
        let sums = if is_one_span {
            HIGHEST
        } else {
            held.min(rows.len())
        };
        let FloatScratch {
            lines,
            floats,
            places,
            copies,
        } = scratch.get_floats(lines, floats + sums * NR / LINE);
        let (floats, sums) = floats.split_at_mut(floats.len() - sums * NR / LINE);
        let mut places = Places { places, copies };
        let mut weights = match self.weights {
            Strips::Packed(w, unpack, widen) => {
                let (levels, plain) = lines.split_at_mut(level_lines);
                Weights::Packed {
                    panels: Panels::new(unpack, w, &taps, plain),
                    levels,
                    widen,
                    floats,
                }
            }
            Strips::Plain(strips) => Weights::Plain(strips),
        };
        let span = self.outputs.span(&blocks);
        for first in rows.clone().step_by(held) {
            let some = first..(first + held).min(rows.end);
            let y = &mut y[(first - rows.start) * span.len()..][..some.len() * span.len()];
            let mut left = blocks.clone().peekable();
            while let Some(&block) = left.peek() {
                let group = self.outputs.group(block);
                let seen = places.find(&self.source, &cut, some.clone(), group);
                while let Some(block) = left.next_if(|&block| self.outputs.group(block) == group) {
                    let spans = spans.clone();
                    self.block(&mut weights, seen, spans, sums, &some, block, &span, y);
                }
            }
        }
    }

    /// The outputs `rows` of the channels of `block`.
    #[expect(clippy::too_many_arguments, reason = "one caller, which names them")]
    fn block(
        &self,
        weights: &mut Weights<'_>,
        seen: Seen<'_>,
        spans: impl Iterator<Item = Span>,
        sums: &mut [FloatLine],
        rows: &Range<usize>,
        block: usize,
        channels: &Range<usize>,
        y: &mut [f32],
    ) {
        let outputs = &self.outputs;
        let channel = outputs.channel(block);
        let columns = outputs.columns(block);
        let lines = columns.div_ceil(LINE);
        let before = self.lines_before(block);
        weights.fill(channel, columns);
        for span in spans {
            let is_first = span.k.start == 0;
            let is_last = span.k.end == self.k;
            let apart = !(is_first && is_last);
            for line in (0..lines).step_by(self.kernel.lines) {
                let own = (lines - line).min(self.kernel.lines);
                let strip = weights.strip(before, self.k, &span.k, line, own);
                let most = self.kernel.rows[own - 1];
                let tiles = rows.len().div_ceil(most);
                for t in 0..tiles {
                    // Of as equal sizes as possible: a tile of one row loads weights for nothing.
                    let first = rows.len() * t / tiles;
                    let count = rows.len() * (t + 1) / tiles - first;
                    let at = if apart {
                        line * rows.len() + first * own
                    } else {
                        0
                    };
                    let sums = &mut sums[at..at + count * own];
                    let operands = StripOperands {
                        seen: seen.rows(first, count),
                        pieces: &span.pieces,
                        within: &span.within,
                        strip,
                        lines: own,
                        fresh: is_first,
                    };
                    (self.kernel.run)(&operands, sums);
                    if is_last {
                        let row = rows.start + first;
                        let column = channel + LINE * line;
                        let place = Place {
                            column,
                            columns: (columns - LINE * line).min(LINE * own),
                            whole: Steps {
                                first: row * outputs.channels() + column,
                                step: outputs.channels(),
                            },
                            slice: Steps {
                                first: first * channels.len() + column - channels.start,
                                step: channels.len(),
                            },
                        };
                        store(self.isa, self.epilogue, sums, own, &place, y);
                    }
                }
            }
        }
    }

    /// Lines of outputs before those of `block`.
    fn lines_before(&self, block: usize) -> usize {
        let outputs = &self.outputs;
        let group = outputs.group(block);
        let within = outputs.channel(block) - group * outputs.group_out;
        group * outputs.group_out.div_ceil(LINE) + within / LINE
    }
}

/// Stores the outputs of sums, `lines` lines a row.
pub(super) fn store(
    isa: Isa,
    epilogue: Option<&Scale<'_>>,
    sums: &[FloatLine],
    lines: usize,
    place: &Place,
    y: &mut [f32],
) {
    match epilogue {
        Some(epilogue) => select::store_floats(isa, epilogue, sums, lines, place, y),
        None => {
            for (r, row) in sums.chunks_exact(lines).enumerate() {
                let y = y[place.stored(r)].chunks_mut(LINE);
                for (line, y) in row.iter().zip(y) {
                    y.copy_from_slice(&line.0[..y.len()]);
                }
            }
        }
    }
}

/// The weights of one block.
enum Weights<'a> {
    Packed {
        panels: Panels<'a>,
        levels: &'a mut [Line],
        widen: Widen,
        floats: &'a mut [FloatLine],
    },
    Plain(&'a [FloatLine]),
}

impl Weights<'_> {
    /// Takes `columns` outputs from `channel` on.
    fn fill(&mut self, channel: usize, columns: usize) {
        if let Weights::Packed { panels, levels, .. } = self {
            panels.fill(channel, columns, levels);
        }
    }

    /// The weights of the columns `k`, of `lines` lines of outputs from `line` on.
    fn strip(
        &mut self,
        before: usize,
        all: usize,
        k: &Range<usize>,
        line: usize,
        lines: usize,
    ) -> &[FloatLine] {
        match self {
            Weights::Packed {
                levels,
                widen,
                floats,
                ..
            } => {
                let quads = k.start / 4..k.end.div_ceil(4);
                let floats = &mut floats[..quads.len() * 4 * lines];
                widen(
                    &levels[quads.start * QUAD..quads.end * QUAD],
                    line,
                    lines,
                    floats,
                );
                &floats[k.start % 4 * lines..][..k.len() * lines]
            }
            Weights::Plain(strips) => {
                let strip = &strips[(before + line) * all..][..all * lines];
                &strip[k.start * lines..k.end * lines]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConvShape;
    use crate::conv::geometry::Geometry;

    #[test]
    fn spans_are_all_of_k_one_after_the_other() {
        for (k, pieces) in [
            (1, 1),
            (12, 1),
            (193, 1),
            (576, 3),
            (27, 9),
            (1000, 40),
            (4608, 3),
        ] {
            let shape = ConvShape {
                height: pieces,
                kernel_h: pieces,
                in_channels: k / pieces,
                ..ConvShape::default()
            };
            let geometry = Geometry::new(&shape).unwrap();
            let cut = Cut::new(&Source::Images(&[], &geometry), k, 1);
            assert_eq!((cut.pieces, cut.length), (pieces, k / pieces));
            let mut at = 0;
            for span in spans(cut) {
                assert_eq!(span.k.start, at, "{k} {pieces}");
                assert_eq!(span.k.len(), span.pieces.len() * span.within.len());
                assert!(span.k.len() <= SPAN, "{span:?}");
                at = span.k.end;
            }
            assert_eq!(at, k);
        }
    }
}
