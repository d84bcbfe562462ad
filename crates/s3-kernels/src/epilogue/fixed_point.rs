//! Requantization by a fixed-point multiplier, as gemmlowp and TensorFlow Lite define it.
//!
//! The scale of a layer, a real number below 1, is written `m 2^-31 2^-s` with `m` in
//! `0..2^31`. Both roundings follow gemmlowp (`fixedpoint/fixedpoint.h`):
//! `SaturatingRoundingDoublingHighMul` rounds ties up, `RoundingDivideByPOT` rounds ties away from 0.

use super::sealed::{self, Narrow};
use super::{AccRow, Epilogue, Place, Residual, check_sum, store_by_value};
use crate::Error;
use crate::isa::Isa;

/// Requantization to u8 by one fixed-point multiplier per channel.
///
/// `y = clamp(zero_point + divide(high(v, multiplier[n]), shift[n]), low, 255)` where
/// `v = acc + bias[n] + (residual << residual_shift)`, saturated to i32,
/// `high(a, m) = floor((a m + 2^30) / 2^31)`, `divide(a, s)` is `a / 2^s` rounded to nearest, ties
/// away from 0, and `low` is `zero_point` with `relu`, else 0. Exact for every input.
///
/// ```
/// use s3_kernels::{Epilogue, FixedPoint};
///
/// // 0.75 = 1610612736 2^-31, then a quarter of it.
/// let epilogue = FixedPoint {
///     bias: &[0],
///     multiplier: &[1_610_612_736],
///     shift: &[2],
///     zero_point: 128,
///     relu: false,
///     residual: None,
/// };
/// assert_eq!(epilogue.value(100, 0, 0), 128 + 19); // 18.75
/// assert_eq!(epilogue.value(-100, 0, 0), 128 - 19);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedPoint<'a> {
    /// Added to each accumulator, one per channel.
    pub bias: &'a [i32],
    /// `m` of each channel, at least 0.
    pub multiplier: &'a [i32],
    /// `s` of each channel, 0 to 31.
    pub shift: &'a [u8],
    /// The stored value that stands for 0.
    pub zero_point: u8,
    /// Whether nothing below `zero_point` is stored.
    pub relu: bool,
    /// The shortcut of a residual block.
    pub residual: Option<Residual<'a>>,
}

impl FixedPoint<'_> {
    /// The least value that is stored.
    pub(crate) fn low(&self) -> u8 {
        if self.relu { self.zero_point } else { 0 }
    }
}

/// gemmlowp's `SaturatingRoundingDoublingHighMul` for `multiplier >= 0`, where nothing saturates.
fn high(a: i32, multiplier: i32) -> i32 {
    // |a m| <= 2^31 (2^31 - 1): the quotient fits i32.
    ((i64::from(a) * i64::from(multiplier) + (1 << 30)) >> 31) as i32
}

/// gemmlowp's `RoundingDivideByPOT`.
fn divide(a: i32, shift: u8) -> i32 {
    let mask = ((1i64 << shift) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(a < 0);
    (a >> shift) + i32::from(a & mask > threshold)
}

impl Epilogue for FixedPoint<'_> {
    fn value(&self, acc: i32, channel: usize, index: usize) -> u8 {
        let residual = self.residual.map_or(0, |r| r.at(index));
        let v = i64::from(acc) + i64::from(self.bias[channel]) + residual;
        let v = v.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        let scaled = divide(high(v, self.multiplier[channel]), self.shift[channel]);
        let y = i64::from(scaled) + i64::from(self.zero_point);
        y.clamp(i64::from(self.low()), 255) as u8
    }
}

impl sealed::Epilogue for FixedPoint<'_> {
    type Output = u8;

    fn prepare(&self, rows: usize, channels: usize, bound: i64) -> Result<Narrow, Error> {
        let most = check_sum(rows, channels, bound, self.bias, self.shift, self.residual)?;
        crate::error::check_len("multiplier", channels, self.multiplier.len())?;
        if let Some(&negative) = self.multiplier.iter().find(|&&m| m < 0) {
            return Err(Error::Unsupported {
                what: "multiplier",
                expected: "0 to 2^31 - 1 (given: its bits)",
                got: negative as u32 as usize,
            });
        }
        // A zero point of 255 on top must not wrap either.
        Ok(Narrow(most + 255 <= i64::from(i32::MAX)))
    }

    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if narrow.0 => {
                crate::arch::avx512::epilogue::fixed_point(self, tile, place, y);
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if narrow.0 => crate::arch::avx2::epilogue::fixed_point(self, tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{divide, high};

    /// gemmlowp's text, with its truncating division.
    fn gemmlowp_high(a: i32, b: i32) -> i32 {
        if a == b && a == i32::MIN {
            return i32::MAX;
        }
        let ab = i64::from(a) * i64::from(b);
        let nudge = if ab >= 0 { 1 << 30 } else { 1 - (1 << 30) };
        ((ab + nudge) / (1 << 31)) as i32
    }

    #[test]
    fn high_is_gemmlowps_also_at_ties() {
        let edges = [
            0,
            1,
            2,
            3,
            1 << 29,
            1 << 30,
            (1 << 30) + 1,
            i32::MAX - 1,
            i32::MAX,
        ];
        let all = edges.iter().flat_map(|&a| [a, -a]).chain([i32::MIN]);
        for a in all.chain(-3000..3000) {
            for m in edges.into_iter().chain((0..32).map(|i| i << 26)) {
                assert_eq!(high(a, m), gemmlowp_high(a, m), "{a} {m}");
            }
        }
    }

    #[test]
    fn divide_rounds_ties_away_from_zero() {
        for shift in 0..=31u8 {
            for a in (-2000..2000).chain([i32::MIN, i32::MIN + 1, i32::MAX - 1, i32::MAX]) {
                let (wide, unit) = (i64::from(a), 1i64 << shift);
                let magnitude = (wide.abs() + unit / 2) >> shift;
                let expected = if wide < 0 { -magnitude } else { magnitude };
                assert_eq!(i64::from(divide(a, shift)), expected, "{a} {shift}");
            }
        }
    }
}
