//! ReLU and ReLU6 with torch's convention at their ends.

use candle_core::{Result, Tensor};
use s3_kernels::train::Act;

/// `max(x, 0)`, gradient 1 where `x > 0` and 0 elsewhere, exactly 0 included (candle's own ReLU has
/// gradient 1 there). NaN stays NaN.
///
/// # Errors
/// Those of candle.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// let y = s3_layers::ops::relu(&x)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 0., 2.]);
/// assert_eq!(y.sum_all()?.backward()?.get(&x).unwrap().to_vec1::<f32>()?, [0., 0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.detach().le(0.0)?.where_cond(&x.zeros_like()?, x)
}

/// `min(max(x, 0), 6)`, gradient 1 where `0 < x < 6` and 0 elsewhere, the ends included. NaN stays
/// NaN.
///
/// # Errors
/// Those of candle.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[0f32, 2., 6., 7.], &Device::Cpu)?;
/// let y = s3_layers::ops::relu6(&x)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0., 2., 6., 6.]);
/// assert_eq!(y.sum_all()?.backward()?.get(&x).unwrap().to_vec1::<f32>()?, [0., 1., 0., 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    let end = (x.detach().ones_like()? * 6.0)?;
    x.detach().ge(6.0)?.where_cond(&end, &relu(x)?)
}

/// What `act` makes of `x`.
pub(crate) fn activated(x: Tensor, act: Act) -> Result<Tensor> {
    match act {
        Act::None => Ok(x),
        Act::Relu => relu(&x),
        Act::Relu6 => relu6(&x),
    }
}
