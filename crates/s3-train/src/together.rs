//! One step's gradients and buffers, from the micro-batches of all ranks.

use crate::ranks::collective::{TreeSum, gather, gather_accuracies, sum};
use crate::ranks::{Parts, Ranks};
use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use s3_core::host::Host;
use s3_core::{ParamKind, Params};
use s3_metrics::accuracy::Accuracy;

/// Adds up gradients, each of its micro-batch's share of the loss, and averages the buffers (running
/// statistics, which each micro-batch moves from the same start; masks and bases, on which all agree).
///
/// A micro-batch's numbers are one leaf of the tree of [`sum`]. A step that one process takes at once
/// copies nothing.
pub(crate) struct Together<'a> {
    parts: Parts,
    ranks: &'a dyn Ranks,
    trained: Vec<Var>,
    buffers: Vec<Var>,
    /// The buffers as the step found them.
    start: Vec<Tensor>,
    tree: TreeSum,
    /// Gradients of the last micro-batch, whose places take the sums.
    grads: Option<GradStore>,
    sums: Vec<Accuracy>,
}

impl<'a> Together<'a> {
    pub(crate) fn begin(params: &Params, parts: Parts, ranks: &'a dyn Ranks) -> Result<Self> {
        let mut this = Self {
            parts,
            ranks,
            trained: Vec::new(),
            buffers: Vec::new(),
            start: Vec::new(),
            tree: TreeSum::default(),
            grads: None,
            sums: Vec::new(),
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

    /// Takes a micro-batch that went through forward and backward, and resets the buffers.
    pub(crate) fn add(&mut self, grads: GradStore, sums: Accuracy) -> Result<()> {
        if !self.is_whole() {
            let mut leaf = Vec::new();
            for var in &self.trained {
                if let Some(grad) = grads.get(var) {
                    leaf.extend_from_slice(&Host::new(&grad.contiguous()?)?);
                }
            }
            for (var, start) in self.buffers.iter().zip(&self.start) {
                leaf.extend_from_slice(&Host::new(&var.as_detached_tensor())?);
                var.set(start)?;
            }
            self.tree.add(leaf);
        }
        self.grads = Some(grads);
        self.sums.push(sums);
        Ok(())
    }

    /// The step's gradients, the sums of its micro-batches in their order, and whether a rank was told to
    /// stop; `None` without a micro-batch.
    pub(crate) fn end(self, told: bool) -> Result<Option<(GradStore, Vec<Accuracy>, bool)>> {
        let whole = self.is_whole();
        let Some(mut grads) = self.grads else {
            return Ok(None);
        };
        if whole {
            return Ok(Some((grads, self.sums, told)));
        }
        let mut total = self.tree.total();
        sum(self.ranks, &mut total)?;
        let mut rest = total.as_slice();
        let mut next = |like: &Tensor| -> Result<Tensor> {
            let (values, after) = rest.split_at(like.elem_count());
            rest = after;
            Ok(Tensor::from_slice(values, like.shape(), like.device())?)
        };
        for var in &self.trained {
            if grads.get(var).is_some() {
                grads.insert(var, next(var)?);
            }
        }
        let parts = self.parts.of as f64;
        for var in &self.buffers {
            var.set(&(next(var)? / parts)?)?;
        }
        let sums = gather_accuracies(self.ranks, &self.sums)?;
        let told = gather(self.ranks, &[f64::from(told)])?;
        Ok(Some((grads, sums, told.contains(&1.0))))
    }
}
