//! f32 activations: the setting where only the weights are low-bit.
//!
//! A product with a weight of `±2^p` is a shift of the exponent and a sign, hence exact; only sums
//! round. Their order is part of the definition. The `k` columns of a weight row are taken three at
//! a time, the last ones filled up with zeros:
//!
//! `y = ((t_0 + t_1) + t_2) + ..`, `t_i = (w_3i x_3i + w_3i+1 x_3i+1) + w_3i+2 x_3i+2`
//!
//! every sum rounded to nearest f32. So the result does not depend on the instruction set, on the
//! number of threads or on the batch that a row is part of, bit for bit (activations being finite
//! and below `2^(127-t)`, where every product is finite too). Against the real number `y*` it obeys
//!
//! `|y - y*| <= (ceil(k / 3) + 2) 2^-24 sum_k |w_k x_k|` to first order (Higham, Accuracy and
//! Stability of Numerical Algorithms, 2nd ed., section 4.2). Underflow adds nothing: sums of f32
//! are exact where they are subnormal.
//!
//! # What runs
//!
//! Three ternary weights have 27 sums `t`. Where many outputs share an activation, all of them are
//! put into a table of two registers, and one permutation then gives `t` for sixteen outputs: one
//! permutation and one addition for 48 products, and no multiplication. That is faster than the
//! fused multiply-adder of the same CPU can be. Three weights of 3 or 4 bits have 343 or 3375 sums,
//! which no register holds: there, and for few outputs, the plain multiply-add is the faster way to
//! the same bits, and it is what runs. Of its four instructions for three products one is an
//! addition, which an AMD Zen 4 starts beside the multiplier's: there the order costs nothing.

pub(crate) mod depthwise;
mod driver;
mod scalar;
pub(crate) mod strips;
mod tables;
pub(crate) mod windows;

use crate::conv::geometry::Geometry;
use crate::error::check_len;
use crate::isa::Isa;
use crate::micro::float::FloatKernel;
use crate::{ConvShape, Error, PackedMatrix, Scale};
use windows::Source;

/// Product of a packed weight with f32 activations: `y[b, n] = sum_k w[n, k] x[b, k]`.
///
/// # Shapes
///
/// `x`: `[batch, cols]`, `y`: `[batch, rows]`, row-major.
///
/// # Order of the sums
///
/// `y = ((t_0 + t_1) + t_2) + ..` with `t_i = (w_3i x_3i + w_3i+1 x_3i+1) + w_3i+2 x_3i+2`, the
/// columns filled up with zeros to a multiple of 3, every sum rounded to nearest. Products are
/// exact: a weight is a shift of the exponent and a sign. So the result is the same, bit for bit,
/// on every instruction set, for every number of threads, and whatever batch a row is part of,
/// provided that every activation is finite and every `|w x|` below `2^127`. Its distance from the
/// real number is at most `n / (1 - n) sum |w x|` with `n = (ceil(cols / 3) + 2) 2^-24`.
///
/// # Errors
///
/// [`Error::Length`] where a slice does not fit; [`Error::Overflow`] where a length does not fit
/// `usize`.
///
/// ```
/// use s3_kernels::{BitWidth, PackedMatrix, gemm_f32};
///
/// let w = PackedMatrix::from_levels(&[1, 0, -4, 2, 1, 1], 2, 3, BitWidth::B3)?;
/// let mut y = [0.0; 2];
/// gemm_f32(&w, &[0.5, 3.0, -0.25], 1, &mut y)?;
/// assert_eq!(y, [1.5, 3.75]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn gemm_f32(w: &PackedMatrix, x: &[f32], batch: usize, y: &mut [f32]) -> Result<(), Error> {
    gemm_f32_with(kernels(w), w, x, batch, None, y)
}

