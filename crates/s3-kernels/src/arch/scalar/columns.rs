//! Products in plain Rust for CPUs with a multiplier: loops that compilers make vectors of.
//!
//! ```text
//! for each four columns of weights, each 64 outputs n:
//!     for each row r of activations: sum[r][n] += x[r][0] w[0][n] + .. + x[r][3] w[3][n]
//! ```
//!
//! Weights lie column by column, `[4][64]` bytes for each quad of columns, so that neighbouring
//! outputs are neighbouring lanes and an activation is the same in all of them. A loop over the
//! outputs that keeps its sums in memory becomes vectors on every target that has them, at any
//! register width; sums in registers do so only where the compiler happens to see it. Small weights
//! are summed in i16, twice as many lanes, for as long as the sums fit.

use super::unpack;
use crate::arch::{as_bytes, bytes_of, products_in_i16};
use crate::isa::Isa;
use crate::micro::bytes::{
    AccRow, DepthwiseKernel, MR, Microkernel, NR, Operands, panel_lines, position,
};
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::code::BitWidth;
use crate::packed::lines::{Line, PANEL, STEP};

/// Four columns of 64 outputs, one byte a level.
pub(super) type Quad = [Line; 4];

/// The microkernel of convolutions and of products of u8 activations.
pub(crate) const MICROKERNEL: Microkernel = Microkernel {
    name: "scalar-u8s8-columns",
    isa: Isa::Scalar,
    available: || true,
    unpack: super::unpack::unpack,
    depthwise: &DEPTHWISE,
    order,
    run,
};

/// The tile of convolutions whose channels do not see each other.
pub(crate) const DEPTHWISE: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Scalar,
    unpack: super::unpack::unpack,
    run: depthwise,
};

/// What the bytes of activations stand for: `(byte ^ flip) - offset`, the former as u8.
#[derive(Clone, Copy)]
struct Value {
    flip: u8,
    offset: i16,
}

impl Value {
    /// The bytes of i8.
    const SIGNED: Value = Value {
        flip: 0x80,
        offset: 128,
    };

    #[inline(always)]
    fn of(self, byte: u8) -> i16 {
        i16::from(byte ^ self.flip) - self.offset
    }
}

/// What sums are taken in. Lanes that do not count may wrap.
trait Lane: Copy + Default + Into<i32> {
    /// `self` plus four products, each of at most 255 and 64.
    fn plus(self, x: &[i16; 4], w: [i16; 4]) -> Self;
}

impl Lane for i16 {
    #[inline(always)]
    fn plus(self, x: &[i16; 4], w: [i16; 4]) -> i16 {
        let products = x.iter().zip(w).map(|(x, w)| x.wrapping_mul(w));
        products.fold(self, i16::wrapping_add)
    }
}

impl Lane for i32 {
    /// Two products fit i16.
    #[inline(always)]
    fn plus(self, x: &[i16; 4], w: [i16; 4]) -> i32 {
        let pair = |i: usize| {
            let sum = x[i].wrapping_mul(w[i]);
            i32::from(sum.wrapping_add(x[i + 1].wrapping_mul(w[i + 1])))
        };
        self.wrapping_add(pair(0)).wrapping_add(pair(2))
    }
}

/// From the order of [`crate::packed::unpack`] to columns: each quad becomes a [`Quad`].
fn order(panel: &mut [Line]) {
    for quad in panel.as_chunks_mut::<4>().0 {
        let from = *quad;
        let [a, b, c, d] = quad.each_mut().map(|line| &mut line.0[..]);
        unpack::transpose(bytes_of(&from).as_chunks().0, a, b, c, d);
    }
}

fn run(operands: &Operands<'_>, out: &mut [AccRow]) {
    operands.check(operands.taps.total_quads() * 4, out);
    match operands.windows.len() {
        0 => (),
        1 => windows::<1>(operands, out),
        2 => windows::<2>(operands, out),
        3 => windows::<3>(operands, out),
        4 => windows::<4>(operands, out),
        5 => windows::<5>(operands, out),
        _ => windows::<MR>(operands, out),
    }
}

