//! The two types in which activations and their gradients are stored: f32 and bf16.

use super::arch::{Lane, Stored, Widened, has_pairs, has_tiles};
use super::batch_norm::{self, BatchNormGrads, BatchNormSaved, BatchStats};
use super::conv::{self, Pass, depthwise};
use super::peak::pairs_pay;
use crate::act::Act;
use crate::error::Error;
use crate::isa::Isa;

/// A 16-bit float with the exponent of f32 and 8 bits of precision: the upper half of an f32.
///
/// Every level of a shift network, `0` or `±2^p`, is exact in it.
///
/// ```
/// use s3_kernels::train::Bf16;
/// assert_eq!(Bf16::from_f32(-0.25).to_f32(), -0.25);
/// assert_eq!(Bf16::from_f32(1.0 + 1.0 / 256.0).to_f32(), 1.0); // a tie goes to the even neighbour
/// assert_eq!(Bf16::from_f32(1.0 + 3.0 / 256.0).to_f32(), 1.015625);
/// assert!(Bf16::from_f32(f32::NAN).to_f32().is_nan());
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The bf16 nearest to `x`, the even one of two equally near; infinity from
    /// `2^128 - 2^119` on; a NaN for a NaN.
    #[inline(always)]
    #[must_use]
    pub fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
        // A quiet NaN of the same sign: rounding could carry a NaN's mantissa into the exponent.
        let nan = (bits >> 16) as u16 | 0x0040;
        Bf16(if x.is_nan() { nan } else { rounded })
    }

    /// The same value as an f32; exact.
    #[inline(always)]
    #[must_use]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// The upper half of the f32's bits.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits).
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Bf16(bits)
    }
}

impl PartialEq for Bf16 {
    fn eq(&self, other: &Self) -> bool {
        self.to_f32() == other.to_f32()
    }
}

/// What activations and their gradients are stored in: `f32` or [`Bf16`].
///
/// Kernels compute in f32 whatever the elements are: products of two bf16 are exact in f32, sums
/// are kept in f32, and a result is rounded once, when it is stored. The exception is said where it
/// holds: AVX512-BF16 and AMX, where they are used ([`instructions`]), add two products, or thirty-two,
/// with those instructions' rounding.
pub trait Element: Stored + Kernels + PartialEq {
    /// Its name in a configuration: `f32` or `bf16`.
    const NAME: &'static str;

    /// The nearest element.
    fn from_f32(x: f32) -> Self;

    /// Exact.
    fn to_f32(self) -> f32;
}

/// The widest instructions that convolutions of `T` run on: the name of the instruction set, and for
/// [`Bf16`] `amx_bf16` where the CPU has it, else `avx512_bf16` where that pays. Results may differ in the
/// last bits between names.
///
/// Some CPUs start the multiplication of AVX512-BF16 half as often as that of f32, so that it does no more, and
/// bf16 are then multiplied as f32. The first call finds out: it times both in registers, for a tenth of a
/// millisecond, and takes the instruction where it multiplies 1.5 times as much; CPUs do either twice as
/// much or as much. `S3_KERNELS_BF16=1` takes it in any case, `0` never.
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
        Lane::One => isa.name(),
        Lane::Pair => "avx512_bf16",
        Lane::Tile => "amx_bf16",
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

/// The large kernels of one element. Through these they are compiled here, once, and not in every
/// crate that calls them. Public in name only.
pub trait Kernels: Sized {
    /// What a lane holds where `isa` is fastest.
    fn lane(isa: Isa) -> Lane;

    /// [`conv::pass`].
    fn pass(isa: Isa, pass: (&Pass, bool), batch: usize, x: &[Self], w: &[f32], y: &mut [Self]);

