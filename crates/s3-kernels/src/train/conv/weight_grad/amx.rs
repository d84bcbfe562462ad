//! Backward-weight of a convolution with stride 1 in matrix registers.
//!
//! The sum runs over pixels, two at a time as in [`super::bf16`]: pairs of one image's rows, one
//! row after the other, are one long sum. Activations are transposed, a row of pairs for each
//! channel; a tap row lower reads them a row of pairs later. Gradients are paired once for each tap
//! column, shifted by it, and zero where they meet padding:
//!
//! ```text
//! X[c][i]      = (x[2i], x[2i+1])               over all rows that a tap reads, zero outside
//! G[s][i]      = (dy[2i - s], dy[2i + 1 - s])   s: the tap's column less the padding
//! dw[kh][s][c] = Σ_i X[c][i + kh·pairs of a row] · G[s][i]
//! ```
//!
//! So every (channel block, tap row) is an operand, every (lane block, tap column) another, and the
//! gradient all their products, two by two. Rows outside the image are multiplied too, as zeros.

#![allow(
    clippy::needless_range_loop,
    reason = "one index walks several arrays, as in the tiles of vectors"
)]

use crate::train::arch::{FULL, Registers, Stored, Sum};
use crate::train::conv::geometry::Pass;
use crate::train::scratch::Block;
use crate::train::simd::{LANES, Simd, Task};

/// Blocks of scratch that a strip of rows may take: 1 MiB, half of a common second-level cache.
const STRIP_BLOCKS: usize = 16 * 1024;

/// Where operands lie; counts of pairs are lanes of `X` and blocks of `G`.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Pairs of an image row.
    pairs: usize,
    /// Tap rows and columns.
    kernel: [usize; 2],
    padding: usize,
    /// Height, width and channels of the activations and of the gradients.
    x: [usize; 3],
    dy: [usize; 3],
}

impl Layout {
    fn new(pass: &Pass) -> Self {
        let input = &pass.input;
        let [rows, cols] = pass.grids[0].size;
        Layout {
            pairs: input.image[1].div_ceil(2),
            kernel: [input.reach, pass.weights.tap.len() / input.reach],
            padding: input.origin[1].unsigned_abs(),
            x: input.image,
            dy: [rows, cols, pass.out_channels],
        }
    }

    /// Blocks of a channel of `X` for `rows` gradient rows: odd, so that channels meet in no cache
    /// set.
    fn channel(&self, rows: usize) -> usize {
        let lanes = (rows + self.kernel[0] - 1) * self.pairs;
        lanes.div_ceil(LANES) | 1
    }

    fn x_blocks(&self, rows: usize) -> usize {
        self.x[2].div_ceil(LANES) * LANES * self.channel(rows)
    }

    fn dy_blocks(&self, rows: usize) -> usize {
        self.dy[2].div_ceil(LANES) * self.kernel[1] * rows * self.pairs
    }

    /// The most gradient rows whose operands stay in cache.
    fn strip(&self) -> usize {
        let fits = |rows: usize| self.x_blocks(rows) + self.dy_blocks(rows) <= STRIP_BLOCKS;
        (1..=self.dy[0]).rev().find(|&rows| fits(rows)).unwrap_or(1)
    }
}

/// Whether these products serve the forward pass `pass`, with single channels.
pub(super) fn serves(pass: &Pass) -> bool {
    let input = &pass.input;
    input.phases == 1 && input.row_step == 1 && input.fold.is_none()
}

/// The sums over images, in packed layout.
pub(super) struct Sums<'a, T> {
    pub(super) pass: &'a Pass,
    /// Whole images.
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dw: &'a mut [Block],
    /// [`blocks`] of it.
    pub(super) scratch: &'a mut [Block],
}

/// Blocks of scratch for the sums over images.
pub(super) fn blocks(pass: &Pass) -> usize {
    let layout = Layout::new(pass);
    let strip = layout.strip();
    layout.x_blocks(strip) + layout.dy_blocks(strip)
}

impl<T: Stored> Task for Sums<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layout = Layout::new(self.pass);
        let [x_len, dy_len] = [layout.x, layout.dy].map(|[h, w, c]| h * w * c);
        let strip = layout.strip();
        let mut registers = Registers::new();
        let mut add = false;
        let (x_scratch, dy_scratch) = self.scratch.split_at_mut(layout.x_blocks(strip));
        for (x, dy) in self.x.chunks(x_len).zip(self.dy.chunks(dy_len)) {
            for start in (0..layout.dy[0]).step_by(strip) {
                let rows = strip.min(layout.dy[0] - start);
                let x_scratch = &mut x_scratch[..layout.x_blocks(rows)];
                let dy_scratch = &mut dy_scratch[..layout.dy_blocks(rows)];
                pack_x(simd, &layout, x, [start, rows], x_scratch);
                pack_dy(simd, &layout, dy, [start, rows], dy_scratch);
                let product = Product {
                    layout: &layout,
                    rows,
                    x: x_scratch,
                    dy: dy_scratch,
                    taps: self.pass.weights.tap.len(),
                    panel: self.pass.weights.panel_blocks(),
                };
                product.run(&mut registers, self.dw, add);
                add = true;
            }
        }
    }
}