fn windows<const R: usize>(operands: &Operands<'_>, out: &mut [AccRow]) {
    let quads = operands.taps.quads();
    let narrow = products_in_i16(operands.width, 255) / 4;
    let value = Value {
        flip: operands.flip,
        offset: 0,
    };
    let mut panel = operands.panel.as_chunks().0;
    out[..R].fill(*operands.init);
    for &tap in operands.taps.offsets() {
        let x: [&[[u8; 4]]; R] = core::array::from_fn(|r| {
            let x = &operands.x[operands.windows[r] + tap..][..4 * quads];
            x.as_chunks().0
        });
        let held = if narrow == 0 { quads } else { narrow };
        for first in (0..quads).step_by(held.max(1)) {
            let end = quads.min(first + held);
            let (now, rest) = panel.split_at(end - first);
            let x = &x.map(|x| &x[first..end]);
            let rows = out.iter_mut().map(|row| &mut row.0[..]);
            if narrow == 0 {
                add::<i32, R>(now, x, value, operands.columns, rows);
            } else {
                add::<i16, R>(now, x, value, operands.columns, rows);
            }
            panel = rest;
        }
    }
}

/// Unpacks weights once for all rows of activations.
pub(crate) fn work(shape: &Shape) -> Work {
    shape.work(0, shape.batch, PANEL)
}

/// Steps of weights that are unpacked at once: as many as have their sums of 3 bits in i16.
const STEPS: usize = products_in_i16(BitWidth::B3, 128) / STEP;

/// Serves every width and shape.
pub(crate) fn gemm(job: Job<'_>) {
    let (rows, cols, width) = (job.y.len() / job.batch, job.w.cols(), job.w.bit_width());
    let bits = width.bits() as usize;
    let x = as_bytes(job.x);
    let mut quads = [[Line([0; 64]); 4]; 2 * STEPS];
    let mut planes = [[[0; 8]; STEPS * STEP]; 4];
    for (at, panel) in job.panels.clone().enumerate() {
        let columns = at * PANEL..rows.min((at + 1) * PANEL);
        for y in job.y.chunks_exact_mut(rows) {
            y[columns.clone()].fill(0);
        }
        let chunks = job.w.lines().panel(panel).chunks(STEPS * bits);
        for (chunk, lines) in chunks.enumerate() {
            unpack::columns(width, lines, &mut planes, quads.as_flattened_mut());
            let first = chunk * STEPS * STEP;
            let k = first..cols.min(first + STEPS * STEP);
            let tiles = job.batch.div_ceil(MR);
            for t in 0..tiles {
                // Of as equal sizes as possible.
                let (start, end) = (job.batch * t / tiles, job.batch * (t + 1) / tiles);
                let strip = Strip {
                    width,
                    quads: &quads,
                    x: &x[start * cols + k.start..],
                    cols,
                    k: k.len(),
                    columns: columns.len(),
                };
                let y = job.y[start * rows..end * rows].chunks_exact_mut(rows);
                let y = y.map(|y| &mut y[columns.clone()]);
                match end - start {
                    1 => strip.add::<1>(y),
                    2 => strip.add::<2>(y),
                    3 => strip.add::<3>(y),
                    4 => strip.add::<4>(y),
                    5 => strip.add::<5>(y),
                    _ => strip.add::<MR>(y),
                }
            }
        }
    }
}

/// Some rows of activations and the weights of some of their columns.
struct Strip<'a> {
    width: BitWidth,
    quads: &'a [Quad],
    /// The first row's columns, then those of the others, `cols` bytes apart.
    x: &'a [u8],
    cols: usize,
    k: usize,
    /// Outputs that count.
    columns: usize,
}

