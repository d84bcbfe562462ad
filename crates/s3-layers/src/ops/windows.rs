//! Average pools and depthwise convolutions composed from candle's ops, tap by tap.

use super::indices;
use candle_core::{Result, Tensor, bail};

/// Calls `see((a, b), pixels)` for each tap of a window: `[n, h', w', c]`, the pixels that it
/// meets.
fn for_each_tap(
    x: &Tensor,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    mut see: impl FnMut([usize; 2], Tensor) -> Result<()>,
) -> Result<()> {
    let (_, h, w, _) = x.dims4()?;
    let padded = [h + 2 * padding, w + 2 * padding];
    if stride == 0 || kernel[0] > padded[0] || kernel[1] > padded[1] {
        bail!(
            "a window of {kernel:?} at stride {stride} on an image of {padded:?} with its padding"
        )
    }
    let x = x
        .pad_with_zeros(1, padding, padding)?
        .pad_with_zeros(2, padding, padding)?;
    let out = |i: usize| (padded[i] - kernel[i]) / stride + 1;
    for a in 0..kernel[0] {
        let rows = x.index_select(&indices(a, stride, out(0), x.device())?, 1)?;
        for b in 0..kernel[1] {
            let pixels = rows.index_select(&indices(b, stride, out(1), x.device())?, 2)?;
            see([a, b], pixels)?;
        }
    }
    Ok(())
}

fn sum_of(sum: Option<Tensor>, more: Tensor) -> Result<Option<Tensor>> {
    Ok(Some(match sum {
        Some(sum) => (sum + more)?,
        None => more,
    }))
}

/// [`avg_pool2d`](super::avg_pool2d) of candle's ops.
pub(super) fn avg_pool2d(
    x: &Tensor,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let mut sum = None;
    for_each_tap(x, kernel, stride, padding, |_, pixels| {
        sum = sum_of(sum.take(), pixels)?;
        Ok(())
    })?;
    match sum {
        Some(sum) => sum / (kernel[0] * kernel[1]) as f64,
        None => bail!("avg_pool2d: a window of no pixels"),
    }
}

/// [`depthwise_conv2d`](super::depthwise_conv2d) of candle's ops, of shapes that fit.
pub(super) fn depthwise_conv2d(
    x: &Tensor,
    w: &Tensor,
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let (_, _, height, width) = w.dims4()?;
    let taps = w.to_dtype(x.dtype())?;
    let mut sum = None;
    for_each_tap(x, [height, width], stride, padding, |[a, b], pixels| {
        let tap = taps.narrow(2, a, 1)?.narrow(3, b, 1)?.flatten_all()?;
        sum = sum_of(sum.take(), pixels.broadcast_mul(&tap)?)?;
        Ok(())
    })?;
    match sum {
        Some(sum) => Ok(sum),
        None => bail!("depthwise_conv2d: a kernel of no taps"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Rng, assert_close, close_with_gradients};
    use candle_core::Var;

    /// Against candle's own grouped convolution, whose gradients hold at stride 1.
    #[test]
    fn a_depthwise_convolution_equals_candles_grouped_one() -> Result<()> {
        let mut rng = Rng::new(3);
        for (stride, padding) in [(1, 1), (1, 0), (2, 1)] {
            let x = Var::from_tensor(&rng.normal((2, 7, 7, 5))?)?;
            let w = Var::from_tensor(&rng.normal((5, 1, 3, 3))?)?;
            let ours = depthwise_conv2d(&x, &w, stride, padding)?;
            let theirs = x
                .permute((0, 3, 1, 2))?
                .conv2d(&w, padding, stride, 1, 5)?
                .permute((0, 2, 3, 1))?;
            match stride {
                1 => close_with_gradients(&mut rng, &[&x, &w], &ours, &theirs)?,
                _ => assert_close(&ours, &theirs)?,
            }
        }
        Ok(())
    }
}