    /// [`conv::weight_grad`].
    fn weight_grad(
        at: (Isa, Lane),
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

    /// [`batch_norm::batch_norm_forward`].
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

    /// [`batch_norm::scale_shift`].
    fn scale_shift(
        isa: Isa,
        x: &[Self],
        residual: Option<&[Self]>,
        affine: [&[f32]; 2],
        act: Act,
        y: &mut [Self],
    ) -> Result<(), Error>;

    /// [`batch_norm::batch_norm_backward`].
    fn batch_norm_backward(
        isa: Isa,
        saved: BatchNormSaved<'_, Self>,
        dy: &[Self],
        grads: BatchNormGrads<'_, Self>,
    ) -> Result<(), Error>;
}

macro_rules! compile {
    () => {
        fn depthwise_pass(
            isa: Isa,
            pass: (&depthwise::Pass, bool),
            batch: usize,
            x: &[Self],
            w: &[f32],
            y: &mut [Self],
        ) {
            depthwise::pass(isa, pass, batch, x, w, y);
        }

        fn depthwise_weight_grad(
            isa: Isa,
            pass: &depthwise::Pass,
            batch: usize,
            x: &[Self],
            dy: &[Self],
            dw: &mut [f32],
        ) {
            depthwise::weight_grad(isa, pass, batch, x, dy, dw);
        }

        fn batch_norm_forward(
            isa: Isa,
            x: &[Self],
            residual: Option<&[Self]>,
            affine: [&[f32]; 2],
            eps: f32,
            act: Act,
            y: &mut [Self],
            stats: BatchStats<'_>,
        ) -> Result<(), Error> {
            batch_norm::batch_norm_forward_on(isa, x, residual, affine, eps, act, y, stats)
        }

        fn scale_shift(
            isa: Isa,
            x: &[Self],
            residual: Option<&[Self]>,
            affine: [&[f32]; 2],
            act: Act,
            y: &mut [Self],
        ) -> Result<(), Error> {
            batch_norm::scale_shift_on(isa, x, residual, affine, act, y)
        }

        fn batch_norm_backward(
            isa: Isa,
            saved: BatchNormSaved<'_, Self>,
            dy: &[Self],
            grads: BatchNormGrads<'_, Self>,
        ) -> Result<(), Error> {
            batch_norm::batch_norm_backward_on(isa, saved, dy, grads)
        }
    };
}

impl Kernels for f32 {
    fn lane(_: Isa) -> Lane {
        Lane::One
    }

    fn pass(isa: Isa, pass: (&Pass, bool), batch: usize, x: &[f32], w: &[f32], y: &mut [f32]) {
        conv::pass(isa, pass, batch, x, w, y);
    }

    fn weight_grad(
        (isa, _): (Isa, Lane),
        pass: &Pass,
        batch: usize,
        x: &[f32],
        dy: &[f32],
        dw: &mut [f32],
    ) {
        conv::weight_grad((isa, Lane::One), pass, batch, x, dy, dw);
    }

    compile!();
}

/// Convolutions go by pairs where the CPU gains by it, and elsewhere as f32 that are widened where they
/// are packed: the same products, exact in f32, and one rounding of each result.
impl Kernels for Bf16 {
    fn lane(isa: Isa) -> Lane {
        if isa != Isa::Avx512 || !has_pairs() {
            Lane::One
        } else if has_tiles() {
            Lane::Tile
        } else if pairs_pay() {
            Lane::Pair
        } else {
            Lane::One
        }
    }

    fn pass(
        isa: Isa,
        (pass, add): (&Pass, bool),
        batch: usize,
        x: &[Bf16],
        w: &[f32],
        y: &mut [Bf16],
    ) {
        if pass.lane() != Lane::One {
            return conv::pass(isa, (pass, add), batch, x, w, y);
        }
        let w: Vec<f32> = w.iter().map(|&w| Bf16::from_f32(w).to_f32()).collect();
        let (x, y) = (Widened::of(x), Widened::of_mut(y));
        conv::pass(isa, (pass, add), batch, x, &w, y);
    }

    fn weight_grad(
        (isa, lane): (Isa, Lane),
        pass: &Pass,
        batch: usize,
        x: &[Bf16],
        dy: &[Bf16],
        dw: &mut [f32],
    ) {
        match lane {
            Lane::One => {
                let (x, dy) = (Widened::of(x), Widened::of(dy));
                conv::weight_grad((isa, lane), pass, batch, x, dy, dw);
            }
            _ => conv::weight_grad((isa, lane), pass, batch, x, dy, dw),
        }
    }

    compile!();
}

#[cfg(test)]
mod tests {
    use super::Bf16;

    /// Every bf16 comes back, and every f32 between two neighbours goes to the nearer.
    #[test]
    fn rounding_is_to_nearest_even_over_all_values() {
        for bits in 0..=u16::MAX {
            let value = Bf16::from_bits(bits);
            let x = value.to_f32();
            if x.is_nan() {
                assert!(Bf16::from_f32(x).to_f32().is_nan());
                continue;
            }
            assert_eq!(Bf16::from_f32(x).to_bits(), bits);
            if !x.is_finite() {
                continue;
            }
            let low = x.to_bits();
            let up = bits + 1; // away from zero
            for (offset, expected) in [
                (1, bits),
                (0x7FFF, bits),
                (0x8000, bits + (bits & 1)),
                (0x8001, up),
                (0xFFFF, up),
            ] {
                let between = f32::from_bits(low + offset);
                assert_eq!(Bf16::from_f32(between).to_bits(), expected, "{between:e}");
            }
        }
    }

    #[test]
    fn a_nan_stays_one_whatever_its_payload() {
        for bits in [0x7F80_0001u32, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_8000] {
            let nan = Bf16::from_f32(f32::from_bits(bits)).to_f32();
            assert!(nan.is_nan());
            assert_eq!(nan.is_sign_negative(), bits >> 31 == 1);
        }
    }
}
