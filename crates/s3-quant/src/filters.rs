//! What several methods ask of a weight: its values, the mean of |W| over a layer or a filter,
//! signs and thresholds. Sums run in f64 in index order, so that they do not depend on threads.

use candle_core::{Result, Tensor, Var};
use s3_core::{Codes, Init, LayerSpec, ParamKind, Params, Scale};

/// The latent of a method that has one: a plain weight, whose checkpoint key is the weight's path.
pub(crate) fn weight_latent(layer: &LayerSpec, params: &Params) -> Result<Var> {
    let init = Init::weight(&layer.shape);
    params.get("", layer.shape.as_slice(), init, ParamKind::Latent)
}

/// The values of `t`, row-major.
pub(crate) fn values(t: &Tensor) -> Result<Vec<f32>> {
    t.flatten_all()?.to_vec1()
}

/// A tensor of `values` with the shape and device of `t`.
pub(crate) fn like(values: Vec<f32>, t: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, t.shape(), t.device())
}

/// The weights of one filter (row) of `t`.
pub(crate) fn filter_len(t: &Tensor) -> usize {
    let filters = t.dims().first().copied().unwrap_or(1).max(1);
    (t.elem_count() / filters).max(1)
}

/// +1 where `x >= 0`, else -1.
pub(crate) fn sign(x: f32) -> f32 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

/// The mean of |x|, rounded once.
pub(crate) fn mean_abs(w: &[f32]) -> f32 {
    (w.iter().map(|x| f64::from(x.abs())).sum::<f64>() / w.len().max(1) as f64) as f32
}

/// The sign of each x with |x| > `delta`, else 0.
pub(crate) fn signs_above(w: &[f32], delta: f32) -> impl Iterator<Item = i32> + '_ {
    w.iter()
        .map(move |&x| if x.abs() > delta { sign(x) as i32 } else { 0 })
}

/// The mean of |x| over |x| > `delta`, and 0 where there is none.
pub(crate) fn mean_above(w: &[f32], delta: f32) -> f32 {
    let kept: Vec<f32> = w.iter().copied().filter(|x| x.abs() > delta).collect();
    mean_abs(&kept)
}

/// `sign(W_i) · mean|W_i|` for each filter of `n` weights; `sign(0) = +1`.
pub(crate) fn binary_codes(w: &[f32], n: usize, shape: &[usize]) -> Codes {
    Codes {
        shape: shape.to_vec(),
        levels: w.iter().map(|&x| sign(x) as i32).collect(),
        scale: Scale::Filter(w.chunks(n).map(mean_abs).collect()),
    }
}
