//! The microkernel on AVX-512: six windows by 64 outputs in 24 registers.
//!
//! A group of four activations of one window is broadcast to sixteen lanes; one instruction then
//! multiplies it with the levels of sixteen outputs and adds the four products of each. The weights
//! of a group are loaded once for all windows.

use core::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_store_si512, _mm512_xor_si512,
};

use super::{Avx512, DEPTHWISE};
use crate::arch::Once;
use crate::arch::x86::unpack::unpack;
use crate::isa::{Extension, Isa};
use crate::micro::bytes::{AccRow, Microkernel, Operands};
use crate::packed::lines::Line;

static CPU: Once = Once::new(has_vnni);

/// One `vpdpbusd` for 64 products.
pub(crate) const VNNI: Microkernel = Microkernel {
    name: "avx512-u8s8-vnni",
    isa: Isa::Avx512,
    available: has_vnni,
    unpack: unpack::<Avx512>,
    depthwise: &DEPTHWISE,
    order: |_| (),
    run,
};

fn has_vnni() -> bool {
    Isa::Avx512.is_available() && Extension::Vnni.is_available()
}

fn run(operands: &Operands<'_>, out: &mut [AccRow]) {
    assert!(CPU.holds());
    operands.check(operands.taps.total_quads() * 4, out);
    if operands.windows.is_empty() {
        return;
    }
    let multiply = match operands.flip {
        0 => of_windows::<false>(operands),
        _ => of_windows::<true>(operands),
    };
    // SAFETY: the CPU has the features; the operands are checked and have the size.
    unsafe { multiply(operands, out) }
}

type Multiply = unsafe fn(&Operands<'_>, &mut [AccRow]);

/// The kernel for these operands, whose bytes are to be flipped where `FLIP`.
fn of_windows<const FLIP: bool>(operands: &Operands<'_>) -> Multiply {
    let registers = operands.columns.div_ceil(16);
    match operands.windows.len() {
        0 | 1 => of_registers::<1, FLIP>(registers),
        2 => of_registers::<2, FLIP>(registers),
        3 => of_registers::<3, FLIP>(registers),
        4 => of_registers::<4, FLIP>(registers),
        5 => of_registers::<5, FLIP>(registers),
        _ => of_registers::<6, FLIP>(registers),
    }
}

/// The kernel for `R` windows and at least so many registers of outputs.
fn of_registers<const R: usize, const FLIP: bool>(registers: usize) -> Multiply {
    match registers {
        0 | 1 => multiply::<R, 1, FLIP>,
        2 => multiply::<R, 2, FLIP>,
        _ => multiply::<R, 4, FLIP>,
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
/// The tile passed [`Operands::check`] and has at least `R` windows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn multiply<const R: usize, const V: usize, const FLIP: bool>(
    operands: &Operands<'_>,
    out: &mut [AccRow],
) {
    let quads = operands.taps.quads();
    let flip = _mm512_set1_epi8(operands.flip.cast_signed());
    let mut sums = [load_row::<V>(operands.init); R];
    let mut panel = operands.panel.as_ptr();
    for &tap in operands.taps.offsets() {
        let x: [*const u8; R] =
            core::array::from_fn(|r| operands.x.as_ptr().wrapping_add(operands.windows[r] + tap));
        for q in 0..quads {
            // SAFETY: the panel has four lines for each quad of each tap.
            let w: [__m512i; V] = core::array::from_fn(|v| unsafe { load(panel.wrapping_add(v)) });
            panel = panel.wrapping_add(4);
            for r in 0..R {
                // SAFETY: the window's reach, which ends no earlier than this quad, lies in `x`.
                let x = unsafe { broadcast(x[r].wrapping_add(4 * q)) };
                let x = if FLIP { _mm512_xor_si512(x, flip) } else { x };
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
