//! The code alphabet: which integer levels a weight may take, and the small code of each.
//!
//! A weight of `b` bits takes a level in `{0, ±2^0, ±2^1, .., ±2^t}` with `t = 2^(b-1) - 2`.
//! Its code has `b` bits: the top one is the sign (1 = negative), the `b - 1` others hold
//! `0` for level 0 and `shift + 1` for level `±2^shift`. Code 0 is level 0, and every level has
//! exactly one code; the pattern "negative zero" is not a code.
//!
//! ```
//! use s3_kernels::BitWidth;
//!
//! assert_eq!(BitWidth::B4.t(), 6);
//! assert_eq!(BitWidth::B4.encode(-64), Some(0b1111));
//! assert_eq!(BitWidth::B4.encode(3), None);
//! assert_eq!(BitWidth::B4.decode(0b1000), None); // negative zero
//! ```

/// Bits per weight, sign and zero included.
///
/// | width | t | levels |
/// | --- | --- | --- |
/// | `B2` | 0 | 0, ±1 |
/// | `B3` | 2 | 0, ±1, ±2, ±4 |
/// | `B4` | 6 | 0, ±1, ±2, .., ±64 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BitWidth {
    /// Ternary: `{0, ±1}`.
    B2,
    /// `{0, ±1, ±2, ±4}`.
    B3,
    /// `{0, ±1, ±2, ±4, ±8, ±16, ±32, ±64}`.
    B4,
}

impl BitWidth {
    /// Every width, narrowest first.
    pub const ALL: [BitWidth; 3] = [BitWidth::B2, BitWidth::B3, BitWidth::B4];

    /// Bits of one code: 2, 3 or 4.
    ///
    /// ```
    /// assert_eq!(s3_kernels::BitWidth::B3.bits(), 3);
    /// ```
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            BitWidth::B2 => 2,
            BitWidth::B3 => 3,
            BitWidth::B4 => 4,
        }
    }

    /// The largest shift: levels reach `±2^t`. `t = 2^(bits-1) - 2`.
    ///
    /// ```
    /// use s3_kernels::BitWidth;
    /// assert_eq!(BitWidth::ALL.map(BitWidth::t), [0, 2, 6]);
    /// ```
    #[must_use]
    pub const fn t(self) -> u32 {
        (1 << (self.bits() - 1)) - 2
    }

    /// Every level, in increasing order; `2 t + 3` of them.
    ///
    /// ```
    /// assert_eq!(s3_kernels::BitWidth::B2.levels(), &[-1, 0, 1]);
    /// ```
    #[must_use]
    pub const fn levels(self) -> &'static [i8] {
        match self {
            BitWidth::B2 => &[-1, 0, 1],
            BitWidth::B3 => &[-4, -2, -1, 0, 1, 2, 4],
            BitWidth::B4 => &[-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64],
        }
    }

    /// Whether `level` belongs to the alphabet.
    ///
    /// ```
    /// use s3_kernels::BitWidth;
    /// assert!(BitWidth::B3.contains(4));
    /// assert!(!BitWidth::B2.contains(2));
    /// ```
    #[must_use]
    pub const fn contains(self, level: i8) -> bool {
        let magnitude = level.unsigned_abs();
        magnitude == 0 || (magnitude.is_power_of_two() && magnitude.trailing_zeros() <= self.t())
    }

    /// The code of `level`, or `None` where the alphabet has no such level.
    ///
    /// The code is less than `2^bits`; see the module's first lines for its fields.
    ///
    /// ```
    /// use s3_kernels::BitWidth;
    /// assert_eq!(BitWidth::B3.encode(0), Some(0));
    /// assert_eq!(BitWidth::B3.encode(4), Some(0b011));
    /// assert_eq!(BitWidth::B3.encode(-4), Some(0b111));
    /// ```
    #[must_use]
    pub const fn encode(self, level: i8) -> Option<u8> {
        if !self.contains(level) {
            return None;
        }
        if level == 0 {
            return Some(0);
        }
        let magnitude = level.unsigned_abs().trailing_zeros() as u8 + 1;
        let sign = if level < 0 { 1 << (self.bits() - 1) } else { 0 };
        Some(sign | magnitude)
    }

    /// The level of `code`, or `None` for a pattern that no level has: one of more than `bits`
    /// bits, or negative zero.
    ///
    /// ```
    /// use s3_kernels::BitWidth;
    /// assert_eq!(BitWidth::B2.decode(0b11), Some(-1));
    /// assert_eq!(BitWidth::B2.decode(0b10), None);
    /// assert_eq!(BitWidth::B2.decode(0b100), None);
    /// ```
    #[must_use]
    pub const fn decode(self, code: u8) -> Option<i8> {
        if code == 0 {
            return Some(0);
        }
        let sign = 1u8 << (self.bits() - 1);
        let field = code & (sign - 1);
        if code >> self.bits() != 0 || field == 0 {
            return None;
        }
        let magnitude = 1i8 << (field - 1);
        Some(if code & sign == 0 {
            magnitude
        } else {
            -magnitude
        })
    }
}

#[cfg(test)]
mod tests {
    use super::BitWidth;

    #[test]
    fn contains_agrees_with_the_level_list_for_every_i8() {
        for width in BitWidth::ALL {
            assert_eq!(width.levels().len(), 2 * width.t() as usize + 3);
            for level in i8::MIN..=i8::MAX {
                assert_eq!(
                    width.contains(level),
                    width.levels().contains(&level),
                    "{width:?} {level}"
                );
                assert_eq!(
                    width.encode(level).is_some(),
                    width.contains(level),
                    "{width:?} {level}"
                );
            }
        }
    }

    #[test]
    fn decoding_an_encoded_level_is_identity_and_codes_are_distinct() {
        for width in BitWidth::ALL {
            let mut seen = 0u32;
            for &level in width.levels() {
                let code = width.encode(level).unwrap();
                assert!(u32::from(code) < 1 << width.bits());
                assert_eq!(width.decode(code), Some(level));
                assert_eq!(seen & (1 << code), 0, "code {code} twice");
                seen |= 1 << code;
            }
            let decodable = (0..=u8::MAX).filter(|&c| width.decode(c).is_some()).count();
            assert_eq!(decodable, width.levels().len());
        }
    }
}
