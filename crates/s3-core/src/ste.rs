//! Heaviside, sign and the straight-through estimator (STE): the one place where a discrete value
//! gets a gradient.
//!
//! The usual spelling `p + (q - p).detach()` is not `q` in f32: with |q| > |p| the last bit differs
//! in several per cent of the entries. [`ste`] adds an exact zero instead, so the forward value is
//! `q` to the bit and the gradient of each latent is what the caller says.

use candle_core::{Result, Tensor};

/// The discrete value `q` with surrogate gradients: the result is `q`, and `d result / d p = d` for
/// each pair `(d, p)`.
///
/// ```text
/// q.detach() + Σ_j d_j.detach() · (p_j - p_j.detach())
/// ```
///
/// # Shapes
/// `q` and every `d`, `p` share one shape.
///
/// Exact: the value is `q` to the bit, except that a `-0.0` in `q` becomes `+0.0`. Every `p` and
/// `d` must be finite (`0 · inf` is NaN).
///
/// # Errors
/// A shape or dtype mismatch.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let p = Var::new(&[0.3f32, -0.7], &Device::Cpu)?;
/// let q = p.as_tensor().sign()?;
/// let d = Tensor::new(&[5f32, 6.], &Device::Cpu)?;
/// let w = s3_core::ste::ste(&q, &[(&d, p.as_tensor())])?;
/// assert_eq!(w.to_vec1::<f32>()?, [1., -1.]);
/// let g = w.sum_all()?.backward()?;
/// assert_eq!(g.get(&p).unwrap().to_vec1::<f32>()?, [5., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn ste(q: &Tensor, surrogates: &[(&Tensor, &Tensor)]) -> Result<Tensor> {
    let mut out = (q.detach() + 0.0)?;
    for (d, p) in surrogates {
        out = (out + d.detach().mul(&(*p - p.detach())?)?)?;
    }
    Ok(out)
}

/// `q` with gradient 1 to `p` (the identity STE).
///
/// # Errors
/// A shape or dtype mismatch.
pub fn identity(q: &Tensor, p: &Tensor) -> Result<Tensor> {
    (q.detach() + 0.0)? + (p - p.detach())?
}

/// The Heaviside step as the paper defines it: 1 where `x > 0`, else 0, so `1(0) = 0`. No gradient.
///
/// # Errors
/// Those of candle's comparison.
///
/// ```
/// # use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// assert_eq!(s3_core::ste::heaviside(&x)?.to_vec1::<f32>()?, [0., 0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn heaviside(x: &Tensor) -> Result<Tensor> {
    x.detach().gt(0.0)?.to_dtype(x.dtype())
}

/// The sign that eqs. 6 and 9 use, `2·1(x) - 1`: +1 where `x > 0`, else -1, so `sign(0) = -1`.
/// No gradient.
///
/// The authors' code gives +1 at exactly 0; the paper's formula is followed here.
///
/// # Errors
/// Those of candle's comparison.
///
/// ```
/// # use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// assert_eq!(s3_core::ste::sign(&x)?.to_vec1::<f32>()?, [-1., -1., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sign(x: &Tensor) -> Result<Tensor> {
    heaviside(x)?.affine(2.0, -1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_value_is_q_to_the_bit(
            entries in proptest::collection::vec((-8f32..8., -64f32..64., -9f32..9.), 1..200)
        ) {
            let p: Vec<f32> = entries.iter().map(|e| e.0).collect();
            let q: Vec<f32> = entries.iter().map(|e| e.1).collect();
            let d: Vec<f32> = entries.iter().map(|e| e.2).collect();
            let dev = Device::Cpu;
            let p = Var::new(p.as_slice(), &dev).unwrap();
            let dt = Tensor::new(d.as_slice(), &dev).unwrap();
            let discrete = Tensor::new(q.as_slice(), &dev).unwrap();
            let w = ste(&discrete, &[(&dt, p.as_tensor())]).unwrap();
            prop_assert_eq!(w.to_vec1::<f32>().unwrap(), q);
            let g = w.sum_all().unwrap().backward().unwrap();
            prop_assert_eq!(g.get(&p).unwrap().to_vec1::<f32>().unwrap(), d);
        }
    }

    #[test]
    fn a_negative_zero_becomes_positive() -> Result<()> {
        let p = Var::new(&[1f32], &Device::Cpu)?;
        let q = Tensor::new(&[-0f32], &Device::Cpu)?;
        assert_eq!(
            identity(&q, p.as_tensor())?.to_vec1::<f32>()?[0].to_bits(),
            0
        );
        assert_eq!(ste(&q, &[])?.to_vec1::<f32>()?[0].to_bits(), 0);
        Ok(())
    }
}
