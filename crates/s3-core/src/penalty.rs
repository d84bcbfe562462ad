//! The dense-weight penalty (eq. 7) and the objective of section 4.2.
//!
//! A weight whose `w_sparse` is negative is zero, and then its sign and shifts get no gradient.
//! The penalty pushes `w_sparse` up until the loss itself wants the weight to be zero.

use crate::backend::is_fused;
use crate::host::{Host, slice};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Entries summed by one task in f64; fixed, so that the sum does not depend on the thread count.
const CHUNK: usize = 16 * 1024;

/// Eq. 7: `R_sparse = Σ |max(-w_sparse, 0)|`, the sum over all entries (not the mean).
///
/// # Shapes
/// `sparse`: any shape, f32; the result is a scalar.
///
/// Gradient: `-1` where `w_sparse < 0`, else 0 (0 at exactly 0). The sum runs in f64 on the CPU and
/// is rounded once to f32.
///
/// # Errors
/// A dtype other than f32 on the CPU.
///
/// ```
/// use candle_core::{Device, Var};
/// let w = Var::new(&[0.5f32, -0.25, 0.0, -1.0], &Device::Cpu)?;
/// let r = s3_core::penalty::dense_weight_penalty(&w)?;
/// assert_eq!(r.to_scalar::<f32>()?, 1.25);
/// assert_eq!(r.backward()?.get(&w).unwrap().to_vec1::<f32>()?, [0., -1., 0., -1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dense_weight_penalty(sparse: &Tensor) -> Result<Tensor> {
    if is_fused(sparse.device()) {
        sparse.contiguous()?.apply_op1(DenseWeightPenalty)
    } else {
        composed(sparse)
    }
}

/// Eq. 7 from candle's own ops: a comparison keeps the gradient 0 at exactly 0.
fn composed(sparse: &Tensor) -> Result<Tensor> {
    let below = sparse.detach().lt(0.0)?.to_dtype(DType::F32)?;
    sparse.mul(&below)?.sum_all()?.neg()
}

/// Section 4.2: `L(w) = Loss(w) + alpha · R_sparse(w)` summed over all layers that have a penalty.
///
/// The remaining term, `lambda · R(w)`, is the optimizer's weight decay: its gradient is
/// `lambda · w`.
///
/// # Errors
/// Tensors that are not scalars.
///
/// ```
/// # use candle_core::{Device, Tensor};
/// let (loss, r) = (Tensor::new(2f32, &Device::Cpu)?, Tensor::new(8f32, &Device::Cpu)?);
/// let total = s3_core::penalty::objective(&loss, 0.25, &[r.clone(), r])?;
/// assert_eq!(total.to_scalar::<f32>()?, 6.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn objective(loss: &Tensor, alpha: f64, penalties: &[Tensor]) -> Result<Tensor> {
    if penalties.is_empty() || alpha == 0.0 {
        return Ok(loss.clone());
    }
    loss + (Tensor::stack(penalties, 0)?.sum_all()? * alpha)?
}

struct DenseWeightPenalty;

impl CustomOp1 for DenseWeightPenalty {
    fn name(&self) -> &'static str {
        "dense-weight-penalty"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let chunks: Vec<f64> = slice(storage, layout)?
            .par_chunks(CHUNK)
            .map(|c| {
                c.iter()
                    .map(|&w| f64::from(if w < 0.0 { -w } else { 0.0 }))
                    .sum()
            })
            .collect();
        let sum: f64 = chunks.iter().sum();
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let slope = -grad.to_scalar::<f32>()?;
        let d: Vec<f32> = Host::new(arg)?
            .iter()
            .map(|&w| if w < 0.0 { slope } else { 0.0 })
            .collect();
        Tensor::from_vec(d, arg.shape(), arg.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let w: Vec<f32> = (0..50_000)
            .map(|i| ((i * 37 % 1001) as f32 - 500.0) / 1024.0)
            .collect();
        let w = Var::new(w.as_slice(), &Device::Cpu)?;
        let (fused, twin) = (dense_weight_penalty(&w)?, composed(&w)?);
        // candle sums 5e4 entries of at most 0.5 in f32: 1e-5 relative is its rounding, not ours.
        let (a, b) = (fused.to_scalar::<f32>()?, twin.to_scalar::<f32>()?);
        assert!((a - b).abs() <= 1e-5 * b, "{a} {b}");
        let (ga, gb) = (fused.backward()?, twin.backward()?);
        let (ga, gb) = (ga.get(&w).expect("grad"), gb.get(&w).expect("grad"));
        assert_eq!(ga.to_vec1::<f32>()?, gb.to_vec1::<f32>()?);
        Ok(())
    }
}
