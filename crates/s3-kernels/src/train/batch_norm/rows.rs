//! The loops of batch norm over channels-last rows.
//!
//! Rows are read in *spans*: runs of whole rows whose length is a multiple of the vector and long
//! enough that neighbouring additions do not wait for each other. Per-channel values are repeated
//! over a span, so that every loop is a plain element-by-element one, which the compiler turns into
//! the vectors of the instruction set it runs on. No instruction set rounds differently: nothing is
//! fused and every sum has one accumulator per place in the span.

use crate::act::Act;
use crate::train::element::{Element, RUN};
use crate::train::simd::{LANES, Simd, Task};

/// Elements of a span, at least.
const SPAN: usize = 8 * LANES;

/// Beyond this length, whole vectors are not worth a longer span.
const LONGEST_SPAN: usize = 4096;

/// Elements of a chunk, about: what one task reads, twice, from cache.
const CHUNK: usize = 16 * 1024;

/// Elements of a span for this many channels.
pub(in crate::train) fn span(channels: usize) -> usize {
    let common = channels * LANES / gcd(channels, LANES);
    let least = if common <= LONGEST_SPAN {
        common
    } else {
        channels
    };
    least * SPAN.div_ceil(least)
}

/// Elements of a chunk: whole spans. Chunks are fixed by the number of channels alone.
pub(in crate::train) fn chunk(channels: usize) -> usize {
    let span = span(channels);
    span * (CHUNK / span).max(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `values` repeated to a span.
pub(super) fn repeat(values: &[f32]) -> Vec<f32> {
    let mut repeated = values.to_vec();
    repeated.resize(span(values.len()), 0.0);
    for i in values.len()..repeated.len() {
        repeated[i] = repeated[i - values.len()];
    }
    repeated
}

/// Adds up the places of a span that belong to one channel.
pub(in crate::train) fn fold(places: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = places[..channels].to_vec();
    for places in places[channels..].chunks(channels) {
        sums.iter_mut().zip(places).for_each(|(s, p)| *s += p);
    }
    sums
}

/// Mean and sum of squared deviations of a chunk.
pub(super) struct Moments<'a, T> {
    pub(super) x: &'a [T],
    pub(super) channels: usize,
    pub(super) mean: &'a mut Vec<f32>,
    pub(super) deviation: &'a mut Vec<f32>,
}

impl<T: Element> Task for Moments<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let span = span(self.channels);
        let mut sums = vec![0.0f32; span];
        for x in self.x.chunks(span) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x.to_f32();
            }
        }
        let scale = self.channels as f32 / self.x.len() as f32;
        *self.mean = fold(&sums, self.channels);
        for mean in self.mean.iter_mut() {
            *mean *= scale;
        }
        let mean = repeat(self.mean);
        sums.fill(0.0);
        for x in self.x.chunks(span) {
            for ((sum, x), mean) in sums.iter_mut().zip(x).zip(&mean) {
                let centred = x.to_f32() - mean;
                *sum += centred * centred;
            }
        }
        *self.deviation = fold(&sums, self.channels);
    }
}

/// [`Act`] as a constant that a loop is compiled for.
pub(in crate::train) const NONE: u8 = 0;
pub(in crate::train) const RELU: u8 = 1;
pub(in crate::train) const RELU6: u8 = 2;

/// `$run`, compiled for each [`Act`], whose constant it names `$name`.
macro_rules! by_act {
    ($act:expr, $name:ident => $run:expr) => {
        match $act {
            Act::None => {
                const $name: u8 = NONE;
                $run
            }
            Act::Relu => {
                const $name: u8 = RELU;
                $run
            }
            Act::Relu6 => {
                const $name: u8 = RELU6;
                $run
            }
        }
    };
}
pub(in crate::train) use by_act;

/// The activation of `v`; a NaN stays.
#[inline(always)]
pub(in crate::train) fn activated<const ACT: u8>(v: f32) -> f32 {
    let v = if ACT != NONE && v < 0.0 { 0.0 } else { v };
    if ACT == RELU6 && v > 6.0 { 6.0 } else { v }
}

/// The gradient that passes the activation, which gave `y`: `dy`, but 0 at an end of its range.
#[inline(always)]
pub(in crate::train) fn passed<const ACT: u8>(dy: f32, y: f32) -> f32 {
    if cut::<ACT>(y) { 0.0 } else { dy }
}

/// Whether the activation, which gave `y`, lets no gradient pass.
#[inline(always)]
pub(in crate::train) fn cut<const ACT: u8>(y: f32) -> bool {
    (ACT != NONE) & (y <= 0.0) | (ACT == RELU6) & (y >= 6.0)
}

/// `y = act(x·scale + shift + residual)`; `scale` and `shift` fill a span.
pub(super) struct Apply<'a, T> {
    pub(super) x: &'a [T],
    pub(super) residual: Option<&'a [T]>,
    pub(super) scale: &'a [f32],
    pub(super) shift: &'a [f32],
    pub(super) act: Act,
    pub(super) y: &'a mut [T],
}

impl<T: Element> Task for Apply<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        by_act!(self.act, ACT => match self.residual {
            None => self.plain::<S, ACT>(simd),
            Some(residual) => self.with_residual::<S, ACT>(simd, residual),
        });
    }
}

