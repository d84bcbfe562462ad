//! [`Simd`] on AVX-512: sixteen lanes.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::arch::Once;
use crate::arch::x86::simd::{Simd, Task, instructions};
use crate::isa::Isa;

/// Proof that the CPU has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

const LANES: usize = 16;

impl Simd for Avx512 {
    type I = __m512i;
    type F = __m512;

    fn new() -> Option<Avx512> {
        static CPU: Once = Once::new(|| Isa::Avx512.is_available());
        CPU.holds().then_some(Avx512(()))
    }

    fn run(self, task: impl Task) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn inner(simd: Avx512, task: impl Task) {
            task.run(simd);
        }
        // SAFETY: `self` exists only where `new` found every feature that `inner` enables.
        unsafe { inner(self, task) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const __m512i) -> __m512i {
        // SAFETY: the caller's, and the CPU has the instruction (`self`).
        unsafe { _mm512_loadu_si512(from) }
    }

    #[inline(always)]
    unsafe fn write(self, v: __m512i, to: *mut __m512i) {
        // SAFETY: as of `read`.
        unsafe { _mm512_storeu_si512(to, v) }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32]) -> __m512i {
        let mask = first(x.len());
        // SAFETY: the CPU has AVX-512 F (`self`); the mask keeps lanes that lie in `x`.
        unsafe { _mm512_maskz_loadu_epi32(mask, x.as_ptr()) }
    }

    #[inline(always)]
    fn load_u8(self, x: &[u8]) -> __m512i {
        // SAFETY: the CPU has AVX-512 BW and VL (`self`).
        unsafe { widened(x) }
    }

    #[inline(always)]
    fn store_u8(self, v: __m512i, most: u8, y: &mut [u8]) {
        // SAFETY: the CPU has AVX-512 BW and VL (`self`).
        unsafe { store_saturated(v, most, y) }
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32]) -> __m512 {
        let mask = first(x.len());
        // SAFETY: the CPU has AVX-512 F (`self`); the mask keeps lanes that lie in `x`.
        unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr()) }
    }

    #[inline(always)]
    fn store_f32(self, v: __m512, y: &mut [f32]) {
        let mask = first(y.len());
        // SAFETY: the CPU has AVX-512 F (`self`); the mask keeps lanes that lie in `y`.
        unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), mask, v) }
    }

    #[inline(always)]
    fn blend(self, even: __m512i, odd: __m512i) -> __m512i {
        // SAFETY: the CPU has the instruction (`self`).
        unsafe { _mm512_mask_blend_epi32(0xaaaa, even, odd) }
    }

    #[inline(always)]
    fn deinterleave(self, words: [__m512i; 2]) -> [__m512i; 4] {
        // SAFETY: the CPU has AVX-512 F (`self`).
        unsafe { deinterleaved(words) }
    }

    #[inline(always)]
    unsafe fn mul_at<const J: usize>(self, x: *const f32, k: usize, b: __m512) -> __m512 {
        // SAFETY: the CPU has AVX-512 F (`self`), and the caller's.
        unsafe { mul_at::<J>(x, k, b) }
    }

    #[inline(always)]
    unsafe fn mul_add_at<const J: usize>(
        self,
        x: *const f32,
        k: usize,
        b: __m512,
        c: __m512,
    ) -> __m512 {
        // SAFETY: the CPU has AVX-512 F (`self`), and the caller's.
        unsafe { mul_add_at::<J>(x, k, b, c) }
    }

    instructions! {
        fn splat(x: i32) -> __m512i = _mm512_set1_epi32;
        fn splat_i8(x: i8) -> __m512i = _mm512_set1_epi8;
        fn and(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512;
        fn or(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512;
        fn xor(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512;
        fn add_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32;
        fn sub_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32;
        fn min_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_min_epi32;
        fn max_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_max_epi32;
        fn shl_i32(v: __m512i, count: __m512i) -> __m512i = _mm512_sllv_epi32;
        fn shr_i32(v: __m512i, count: __m512i) -> __m512i = _mm512_srav_epi32;
        fn mul_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_mullo_epi32;
        fn look_up(table: __m512i, at: __m512i) -> __m512i = _mm512_shuffle_epi8;
        fn interleave_low(a: __m512i, b: __m512i) -> __m512i = _mm512_unpacklo_epi8;
        fn interleave_high(a: __m512i, b: __m512i) -> __m512i = _mm512_unpackhi_epi8;
        fn mul_pairs_u8(a: __m512i, b: __m512i) -> __m512i = _mm512_maddubs_epi16;
        fn mul_pairs_i16(a: __m512i, b: __m512i) -> __m512i = _mm512_madd_epi16;
        fn add_i16(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi16;
        fn odd(v: __m512i) -> __m512i = _mm512_srli_epi64::<32>;
        fn mul_even(a: __m512i, b: __m512i) -> __m512i = _mm512_mul_epi32;
        fn add_i64(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi64;
        fn shl_u64(v: __m512i, count: __m512i) -> __m512i = _mm512_sllv_epi64;
        fn shr_u64(v: __m512i, count: __m512i) -> __m512i = _mm512_srlv_epi64;
        fn splat_f32(x: f32) -> __m512 = _mm512_set1_ps;
        fn to_f32(v: __m512i) -> __m512 = _mm512_cvtepi32_ps;
        fn add_f32(a: __m512, b: __m512) -> __m512 = _mm512_add_ps;
        fn mul_f32(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps;
        fn max_f32(a: __m512, b: __m512) -> __m512 = _mm512_max_ps;
        fn mul_add_f32(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps;
    }
}

/// A mask of the first `count` lanes, at most all.
#[inline(always)]
fn first(count: usize) -> u16 {
    ((1u32 << count.min(LANES)) - 1) as u16
}

/// Sixteen bytes, widened; zeros after the end of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn widened(x: &[u8]) -> __m512i {
    let bytes = if x.len() >= LANES {
        // SAFETY: `x` has at least sixteen bytes.
        unsafe { _mm_loadu_si128(x.as_ptr().cast()) }
    } else {
        // SAFETY: the mask keeps bytes that lie in `x`.
        unsafe { _mm_maskz_loadu_epi8(first(x.len()), x.as_ptr().cast()) }
    };
    _mm512_cvtepu8_epi32(bytes)
}

/// Stores lanes that are at least 0 as bytes, as many as there is room for, those above `most` as
/// `most`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store_saturated(v: __m512i, most: u8, y: &mut [u8]) {
    // The minimum keeps the narrowing and the store apart: as one instruction they are slow on
    // Zen 4.
    let bytes = _mm512_cvtusepi32_epi8(v);
    let bytes = _mm_min_epu8(bytes, _mm_set1_epi8(most.cast_signed()));
    if y.len() >= LANES {
        // SAFETY: `y` has at least sixteen bytes.
        unsafe { _mm_storeu_si128(y.as_mut_ptr().cast(), bytes) }
    } else {
        // SAFETY: the mask keeps bytes that lie in `y`.
        unsafe { _mm_mask_storeu_epi8(y.as_mut_ptr().cast(), first(y.len()), bytes) }
    }
}

/// [`Simd::deinterleave`].
#[inline]
#[target_feature(enable = "avx512f")]
fn deinterleaved([low, high]: [__m512i; 2]) -> [__m512i; 4] {
    // Bytes 0..32, then 32..64: parts of 8 from both registers in turn.
    let first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    let second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    let [a, b] = [first, second].map(|order| _mm512_permutex2var_epi64(low, order, high));
    [
        _mm512_castsi512_si256(a),
        _mm512_extracti64x4_epi64::<1>(a),
        _mm512_castsi512_si256(b),
        _mm512_extracti64x4_epi64::<1>(b),
    ]
    .map(|words| _mm512_cvtepi16_epi32(words))
}

// Multiplications with an operand that the load itself spreads over the lanes, `m32bcst`. Where a
// number is multiplied twice, a compiler spreads it into a register instead, once; on Zen 4 that
// instruction takes a pipe of the additions and permutations, and a tile of f32 then runs at 0.87
// of what it does so. Each block is one instruction, which reads four bytes; they stay in the order
// of the source (no `pure`): chains of dependent ones that were written side by side stay so.

/// [`Simd::mul_at`].
///
/// # Safety
///
/// `x` is the first of more than `k + J` numbers.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn mul_at<const J: usize>(x: *const f32, k: usize, b: __m512) -> __m512 {
    let product;
    macro_rules! multiply {
        ($at:literal) => {
            // SAFETY: the CPU has the instruction; `x[k + J]` is a number.
            unsafe {
                asm!(
                    concat!("vmulps {to}, {b}, dword ptr [{x} + 4*{k} + ", $at, "]{{1to16}}"),
                    to = lateout(zmm_reg) product,
                    b = in(zmm_reg) b,
                    x = in(reg) x,
                    k = in(reg) k,
                    options(readonly, nostack, preserves_flags),
                )
            }
        };
    }
    match J {
        0 => multiply!(0),
        1 => multiply!(4),
        2 => multiply!(8),
        _ => unreachable!("three at most"),
    }
    product
}

/// [`Simd::mul_add_at`].
///
/// # Safety
///
/// As of [`mul_at`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn mul_add_at<const J: usize>(x: *const f32, k: usize, b: __m512, c: __m512) -> __m512 {
    let mut sum = c;
    macro_rules! multiply {
        ($at:literal) => {
            // SAFETY: the CPU has the instruction; `x[k + J]` is a number.
            unsafe {
                asm!(
                    concat!("vfmadd231ps {sum}, {b}, dword ptr [{x} + 4*{k} + ", $at, "]{{1to16}}"),
                    sum = inout(zmm_reg) sum,
                    b = in(zmm_reg) b,
                    x = in(reg) x,
                    k = in(reg) k,
                    options(readonly, nostack, preserves_flags),
                )
            }
        };
    }
    match J {
        0 => multiply!(0),
        1 => multiply!(4),
        2 => multiply!(8),
        _ => unreachable!("three at most"),
    }
    sum
}
