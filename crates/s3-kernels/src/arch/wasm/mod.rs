//! Kernels for WebAssembly with `simd128`: registers of 16 bytes.
//!
//! A module is compiled with these instructions or without; an engine that lacks them refuses it
//! whole. So there is nothing to detect, and these files are part of a build that has them only.
//!
//! There is no product of bytes. `i32x4.dot_i16x8_s` multiplies eight numbers of 16 bits and adds
//! neighbours to 32, which no sum leaves whatever the weights: levels and activations are widened
//! as they are loaded. There is no shift by a count of each lane either: see [`requant`].

mod float;
mod microkernel;
mod registers;
#[cfg(feature = "model")]
pub(crate) mod requant;

use super::scalar::{columns, unpack::unpack};
use crate::isa::Isa;
use crate::micro::bytes::{DepthwiseKernel, Microkernel};
use crate::micro::float::{FloatKernel, How, StripKernel};

/// A few windows by eight outputs.
pub(crate) const DOT: Microkernel = Microkernel {
    name: "simd128-u8s8-dot",
    isa: Isa::Simd128,
    available: || true,
    unpack,
    depthwise: &DepthwiseKernel {
        isa: Isa::Simd128,
        ..columns::DEPTHWISE
    },
    order: |_| (),
    run: microkernel::multiply,
};

/// Four rows of f32 by eight outputs, twice.
pub(crate) const STRIP: FloatKernel = FloatKernel {
    name: "simd128-f32-strip",
    isa: Isa::Simd128,
    unpack,
    how: How::Strip(
        StripKernel {
            lines: 1,
            rows: [float::ROWS, 0],
            run: float::multiply,
        },
        float::widen,
    ),
};
