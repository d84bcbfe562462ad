//! Small batches: weights are unpacked in registers, next to the dot products that use them.
//!
//! ```text
//! for each panel of 64 rows:
//!     acc[M][4] = 0                                     16 rows to a register, M batch rows
//!     for each half step of 4 columns:
//!         c[0..4] = unsigned operands of the four blocks
//!         for m, q: acc[m][q] = vpdpbusd(acc[m][q], c[q], 4 activations of row m in all lanes)
//!     y[m][16 q + n] = acc[m][q][n] - bias * sum(x[m])
//! ```
//!
//! An operand is `(level + bias) << s`, at most 128, so that it is unsigned. For width 2 it is the
//! resident byte under a mask, `bias = 1` and `s = 2q`: nothing is shifted inside the loop. The
//! accumulator is shifted back in the end, which is exact because it is a multiple of `2^s`, and
//! because columns are taken [`CHUNK`] at a time it does not leave `i32`. Block 0 does without a
//! mask: the dot product of the whole byte is the sum of all four, and the other three are taken
//! off in the end. For widths 3 and 4 the operand is looked up in a byte table, `bias = 2^t` and
//! `s = 0`.

use core::arch::x86_64::*;

use super::{byte_table, load, prefetch};
use crate::arch::as_bytes;
use crate::isa::Extension;
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::code::BitWidth;
use crate::packed::lines::{Line, PANEL, PackedLines, STEP};
use crate::scratch::with_scratch;

/// Columns whose scaled sums fit `i32`: `64 * 2 * 128 * CHUNK` is `2^30`.
const CHUNK: usize = 1 << 16;

/// Lines ahead of the dot products that memory is asked for, where there is one stream of weights.
/// Of four streams at once the CPU's own prefetcher takes better care.
const AHEAD: usize = 64;

/// Batch rows of one tile, at most.
const MR: usize = 4;

/// Bytes of activations that are held at a time: a quarter of the second-level cache, so that every
/// panel finds them there.
const HELD: usize = 1 << 18;

/// The bytes of four activations, a lane of the dot product.
type Four = [u8; 4];

/// Interleaves activations, but not those of one batch row where they are whole steps.
pub(crate) fn work(shape: &Shape) -> Work {
    let in_place = shape.batch == 1 && shape.cols.is_multiple_of(STEP);
    let activations = if in_place { 0 } else { shape.activations() };
    shape.work(activations, MR, PANEL)
}

/// Serves every width and shape, on a CPU with VNNI and VBMI.
pub(crate) fn gemm(job: Job<'_>) {
    assert!(Extension::VnniVbmi.is_available());
    match job.w.bit_width() {
        // SAFETY: the CPU has just been asked for every feature that the function enables.
        BitWidth::B2 => unsafe { of_width::<2>(job) },
        // SAFETY: as above.
        BitWidth::B3 => unsafe { of_width::<3>(job) },
        // SAFETY: as above.
        BitWidth::B4 => unsafe { of_width::<4>(job) },
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn of_width<const BITS: usize>(job: Job<'_>) {
    let cols = job.w.cols();
    // Nothing is next to anything: the activations stay where they are.
    if job.batch == 1 && cols.is_multiple_of(STEP) {
        let x = as_bytes(job.x).as_chunks().0;
        return batches::<BITS>(job, x);
    }
    let held = (HELD / cols).next_multiple_of(MR).max(MR);
    let rows = job.y.len() / job.batch;
    for (x, y) in job.x.chunks(held * cols).zip(job.y.chunks_mut(held * rows)) {
        interleaved::<BITS>(Job {
            w: job.w,
            panels: job.panels.clone(),
            x,
            batch: x.len() / cols,
            y,
        });
    }
}

/// Computes the products of as many batch rows as are held at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn interleaved<const BITS: usize>(job: Job<'_>) {
    with_scratch(|scratch| {
        let quads = job.w.lines().steps() * (STEP / 4);
        let (bytes, _) = scratch.get(4 * quads * job.batch, 0);
        let lanes = bytes.as_chunks_mut().0;
        let mut rest = &mut *lanes;
        for (from, to) in tiles(job.batch) {
            let (lanes, after) = rest.split_at_mut((to - from) * quads);
            let cols = job.w.cols();
            let x = &as_bytes(job.x)[from * cols..to * cols];
            match to - from {
                1 => interleave::<1>(x, cols, lanes),
                2 => interleave::<2>(x, cols, lanes),
                3 => interleave::<3>(x, cols, lanes),
                _ => interleave::<MR>(x, cols, lanes),
            }
            rest = after;
        }
        batches::<BITS>(job, lanes);
    });
}

/// The batch rows of each tile, their sizes as equal as possible.
fn tiles(batch: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = batch.div_ceil(MR);
    (0..tiles).map(move |t| (batch * t / tiles, batch * (t + 1) / tiles))
}

/// Writes `M` rows, four columns of each next to each other, padded with zeros to whole steps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave<const M: usize>(x: &[u8], cols: usize, lanes: &mut [Four]) {
    let lanes = lanes.as_chunks_mut::<M>().0;
    let mut rows = [[].as_slice(); M];
    let mut rest = [[].as_slice(); M];
    for (m, x) in x.chunks_exact(cols).enumerate() {
        (rows[m], rest[m]) = x.as_chunks::<4>();
    }
    let (full, padded) = lanes.split_at_mut(cols / 4);
    for (i, lane) in full.iter_mut().enumerate() {
        for m in 0..M {
            lane[m] = rows[m][i];
        }
    }
    for (i, lane) in padded.iter_mut().enumerate() {
        *lane = [[0; 4]; M];
        if i == 0 {
            for m in 0..M {
                lane[m][..rest[m].len()].copy_from_slice(rest[m]);
            }
        }
    }
}

