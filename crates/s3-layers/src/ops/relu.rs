//! ReLU with torch's convention at zero.

use candle_core::{Result, Tensor};

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
