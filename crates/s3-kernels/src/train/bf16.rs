//! bf16: the upper half of an f32.

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