/// Computes the products from interleaved activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn batches<const BITS: usize>(job: Job<'_>, x: &[Four]) {
    let w = job.w.lines();
    let quads = w.steps() * (STEP / 4);
    let rows = job.y.len() / job.batch;
    let mut offsets = alloc::vec![0; job.batch];
    for (offset, x) in offsets.iter_mut().zip(job.x.chunks_exact(w.cols())) {
        *offset = offset_of::<BITS>(x);
    }
    // Where the batch is one tile, memory is asked for several streams of weights. Each is long,
    // panels that follow each other, because a new stream is slow until the CPU has learnt of it.
    let streams = match job.batch {
        1 => 4,
        2 => 2,
        _ => 1,
    };
    let apart = job.panels.len() / streams;
    let rest = (apart * streams..job.panels.len()).map(|panel| (panel, 1));
    for (panel, streams) in (0..apart).map(|panel| (panel, streams)).chain(rest) {
        for (from, to) in tiles(job.batch) {
            let x = &x[from * quads..to * quads];
            let mut out = Out {
                y: &mut job.y[from * rows..to * rows],
                rows,
                first: job.panels.start,
                apart,
                offsets: &offsets[from..to],
            };
            match (to - from, streams) {
                (1, 4) => panels::<BITS, 1, 4>(w, panel, x, &mut out),
                (1, _) => panels::<BITS, 1, 1>(w, panel, x, &mut out),
                (2, 2) => panels::<BITS, 2, 2>(w, panel, x, &mut out),
                (2, _) => panels::<BITS, 2, 1>(w, panel, x, &mut out),
                (3, _) => panels::<BITS, 3, 1>(w, panel, x, &mut out),
                _ => panels::<BITS, MR, 1>(w, panel, x, &mut out),
            }
        }
    }
}

/// `bias * sum(x)`. Like the sums it is taken from, it wraps: what is right modulo `2^32` is right,
/// because packing has shown that the result fits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn offset_of<const BITS: usize>(x: &[i8]) -> i32 {
    let mut sum = 0i32;
    for &x in x {
        sum = sum.wrapping_add(x.into());
    }
    match BITS {
        2 => sum,
        3 => sum << BitWidth::B3.t(),
        _ => sum << BitWidth::B4.t(),
    }
}

/// Where sums go.
struct Out<'a> {
    /// `[M, rows]`.
    y: &'a mut [i32],
    rows: usize,
    /// The panel whose rows come first.
    first: usize,
    /// Panels between two streams.
    apart: usize,
    /// What is to be taken off the sums of each of the `M`.
    offsets: &'a [i32],
}

/// `M` batch rows by `P` panels, `panel` and those that are a multiple of `out.apart` behind it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn panels<const BITS: usize, const M: usize, const P: usize>(
    w: &PackedLines,
    panel: usize,
    x: &[Four],
    out: &mut Out<'_>,
) {
    let x = x.as_chunks::<M>().0;
    let mut lines = [[].as_slice(); P];
    for p in 0..P {
        lines[p] = w
            .panel(out.first + panel + p * out.apart)
            .as_chunks::<BITS>()
            .0;
    }
    let steps = lines[0].len();
    for from in (0..steps).step_by(CHUNK / STEP) {
        let to = steps.min(from + CHUNK / STEP);
        let mut chunk = lines;
        for p in 0..P {
            chunk[p] = &lines[p][from..to];
        }
        let acc = panel_sums::<BITS, M, P>(chunk, &x[2 * from..2 * to]);
        for p in 0..P {
            for m in 0..M {
                let at = (panel + p * out.apart) * PANEL;
                let y = &mut out.y[m * out.rows..][..out.rows][at..];
                let len = y.len().min(PANEL);
                put::<BITS>(
                    acc[p][m],
                    &mut y[..len],
                    (from == 0).then_some(out.offsets[m]),
                );
            }
        }
    }
}

