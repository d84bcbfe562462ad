//! The narrow trait between the kernels that AVX2 and AVX-512 share and their registers.
//!
//! A register has [`Simd::LANES`] lanes of 32 bits, of four bytes or two words each. A value of a
//! type that implements [`Simd`] is the proof that the CPU has its instructions: the constructor is
//! the only way to one.
//!
//! A [`Task`] is a kernel that is generic over `Simd`; [`run`] runs it inside a function that is
//! compiled for the instruction set. Everything a task calls per element must be
//! `#[inline(always)]` and free of closures that might not be inlined, because code outside that
//! function is compiled for the baseline.

/// A kernel that runs on either instruction set.
pub(crate) trait Task {
    /// Runs it; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S);
}

/// Runs `task` on an instruction set.
///
/// # Panics
///
/// Where the CPU lacks it.
pub(crate) fn run<S: Simd>(task: impl Task) {
    S::new().expect("the CPU has the instructions").run(task);
}

/// Registers and the operations that the kernels need.
#[cfg_attr(
    not(feature = "model"),
    expect(dead_code, reason = "some are of requantization alone")
)]
pub(crate) trait Simd: Copy {
    /// A register of integers.
    type I: Copy;

    /// A register of f32.
    type F: Copy;

    /// Bytes of a register.
    const BYTES: usize = size_of::<Self::I>();

    /// Its lanes of 32 bits.
    const LANES: usize = Self::BYTES / 4;

    /// The proof, where it holds.
    fn new() -> Option<Self>;

    /// Runs `task` in code compiled for the instruction set.
    fn run(self, task: impl Task);

    /// `x` in every lane.
    fn splat(self, x: i32) -> Self::I;

    /// `x` in every byte.
    fn splat_i8(self, x: i8) -> Self::I;

    /// # Safety
    ///
    /// There are [`BYTES`](Self::BYTES) bytes, of whatever alignment.
    unsafe fn read(self, from: *const Self::I) -> Self::I;

    /// # Safety
    ///
    /// As of [`read`](Self::read).
    unsafe fn write(self, v: Self::I, to: *mut Self::I);

    /// The first bytes of `x`, of which there are as many as a register has.
    #[inline(always)]
    fn load(self, x: &[u8]) -> Self::I {
        let from = x[..Self::BYTES].as_ptr();
        // SAFETY: as many bytes of `x`.
        unsafe { self.read(from.cast()) }
    }

    /// To the first bytes of `y`, of which there are as many as a register has.
    #[inline(always)]
    fn store(self, v: Self::I, y: &mut [u8]) {
        let to = y[..Self::BYTES].as_mut_ptr();
        // SAFETY: as many bytes of `y`.
        unsafe { self.write(v, to.cast()) }
    }

    /// To the first lanes of `y`, of which there are as many as a register has.
    #[inline(always)]
    fn store_i32(self, v: Self::I, y: &mut [i32]) {
        let to = y[..Self::LANES].as_mut_ptr();
        // SAFETY: as many lanes of `y`.
        unsafe { self.write(v, to.cast()) }
    }

    /// Lane `i` from `x[i]`, 0 where `x` has ended.
    fn load_i32(self, x: &[i32]) -> Self::I;

    /// Lane `i` from `x[i]`, 0 where `x` has ended.
    fn load_u8(self, x: &[u8]) -> Self::I;

    /// Lanes that are at least 0 as bytes, those above `most` as `most`: lane `i` to `y[i]`, where
    /// `y` has not ended.
    fn store_u8(self, v: Self::I, most: u8, y: &mut [u8]);

    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor(self, a: Self::I, b: Self::I) -> Self::I;

    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn min_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn max_i32(self, a: Self::I, b: Self::I) -> Self::I;

    /// The low 32 bits of the products.
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I;

    /// `v << count`; 0 where the count is not below 32, seen as unsigned.
    fn shl_i32(self, v: Self::I, count: Self::I) -> Self::I;

    /// `v >> count`, with copies of the sign.
    fn shr_i32(self, v: Self::I, count: Self::I) -> Self::I;

