//! Software prefetch: what will be needed soon, fetched into cache a little at a time while
//! arithmetic runs. A layer of few channels would otherwise wait for its input a fifth of its time,
//! and one of many channels for its weights.
//!
//! Steps must be small: a core waits for a dozen lines at once, and a prefetch beyond them stalls.

use super::scratch::Block;
use super::simd::{LANES, Simd};

/// Input that will be packed next, and weights that will be used next.
pub(super) struct Prefetch<'a, T> {
    rest: [&'a [T]; 2],
    step: [usize; 2],
    weights: [&'a [Block]; 2],
    weights_step: usize,
}

impl<'a, T> Prefetch<'a, T> {
    /// Elements of a cache line.
    const LINE: usize = LANES * size_of::<f32>() / size_of::<T>();

    /// Two inputs, to be fetched in `steps` steps.
    #[inline(always)]
    pub(super) fn new(inputs: [&'a [T]; 2], steps: usize) -> Self {
        let step = inputs.map(|x| x.len().div_ceil(steps.max(1)).next_multiple_of(Self::LINE));
        Prefetch {
            rest: inputs,
            step,
            weights: [&[], &[]],
            weights_step: 0,
        }
    }

    /// Weights, to be fetched in `steps` steps, instead of those before.
    #[inline(always)]
    pub(super) fn weights(&mut self, weights: [&'a [Block]; 2], steps: usize) {
        self.weights = weights;
        self.weights_step = weights[0].len().div_ceil(steps.max(1));
    }

    /// Takes one step.
    #[inline(always)]
    pub(super) fn fetch<S: Simd>(&mut self, simd: S) {
        // Both of a pair end with the same step.
        if self.rest[0].is_empty() && self.weights[0].is_empty() {
            return;
        }
        for (rest, step) in self.rest.iter_mut().zip(self.step) {
            let (now, later) = rest.split_at(step.min(rest.len()));
            *rest = later;
            for line in now.chunks(Self::LINE) {
                simd.prefetch(line);
            }
        }
        for rest in &mut self.weights {
            let (now, later) = rest.split_at(self.weights_step.min(rest.len()));
            *rest = later;
            for block in now {
                simd.prefetch(&block.0);
            }
        }
    }
}
