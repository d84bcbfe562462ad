//! Matrix-vector products from the resident form: codes are taken apart in registers.
//!
//! ```text
//! for each panel of 64 rows:
//!     for each step of 8 columns, each half of 4 columns:
//!         x4 = the 4 activations, in every 4-byte lane
//!         for each of the 4 blocks: sum16[block] += maddubs(codes of the block, x4)
//!     every `flush` results: sum32[block] += pairs of sum16[block]
//! ```
//!
//! Ternary codes are not shifted into place one by one: `w & 0b1100` is the code of block 1 times 4,
//! and 16 such results fit 16 bits. One shift of 4 bits serves blocks 2 and 3. The sums of blocks 1
//! and 3 come out 4 times too large, exactly.

use core::arch::x86_64::*;

use super::decode::half_step;
use super::{flush, load, offset, store_i32};
use crate::code::BitWidth;
use crate::kernel::Job;
use crate::tiles::{Line, PANEL, STEP};

/// Sums of 8 rows each: `[side][block]`, rows `16 block + 8 side ..` of a panel.
type Sums = [[__m256i; 4]; 2];

/// Serves every width and shape, one row of `x` after the other.
pub(crate) fn gemv(job: Job<'_>) {
    let run = match job.w.bit_width() {
        BitWidth::B2 => rows::<2>,
        BitWidth::B3 => rows::<3>,
        BitWidth::B4 => rows::<4>,
    };
    // SAFETY: a kernel is started only where the CPU has the instructions of its line in the table.
    unsafe { run(job) }
}

#[target_feature(enable = "avx2")]
fn rows<const BITS: u32>(job: Job<'_>) {
    let (rows, cols) = (job.y.len() / job.batch, job.w.cols());
    for (x, y) in job.x.chunks_exact(cols).zip(job.y.chunks_exact_mut(rows)) {
        let (whole, rest) = x.as_chunks::<STEP>();
        let mut last = [0; STEP];
        last[..rest.len()].copy_from_slice(rest);
        let total = x.iter().fold(0i32, |sum, &x| sum.wrapping_add(x.into()));
        let excess = _mm256_set1_epi32(total.wrapping_mul(offset(BITS)));
        for (panel, y) in job.panels.clone().zip(y.chunks_mut(PANEL)) {
            let lines = job.w.tiles().panel(panel);
            let (body, tail) = lines.split_at(whole.len() * BITS as usize);
            let mut sums = [[_mm256_setzero_si256(); 4]; 2];
            if BITS == 2 {
                ternary(body.as_chunks().0, whole, &mut sums);
                ternary(tail.as_chunks().0, &[last], &mut sums);
            } else {
                general::<BITS>(body, whole, &mut sums);
                general::<BITS>(tail, &[last], &mut sums);
            }
            finish(&sums, excess, y);
        }
    }
}

/// Adds the products of some steps of a ternary panel. Sums that are 4 times too large are taken
/// over 256 columns at most, less than `2^19`, and shifted back.
#[inline]
#[target_feature(enable = "avx2")]
fn ternary(lines: &[[Line; 2]], x: &[[i8; STEP]], sums: &mut Sums) {
    let zero = _mm256_setzero_si256();
    let (plain_mask, four_mask) = (_mm256_set1_epi8(0b11), _mm256_set1_epi8(0b1100));
    // 32 steps are 64 results of the plain codes, 8 steps are 16 of those times 4.
    const PLAIN: usize = flush(2) / 2;
    const FOUR: usize = PLAIN / 4;
    for (lines, x) in lines.chunks(PLAIN).zip(x.chunks(PLAIN)) {
        let (mut plain, mut fours) = ([[zero; 2]; 2], [[zero; 2]; 2]);
        for (lines, x) in lines.chunks(FOUR).zip(x.chunks(FOUR)) {
            let mut four = [[zero; 2]; 2];
            for (lines, x) in lines.iter().zip(x) {
                for (line, x) in lines.iter().zip(x.as_chunks::<4>().0) {
                    let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(i8::cast_unsigned)));
                    for (side, bytes) in line.0.as_chunks::<32>().0.iter().enumerate() {
                        let low = load(bytes);
                        let high = _mm256_srli_epi16::<4>(low);
                        for (block, w) in [low, high].into_iter().enumerate() {
                            let once = _mm256_maddubs_epi16(_mm256_and_si256(w, plain_mask), x);
                            let four_times =
                                _mm256_maddubs_epi16(_mm256_and_si256(w, four_mask), x);
                            plain[side][block] = _mm256_add_epi16(plain[side][block], once);
                            four[side][block] = _mm256_add_epi16(four[side][block], four_times);
                        }
                    }
                }
            }
            for side in 0..2 {
                for block in 0..2 {
                    fours[side][block] = widen_add(fours[side][block], four[side][block]);
                }
            }
        }
        for side in 0..2 {
            for block in 0..2 {
                let [even, odd] = &mut sums[side].as_chunks_mut::<2>().0[block];
                *even = widen_add(*even, plain[side][block]);
                *odd = _mm256_add_epi32(*odd, _mm256_srai_epi32::<2>(fours[side][block]));
            }
        }
    }
}

/// Adds the products of some steps of a panel of any width.
#[inline]
#[target_feature(enable = "avx2")]
fn general<const BITS: u32>(lines: &[Line], x: &[[i8; STEP]], sums: &mut Sums) {
    let steps = flush(BITS).div_ceil(2);
    for (lines, x) in lines.chunks(steps * BITS as usize).zip(x.chunks(steps)) {
        let mut narrow = [[_mm256_setzero_si256(); 4]; 2];
        for (step, x) in lines.chunks_exact(BITS as usize).zip(x) {
            for (half, x) in x.as_chunks::<4>().0.iter().enumerate() {
                let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(i8::cast_unsigned)));
                for side in 0..2 {
                    let codes = half_step::<BITS>(step, half, side);
                    for (block, code) in codes.into_iter().enumerate() {
                        let products = _mm256_maddubs_epi16(code, x);
                        if flush(BITS) == 1 {
                            sums[side][block] = widen_add(sums[side][block], products);
                        } else {
                            narrow[side][block] = _mm256_add_epi16(narrow[side][block], products);
                        }
                    }
                }
            }
        }
        if flush(BITS) > 1 {
            for (sums, narrow) in sums.iter_mut().zip(narrow) {
                for (sum, narrow) in sums.iter_mut().zip(narrow) {
                    *sum = widen_add(*sum, narrow);
                }
            }
        }
    }
}

/// `sum` plus the sums of neighbouring 16-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_add(sum: __m256i, narrow: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)))
}

/// Writes the rows of a panel, of which `y` may have fewer than 64.
#[inline]
#[target_feature(enable = "avx2")]
fn finish(sums: &Sums, excess: __m256i, y: &mut [i32]) {
    let mut out = [[0; 8]; PANEL / 8];
    for (side, sums) in sums.iter().enumerate() {
        for (block, &sum) in sums.iter().enumerate() {
            store_i32(&mut out[2 * block + side], _mm256_sub_epi32(sum, excess));
        }
    }
    y.copy_from_slice(&out.as_flattened()[..y.len()]);
}
