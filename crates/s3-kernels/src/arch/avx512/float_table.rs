//! f32 activations and ternary weights on AVX-512: sums of three products looked up in a table.
//!
//! ```text
//! for each three k and each row: table[13 + w0 + 3 w1 + 9 w2] = (w0 x0 + w1 x1) + w2 x2
//! for each register of 16 outputs: sum += table[code]          one vpermi2ps, one vaddps
//! ```
//!
//! The 27 entries fill two registers, and `vpermi2ps` takes the low five bits of each 32-bit lane
//! as the index: a lane holds the codes of four triples, one a byte, and each is brought to the low
//! byte by a load that begins one byte further. Nothing multiplies: entries are made by adding
//! under masks.

use core::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_load_ps, _mm512_load_si512, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_maddubs_epi16,
    _mm512_mask_add_ps, _mm512_mask_sub_ps, _mm512_permutex2var_ps, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32, _mm512_store_ps, _mm512_store_si512,
    _mm512_ternarylogic_epi32,
};

use super::Avx512;
use crate::arch::x86::simd::Simd;
use crate::arch::x86::unpack::unpack;
use crate::isa::Isa;
use crate::micro::float::{CODED, FloatKernel, FloatLine, How, TableKernel, TableOperands};
use crate::packed::lines::Line;

pub(crate) const TABLE: FloatKernel = FloatKernel {
    name: "avx512-f32-table",
    isa: Isa::Avx512,
    unpack: unpack::<Avx512>,
    how: How::Table(TableKernel {
        rows: 4,
        encode,
        build,
        run,
    }),
};

/// The code of three zeros.
const ZERO: i8 = 13;

fn encode(levels: &[Line], codes: &mut [Line]) {
    assert!(Avx512::new().is_some());
    // SAFETY: the CPU has the features.
    unsafe { encode_lines(levels, codes) }
}

/// `sum_j c_j level_j` of the four levels of each lane, `c_0` in the lowest byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn weigh(c: [u8; 4], levels: __m512i) -> __m512i {
    let c = _mm512_set1_epi32(i32::from_le_bytes(c));
    _mm512_madd_epi16(_mm512_maddubs_epi16(c, levels), _mm512_set1_epi16(1))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn encode_lines(levels: &[Line], codes: &mut [Line]) {
    for (levels, codes) in levels.chunks_exact(12).zip(codes.chunks_exact_mut(4)) {
        for (v, code) in codes.iter_mut().enumerate() {
            let [a, b, c] = [0, 1, 2].map(|q| {
                // SAFETY: a `Line` is 64 aligned bytes.
                unsafe { _mm512_load_si512(levels[4 * q + v].0.as_ptr().cast()) }
            });
            let triples = [
                weigh([1, 3, 9, 0], a),
                _mm512_add_epi32(weigh([0, 0, 0, 1], a), weigh([3, 9, 0, 0], b)),
                _mm512_add_epi32(weigh([0, 0, 1, 3], b), weigh([9, 0, 0, 0], c)),
                weigh([0, 1, 3, 9], c),
            ];
            // Each is -13..=13: as bytes beside each other only once 13 was added, so carries of
            // negative ones are undone by adding all four offsets as one number.
            let sum = _mm512_add_epi32(
                _mm512_add_epi32(triples[0], _mm512_slli_epi32::<8>(triples[1])),
                _mm512_add_epi32(
                    _mm512_slli_epi32::<16>(triples[2]),
                    _mm512_slli_epi32::<24>(triples[3]),
                ),
            );
            let offsets = i32::from_le_bytes([ZERO as u8; 4]);
            let sum = _mm512_add_epi32(sum, _mm512_set1_epi32(offsets));
            // SAFETY: a `Line` is 64 aligned bytes.
            unsafe { _mm512_store_si512(code.0.as_mut_ptr().cast(), sum) }
        }
    }
}

fn build(rows: &[&[f32]], tables: &mut [FloatLine]) {
    assert!(Avx512::new().is_some());
    // SAFETY: the CPU has the features.
    unsafe { build_tables(rows, tables) }
}

/// The level of weight `j` in table entry `entry`; the entries behind the 27th are 0.
const fn level(j: u32, entry: i32) -> i32 {
    if entry < 27 {
        entry / 3i32.pow(j) % 3 - 1
    } else {
        0
    }
}

/// For each of sixteen entries from `first` on: which bits of `x_j` the product keeps, and the sign
/// that it flips.
const fn keep_and_flip(j: u32, first: i32) -> [[i32; 16]; 2] {
    let mut bits = [[0; 16]; 2];
    let mut lane = 0;
    while lane < 16 {
        let level = level(j, first + lane);
        bits[0][lane as usize] = if level == 0 { 0 } else { -1 };
        bits[1][lane as usize] = if level < 0 { i32::MIN } else { 0 };
        lane += 1;
    }
    bits
}

