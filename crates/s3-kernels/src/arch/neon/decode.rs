//! From the resident form to signed levels, 16 at a time.

use core::arch::aarch64::*;

use crate::packed::lines::Line;

/// The level of every resident code of 3 or 4 bits.
const fn table(bits: u32) -> [i8; 16] {
    let mut table = [0; 16];
    let mut at = 0;
    while at < 16 {
        let code = at % (1 << bits);
        let negative = code >> (bits - 1) == 1;
        let field = code % (1 << (bits - 1));
        // "Negative zero" stands nowhere; any value does.
        let magnitude = if field == 0 { 0 } else { 1 << (field - 1) };
        table[at] = if negative { -magnitude } else { magnitude };
        at += 1;
    }
    table
}

const TABLE_3: [i8; 16] = table(3);
const TABLE_4: [i8; 16] = table(4);

/// The levels of some steps of a panel, `BITS` lines each: four blocks of 16 rows, each of them two
/// lines a step, of 4 columns each.
pub(super) fn decode<const BITS: u32>(steps: &[Line], levels: &mut [Line]) {
    let quads = levels.len() / 4;
    for (at, step) in steps.chunks_exact(BITS as usize).enumerate() {
        for half in 0..2 {
            for quarter in 0..4 {
                let blocks = quarter_step::<BITS>(step, half, quarter);
                for (block, bytes) in blocks.into_iter().enumerate() {
                    let line = &mut levels[block * quads + 2 * at + half];
                    store(&mut line.0.as_chunks_mut().0[quarter], bytes);
                }
            }
        }
    }
}

/// One half step for the rows `16 q + 4 quarter ..` of the blocks `q < 4`.
#[inline]
fn quarter_step<const BITS: u32>(step: &[Line], half: usize, quarter: usize) -> [int8x16_t; 4] {
    // SAFETY: NEON is part of this target, see `dispatch`; these intrinsics touch no memory.
    unsafe { quarter_step_neon::<BITS>(step, half, quarter) }
}

#[inline]
#[target_feature(enable = "neon")]
fn quarter_step_neon<const BITS: u32>(
    step: &[Line],
    half: usize,
    quarter: usize,
) -> [int8x16_t; 4] {
    let line = |at: usize| load(&step[at].0.as_chunks().0[quarter]);
    if BITS == 2 {
        let w = line(half);
        let level = |codes: uint8x16_t| {
            let code = vandq_u8(codes, vdupq_n_u8(3));
            vsubq_s8(vreinterpretq_s8_u8(code), vdupq_n_s8(1))
        };
        [
            level(w),
            level(vshrq_n_u8::<2>(w)),
            level(vshrq_n_u8::<4>(w)),
            level(vshrq_n_u8::<6>(w)),
        ]
    } else if BITS == 3 {
        let pair = |w: uint8x16_t| {
            let code = |codes| vandq_u8(codes, vdupq_n_u8(7));
            [
                look_up(&TABLE_3, code(w)),
                look_up(&TABLE_3, code(vshrq_n_u8::<3>(w))),
            ]
        };
        let [even, odd] = if half == 0 {
            [line(0), line(1)]
        } else {
            let [a, b, c] = [line(0), line(1), line(2)];
            // The top two bits of A, B and C, in bits 0-1, 2-3 and 4-5.
            let low = vshrq_n_u8::<6>(a);
            let middle = vandq_u8(vshrq_n_u8::<4>(b), vdupq_n_u8(3 << 2));
            let high = vandq_u8(vshrq_n_u8::<2>(c), vdupq_n_u8(3 << 4));
            [c, vorrq_u8(low, vorrq_u8(middle, high))]
        };
        let [[q0, q1], [q2, q3]] = [pair(even), pair(odd)];
        [q0, q1, q2, q3]
    } else {
        let pair = |w: uint8x16_t| {
            [
                look_up(&TABLE_4, vandq_u8(w, vdupq_n_u8(15))),
                look_up(&TABLE_4, vshrq_n_u8::<4>(w)),
            ]
        };
        let [[q0, q1], [q2, q3]] = [pair(line(2 * half)), pair(line(2 * half + 1))];
        [q0, q1, q2, q3]
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn look_up(table: &[i8; 16], codes: uint8x16_t) -> int8x16_t {
    // SAFETY: the array has the 16 bytes that are read.
    let table = unsafe { vld1q_s8(table.as_ptr()) };
    vqtbl1q_s8(table, codes)
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the array has the 16 bytes that are read.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
fn store(bytes: &mut [u8; 16], levels: int8x16_t) {
    // SAFETY: the array has the 16 bytes that are written, and every pattern is a value of both.
    unsafe { vst1q_s8(bytes.as_mut_ptr().cast(), levels) }
}
