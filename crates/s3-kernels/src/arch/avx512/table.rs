//! Ternary products without a multiplication: sums of three activations are looked up.
//!
//! ```text
//! for each block of at most 252 columns:
//!     for each batch row, each three of its columns:
//!         table[number] = ±x0 ±x1 ±x2              32 x i16, one register
//!     for each two panels of 64 rows, each batch row:
//!         acc = 0                                  i16, four registers of 32 rows
//!         for each word of nine columns, three times:
//!             acc += vpermw(word, table);  word >>= 5
//!         y += acc                                 widened to i32
//! ```
//!
//! `vpermw` reads five bits of each lane, so that nothing is masked. One look-up and one addition
//! are 96 products, where `vpdpbusd` does 64. A block is 84 look-ups: `84 * 3 * 128` is less than
//! `2^15`.

use core::arch::x86_64::*;

use super::load;
use crate::isa::Isa;
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::lines::{Line, PANEL};
use crate::packed::ternary::{BLOCK, WORD, levels};
use crate::scratch::with_scratch;

/// Batch rows of one tile, at most: their tables for one block stay in the first-level cache.
const MR: usize = 4;

/// Batch rows whose tables are held at a time: a quarter of the second-level cache.
const BATCH: usize = 48;

/// Builds a table for each three activations; two panels are looked up at a time.
pub(crate) fn work(shape: &Shape) -> Work {
    shape.work(shape.activations(), MR, 2 * PANEL)
}

/// Serves ternary weights, of every shape.
pub(crate) fn gemm(job: Job<'_>) {
    assert!(Isa::Avx512.is_available());
    // SAFETY: the CPU has just been asked for AVX-512 F, BW and VL.
    unsafe { by_blocks(job) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn by_blocks(job: Job<'_>) {
    let cols = job.w.cols();
    let rows = job.y.len() / job.batch;
    let ternary = job.w.ternary();
    let words = ternary.words();
    with_scratch(|scratch| {
        let (_, tables) = scratch.get(0, job.batch.min(BATCH) * 3 * BLOCK);
        let batches = job.batch.div_ceil(BATCH);
        for b in 0..batches {
            let from = job.batch * b / batches;
            let batch = job.batch * (b + 1) / batches - from;
            let y = &mut job.y[from * rows..][..batch * rows];
            let tiles = batch.div_ceil(MR);
            let tile = |t: usize| batch * t / tiles..batch * (t + 1) / tiles;
            for first in (0..words).step_by(BLOCK) {
                let block = first..words.min(first + BLOCK);
                for t in 0..tiles {
                    for (m, row) in tile(t).enumerate() {
                        let x = &job.x[(from + row) * cols..][..cols];
                        let x = &x[block.start * WORD..cols.min(block.end * WORD)];
                        let at = tile(t).start * 3 * BLOCK + m;
                        build_tables(x, &mut tables[at..], tile(t).len());
                    }
                }
                for t in 0..tiles {
                    let tables = &tables[tile(t).start * 3 * BLOCK..];
                    let mut out = Out {
                        y: &mut y[tile(t).start * rows..tile(t).end * rows],
                        rows,
                        column: 0,
                        add: first > 0,
                    };
                    let mut panels = job.panels.clone();
                    while let Some(panel) = panels.next() {
                        let left = ternary.block(first, panel);
                        // Without a second panel the first is computed twice, and written once.
                        let right = panels.next();
                        let words = [left, right.map_or(left, |p| ternary.block(first, p))];
                        match tile(t).len() {
                            1 => two_panels::<1>(words, tables, &mut out),
                            2 => two_panels::<2>(words, tables, &mut out),
                            3 => two_panels::<3>(words, tables, &mut out),
                            _ => two_panels::<4>(words, tables, &mut out),
                        }
                        out.column += 2 * PANEL;
                    }
                }
            }
        }
    });
}

/// Where sums go.
struct Out<'a> {
    /// `[M, rows]`.
    y: &'a mut [i32],
    rows: usize,
    /// The first of the panels' rows.
    column: usize,
    /// Whether the sums are added to what is there.
    add: bool,
}

/// Writes the tables of some columns of one batch row, every `stride` lines.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn build_tables(x: &[i8], tables: &mut [Line], stride: usize) {
    /// For the `i`-th of three columns of triple `j`: lane of its value, of its negative, or of
    /// zero.
    const fn lanes(j: usize, i: usize) -> Line {
        let mut bytes = [0; 64];
        let mut number = 0;
        while number < 32 {
            bytes[2 * number] = match levels(number)[i] {
                1 => 3 * j + i,
                -1 => 16 + 3 * j + i,
                _ => 15,
            } as u8;
            number += 1;
        }
        Line(bytes)
    }
    const LANES: [[Line; 3]; 3] = [
        [lanes(0, 0), lanes(0, 1), lanes(0, 2)],
        [lanes(1, 0), lanes(1, 1), lanes(1, 2)],
        [lanes(2, 0), lanes(2, 1), lanes(2, 2)],
    ];
    let mut tables = tables.iter_mut().step_by(stride);
    for x in x.chunks(WORD) {
        let mask = 0xffff >> (16 - x.len());
        // SAFETY: the mask reads the bytes of `x` and no other.
        let x = unsafe { _mm_maskz_loadu_epi8(mask, x.as_ptr()) };
        let x = _mm256_cvtepi8_epi16(x);
        let negative = _mm256_sub_epi16(_mm256_setzero_si256(), x);
        let x = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(x), negative);
        for [a, b, c] in &LANES {
            let pick = |lanes| _mm512_permutexvar_epi16(load(lanes), x);
            let sum = _mm512_add_epi16(_mm512_add_epi16(pick(a), pick(b)), pick(c));
            if let Some(table) = tables.next() {
                let table: *mut Line = table;
                // SAFETY: `table` comes from a unique reference to 64 bytes on a 64-byte boundary.
                unsafe { _mm512_store_si512(table.cast(), sum) };
            }
        }
    }
}

