//! Sixteen lanes as two AVX2 registers or one AVX-512 register.
#![allow(
    unsafe_code,
    reason = "intrinsics, and the call into code compiled for them"
)]

use core::arch::x86_64::{
    __m256, __m256bh, __m256i, __m512, __m512bh, _CMP_UNORD_Q, _MM_HINT_T1, _mm_prefetch,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mask_storeu_epi16, _mm256_maskz_loadu_epi16,
    _mm256_set1_ps, _mm256_storeu_ps, _mm256_storeu_si256, _mm512_add_epi32, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_castsi512_si256,
    _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_add_epi32, _mm512_mask_or_epi32,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_shuffle_f32x4, _mm512_slli_epi32, _mm512_storeu_ps,
    _mm512_test_epi32_mask, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use crate::isa::Isa;
use crate::train::bf16::Bf16;
use crate::train::simd::{LANES, Simd, Task};

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The proof, where it holds.
    pub(super) fn new() -> Option<Self> {
        Isa::Avx2.is_available().then_some(Avx2(()))
    }

    /// Runs `task` in code compiled for AVX2 and FMA.
    pub(super) fn run<T: Task>(self, task: T) {
        #[target_feature(enable = "avx2,fma")]
        fn inner<T: Task>(simd: Avx2, task: T) {
            task.run(simd);
        }
        // SAFETY: `self` exists only where `new` found AVX2 and FMA.
        unsafe { inner(self, task) }
    }
}

impl Simd for Avx2 {
    type F = [__m256; 2];

