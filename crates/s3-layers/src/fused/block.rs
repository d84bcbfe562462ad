//! A residual block: a chain of convolutions and what its input is added through.

use super::conv_bn::{self, ConvBnSpec, Grads, Kept};
use super::scratch::{Buffer, Scratch};
use crate::ops::SubsampleAndPad;
use candle_core::{Result, bail};
use rayon::prelude::*;
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
pub(crate) struct KeptBlock {
    size: [usize; 3],
    pub(crate) convs: Vec<Kept>,
    last: usize,
}

impl KeptBlock {
    /// The block's output.
    pub(crate) fn y(&self) -> &[f32] {
        &self.convs[self.last].y
    }

    pub(crate) fn out_size(&self) -> Result<[usize; 3]> {
        self.convs[self.last].size()
    }
}

pub(crate) fn forward(
    spec: &BlockSpec,
    parameters: &[f32],
    (x, size): (&[f32], [usize; 3]),
    eps: f32,
    scratch: &Arc<Scratch>,
) -> Result<KeptBlock> {
    let parts = spec.split(parameters);
    let Some(last) = spec.main.len().checked_sub(1) else {
        bail!("a block without convolutions")
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
    let residual: &[f32] = match (&projection, &padded) {
        (Some(kept), _) => &kept.y,
        (None, Some(buffer)) => buffer,
        (None, None) => x,
    };
    let mut convs: Vec<Kept> = Vec::with_capacity(parts.len());
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
pub(crate) fn backward(
    spec: &BlockSpec,
    parameters: &[f32],
    x: &[f32],
    kept: &KeptBlock,
    dy: Buffer,
    mut d_parameters: &mut [f32],
    scratch: &Arc<Scratch>,
) -> Result<Buffer> {
    let parts = spec.split(parameters);
    let mut d_parts = Vec::with_capacity(parts.len());
    for conv in spec.convs() {
        let (part, rest) = d_parameters.split_at_mut(conv.parameters());
        d_parts.push(part);
        d_parameters = rest;
    }
    let mut d_residual = scratch.take(dy.len());
    let mut dy = dy;
    let mut dx = scratch.take(x.len());
    for i in (0..=kept.last).rev() {
        let input = if i == 0 { x } else { &*kept.convs[i - 1].y };
        let mut d_input = if i == 0 {
            None
        } else {
            Some(scratch.take(input.len()))
        };
        let grads = Grads {
            parameters: &mut *d_parts[i],
            x: Some(match &mut d_input {
                Some(d) => d,
                None => &mut dx,
            }),
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
        if let Some(d) = d_input {
            dy = d;
        }
    }
    drop(dy);
    match &spec.residual {
        ResidualSpec::Identity => add(&mut dx, &d_residual),
        ResidualSpec::SubsampleAndPad(op) => {
            let [n, h, w] = kept.size;
            op.add_gradient(&d_residual, &[n, h, w, spec.c_in()], &mut dx)?;
        }
        ResidualSpec::Project(p) => {
            let i = kept.last + 1;
            let mut through = scratch.take(x.len());
            let grads = Grads {
                parameters: &mut *d_parts[i],
                x: Some(&mut through),
                residual: None,
            };
            conv_bn::backward(p, parts[i], x, &kept.convs[i], &d_residual, grads, scratch)?;
            add(&mut dx, &through);
        }
    }
    Ok(dx)
}

/// Values that one task adds; fixed, though a sum of two has no order to depend on.
const CHUNK: usize = 64 * 1024;

fn add(a: &mut [f32], b: &[f32]) {
    a.par_chunks_mut(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .for_each(|(a, b)| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        });
}
