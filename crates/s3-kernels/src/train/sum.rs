//! Sums of whole values and the activation behind them, with their gradients.
//!
//! ```text
//! y = act(Σ_i x_i)      g = dy where the activation passes it, else 0
//! dx_i = g              dbias[c] = Σ_r g[r,c]
//! ```
//!
//! What `act` passes is told from `y`: see [`Act`]. A layer with a bias in place of a batch norm
//! has these gradients too; its value is [`scale_shift`](super::scale_shift)'s.

use rayon::prelude::*;

use super::arch::dispatch;
use super::batch_norm::rows::{NONE, RELU, RELU6, activated, by_act, chunk, cut, fold, span};
use super::element::{Element, RUN};
use super::simd::{Simd, Task};
use crate::act::Act;
use crate::error::{Error, check_len};
use crate::isa::Isa;

/// Elements that one task sums.
const PIECE: usize = 4 * 1024;

/// `y = act(x[0] + x[1] + ..)`, summed in f32 in this order and rounded once.
///
/// # Shapes
///
/// Every slice of `x` and `y` have one length. Without any `x`, `y` is 0.
///
/// # Errors
///
/// [`Error::Length`].
///
/// ```
/// use s3_kernels::train::{Act, sum_forward};
///
/// let mut y = [0.0; 3];
/// sum_forward(&[&[1.0, 2.0, 3.0], &[-2.0, 2.0, 4.0]], Act::Relu6, &mut y)?;
/// assert_eq!(y, [0.0, 4.0, 6.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn sum_forward<T: Element>(x: &[&[T]], act: Act, y: &mut [T]) -> Result<(), Error> {
    sum_forward_on(Isa::detect(), x, act, y)
}

/// [`sum_forward`] on one instruction set.
pub(super) fn sum_forward_on<T: Element>(
    isa: Isa,
    x: &[&[T]],
    act: Act,
    y: &mut [T],
) -> Result<(), Error> {
    x.iter()
        .try_for_each(|x| check_len("x", y.len(), x.len()))?;
    y.par_chunks_mut(PIECE).enumerate().for_each(|(i, y)| {
        let start = i * PIECE;
        dispatch(isa, Sum { x, start, act, y });
    });
    Ok(())
}

/// Some elements of a sum.
struct Sum<'a, T> {
    x: &'a [&'a [T]],
    /// Where `y` lies in the whole.
    start: usize,
    act: Act,
    y: &'a mut [T],
}

impl<T: Element> Task for Sum<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        by_act!(self.act, ACT => self.sums::<S, ACT>(simd));
    }
}

impl<T: Element> Sum<'_, T> {
    #[inline(always)]
    fn sums<S: Simd, const ACT: u8>(self, simd: S) {
        let mut run = T::Run::default();
        for (i, y) in self.y.chunks_mut(RUN).enumerate() {
            let sums = T::values(&mut run, y);
            sums.fill(0.0);
            for x in self.x {
                for (sum, x) in sums.iter_mut().zip(&x[self.start + i * RUN..]) {
                    *sum += x.to_f32();
                }
            }
            for sum in sums {
                *sum = activated::<ACT>(*sum);
            }
            T::keep(simd, &run, y);
        }
    }
}

/// `to += from`, rounded once: a gradient that has several parts.
///
/// # Errors
///
/// [`Error::Length`].
///
/// ```
/// let mut gradient = [1.0, 2.0];
/// s3_kernels::train::add_assign(&mut gradient, &[10.0, 20.0])?;
/// assert_eq!(gradient, [11.0, 22.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn add_assign<T: Element>(to: &mut [T], from: &[T]) -> Result<(), Error> {
    check_len("from", to.len(), from.len())?;
    let isa = Isa::detect();
    let pieces = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
    pieces.for_each(|(to, from)| dispatch(isa, AddAssign { to, from }));
    Ok(())
}

struct AddAssign<'a, T> {
    to: &'a mut [T],
    from: &'a [T],
}