    // Twelve of sixteen registers: two hold the weight, one the broadcast activation.
    const ACCUMULATORS: usize = 6;
    // Eight registers: the compiler shares broadcasts between taps and keeps them, so that sums
    // beyond these would leave the registers from product to product.
    const GROUPED_ACCUMULATORS: usize = 4;
    const TAP_BY_TAP: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` exists only where the CPU has AVX2.
        let half = unsafe { _mm256_set1_ps(x) };
        [half, half]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        let [low, high] = [x[..8].as_ptr(), x[8..].as_ptr()];
        // SAFETY: the CPU has AVX2 (`self`); `low` begins a slice of 8 floats.
        let low = unsafe { _mm256_loadu_ps(low) };
        // SAFETY: the CPU has AVX2 (`self`); `high` begins a slice of 8 floats.
        let high = unsafe { _mm256_loadu_ps(high) };
        [low, high]
    }

    #[inline(always)]
    fn store(self, x: Self::F, y: &mut [f32; LANES]) {
        let (low, high) = y.split_at_mut(8);
        // SAFETY: the CPU has AVX2 (`self`); `low` is a slice of 8 floats.
        unsafe { _mm256_storeu_ps(low.as_mut_ptr(), x[0]) };
        // SAFETY: the CPU has AVX2 (`self`); `high` is a slice of 8 floats.
        unsafe { _mm256_storeu_ps(high.as_mut_ptr(), x[1]) };
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &[T]) {
        prefetch(x);
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: `self` exists only where the CPU has FMA.
        let low = unsafe { _mm256_fmadd_ps(a[0], b[0], c[0]) };
        // SAFETY: `self` exists only where the CPU has FMA.
        let high = unsafe { _mm256_fmadd_ps(a[1], b[1], c[1]) };
        [low, high]
    }
}

/// Proof that the CPU has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The proof, where it holds.
    pub(super) fn new() -> Option<Self> {
        Isa::Avx512.is_available().then_some(Avx512(()))
    }

    /// Runs `task` in code compiled for AVX-512.
    pub(super) fn run<T: Task>(self, task: T) {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        fn inner<T: Task>(simd: Avx512, task: T) {
            task.run(simd);
        }
        // SAFETY: `self` exists only where `new` found every feature that `inner` enables.
        unsafe { inner(self, task) }
    }
}

impl Simd for Avx512 {
    type F = __m512;

    // Twenty-eight of thirty-two registers: two hold weights, one a broadcast activation.
    const ACCUMULATORS: usize = 28;
    const GROUPED_ACCUMULATORS: usize = 20;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        // SAFETY: the CPU has AVX-512 F (`self`); `x` is 16 floats.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: Self::F, y: &mut [f32; LANES]) {
        // SAFETY: the CPU has AVX-512 F (`self`); `y` is 16 floats.
        unsafe { _mm512_storeu_ps(y.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn load_first(self, x: &[f32], lanes: usize) -> Self::F {
        let x = x[..lanes].as_ptr();
        // SAFETY: the CPU has AVX-512 F (`self`); `x` begins a slice of `lanes` floats, and the
        // mask selects no lane from `lanes` on.
        unsafe { _mm512_maskz_loadu_ps(first_bits(lanes), x) }
    }

    #[inline(always)]
    fn store_first(self, x: Self::F, y: &mut [f32], lanes: usize) {
        let y = y[..lanes].as_mut_ptr();
        // SAFETY: the CPU has AVX-512 F (`self`); `y` begins a slice of `lanes` floats, and the
        // mask selects no lane from `lanes` on.
        unsafe { _mm512_mask_storeu_ps(y, first_bits(lanes), x) }
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &[T]) {
        prefetch(x);
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { transpose_avx512(rows) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn load_bf16(self, x: &[Bf16], lanes: usize) -> Self::F {
        // SAFETY: `self` exists only where the CPU has AVX-512 F, BW and VL.
        unsafe { load_first_bf16(x, lanes) }
    }

    #[inline(always)]
    fn store_bf16(self, x: Self::F, y: &mut [Bf16], lanes: usize) {
        // SAFETY: `self` exists only where the CPU has AVX-512 F and BW.
        let x = unsafe { rounded_to_bf16(x) };
        // SAFETY: `self` exists only where the CPU has AVX-512 BW and VL.
        unsafe { store_first_bf16(x, y, lanes) }
    }
}

/// [`Bf16::from_f32`] of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rounded_to_bf16(x: __m512) -> __m256i {
    const QUIET: i32 = 0x0040_0000;
    let bits = _mm512_castps_si512(x);
    let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(1 << 16));
    let rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF));
    let rounded = _mm512_mask_add_epi32(rounded, odd, bits, _mm512_set1_epi32(0x8000));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
    let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(QUIET));
    // The upper halves by a permutation: narrowing would become one instruction with the store,
    // which is slow on Zen 4.
    let upper = _mm512_set_epi16(
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // whatever
        31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,
    );
    _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper, rounded))
}

/// Lane `i` from `x[i]` for `i < lanes`, 0 in the others.
///
/// # Panics
///
/// Where `x` has fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_first_bf16(x: &[Bf16], lanes: usize) -> __m512 {
    let x = x[..lanes].as_ptr();
    // SAFETY: `x` begins a slice of `lanes` elements of 16 bits, and the mask selects no lane from
    // `lanes` on.
    let x = unsafe { _mm256_maskz_loadu_epi16(first_bits(lanes), x.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)))
}

/// Lane `i` to `y[i]` for `i < lanes`.
///
/// # Panics
///
/// Where `y` has fewer.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn store_first_bf16(x: __m256i, y: &mut [Bf16], lanes: usize) {
    let y = y[..lanes].as_mut_ptr();
    if lanes == LANES {
        // SAFETY: `y` begins a slice of 16 elements of 16 bits.
        unsafe { _mm256_storeu_si256(y.cast(), x) }
    } else {
        // SAFETY: `y` begins a slice of `lanes` elements of 16 bits, and the mask selects no lane
        // from `lanes` on.
        unsafe { _mm256_mask_storeu_epi16(y.cast(), first_bits(lanes), x) }
    }
}

/// Proof that the CPU has AVX512-BF16 besides what [`Avx512`] proves. Operands of
/// [`mul_add`](Simd::mul_add) hold two bf16 a lane; its sums and everything else are f32.
#[derive(Clone, Copy)]
pub(super) struct Avx512Pairs(Avx512);

impl Avx512Pairs {
    /// The proof, where it holds.
    pub(super) fn new() -> Option<Self> {
        let proof = Avx512::new()?;
        std::is_x86_feature_detected!("avx512bf16").then_some(Avx512Pairs(proof))
    }

    /// Runs `task` in code compiled for AVX-512 F, BW, DQ, VL and BF16.
    pub(super) fn run<T: Task>(self, task: T) {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn inner<T: Task>(simd: Avx512Pairs, task: T) {
            task.run(simd);
        }
        // SAFETY: `self` exists only where `new` found all of them.
        unsafe { inner(self, task) }
    }
}

impl Simd for Avx512Pairs {
    type F = __m512;

    const ACCUMULATORS: usize = Avx512::ACCUMULATORS;
    const GROUPED_ACCUMULATORS: usize = Avx512::GROUPED_ACCUMULATORS;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        self.0.splat(x)
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        self.0.load(x)
    }

    #[inline(always)]
    fn store(self, x: Self::F, y: &mut [f32; LANES]) {
        self.0.store(x, y);
    }

    #[inline(always)]
    fn load_first(self, x: &[f32], lanes: usize) -> Self::F {
        self.0.load_first(x, lanes)
    }

    #[inline(always)]
    fn store_first(self, x: Self::F, y: &mut [f32], lanes: usize) {
        self.0.store_first(x, y, lanes);
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &[T]) {
        prefetch(x);
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        self.0.transpose(rows)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: both types are 512 bits without invalid values.
        let [a, b] = unsafe { core::mem::transmute::<[__m512; 2], [__m512bh; 2]>([a, b]) };
        // SAFETY: `self` exists only where the CPU has AVX512-BF16.
        unsafe { _mm512_dpbf16_ps(c, a, b) }
    }

    #[inline(always)]
    fn load_bf16(self, x: &[Bf16], lanes: usize) -> Self::F {
        self.0.load_bf16(x, lanes)
    }

    #[inline(always)]
    fn store_bf16(self, x: Self::F, y: &mut [Bf16], lanes: usize) {
        // SAFETY: `self` exists only where the CPU has AVX512-BF16.
        let x = unsafe { _mm512_cvtneps_pbh(x) };
        // SAFETY: both types are 256 bits without invalid values.
        let x = unsafe { core::mem::transmute::<__m256bh, __m256i>(x) };
        // SAFETY: the CPU has AVX-512 BW and VL (`self`).
        unsafe { store_first_bf16(x, y, lanes) }
    }
}

/// Asks for the line of `x[0]`, into the second-level cache.
#[inline(always)]
fn prefetch<T>(x: &[T]) {
    // SAFETY: every x86-64 CPU has the instruction, and it accesses no memory that the program
    // sees, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(x.as_ptr().cast()) }
}

/// Pairs of rows, then fours, then the four 128-bit lanes of fours.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_avx512(mut rows: [__m512; LANES]) -> [__m512; LANES] {
    for fours in rows.chunks_exact_mut(4) {
        let [a, b, c, d] = [fours[0], fours[1], fours[2], fours[3]];
        let [low, more_low] = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)];
        let [high, more_high] = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)];
        for (i, [a, b]) in [[low, more_low], [high, more_high]].into_iter().enumerate() {
            let [a, b] = [_mm512_castps_pd(a), _mm512_castps_pd(b)];
            fours[2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    // Operand l of rows[4g + j] is now column 4l + j of rows 4g..4g + 4.
    let mut columns = rows;
    for j in 0..4 {
        let [a, b, c, d] = [rows[j], rows[4 + j], rows[8 + j], rows[12 + j]];
        let [ab, cd] = [
            _mm512_shuffle_f32x4::<0x44>(a, b),
            _mm512_shuffle_f32x4::<0x44>(c, d),
        ];
        columns[j] = _mm512_shuffle_f32x4::<0x88>(ab, cd);
        columns[4 + j] = _mm512_shuffle_f32x4::<0xDD>(ab, cd);
        let [ab, cd] = [
            _mm512_shuffle_f32x4::<0xEE>(a, b),
            _mm512_shuffle_f32x4::<0xEE>(c, d),
        ];
        columns[8 + j] = _mm512_shuffle_f32x4::<0x88>(ab, cd);
        columns[12 + j] = _mm512_shuffle_f32x4::<0xDD>(ab, cd);
    }
    columns
}

/// Bits `0..lanes`.
#[inline(always)]
fn first_bits(lanes: usize) -> u16 {
    if lanes >= 16 {
        u16::MAX
    } else {
        (1 << lanes) - 1
    }
}
