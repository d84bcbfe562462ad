//! The front of a network as one op: forward, and backward from what the forward pass kept.
//!
//! Backward walks the nodes in reverse, with one gradient a value. The first reader that it meets writes
//! the gradient, every other one adds to it: where a kernel can add, into the buffer that is there.

use super::conv_bn::{self, Grads, InputGrad, Moments};
use super::front::Front;
use super::scratch::{Buffer, Scratch};
use super::{Activation, Buffers};
use crate::norm::EPS;
use crate::ops::{SubsampleAndPad, kernel_error};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use s3_core::host::{Host, slice};
use s3_kernels::model::{Act, Op, Size, Window};
use s3_kernels::train::{self, PoolShape};
use std::sync::{Arc, Mutex, PoisonError};

/// What `front` makes of the images `x: [n, h, w, c]` in training, and the moments of each batch norm in the
/// order of the nodes. `parameters` are weight, gain and bias of each layer in the same order.
pub(crate) fn step(
    x: &Tensor,
    parameters: &Tensor,
    front: &Arc<Front>,
    buffers: &Buffers,
) -> Result<(Tensor, Vec<Moments>)> {
    match buffers {
        Buffers::F32(scratch) => step_of(x, parameters, front, scratch),
        Buffers::Bf16(scratch) => step_of(x, parameters, front, scratch),
    }
}

fn step_of<T: Activation>(
    x: &Tensor,
    parameters: &Tensor,
    front: &Arc<Front>,
    scratch: &Arc<Scratch<T>>,
) -> Result<(Tensor, Vec<Moments>)> {
    let kept = Arc::new(Mutex::new(None));
    let op = Step {
        front: front.clone(),
        scratch: scratch.clone(),
        kept: kept.clone(),
    };
    let y = x.contiguous()?.apply_op2(&parameters.contiguous()?, op)?;
    let guard = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(kept) = guard.as_ref() else {
        bail!("the fused step: the forward pass kept nothing")
    };
    let moments = kept.made.iter().filter_map(|made| match made {
        Made::Layer(kept) => Some(kept.moments.clone()),
        _ => None,
    });
    Ok((y, moments.collect()))
}

/// What a node has made, and what its backward pass needs.
enum Made<T> {
    Layer(conv_bn::Kept<T>),
    MaxPool(PoolShape, Buffer<T>, Vec<u32>),
    Subsample(Buffer<T>),
}

impl<T> Made<T> {
    fn y(&self) -> &[T] {
        match self {
            Made::Layer(kept) => &kept.y,
            Made::MaxPool(_, y, _) | Made::Subsample(y) => y,
        }
    }
}

struct Kept<T> {
    /// The images, where they had to be rounded.
    images: Option<Buffer<T>>,
    /// One a node, but for the mean at the end.
    made: Vec<Made<T>>,
}

impl<T> Kept<T> {
    /// A value; `x` are the images.
    fn value<'a>(&'a self, x: &'a [T], value: usize) -> &'a [T] {
        match value.checked_sub(1) {
            None => x,
            Some(node) => self.made[node].y(),
        }
    }
}

struct Step<T> {
    front: Arc<Front>,
    scratch: Arc<Scratch<T>>,
    kept: Arc<Mutex<Option<Kept<T>>>>,
}

fn pool_shape(batch: usize, from: &Size, window: &Window) -> PoolShape {
    PoolShape {
        batch,
        height: from.height,
        width: from.width,
        channels: from.channels,
        kernel: window.kernel[0],
        stride: window.stride,
        padding: window.padding,
    }
}

fn dims(batch: usize, size: &Size) -> [usize; 4] {
    [batch, size.height, size.width, size.channels]
}

/// What nodes outside the front would be: there are none in it.
fn foreign<L>(op: &Op<L>) -> Result<()> {
    bail!("the fused step has no {}", op.word())
}

