//! Rates of kernels: which one takes the least time for a product, as this CPU was measured.
//!
//! A product asks a kernel for three kinds of work, and a kernel takes some time for each:
//!
//! ```text
//! time = activations · (lay out one) + weights · (unpack one) + products · (multiply and add)
//! ```
//!
//! How often, [`Work`], follows from how the kernel is written and from the shape. How long,
//! [`Rates`], follows from the CPU: one starts two table look-ups a cycle, another one. With `std`
//! a kernel's rates are measured the first time that a choice depends on them, once for each width:
//! a few small products ([`PROBLEMS`]), about a millisecond. Kernels that compete take turns at the
//! same buffers: what slows one of them down for a while, or by where a buffer happens to lie,
//! slows the others down too.
//! [`usual`](crate::micro::kernel) rates say which kernels are near enough to the fastest for that,
//! so that a program whose shapes have one candidate measures nothing; without `std`, and so
//! without a clock, they decide.
//!
//! Every candidate computes the same integers: the choice changes how long a product takes, and no
//! byte.
//!
//! Deliberately absent: what lies in which cache. Kernels keep what they read often in the second
//! level, and are measured there.

#[cfg(any(feature = "std", test))]
use crate::packed::lines::PANEL;

/// A product: `[batch, cols] · [rows, cols]ᵀ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) batch: usize,
}

/// How much of each kind a kernel does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Work {
    /// Activations that are laid out before they are multiplied.
    activations: f64,
    /// Weights that are unpacked.
    weights: f64,
    /// Products, those with padding included.
    products: f64,
}

impl Shape {
    /// The work of a kernel that lays out `activations`, unpacks the weights anew for each `tile`
    /// batch rows, and pads the rows of weights to a multiple of `panel`.
    pub(crate) fn work(&self, activations: usize, tile: usize, panel: usize) -> Work {
        let weights = self.rows.next_multiple_of(panel) as f64 * self.cols as f64;
        Work {
            activations: activations as f64,
            weights: weights * self.batch.div_ceil(tile) as f64,
            products: weights * self.batch as f64,
        }
    }

    /// All activations.
    pub(crate) fn activations(&self) -> usize {
        self.batch.saturating_mul(self.cols)
    }
}

/// Nanoseconds for one of each kind of work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) activation: f64,
    pub(crate) weight: f64,
    pub(crate) product: f64,
}

impl Rates {
    /// Nanoseconds of `work`.
    pub(crate) fn time(&self, work: &Work) -> f64 {
        let [activation, weight, product] = self.each();
        let [activations, weights, products] = work.each();
        activation * activations + weight * weights + product * products
    }

    /// The rates, none below 0, by which works take the times that they took: least squares of the
    /// relative errors, one rate at a time.
    #[cfg(any(feature = "std", test))]
    pub(crate) fn fitted(measured: &[(Work, f64)]) -> Rates {
        /// Many more than three rates need.
        const SWEEPS: usize = 1000;
        let mut rates = [0.0; 3];
        for _ in 0..SWEEPS {
            for kind in 0..3 {
                let (mut down, mut up) = (0.0, 0.0);
                for (work, time) in measured {
                    let share = work.each().map(|count| count / time);
                    let others = (0..3).filter(|&other| other != kind);
                    let rest = 1.0 - others.map(|other| rates[other] * share[other]).sum::<f64>();
                    up += share[kind] * rest;
                    down += share[kind] * share[kind];
                }
                rates[kind] = if down > 0.0 {
                    (up / down).max(0.0)
                } else {
                    0.0
                };
            }
        }
        let [activation, weight, product] = rates;
        Rates {
            activation,
            weight,
            product,
        }
    }

    fn each(&self) -> [f64; 3] {
        [self.activation, self.weight, self.product]
    }
}

impl Work {
    fn each(&self) -> [f64; 3] {
        [self.activations, self.weights, self.products]
    }
}

/// Kernels that usually take up to so many times the fastest's time are candidates.
const NEAR: f64 = 1.5;

/// A kernel is preferred to those after it that save less than this share of its time: it needs
/// less memory, and in a model of three rates smaller differences say nothing.
const PREFERENCE: f64 = 0.01;