/// `M` batch rows by two panels; what lies behind the last row of `out` is not written. A function
/// of its own, so that the addresses of panels are computed outside of its loop.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
fn two_panels<const M: usize>(words: [&[[Line; 2]]; 2], tables: &[Line], out: &mut Out<'_>) {
    let tables = tables.as_chunks::<M>().0.as_chunks::<3>().0;
    let mut acc = [[_mm512_setzero_si512(); 4]; M];
    for ((left, right), tables) in words[0].iter().zip(words[1]).zip(tables) {
        let mut word = [
            load(&left[0]),
            load(&left[1]),
            load(&right[0]),
            load(&right[1]),
        ];
        for (i, tables) in tables.iter().enumerate() {
            if i > 0 {
                word[0] = _mm512_srli_epi16::<5>(word[0]);
                word[1] = _mm512_srli_epi16::<5>(word[1]);
                word[2] = _mm512_srli_epi16::<5>(word[2]);
                word[3] = _mm512_srli_epi16::<5>(word[3]);
            }
            for m in 0..M {
                add_looked_up(&mut acc[m], word, load(&tables[m]));
            }
        }
    }
    for m in 0..M {
        let row = &mut out.y[m * out.rows..][..out.rows];
        let [a, b, c, d] = acc[m];
        put([a, b], &mut row[out.column..], out.add);
        if let Some(row) = row.get_mut(out.column + PANEL..) {
            put([c, d], row, out.add);
        }
    }
}

/// `acc += table[word]` in each lane of four registers.
///
/// Assembly, because the compiler would rather add the three look-ups of a word to each other
/// first, for which there are too few registers; and in this order, because the CPU runs four
/// look-ups and then four additions faster than look-ups and additions in turns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_looked_up(acc: &mut [__m512i; 4], word: [__m512i; 4], table: __m512i) {
    let (_a, _b, _c, _d): (__m512i, __m512i, __m512i, __m512i);
    // SAFETY: eight instructions on registers, of AVX-512 BW, which this function enables.
    unsafe {
        core::arch::asm!(
            "vpermw {a}, {i}, {table}",
            "vpermw {b}, {j}, {table}",
            "vpermw {c}, {k}, {table}",
            "vpermw {d}, {l}, {table}",
            "vpaddw {x}, {x}, {a}",
            "vpaddw {y}, {y}, {b}",
            "vpaddw {z}, {z}, {c}",
            "vpaddw {t}, {t}, {d}",
            a = out(zmm_reg) _a,
            b = out(zmm_reg) _b,
            c = out(zmm_reg) _c,
            d = out(zmm_reg) _d,
            i = in(zmm_reg) word[0],
            j = in(zmm_reg) word[1],
            k = in(zmm_reg) word[2],
            l = in(zmm_reg) word[3],
            table = in(zmm_reg) table,
            x = inout(zmm_reg) acc[0],
            y = inout(zmm_reg) acc[1],
            z = inout(zmm_reg) acc[2],
            t = inout(zmm_reg) acc[3],
            options(pure, nomem, nostack, preserves_flags)
        );
    }
}

/// Widens the sums of one panel and writes or adds them to its rows, which may be fewer than 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn put(acc: [__m512i; 2], row: &mut [i32], add: bool) {
    let sums = [
        _mm512_cvtepi16_epi32(_mm512_castsi512_si256(acc[0])),
        _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(acc[0])),
        _mm512_cvtepi16_epi32(_mm512_castsi512_si256(acc[1])),
        _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(acc[1])),
    ];
    for (sum, y) in sums.into_iter().zip(row.chunks_mut(16)) {
        let mask = 0xffff >> (16 - y.len());
        let y = y.as_mut_ptr();
        // SAFETY: the mask reads the elements of the chunk and no other.
        let old = unsafe { _mm512_maskz_loadu_epi32(mask, y) };
        let new = if add { _mm512_add_epi32(old, sum) } else { sum };
        // SAFETY: the mask writes the elements of the chunk and no other.
        unsafe { _mm512_mask_storeu_epi32(y, mask, new) };
    }
}
