//! Convolution and its two gradients: the front door.
//!
//! ```text
//! y[n,oh,ow,o]  = Σ_{kh,kw,c} x[n, s·oh+kh-p, s·ow+kw-p, c] · w[o,c,kh,kw]     (zero outside x)
//! dx[n,h,w,c]   = Σ_{o,kh,kw} dy[n,oh,ow,o] · w[o,c,kh,kw]    with s·oh+kh-p = h, s·ow+kw-p = w
//! dw[o,c,kh,kw] = Σ_{n,oh,ow} dy[n,oh,ow,o] · x[n, s·oh+kh-p, s·ow+kw-p, c]
//! ```

use rayon::prelude::*;

use crate::error::{Error, check_len};
use crate::shape::ConvShape;

/// Images whose weight gradients are summed before partial sums meet; fixed, so that the order of
/// additions does not depend on the number of threads.
const IMAGES_PER_PARTIAL: usize = 8;

/// `y = conv(x, w)`.
///
/// # Shapes
///
/// `x: [batch, height, width, in_channels]`, `w: [out_channels, in_channels, kernel_h, kernel_w]`,
/// `y: [batch, out_height, out_width, out_channels]`; `y` is overwritten.
///
/// # Exactness
///
/// f32 products and sums, in an order that is fixed for one instruction set.
///
/// # Errors
///
/// [`Error::Unsupported`] where `groups` or `dilation` is not 1; the errors of
/// [`ConvShape::output_len`]; [`Error::Length`].
///
/// ```
/// use s3_kernels::{ConvShape, train};
///
/// // A row of three pixels under a kernel of ones, padded: sums of neighbours.
/// let shape = ConvShape { width: 3, kernel_h: 3, kernel_w: 3, padding: 1, ..Default::default() };
/// let mut y = [0.0; 3];
/// train::conv2d_forward(&shape, &[1.0, 10.0, 100.0], &[1.0; 9], &mut y)?;
/// assert_eq!(y, [11.0, 111.0, 110.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_forward(shape: &ConvShape, x: &[f32], w: &[f32], y: &mut [f32]) -> Result<(), Error> {
    check(shape, [x.len(), w.len(), y.len()], ["x", "w", "y"])?;
    if y.is_empty() {
        return Ok(());
    }
    let (c_in, c_out) = (shape.in_channels, shape.out_channels);
    let image = x.len() / shape.batch;
    y.par_chunks_mut(y.len() / shape.batch)
        .enumerate()
        .for_each(|(n, y)| {
            y.fill(0.0);
            let x = &x[n * image..][..image];
            for_each_tap(shape, |px, py, tap| {
                for o in 0..c_out {
                    let mut sum = 0.0;
                    for c in 0..c_in {
                        sum += x[px * c_in + c] * w[(o * c_in + c) * taps(shape) + tap];
                    }
                    y[py * c_out + o] += sum;
                }
            });
        });
    Ok(())
}

/// `dx`, the gradient of the input: `conv2d_forward`'s adjoint in `x`.
///
/// # Shapes
///
/// `dy: [batch, out_height, out_width, out_channels]`, `w` and `dx` as `w` and `x` of
/// [`conv2d_forward`]; `dx` is overwritten.
///
/// # Errors
///
/// As [`conv2d_forward`].
///
/// ```
/// use s3_kernels::{ConvShape, train};
///
/// let shape = ConvShape { width: 2, in_channels: 2, ..Default::default() };
/// let mut dx = [0.0; 4];
/// train::conv2d_backward_input(&shape, &[1.0, -1.0], &[3.0, 5.0], &mut dx)?;
/// assert_eq!(dx, [3.0, 5.0, -3.0, -5.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_backward_input(
    shape: &ConvShape,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
) -> Result<(), Error> {
    check(shape, [dx.len(), w.len(), dy.len()], ["dx", "w", "dy"])?;
    if dx.is_empty() {
        return Ok(());
    }
    let (c_in, c_out) = (shape.in_channels, shape.out_channels);
    let image = dy.len() / shape.batch;
    dx.par_chunks_mut(dx.len() / shape.batch)
        .enumerate()
        .for_each(|(n, dx)| {
            dx.fill(0.0);
            let dy = &dy[n * image..][..image];
            for_each_tap(shape, |px, py, tap| {
                for c in 0..c_in {
                    let mut sum = 0.0;
                    for o in 0..c_out {
                        sum += dy[py * c_out + o] * w[(o * c_in + c) * taps(shape) + tap];
                    }
                    dx[px * c_in + c] += sum;
                }
            });
        });
    Ok(())
}

