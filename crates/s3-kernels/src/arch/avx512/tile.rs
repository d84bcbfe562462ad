//! The microkernel on AVX-512: six windows by 64 outputs in 24 registers.
//!
//! A group of four activations of one window is broadcast to sixteen lanes; one instruction then
//! multiplies it with the levels of sixteen outputs and adds the four products of each. The weights
//! of a group are loaded once for all windows.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_load_si512,
    _mm512_madd_epi16, _mm512_maddubs_epi16, _mm512_set1_epi8, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_store_si512, _mm512_xor_si512,
};

use super::depthwise::PAIRS;
use crate::arch::{Once, products_in_i16};
use crate::isa::{Extension, Isa};
use crate::micro::bytes::{AccRow, Tile, TileKernel};
use crate::packed::lines::Line;

static CPU: Once = Once::new(|| Isa::Avx512.is_available());
static VNNI_CPU: Once = Once::new(has_vnni);

/// One `vpdpbusd` for 64 products.
pub(crate) const VNNI: TileKernel = TileKernel {
    name: "avx512-u8s8-vnni",
    isa: Isa::Avx512,
    available: has_vnni,
    unpack: super::unpack::unpack,
    depthwise: &PAIRS,
    order: |_| (),
    run: run_vnni,
};

/// `vpmaddubsw` into i16, widened as often as the alphabet asks for: without VNNI.
pub(crate) const MADD: TileKernel = TileKernel {
    name: "avx512-u8s8-madd",
    isa: Isa::Avx512,
    available: || Isa::Avx512.is_available(),
    unpack: super::unpack::unpack,
    depthwise: &PAIRS,
    order: |_| (),
    run: run_madd,
};

fn has_vnni() -> bool {
    Isa::Avx512.is_available() && Extension::Vnni.is_available()
}

