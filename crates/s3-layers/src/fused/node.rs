//! One node of a front: the value that it makes, and what it gives the gradients of those that it
//! reads.

use super::front::{Front, Share};
use super::gradients::Gradients;
use super::layer;
use super::moves::Move;
use super::norm::{self, Moments};
use super::workspace::{Buffer, Workspace};
use crate::ops::{Draw, SubsampleAndPad, dropout_factors, kernel_error};
use candle_core::{Result, bail};
use rayon::prelude::*;
use s3_kernels::model::{Act, Layer, Node, Op, Size, Window};
use s3_kernels::train::{self, Element, PoolShape};
use std::sync::Arc;

/// What a node has made, and what its backward pass needs beside it.
pub(crate) struct Made<T> {
    pub(crate) y: Buffer<T>,
    kept: Kept<T>,
}

enum Kept<T> {
    Nothing,
    Layer(layer::Kept<T>),
    Norm(norm::Kept),
    /// The pixels that won.
    MaxPool(Vec<u32>),
    /// What each number was multiplied by.
    Dropout(Vec<f32>),
}

impl<T> Made<T> {
    /// The moments of the node's batch norm, where it has one.
    pub(crate) fn moments(&self) -> Option<&Moments> {
        match &self.kept {
            Kept::Layer(layer::Kept(Some((_, kept)))) | Kept::Norm(kept) => Some(&kept.moments),
            _ => None,
        }
    }

    /// What the gradient `dy` passed `act` is told from: the result, which where there is no
    /// activation is not read and may be spent.
    fn result<'a>(&'a self, act: Act, dy: &'a [T]) -> &'a [T] {
        match act {
            Act::None => dy,
            Act::Relu | Act::Relu6 => &self.y,
        }
    }
}

/// A node in a pass over so many images.
pub(crate) struct Visit<'a, T> {
    pub(crate) front: &'a Front,
    pub(crate) index: usize,
    pub(crate) batch: usize,
    /// Those of all nodes.
    pub(crate) parameters: &'a [&'a [f32]],
    pub(crate) draw: Draw,
    pub(crate) workspace: &'a Arc<Workspace<T>>,
}

