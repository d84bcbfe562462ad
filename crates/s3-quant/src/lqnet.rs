//! LQ-Net (Zhang et al., "LQ-Nets", ECCV 2018): a learned basis for each filter and, as an option,
//! for the inputs of each layer.
//!
//! ```text
//! levels of filter i: { Σ_j c_j v_ij : c in {±1}^K },  each weight takes the nearest
//! v_new = (B Bᵀ + ε I)⁻¹ (B w + ε v),  ε = 1e-4,     v <- 0.9 v + 0.1 v_new     once a step
//! ```
//!
//! `B` holds the codes of the current basis. The basis is no parameter: it moves in `advance` and
//! is saved with the latents. It may cross or change sign while it moves, so that the levels are
//! sorted anew each time. The gradient goes to W unchanged, without clipping.
//!
//! The weight is K sign planes, each with a factor a filter; there is no exact zero.
//!
//! With `activation_bits` the inputs take levels of codes {0, 1}, whose basis starts at
//! `2·0.6745/(2^K - 1)·2^j` and is fitted to the inputs of each training step in the same way. A
//! training pass notes its fit in a buffer, and the next `advance` moves the basis.

use crate::activation::to_levels;
use crate::entry::bits_among;
use crate::filters::{filter_len, like, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, Needs, ParamKind, Params, Progress,
    Quantizer, Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// The settings of LQ-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LqNet {
    /// Bits a weight, 2 to 4: the length K of the basis.
    pub bits: u32,
    /// Bits of the inputs of quantized layers, 1 to 4; absent: full precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_bits: Option<u32>,
}

impl MethodConfig for LqNet {
    const NAME: &'static str = "lqnet";
    const SUMMARY: &'static str = "LQ-Net: a learned basis of sign planes a filter";
    const BITS: &'static [u32] = &[2, 3, 4];
    const OPERATION: KernelOp = KernelOp::SumOfSignFlips;

    fn validate(&self) -> std::result::Result<(), String> {
        bits_among(self.bits, Self::BITS)?;
        match self.activation_bits {
            None | Some(1..=4) => Ok(()),
            Some(bits) => Err(format!("activation_bits: expected 1 to 4, got {bits}")),
        }
    }
}

impl Method for LqNet {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let (filters, k) = (
            layer.shape.first().copied().unwrap_or(1),
            self.bits as usize,
        );
        let basis = params.get("basis", (filters, k), Init::Const(0.0), ParamKind::Buffer)?;
        let unit = 0.6745 * Init::weight_std(&layer.shape) / f64::from(1 << (k - 1));
        let start = (0..filters * k).map(|i| (unit * f64::from(1 << (i % k))) as f32);
        basis.set(&like(start.collect(), &basis)?)?;
        let inputs = match self.activation_bits {
            None => None,
            Some(bits) => Some(Inputs::new(bits, params)?),
        };
        Ok(Box::new(Learned {
            w: weight_latent(layer, params)?,
            basis,
            bits: self.bits,
            inputs,
        }))
    }
}

/// The levels of a layer's inputs.
struct Inputs {
    /// `[K]`.
    basis: Var,
    /// The fit to the last training pass, before the first of which it is the start.
    fit: Var,
}

impl Inputs {
    fn new(bits: u32, params: &Params) -> Result<Self> {
        let k = bits as usize;
        let zeros = Init::Const(0.0);
        let buffer = |name| params.get(name, k, zeros, ParamKind::Buffer);
        let (basis, fit) = (buffer("input_basis")?, buffer("input_fit")?);
        let unit = 2.0 * 0.6745 / f64::from((1 << k) - 1);
        let start: Vec<f32> = (0..k).map(|j| (unit * f64::from(1 << j)) as f32).collect();
        basis.set(&like(start.clone(), &basis)?)?;
        fit.set(&like(start, &fit)?)?;
        Ok(Self { basis, fit })
    }

    fn quantize(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        let v = values(&self.basis)?;
        if training {
            let fit = refit(&values(x)?, &v, Codebook::ZeroOne);
            let fit = fit.into_iter().map(|v| v as f32).collect();
            self.fit.set(&like(fit, &self.fit)?)?;
        }
        let mut levels: Vec<f32> = (0..1 << v.len())
            .map(|c| level(&v, c, Codebook::ZeroOne))
            .collect();
        levels.sort_by(f32::total_cmp);
        to_levels(x, &levels)
    }
}

struct Learned {
    w: Var,
    /// `[c_out, K]`.
    basis: Var,
    bits: u32,
    inputs: Option<Inputs>,
}