impl<T: Element> Task for AddAssign<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut run = T::Run::default();
        for (to, from) in self.to.chunks_mut(RUN).zip(self.from.chunks(RUN)) {
            let mut sums = [0.0; RUN];
            for ((sum, to), from) in sums.iter_mut().zip(&*to).zip(from) {
                *sum = to.to_f32() + from.to_f32();
            }
            T::values(&mut run, to).copy_from_slice(&sums[..from.len()]);
            T::keep(simd, &run, to);
        }
    }
}

/// The gradient before an activation, which gave `y`: `dx = dy` where it passes, else 0, and
/// `dbias`, the sum of `dx` over the rows.
///
/// # Shapes
///
/// `y`, `dy`, `dx`: `[rows, channels]`; `dbias: [channels]`, or empty where it is not wanted. `dx`
/// and `dbias` are overwritten.
///
/// # Exactness
///
/// A gradient is `dy` or 0, so nothing is rounded; `dbias` is summed in f32 within chunks of a
/// fixed number of rows, and in f64 between them.
///
/// # Errors
///
/// [`Error::Length`].
///
/// ```
/// use s3_kernels::train::{Act, act_backward};
///
/// let (mut dx, mut dbias) = ([9.0; 4], [9.0; 2]);
/// act_backward(&[0.0, 1.0, 2.0, 6.0], Act::Relu6, &[1.0, 2.0, 3.0, 4.0], &mut dx, &mut dbias)?;
/// assert_eq!((dx, dbias), ([0.0, 2.0, 3.0, 0.0], [3.0, 2.0]));
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn act_backward<T: Element>(
    y: &[T],
    act: Act,
    dy: &[T],
    dx: &mut [T],
    dbias: &mut [f32],
) -> Result<(), Error> {
    act_backward_on(Isa::detect(), y, act, dy, dx, dbias)
}

/// [`act_backward`] on one instruction set.
pub(super) fn act_backward_on<T: Element>(
    isa: Isa,
    y: &[T],
    act: Act,
    dy: &[T],
    dx: &mut [T],
    dbias: &mut [f32],
) -> Result<(), Error> {
    check_len("y", dx.len(), y.len())?;
    check_len("dy", dx.len(), dy.len())?;
    let channels = dbias.len();
    let piece = match channels {
        0 => PIECE,
        _ => {
            check_len("dx", dx.len() / channels * channels, dx.len())?;
            chunk(channels)
        }
    };
    let sums: Vec<Vec<f32>> = dx
        .par_chunks_mut(piece)
        .enumerate()
        .map(|(i, dx)| {
            let range = i * piece..i * piece + dx.len();
            let (y, dy) = (&y[range.clone()], &dy[range]);
            let mut sum = Vec::new();
            let task = ActGrad {
                y,
                act,
                dy,
                dx,
                channels,
                sum: &mut sum,
            };
            dispatch(isa, task);
            sum
        })
        .collect();
    for (c, dbias) in dbias.iter_mut().enumerate() {
        let sum: f64 = sums.iter().map(|sum| f64::from(sum[c])).sum();
        *dbias = sum as f32;
    }
    Ok(())
}

/// Some rows, and the sum of their gradients; of no channels, some elements.
struct ActGrad<'a, T> {
    y: &'a [T],
    act: Act,
    dy: &'a [T],
    dx: &'a mut [T],
    channels: usize,
    sum: &'a mut Vec<f32>,
}

impl<T: Element> Task for ActGrad<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        by_act!(self.act, ACT => self.gradients::<ACT>());
    }
}

impl<T: Element> ActGrad<'_, T> {
    #[inline(always)]
    fn gradients<const ACT: u8>(self) {
        // One operand less to read where nothing is asked of it.
        let y = if ACT == NONE { self.dy } else { self.y };
        for ((dx, y), dy) in self.dx.iter_mut().zip(y).zip(self.dy) {
            *dx = if cut::<ACT>(y.to_f32()) {
                T::default()
            } else {
                *dy
            };
        }
        if self.channels == 0 {
            return;
        }
        let span = span(self.channels);
        let mut sums = vec![0.0f32; span];
        for dx in self.dx.chunks(span) {
            for (sum, dx) in sums.iter_mut().zip(dx) {
                *sum += dx.to_f32();
            }
        }
        *self.sum = fold(&sums, self.channels);
    }
}
