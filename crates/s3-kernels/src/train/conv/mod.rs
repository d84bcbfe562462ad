//! Convolution and its two gradients: the front door.
//!
//! ```text
//! y[n,oh,ow,o]  = Σ_{kh,kw,c} x[n, s·oh+kh-p, s·ow+kw-p, c] · w[o,c,kh,kw]     (zero outside x)
//! dx[n,h,w,c]   = Σ_{o,kh,kw} dy[n,oh,ow,o] · w[o,c,kh,kw]    with s·oh+kh-p = h, s·ow+kw-p = w
//! dw[o,c,kh,kw] = Σ_{n,oh,ow} dy[n,oh,ow,o] · x[n, s·oh+kh-p, s·ow+kw-p, c]
//! ```
//!
//! With as many groups as there are channels, of input and output alike, every channel sees itself
//! alone: [`depthwise`]. With one tap on images of one pixel it is a linear layer: [`parts`].

pub(super) mod depthwise;
mod geometry;
mod pack;
mod pass;
mod tile;
mod weight_grad;

pub(super) use geometry::Pass;
pub(super) use pass::run as pass;
pub(super) use weight_grad::run as weight_grad;

use crate::error::{Error, check_len};
use crate::isa::Isa;
use crate::shape::ConvShape;
use crate::train::element::Element;
use crate::train::simd::Operand;

/// `y = conv(x, w)`.
///
/// # Shapes
///
/// `x: [batch, height, width, in_channels]`,
/// `w: [out_channels, in_channels / groups, kernel_h, kernel_w]`,
/// `y: [batch, out_height, out_width, out_channels]`; `y` is overwritten. `groups` is 1, or equal
/// to both numbers of channels: a depthwise convolution, for which the dilation may be any.
///
/// # Exactness
///
/// f32 products and sums, in an order that is fixed for one instruction set.
///
/// # Errors
///
/// [`Error::Unsupported`] where `groups` is neither 1 nor both numbers of channels, or `dilation`
/// is not 1 where `groups` is; the errors of [`ConvShape::output_len`]; [`Error::Length`].
///
/// ```
/// use s3_kernels::{ConvShape, train};
///
/// // A row of three pixels under a kernel of ones, padded: sums of neighbours.
/// let shape = ConvShape { width: 3, kernel_h: 3, kernel_w: 3, padding: 1, ..Default::default() };
/// let mut y = [0.0; 3];
/// train::conv2d_forward(&shape, &[1.0, 10.0, 100.0], &[1.0; 9], &mut y)?;
/// assert_eq!(y, [11.0, 111.0, 110.0]);
///
/// // Two pixels of two channels, each channel with a kernel of its own: 1 wide, and 3 wide.
/// let two = ConvShape { width: 2, in_channels: 2, out_channels: 2, groups: 2, ..shape };
/// let mut w = [0.0; 18];
/// w[4] = 2.0;
/// w[12..15].fill(1.0);
/// let mut y = [0.0; 4];
/// train::conv2d_forward(&two, &[1.0, 10.0, 2.0, 20.0], &w, &mut y)?;
/// assert_eq!(y, [2.0, 30.0, 4.0, 30.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_forward<T: Element>(
    shape: &ConvShape,
    x: &[T],
    w: &[f32],
    y: &mut [T],
) -> Result<(), Error> {
    let isa = Isa::detect();
    forward_on((isa, T::lane(isa)), shape, x, w, y)
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
///
/// // Depthwise: a gradient returns to its own channel.
/// let depthwise = ConvShape { out_channels: 2, groups: 2, ..shape };
/// train::conv2d_backward_input(&depthwise, &[1.0, 2.0, -1.0, 0.0], &[3.0, 5.0], &mut dx)?;
/// assert_eq!(dx, [3.0, 10.0, -3.0, 0.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_backward_input<T: Element>(
    shape: &ConvShape,
    dy: &[T],
    w: &[f32],
    dx: &mut [T],
) -> Result<(), Error> {
    let isa = Isa::detect();
    backward_input_on((isa, T::lane(isa)), shape, dy, w, dx, false)
}

/// `dx += …`: [`conv2d_backward_input`] added to what `dx` holds, with one rounding. For an input
/// whose gradient has another part, such as a residual's.
///
/// # Errors
///
/// As [`conv2d_forward`].
///
/// ```
/// use s3_kernels::{ConvShape, train};
///
/// let shape = ConvShape { width: 2, ..Default::default() };
/// let mut dx = [100.0, 200.0];
/// train::conv2d_backward_input_add(&shape, &[1.0, -1.0], &[3.0], &mut dx)?;
/// assert_eq!(dx, [103.0, 197.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_backward_input_add<T: Element>(
    shape: &ConvShape,
    dy: &[T],
    w: &[f32],
    dx: &mut [T],
) -> Result<(), Error> {
    let isa = Isa::detect();
    backward_input_on((isa, T::lane(isa)), shape, dy, w, dx, true)
}

/// `dw`, the gradient of the weight, summed over the batch.
///
/// # Shapes
///
/// `x` and `dy` as in [`conv2d_backward_input`],
/// `dw: [out_channels, in_channels / groups, kernel_h, kernel_w]`; `dw` is overwritten.
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
///
/// let depthwise = ConvShape { in_channels: 3, out_channels: 3, groups: 3, ..Default::default() };
/// let mut dw = [0.0; 3];
/// train::conv2d_backward_weight(&depthwise, &[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0], &mut dw)?;
/// assert_eq!(dw, [10.0, 40.0, 90.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn conv2d_backward_weight<T: Element>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    dw: &mut [f32],
) -> Result<(), Error> {
    let isa = Isa::detect();
    backward_weight_on((isa, T::lane(isa)), shape, x, dy, dw)
}