/// The candidates: kernels that are [`NEAR`] the one of least `usual` nanoseconds.
pub(crate) fn near<'k, K: 'k>(
    kernels: impl Iterator<Item = &'k K> + Clone,
    usual: impl Fn(&K) -> f64 + Clone,
) -> impl Iterator<Item = &'k K> + Clone {
    let least = kernels.clone().map(&usual).fold(f64::INFINITY, f64::min);
    kernels.filter(move |kernel| usual(kernel) <= NEAR * least)
}

/// The candidate that takes the least `time`, but for [`PREFERENCE`]. It is not asked where there
/// is one.
pub(crate) fn fastest<'k, K>(
    mut candidates: impl Iterator<Item = &'k K>,
    time: impl Fn(&'k K) -> f64,
) -> Option<&'k K> {
    let first = candidates.next()?;
    let Some(second) = candidates.next() else {
        return Some(first);
    };
    let mut best = (first, time(first));
    for kernel in core::iter::once(second).chain(candidates) {
        let time = time(kernel);
        if time < (1.0 - PREFERENCE) * best.1 {
            best = (kernel, time);
        }
    }
    Some(best.0)
}

/// What is measured, for each kernel and width. Products dominate the first two, so many that what
/// is read again comes from the second level of cache, as in a large product; two, because where a
/// buffer happens to lie changes a rate by some percent. The layout of activations has a share in
/// the third (of as many columns as crowd the sets of a cache), weights in the last.
#[cfg(any(feature = "std", test))]
pub(crate) const PROBLEMS: [Shape; 4] = [
    Shape {
        rows: 4 * PANEL,
        cols: 1024,
        batch: 64,
    },
    Shape {
        rows: 4 * PANEL,
        cols: 1536,
        batch: 64,
    },
    Shape {
        rows: PANEL,
        cols: 2048,
        batch: 24,
    },
    Shape {
        rows: 4 * PANEL,
        cols: 1008,
        batch: 2,
    },
];

#[cfg(feature = "std")]
pub(crate) use measure::{Measured, rates};

#[cfg(feature = "std")]
mod measure {
    use std::sync::OnceLock;
    use std::time::Instant;
    use std::vec::Vec;

    use super::{PROBLEMS, Rates, Shape, Work};
    use crate::packed::code::BitWidth;

    /// A kernel's rates, once they are measured.
    #[derive(Debug)]
    pub(crate) struct Measured([OnceLock<Rates>; BitWidth::ALL.len()]);

    impl Measured {
        pub(crate) const fn new() -> Measured {
            Measured([const { OnceLock::new() }; BitWidth::ALL.len()])
        }

        /// The rates for `width`, if they are known.
        pub(crate) fn get(&self, width: BitWidth) -> Option<Rates> {
            self.0[width as usize].get().copied()
        }

        /// Keeps the rates for `width`, unless others are kept.
        pub(crate) fn set(&self, width: BitWidth, rates: Rates) {
            self.0[width as usize].get_or_init(|| rates);
        }
    }

    /// Rounds, in each of which every kernel has its turn at every problem.
    pub(super) const ROUNDS: usize = 2;

    /// Runs of a turn, the first of which may find the caches full of other things.
    pub(super) const RUNS: usize = 3;

    /// The rates of so many kernels: of each problem a kernel's shortest run counts. `run` takes a
    /// kernel and a problem.
    pub(crate) fn rates(
        kernels: usize,
        work: impl Fn(usize, &Shape) -> Work,
        mut run: impl FnMut(usize, usize),
    ) -> Vec<Rates> {
        let mut least = std::vec![[f64::INFINITY; PROBLEMS.len()]; kernels];
        for _ in 0..ROUNDS {
            for problem in 0..PROBLEMS.len() {
                for (kernel, least) in least.iter_mut().enumerate() {
                    for _ in 0..RUNS {
                        let clock = Instant::now();
                        run(kernel, problem);
                        let time = clock.elapsed().as_nanos() as f64;
                        least[problem] = least[problem].min(time);
                    }
                }
            }
        }
        let fitted = least.into_iter().enumerate().map(|(kernel, least)| {
            let works = PROBLEMS.iter().map(|shape| work(kernel, shape));
            // A clock that stands still measures nothing.
            let times = least.into_iter().map(|time| time.max(1.0));
            Rates::fitted(&works.zip(times).collect::<Vec<_>>())
        });
        fitted.collect()
    }
}

#[cfg(test)]
mod tests;
