//! Which loops compute the sums: by tiles, by tables, or number by number.

use alloc::vec;
use core::ops::Range;

use super::strips::{self, Strips};
use super::windows::Source;
use super::{scalar, tables};
use crate::micro::bytes::NR;
use crate::micro::float::{FloatKernel, How};
use crate::parallel::Outputs;
use crate::scratch::with_scratch;
use crate::{PackedMatrix, Scale};

/// Rows from which on threads share them: with fewer, the time to unpack weights counts.
const MANY: usize = 64;

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
    let (isa, unpack, k) = (kernel.isa, kernel.unpack, w.cols());
    outputs.for_each_part(k, MANY, y, |rows, blocks, y| match &kernel.how {
        How::Strip(kernel, widen) if k > 0 => {
            let job = strips::Job {
                kernel,
                isa,
                weights: Strips::Packed(w, unpack, *widen),
                source: *source,
                outputs,
                k,
                epilogue,
            };
            with_scratch(|scratch| job.part(scratch, rows, blocks, y));
        }
        How::Table(kernel) if k > 0 => {
            let job = tables::Job {
                kernel,
                isa,
                unpack,
                w,
                source: *source,
                outputs,
                epilogue,
            };
            with_scratch(|scratch| job.part(scratch, rows, blocks, y));
        }
        _ => by_definition(w, source, outputs, epilogue, (rows, blocks), y),
    });
}

/// Weight by weight, on levels.
fn by_definition(
    w: &PackedMatrix,
    source: &Source<'_>,
    outputs: Outputs,
    epilogue: Option<&Scale<'_>>,
    (rows, blocks): (Range<usize>, Range<usize>),
    y: &mut [f32],
) {
    let k = w.cols();
    let span = outputs.span(&blocks);
    let levels = w.to_levels();
    let mut x = vec![0.0; k];
    for block in blocks {
        let (channel, columns) = (outputs.channel(block), outputs.columns(block));
        let levels = &levels[channel * k..][..columns * k];
        for row in rows.clone() {
            let mut sums = [0.0; NR];
            let sums = &mut sums[..columns];
            source.copy(row, outputs.group(block), &mut x);
            scalar::row(&x, w.bit_width().t(), levels, sums);
            let y = &mut y[(row - rows.start) * span.len() + channel - span.start..][..columns];
            match epilogue {
                None => y.copy_from_slice(sums),
                Some(epilogue) => {
                    epilogue.of_sums(sums, channel, row * outputs.channels() + channel, y);
                }
            }
        }
    }
}
