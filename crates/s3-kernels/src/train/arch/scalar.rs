//! Sixteen lanes as an array: plain Rust, which the compiler vectorizes for the baseline target.

use crate::train::simd::{LANES, Simd};

/// No instruction set beyond the target's baseline.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Simd for Scalar {
    type F = [f32; LANES];

    // Eight of SSE2's sixteen registers, or of NEON's thirty-two.
    const ACCUMULATORS: usize = 2;
    const GROUPED_ACCUMULATORS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        *x
    }

    #[inline(always)]
    fn store(self, x: Self::F, y: &mut [f32; LANES]) {
        *y = x;
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T]) {}

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, mut c: Self::F) -> Self::F {
        // Not f32::mul_add: without an FMA unit that is a library call.
        for i in 0..LANES {
            c[i] += a[i] * b[i];
        }
        c
    }
}