/// `X` of gradient rows `start..start + rows` of one image.
#[inline(always)]
fn pack_x<S: Simd, T: Stored>(
    simd: S,
    layout: &Layout,
    image: &[T],
    [start, rows]: [usize; 2],
    to: &mut [Block],
) {
    let [height, width, channels] = layout.x;
    let step = layout.channel(rows);
    for (block, to) in to.chunks_exact_mut(LANES * step).enumerate() {
        let first = block * LANES;
        // The pair that comes next.
        let (mut row, mut pair) = (0, 0);
        for group in 0..step {
            let mut pairs = [simd.splat(0.0); LANES];
            for to in &mut pairs {
                let from = (start + row).wrapping_sub(layout.padding);
                if from < height {
                    let line = &image[from * width * channels..][..width * channels];
                    let cols = [2 * pair, 2 * pair + 1];
                    *to = paired(simd, line, cols, [width, channels], first);
                }
                pair += 1;
                if pair == layout.pairs {
                    (row, pair) = (row + 1, 0);
                }
            }
            for (channel, pairs) in simd.transpose(pairs).into_iter().enumerate() {
                simd.store(pairs, &mut to[channel * step + group].0);
            }
        }
    }
}

/// `G` of rows `start..start + rows` of one image.
#[inline(always)]
fn pack_dy<S: Simd, T: Stored>(
    simd: S,
    layout: &Layout,
    image: &[T],
    [start, rows]: [usize; 2],
    to: &mut [Block],
) {
    let [_, width, channels] = layout.dy;
    let lines = to.chunks_exact_mut(layout.pairs);
    for (i, to) in lines.enumerate() {
        let (operand, row) = (i / rows, i % rows);
        let (block, tap) = (operand / layout.kernel[1], operand % layout.kernel[1]);
        let line = &image[(start + row) * width * channels..][..width * channels];
        for (i, to) in to.iter_mut().enumerate() {
            let col = (2 * i + layout.padding).wrapping_sub(tap);
            let cols = [col, col.wrapping_add(1)];
            let pairs = paired(simd, line, cols, [width, channels], block * LANES);
            simd.store(pairs, &mut to.0);
        }
    }
}

/// Sixteen channels, from `first` on, of two pixels of a row; zeros for a pixel outside it. Lanes
/// past the last channel are unspecified.
#[inline(always)]
fn paired<S: Simd, T: Stored>(
    simd: S,
    line: &[T],
    cols: [usize; 2],
    [width, channels]: [usize; 2],
    first: usize,
) -> S::F {
    let low = pixel(line, cols[0], [width, channels], first);
    let high = pixel(line, cols[1], [width, channels], first);
    let mut pairs = [0.0; LANES];
    for l in 0..LANES {
        pairs[l] = T::pair(low[l], high[l]);
    }
    simd.load(&pairs)
}

/// One of the two.
#[inline(always)]
fn pixel<T: Stored>(
    line: &[T],
    col: usize,
    [width, channels]: [usize; 2],
    first: usize,
) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    if col >= width {
        return lanes;
    }
    let from = &line[col * channels + first..];
    match from.first_chunk() {
        Some(full) => return *full,
        None => lanes[..from.len()].copy_from_slice(from),
    }
    lanes
}

/// The products of one strip of one image.
struct Product<'a> {
    layout: &'a Layout,
    rows: usize,
    x: &'a [Block],
    dy: &'a [Block],
    taps: usize,
    /// Blocks of the sums of one lane block.
    panel: usize,
}

impl Product<'_> {
    #[inline(always)]
    fn run(&self, registers: &mut Registers, dw: &mut [Block], add: bool) {
        let Layout { kernel, x, dy, .. } = *self.layout;
        let operands = [
            x[2].div_ceil(LANES) * kernel[0],
            dy[2].div_ceil(LANES) * kernel[1],
        ];
        for b in (0..operands[1]).step_by(2) {
            for a in (0..operands[0]).step_by(2) {
                match (operands[0] - a, operands[1] - b) {
                    (1, 1) => self.products(registers, [a], [b], dw, add),
                    (1, _) => self.products(registers, [a], [b, b + 1], dw, add),
                    (_, 1) => self.products(registers, [a, a + 1], [b], dw, add),
                    _ => self.products(registers, [a, a + 1], [b, b + 1], dw, add),
                }
            }
        }
    }

    #[inline(always)]
    fn products<const A: usize, const B: usize>(
        &self,
        registers: &mut Registers,
        a: [usize; A],
        b: [usize; B],
        dw: &mut [Block],
        mut add: bool,
    ) {
        let layout = self.layout;
        let channel = layout.channel(self.rows);
        let all = self.rows * layout.pairs;
        let a_at = a.map(|a| {
            let (block, row) = (a / layout.kernel[0], a % layout.kernel[0]);
            (&self.x[block * LANES * channel..], row * layout.pairs)
        });
        let b_at = b.map(|b| &self.dy[b * all..][..all]);
        // Of one operand `a` or `b` the other places are empty.
        let mut places = [const { 0..0 }; 4];
        for i in 0..A {
            for j in 0..B {
                let (block, row) = (a[i] / layout.kernel[0], a[i] % layout.kernel[0]);
                let (lanes, col) = (b[j] / layout.kernel[1], b[j] % layout.kernel[1]);
                let tap = block * self.taps + row * layout.kernel[1] + col;
                let from = lanes * self.panel + tap * LANES;
                places[2 * i + j] = from..from + FULL;
            }
        }
        let mut c = dw
            .get_disjoint_mut(places)
            .expect("each product has a place of its own");
        let full = all / FULL;
        for (steps, depth) in [(0..full, FULL), (full..full + 1, all % FULL)] {
            if steps.is_empty() || depth == 0 {
                continue;
            }
            let mut sum = Sum::<A, B>::new([FULL; A], channel, depth);
            for step in steps {
                if sum.is_full() {
                    sum.finish(registers, c.each_mut().map(|c| &mut **c), add);
                    add = true;
                }
                let from = step * FULL;
                sum.push(
                    a_at.map(|(x, lane)| (x, lane + from)),
                    b_at.map(|dy| &dy[from..]),
                );
            }
            sum.finish(registers, c.each_mut().map(|c| &mut **c), add);
            add = true;
        }
    }
}
