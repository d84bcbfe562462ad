//! f32 convolution of channels that do not see each other: vectors of channels, tap by tap.
//!
//! A product with a level is exact, so whether it is a multiplication or a shift makes no
//! difference.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::conv::depthwise::one_to_one;
use crate::conv::geometry::Geometry;
use crate::micro::loops::Strip;
use crate::parallel::Outputs;
use crate::{PackedMatrix, Scale, select};

/// Pixels of one call.
const STRIP: usize = 16;

/// Values of bordered images that are held at a time, where one image is not more.
const IMAGES: usize = 1 << 20;

/// Whether `geometry` is a convolution for this module.
pub(crate) fn serves(geometry: &Geometry) -> bool {
    crate::conv::depthwise::serves(geometry) && geometry.is_compact()
}

/// Convolves; the arguments are checked, `y` is not empty and [`serves`] holds.
pub(crate) fn run(
    isa: crate::Isa,
    w: &PackedMatrix,
    x: &[f32],
    geometry: &Geometry,
    epilogue: Option<&Scale<'_>>,
    y: &mut [f32],
) {
    let (x, geometry) = one_to_one(x, geometry);
    let channels = geometry.shape.out_channels;
    let taps = geometry.offsets();
    let levels = w.to_levels();
    let mut weights = vec![0.0; levels.len()];
    for (n, levels) in levels.chunks_exact(taps.len()).enumerate() {
        for (tap, &level) in levels.iter().enumerate() {
            weights[tap * channels + n] = f32::from(level);
        }
    }
    let outputs = Outputs {
        rows: geometry.rows,
        groups: 1,
        group_out: channels,
    };
    outputs.for_each_part(taps.len(), 0, y, |rows, _, y| {
        part(isa, &x, &geometry, &taps, &weights, epilogue, rows, y);
    });
}

/// The output rows `rows`, which `y` holds.
#[expect(clippy::too_many_arguments, reason = "one caller, which names them")]
fn part(
    isa: crate::Isa,
    x: &[f32],
    geometry: &Geometry,
    taps: &[usize],
    weights: &[f32],
    epilogue: Option<&Scale<'_>>,
    rows: Range<usize>,
    y: &mut [f32],
) {
    let channels = geometry.shape.out_channels;
    let mut bordered: Vec<f32> = Vec::new();
    for (images, part) in geometry.parts(rows.clone(), IMAGES) {
        bordered.resize(images.len() * geometry.image, 0.0);
        geometry.copy_bordered(x, images.clone(), 0.0, |x| x, &mut bordered);
        let mut windows = geometry.windows(part.start, images.start);
        for first in part.clone().step_by(STRIP) {
            let count = (part.end - first).min(STRIP);
            let mut offsets = [0; STRIP];
            offsets[..count].fill_with(|| windows.next());
            let strip = Strip {
                x: &bordered,
                windows: &offsets[..count],
                taps,
                weights,
                channels,
            };
            let y = &mut y[(first - rows.start) * channels..][..count * channels];
            select::float_depthwise(isa, &strip, y);
            if let Some(epilogue) = epilogue {
                for (r, y) in y.chunks_exact_mut(channels).enumerate() {
                    let sums = y.to_vec();
                    epilogue.of_sums(&sums, 0, (first + r) * channels, y);
                }
            }
        }
    }
}
