//! Buffers that outlive a step: the next step's activations go where this step's were, without a
//! page fault or a memset.

use s3_kernels::train::Element;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A store of buffers that are not in use.
pub(crate) struct Workspace<T> {
    free: Mutex<Vec<Vec<T>>>,
}

impl<T> Default for Workspace<T> {
    fn default() -> Self {
        Self {
            free: Mutex::default(),
        }
    }
}

impl<T: Element> Workspace<T> {
    /// A buffer of `len` values, **whatever they are**: the caller writes all of them.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer<T> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, so that a small request does not hold a large buffer.
        let fit = free
            .iter()
            .enumerate()
            .filter(|(_, b)| b.len() >= len)
            .min_by_key(|(_, b)| b.len())
            .map(|(i, _)| i);
        let values = match fit {
            Some(i) if free[i].len() <= 2 * len => free.swap_remove(i),
            _ => vec![T::default(); len],
        };
        Buffer {
            values,
            len,
            home: self.clone(),
        }
    }
}

/// A buffer that goes back to its [`Workspace`] when dropped.
pub(crate) struct Buffer<T> {
    values: Vec<T>,
    len: usize,
    home: Arc<Workspace<T>>,
}

impl<T> Buffer<T> {
    /// Gives the values back now; none are left here.
    pub(crate) fn release(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.len = 0;
        if values.capacity() > 0 {
            let free = self.home.free.lock();
            free.unwrap_or_else(PoisonError::into_inner).push(values);
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_never_much_too_large() {
        let workspace = Arc::new(Workspace::<f32>::default());
        let a = workspace.take(100);
        let place = a.as_ptr();
        drop(a);
        let b = workspace.take(60);
        assert_eq!((b.as_ptr(), b.len()), (place, 60));
        drop(b);
        assert_ne!(workspace.take(10).as_ptr(), place);
        let mut c = workspace.take(100);
        assert_eq!(c.as_ptr(), place);
        c.release();
        assert!(c.is_empty());
        assert_eq!(workspace.take(100).as_ptr(), place);
        drop(c);
        assert!(workspace.take(0).is_empty());
    }
}
