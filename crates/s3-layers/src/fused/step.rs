//! The front of a network as one op: forward, and backward from what the forward pass kept.
//!
//! Backward walks the nodes in reverse, with one gradient a value ([`Gradients`]).

use super::front::Front;
use super::gradients::Gradients;
use super::node::{self, Made, Visit};
use super::norm::Moments;
use super::parameters::{ParameterGradients, Parameters};
use super::workspace::{Buffer, Workspace};
use super::{Activation, Buffers};
use crate::ops::Draw;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use s3_core::host::{Host, slice};
use std::sync::{Arc, Mutex, PoisonError};

/// What `front` makes of the images `x: [n, h, w, c]` in training, and the moments of each batch
/// norm in the order of the nodes. Dropouts draw by `draw`; `parameters` are those of each layer
/// and batch norm in the same order: weight, gains, biases, f32 on the CPU.
pub(crate) fn step(
    x: &Tensor,
    parameters: &[Tensor],
    front: &Arc<Front>,
    draw: Draw,
    buffers: &Buffers,
) -> Result<(Tensor, Vec<Moments>)> {
    match buffers {
        Buffers::F32(workspace) => step_of(x, parameters, front, draw, workspace),
        Buffers::Bf16(workspace) => step_of(x, parameters, front, draw, workspace),
    }
}

fn step_of<T: Activation>(
    x: &Tensor,
    parameters: &[Tensor],
    front: &Arc<Front>,
    draw: Draw,
    workspace: &Arc<Workspace<T>>,
) -> Result<(Tensor, Vec<Moments>)> {
    if parameters.len() != front.parameters() {
        bail!(
            "the fused step: {} parameters, expected {}",
            parameters.len(),
            front.parameters()
        )
    }
    let (parameters, tokens) = Parameters::new(parameters)?;
    let kept = Arc::new(Mutex::new(None));
    let op = Step {
        front: front.clone(),
        parameters,
        draw,
        workspace: workspace.clone(),
        kept: kept.clone(),
    };
    let y = x.contiguous()?.apply_op2(&tokens, op)?;
    let guard = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(kept) = guard.as_ref() else {
        bail!("the fused step: the forward pass kept nothing")
    };
    let moments = kept.made.iter().filter_map(Made::moments);
    Ok((y, moments.cloned().collect()))
}

struct Kept<T> {
    /// The images, where they had to be rounded.
    images: Option<Buffer<T>>,
    /// One a node, but for the mean at the end; without numbers where none are read any more.
    made: Vec<Made<T>>,
}

/// A value of a front; `x` are the images. Of one that is spent no numbers.
fn value<'a, T>(made: &'a [Made<T>], x: &'a [T], value: usize) -> &'a [T] {
    match value.checked_sub(1) {
        None => x,
        Some(node) => &made[node].y,
    }
}

struct Step<T> {
    front: Arc<Front>,
    parameters: Parameters,
    draw: Draw,
    workspace: Arc<Workspace<T>>,
    kept: Arc<Mutex<Option<Kept<T>>>>,
}

impl<T: Activation> Step<T> {
    fn visit<'a>(
        &'a self,
        index: usize,
        batch: usize,
        parameters: &'a [&'a [f32]],
    ) -> Visit<'a, T> {
        Visit {
            front: &self.front,
            index,
            batch,
            parameters,
            draw: self.draw,
            workspace: &self.workspace,
        }
    }

    /// What is kept, and the result: the front's last value in f32, averaged over the pixels where
    /// its last node does that.
    fn forward(&self, images: &[f32], batch: usize) -> Result<(Kept<T>, Vec<f32>)> {
        let front = &*self.front;
        let hosts = self.parameters.hosts()?;
        let parameters: Vec<&[f32]> = hosts.iter().map(|host| &**host).collect();
        let mut rounded = None;
        let x = T::images(images, &mut rounded, &self.workspace);
        let mut made = Vec::with_capacity(front.len());
        for index in 0..front.inner() {
            let visit = self.visit(index, batch, &parameters);
            made.push(visit.forward(|at| value(&made, x, at))?);
            for &value in front.spent(index) {
                made[value - 1].y.release();
            }
        }
        let (end, is_pooled) = front.end();
        let (last, size) = (value(&made, x, end), &front.sizes[end]);
        let y = match is_pooled {
            true => node::mean(size, last, batch * size.channels)?,
            false => last.iter().map(|v| v.to_f32()).collect(),
        };
        let images = rounded;
        Ok((Kept { images, made }, y))
    }

    /// Gradients of the parameters and, where it is wanted, of the images.
    fn backward(
        &self,
        (images, wants_dx): (&[f32], bool),
        mut kept: Kept<T>,
        dy: &[f32],
    ) -> Result<(Option<Vec<f32>>, ParameterGradients)> {
        let front = &*self.front;
        let hosts = self.parameters.hosts()?;
        let parameters: Vec<&[f32]> = hosts.iter().map(|host| &**host).collect();
        let batch = images.len() / front.graph.image.len().max(1);
        let zeros = |parameter: &&[f32]| vec![0f32; parameter.len()];
        let mut d_parameters: ParameterGradients = parameters.iter().map(zeros).collect();
        let x = T::images(images, &mut kept.images, &self.workspace);
        let mut gradients = Gradients::new(front.sizes.len(), wants_dx, &self.workspace);
        let (end, is_pooled) = front.end();
        let size = &front.sizes[end];
        let mut last = self.workspace.take(batch * size.len());
        match is_pooled {
            true => node::mean_gradient(size, dy, &mut last)?,
            false => node::round(dy, &mut last),
        }
        gradients.put(end, last);
        while let Some(made) = kept.made.pop() {
            let index = kept.made.len();
            let Some(dy) = gradients.take(index + 1) else {
                let name = &front.graph.nodes[index].name;
                bail!("layer {name}: nothing reads what it makes")
            };
            let visit = self.visit(index, batch, &parameters);
            let value = |at| value(&kept.made, x, at);
            visit.backward(value, made, dy, &mut d_parameters, &mut gradients)?;
        }
        let dx = gradients.take(0);
        let dx = dx.map(|dx| dx.iter().map(|v| v.to_f32()).collect());
        Ok((dx, d_parameters))
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
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let batch = x_layout.dims().first().copied().unwrap_or(0);
        let (kept, y) = self.forward(slice(x, x_layout)?, batch)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        let made = &self.front.sizes[self.front.len()];
        let shape = match self.front.end() {
            (_, true) => Shape::from((batch, made.channels)),
            (_, false) => Shape::from((batch, made.height, made.width, made.channels)),
        };
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _tokens: &Tensor,
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
        let images = Host::new(x)?;
        let images = (&*images, x.track_op());
        let (dx, d_parameters) = self.backward(images, kept, &Host::new(&dy)?)?;
        let dx = dx.map(|dx: Vec<f32>| Tensor::from_vec(dx, x.shape(), x.device()));
        let d_tokens = self.parameters.put_gradients(d_parameters)?;
        Ok((dx.transpose()?, Some(d_tokens)))
    }
}
