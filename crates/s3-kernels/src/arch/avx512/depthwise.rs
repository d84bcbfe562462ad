//! The depthwise tile on AVX-512: 64 channels and two taps for each pair of `vpmaddubsw`.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_castsi512_si256, _mm512_cvtepi16_epi32,
    _mm512_extracti64x4_epi64, _mm512_load_si512, _mm512_loadu_si512, _mm512_maddubs_epi16,
    _mm512_permutex2var_epi64, _mm512_set_epi64, _mm512_setzero_si512, _mm512_store_si512,
    _mm512_unpackhi_epi8, _mm512_unpacklo_epi8,
};

use crate::arch::{Once, products_in_i16};
use crate::isa::Isa;
use crate::micro::bytes::{AccRow, DepthwiseKernel, Tile, panel_lines};
use crate::packed::lines::Line;

static CPU: Once = Once::new(|| Isa::Avx512.is_available());

pub(crate) const PAIRS: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Avx512,
    unpack: super::unpack::unpack,
    run,
};

fn run(tile: &Tile<'_>, out: &mut [AccRow]) {
    CPU.assert();
    let taps = tile.window.taps();
    assert!(tile.window.segment() == 64);
    tile.check(panel_lines(taps.len()), out);
    for (out, &start) in out.iter_mut().zip(tile.windows) {
        // SAFETY: the CPU has the features; every tap of the window ends in `x` (the segment is 64
        // bytes), and the panel has two lines for each two taps.
        unsafe { row(tile, start, out) }
    }
}

/// # Safety
///
/// 64 bytes of `x` begin at `start` plus each tap, and the panel has two lines for each two taps.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn row(tile: &Tile<'_>, start: usize, out: &mut AccRow) {
    let mut sums = core::array::from_fn(|b| load_sums(&tile.init.0, b));
    let x = tile.x.as_ptr().wrapping_add(start);
    let mut panel = tile.panel.as_ptr();
    for taps in tile.window.taps().chunks(2 * products_in_i16(tile.width)) {
        let mut short = [_mm512_setzero_si512(); 2];
        for pair in taps.chunks(2) {
            // SAFETY: 64 bytes begin at a tap of the window.
            let first = unsafe { _mm512_loadu_si512(x.wrapping_add(pair[0]).cast()) };
            let second = match pair.get(1) {
                // SAFETY: as the first.
                Some(&tap) => unsafe { _mm512_loadu_si512(x.wrapping_add(tap).cast()) },
                // The levels of a tap that does not exist are 0.
                None => first,
            };
            // SAFETY: two lines for each pair.
            let [low, high] = [0, 1].map(|i| unsafe { load(panel.wrapping_add(i)) });
            panel = panel.wrapping_add(2);
            let low = _mm512_maddubs_epi16(_mm512_unpacklo_epi8(first, second), low);
            let high = _mm512_maddubs_epi16(_mm512_unpackhi_epi8(first, second), high);
            short = [
                _mm512_add_epi16(short[0], low),
                _mm512_add_epi16(short[1], high),
            ];
        }
        widen(short, &mut sums);
    }
    for (lanes, sums) in out.0.chunks_exact_mut(16).zip(sums) {
        // SAFETY: sixteen i32, at a multiple of 64 bytes in an aligned row.
        unsafe { _mm512_store_si512(lanes.as_mut_ptr().cast(), sums) }
    }
}

/// Adds sums in the order of the interleaving to sums in the order of the channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widen(short: [__m512i; 2], sums: &mut [__m512i; 4]) {
    // Channels 0..32, then 32..64: parts of 8 from both registers in turn.
    let first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    let second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    for (half, order) in [first, second].into_iter().enumerate() {
        let channels = _mm512_permutex2var_epi64(short[0], order, short[1]);
        let low = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(channels));
        let high = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(channels));
        sums[2 * half] = _mm512_add_epi32(sums[2 * half], low);
        sums[2 * half + 1] = _mm512_add_epi32(sums[2 * half + 1], high);
    }
}

/// # Safety
///
/// `line` can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(line: *const Line) -> __m512i {
    // SAFETY: the caller's; a `Line` is 64 aligned bytes.
    unsafe { _mm512_load_si512(line.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_sums(row: &[i32; 64], b: usize) -> __m512i {
    // SAFETY: the slice has sixteen i32.
    unsafe { _mm512_loadu_si512(row[16 * b..16 * b + 16].as_ptr().cast()) }
}
