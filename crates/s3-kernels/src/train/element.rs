//! The two types in which activations and their gradients are stored: f32 and bf16.

use super::arch::Stored;
use super::batch_norm::saved::{BatchNormGrads, BatchNormSaved, BatchStats};
use super::bf16::Bf16;
use super::conv::{Pass, depthwise};
use super::simd::{LANES, Operand, Simd};
use crate::act::Act;
use crate::error::Error;
use crate::isa::Isa;

/// What activations and their gradients are stored in: `f32` or [`Bf16`].
///
/// Kernels compute in f32 whatever the elements are: products of two bf16 are exact in f32, sums
/// are kept in f32, and a result is rounded once, when it is stored. The exception is said where it
/// holds: AVX512-BF16 and AMX, where they are used ([`instructions`]), add two products, or
/// thirty-two, with those instructions' rounding.
pub trait Element: Stored + Computed + Kernels + PartialEq {
    /// Its name in a configuration: `f32` or `bf16`.
    const NAME: &'static str;

    /// The nearest element.
    fn from_f32(x: f32) -> Self;

    /// Exact.
    fn to_f32(self) -> f32;
}

/// The widest instructions that convolutions of `T` run on: the name of the instruction set, and
/// for [`Bf16`] `amx_bf16` where the CPU has it, else `avx512_bf16` where that pays. Results may
/// differ in the last bits between names.
///
/// Some CPUs start the multiplication of AVX512-BF16 half as often as that of f32, so that it does
/// no more, and bf16 are then multiplied as f32. The first call finds out: it times both in
/// registers, for a tenth of a millisecond, and takes the instruction where it multiplies 1.5 times
/// as much; CPUs do either twice as much or as much. `S3_KERNELS_BF16=1` takes it in any case, `0`
/// never.
///
/// # Panics
///
/// Where `S3_KERNELS_BF16` or `S3_KERNELS_AMX` is neither empty nor `0` nor `1`.
///
/// ```
/// use s3_kernels::{Isa, train};
///
/// assert_eq!(train::instructions::<f32>(), Isa::detect().name());
/// assert!(train::instructions::<train::Bf16>().starts_with(['s', 'a', 'n']));
/// ```
#[must_use]
pub fn instructions<T: Element>() -> &'static str {
    let isa = Isa::detect();
    match T::lane(isa) {
        Operand::F32 => isa.name(),
        Operand::Bf16Pair => "avx512_bf16",
        Operand::Bf16Matrix => "amx_bf16",
    }
}

impl Element for f32 {
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for Bf16 {
    const NAME: &'static str = "bf16";

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Bf16::from_f32(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        Bf16::to_f32(self)
    }
}

/// Elements of a run, at most.
pub(super) const RUN: usize = 128;

/// How a loop of plain f32 fills elements: run by run, by way of [`values`](Self::values) and
/// [`keep`](Self::keep). A loop that rounded each element itself would become vectors too, but
/// with stores that narrow, which are slow on AMD Zen 4. Public in name only.
pub trait Computed: Sized {
    /// Values beside the elements, where they cannot be in them.
    type Run: Default;

    /// Room for the values of `y`, at most [`RUN`], of no particular content.
    fn values<'a>(run: &'a mut Self::Run, y: &'a mut [Self]) -> &'a mut [f32];

    /// Rounds the values to the elements of `y`.
    fn keep<S: Simd>(simd: S, run: &Self::Run, y: &mut [Self]);
}

impl Computed for f32 {
    type Run = ();

    #[inline(always)]
    fn values<'a>((): &'a mut (), y: &'a mut [f32]) -> &'a mut [f32] {
        y
    }

    #[inline(always)]
    fn keep<S: Simd>(_: S, (): &(), _: &mut [f32]) {}
}

impl Computed for Bf16 {
    type Run = Values;

    #[inline(always)]
    fn values<'a>(run: &'a mut Values, y: &'a mut [Bf16]) -> &'a mut [f32] {
        &mut run.0[..y.len()]
    }

    #[inline(always)]
    fn keep<S: Simd>(simd: S, run: &Values, y: &mut [Bf16]) {
        for (y, values) in y.chunks_mut(LANES).zip(run.0.as_chunks().0) {
            let lanes = y.len();
            simd.store_bf16(simd.load(values), y, lanes);
        }
    }
}

/// The values of a run.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Values([f32; RUN]);

impl Default for Values {
    #[inline(always)]
    fn default() -> Self {
        Values([0.0; RUN])
    }
}

/// The large kernels of one element. Through these they are compiled here, once, and not in every
/// crate that calls them. Public in name only.
pub trait Kernels: Sized {
    /// What a lane holds where `isa` is fastest.
    fn lane(isa: Isa) -> Operand;

    /// [`super::conv::pass`].
    fn pass(isa: Isa, pass: (&Pass, bool), batch: usize, x: &[Self], w: &[f32], y: &mut [Self]);

    /// [`super::conv::weight_grad`].
    fn weight_grad(
        at: (Isa, Operand),
        pass: &Pass,
        batch: usize,
        x: &[Self],
        dy: &[Self],
        dw: &mut [f32],
    );

    /// [`depthwise::pass`].
    fn depthwise_pass(
        isa: Isa,
        pass: (&depthwise::Pass, bool),
        batch: usize,
        x: &[Self],
        w: &[f32],
        y: &mut [Self],
    );

    /// [`depthwise::weight_grad`].
    fn depthwise_weight_grad(
        isa: Isa,
        pass: &depthwise::Pass,
        batch: usize,
        x: &[Self],
        dy: &[Self],
        dw: &mut [f32],
    );

    /// [`super::batch_norm::batch_norm_forward`].
    #[expect(
        clippy::too_many_arguments,
        reason = "those of the public function, and the ISA"
    )]
    fn batch_norm_forward(
        isa: Isa,
        x: &[Self],
        residual: Option<&[Self]>,
        affine: [&[f32]; 2],
        eps: f32,
        act: Act,
        y: &mut [Self],
        stats: BatchStats<'_>,
    ) -> Result<(), Error>;

    /// [`super::batch_norm::scale_shift`].
    fn scale_shift(
        isa: Isa,
        x: &[Self],
        residual: Option<&[Self]>,
        affine: [&[f32]; 2],
        act: Act,
        y: &mut [Self],
    ) -> Result<(), Error>;

    /// [`super::batch_norm::batch_norm_backward`].
    fn batch_norm_backward(
        isa: Isa,
        saved: BatchNormSaved<'_, Self>,
        dy: &[Self],
        grads: BatchNormGrads<'_, Self>,
    ) -> Result<(), Error>;
}
