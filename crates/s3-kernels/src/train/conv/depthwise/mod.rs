//! Convolution where every channel sees itself alone, and its two gradients: channels are the
//! lanes.
//!
//! ```text
//! y[n,oh,ow,c]  = Σ_{kh,kw} x[n, s·oh+d·kh-p, s·ow+d·kw-p, c] · w[c,kh,kw]     (zero outside x)
//! dx[n,h,w,c]   = Σ_{kh,kw} dy[n,oh,ow,c] · w[c,kh,kw]  with s·oh+d·kh-p = h, s·ow+d·kw-p = w
//! dw[c,kh,kw]   = Σ_{n,oh,ow} dy[n,oh,ow,c] · x[n, s·oh+d·kh-p, s·ow+d·kw-p, c]
//! ```
//!
//! An output is a handful of products, so a pass costs what moving activations costs: they are read
//! where they lie, and nothing is copied. Arithmetic is f32, also where the elements are bf16:
//! their products are exact, a sum has one order, and a result is rounded once.

mod geometry;
mod pass;
mod weight_grad;

pub(in crate::train) use geometry::{Pass, backward_input, forward};
pub(in crate::train) use pass::run as pass;
pub(in crate::train) use weight_grad::run as weight_grad;

use crate::shape::ConvShape;

/// Whether `shape` is a convolution for this module.
pub(super) fn serves(shape: &ConvShape) -> bool {
    let ConvShape {
        groups,
        in_channels,
        out_channels,
        ..
    } = *shape;
    groups > 1 && groups == in_channels && groups == out_channels
}