/// `$kernel::<R, V>` for the tile's windows and registers of outputs.
macro_rules! by_size {
    ($kernel:ident, $tile:expr) => {{
        let sized: unsafe fn(&Tile<'_>, &mut [AccRow]) =
            match ($tile.windows.len(), $tile.columns.div_ceil(16)) {
                (0 | 1, 0 | 1) => $kernel::<1, 1>,
                (0 | 1, 2) => $kernel::<1, 2>,
                (0 | 1, _) => $kernel::<1, 4>,
                (2, 0 | 1) => $kernel::<2, 1>,
                (2, 2) => $kernel::<2, 2>,
                (2, _) => $kernel::<2, 4>,
                (3, 0 | 1) => $kernel::<3, 1>,
                (3, 2) => $kernel::<3, 2>,
                (3, _) => $kernel::<3, 4>,
                (4, 0 | 1) => $kernel::<4, 1>,
                (4, 2) => $kernel::<4, 2>,
                (4, _) => $kernel::<4, 4>,
                (5, 0 | 1) => $kernel::<5, 1>,
                (5, 2) => $kernel::<5, 2>,
                (5, _) => $kernel::<5, 4>,
                (_, 0 | 1) => $kernel::<6, 1>,
                (_, 2) => $kernel::<6, 2>,
                (_, _) => $kernel::<6, 4>,
            };
        sized
    }};
}

fn run_vnni(tile: &Tile<'_>, out: &mut [AccRow]) {
    VNNI_CPU.assert();
    tile.check(tile.window.total_quads() * 4, out);
    if tile.windows.is_empty() {
        return;
    }
    let sized = by_size!(vnni_sized, tile);
    // SAFETY: the CPU has the features; the operands are checked and have the size.
    unsafe { sized(tile, out) }
}

fn run_madd(tile: &Tile<'_>, out: &mut [AccRow]) {
    CPU.assert();
    tile.check(tile.window.total_quads() * 4, out);
    if tile.windows.is_empty() {
        return;
    }
    let sized = by_size!(madd_sized, tile);
    // SAFETY: the CPU has the features; the operands are checked and have the size.
    unsafe { sized(tile, out) }
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

/// Four activations in every lane.
///
/// # Safety
///
/// Four bytes at `x` can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(x: *const u8) -> __m512i {
    // SAFETY: the caller's.
    let quad = unsafe { x.cast::<i32>().read_unaligned() };
    _mm512_set1_epi32(quad)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_row<const V: usize>(row: &AccRow) -> [__m512i; V] {
    core::array::from_fn(|v| {
        let lanes = row.0[16 * v..16 * v + 16].as_ptr();
        // SAFETY: sixteen i32 begin at `lanes`, and the row is aligned to 64 bytes.
        unsafe { _mm512_load_si512(lanes.cast()) }
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_row<const V: usize>(sums: [__m512i; V], row: &mut AccRow) {
    for (v, sum) in sums.into_iter().enumerate() {
        let lanes = row.0[16 * v..16 * v + 16].as_mut_ptr();
        // SAFETY: sixteen i32 begin at `lanes`, and the row is aligned to 64 bytes.
        unsafe { _mm512_store_si512(lanes.cast(), sum) }
    }
}

/// # Safety
///
/// The tile passed [`Tile::check`] and has at least `R` windows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni_sized<const R: usize, const V: usize>(tile: &Tile<'_>, out: &mut [AccRow]) {
    let quads = tile.window.quads();
    let flip = _mm512_set1_epi8(tile.flip.cast_signed());
    let mut sums = [load_row::<V>(tile.init); R];
    let mut panel = tile.panel.as_ptr();
    for &tap in tile.window.taps() {
        let x: [*const u8; R] =
            core::array::from_fn(|r| tile.x.as_ptr().wrapping_add(tile.windows[r] + tap));
        for q in 0..quads {
            // SAFETY: the panel has four lines for each quad of each tap.
            let w: [__m512i; V] = core::array::from_fn(|v| unsafe { load(panel.wrapping_add(v)) });
            panel = panel.wrapping_add(4);
            for r in 0..R {
                // SAFETY: the window's reach, which ends no earlier than this quad, lies in `x`.
                let x = unsafe { broadcast(x[r].wrapping_add(4 * q)) };
                let x = _mm512_xor_si512(x, flip);
                for v in 0..V {
                    sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], x, w[v]);
                }
            }
        }
    }
    for (row, sums) in out.iter_mut().zip(sums) {
        store_row(sums, row);
    }
}

/// # Safety
///
/// The tile passed [`Tile::check`] and has at least `R` windows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn madd_sized<const R: usize, const V: usize>(tile: &Tile<'_>, out: &mut [AccRow]) {
    let quads = tile.window.quads();
    let flip = _mm512_set1_epi8(tile.flip.cast_signed());
    let step = products_in_i16(tile.width);
    let ones = _mm512_set1_epi16(1);
    out[..R].fill(*tile.init);
    let mut panel = tile.panel.as_ptr();
    for &tap in tile.window.taps() {
        let x: [*const u8; R] =
            core::array::from_fn(|r| tile.x.as_ptr().wrapping_add(tile.windows[r] + tap));
        let mut q = 0;
        while q < quads {
            let end = quads.min(q + step);
            let mut short = [[_mm512_setzero_si512(); V]; R];
            while q < end {
                // SAFETY: the panel has four lines for each quad of each tap.
                let w: [__m512i; V] =
                    core::array::from_fn(|v| unsafe { load(panel.wrapping_add(v)) });
                panel = panel.wrapping_add(4);
                for r in 0..R {
                    // SAFETY: the window's reach, which ends no earlier than this quad, lies in `x`.
                    let x = unsafe { broadcast(x[r].wrapping_add(4 * q)) };
                    let x = _mm512_xor_si512(x, flip);
                    for v in 0..V {
                        let pairs = _mm512_maddubs_epi16(x, w[v]);
                        short[r][v] = _mm512_add_epi16(short[r][v], pairs);
                    }
                }
                q += 1;
            }
            for (row, short) in out.iter_mut().zip(short) {
                let sums = load_row::<V>(row);
                let sums = core::array::from_fn(|v| {
                    _mm512_add_epi32(sums[v], _mm512_madd_epi16(short[v], ones))
                });
                store_row::<V>(sums, row);
            }
        }
    }
}
