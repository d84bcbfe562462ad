//! The microkernels: 16 rows of `w` by 4, 2 or 1 rows of `x`.
//!
//! `sdot` and `smmla` are written in assembly because their intrinsics are not stable.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::packed::lines::{Line, STEP};

/// Rows of `w`.
pub(super) const BLOCK: usize = 16;

/// The sums of a tile; rows of `x` that it does not have are left as they are.
pub(super) type Sums = [[i32; BLOCK]; 4];

/// Four rows of `w`, of which a block has four groups.
type Groups<T> = [T; 4];

/// By 16-bit products, on any CPU.
pub(super) fn widening<const BITS: u32>(levels: &[Line], x: &[i8], height: usize, sums: &mut Sums) {
    // A tile needs two 16-bit sums for each group and row of `x`: rows one by one.
    for (row, sums) in sums.iter_mut().enumerate().take(height) {
        // SAFETY: NEON is part of this target, see `dispatch`.
        unsafe { widening_row::<BITS>(levels, x, row, height, sums) }
    }
}

/// Products `level * activation`, at most `2^t 128` in magnitude, that fit 16 bits when added.
const fn flush(bits: u32) -> usize {
    match bits {
        2 => 255,
        3 => 63,
        _ => 3,
    }
}

#[target_feature(enable = "neon")]
fn widening_row<const BITS: u32>(
    levels: &[Line],
    x: &[i8],
    row: usize,
    height: usize,
    sums: &mut [i32; BLOCK],
) {
    let mut wide = [[vdupq_n_s32(0); 2]; 4];
    let (quads, _) = x.as_chunks::<4>();
    let quad = |at: usize| quads[(at / 2 * height + row) * 2 + at % 2];
    for (chunk, levels) in levels.chunks(flush(BITS)).enumerate() {
        let mut narrow = [[vdupq_n_s16(0); 2]; 4];
        for (at, line) in levels.iter().enumerate() {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(
                quad(chunk * flush(BITS) + at).map(i8::cast_unsigned),
            )));
            for (narrow, w) in narrow.iter_mut().zip(groups(line)) {
                narrow[0] = vmlal_s8(narrow[0], vget_low_s8(w), vget_low_s8(x));
                narrow[1] = vmlal_high_s8(narrow[1], w, x);
            }
        }
        for (wide, narrow) in wide.iter_mut().zip(narrow) {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide = vpadalq_s16(*wide, narrow);
            }
        }
    }
    for (sums, wide) in sums.as_chunks_mut().0.iter_mut().zip(wide) {
        // Two lanes a row are left.
        store(sums, vpaddq_s32(wide[0], wide[1]));
    }
}

/// By dot products of 4 columns.
pub(super) fn dot(levels: &[Line], x: &[i8], height: usize, sums: &mut Sums) {
    // SAFETY: a kernel is started only where the CPU has the instructions of its line in the table.
    unsafe {
        match height {
            1 => dot_rows::<1>(levels, x, sums),
            2 => dot_rows::<2>(levels, x, sums),
            _ => dot_rows::<4>(levels, x, sums),
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn dot_rows<const R: usize>(levels: &[Line], x: &[i8], sums: &mut Sums) {
    let mut wide = [[vdupq_n_s32(0); 4]; R];
    let steps = levels.as_chunks::<2>().0.iter();
    for (lines, x) in steps.zip(x.chunks_exact(R * STEP)) {
        for (wide, x) in wide.iter_mut().zip(x.as_chunks::<STEP>().0) {
            for (line, x) in lines.iter().zip(x.as_chunks::<4>().0) {
                let word = i32::from_le_bytes(x.map(i8::cast_unsigned));
                let x = vreinterpretq_s8_s32(vdupq_n_s32(word));
                for (wide, w) in wide.iter_mut().zip(groups(line)) {
                    *wide = sdot(*wide, w, x);
                }
            }
        }
    }
    for (sums, wide) in sums.iter_mut().zip(wide) {
        for (sums, wide) in sums.as_chunks_mut().0.iter_mut().zip(wide) {
            store(sums, wide);
        }
    }
}

/// `sum[i]` plus the dot product of bytes `4 i .. 4 i + 4` of `a` and `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes the registers that are named and nothing else.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// By products of matrices of 2 rows and 8 columns; a single row of `x` by dot products.
pub(super) fn matrix(levels: &[Line], x: &[i8], height: usize, sums: &mut Sums) {
    // SAFETY: a kernel is started only where the CPU has the instructions of its line in the table;
    // the line of this one names both.
    unsafe {
        match height {
            1 => dot_rows::<1>(levels, x, sums),
            2 => matrix_rows::<1>(levels, x, sums),
            _ => matrix_rows::<2>(levels, x, sums),
        }
    }
}

/// `P` pairs of rows of `x`.
#[target_feature(enable = "neon,i8mm")]
fn matrix_rows<const P: usize>(levels: &[Line], x: &[i8], sums: &mut Sums) {
    // [pair of rows of x][group of w][its first or last two rows]: row 0 of x with the two rows of
    // w, then row 1.
    let mut wide = [[[vdupq_n_s32(0); 2]; 4]; P];
    let steps = levels.as_chunks::<2>().0.iter();
    for (lines, x) in steps.zip(x.chunks_exact(2 * P * STEP)) {
        let lines = [groups(&lines[0]), groups(&lines[1])];
        for group in 0..4 {
            let (left, right) = (
                vreinterpretq_s32_s8(lines[0][group]),
                vreinterpretq_s32_s8(lines[1][group]),
            );
            let w =
                [vzip1q_s32(left, right), vzip2q_s32(left, right)].map(|w| vreinterpretq_s8_s32(w));
            for (wide, x) in wide.iter_mut().zip(x.as_chunks::<16>().0) {
                let x = load(x);
                for (wide, w) in wide[group].iter_mut().zip(w) {
                    *wide = smmla(*wide, x, w);
                }
            }
        }
    }
    for (sums, wide) in sums.as_chunks_mut::<2>().0.iter_mut().zip(wide) {
        for (group, [low, high]) in wide.into_iter().enumerate() {
            let [low, high] = [low, high].map(|v| vreinterpretq_s64_s32(v));
            for (row, both) in [vzip1q_s64(low, high), vzip2q_s64(low, high)]
                .into_iter()
                .enumerate()
            {
                store(
                    &mut sums[row].as_chunks_mut().0[group],
                    vreinterpretq_s32_s64(both),
                );
            }
        }
    }
}

/// `sum[2 i + j]` plus the dot product of half `i` of `a` and half `j` of `b`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes the registers that are named and nothing else.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The four groups of rows of a line.
#[inline]
#[target_feature(enable = "neon")]
fn groups(line: &Line) -> Groups<int8x16_t> {
    let (quarters, _) = line.0.as_chunks::<16>();
    core::array::from_fn(|at| load(&quarters[at].map(u8::cast_signed)))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[i8; 16]) -> int8x16_t {
    // SAFETY: the array has the 16 bytes that are read.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(words: &mut [i32; 4], sums: int32x4_t) {
    // SAFETY: the array has the 4 words that are written.
    unsafe { vst1q_s32(words.as_mut_ptr(), sums) }
}
