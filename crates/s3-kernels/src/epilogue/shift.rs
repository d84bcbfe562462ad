//! Requantization by a power of two: additions and one shift, no multiplication.

use super::sealed::{self, Narrow};
use super::{Epilogue, Residual, check_sum};
use crate::Error;

/// Requantization to u8 by a power of two per channel, rounded to nearest, ties up.
///
/// `y = clamp((v + 2^(s-1)) >> s, 0, 255)`, `v = acc + bias[n] + (residual << residual_shift)`,
/// `s = shift[n]`; with `s = 0` nothing is added. The shift is arithmetic, so `-0.5` becomes 0 and
/// `-1.5` becomes `-1`. The clamp at 0 is a ReLU. Exact: equal to unbounded integers for every
/// input.
///
/// ```
/// use s3_kernels::{Epilogue, Residual, ShiftRequant};
///
/// let shortcut = Residual { values: &[3], shift: 4 };
/// let epilogue = ShiftRequant { bias: &[-8], shift: &[4], residual: Some(shortcut) };
/// assert_eq!(epilogue.value(40, 0, 0), 5); // (40 - 8 + 48) / 16
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShiftRequant<'a> {
    /// Added to each accumulator, one per channel.
    pub bias: &'a [i32],
    /// Places to the right, one per channel, 0 to 31.
    pub shift: &'a [u8],
    /// The shortcut of a residual block.
    pub residual: Option<Residual<'a>>,
}

impl Epilogue for ShiftRequant<'_> {
    fn value(&self, acc: i32, channel: usize, index: usize) -> u8 {
        let shift = self.shift[channel];
        let half = (1i64 << shift) >> 1;
        let residual = self.residual.map_or(0, |r| r.at(index));
        let v = i64::from(acc) + i64::from(self.bias[channel]) + residual;
        ((v + half) >> shift).clamp(0, 255) as u8
    }
}

impl sealed::Epilogue for ShiftRequant<'_> {
    type Output = u8;

    fn prepare(&self, rows: usize, channels: usize, bound: i64) -> Result<Narrow, Error> {
        let most = check_sum(rows, channels, bound, self.bias, self.shift, self.residual)?;
        let half = (1i64 << self.shift.iter().max().copied().unwrap_or(0)) >> 1;
        Ok(Narrow(most + half <= i64::from(i32::MAX)))
    }
}
