//! f32 activations on AVX2 by multiply and add: four rows by 16 outputs, three `k` at a time.
//!
//! The products are exact, so a fused multiply-add rounds as the addition of the definition does.

use core::arch::x86_64::{
    __m256, __m256i, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_load_ps,
    _mm256_load_si256, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_srai_epi32, _mm256_store_ps,
};

use crate::arch::Once;
use crate::dispatch::Isa;
use crate::float::{FloatKernel, FloatRow, How, PanelKernel, PanelTile};
use crate::tiles::Line;

static CPU: Once = Once::new(|| Isa::Avx2.is_available());

pub(crate) const FMA: FloatKernel = FloatKernel {
    name: "avx2-f32-fma",
    isa: Isa::Avx2,
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

/// The weights of one `k`, or the sums of one row, from `column` on.
#[inline]
#[target_feature(enable = "avx2")]
fn load(row: &FloatRow, column: usize) -> [__m256; V] {
    core::array::from_fn(|v| {
        let from = row.0[column + 8 * v..column + 8 * v + 8].as_ptr();
        // SAFETY: eight floats begin at `from`, at a multiple of 32 bytes in an aligned row.
        unsafe { _mm256_load_ps(from) }
    })
}

/// # Safety
///
/// The tile has at least `R` rows, each as long as the panel; `column` is 0, 16, 32 or 48.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sized<const R: usize>(tile: &PanelTile<'_>, column: usize, out: &mut [FloatRow]) {
    let x: [*const f32; R] = core::array::from_fn(|r| tile.rows[r].as_ptr());
    let mut sums: [[_; V]; R] = core::array::from_fn(|r| load(&out[r], column));
    let triples = tile.panel.chunks_exact(3);
    let rest = triples.remainder();
    for (i, triple) in triples.enumerate() {
        let w: [_; 3] = core::array::from_fn(|j| load(&triple[j], column));
        for r in 0..R {
            let x: [__m256; 3] = core::array::from_fn(|j| {
                // SAFETY: the row is as long as the panel, of which this is element `3 i + j`.
                _mm256_set1_ps(unsafe { *x[r].wrapping_add(3 * i + j) })
            });
            for v in 0..V {
                let t = _mm256_mul_ps(x[0], w[0][v]);
                let t = _mm256_fmadd_ps(x[1], w[1][v], t);
                let t = _mm256_fmadd_ps(x[2], w[2][v], t);
                sums[r][v] = _mm256_add_ps(sums[r][v], t);
            }
        }
    }
    let done = tile.panel.len() - rest.len();
    for (r, sums) in sums.iter_mut().enumerate() {
        let mut t = [_mm256_setzero_ps(); V];
        for (row, &x) in rest.iter().zip(&tile.rows[r][done..]) {
            let w = load(row, column);
            t = core::array::from_fn(|v| _mm256_fmadd_ps(_mm256_set1_ps(x), w[v], t[v]));
        }
        for v in 0..V {
            let sum = _mm256_add_ps(sums[v], t[v]);
            let to = out[r].0[column + 8 * v..column + 8 * v + 8].as_mut_ptr();
            // SAFETY: eight floats begin at `to`, at a multiple of 32 bytes in an aligned row.
            unsafe { _mm256_store_ps(to, sum) }
        }
    }
}