/// What a bit of a code multiplies its basis vector with.
#[derive(Clone, Copy)]
enum Codebook {
    /// -1 and 1: weights.
    Signs,
    /// 0 and 1: inputs.
    ZeroOne,
}

impl Codebook {
    fn digit(self, code: u32, j: usize) -> f32 {
        match (code >> j & 1, self) {
            (1, _) => 1.0,
            (_, Self::Signs) => -1.0,
            (_, Self::ZeroOne) => 0.0,
        }
    }
}

/// The sum of the basis with the digits of `code`, in f32 from the first on.
fn level(v: &[f32], code: u32, codebook: Codebook) -> f32 {
    let mut sum = 0.0;
    for (j, &v) in v.iter().enumerate() {
        let term = codebook.digit(code, j) * v;
        sum = if j == 0 { term } else { sum + term };
    }
    sum
}

/// The codes of the levels nearest to `w`; halfway between two, the upper one.
fn nearest(w: &[f32], v: &[f32], codebook: Codebook) -> Vec<u32> {
    let mut levels: Vec<(f32, u32)> = (0..1 << v.len())
        .map(|c| (level(v, c, codebook), c))
        .collect();
    levels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middles: Vec<f32> = levels
        .windows(2)
        .map(|l| ((f64::from(l[0].0) + f64::from(l[1].0)) / 2.0) as f32)
        .collect();
    let code = |x: f32| levels[middles.partition_point(|&m| m <= x)].1;
    w.iter().map(|&x| code(x)).collect()
}

/// One least-squares fit of the basis to `w` with the codes that `v` gives.
fn refit(w: &[f32], v: &[f32], codebook: Codebook) -> Vec<f64> {
    const EPS: f64 = 1e-4;
    let k = v.len();
    // The normal equations with their right side as the last column.
    let mut a = vec![vec![0f64; k + 1]; k];
    for (&x, code) in w.iter().zip(nearest(w, v, codebook)) {
        let b = |j: usize| f64::from(codebook.digit(code, j));
        for (i, row) in a.iter_mut().enumerate() {
            (0..k).for_each(|j| row[j] += b(i) * b(j));
            row[k] += b(i) * f64::from(x);
        }
    }
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += EPS;
        row[k] += EPS * f64::from(v[i]);
    }
    solve(&mut a);
    a.iter().map(|row| row[k]).collect()
}

/// Gauss-Jordan elimination of a positive definite system, whose solution stays in the last column.
fn solve(a: &mut [Vec<f64>]) {
    for i in 0..a.len() {
        let pivot = a[i].clone();
        let scaled: Vec<f64> = pivot.iter().map(|x| x / pivot[i]).collect();
        for (j, row) in a.iter_mut().enumerate() {
            let factor = row[i];
            for (x, s) in row.iter_mut().zip(&scaled) {
                *x = if j == i { *s } else { *x - factor * s };
            }
        }
    }
}

/// A tenth of the way from the basis to its fit.
fn moved_to(v: &[f32], fit: &[f64]) -> Vec<f32> {
    let pairs = v.iter().zip(fit);
    pairs
        .map(|(&v, fit)| (0.9 * f64::from(v) + 0.1 * fit) as f32)
        .collect()
}

impl Learned {
    fn frozen(&self) -> Result<Vec<Codes>> {
        let (w, v, k) = (values(&self.w)?, values(&self.basis)?, self.bits as usize);
        let filters = w.chunks(filter_len(&self.w)).zip(v.chunks(k));
        let codes: Vec<u32> = filters
            .flat_map(|(w, v)| nearest(w, v, Codebook::Signs))
            .collect();
        let plane = |j: usize| Codes {
            shape: self.w.dims().to_vec(),
            levels: codes
                .iter()
                .map(|c| if c >> j & 1 == 1 { 1 } else { -1 })
                .collect(),
            scale: Scale::Filter(v.chunks(k).map(|v| v[j]).collect()),
        };
        Ok((0..k).map(plane).collect())
    }
}

impl Quantizer for Learned {
    fn weight(&self) -> Result<Tensor> {
        let q = Codes::decode_sum(&self.frozen()?);
        ste::identity(&like(q, &self.w)?, &self.w)
    }

    fn needs(&self) -> Needs {
        Needs {
            inputs: self.inputs.is_some(),
            ..Needs::default()
        }
    }

    fn quantize_input(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        match &self.inputs {
            Some(inputs) => inputs.quantize(x, training),
            None => Ok(x.clone()),
        }
    }