/// The products of `x` with the levels of sixteen entries.
#[inline]
#[target_feature(enable = "avx512f")]
fn products(x: __m512, [keep, flip]: [__m512i; 2]) -> __m512 {
    // (x & keep) ^ flip
    let bits = _mm512_ternarylogic_epi32::<0x78>(flip, keep, _mm512_castps_si512(x));
    _mm512_castsi512_ps(bits)
}

#[target_feature(enable = "avx512f")]
fn build_tables(rows: &[&[f32]], tables: &mut [FloatLine]) {
    const BITS: [[[[i32; 16]; 2]; 2]; 2] = [
        [keep_and_flip(0, 0), keep_and_flip(1, 0)],
        [keep_and_flip(0, 16), keep_and_flip(1, 16)],
    ];
    // Of the third weight, entries 0..9 have -1 and entries 18..27 have 1.
    const MINUS: u16 = 0x01ff;
    const PLUS: u16 = 0x07fc;
    let bits = BITS.map(|half| half.map(|weight| weight.map(|bits| load_constant(&bits))));
    for (i, tables) in tables.chunks_exact_mut(2 * rows.len()).enumerate() {
        for (row, table) in rows.iter().zip(tables.chunks_exact_mut(2)) {
            let x: [__m512; 3] = core::array::from_fn(|j| _mm512_set1_ps(row[3 * i + j]));
            let two = bits.map(|[a, b]| _mm512_add_ps(products(x[0], a), products(x[1], b)));
            let low = _mm512_mask_sub_ps(two[0], MINUS, two[0], x[2]);
            let high = _mm512_mask_add_ps(two[1], PLUS, two[1], x[2]);
            for (line, sums) in table.iter_mut().zip([low, high]) {
                // SAFETY: a `FloatLine` is sixteen aligned floats.
                unsafe { _mm512_store_ps(line.0.as_mut_ptr(), sums) }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_constant(lanes: &[i32; 16]) -> __m512i {
    // SAFETY: sixteen i32.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

fn run(operands: &TableOperands<'_>, out: &mut [FloatLine]) {
    assert!(Avx512::new().is_some());
    let groups = operands.codes.len() / 4;
    let rows = out.len() / V;
    assert!(operands.codes.len() > 4 * groups);
    assert!(operands.tables.len() >= groups * 4 * rows * 2);
    let sized: unsafe fn(&TableOperands<'_>, usize, &mut [FloatLine]) = match rows {
        0 => return,
        1 => sized::<1>,
        2 => sized::<2>,
        3 => sized::<3>,
        4 => sized::<4>,
        _ => panic!("a tile has at most four rows"),
    };
    // SAFETY: the CPU has the features; there are tables for `R` rows and four triples of every
    // group of codes, and one line behind the codes.
    unsafe { sized(operands, groups, out) }
}

/// Registers of outputs of a panel.
const V: usize = 4;

/// # Safety
///
/// `tables` holds `groups * 4 * R * 2` lines, `codes` more than `groups * 4`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sized<const R: usize>(
    operands: &TableOperands<'_>,
    groups: usize,
    out: &mut [FloatLine],
) {
    let out = &mut out[..R * V];
    let mut sums: [[__m512; V]; R] = core::array::from_fn(|r| {
        core::array::from_fn(|v| {
            let from = out[r * V + v].0.as_ptr();
            // SAFETY: a `FloatLine` is sixteen aligned floats.
            unsafe { _mm512_load_ps(from) }
        })
    });
    let mut tables = operands.tables.as_ptr();
    let mut codes = operands.codes.as_ptr().cast::<u8>();
    for _ in 0..groups {
        for byte in 0..4 {
            let index: [__m512i; V] = core::array::from_fn(|v| {
                // SAFETY: 64 bytes that begin at most three bytes inside a line that another
                // follows.
                unsafe { _mm512_loadu_si512(codes.wrapping_add(64 * v + byte).cast()) }
            });
            for sums in &mut sums {
                let [low, high] = [0, 1].map(|half| {
                    // SAFETY: two lines for each row of each triple.
                    unsafe { _mm512_load_ps(tables.wrapping_add(half).cast()) }
                });
                tables = tables.wrapping_add(2);
                for v in 0..V {
                    let t = _mm512_permutex2var_ps(low, index[v], high);
                    sums[v] = _mm512_add_ps(sums[v], t);
                }
            }
        }
        codes = codes.wrapping_add(64 * V);
    }
    for (row, sums) in out.chunks_exact_mut(V).zip(sums) {
        for v in 0..V {
            // SAFETY: a `FloatLine` is sixteen aligned floats.
            unsafe { _mm512_store_ps(row[v].0.as_mut_ptr(), sums[v]) }
        }
    }
}

const _: () = assert!(CODED == 12);
