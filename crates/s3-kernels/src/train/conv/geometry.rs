//! What the three passes of a convolution read and write, in one vocabulary.
//!
//! Forward and backward-input are the same computation, a [`Pass`]: outputs on a grid, each the sum
//! over *taps* of (input pixel × weight matrix). The input of a pass is copied, image by image and
//! strip of rows by strip, into a padded scratch of 16-channel blocks (see [`super::pack`]).
//!
//! * Forward has one grid, the output. Columns are stored by their remainder modulo the stride, so
//!   that neighbouring outputs always read neighbouring blocks. Where the input has few channels
//!   (the first layer), the kernel's columns are folded into channels: pixel `ow` of the scratch
//!   holds the `kernel_w·c_in` inputs under the window, and the taps are the kernel's rows.
//! * Backward-input has `stride²` grids, the phases of `dx`. With `a = (h + p) mod s` a pixel of
//!   row `h` receives from the kernel rows `a, a + s, ..`, that is from `dy` rows
//!   `(h + p - a)/s - m`, `m = 0, 1, ..`.
//! * Backward-weight reads the scratch of forward.

use crate::error::Error;
use crate::shape::ConvShape;
use crate::train::simd::{LANES, Operand};

/// Below this many input channels, kernel columns become channels.
const FOLD_BELOW: usize = 8;

/// Blocks of scratch that a strip of rows may take: 1 MiB, half of a common second-level cache.
const STRIP_BLOCKS: usize = 16 * 1024;

/// How the input of a pass lies in scratch.
#[derive(Clone, Debug)]
pub(super) struct InputLayout {
    /// Height, width and channels of the image.
    pub(super) image: [usize; 3],
    /// Image row and column of the scratch's first, usually negative.
    pub(super) origin: [isize; 2],
    /// What a lane of scratch holds: one channel, or two neighbours.
    pub(super) lane: Operand,
    /// Columns are kept apart by their remainder modulo this.
    pub(super) phases: usize,
    /// Scratch columns of one remainder.
    pub(super) cols: usize,
    /// Where kernel columns are folded in: (their number, image columns between neighbours).
    pub(super) fold: Option<[usize; 2]>,
    /// Image rows between the first scratch rows of neighbouring grid rows.
    pub(super) row_step: usize,
    /// Scratch rows that a grid row reaches, its own included.
    pub(super) reach: usize,
}

impl InputLayout {
    /// Elements of a pixel in scratch.
    pub(super) fn elements(&self) -> usize {
        self.image[2] * self.fold.map_or(1, |[kernel_w, _]| kernel_w)
    }

    /// Lanes of a pixel in scratch: its channels, or pairs of them.
    pub(super) fn channels(&self) -> usize {
        self.elements().div_ceil(self.lane.elements())
    }

    /// Channel blocks in scratch.
    pub(super) fn channel_blocks(&self) -> usize {
        self.channels().div_ceil(LANES)
    }

    /// Blocks of one scratch row of one channel block.
    pub(super) fn row_blocks(&self) -> usize {
        self.phases * self.cols
    }

    /// Scratch rows that `grid_rows` rows of a grid need.
    pub(super) fn rows(&self, grid_rows: usize) -> usize {
        (grid_rows - 1) * self.row_step + self.reach
    }

    /// Blocks that `grid_rows` rows of a grid need.
    pub(super) fn blocks(&self, grid_rows: usize) -> usize {
        self.rows(grid_rows) * self.row_blocks() * self.channel_blocks()
    }

    /// The tap rows, from and to, at which grid row `row` reads the image; at others are zeros.
    pub(super) fn inside_rows(&self, row: usize) -> [usize; 2] {
        let first = self.origin[0] + (row * self.row_step) as isize;
        [0, self.image[0] as isize].map(|edge| (edge - first).max(0) as usize)
    }

    /// The columns, from and to, of remainder `phase` that hold image columns.
    pub(super) fn phase_cols(&self, phase: usize) -> [usize; 2] {
        let (first, step) = (self.origin[1] + phase as isize, self.phases as isize);
        let count = |limit: isize| ((limit - first + step - 1).max(0) / step) as usize;
        let end = count(self.image[1] as isize).min(self.cols);
        [count(0).min(end), end]
    }

    /// The blocks of a scratch row, from and to, that hold image columns, among those of the same
    /// remainder as block `at`.
    fn inside_cols(&self, at: usize) -> [usize; 2] {
        let phase = at / self.cols;
        match self.fold {
            None => self.phase_cols(phase).map(|col| phase * self.cols + col),
            Some(_) => [0, self.cols],
        }
    }

