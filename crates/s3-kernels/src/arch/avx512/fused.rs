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
//! because columns are taken [`CHUNK`] at a time it does not leave `i32`. For widths 3 and 4 the
//! operand is looked up in a byte table, `bias = 2^t` and `s = 0`.

use alloc::vec::Vec;
use core::arch::x86_64::*;

use super::{byte_table, load, prefetch};
use crate::code::BitWidth;
use crate::dispatch::Extension;
use crate::kernel::Job;
use crate::tiles::{Line, PANEL, STEP, Tiles};

/// Columns whose scaled sums fit `i32`: `64 * 2 * 128 * CHUNK` is `2^30`.
const CHUNK: usize = 1 << 16;

/// Lines ahead of the dot products that memory is asked for, where there is one stream of weights. Of
/// four streams at once the CPU's own prefetcher takes better care.
const AHEAD: usize = 64;

/// Four activations, a lane of the dot product.
type Four = [i8; 4];

/// Serves every width and shape, on a CPU with VNNI and VBMI.
pub(crate) fn gemm(job: Job<'_>) {
    assert!(Extension::VnniVbmi.is_available());
    match job.w.bit_width() {
        // SAFETY: the CPU has just been asked for every feature that the function enables.
        BitWidth::B2 => unsafe { by_chunks::<2>(job) },
        // SAFETY: as above.
        BitWidth::B3 => unsafe { by_chunks::<3>(job) },
        // SAFETY: as above.
        BitWidth::B4 => unsafe { by_chunks::<4>(job) },
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn by_chunks<const BITS: usize>(mut job: Job<'_>) {
    let mut from = 0;
    while from < job.batch {
        // Four at a time, and never a last one alone after four.
        from += match job.batch - from {
            1 => some_rows::<BITS, 1>(&mut job, from),
            2 => some_rows::<BITS, 2>(&mut job, from),
            3 | 5 => some_rows::<BITS, 3>(&mut job, from),
            _ => some_rows::<BITS, 4>(&mut job, from),
        };
    }
}

/// Computes `M` batch rows, and returns `M`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn some_rows<const BITS: usize, const M: usize>(job: &mut Job<'_>, from: usize) -> usize {
    let cols = job.w.cols();
    let rows = job.y.len() / job.batch;
    let x = &job.x[from * cols..][..M * cols];
    let y = &mut job.y[from * rows..][..M * rows];
    let bias = if BITS == 2 {
        1
    } else {
        1 << job.w.bit_width().t()
    };
    let packed;
    let x_lanes = if M == 1 && cols.is_multiple_of(STEP) {
        x.as_chunks::<4>().0.as_chunks::<M>().0
    } else {
        packed = interleaved::<M>(x, cols);
        &packed
    };
    let sums: [i32; M] = core::array::from_fn(|m| {
        let row = &x[m * cols..][..cols];
        row.iter().map(|&x| i32::from(x)).sum::<i32>() * bias
    });
    let mut at = 0;
    let panels = job.panels.len();
    while at < panels {
        let first = job.panels.start + at;
        let y = (&mut *y, rows, at * PANEL);
        at += match panels - at {
            4.. if M == 1 => some_panels::<BITS, M, 4>(job.w.tiles(), first, x_lanes, sums, y),
            2.. if M <= 2 => some_panels::<BITS, M, 2>(job.w.tiles(), first, x_lanes, sums, y),
            _ => some_panels::<BITS, M, 1>(job.w.tiles(), first, x_lanes, sums, y),
        };
    }
    M
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn some_panels<const BITS: usize, const M: usize, const P: usize>(
    tiles: &Tiles,
    first: usize,
    x: &[[Four; M]],
    sums: [i32; M],
    (y, rows, at): (&mut [i32], usize, usize),
) -> usize {
    let lines: [_; P] = core::array::from_fn(|p| tiles.panel(first + p).as_chunks::<BITS>().0);
    let mut out = [[[0; PANEL]; M]; P];
    let steps = lines[0].len();
    for from in (0..steps).step_by(CHUNK / STEP) {
        let to = steps.min(from + CHUNK / STEP);
        let lines = lines.map(|lines| &lines[from..to]);
        panel_sums::<BITS, M, P>(lines, &x[2 * from..2 * to], &mut out);
    }
    for (p, out) in out.iter().enumerate() {
        for (m, out) in out.iter().enumerate() {
            let y = &mut y[m * rows..][..rows][at + p * PANEL..];
            let len = y.len().min(PANEL);
            for (y, out) in y[..len].iter_mut().zip(out) {
                *y = out - sums[m];
            }
        }
    }
    P
}

/// `M` rows, four columns of each next to each other, padded with zeros to whole steps.
fn interleaved<const M: usize>(x: &[i8], cols: usize) -> Vec<[Four; M]> {
    let mut lanes = alloc::vec![[[0; 4]; M]; cols.div_ceil(STEP) * (STEP / 4)];
    for (m, row) in x.chunks_exact(cols).enumerate() {
        for (lane, four) in lanes.iter_mut().zip(row.chunks(4)) {
            lane[m][..four.len()].copy_from_slice(four);
        }
    }
    lanes
}

/// Adds the sums over some columns of `P` panels to `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn panel_sums<const BITS: usize, const M: usize, const P: usize>(
    lines: [&[[Line; BITS]]; P],
    x: &[[Four; M]],
    out: &mut [[[i32; PANEL]; M]; P],
) {
    let mut acc = [[[_mm512_setzero_si512(); 4]; M]; P];
    let lines = lines.map(|l| &l[..lines[0].len()]);
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
    for p in 0..P {
        for m in 0..M {
            add_to::<BITS>(acc[p][m], out[p][m].as_chunks_mut().0);
        }
    }
}

/// Adds the sums of four blocks, scaled back, to `out`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_to<const BITS: usize>(acc: [__m512i; 4], out: &mut [[i32; 16]]) {
    let acc = match BITS {
        2 => [
            acc[0],
            _mm512_srai_epi32::<2>(acc[1]),
            _mm512_srai_epi32::<4>(acc[2]),
            _mm512_srai_epi32::<6>(acc[3]),
        ],
        _ => acc,
    };
    for (acc, out) in acc.into_iter().zip(out) {
        let out: *mut [i32; 16] = out;
        // SAFETY: `out` comes from a reference to 16 `i32`.
        let old = unsafe { _mm512_loadu_si512(out.cast()) };
        let new = _mm512_add_epi32(old, acc);
        // SAFETY: as above, and the reference was unique.
        unsafe { _mm512_storeu_si512(out.cast(), new) };
    }
}

/// Adds the products of four columns to the sums of four blocks. Written out, because a loop would
/// keep the sums of several rows from being registers.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot(acc: &mut [__m512i; 4], operands: [__m512i; 4], x: Four) {
    let x = _mm512_set1_epi32(i32::from_ne_bytes(x.map(i8::cast_unsigned)));
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
        2 => [0, 1].map(|half| {
            let mask = |m: i8| _mm512_and_si512(load(&lines[half]), _mm512_set1_epi8(m));
            [mask(0x03), mask(0x0c), mask(0x30), mask(0xc0u8 as i8)]
        }),
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

/// In every byte, the bits `MASK` of `a` and the other bits of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn select<const MASK: i8>(a: __m512i, b: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(_mm512_set1_epi8(MASK), a, b)
}