    /// Byte `i` of each part of sixteen bytes: that of `table` which byte `i` of `at`, at most 15,
    /// is the place of.
    fn look_up(self, table: Self::I, at: Self::I) -> Self::I;

    /// The bytes of `a` and `b` in turn, of the lower half of each part of sixteen.
    fn interleave_low(self, a: Self::I, b: Self::I) -> Self::I;

    /// The same of the upper halves.
    fn interleave_high(self, a: Self::I, b: Self::I) -> Self::I;

    /// Words, those of bytes that were interleaved low and high, as lanes in the order of the
    /// bytes.
    fn deinterleave(self, words: [Self::I; 2]) -> [Self::I; 4];

    /// Words: `a[0] b[0] + a[1] b[1]` of each two bytes, unsigned ones by signed ones, saturated.
    fn mul_pairs_u8(self, a: Self::I, b: Self::I) -> Self::I;

    /// Lanes: `a[0] b[0] + a[1] b[1]` of each two signed words.
    fn mul_pairs_i16(self, a: Self::I, b: Self::I) -> Self::I;

    fn add_i16(self, a: Self::I, b: Self::I) -> Self::I;

    /// The odd lanes, as lanes of 64 bits.
    fn odd(self, v: Self::I) -> Self::I;

    /// The even lanes of one register and the odd ones of another.
    fn blend(self, even: Self::I, odd: Self::I) -> Self::I;

    /// The products of the even lanes, as lanes of 64 bits.
    fn mul_even(self, a: Self::I, b: Self::I) -> Self::I;

    fn add_i64(self, a: Self::I, b: Self::I) -> Self::I;
    fn shl_u64(self, v: Self::I, count: Self::I) -> Self::I;
    fn shr_u64(self, v: Self::I, count: Self::I) -> Self::I;

    /// `x` in every lane.
    fn splat_f32(self, x: f32) -> Self::F;

    /// The nearest f32.
    fn to_f32(self, v: Self::I) -> Self::F;

    /// Lane `i` from `x[i]`, 0 where `x` has ended.
    fn load_f32(self, x: &[f32]) -> Self::F;

    /// Lane `i` to `y[i]`, where `y` has not ended.
    fn store_f32(self, v: Self::F, y: &mut [f32]);

    fn add_f32(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul_f32(self, a: Self::F, b: Self::F) -> Self::F;

    /// `a b + c`, rounded once.
    fn mul_add_f32(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// `x[k + J] b`.
    ///
    /// # Safety
    ///
    /// `x` is the first of more than `k + J` numbers.
    #[inline(always)]
    unsafe fn mul_at<const J: usize>(self, x: *const f32, k: usize, b: Self::F) -> Self::F {
        // SAFETY: the caller's.
        let x = unsafe { *x.wrapping_add(k + J) };
        self.mul_f32(self.splat_f32(x), b)
    }

    /// `x[k + J] b + c`, rounded once.
    ///
    /// # Safety
    ///
    /// As of [`mul_at`](Self::mul_at).
    #[inline(always)]
    unsafe fn mul_add_at<const J: usize>(
        self,
        x: *const f32,
        k: usize,
        b: Self::F,
        c: Self::F,
    ) -> Self::F {
        // SAFETY: the caller's.
        let x = unsafe { *x.wrapping_add(k + J) };
        self.mul_add_f32(self.splat_f32(x), b, c)
    }

    /// The larger one; `b` where `a` is NaN, or both are zeros.
    fn max_f32(self, a: Self::F, b: Self::F) -> Self::F;
}

/// Methods of [`Simd`] that are one instruction each.
macro_rules! instructions {
    ($(fn $name:ident($($x:ident: $t:ty),*) -> $out:ty = $instruction:path;)*) => {$(
        #[inline(always)]
        fn $name(self, $($x: $t),*) -> $out {
            // SAFETY: the CPU has the instruction: `self` exists only where `new` found it.
            unsafe { $instruction($($x),*) }
        }
    )*};
}

pub(crate) use instructions;