/// `dw`, the gradient of the weight, summed over the batch.
///
/// # Shapes
///
/// `x` and `dy` as in [`conv2d_backward_input`],
/// `dw: [out_channels, in_channels, kernel_h, kernel_w]`; `dw` is overwritten.
///
/// # Errors
///
/// As [`conv2d_forward`].
///
/// ```
/// use s3_kernels::{ConvShape, train};
///
/// let shape = ConvShape { width: 3, ..Default::default() };
/// let mut dw = [0.0];
/// train::conv2d_backward_weight(&shape, &[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0], &mut dw)?;
/// assert_eq!(dw, [140.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_backward_weight(
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) -> Result<(), Error> {
    check(shape, [x.len(), dw.len(), dy.len()], ["x", "dw", "dy"])?;
    dw.fill(0.0);
    if x.is_empty() || dy.is_empty() {
        return Ok(());
    }
    let (c_in, c_out) = (shape.in_channels, shape.out_channels);
    let (x_image, y_image) = (x.len() / shape.batch, dy.len() / shape.batch);
    let partials: Vec<Vec<f32>> = x
        .par_chunks(x_image * IMAGES_PER_PARTIAL)
        .zip(dy.par_chunks(y_image * IMAGES_PER_PARTIAL))
        .map(|(x, dy)| {
            let mut partial = vec![0.0; dw.len()];
            for (x, dy) in x.chunks(x_image).zip(dy.chunks(y_image)) {
                for_each_tap(shape, |px, py, tap| {
                    for o in 0..c_out {
                        for c in 0..c_in {
                            partial[(o * c_in + c) * taps(shape) + tap] +=
                                x[px * c_in + c] * dy[py * c_out + o];
                        }
                    }
                });
            }
            partial
        })
        .collect();
    for partial in partials {
        dw.iter_mut().zip(partial).for_each(|(dw, p)| *dw += p);
    }
    Ok(())
}

/// Calls `f(input pixel, output pixel, tap)` for each pair that a tap joins inside one image.
fn for_each_tap(shape: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (oh, ow) = (
        shape.out_height().unwrap_or(0),
        shape.out_width().unwrap_or(0),
    );
    for i in 0..oh {
        for j in 0..ow {
            for kh in 0..shape.kernel_h {
                for kw in 0..shape.kernel_w {
                    let h = (i * shape.stride + kh).wrapping_sub(shape.padding);
                    let w = (j * shape.stride + kw).wrapping_sub(shape.padding);
                    if h < shape.height && w < shape.width {
                        f(h * shape.width + w, i * ow + j, kh * shape.kernel_w + kw);
                    }
                }
            }
        }
    }
}

fn taps(shape: &ConvShape) -> usize {
    shape.kernel_h * shape.kernel_w
}

/// Refuses what the kernels do not serve, then compares the three lengths.
fn check(shape: &ConvShape, got: [usize; 3], names: [&'static str; 3]) -> Result<(), Error> {
    for (what, value) in [("groups", shape.groups), ("dilation", shape.dilation)] {
        if value != 1 {
            return Err(Error::Unsupported {
                what,
                expected: "1",
                got: value,
            });
        }
    }
    let expected = [shape.input_len()?, shape.weight_len()?, shape.output_len()?];
    for i in 0..3 {
        check_len(names[i], expected[i], got[i])?;
    }
    Ok(())
}