impl<T: Element> Apply<'_, T> {
    #[inline(always)]
    fn plain<S: Simd, const ACT: u8>(self, simd: S) {
        let span = self.scale.len();
        let mut run = T::Run::default();
        for (y, x) in self.y.chunks_mut(span).zip(self.x.chunks(span)) {
            let affine = self.scale.chunks(RUN).zip(self.shift.chunks(RUN));
            for ((y, x), (a, b)) in y.chunks_mut(RUN).zip(x.chunks(RUN)).zip(affine) {
                let values = T::values(&mut run, y);
                for (((v, x), a), b) in values.iter_mut().zip(x).zip(a).zip(b) {
                    *v = activated::<ACT>(x.to_f32() * a + b);
                }
                T::keep(simd, &run, y);
            }
        }
    }

    #[inline(always)]
    fn with_residual<S: Simd, const ACT: u8>(self, simd: S, residual: &[T]) {
        let span = self.scale.len();
        let mut run = T::Run::default();
        let inputs = self.x.chunks(span).zip(residual.chunks(span));
        for (y, (x, r)) in self.y.chunks_mut(span).zip(inputs) {
            let affine = self.scale.chunks(RUN).zip(self.shift.chunks(RUN));
            let inputs = x.chunks(RUN).zip(r.chunks(RUN));
            for ((y, (x, r)), (a, b)) in y.chunks_mut(RUN).zip(inputs).zip(affine) {
                let values = T::values(&mut run, y);
                for ((((v, x), r), a), b) in values.iter_mut().zip(x).zip(r).zip(a).zip(b) {
                    *v = activated::<ACT>(x.to_f32() * a + b + r.to_f32());
                }
                T::keep(simd, &run, y);
            }
        }
    }
}

/// `Σ g` and `Σ g·(x - mean)` of a chunk; `mean` fills a span.
pub(super) struct GradSums<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
    pub(super) act: Act,
    pub(super) dy: &'a [T],
    pub(super) mean: &'a [f32],
    pub(super) channels: usize,
    pub(super) sum: &'a mut Vec<f32>,
    pub(super) product: &'a mut Vec<f32>,
}

impl<T: Element> Task for GradSums<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        by_act!(self.act, ACT => self.sums::<ACT>());
    }
}

impl<T: Element> GradSums<'_, T> {
    #[inline(always)]
    fn sums<const ACT: u8>(self) {
        let span = self.mean.len();
        // One operand less to read where nothing is asked of it.
        let y = if ACT == NONE { self.dy } else { self.y };
        let (mut sums, mut products) = (vec![0.0f32; span], vec![0.0f32; span]);
        let inputs = self
            .x
            .chunks(span)
            .zip(y.chunks(span))
            .zip(self.dy.chunks(span));
        for ((x, y), dy) in inputs {
            let places = sums.iter_mut().zip(products.iter_mut()).zip(self.mean);
            for ((((sum, product), mean), x), (y, dy)) in places.zip(x).zip(y.iter().zip(dy)) {
                let g = passed::<ACT>(dy.to_f32(), y.to_f32());
                *sum += g;
                *product += g * (x.to_f32() - mean);
            }
        }
        *self.sum = fold(&sums, self.channels);
        *self.product = fold(&products, self.channels);
    }
}

/// `dx = scale·g - offset - slope·(x - mean)` and `dresidual = g`; the coefficients fill a span.
pub(super) struct GradApply<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
    pub(super) act: Act,
    pub(super) dy: &'a [T],
    pub(super) mean: &'a [f32],
    pub(super) scale: &'a [f32],
    pub(super) offset: &'a [f32],
    pub(super) slope: &'a [f32],
    pub(super) dx: &'a mut [T],
    pub(super) dresidual: Option<&'a mut [T]>,
}

impl<T: Element> Task for GradApply<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        by_act!(self.act, ACT => self.apply::<S, ACT>(simd));
    }
}

impl<T: Element> GradApply<'_, T> {
    #[inline(always)]
    fn apply<S: Simd, const ACT: u8>(self, simd: S) {
        let span = self.mean.len();
        // One operand less to read where nothing is asked of it.
        let y = if ACT == NONE { self.dy } else { self.y };
        let mut run = T::Run::default();
        if let Some(dresidual) = self.dresidual {
            let inputs = y.chunks(RUN).zip(self.dy.chunks(RUN));
            for (d, (y, dy)) in dresidual.chunks_mut(RUN).zip(inputs) {
                let values = T::values(&mut run, d);
                for ((v, y), dy) in values.iter_mut().zip(y).zip(dy) {
                    *v = passed::<ACT>(dy.to_f32(), y.to_f32());
                }
                T::keep(simd, &run, d);
            }
        }
        let inputs = self
            .x
            .chunks(span)
            .zip(y.chunks(span))
            .zip(self.dy.chunks(span));
        for (dx, ((x, y), dy)) in self.dx.chunks_mut(span).zip(inputs) {
            let coefficients = self
                .scale
                .chunks(RUN)
                .zip(self.offset.chunks(RUN))
                .zip(self.slope.chunks(RUN))
                .zip(self.mean.chunks(RUN));
            let inputs = x.chunks(RUN).zip(y.chunks(RUN)).zip(dy.chunks(RUN));
            for ((dx, ((x, y), dy)), (((scale, offset), slope), mean)) in
                dx.chunks_mut(RUN).zip(inputs).zip(coefficients)
            {
                let values = T::values(&mut run, dx);
                let coefficients = scale.iter().zip(offset).zip(slope).zip(mean);
                let inputs = x.iter().zip(y).zip(dy);
                for ((v, ((x, y), dy)), (((scale, offset), slope), mean)) in
                    values.iter_mut().zip(inputs).zip(coefficients)
                {
                    let g = passed::<ACT>(dy.to_f32(), y.to_f32());
                    *v = scale * g - offset - slope * (x.to_f32() - mean);
                }
                T::keep(simd, &run, dx);
            }
        }
    }
}
