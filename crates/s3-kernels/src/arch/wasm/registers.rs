//! Registers of four lanes, to and from memory.

use core::arch::wasm32::{v128, v128_load, v128_store};

/// Four lanes of 32 bits.
#[inline(always)]
pub(super) fn load<T: Lane>(lanes: &[T; 4]) -> v128 {
    // SAFETY: the array has the 16 bytes that are read; no alignment is asked for.
    unsafe { v128_load(lanes.as_ptr().cast()) }
}

/// Four lanes of 32 bits.
#[inline(always)]
pub(super) fn store<T: Lane>(v: v128, lanes: &mut [T; 4]) {
    // SAFETY: the array has the 16 bytes that are written, and every pattern is a `Lane`.
    unsafe { v128_store(lanes.as_mut_ptr().cast(), v) }
}

/// Numbers of 32 bits of which every pattern is one.
pub(super) trait Lane {}
impl Lane for i32 {}
impl Lane for f32 {}
