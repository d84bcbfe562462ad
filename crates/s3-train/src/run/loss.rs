//! Cross-entropy with label smoothing.

use candle_core::{D, Result, Tensor};

/// The mean over the batch of `-(1 - smoothing) log p_y - smoothing/K · Σ_k log p_k`, as torch
/// defines it.
///
/// # Shapes
/// `logits: [n, K]` f32, `labels: [n]` u32 below K; the result is a scalar.
///
/// # Errors
/// Shapes that do not fit, or a label out of range.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let logits = Tensor::new(&[[0f32, 0.]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32], &Device::Cpu)?;
/// let loss = s3_train::loss::cross_entropy(&logits, &labels, 0.0)?;
/// assert!((loss.to_scalar::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_p = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let nll = log_p.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?.neg()?;
    if smoothing == 0.0 {
        return Ok(nll);
    }
    (nll * (1.0 - smoothing))? - (log_p.mean_all()? * smoothing)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn the_gradient_is_softmax_minus_target() -> Result<()> {
        let logits = Var::new(&[[1f32, 2., 0.5], [-1., 0., 3.]], &Device::Cpu)?;
        let labels = Tensor::new(&[2u32, 0], &Device::Cpu)?;
        for smoothing in [0.0, 0.1] {
            let loss = cross_entropy(&logits, &labels, smoothing)?;
            let grad = loss
                .backward()?
                .get(&logits)
                .expect("grad")
                .to_vec2::<f32>()?;
            let rows = logits.to_vec2::<f32>()?;
            for (i, row) in rows.iter().enumerate() {
                let sum: f32 = row.iter().map(|v| v.exp()).sum();
                for (k, v) in row.iter().enumerate() {
                    let hit = if k == [2, 0][i] { 1.0 } else { 0.0 };
                    let target = hit * (1.0 - smoothing as f32) + smoothing as f32 / 3.0;
                    let want = (v.exp() / sum - target) / 2.0;
                    // A handful of f32 roundings of numbers below 1.
                    assert!((grad[i][k] - want).abs() < 1e-6, "{smoothing} {i} {k}");
                }
            }
        }
        Ok(())
    }
}
