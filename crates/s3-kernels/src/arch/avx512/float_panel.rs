//! f32 activations on AVX-512 by multiply and add: eight rows by 32 outputs, three `k` at a time.
//!
//! The products are exact, so a fused multiply-add rounds as the addition of the definition does.

use core::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_load_ps,
    _mm512_load_si512, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_srai_epi32, _mm512_store_ps,
};

use crate::arch::Once;
use crate::isa::Isa;
use crate::micro::float::{FloatKernel, FloatRow, How, PanelKernel, PanelTile};
use crate::packed::lines::Line;

static CPU: Once = Once::new(|| Isa::Avx512.is_available());

pub(crate) const FMA: FloatKernel = FloatKernel {
    name: "avx512-f32-fma",
    isa: Isa::Avx512,
    unpack: super::unpack::unpack,
    how: How::Panel(PanelKernel {
        rows: 8,
        widen,
        run,
    }),
};

/// Registers of sixteen outputs that one pass over the rows fills.
const V: usize = 2;

fn widen(lines: &[Line], panel: &mut [FloatRow]) {
    CPU.assert();
    // SAFETY: the CPU has the features.
    unsafe { widen_lines(lines, panel) }
}

#[target_feature(enable = "avx512f")]
fn widen_lines(lines: &[Line], panel: &mut [FloatRow]) {
    for (lines, rows) in lines.chunks_exact(4).zip(panel.chunks_exact_mut(4)) {
        for (v, line) in lines.iter().enumerate() {
            // SAFETY: a `Line` is 64 aligned bytes.
            let quads = unsafe { _mm512_load_si512(line.0.as_ptr().cast()) };
            // Byte j of each lane, with its sign.
            let bytes: [__m512i; 4] = [
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(quads)),
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(quads)),
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(quads)),
                _mm512_srai_epi32::<24>(quads),
            ];
            for (row, bytes) in rows.iter_mut().zip(bytes) {
                let floats = _mm512_cvtepi32_ps(bytes);
                let to = row.0[16 * v..16 * v + 16].as_mut_ptr();
                // SAFETY: sixteen floats begin at `to`, at a multiple of 64 bytes in an aligned row.
                unsafe { _mm512_store_ps(to, floats) }
            }
        }
    }
}

fn run(tile: &PanelTile<'_>, out: &mut [FloatRow]) {
    CPU.assert();
    assert!(tile.rows.iter().all(|row| row.len() == tile.panel.len()));
    assert!(out.len() >= tile.rows.len());
    let sized: unsafe fn(&PanelTile<'_>, usize, &mut [FloatRow]) = match tile.rows.len() {
        0 => return,
        1 => sized::<1>,
        2 => sized::<2>,
        3 => sized::<3>,
        4 => sized::<4>,
        5 => sized::<5>,
        6 => sized::<6>,
        7 => sized::<7>,
        _ => sized::<8>,
    };
    for column in (0..tile.columns).step_by(16 * V) {
        // SAFETY: the CPU has the features; `R` rows of the panel's length and as many of `out` are
        // there, and `column` is 0 or 32.
        unsafe { sized(tile, column, out) }
    }
}

crate::arch::x86::float_rows!(
    "avx512f",
    16,
    __m512,
    _mm512_load_ps,
    _mm512_store_ps,
    _mm512_set1_ps,
    _mm512_setzero_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps
);
