//! f32 activations on AVX2 by multiply and add: four rows by 16 outputs, three `k` at a time.
//!
//! The products are exact, so a fused multiply-add rounds as the addition of the definition does.

use core::arch::x86_64::{
    __m256, __m256i, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_load_ps,
    _mm256_load_si256, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_srai_epi32, _mm256_store_ps,
};

use crate::arch::Once;
use crate::isa::Isa;
use crate::micro::float::{FloatKernel, FloatRow, How, PanelKernel, PanelTile};
use crate::packed::lines::Line;

static CPU: Once = Once::new(|| Isa::Avx2.is_available());

pub(crate) const FMA: FloatKernel = FloatKernel {
    name: "avx2-f32-fma",
    isa: Isa::Avx2,
    unpack: super::unpack::unpack,
    how: How::Panel(PanelKernel {
        rows: 4,
        widen,
        run,
    }),
};

/// Registers of eight outputs that one pass over the rows fills.
const V: usize = 2;

fn widen(lines: &[Line], panel: &mut [FloatRow]) {
    CPU.assert();
    // SAFETY: the CPU has the features.
    unsafe { widen_lines(lines, panel) }
}

#[target_feature(enable = "avx2")]
fn widen_lines(lines: &[Line], panel: &mut [FloatRow]) {
    for (lines, rows) in lines.chunks_exact(4).zip(panel.chunks_exact_mut(4)) {
        let halves = lines.iter().flat_map(|line| line.0.chunks_exact(32));
        for (v, half) in halves.enumerate() {
            // SAFETY: 32 bytes, at a multiple of 32 in an aligned line.
            let quads = unsafe { _mm256_load_si256(half.as_ptr().cast()) };
            // Byte j of each lane, with its sign.
            let bytes: [__m256i; 4] = [
                _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(quads)),
                _mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(quads)),
                _mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(quads)),
                _mm256_srai_epi32::<24>(quads),
            ];
            for (row, bytes) in rows.iter_mut().zip(bytes) {
                let floats = _mm256_cvtepi32_ps(bytes);
                let to = row.0[8 * v..8 * v + 8].as_mut_ptr();
                // SAFETY: eight floats begin at `to`, at a multiple of 32 bytes in an aligned row.
                unsafe { _mm256_store_ps(to, floats) }
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
        _ => sized::<4>,
    };
    for column in (0..tile.columns).step_by(8 * V) {
        // SAFETY: the CPU has the features; `R` rows of the panel's length and as many of `out` are
        // there, and `column` is a multiple of 16 below 64.
        unsafe { sized(tile, column, out) }
    }
}

crate::arch::x86::float_rows!(
    "avx2,fma",
    8,
    __m256,
    _mm256_load_ps,
    _mm256_store_ps,
    _mm256_set1_ps,
    _mm256_setzero_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps
);