    /// What of `input`, whole images, is packed for `grid_rows` rows from `start` on, roughly: from
    /// the last row on that is, it reaches into the next image.
    pub(super) fn upcoming<'a, T>(
        &self,
        input: &'a [T],
        start: usize,
        grid_rows: usize,
    ) -> &'a [T] {
        let row = self.row_step * self.image[1] * self.image[2];
        let rest = &input[(start * row).min(input.len())..];
        &rest[..(grid_rows * row).min(rest.len())]
    }

    /// The most grid rows, of `of`, whose scratch stays in cache.
    pub(super) fn strip(&self, of: usize) -> usize {
        let row = (self.row_blocks() * self.channel_blocks()).max(1);
        let rows = (STRIP_BLOCKS / row).saturating_sub(self.reach) / self.row_step + 1;
        of.div_ceil(of.div_ceil(rows).max(1)).max(1)
    }
}

/// One tap: where it reads relative to a grid pixel, and which weight matrix it applies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// Scratch row and block within the row.
    pub(super) at: [usize; 2],
    /// Index of the weight matrix.
    pub(super) weight: usize,
}

/// Up to three taps that a tile applies together, because they read neighbouring blocks: a
/// broadcast input then serves as many outputs as there are taps.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapGroup {
    /// Scratch row and block within the row of the first tap; the others follow block by block.
    pub(super) at: [usize; 2],
    /// Blocks of a scratch row, from and to, that hold image columns; around them are zeros.
    pub(super) inside: [usize; 2],
    /// Their number, and their weight matrices.
    pub(super) count: usize,
    pub(super) weights: [usize; 3],
}

/// Groups taps in threes and twos where they are neighbours, in reading order. Not where lanes hold
/// pairs: a sum of pairs takes too long for the next tap to follow so soon.
fn group(taps: &[Tap], input: &InputLayout) -> Vec<TapGroup> {
    let most = match input.lane {
        Operand::F32 => 3,
        Operand::Bf16Pair | Operand::Bf16Matrix => 1,
    };
    let mut taps = taps.to_vec();
    taps.sort_by_key(|tap| tap.at);
    let mut groups: Vec<TapGroup> = Vec::new();
    for Tap { at, weight } in taps {
        let phase = at[1] / input.cols;
        match groups.last_mut() {
            Some(last)
                if last.count < most
                    && at == [last.at[0], last.at[1] + last.count]
                    && phase == last.at[1] / input.cols =>
            {
                last.weights[last.count] = weight;
                last.count += 1;
            }
            _ => groups.push(TapGroup {
                at,
                inside: input.inside_cols(at[1]),
                count: 1,
                weights: [weight; 3],
            }),
        }
    }
    groups
}

/// The same taps, each on its own, but for threes where `threes`.
pub(super) fn ungroup(groups: &[TapGroup], threes: bool) -> Vec<TapGroup> {
    let mut taps = Vec::new();
    for &group in groups {
        if threes && group.count == 3 {
            taps.push(group);
            continue;
        }
        for (k, &weight) in group.weights[..group.count].iter().enumerate() {
            taps.push(TapGroup {
                at: [group.at[0], group.at[1] + k],
                count: 1,
                weights: [weight; 3],
                ..group
            });
        }
    }
    taps
}

impl Pass {
    /// What a lane of the input holds.
    pub(in crate::train) fn lane(&self) -> Operand {
        self.input.lane
    }
}

/// Output pixels that share their taps.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Offset of pixel (0, 0), and steps from row to row and column to column, in pixels.
    pub(super) place: [usize; 3],
    /// Its taps; without any, its outputs are zeros.
    pub(super) groups: Vec<TapGroup>,
}

/// Forward or backward-input.
#[derive(Clone, Debug)]
pub struct Pass {
    pub(super) input: InputLayout,
    pub(super) grids: Vec<Grid>,
    /// Pixels of an output image.
    pub(super) out_pixels: usize,
    pub(super) out_channels: usize,
    pub(super) weights: WeightMap,
}

/// Where weight matrix `t`, row `d` (the summed channel), lane `l` lies in the OIHW weight:
/// `lane_step·l + depth[d] + tap[t]`.
#[derive(Clone, Debug)]
pub(super) struct WeightMap {
    /// What a lane of packed weights holds: the weight of one depth, or of two.
    pub(super) lane: Operand,
    pub(super) lanes: usize,
    pub(super) lane_step: usize,
    pub(super) depth: Vec<usize>,
    pub(super) tap: Vec<usize>,
}

