//! The depthwise tile on AVX2: 32 channels and two taps for each pair of `vpmaddubsw`.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi16_epi32,
    _mm256_extracti128_si256, _mm256_load_si256, _mm256_loadu_si256, _mm256_maddubs_epi16,
    _mm256_setzero_si256, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use crate::arch::{Once, products_in_i16};
use crate::isa::Isa;
use crate::micro::bytes::{AccRow, DepthwiseKernel, Tile, panel_lines};

static CPU: Once = Once::new(|| Isa::Avx2.is_available());

pub(crate) const PAIRS: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Avx2,
    unpack: super::unpack::unpack,
    run,
};

fn run(tile: &Tile<'_>, out: &mut [AccRow]) {
    CPU.assert();
    let taps = tile.window.taps();
    assert!(tile.window.segment() == 64);
    tile.check(panel_lines(taps.len()), out);
    for (out, &start) in out.iter_mut().zip(tile.windows) {
        for half in 0..2 {
            // SAFETY: the CPU has AVX2; every tap of the window ends in `x` (the segment is 64
            // bytes), and the panel has two lines for each two taps.
            unsafe { row(tile, start, half, out) }
        }
    }
}

/// Channels `32 half ..` of one window.
///
/// # Safety
///
/// 64 bytes of `x` begin at `start` plus each tap, the panel has two lines for each two taps, and
/// `half` is 0 or 1.
#[target_feature(enable = "avx2")]
unsafe fn row(tile: &Tile<'_>, start: usize, half: usize, out: &mut AccRow) {
    let mut sums: [__m256i; 4] = core::array::from_fn(|b| {
        let lanes = &tile.init.0[32 * half + 8 * b..32 * half + 8 * b + 8];
        // SAFETY: the slice has eight i32.
        unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
    });
    let x = tile.x.as_ptr().wrapping_add(start + 32 * half);
    let mut panel = tile.panel.as_ptr().cast::<u8>().wrapping_add(32 * half);
    for taps in tile.window.taps().chunks(2 * products_in_i16(tile.width)) {
        let mut short = [_mm256_setzero_si256(); 2];
        for pair in taps.chunks(2) {
            // SAFETY: 32 bytes of this half begin at a tap of the window.
            let first = unsafe { _mm256_loadu_si256(x.wrapping_add(pair[0]).cast()) };
            let second = match pair.get(1) {
                // SAFETY: as the first.
                Some(&tap) => unsafe { _mm256_loadu_si256(x.wrapping_add(tap).cast()) },
                // The levels of a tap that does not exist are 0.
                None => first,
            };
            let [low, high] = [0, 64].map(|at| {
                // SAFETY: two lines for each pair, this half of each.
                unsafe { _mm256_load_si256(panel.wrapping_add(at).cast()) }
            });
            panel = panel.wrapping_add(128);
            let low = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(first, second), low);
            let high = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(first, second), high);
            short = [
                _mm256_add_epi16(short[0], low),
                _mm256_add_epi16(short[1], high),
            ];
        }
        // Channels 0..8 and 16..24 are in the first register, 8..16 and 24..32 in the second.
        let parts = [
            _mm256_castsi256_si128(short[0]),
            _mm256_castsi256_si128(short[1]),
            _mm256_extracti128_si256::<1>(short[0]),
            _mm256_extracti128_si256::<1>(short[1]),
        ];
        for (sum, part) in sums.iter_mut().zip(parts) {
            *sum = _mm256_add_epi32(*sum, _mm256_cvtepi16_epi32(part));
        }
    }
    for (lanes, sum) in out.0[32 * half..][..32].chunks_exact_mut(8).zip(sums) {
        // SAFETY: eight i32.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) }
    }
}
