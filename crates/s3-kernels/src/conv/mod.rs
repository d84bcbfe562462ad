//! Convolution of integer activations, NHWC, by implicit GEMM.
//!
//! `y[b, oy, ox, n] = sum over (i, j, c) of w[n, i, j, c] x[b, oy s + i d - p, ox s + j d - p, c]`
//!
//! with stride `s`, dilation `d`, padding `p`, and `c` over the channels of output `n`'s group.
//! Exact: i32 sums of every input equal the formula, on every instruction set. No shape is refused.
//!
//! ```text
//! copy the images with their border (i8: plus 128, so that the dot product of u8 and s8 serves)
//! for each panel of 64 outputs:
//!     unpack its weights to one byte a level
//!     for each 6 output pixels:
//!         24 registers of sums = init, then over taps and channels: microkernel
//!         epilogue, store
//! ```
//!
//! Where a group has one input channel there is no product of matrices: `depthwise` takes it.

pub(crate) mod activation;
pub(crate) mod depthwise;
pub(crate) mod geometry;
mod implicit_gemm;
mod reference;
pub(crate) mod weights;

use crate::epilogue::{Epilogue, Raw};
use crate::error::check_len;
use crate::isa::Isa;
use crate::micro::bytes::Microkernel;
use crate::{ConvShape, Error, PackedMatrix};
use activation::Activation;
use geometry::Geometry;
use weights::Weights;

/// Convolution of i8 activations with i32 results, exact for every input.
///
/// `y[b, oy, ox, n] = sum over (i, j, c) of w[n, i, j, c] x[b, oy s + i d - p, ox s + j d - p, c]`
/// with stride `s`, dilation `d`, padding `p`, and `c` over the channels of output `n`'s group;
/// activations outside the image are 0. Any shape is served, and the result is the same on every
/// CPU.
///
/// # Shapes
///
/// `w`: `out_channels` rows, columns in the order `(kernel_h, kernel_w, in_channels / groups)`;
/// `x`: `[batch, height, width, in_channels]`; `y`: `[batch, out_height, out_width, out_channels]`.
///
/// # Errors
///
/// [`Error::Length`] where a slice or the weight does not fit `shape`, and the errors of the
/// lengths of [`ConvShape`].
///
/// ```
/// use s3_kernels::{BitWidth, ConvShape, PackedMatrix, conv2d};
///
/// // One 2x2 filter, [[1, 2], [0, -4]], over a 3x3 image.
/// let w = PackedMatrix::from_levels(&[1, 2, 0, -4], 1, 4, BitWidth::B3)?;
/// let shape = ConvShape { height: 3, width: 3, kernel_h: 2, kernel_w: 2, ..ConvShape::default() };
/// let x: [i8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, -128];
/// let mut y = [0; 4];
/// conv2d(&w, &x, &shape, &mut y)?;
/// assert_eq!(y, [1 + 4 - 20, 2 + 6 - 24, 4 + 10 - 32, 5 + 12 + 512]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d(w: &PackedMatrix, x: &[i8], shape: &ConvShape, y: &mut [i32]) -> Result<(), Error> {
    conv2d_fused(w, x, shape, &Raw, y)
}

/// Convolution of i8 or u8 activations that stores what `epilogue` makes of the sums.
///
/// Shapes as [`conv2d`]; every output equals [`Epilogue::value`] of its exact sum.
///
/// # Errors
///
/// As [`conv2d`]; [`Error::Length`] and [`Error::Unsupported`] where the epilogue's slices do not
/// fit the output.
///
/// ```
/// use s3_kernels::{BitWidth, ConvShape, PackedMatrix, ShiftRequant, conv2d_fused};
///
/// let w = PackedMatrix::from_levels(&[1, -1], 2, 1, BitWidth::B2)?;
/// let shape = ConvShape { width: 3, out_channels: 2, ..ConvShape::default() };
/// let halved = ShiftRequant { bias: &[0, 300], shift: &[1, 1], residual: None };
/// let mut y = [0u8; 6];
/// conv2d_fused(&w, &[7u8, 20, 255], &shape, &halved, &mut y)?;
/// assert_eq!(y, [4, 147, 10, 140, 128, 23]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_fused<X: Activation, E: Epilogue>(
    w: &PackedMatrix,
    x: &[X],
    shape: &ConvShape,
    epilogue: &E,
    y: &mut [E::Output],
) -> Result<(), Error> {
    conv2d_with(Microkernel::of(Isa::detect()), w, x, shape, epilogue, y)
}

/// [`conv2d_fused`] by a named microkernel, which serves the levels of `w`.
pub(crate) fn conv2d_with<X: Activation, E: Epilogue>(
    kernel: &'static Microkernel,
    w: &dyn Weights,
    x: &[X],
    shape: &ConvShape,
    epilogue: &E,
    y: &mut [E::Output],
) -> Result<(), Error> {
    let geometry = Geometry::new(shape)?;
    geometry.check_weight(w.rows(), w.cols())?;
    check_len("x", shape.input_len()?, x.len())?;
    check_len("y", shape.output_len()?, y.len())?;
    let narrow = epilogue.prepare(geometry.rows, shape.out_channels, w.accumulator_bound())?;
    if y.is_empty() {
        return Ok(());
    }
    if !geometry.is_compact() {
        by_definition(w, x, &geometry, epilogue, y);
    } else if depthwise::serves(&geometry) {
        depthwise::run(kernel.depthwise, w, x, &geometry, epilogue, narrow, y);
    } else {
        implicit_gemm::run(kernel, w, x, &geometry, epilogue, narrow, y);
    }
    Ok(())
}

/// The path of geometries that no kernel serves.
fn by_definition<X: Activation, E: Epilogue>(
    w: &dyn Weights,
    x: &[X],
    geometry: &Geometry,
    epilogue: &E,
    y: &mut [E::Output],
) {
    let channels = geometry.shape.out_channels;
    reference::conv2d(&w.to_levels(), x, geometry, |index, sum| {
        y[index] = epilogue.value(sum, index % channels, index);
    });
}

#[cfg(test)]
mod tests;
