//! One step's gradients and buffers, from the micro-batches of all ranks.

use super::ranks::collective::{TreeSum, gather, gather_accuracies, sum};
use super::ranks::{MicroBatches, Ranks};
use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use s3_core::host::{Host, on_cpu};
use s3_core::{ParamKind, Params};
use s3_metrics::accuracy::Accuracy;

/// Adds up gradients, each of its micro-batch's share of the objective, and averages the buffers:
/// running statistics and fits to a layer's inputs, which each micro-batch moves from the same
/// start; masks and stages, on which all agree.
///
/// A micro-batch's numbers are one leaf of the tree of [`sum`]. Its share is its images' of the
/// step's; where some were left out, the sum is scaled to the mean over those that were not. A step
/// that one process takes at once copies nothing.
pub(crate) struct Accumulator<'a> {
    parts: MicroBatches,
    ranks: &'a dyn Ranks,
    trained: Vec<Var>,
    buffers: Vec<Var>,
    /// The buffers as the step found them.
    start: Vec<Tensor>,
    tree: TreeSum,
    /// Gradients of the last micro-batch, whose places take the sums.
    grads: Option<GradStore>,
    sums: Vec<Accuracy>,
    /// Images that were left out.
    skipped: usize,
}

/// What the micro-batches of all ranks come to.
pub(crate) struct Step {
    /// The gradients of the step; `None` where no image could be read.
    pub(crate) grads: Option<GradStore>,
    /// Loss and hits of each micro-batch, in their order.
    pub(crate) sums: Vec<Accuracy>,
    /// Images that were left out.
    pub(crate) skipped: u64,
    /// Whether a rank was told to stop.
    pub(crate) stops: bool,
}

impl<'a> Accumulator<'a> {
    pub(crate) fn begin(
        params: &Params,
        parts: MicroBatches,
        ranks: &'a dyn Ranks,
    ) -> Result<Self> {
        let mut this = Self {
            parts,
            ranks,
            trained: Vec::new(),
            buffers: Vec::new(),
            start: Vec::new(),
            tree: TreeSum::default(),
            grads: None,
            sums: Vec::new(),
            skipped: 0,
        };
        if this.is_whole() {
            return Ok(this);
        }
        for p in params.all().into_values() {
            match p.kind {
                ParamKind::Buffer => {
                    this.start.push(p.var.as_detached_tensor().copy()?);
                    this.buffers.push(p.var);
                }
                _ => this.trained.push(p.var),
            }
        }
        Ok(this)
    }

    fn is_whole(&self) -> bool {
        self.parts.of == 1
    }

    /// Takes a micro-batch that went through forward and backward, and resets the buffers; `None`
    /// for one without an image.
    pub(crate) fn add(
        &mut self,
        pass: Option<(GradStore, Accuracy)>,
        skipped: usize,
    ) -> Result<()> {
        let (grads, sums) = pass.map_or((None, Accuracy::default()), |(g, s)| (Some(g), s));
        if !self.is_whole() {
            let mut leaf = Vec::new();
            for var in &self.trained {
                match grads.as_ref().and_then(|grads| grads.get(var)) {
                    Some(grad) => leaf.extend_from_slice(&Host::new(&on_cpu(grad)?)?),
                    None => leaf.resize(leaf.len() + var.elem_count(), 0.0),
                }
            }
            for (var, start) in self.buffers.iter().zip(&self.start) {
                leaf.extend_from_slice(&Host::new(&on_cpu(var)?)?);
                var.set(start)?;
            }
            self.tree.add(leaf);
        }
        self.grads = grads.or(self.grads.take());
        self.sums.push(sums);
        self.skipped += skipped;
        Ok(())
    }

    /// Adds up what all ranks have.
    pub(crate) fn end(self, told: bool) -> Result<Step> {
        if self.is_whole() {
            return Ok(Step {
                grads: self.grads,
                sums: self.sums,
                skipped: self.skipped as u64,
                stops: told,
            });
        }
        let sums = gather_accuracies(self.ranks, &self.sums)?;
        let all = gather(self.ranks, &[f64::from(told), self.skipped as f64])?;
        let (told, skipped): (Vec<f64>, Vec<f64>) =
            all.chunks_exact(2).map(|v| (v[0], v[1])).unzip();
        let mut total = self.tree.total();
        sum(self.ranks, &mut total)?;
        let mut rest = total.as_slice();
        let mut next = |like: &Tensor| -> Result<Tensor> {
            let (values, after) = rest.split_at(like.elem_count());
            rest = after;
            Ok(Tensor::from_slice(values, like.shape(), like.device())?)
        };
        let seen: u64 = sums.iter().map(|part| part.n).sum();
        let skipped = skipped.iter().sum::<f64>() as u64;
        let mut grads = match (self.grads, seen) {
            (_, 0) => None,
            (None, _) => Some(empty()?),
            (some, _) => some,
        };
        for var in &self.trained {
            let mut grad = next(var)?;
            if skipped > 0 {
                grad = (grad * ((seen + skipped) as f64 / seen.max(1) as f64))?;
            }
            if let Some(grads) = &mut grads {
                grads.insert(var, grad);
            }
        }
        let parts = self.parts.of as f64;
        for var in &self.buffers {
            var.set(&(next(var)? / parts)?)?;
        }
        Ok(Step {
            grads,
            sums,
            skipped,
            stops: told.contains(&1.0),
        })
    }
}

/// A store to insert gradients into: candle makes one in a backward pass only.
fn empty() -> Result<GradStore> {
    Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?)
}
