//! A residual block: a chain of convolutions and what its input is added through.

use super::conv_bn::{self, ConvBnSpec, Grads, InputGrad, Kept};
use super::scratch::{Buffer, Scratch};
use crate::ops::SubsampleAndPad;
use candle_core::{Result, bail};
use s3_kernels::train::Element;
use std::sync::Arc;

/// What the block's input goes through before the sum.
#[derive(Clone, Debug)]
pub(crate) enum ResidualSpec {
    Identity,
    SubsampleAndPad(SubsampleAndPad),
    Project(ConvBnSpec),
}

/// The geometry of a block.
#[derive(Clone, Debug)]
pub(crate) struct BlockSpec {
    pub(crate) main: Vec<ConvBnSpec>,
    pub(crate) residual: ResidualSpec,
}

impl BlockSpec {
    /// Every convolution in the order of the parameters: the main path, then the projection.
    pub(crate) fn convs(&self) -> impl DoubleEndedIterator<Item = &ConvBnSpec> {
        let projection = match &self.residual {
            ResidualSpec::Project(spec) => Some(spec),
            _ => None,
        };
        self.main.iter().chain(projection)
    }

    pub(crate) fn parameters(&self) -> usize {
        self.convs().map(ConvBnSpec::parameters).sum()
    }

    /// Channels of the block's input.
    fn c_in(&self) -> usize {
        self.main.first().map_or(0, |c| c.c_in)
    }

    /// The parameters of each convolution, in the order of [`convs`](Self::convs).
    fn split<'a>(&self, mut parameters: &'a [f32]) -> Vec<&'a [f32]> {
        let mut parts = Vec::with_capacity(self.main.len() + 1);
        for spec in self.convs() {
            let (part, rest) = parameters.split_at(spec.parameters());
            parts.push(part);
            parameters = rest;
        }
        parts
    }
}

/// What the backward pass needs, one [`Kept`] a convolution in the order of [`BlockSpec::convs`].
pub(crate) struct KeptBlock<T> {
    size: [usize; 3],
    pub(crate) convs: Vec<Kept<T>>,
    last: usize,
}

impl<T> KeptBlock<T> {
    /// The block's output.
    pub(crate) fn y(&self) -> &[T] {
        &self.convs[self.last].y
    }

    pub(crate) fn out_size(&self) -> Result<[usize; 3]> {
        self.convs[self.last].size()
    }
}

pub(crate) fn forward<T: Element>(
    spec: &BlockSpec,
    parameters: &[f32],
    (x, size): (&[T], [usize; 3]),
    eps: f32,
    scratch: &Arc<Scratch<T>>,
) -> Result<KeptBlock<T>> {
    let parts = spec.split(parameters);
    let Some(last @ 1..) = spec.main.len().checked_sub(1) else {
        bail!(
            "a block of {} convolutions, expected at least 2",
            spec.main.len()
        )
    };
    let projection = match &spec.residual {
        ResidualSpec::Project(p) => {
            let act = (false, eps);
            Some(conv_bn::forward(
                p,
                parts[last + 1],
                (x, size),
                None,
                act,
                scratch,
            )?)
        }
        _ => None,
    };
    let padded = match &spec.residual {
        ResidualSpec::SubsampleAndPad(op) => {
            let [n, h, w] = size;
            let dims = [n, h, w, spec.c_in()];
            let mut out = scratch.take(op.out_shape(&dims)?.elem_count());
            op.forward(x, &dims, &mut out)?;
            Some(out)
        }
        _ => None,
    };
    let residual: &[T] = match (&projection, &padded) {
        (Some(kept), _) => &kept.y,
        (None, Some(buffer)) => buffer,
        (None, None) => x,
    };
    let mut convs: Vec<Kept<T>> = Vec::with_capacity(parts.len());
    for (i, (conv, part)) in spec.main.iter().zip(&parts).enumerate() {
        let (input, input_size) = match convs.last() {
            Some(kept) => (&*kept.y, kept.size()?),
            None => (x, size),
        };
        let r = (i == last).then_some(residual);
        convs.push(conv_bn::forward(
            conv,
            part,
            (input, input_size),
            r,
            (true, eps),
            scratch,
        )?);
    }
    convs.extend(projection);
    Ok(KeptBlock { size, convs, last })
}

/// Writes the parameters' gradients and returns that of the block's input.
pub(crate) fn backward<T: Element>(
    spec: &BlockSpec,
    parameters: &[f32],
    x: &[T],
    kept: &KeptBlock<T>,
    dy: Buffer<T>,
    mut d_parameters: &mut [f32],
    scratch: &Arc<Scratch<T>>,
) -> Result<Buffer<T>> {
    let parts = spec.split(parameters);
    let mut d_parts = Vec::with_capacity(parts.len());
    for conv in spec.convs() {
        let (part, rest) = d_parameters.split_at_mut(conv.parameters());
        d_parts.push(part);
        d_parameters = rest;
    }
    let mut d_residual = scratch.take(dy.len());
    let mut dy = dy;
    // From the last convolution to the second; the residual's gradient comes out of the last.
    for i in (1..=kept.last).rev() {
        let input = &*kept.convs[i - 1].y;
        let mut d_input = scratch.take(input.len());
        let grads = Grads {
            parameters: &mut *d_parts[i],
            x: InputGrad::Write(&mut d_input),
            residual: (i == kept.last).then_some(&mut *d_residual),
        };
        conv_bn::backward(
            &spec.main[i],
            parts[i],
            input,
            &kept.convs[i],
            &dy,
            grads,
            scratch,
        )?;
        dy = d_input;
    }
    // The first: the gradient of its input is added to the residual's, where that has its shape.
    let (mut dx, add) = match &spec.residual {
        ResidualSpec::Identity => (std::mem::replace(&mut d_residual, scratch.take(0)), true),
        _ => (scratch.take(x.len()), false),
    };
    let grads = Grads {
        parameters: &mut *d_parts[0],
        x: if add {
            InputGrad::Add(&mut dx)
        } else {
            InputGrad::Write(&mut dx)
        },
        residual: None,
    };
    conv_bn::backward(
        &spec.main[0],
        parts[0],
        x,
        &kept.convs[0],
        &dy,
        grads,
        scratch,
    )?;
    drop(dy);
    match &spec.residual {
        ResidualSpec::Identity => {}
        ResidualSpec::SubsampleAndPad(op) => {
            let [n, h, w] = kept.size;
            op.add_gradient(&d_residual, &[n, h, w, spec.c_in()], &mut dx)?;
        }
        ResidualSpec::Project(p) => {
            let i = kept.last + 1;
            let grads = Grads {
                parameters: &mut *d_parts[i],
                x: InputGrad::Add(&mut dx),
                residual: None,
            };
            conv_bn::backward(p, parts[i], x, &kept.convs[i], &d_residual, grads, scratch)?;
        }
    }
    Ok(dx)
}