/// [`conv2d_forward`] on one instruction set, with one or two elements a lane.
pub(super) fn forward_on<T: Element>(
    (isa, lane): (Isa, Operand),
    shape: &ConvShape,
    x: &[T],
    w: &[f32],
    y: &mut [T],
) -> Result<(), Error> {
    check(shape, [x.len(), w.len(), y.len()], ["x", "w", "y"])?;
    if x.is_empty() || w.is_empty() {
        y.fill(T::default());
    } else if !y.is_empty() && depthwise::serves(shape) {
        let pass = depthwise::forward(shape)?;
        T::depthwise_pass(isa, (&pass, false), shape.batch, x, w, y);
    } else if !y.is_empty() {
        let (mut x, mut y) = (x, y);
        for part in parts(shape) {
            let pass = geometry::forward(&part, lane)?;
            let (x_part, y_part);
            (x_part, x) = x.split_at(part.input_len()?);
            (y_part, y) = y.split_at_mut(part.output_len()?);
            T::pass(isa, (&pass, false), part.batch, x_part, w, y_part);
        }
    }
    Ok(())
}

/// [`conv2d_backward_input`], or its sum with `dx`, on one instruction set.
pub(super) fn backward_input_on<T: Element>(
    (isa, lane): (Isa, Operand),
    shape: &ConvShape,
    dy: &[T],
    w: &[f32],
    dx: &mut [T],
    add: bool,
) -> Result<(), Error> {
    check(shape, [dx.len(), w.len(), dy.len()], ["dx", "w", "dy"])?;
    if dy.is_empty() || w.is_empty() {
        if !add {
            dx.fill(T::default());
        }
    } else if !dx.is_empty() && depthwise::serves(shape) {
        let pass = depthwise::backward_input(shape)?;
        T::depthwise_pass(isa, (&pass, add), shape.batch, dy, w, dx);
    } else if !dx.is_empty() {
        let (mut dy, mut dx) = (dy, dx);
        for part in parts(shape) {
            let pass = geometry::backward_input(&part, lane)?;
            let (dy_part, dx_part);
            (dy_part, dy) = dy.split_at(part.output_len()?);
            (dx_part, dx) = dx.split_at_mut(part.input_len()?);
            T::pass(isa, (&pass, add), part.batch, dy_part, w, dx_part);
        }
    }
    Ok(())
}

/// [`conv2d_backward_weight`] on one instruction set.
pub(super) fn backward_weight_on<T: Element>(
    (isa, lane): (Isa, Operand),
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    dw: &mut [f32],
) -> Result<(), Error> {
    check(shape, [x.len(), dw.len(), dy.len()], ["x", "dw", "dy"])?;
    if x.is_empty() || dy.is_empty() {
        dw.fill(0.0);
    } else if !dw.is_empty() && depthwise::serves(shape) {
        let pass = depthwise::forward(shape)?;
        T::depthwise_weight_grad(isa, &pass, shape.batch, x, dy, dw);
    } else if !dw.is_empty() {
        let (mut x, mut dy, mut more) = (x, dy, Vec::new());
        for (index, part) in parts(shape).iter().enumerate() {
            let pass = geometry::forward(part, Operand::F32)?;
            let (x_part, dy_part);
            (x_part, x) = x.split_at(part.input_len()?);
            (dy_part, dy) = dy.split_at(part.output_len()?);
            if index == 0 {
                T::weight_grad((isa, lane), &pass, part.batch, x_part, dy_part, dw);
                continue;
            }
            more.resize(dw.len(), 0.0);
            T::weight_grad((isa, lane), &pass, part.batch, x_part, dy_part, &mut more);
            dw.iter_mut().zip(&more).for_each(|(dw, more)| *dw += more);
        }
    }
    Ok(())
}

/// Pixels of the rows that [`parts`] makes: they fill the tiles of every instruction set.
const ROW: usize = 32;

/// What the kernels run in place of `shape`, one behind the other, each on its images. An image of
/// one pixel fills no tile. Under a kernel of one tap the images of a batch may as well be the
/// pixels of a row, whose results lie the same; what is left of the batch is a row of its own.
fn parts(shape: &ConvShape) -> Vec<ConvShape> {
    let &ConvShape {
        batch,
        height,
        width,
        kernel_h,
        kernel_w,
        padding,
        ..
    } = shape;
    if [height, width, kernel_h, kernel_w, padding] != [1, 1, 1, 1, 0] {
        return vec![*shape];
    }
    let most = ROW.min(batch);
    let mut wide = (most.div_ceil(2)..=most).rev();
    let width = wide.find(|width| batch % width == 0).unwrap_or(most);
    let rows = [[batch / width, width], [1, batch % width]].into_iter();
    let rows = rows.filter(|[_, width]| *width > 0);
    let part = |[batch, width]: [usize; 2]| ConvShape {
        batch,
        width,
        stride: 1,
        ..*shape
    };
    rows.map(part).collect()
}

/// Refuses what the kernels do not serve, then compares the three lengths.
fn check(shape: &ConvShape, got: [usize; 3], names: [&'static str; 3]) -> Result<(), Error> {
    if !depthwise::serves(shape) {
        let groups = (
            "groups",
            shape.groups,
            "1, or the channels of input and output",
        );
        let dilation = ("dilation", shape.dilation, "1 where groups is 1");
        for (what, got, expected) in [groups, dilation] {
            if got != 1 {
                return Err(Error::Unsupported {
                    what,
                    expected,
                    got,
                });
            }
        }
    }
    let expected = [shape.input_len()?, shape.weight_len()?, shape.output_len()?];
    for i in 0..3 {
        check_len(names[i], expected[i], got[i])?;
    }
    Ok(())
}
