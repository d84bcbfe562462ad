//! The microkernel on AVX2: six windows by 16 outputs, products summed in i16 for as long as they
//! fit.
//!
//! `vpmaddubsw` gives sums of two products; packing's alphabets are small enough that many of them
//! fit i16 (64 of a ternary weight, 16 of a 3-bit one, one of a 4-bit one), and only then they are
//! widened to i32 by `vpmaddwd` with ones.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_load_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_store_si256, _mm256_xor_si256,
};

use super::depthwise::PAIRS;
use crate::arch::{Once, products_in_i16};
use crate::isa::Isa;
use crate::micro::bytes::{AccRow, Tile, TileKernel};

static CPU: Once = Once::new(|| Isa::Avx2.is_available());

pub(crate) const MADD: TileKernel = TileKernel {
    name: "avx2-u8s8-madd",
    isa: Isa::Avx2,
    available: || Isa::Avx2.is_available(),
    unpack: super::unpack::unpack,
    depthwise: &PAIRS,
    order: |_| (),
    run,
};

/// Registers of eight outputs that one pass over the windows fills.
const V: usize = 2;

fn run(tile: &Tile<'_>, out: &mut [AccRow]) {
    CPU.assert();
    tile.check(tile.window.total_quads() * 4, out);
    let sized: unsafe fn(&Tile<'_>, usize, &mut [AccRow]) = match tile.windows.len() {
        0 => return,
        1 => madd_sized::<1>,
        2 => madd_sized::<2>,
        3 => madd_sized::<3>,
        4 => madd_sized::<4>,
        5 => madd_sized::<5>,
        _ => madd_sized::<6>,
    };
    for column in (0..tile.columns).step_by(8 * V) {
        // SAFETY: the CPU has AVX2, the operands are checked and have the size, and `column` is a
        // multiple of 16 below 64.
        unsafe { sized(tile, column, out) }
    }
}

/// # Safety
///
/// The tile passed [`Tile::check`] and has at least `R` windows; `column` is 0, 16, 32 or 48.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn madd_sized<const R: usize>(tile: &Tile<'_>, column: usize, out: &mut [AccRow]) {
    let quads = tile.window.quads();
    let step = products_in_i16(tile.width);
    let ones = _mm256_set1_epi16(1);
    let flip = _mm256_set1_epi8(tile.flip.cast_signed());
    let columns = column..column + 8 * V;
    for row in &mut out[..R] {
        row.0[columns.clone()].copy_from_slice(&tile.init.0[columns.clone()]);
    }
    let mut panel = tile.panel.as_ptr().cast::<i8>().wrapping_add(4 * column);
    for &tap in tile.window.taps() {
        let x: [*const u8; R] =
            core::array::from_fn(|r| tile.x.as_ptr().wrapping_add(tile.windows[r] + tap));
        let mut q = 0;
        while q < quads {
            let end = quads.min(q + step);
            let mut short = [[_mm256_setzero_si256(); V]; R];
            while q < end {
                let w: [__m256i; V] = core::array::from_fn(|v| {
                    // SAFETY: the panel has 256 bytes for each quad of each tap, the 64 of these 16
                    // columns begin at a multiple of 64.
                    unsafe { _mm256_load_si256(panel.wrapping_add(32 * v).cast()) }
                });
                panel = panel.wrapping_add(256);
                for r in 0..R {
                    // SAFETY: the window's reach, which ends no earlier than this quad, lies in `x`.
                    let quad = unsafe { x[r].wrapping_add(4 * q).cast::<i32>().read_unaligned() };
                    let x = _mm256_xor_si256(_mm256_set1_epi32(quad), flip);
                    for v in 0..V {
                        let pairs = _mm256_maddubs_epi16(x, w[v]);
                        short[r][v] = _mm256_add_epi16(short[r][v], pairs);
                    }
                }
                q += 1;
            }
            for (row, short) in out.iter_mut().zip(short) {
                for v in 0..V {
                    let lanes = row.0[column + 8 * v..column + 8 * v + 8].as_mut_ptr();
                    // SAFETY: eight i32 begin at `lanes`, at a multiple of 32 bytes in an aligned row.
                    let sums = unsafe { _mm256_load_si256(lanes.cast_const().cast()) };
                    let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(short[v], ones));
                    // SAFETY: as the load.
                    unsafe { _mm256_store_si256(lanes.cast(), sums) }
                }
            }
        }
    }
}