    fn advance(&mut self, _: Progress) -> Result<()> {
        let (w, v, k) = (values(&self.w)?, values(&self.basis)?, self.bits as usize);
        let filters = w.chunks(filter_len(&self.w)).zip(v.chunks(k));
        let moved = filters.flat_map(|(w, v)| moved_to(v, &refit(w, v, Codebook::Signs)));
        self.basis.set(&like(moved.collect(), &self.basis)?)?;
        if let Some(Inputs { basis, fit }) = &self.inputs {
            let fit: Vec<f64> = values(fit)?.into_iter().map(f64::from).collect();
            basis.set(&like(moved_to(&values(basis)?, &fit), basis)?)?;
        }
        Ok(())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)
    }

    fn planes(&self) -> Result<Option<Vec<Codes>>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(self.bits, KernelOp::SumOfSignFlips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_weight_takes_a_nearest_level(
            w in proptest::collection::vec(-3f32..3.0, 1..20),
            v in proptest::collection::vec(-1f32..1.0, 1..5),
        ) {
            for (&x, code) in w.iter().zip(nearest(&w, &v, Codebook::Signs)) {
                let off = |c: u32| (f64::from(x) - f64::from(level(&v, c, Codebook::Signs))).abs();
                let best = (0..1 << v.len()).map(off).fold(f64::INFINITY, f64::min);
                // The middles are rounded to f32.
                prop_assert!(off(code) <= best + 1e-6);
            }
        }
    }

    #[test]
    fn a_basis_that_crosses_still_gives_sorted_levels() {
        // Levels of (2, 1) and of (-1, 2) are the same set.
        let w = [-3.2f32, -0.9, 0.8, 2.6];
        let value = |v: &[f32]| {
            nearest(&w, v, Codebook::Signs)
                .iter()
                .map(|&c| level(v, c, Codebook::Signs))
                .collect::<Vec<_>>()
        };
        assert_eq!(value(&[2.0, 1.0]), [-3.0, -1.0, 1.0, 3.0]);
        assert_eq!(value(&[-1.0, 2.0]), [-3.0, -1.0, 1.0, 3.0]);
    }

    #[test]
    fn a_fit_to_weights_that_are_levels_is_the_basis_that_made_them() {
        let truth = [0.5f32, 1.25];
        let w: Vec<f32> = (0..4).map(|c| level(&truth, c, Codebook::Signs)).collect();
        for (fit, v) in refit(&w, &[0.6, 1.0], Codebook::Signs).iter().zip(truth) {
            // ε = 1e-4 against four weights pulls the fit towards the old basis.
            assert!((fit - f64::from(v)).abs() < 1e-4, "{fit} {v}");
        }
    }

    #[test]
    fn a_filter_whose_codes_collapse_stays_finite() {
        // All weights take one level: B Bᵀ has rank 1.
        assert!(
            refit(&[5.0; 9], &[0.1, 0.2, 0.4], Codebook::Signs)
                .iter()
                .all(|x| x.is_finite())
        );
    }

    #[test]
    fn an_input_basis_moves_to_the_inputs_in_the_step_after_they_were_seen() -> Result<()> {
        let params = Params::new(1, &candle_core::Device::Cpu);
        let method = LqNet {
            bits: 2,
            activation_bits: Some(1),
        };
        let layer = LayerSpec {
            name: "conv".into(),
            shape: vec![1, 4],
            role: s3_core::Role::Hidden,
        };
        let mut q = method.quantizer(&layer, &params)?;
        let basis = params.all()["input_basis"].var.clone();
        assert_eq!(values(&basis)?, [1.349]);
        // Levels 0 and 1.349; the ones are fitted by their mean, 3.
        let x = Var::new(&[[0f32, 2.0, 4.0, 0.5]], &candle_core::Device::Cpu)?;
        let y = q.quantize_input(&x, true)?;
        assert_eq!(values(&y)?, [0.0, 1.349, 1.349, 0.0]);
        let g = y.sum_all()?.backward()?;
        assert_eq!(values(g.get(&x).expect("grad"))?, [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(values(&basis)?, [1.349], "a pass moves nothing");
        q.advance(Progress {
            step: 1,
            steps: 2,
            epoch: 0,
            epochs: 1,
            seed: 0,
        })?;
        // ε = 1e-4 against two inputs pulls the fit towards the old basis.
        assert!((values(&basis)?[0] - (0.9 * 1.349 + 0.1 * 3.0)).abs() < 1e-4);
        q.quantize_input(&x, false)?;
        Ok(())
    }
}
