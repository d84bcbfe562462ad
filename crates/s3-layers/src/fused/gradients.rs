//! The gradients of the values of a front while its backward pass runs: one a value, while there is
//! one.

use super::workspace::{Buffer, Workspace};
use crate::ops::kernel_error;
use candle_core::Result;
use s3_kernels::train::{self, Element};
use std::sync::Arc;

/// A value that several nodes read gets what each of them gives it. The first of them writes the
/// gradient, the others add to it: where a kernel can, onto what [`take`](Self::take) finds.
pub(crate) struct Gradients<T> {
    values: Vec<Option<Buffer<T>>>,
    wants_image: bool,
    workspace: Arc<Workspace<T>>,
}

impl<T: Element> Gradients<T> {
    /// None yet, of so many values; that of the image only where it is wanted.
    pub(crate) fn new(values: usize, wants_image: bool, workspace: &Arc<Workspace<T>>) -> Self {
        Self {
            values: (0..values).map(|_| None).collect(),
            wants_image,
            workspace: workspace.clone(),
        }
    }

    /// Whether anything behind `value` has a gradient.
    pub(crate) fn wants(&self, value: usize) -> bool {
        value > 0 || self.wants_image
    }

    /// What is there of `value`, which is then no longer here.
    pub(crate) fn take(&mut self, value: usize) -> Option<Buffer<T>> {
        self.values[value].take()
    }

    /// Puts the gradient of `value` in its place, where nothing is.
    pub(crate) fn put(&mut self, value: usize, gradient: Buffer<T>) {
        self.values[value] = Some(gradient);
    }

    /// Adds `gradient` to what is there of `value`.
    pub(crate) fn add(&mut self, value: usize, gradient: Buffer<T>) -> Result<()> {
        if !self.wants(value) {
            return Ok(());
        }
        match &mut self.values[value] {
            Some(there) => train::add_assign(there, &gradient).map_err(kernel_error)?,
            empty => *empty = Some(gradient),
        }
        Ok(())
    }

    /// The same of a gradient that others need as well.
    pub(crate) fn add_copy(&mut self, value: usize, gradient: &[T]) -> Result<()> {
        if let Some(there) = &mut self.values[value] {
            return train::add_assign(there, gradient).map_err(kernel_error);
        }
        self.add_written(value, gradient.len(), |copy| {
            copy.copy_from_slice(gradient);
            Ok(())
        })
    }

    /// Adds what `write` writes, all `len` numbers of a gradient of `value`.
    pub(crate) fn add_written(
        &mut self,
        value: usize,
        len: usize,
        write: impl FnOnce(&mut [T]) -> Result<()>,
    ) -> Result<()> {
        if !self.wants(value) {
            return Ok(());
        }
        let mut gradient = self.workspace.take(len);
        write(&mut gradient)?;
        self.add(value, gradient)
    }
}