/// The sums over some columns of `P` panels, scaled as the operands were.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn panel_sums<const BITS: usize, const M: usize, const P: usize>(
    lines: [&[[Line; BITS]]; P],
    x: &[[Four; M]],
) -> [[[__m512i; 4]; M]; P] {
    let mut acc = [[[_mm512_setzero_si512(); 4]; M]; P];
    for (step, x) in (0..lines[0].len()).zip(x.as_chunks::<2>().0) {
        for p in 0..P {
            let lines = &lines[p][step];
            if P == 1 {
                for line in lines {
                    prefetch(line, AHEAD);
                }
            }
            let [first, second] = operands(lines);
            for m in 0..M {
                dot(&mut acc[p][m], first, x[0][m]);
            }
            for m in 0..M {
                dot(&mut acc[p][m], second, x[1][m]);
            }
        }
    }
    acc
}

/// Scales the sums of four blocks back and writes them, less an offset, to `y`, or adds them to
/// what is there. `y` may have fewer than 64 rows left.
#[inline]
#[target_feature(enable = "avx512f")]
fn put<const BITS: usize>(acc: [__m512i; 4], y: &mut [i32], offset: Option<i32>) {
    let acc = match BITS {
        2 => [
            _mm512_sub_epi32(
                _mm512_sub_epi32(acc[0], acc[1]),
                _mm512_add_epi32(acc[2], acc[3]),
            ),
            _mm512_srai_epi32::<2>(acc[1]),
            _mm512_srai_epi32::<4>(acc[2]),
            _mm512_srai_epi32::<6>(acc[3]),
        ],
        _ => acc,
    };
    for (acc, y) in acc.into_iter().zip(y.chunks_mut(16)) {
        let mask = 0xffff >> (16 - y.len());
        let y = y.as_mut_ptr();
        let sum = match offset {
            Some(offset) => _mm512_sub_epi32(acc, _mm512_set1_epi32(offset)),
            None => {
                // SAFETY: the mask reads the elements of the chunk and no other.
                let old = unsafe { _mm512_maskz_loadu_epi32(mask, y) };
                _mm512_add_epi32(acc, old)
            }
        };
        // SAFETY: the mask writes the elements of the chunk and no other.
        unsafe { _mm512_mask_storeu_epi32(y, mask, sum) };
    }
}

/// Adds the products of four columns to the sums of four blocks. Written out, because a loop would
/// keep the sums of several rows from being registers.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot(acc: &mut [__m512i; 4], operands: [__m512i; 4], x: Four) {
    let x = _mm512_set1_epi32(i32::from_ne_bytes(x));
    acc[0] = _mm512_dpbusd_epi32(acc[0], operands[0], x);
    acc[1] = _mm512_dpbusd_epi32(acc[1], operands[1], x);
    acc[2] = _mm512_dpbusd_epi32(acc[2], operands[2], x);
    acc[3] = _mm512_dpbusd_epi32(acc[3], operands[3], x);
}

/// The operands of both halves of a step, four blocks each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn operands<const BITS: usize>(lines: &[Line; BITS]) -> [[__m512i; 4]; 2] {
    const LOW: Line = byte_table(BitWidth::B3, 0, 4);
    const HIGH: Line = byte_table(BitWidth::B3, 3, 4);
    const NIBBLE: Line = byte_table(BitWidth::B4, 0, 64);
    let line = |i: usize| load(&lines[i]);
    match BITS {
        2 => [blocks(line(0)), blocks(line(1))],
        3 => {
            let (low, high) = (load(&LOW), load(&HIGH));
            let [a, b, c] = [line(0), line(1), line(2)];
            // Two bits of each, the others being whatever they are: `vpermb` reads bits 0-5.
            let ab = select::<0x03>(_mm512_srli_epi16::<6>(a), _mm512_srli_epi16::<4>(b));
            let d = select::<0x0f>(ab, _mm512_srli_epi16::<2>(c));
            let pair = |v| {
                [
                    _mm512_permutexvar_epi8(v, low),
                    _mm512_permutexvar_epi8(v, high),
                ]
            };
            let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = [pair(a), pair(b), pair(c), pair(d)];
            [[a0, a1, b0, b1], [c0, c1, d0, d1]]
        }
        _ => {
            let table = load(&NIBBLE);
            let pair = |i: usize| {
                let v = line(i);
                [
                    _mm512_permutexvar_epi8(v, table),
                    _mm512_permutexvar_epi8(_mm512_srli_epi16::<4>(v), table),
                ]
            };
            let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = [pair(0), pair(1), pair(2), pair(3)];
            [[a0, a1, b0, b1], [c0, c1, d0, d1]]
        }
    }
}

/// The operands of a half step of width 2.
#[inline]
#[target_feature(enable = "avx512f")]
fn blocks(line: __m512i) -> [__m512i; 4] {
    [
        line,
        _mm512_and_si512(line, _mm512_set1_epi8(0x0c)),
        _mm512_and_si512(line, _mm512_set1_epi8(0x30)),
        _mm512_and_si512(line, _mm512_set1_epi8(0xc0u8 as i8)),
    ]
}

/// In every byte, the bits `MASK` of `a` and the other bits of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn select<const MASK: i8>(a: __m512i, b: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(_mm512_set1_epi8(MASK), a, b)
}
