//! The kernels that AVX2 and AVX-512 share: written once over [`simd::Simd`], compiled for each.

pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod float_strip;
pub(crate) mod loops;
pub(crate) mod madd;
#[cfg(feature = "model")]
mod requant;
pub(crate) mod simd;
pub(crate) mod unpack;