impl<T: Activation> Step<T> {
    fn forward(&self, x: &[f32], batch: usize, parameters: &[f32]) -> Result<Kept<T>> {
        let (front, scratch) = (&*self.front, &self.scratch);
        if parameters.len() != front.parameters() {
            bail!(
                "the fused step: {} parameters, expected {}",
                parameters.len(),
                front.parameters()
            )
        }
        let mut kept = Kept {
            images: None,
            made: Vec::with_capacity(front.graph.nodes.len()),
        };
        let mut images = None;
        let x = T::images(x, &mut images, scratch);
        for (index, node) in front.graph.nodes.iter().enumerate() {
            let from = &front.sizes[node.input()];
            let input = kept.value(x, node.input());
            let len = batch * front.sizes[index + 1].len();
            let made = match &node.op {
                Op::Layer(layer) => {
                    let own = &parameters[front.range(index)];
                    let added = layer.add.map(|value| kept.value(x, value));
                    let act = (layer.act == Act::Relu, EPS as f32);
                    let shape = layer.shape(batch, from);
                    Made::Layer(conv_bn::forward(shape, own, input, added, act, scratch)?)
                }
                Op::MaxPool(window) => {
                    let shape = pool_shape(batch, from, window);
                    let mut y = scratch.take(len);
                    let mut argmax = vec![0u32; len];
                    train::max_pool2d_forward(&shape, input, &mut y, &mut argmax)
                        .map_err(kernel_error)?;
                    Made::MaxPool(shape, y, argmax)
                }
                &Op::Subsample { stride, channels } => {
                    let mut y = scratch.take(len);
                    let op = SubsampleAndPad { stride, channels };
                    op.forward(input, &dims(batch, from), &mut y)?;
                    Made::Subsample(y)
                }
                Op::MeanPool { .. } => break,
                other => return foreign(other).map(|()| kept),
            };
            kept.made.push(made);
        }
        kept.images = images;
        Ok(kept)
    }

    /// The front's last value in f32, averaged over the pixels where its last node does that.
    fn result(&self, batch: usize, kept: &Kept<T>) -> Result<Vec<f32>> {
        let last = kept.made.last().map(Made::y).unwrap_or_default();
        if !self.front.is_pooled() {
            return Ok(last.iter().map(|v| v.to_f32()).collect());
        }
        let from = self.front.sizes[kept.made.len()];
        let mut y = vec![0f32; batch * from.channels];
        train::global_avg_pool_forward(last, from.pixels(), from.channels, &mut y)
            .map_err(kernel_error)?;
        Ok(y)
    }

    /// Gradients of the parameters and, where it is wanted, of the images.
    fn backward(
        &self,
        (x, wants_dx): (&[f32], bool),
        parameters: &[f32],
        mut kept: Kept<T>,
        dy: &[f32],
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let (front, scratch) = (&*self.front, &self.scratch);
        let batch = x.len() / front.graph.image.len().max(1);
        let mut d_parameters = vec![0f32; parameters.len()];
        let mut images = kept.images.take();
        let x = T::images(x, &mut images, scratch);
        let mut slots = Slots {
            values: front.sizes.iter().map(|_| None).collect(),
            wants_image: wants_dx,
        };
        slots.values[kept.made.len()] = Some(self.last_gradient(dy, batch, kept.made.len())?);
        while let Some(made) = kept.made.pop() {
            let index = kept.made.len();
            let node = &front.graph.nodes[index];
            let Some(dy) = slots.values[index + 1].take() else {
                bail!("layer {}: nothing reads what it makes", node.name)
            };
            let (input, from) = (node.input(), &front.sizes[node.input()]);
            let len = batch * from.len();
            match (&made, &node.op) {
                (Made::Layer(made), Op::Layer(layer)) => {
                    let range = front.range(index);
                    let mut added = layer.add.map(|value| (value, scratch.take(dy.len())));
                    let mut dx = match slots.values[input].take() {
                        Some(there) => Some((there, true)),
                        None if slots.wants(input) => Some((scratch.take(len), false)),
                        None => None,
                    };
                    let grads = Grads {
                        parameters: &mut d_parameters[range.clone()],
                        x: match &mut dx {
                            None => InputGrad::None,
                            Some((dx, true)) => InputGrad::Add(dx),
                            Some((dx, false)) => InputGrad::Write(dx),
                        },
                        residual: added.as_mut().map(|(_, buffer)| &mut **buffer),
                    };
                    let own = &parameters[range];
                    conv_bn::backward(own, kept.value(x, input), made, &dy, grads, scratch)?;
                    slots.values[input] = dx.map(|(dx, _)| dx);
                    if let Some((value, gradient)) = added {
                        slots.add(value, gradient);
                    }
                }
                (Made::MaxPool(shape, y, argmax), _) => {
                    debug_assert_eq!(y.len(), dy.len());
                    if slots.wants(input) {
                        let mut dx = scratch.take(len);
                        train::max_pool2d_backward(shape, &dy, argmax, &mut dx)
                            .map_err(kernel_error)?;
                        slots.add(input, dx);
                    }
                }
                (Made::Subsample(_), &Op::Subsample { stride, channels }) => {
                    if slots.wants(input) {
                        let mut dx = slots.values[input].take().unwrap_or_else(|| {
                            let mut zeros = scratch.take(len);
                            zeros.fill(T::default());
                            zeros
                        });
                        let op = SubsampleAndPad { stride, channels };
                        op.add_gradient(&dy, &dims(batch, from), &mut dx)?;
                        slots.values[input] = Some(dx);
                    }
                }
                (_, other) => foreign(other)?,
            }
        }
        let dx = slots.values[0].take();
        let dx = dx.map(|dx| dx.iter().map(|v| v.to_f32()).collect());
        Ok((dx, d_parameters))
    }

