//! Unpacking in plain Rust: eight levels at a time, in the bytes of a word.
//!
//! A level is computed from its code by shifts, additions and masks that keep to their bytes.

use crate::arch::bytes_of;
use crate::packed::code::BitWidth;
use crate::packed::lines::Line;

/// A line as words.
type Words = [u64; 8];

/// The same byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Lines of 16 outputs by 4 columns: see [`crate::packed::unpack`].
pub(crate) fn unpack(width: BitWidth, from: &[Line], to: &mut [Line]) {
    match width {
        BitWidth::B2 => steps::<2>(from, to),
        BitWidth::B3 => steps::<3>(from, to),
        BitWidth::B4 => steps::<4>(from, to),
    }
}

/// Packed bytes of some columns, those with the same remainder by 4 together: 8 for each column are
/// enough.
pub(crate) type Planes<const K: usize> = [[[u8; 8]; K]; 4];

/// Columns: line `k` has the levels of column `k` for 64 outputs. At most `K` columns.
///
/// Packed bytes are transposed, into `planes`, before they are taken apart: there are fewer of
/// them.
pub(crate) fn columns<const K: usize>(
    width: BitWidth,
    from: &[Line],
    planes: &mut Planes<K>,
    to: &mut [Line],
) {
    let [a, b, c, d] = planes.each_mut().map(|plane| plane.as_flattened_mut());
    transpose(bytes_of(from).as_chunks().0, a, b, c, d);
    match width {
        BitWidth::B2 => column_steps::<2, K>(planes, to),
        BitWidth::B3 => column_steps::<3, K>(planes, to),
        BitWidth::B4 => column_steps::<4, K>(planes, to),
    }
}

/// The bytes of each four to four slices, which are as long as `from` or longer.
#[inline(never)]
pub(crate) fn transpose(from: &[[u8; 4]], a: &mut [u8], b: &mut [u8], c: &mut [u8], d: &mut [u8]) {
    let len = from.len();
    let (a, b, c, d) = (&mut a[..len], &mut b[..len], &mut c[..len], &mut d[..len]);
    for n in 0..len {
        let word = u32::from_le_bytes(from[n]);
        a[n] = word as u8;
        b[n] = (word >> 8) as u8;
        c[n] = (word >> 16) as u8;
        d[n] = (word >> 24) as u8;
    }
}

/// `BITS` lines become eight, `[half][block]`. The last step may be asked for one half only.
#[inline(always)]
fn steps<const BITS: usize>(from: &[Line], to: &mut [Line]) {
    let steps = from.as_chunks::<BITS>().0.iter();
    for (lines, to) in steps.zip(to.chunks_mut(8)) {
        let lines = lines.each_ref().map(|line| words(&line.0));
        for at in 0..8 {
            let levels = levels(lines.map(|line| line[at]));
            for (to, level) in to.iter_mut().zip(levels) {
                to.0.as_chunks_mut().0[at] = level.to_le_bytes();
            }
        }
    }
}

/// Of each plane, `BITS` pairs of words become eight columns of 64 outputs.
#[inline(always)]
fn column_steps<const BITS: usize, const K: usize>(planes: &Planes<K>, to: &mut [Line]) {
    for (column, plane) in planes.iter().enumerate() {
        let steps = plane.as_chunks::<2>().0.as_chunks::<BITS>().0.iter();
        for (lines, to) in steps.zip(to.as_chunks_mut::<8>().0) {
            // Both words of a vector side by side, not in a loop.
            let left = levels(lines.each_ref().map(|line| u64::from_le_bytes(line[0])));
            let right = levels(lines.each_ref().map(|line| u64::from_le_bytes(line[1])));
            for (i, (left, right)) in left.into_iter().zip(right).enumerate() {
                let (half, block) = (i >> 2, i & 3);
                let outputs = &mut to[(half << 2) + column].0.as_chunks_mut::<16>().0[block];
                outputs[..8].copy_from_slice(&left.to_le_bytes());
                outputs[8..].copy_from_slice(&right.to_le_bytes());
            }
        }
    }
}

#[inline(always)]
fn words(line: &[u8; 64]) -> Words {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(line.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The levels `[half][block]` of a word of each line of a step of `BITS` bits.
#[inline(always)]
fn levels<const BITS: usize>(lines: [u64; BITS]) -> [u64; 8] {
    // Written out, because compilers keep large closures apart.
    match BITS {
        2 => {
            let [a, b] = [lines[0], lines[1]];
            [
                level2(a),
                level2(a >> 2),
                level2(a >> 4),
                level2(a >> 6),
                level2(b),
                level2(b >> 2),
                level2(b >> 4),
                level2(b >> 6),
            ]
        }
        3 => {
            let [a, b, c] = [lines[0], lines[1], lines[2]];
            let d = third(a, 6, 0) | third(b, 4, 2) | third(c, 2, 4);
            [
                level3(a),
                level3(a >> 3),
                level3(b),
                level3(b >> 3),
                level3(c),
                level3(c >> 3),
                level3(d),
                level3(d >> 3),
            ]
        }
        _ => {
            let [a, b, c, d] = [lines[0], lines[1], lines[2], lines[3]];
            [
                level4(a),
                level4(a >> 4),
                level4(b),
                level4(b >> 4),
                level4(c),
                level4(c >> 4),
                level4(d),
                level4(d >> 4),
            ]
        }
    }
}

/// The top two bits of each byte, which a shift to the right by `shift` brings to bit `to`.
#[inline(always)]
fn third(line: u64, shift: u32, to: u32) -> u64 {
    line >> shift & all(3 << to)
}

#[inline(always)]
fn level2(code: u64) -> u64 {
    // `code - 1`; the top bit lends what is taken.
    ((code & all(3)) + all(0x7f)) ^ all(0x80)
}

#[inline(always)]
fn level3(code: u64) -> u64 {
    let field = code & all(3);
    // 0, 1, 2 and 4 of 0, 1, 2 and 3.
    let magnitude = field + (field & field >> 1);
    signed(magnitude, code >> 2 & all(1))
}

#[inline(always)]
fn level4(code: u64) -> u64 {
    // 2^(field & 3), at most 8; then half of it, or 8 times.
    let power = all(1) + (code & all(1));
    let twice = ones(code >> 1 & all(1));
    let power = power << 2 & twice | power & !twice;
    let high = ones(code >> 2 & all(1));
    let magnitude = power << 3 & high | power >> 1 & !high & all(0x7f);
    signed(magnitude, code >> 3 & all(1))
}

/// Bytes of ones where `bit` is 1, of zeros where it is 0.
#[inline(always)]
fn ones(bit: u64) -> u64 {
    (bit << 8).wrapping_sub(bit)
}

/// `magnitude` with a sign. None is 0 with one, so that no addition leaves its byte.
#[inline(always)]
fn signed(magnitude: u64, negative: u64) -> u64 {
    (magnitude ^ ones(negative)) + negative
}