/// The forward pass of `shape`, which [`super::check`] accepted.
pub(super) fn forward(shape: &ConvShape, lane: Operand) -> Result<Pass, Error> {
    let (rows, cols) = (shape.out_height()?, shape.out_width()?);
    let (kh, kw, c_in) = (shape.kernel_h, shape.kernel_w, shape.in_channels);
    let area = kh * kw;
    let folded = c_in < FOLD_BELOW && kw > 1;
    let phases = if folded { 1 } else { shape.stride };
    let input = InputLayout {
        image: [shape.height, shape.width, c_in],
        origin: [-(shape.padding as isize); 2],
        lane,
        phases,
        cols: if folded {
            cols
        } else {
            cols + (kw - 1) / phases
        },
        fold: folded.then_some([kw, shape.stride]),
        row_step: shape.stride,
        reach: kh,
    };
    let (taps, weights) = if folded {
        let taps: Vec<Tap> = (0..kh)
            .map(|k| Tap {
                at: [k, 0],
                weight: k,
            })
            .collect();
        let depth = (0..kw * c_in).map(|d| d % c_in * area + d / c_in).collect();
        (taps, (depth, (0..kh).map(|k| k * kw).collect()))
    } else {
        let taps: Vec<Tap> = (0..area)
            .map(|t| {
                let (row, col) = (t / kw, t % kw);
                Tap {
                    at: [row, col % phases * input.cols + col / phases],
                    weight: t,
                }
            })
            .collect();
        (
            taps,
            ((0..c_in).map(|c| c * area).collect(), (0..area).collect()),
        )
    };
    let groups = group(&taps, &input);
    Ok(Pass {
        input,
        grids: vec![Grid {
            size: [rows, cols],
            place: [0, cols, 1],
            groups,
        }],
        out_pixels: rows * cols,
        out_channels: shape.out_channels,
        weights: WeightMap {
            lane,
            lanes: shape.out_channels,
            lane_step: c_in * area,
            depth: weights.0,
            tap: weights.1,
        },
    })
}

/// The pass from `dy` to `dx`.
pub(super) fn backward_input(shape: &ConvShape, lane: Operand) -> Result<Pass, Error> {
    let image = [shape.out_height()?, shape.out_width()?, shape.out_channels];
    let area = shape.kernel_h * shape.kernel_w;
    let lines = [
        phase_lines(shape, shape.height, shape.kernel_h),
        phase_lines(shape, shape.width, shape.kernel_w),
    ];
    // dy row -reach + 1 is the first that a tap can ask for.
    let reach = [shape.kernel_h, shape.kernel_w].map(|k| k.div_ceil(shape.stride));
    let top = |axis: usize| lines[axis].iter().map(|l| l.base).max().unwrap_or(0);
    let widest = lines[1].iter().map(|l| l.base + l.count).max().unwrap_or(0);
    let input = InputLayout {
        image,
        origin: reach.map(|r| 1 - r as isize),
        lane,
        phases: 1,
        cols: widest + reach[1],
        fold: None,
        row_step: 1,
        reach: top(0) + reach[0],
    };
    let mut grids = Vec::new();
    for rows in &lines[0] {
        for cols in &lines[1] {
            let mut taps = Vec::new();
            for (i, &kh) in rows.kernel.iter().enumerate() {
                for (j, &kw) in cols.kernel.iter().enumerate() {
                    let at = [rows.base + reach[0] - 1 - i, cols.base + reach[1] - 1 - j];
                    taps.push(Tap {
                        at,
                        weight: kh * shape.kernel_w + kw,
                    });
                }
            }
            grids.push(Grid {
                size: [rows.count, cols.count],
                place: [
                    rows.first * shape.width + cols.first,
                    shape.stride * shape.width,
                    shape.stride,
                ],
                groups: group(&taps, &input),
            });
        }
    }
    Ok(Pass {
        input,
        grids,
        out_pixels: shape.height * shape.width,
        out_channels: shape.in_channels,
        weights: WeightMap {
            lane,
            lanes: shape.in_channels,
            lane_step: area,
            depth: (0..shape.out_channels)
                .map(|o| o * shape.in_channels * area)
                .collect(),
            tap: (0..area).collect(),
        },
    })
}

/// The rows (or columns) of `dx` of one phase.
struct Line {
    /// The first, and how many.
    first: usize,
    count: usize,
    /// `(first + padding - phase) / stride`: the `dy` row that kernel row `phase` pairs with
    /// `first`.
    base: usize,
    /// Kernel rows of the phase.
    kernel: Vec<usize>,
}

fn phase_lines(shape: &ConvShape, length: usize, kernel: usize) -> Vec<Line> {
    let stride = shape.stride;
    (0..stride)
        .map(|phase| {
            let first = (phase + stride - shape.padding % stride) % stride;
            Line {
                first,
                count: length.saturating_sub(first).div_ceil(stride),
                base: (first + shape.padding - phase) / stride,
                kernel: (phase..kernel).step_by(stride).collect(),
            }
        })
        .filter(|line| line.count > 0)
        .collect()
}