impl Strip<'_> {
    /// Adds the products of `R` rows to theirs of `y`.
    fn add<'y, const R: usize>(&self, mut y: impl Iterator<Item = &'y mut [i32]>) {
        let mut y: [&mut [i32]; R] =
            core::array::from_fn(|_| y.next().expect("as many rows of y as of x"));
        let x: [&[u8]; R] = core::array::from_fn(|r| &self.x[r * self.cols..][..self.k]);
        let (whole, rest) = self.quads.split_at(self.k / 4);
        self.add_quads(whole, &x.map(|x| x.as_chunks().0), &mut y);
        if !self.k.is_multiple_of(4) {
            // The last columns, filled up with zeros.
            let last = x.map(|x| {
                let (mut last, rest) = ([0; 4], x.as_chunks::<4>().1);
                last[..rest.len()].copy_from_slice(rest);
                [last]
            });
            self.add_quads(&rest[..1], &last.each_ref().map(|last| &last[..]), &mut y);
        }
    }

    fn add_quads<const R: usize>(
        &self,
        quads: &[Quad],
        x: &[&[[u8; 4]]; R],
        y: &mut [&mut [i32]; R],
    ) {
        let y = y.iter_mut().map(|y| &mut **y);
        match self.width {
            BitWidth::B4 => add::<i32, R>(quads, x, Value::SIGNED, self.columns, y),
            _ => add::<i16, R>(quads, x, Value::SIGNED, self.columns, y),
        }
    }
}

/// Adds to row `r` of `to` the sum over the columns of its activations times their levels, for the
/// first `columns` outputs. The sums of the lanes fit.
fn add<'t, S: Lane, const R: usize>(
    quads: &[Quad],
    x: &[&[[u8; 4]]; R],
    value: Value,
    columns: usize,
    to: impl Iterator<Item = &'t mut [i32]>,
) {
    let mut sums = [[S::default(); NR]; R];
    match columns {
        0..=16 => products::<S, R, 16>(quads, x, value, &mut sums),
        17..=32 => products::<S, R, 32>(quads, x, value, &mut sums),
        _ => products::<S, R, NR>(quads, x, value, &mut sums),
    }
    for (to, sums) in to.zip(&sums) {
        for (to, &sum) in to[..columns].iter_mut().zip(sums) {
            *to = to.wrapping_add(sum.into());
        }
    }
}

/// Adds to `sums[r][n]` the products of row `r` with output `n`, for the first `N` outputs. A
/// function of its own and of constant lengths, so that compilers see loops of no branches.
#[inline(never)]
fn products<S: Lane, const R: usize, const N: usize>(
    quads: &[Quad],
    x: &[&[[u8; 4]]; R],
    value: Value,
    sums: &mut [[S; NR]; R],
) {
    let x = x.map(|x| &x[..quads.len()]);
    for (q, quad) in quads.iter().enumerate() {
        let x = x.map(|x| x[q].map(|x| value.of(x)));
        for n in 0..N {
            let w = quad
                .each_ref()
                .map(|column| i16::from(column.0[n].cast_signed()));
            for (sums, x) in sums.iter_mut().zip(&x) {
                sums[n] = sums[n].plus(x, w);
            }
        }
    }
}

/// Taps whose levels are held at a time.
const TAPS: usize = 16;

fn depthwise(operands: &Operands<'_>, out: &mut [AccRow]) {
    let taps = operands.taps.offsets();
    operands.check(panel_lines(taps.len()), out);
    out[..operands.windows.len()].fill(*operands.init);
    let held = products_in_i16(operands.width, 255).min(TAPS);
    for (chunk, taps) in taps.chunks(held).enumerate() {
        let mut levels = [[0i16; NR]; TAPS];
        for (t, levels) in levels[..taps.len()].iter_mut().enumerate() {
            for (channel, level) in levels.iter_mut().enumerate() {
                let (line, byte) = position(channel, chunk * held + t);
                *level = operands.panel[line].0[byte].cast_signed().into();
            }
        }
        for (out, &start) in out.iter_mut().zip(operands.windows) {
            let mut sums = [0i16; NR];
            for (&tap, levels) in taps.iter().zip(&levels) {
                // 64 bytes from every tap on lie in `x`.
                add_channels(&operands.x[start + tap..][..NR], levels, &mut sums);
            }
            for (out, sum) in out.0.iter_mut().zip(sums) {
                *out = out.wrapping_add(sum.into());
            }
        }
    }
}

/// Adds `x[n] levels[n]` to `sums[n]`.
#[inline(never)]
fn add_channels(x: &[u8], levels: &[i16; NR], sums: &mut [i16; NR]) {
    for ((sum, &x), &level) in sums.iter_mut().zip(x).zip(levels) {
        *sum = sum.wrapping_add(i16::from(x).wrapping_mul(level));
    }
}
