//! From the resident form to unsigned codes `level + offset`, 32 at a time.

use core::arch::x86_64::*;

use super::load;
use crate::packed::lines::Line;

/// `level + offset` of every resident code, twice.
const fn table(bits: u32) -> [u8; 32] {
    let mut table = [0; 32];
    let mut at = 0;
    while at < 32 {
        let code = at % 16 % (1 << bits);
        let negative = code >> (bits - 1) == 1;
        let field = code % (1 << (bits - 1));
        let offset = super::offset(bits);
        // "Negative zero" stands nowhere; any value does.
        let magnitude = if field == 0 { 0 } else { 1 << (field - 1) };
        let value = if negative {
            offset - magnitude
        } else {
            offset + magnitude
        };
        table[at] = value as u8;
        at += 1;
    }
    table
}

const TABLE_3: [u8; 32] = table(3);
const TABLE_4: [u8; 32] = table(4);

/// The unsigned codes of one half step for the rows `16 q + 8 side ..` of the blocks `q < 4`: 8
/// rows times 4 columns each. `step` holds the `BITS` lines of a step.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn half_step<const BITS: u32>(step: &[Line], half: usize, side: usize) -> [__m256i; 4] {
    let line = |at: usize| load(&step[at].0.as_chunks().0[side]);
    let low = |mask: u8| _mm256_set1_epi8(mask as i8);
    if BITS == 2 {
        let w = line(half);
        [
            _mm256_and_si256(w, low(3)),
            _mm256_and_si256(_mm256_srli_epi16::<2>(w), low(3)),
            _mm256_and_si256(_mm256_srli_epi16::<4>(w), low(3)),
            _mm256_and_si256(_mm256_srli_epi16::<6>(w), low(3)),
        ]
    } else if BITS == 3 {
        let table = load(&TABLE_3);
        let pair = |w: __m256i| {
            [
                _mm256_shuffle_epi8(table, _mm256_and_si256(w, low(7))),
                _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<3>(w), low(7))),
            ]
        };
        let [even, odd] = if half == 0 {
            [line(0), line(1)]
        } else {
            let third = |w: __m256i, mask: u8| _mm256_and_si256(w, low(mask));
            let [a, b, c] = [
                third(_mm256_srli_epi16::<6>(line(0)), 3),
                third(_mm256_srli_epi16::<4>(line(1)), 3 << 2),
                third(_mm256_srli_epi16::<2>(line(2)), 3 << 4),
            ];
            [line(2), _mm256_or_si256(_mm256_or_si256(a, b), c)]
        };
        let [[q0, q1], [q2, q3]] = [pair(even), pair(odd)];
        [q0, q1, q2, q3]
    } else {
        let table = load(&TABLE_4);
        let pair = |w: __m256i| {
            let high = _mm256_srli_epi16::<4>(w);
            [
                _mm256_shuffle_epi8(table, _mm256_and_si256(w, low(15))),
                _mm256_shuffle_epi8(table, _mm256_and_si256(high, low(15))),
            ]
        };
        let [[q0, q1], [q2, q3]] = [pair(line(2 * half)), pair(line(2 * half + 1))];
        [q0, q1, q2, q3]
    }
}
