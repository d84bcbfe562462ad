//! Accumulators to f32: a scale and a bias per channel.

use super::sealed::{self, Narrow};
use super::{Epilogue, Place};
use crate::Error;
use crate::micro::float::{FloatLine, LINE};

/// f32 outputs: one scale and one bias per channel, an optional residual, an optional ReLU.
///
/// `y = f32(acc) scale[n] + bias[n] + residual`, four roundings to nearest even in this order
/// (conversion, product, sum, sum), never fused; then, with `relu`, `y` where `y > 0`, else `0.0`.
/// Every instruction set stores the same bits. A folded batch norm is a scale and a bias.
///
/// ```
/// use s3_kernels::{Epilogue, Scale};
///
/// let epilogue = Scale { scale: &[0.5], bias: &[-1.0], relu: true, residual: Some(&[0.25]) };
/// assert_eq!(epilogue.value(3, 0, 0), 0.75);
/// assert_eq!(epilogue.value(-3, 0, 0), 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale<'a> {
    /// Factor of each channel.
    pub scale: &'a [f32],
    /// Added to each channel.
    pub bias: &'a [f32],
    /// Whether negative outputs become 0.
    pub relu: bool,
    /// One value per output, in the output's layout: the shortcut of a residual block.
    pub residual: Option<&'a [f32]>,
}

impl Scale<'_> {
    /// The lengths that a matrix of `rows` by `channels` outputs asks for.
    pub(crate) fn check(&self, rows: usize, channels: usize) -> Result<(), Error> {
        crate::error::check_len("scale", channels, self.scale.len())?;
        crate::error::check_len("bias", channels, self.bias.len())?;
        match self.residual {
            Some(residual) => crate::error::check_len("residual", rows * channels, residual.len()),
            None => Ok(()),
        }
    }

    /// The outputs of sums that are already f32, of neighbouring channels from `channel` on;
    /// `index` is the first one's position in the output.
    pub(crate) fn of_sums(&self, sums: &[f32], channel: usize, index: usize, y: &mut [f32]) {
        let scale = &self.scale[channel..channel + sums.len()];
        let bias = &self.bias[channel..channel + sums.len()];
        for (((y, &sum), &scale), &bias) in y.iter_mut().zip(sums).zip(scale).zip(bias) {
            *y = sum * scale + bias;
        }
        if let Some(residual) = self.residual {
            let residual = &residual[index..index + sums.len()];
            y.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
        }
        if self.relu {
            y.iter_mut()
                .for_each(|y| *y = if *y > 0.0 { *y } else { 0.0 });
        }
    }
}

impl Scale<'_> {
    /// Stores the outputs of sums that are already f32, `lines` lines a row.
    pub(crate) fn store_floats(
        &self,
        sums: &[FloatLine],
        lines: usize,
        place: &Place,
        y: &mut [f32],
    ) {
        for (r, row) in sums.chunks_exact(lines).enumerate() {
            let y = &mut y[place.stored(r)];
            for (l, (line, y)) in row.iter().zip(y.chunks_mut(LINE)).enumerate() {
                let at = LINE * l;
                self.of_sums(
                    &line.0[..y.len()],
                    place.column + at,
                    place.index(r) + at,
                    y,
                );
            }
        }
    }
}

impl Epilogue for Scale<'_> {
    fn value(&self, acc: i32, channel: usize, index: usize) -> f32 {
        let mut y = acc as f32 * self.scale[channel] + self.bias[channel];
        if let Some(residual) = self.residual {
            y += residual[index];
        }
        if !self.relu || y > 0.0 { y } else { 0.0 }
    }
}

impl sealed::Epilogue for Scale<'_> {
    type Output = f32;

    fn prepare(&self, rows: usize, channels: usize, _bound: i64) -> Result<Narrow, Error> {
        self.check(rows, channels)?;
        Ok(Narrow(true))
    }
}