impl<'a, T: Element> Visit<'a, T> {
    fn node(&self) -> &'a Node<Share> {
        &self.front.graph.nodes[self.index]
    }

    fn size(&self, value: usize) -> &'a Size {
        &self.front.sizes[value]
    }

    /// Numbers of a value of all images.
    fn len(&self, value: usize) -> usize {
        self.batch * self.size(value).len()
    }

    fn dims(&self, value: usize) -> [usize; 4] {
        let &Size {
            height,
            width,
            channels,
        } = self.size(value);
        [self.batch, height, width, channels]
    }

    fn layer(&self, layer: &'a Layer<Share>) -> layer::At<'a, T> {
        layer::At {
            layer,
            batch: self.batch,
            from: self.size(self.node().input()),
            weight: self.parameters[layer.holds.start],
            then: &self.parameters[layer.holds.clone()][1..],
            workspace: self.workspace,
        }
    }

    fn pool(&self, window: &Window) -> PoolShape {
        let [batch, height, width, channels] = self.dims(self.node().input());
        PoolShape {
            batch,
            height,
            width,
            channels,
            kernel: window.kernel,
            stride: window.stride,
            padding: window.padding,
        }
    }

    /// Of a node that only moves numbers, what it reads and where that goes.
    fn moves(&self) -> Vec<(usize, Move)> {
        let (node, made) = (self.node(), self.size(self.index + 1));
        let mut first = 0;
        let of = |value: usize| match &node.op {
            Op::Concat => {
                let concat = Move::Concat {
                    first,
                    made: made.channels,
                };
                first += self.size(value).channels;
                concat
            }
            &Op::Pad {
                sides: [top, _, left, _],
            } => Move::Pad {
                top,
                left,
                width: made.width,
            },
            _ => Move::Flatten,
        };
        let moves = node.inputs.iter().copied().map(of);
        node.inputs.iter().copied().zip(moves).collect()
    }

    /// What the node makes, where `value` gives the values before it.
    pub(crate) fn forward<'v>(&self, value: impl Fn(usize) -> &'v [T]) -> Result<Made<T>> {
        let node = self.node();
        let (input, x) = (node.input(), value(node.input()));
        let mut y = self.workspace.take(self.len(self.index + 1));
        let mut kept = Kept::Nothing;
        match &node.op {
            Op::Layer(layer) => {
                let residual = layer.add.map(&value);
                kept = Kept::Layer(self.layer(layer).forward(x, residual, &mut y)?);
            }
            Op::Norm { holds, act } => {
                let affine = [0, 1].map(|i| self.parameters[holds.start + i]);
                kept = Kept::Norm(norm::forward(x, None, affine, *act, &mut y)?);
            }
            Op::Add { act } => {
                let all: Vec<&[T]> = node.inputs.iter().map(|&v| value(v)).collect();
                train::sum_forward(&all, *act, &mut y).map_err(kernel_error)?;
            }
            Op::Concat | Op::Pad { .. } | Op::Flatten => {
                // The others write every number.
                if matches!(node.op, Op::Pad { .. }) {
                    y.fill(T::default());
                }
                for (from, to) in self.moves() {
                    to.forward(value(from), self.size(from), &mut y);
                }
            }
            Op::MaxPool(window) => {
                let mut argmax = vec![0u32; y.len()];
                train::max_pool2d_forward(&self.pool(window), x, &mut y, &mut argmax)
                    .map_err(kernel_error)?;
                kept = Kept::MaxPool(argmax);
            }
            Op::AvgPool(window) => {
                train::avg_pool2d_forward(&self.pool(window), x, &mut y).map_err(kernel_error)?;
            }
            Op::MeanPool { .. } => {
                let mean = mean(self.size(input), x, y.len())?;
                round(&mean, &mut y);
            }
            &Op::Subsample { stride, channels } => {
                SubsampleAndPad { stride, channels }.forward(x, &self.dims(input), &mut y)?;
            }
            &Op::Dropout(share) => {
                let sizes = [self.batch, self.size(input).len()];
                let factors = dropout_factors(sizes, share, &node.name, self.draw);
                multiply(x, &factors, &mut y);
                kept = Kept::Dropout(factors);
            }
        }
        Ok(Made { y, kept })
    }

    /// Gives `gradients` of what the node reads, and of its parameters, given that of what it
    /// `made`.
    pub(crate) fn backward<'v>(
        &self,
        value: impl Fn(usize) -> &'v [T],
        made: Made<T>,
        mut dy: Buffer<T>,
        d_parameters: &mut [Vec<f32>],
        gradients: &mut Gradients<T>,
    ) -> Result<()> {
        let node = self.node();
        let input = node.input();
        let len = self.len(input);
        match (&node.op, &made.kept) {
            (Op::Layer(layer), Kept::Layer(kept)) => {
                let at = self.layer(layer);
                let mut added = layer
                    .add
                    .map(|value| (value, self.workspace.take(dy.len())));
                let residual = added.as_mut().map(|(_, buffer)| &mut **buffer);
                let y = made.result(layer.act, &dy);
                let d_then = &mut d_parameters[layer.holds.clone()][1..];
                let d_sums = at.backward(y, kept, &dy, residual, d_then)?;
                // What is not read again makes room.
                drop((dy, made));
                let d_weight = &mut d_parameters[layer.holds.start];
                at.backward_weight(value(input), &d_sums, d_weight)?;
                if gradients.wants(input) {
                    let there = gradients.take(input);
                    let add = there.is_some();
                    let mut dx = there.unwrap_or_else(|| self.workspace.take(len));
                    at.backward_input(&d_sums, &mut dx, add)?;
                    gradients.put(input, dx);
                }
                if let Some((value, gradient)) = added {
                    gradients.add(value, gradient)?;
                }
            }
            (Op::Norm { holds, act }, Kept::Norm(kept)) => {
                let gains = self.parameters[holds.start];
                let [d_gains, d_biases] = &mut d_parameters[holds.clone()] else {
                    bail!("the fused step: a norm of other parameters than gains and biases")
                };
                let mut dx = self.workspace.take(len);
                let grads = norm::Grads {
                    x: &mut dx,
                    residual: None,
                    affine: [d_gains, d_biases],
                };
                let y = made.result(*act, &dy);
                norm::backward([value(input), y], gains, *act, kept, &dy, grads)?;
                gradients.add(input, dx)?;
            }
            (Op::Add { act }, _) => {
                if *act != Act::None {
                    let mut passed = self.workspace.take(dy.len());
                    train::act_backward(&made.y, *act, &dy, &mut passed, &mut [])
                        .map_err(kernel_error)?;
                    dy = passed;
                }
                for &value in &node.inputs[1..] {
                    gradients.add_copy(value, &dy)?;
                }
                gradients.add(input, dy)?;
            }
            (Op::Concat | Op::Pad { .. } | Op::Flatten, _) => {
                for (from, to) in self.moves() {
                    gradients.add_written(from, self.len(from), |dx| {
                        to.backward(&dy, self.size(from), dx);
                        Ok(())
                    })?;
                }
            }
            (Op::MaxPool(window), Kept::MaxPool(argmax)) => {
                let shape = self.pool(window);
                gradients.add_written(input, len, |dx| {
                    train::max_pool2d_backward(&shape, &dy, argmax, dx).map_err(kernel_error)
                })?;
            }
            (Op::AvgPool(window), _) => {
                let shape = self.pool(window);
                gradients.add_written(input, len, |dx| {
                    train::avg_pool2d_backward(&shape, &dy, dx).map_err(kernel_error)
                })?;
            }
            (Op::MeanPool { .. }, _) => {
                let dy: Vec<f32> = dy.iter().map(|v| v.to_f32()).collect();
                gradients.add_written(input, len, |dx| mean_gradient(self.size(input), &dy, dx))?;
            }
            (&Op::Subsample { stride, channels }, _) if gradients.wants(input) => {
                let mut dx = gradients.take(input).unwrap_or_else(|| {
                    let mut zeros = self.workspace.take(len);
                    zeros.fill(T::default());
                    zeros
                });
                let op = SubsampleAndPad { stride, channels };
                op.add_gradient(&dy, &self.dims(input), &mut dx)?;
                gradients.put(input, dx);
            }
            (Op::Subsample { .. }, _) => {}
            (Op::Dropout(_), Kept::Dropout(factors)) => {
                gradients.add_written(input, len, |dx| {
                    multiply(&dy, factors, dx);
                    Ok(())
                })?;
            }
            (other, _) => bail!("the fused step: a {} has kept something else", other.word()),
        }
        Ok(())
    }
}

/// The mean over the pixels of each image of `size`: so many numbers.
pub(crate) fn mean<T: Element>(size: &Size, x: &[T], len: usize) -> Result<Vec<f32>> {
    let mut y = vec![0f32; len];
    train::global_avg_pool_forward(x, size.pixels(), size.channels, &mut y)
        .map_err(kernel_error)?;
    Ok(y)
}

/// Writes the gradient of [`mean`].
pub(crate) fn mean_gradient<T: Element>(size: &Size, dy: &[f32], dx: &mut [T]) -> Result<()> {
    train::global_avg_pool_backward(dy, size.pixels(), size.channels, dx).map_err(kernel_error)
}

/// Writes `x · factors`, each product rounded once.
fn multiply<T: Element>(x: &[T], factors: &[f32], y: &mut [T]) {
    const PIECE: usize = 16 * 1024;
    let operands = x.par_chunks(PIECE).zip(factors.par_chunks(PIECE));
    let pieces = y.par_chunks_mut(PIECE).zip(operands);
    pieces.for_each(|(y, (x, factors))| {
        for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
            *y = T::from_f32(x.to_f32() * factor);
        }
    });
}

/// Writes `from` as elements.
pub(crate) fn round<T: Element>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f32(*from);
    }
}
