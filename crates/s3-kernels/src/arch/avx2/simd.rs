//! [`Simd`] on AVX2: eight lanes.

use core::arch::x86_64::*;

use crate::arch::Once;
use crate::arch::x86::simd::{Simd, Task, instructions};
use crate::isa::Isa;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

const LANES: usize = 8;

impl Simd for Avx2 {
    type I = __m256i;
    type F = __m256;

    fn new() -> Option<Avx2> {
        static CPU: Once = Once::new(|| Isa::Avx2.is_available());
        CPU.holds().then_some(Avx2(()))
    }

    fn run(self, task: impl Task) {
        #[target_feature(enable = "avx2,fma")]
        fn inner(simd: Avx2, task: impl Task) {
            task.run(simd);
        }
        // SAFETY: `self` exists only where `new` found AVX2 and FMA.
        unsafe { inner(self, task) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const __m256i) -> __m256i {
        // SAFETY: the caller's, and the CPU has the instruction (`self`).
        unsafe { _mm256_loadu_si256(from) }
    }

    #[inline(always)]
    unsafe fn write(self, v: __m256i, to: *mut __m256i) {
        // SAFETY: as of `read`.
        unsafe { _mm256_storeu_si256(to, v) }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32]) -> __m256i {
        let x = padded(x);
        // SAFETY: the CPU has AVX2 (`self`); `x` is 32 bytes.
        unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_u8(self, x: &[u8]) -> __m256i {
        // SAFETY: the CPU has AVX2 (`self`).
        unsafe { widened(padded(x)) }
    }

    #[inline(always)]
    fn store_u8(self, v: __m256i, most: u8, y: &mut [u8]) {
        // SAFETY: the CPU has AVX2 (`self`).
        let bytes = unsafe { saturated(v, most) };
        match y.first_chunk_mut() {
            Some(y) => *y = bytes,
            None => y.copy_from_slice(&bytes[..y.len()]),
        }
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32]) -> __m256 {
        let x = padded(x);
        // SAFETY: the CPU has AVX2 (`self`); `x` is eight floats.
        unsafe { _mm256_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store_f32(self, v: __m256, y: &mut [f32]) {
        if let Some(y) = y.first_chunk_mut::<LANES>() {
            // SAFETY: the CPU has AVX2 (`self`); `y` is eight floats.
            unsafe { _mm256_storeu_ps(y.as_mut_ptr(), v) }
        } else {
            let mut lanes = [0.0; LANES];
            // SAFETY: the CPU has AVX2 (`self`); `lanes` is eight floats.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), v) };
            y.copy_from_slice(&lanes[..y.len()]);
        }
    }

    #[inline(always)]
    fn deinterleave(self, words: [__m256i; 2]) -> [__m256i; 4] {
        // SAFETY: the CPU has AVX2 (`self`).
        unsafe { deinterleaved(words) }
    }

    instructions! {
        fn splat(x: i32) -> __m256i = _mm256_set1_epi32;
        fn splat_i8(x: i8) -> __m256i = _mm256_set1_epi8;
        fn and(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256;
        fn or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256;
        fn xor(a: __m256i, b: __m256i) -> __m256i = _mm256_xor_si256;
        fn add_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32;
        fn sub_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32;
        fn min_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_min_epi32;
        fn max_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_max_epi32;
        fn shl_i32(v: __m256i, count: __m256i) -> __m256i = _mm256_sllv_epi32;
        fn shr_i32(v: __m256i, count: __m256i) -> __m256i = _mm256_srav_epi32;
        fn mul_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_mullo_epi32;
        fn look_up(table: __m256i, at: __m256i) -> __m256i = _mm256_shuffle_epi8;
        fn interleave_low(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi8;
        fn interleave_high(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi8;
        fn mul_pairs_u8(a: __m256i, b: __m256i) -> __m256i = _mm256_maddubs_epi16;
        fn mul_pairs_i16(a: __m256i, b: __m256i) -> __m256i = _mm256_madd_epi16;
        fn add_i16(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi16;
        fn odd(v: __m256i) -> __m256i = _mm256_srli_epi64::<32>;
        fn blend(even: __m256i, odd: __m256i) -> __m256i = _mm256_blend_epi32::<0xaa>;
        fn mul_even(a: __m256i, b: __m256i) -> __m256i = _mm256_mul_epi32;
        fn add_i64(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi64;
        fn shl_u64(v: __m256i, count: __m256i) -> __m256i = _mm256_sllv_epi64;
        fn shr_u64(v: __m256i, count: __m256i) -> __m256i = _mm256_srlv_epi64;
        fn splat_f32(x: f32) -> __m256 = _mm256_set1_ps;
        fn to_f32(v: __m256i) -> __m256 = _mm256_cvtepi32_ps;
        fn add_f32(a: __m256, b: __m256) -> __m256 = _mm256_add_ps;
        fn mul_f32(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps;
        fn max_f32(a: __m256, b: __m256) -> __m256 = _mm256_max_ps;
        fn mul_add_f32(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps;
    }
}

/// The first lanes of `x`, zeros after its end.
#[inline(always)]
fn padded<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    match x.first_chunk() {
        Some(&all) => all,
        None => {
            let mut lanes = [T::default(); LANES];
            lanes[..x.len()].copy_from_slice(x);
            lanes
        }
    }
}

/// Eight bytes, widened.
#[inline]
#[target_feature(enable = "avx2")]
fn widened(bytes: [u8; LANES]) -> __m256i {
    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_ne_bytes(bytes)))
}

/// Lanes that are at least 0 as bytes, those above `most` as `most`.
#[inline]
#[target_feature(enable = "avx2")]
fn saturated(v: __m256i, most: u8) -> [u8; LANES] {
    // Both packs saturate: lanes above 32767 end at 255 all the same.
    let words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let bytes = _mm_packus_epi16(words, words);
    let bytes = _mm_min_epu8(bytes, _mm_set1_epi8(most.cast_signed()));
    _mm_cvtsi128_si64(bytes).to_ne_bytes()
}

/// [`Simd::deinterleave`].
#[inline]
#[target_feature(enable = "avx2")]
fn deinterleaved([low, high]: [__m256i; 2]) -> [__m256i; 4] {
    // Bytes 0..8 and 16..24 are in the first register, 8..16 and 24..32 in the second.
    [
        _mm256_castsi256_si128(low),
        _mm256_castsi256_si128(high),
        _mm256_extracti128_si256::<1>(low),
        _mm256_extracti128_si256::<1>(high),
    ]
    .map(|words| _mm256_cvtepi16_epi32(words))
}
