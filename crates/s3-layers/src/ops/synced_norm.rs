//! A sum over the processes that share a batch, and the batch norm whose statistics are those of
//! the whole batch.

use super::norm::composed;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use s3_core::host::slice;
use s3_kernels::train::Act;
use std::sync::Arc;

/// Adds values up over all processes, in place; every process calls it as often and with as many
/// values.
pub type AllReduce = Arc<dyn Fn(&mut [f32]) -> Result<()> + Send + Sync>;

/// [`batch_norm`](super::batch_norm) over the rows of all processes:
/// `(y, mean, biased variance, rows of all)`. Composed from candle's ops, on the CPU and in f32.
///
/// ```text
/// mean = Σ_ranks Σ_rows x / N,   var = Σ_ranks Σ_rows (x - mean)² / N
/// ```
///
/// The gradient of a sum over the ranks is the sum over the ranks of the gradients, so that the
/// gradients of x are those of the whole batch's loss.
///
/// # Shapes
/// As [`batch_norm`](super::batch_norm).
///
/// # Errors
/// Shapes that do not fit, another device than the CPU, or those of `across`.
pub fn batch_norm_across(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    residual: Option<&Tensor>,
    act: Act,
    eps: f64,
    across: &AllReduce,
) -> Result<(Tensor, Tensor, Tensor, usize)> {
    if !x.device().is_cpu() {
        bail!(
            "batch norm over all ranks runs on the CPU, x is on {:?}",
            x.device()
        )
    }
    let mut all = [x.flatten_to(D::Minus2)?.dim(0)? as f32];
    across(&mut all)?;
    let n = f64::from(all[0]);
    let mean_of = |v: &Tensor| v.sum_keepdim(0)?.apply_op1(Sum(across.clone()))? / n;
    let (y, mean, var) = composed(x, (gamma, beta), residual, (act, eps), mean_of)?;
    Ok((y, mean, var, n as usize))
}

struct Sum(AllReduce);

impl CustomOp1 for Sum {
    fn name(&self) -> &'static str {
        "sum-across-ranks"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut values = slice(x, layout)?.to_vec();
        (self.0)(&mut values)?;
        Ok((CpuStorage::F32(values), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        Ok(Some(dy.apply_op1_no_bwd(&Self(self.0.clone()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::batch_norm;
    use crate::ops::testing::{Rng, assert_close};
    use candle_core::Var;
    use std::sync::{Barrier, Mutex};

    /// Two processes, as threads.
    fn two() -> AllReduce {
        let total = Mutex::new((0, Vec::new()));
        let barrier = Barrier::new(2);
        Arc::new(move |values| {
            {
                let mut total = total.lock().expect("no panic");
                if total.0 == 0 {
                    total.1 = vec![0f32; values.len()];
                }
                total.0 = (total.0 + 1) % 2;
                for (sum, v) in total.1.iter_mut().zip(values.iter()) {
                    *sum += v;
                }
            }
            barrier.wait();
            values.copy_from_slice(&total.lock().expect("no panic").1);
            barrier.wait();
            Ok(())
        })
    }

    /// Halves of a batch of 3 + 5 images on two processes normalise, and have gradients, as the
    /// batch.
    #[test]
    fn two_parts_equal_the_whole() -> Result<()> {
        let mut rng = Rng::new(5);
        let shape = |n: usize| (n, 3, 2, 4);
        let x = Var::from_tensor(&rng.normal(shape(8))?.affine(2.0, 1.0)?)?;
        let residual = Var::from_tensor(&rng.normal(shape(8))?)?;
        let (gamma, beta) = (rng.normal(4)?, rng.normal(4)?);
        let (gamma, beta) = (Var::from_tensor(&gamma)?, Var::from_tensor(&beta)?);
        let g = rng.normal(shape(8))?;
        let r = Some(residual.as_tensor());
        let (y, mean, var) = batch_norm(&x, (&gamma, &beta), r, Act::Relu, 1e-5)?;

        let across = two();
        let part = |start: usize, len: usize| -> Result<_> {
            let x = x.narrow(0, start, len)?;
            let r = residual.narrow(0, start, len)?;
            let affine = (gamma.as_tensor(), beta.as_tensor());
            let (y, mean, var, n) =
                batch_norm_across(&x, affine, Some(&r), Act::Relu, 1e-5, &across)?;
            let loss = (&y * g.narrow(0, start, len)?)?.sum_all()?;
            let grads = loss.backward()?;
            Ok((y, mean, var, n, grads))
        };
        let (a, b) = std::thread::scope(|scope| {
            let b = scope.spawn(|| part(3, 5));
            let a = part(0, 3);
            (a, b.join().expect("no panic"))
        });
        let (a, b) = (a?, b?);
        assert_close(&Tensor::cat(&[&a.0, &b.0], 0)?, &y)?;
        let grads = (&y * &g)?.sum_all()?.backward()?;
        for part in [&a, &b] {
            assert_close(&part.1, &mean)?;
            assert_close(&part.2, &var)?;
            assert_eq!(part.3, 8 * 3 * 2);
        }
        for v in [&x, &residual, &gamma, &beta] {
            let (ga, gb) = (a.4.get(v).expect("gradient"), b.4.get(v).expect("gradient"));
            assert_close(&(ga + gb)?, grads.get(v).expect("gradient"))?;
        }
        Ok(())
    }
}