/// [`gemm_f32`] that stores `sum scale[n] + bias[n]`, a residual and a ReLU on top: [`Scale`] with
/// the f32 sum in the place of the converted accumulator.
///
/// # Errors
///
/// As [`gemm_f32`], and [`Error::Length`] where a slice of `epilogue` does not fit.
///
/// ```
/// use s3_kernels::{BitWidth, PackedMatrix, Scale, gemm_f32_fused};
///
/// let w = PackedMatrix::from_levels(&[1, -1], 2, 1, BitWidth::B2)?;
/// let relu = Scale { scale: &[2.0, 2.0], bias: &[0.5, 0.5], relu: true, residual: None };
/// let mut y = [0.0; 2];
/// gemm_f32_fused(&w, &[1.5], 1, &relu, &mut y)?;
/// assert_eq!(y, [3.5, 0.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn gemm_f32_fused(
    w: &PackedMatrix,
    x: &[f32],
    batch: usize,
    epilogue: &Scale<'_>,
    y: &mut [f32],
) -> Result<(), Error> {
    gemm_f32_with(kernels(w), w, x, batch, Some(epilogue), y)
}

/// Convolution of f32 activations, NHWC: shapes as [`conv2d`](crate::conv2d), the sum over
/// `(kernel_h, kernel_w, in_channels / groups)` in the order of [`gemm_f32`], padding being
/// activations of `0.0`.
///
/// # Errors
///
/// As [`conv2d`](crate::conv2d).
///
/// ```
/// use s3_kernels::{BitWidth, ConvShape, PackedMatrix, conv2d_f32};
///
/// let w = PackedMatrix::from_levels(&[1, 2, -1], 1, 3, BitWidth::B3)?;
/// let shape = ConvShape { width: 3, kernel_w: 3, padding: 1, ..ConvShape::default() };
/// let mut y = [0.0; 9];
/// conv2d_f32(&w, &[0.5, 1.5, -2.0], &shape, &mut y)?;
/// assert_eq!(y[3..6], [-0.5, 5.5, -2.5]); // the rows above and below see padding only
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_f32(
    w: &PackedMatrix,
    x: &[f32],
    shape: &ConvShape,
    y: &mut [f32],
) -> Result<(), Error> {
    conv2d_f32_with(kernels(w), w, x, shape, None, y)
}

/// [`conv2d_f32`] with an epilogue, as [`gemm_f32_fused`].
///
/// # Errors
///
/// As [`conv2d_f32`], and [`Error::Length`] where a slice of `epilogue` does not fit.
pub fn conv2d_f32_fused(
    w: &PackedMatrix,
    x: &[f32],
    shape: &ConvShape,
    epilogue: &Scale<'_>,
    y: &mut [f32],
) -> Result<(), Error> {
    conv2d_f32_with(kernels(w), w, x, shape, Some(epilogue), y)
}

/// The kernel for `w` on this CPU.
fn kernels(w: &PackedMatrix) -> &'static FloatKernel {
    FloatKernel::of(Isa::detect(), w.bit_width(), w.rows())
}

pub(crate) fn gemm_f32_with(
    kernel: &FloatKernel,
    w: &PackedMatrix,
    x: &[f32],
    batch: usize,
    epilogue: Option<&Scale<'_>>,
    y: &mut [f32],
) -> Result<(), Error> {
    let product = |what, a: usize, b| a.checked_mul(b).ok_or(Error::Overflow { what });
    check_len("x", product("x", batch, w.cols())?, x.len())?;
    check_len("y", product("y", batch, w.rows())?, y.len())?;
    epilogue.map_or(Ok(()), |e| e.check(batch, w.rows()))?;
    if !y.is_empty() {
        driver::run(kernel, w, &Source::Matrix(x), batch, epilogue, y);
    }
    Ok(())
}

pub(crate) fn conv2d_f32_with(
    kernel: &FloatKernel,
    w: &PackedMatrix,
    x: &[f32],
    shape: &ConvShape,
    epilogue: Option<&Scale<'_>>,
    y: &mut [f32],
) -> Result<(), Error> {
    let geometry = Geometry::new(shape)?;
    geometry.check_weight(w.rows(), w.cols())?;
    check_len("x", shape.input_len()?, x.len())?;
    check_len("y", shape.output_len()?, y.len())?;
    epilogue.map_or(Ok(()), |e| e.check(geometry.rows, shape.out_channels))?;
    if !y.is_empty() && depthwise::serves(&geometry) && kernel.isa != Isa::Scalar {
        depthwise::run(kernel.isa, w, x, &geometry, epilogue, y);
    } else if !y.is_empty() {
        let source = Source::Images(x, &geometry);
        driver::run(kernel, w, &source, geometry.rows, epilogue, y);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