    /// The gradient of the value of node `last - 1`, from that of the result.
    fn last_gradient(&self, dy: &[f32], batch: usize, last: usize) -> Result<Buffer<T>> {
        let from = self.front.sizes[last];
        let mut gradient = self.scratch.take(batch * from.len());
        if self.front.is_pooled() {
            train::global_avg_pool_backward(dy, from.pixels(), from.channels, &mut gradient)
                .map_err(kernel_error)?;
        } else {
            for (to, from) in gradient.iter_mut().zip(dy) {
                *to = T::from_f32(*from);
            }
        }
        Ok(gradient)
    }
}

/// The gradient of each value, while there is one.
struct Slots<T> {
    values: Vec<Option<Buffer<T>>>,
    wants_image: bool,
}

impl<T: Activation> Slots<T> {
    /// Whether anything behind `value` has a gradient.
    fn wants(&self, value: usize) -> bool {
        value > 0 || self.wants_image
    }

    /// Adds `gradient` to what is there of `value`.
    fn add(&mut self, value: usize, gradient: Buffer<T>) {
        if !self.wants(value) {
            return;
        }
        match &mut self.values[value] {
            Some(there) => {
                for (a, b) in there.iter_mut().zip(gradient.iter()) {
                    *a = T::from_f32(a.to_f32() + b.to_f32());
                }
            }
            empty => *empty = Some(gradient),
        }
    }
}

impl<T: Activation> CustomOp2 for Step<T> {
    fn name(&self) -> &'static str {
        "fused-step"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let batch = x_layout.dims().first().copied().unwrap_or(0);
        let (x, parameters) = (slice(x, x_layout)?, slice(parameters, parameters_layout)?);
        let kept = self.forward(x, batch, parameters)?;
        let y = self.result(batch, &kept)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        let made = &self.front.sizes[self.front.graph.nodes.len()];
        let shape = match self.front.is_pooled() {
            true => Shape::from((batch, made.channels)),
            false => Shape::from(&dims(batch, made)[..]),
        };
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(kept) = kept else {
            bail!("the fused step: one forward pass has one backward pass")
        };
        let dy = dy.contiguous()?;
        let (dx, d_parameters) = self.backward(
            (&Host::new(x)?, x.track_op()),
            &Host::new(parameters)?,
            kept,
            &Host::new(&dy)?,
        )?;
        let dx = dx.map(|dx: Vec<f32>| Tensor::from_vec(dx, x.shape(), x.device()));
        let d_parameters = Tensor::from_vec(d_parameters, parameters.shape(), parameters.device())?;
        Ok((dx.transpose()?, Some(d_parameters)))
    }
}
