//! BWHN (Hu, Wang and Cheng, "From Hashing to CNNs: Training Binary Weight Networks via Hashing",
//! AAAI 2018): the signs of a pre-trained network are found by a discrete regression of each
//! layer's outputs, then fine-tuned with a trained scale a filter.
//!
//! ```text
//! min over b in {±1}^n, α:  ‖Xᵀ w - X̃ᵀ b α‖²,   G = X̃ X̃ᵀ,  C = X̃ Xᵀ w
//! α <- b·C / bᵀG b;    b_j <- sign(C_j - α Σ_{k≠j} G_jk b_k)  for j = 1..n, until nothing flips
//! Ŵ_i = α_i · sign(W_i),   dL/dW = α 1[|W| <= 1] g,   dL/dα_i = Σ g · sign(W_i)
//! ```
//!
//! No public code exists; the specification follows the paper's algebra. `hash_filter` solves the
//! regression. A run that starts from a pre-trained network gets G and C from its training images,
//! front to end, X̃ behind the layers that are binary already; one that starts at random has
//! `G = I`, for which the solution is `sign(W)`, `mean|W|`. Where a sign differs from the
//! pre-trained weight's, the latent is that weight turned round: fine-tuning can turn it back.

use crate::filters::{filter_len, like, mean_abs, sign, values, weight_latent};
use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, InputMoments, KernelOp, LayerSpec, Method, MethodConfig, Needs, ParamKind, Params,
    Progress, Quantizer, Scale, WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// BWHN has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bwhn {}

impl MethodConfig for Bwhn {
    const NAME: &'static str = "bwhn";
    const SUMMARY: &'static str = "binary weights by hashing, a trained scale a filter (BWHN)";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
    const START: &'static str = "float";
}

impl Method for Bwhn {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let filters = layer.shape.first().copied().unwrap_or(1);
        let q = Hashed {
            w: weight_latent(layer, params)?,
            alpha: params.get("alpha", filters, Init::Const(1.0), ParamKind::Scale)?,
        };
        q.place_scales()?;
        Ok(Box::new(q))
    }
}

/// The signs and the scale of one filter, by cyclic coordinate descent from `sign(w)`.
///
/// # Shapes
/// `gram`: `[n, n]` row-major, symmetric and positive semidefinite; `cross` and `w`: `n`.
///
/// Each update of a sign and of the scale is the exact minimiser. A sign whose argument is 0 stays.
/// The signs are ±1, the scale is never negative. `swept` is told `α² bᵀG b - 2 α b·C` after each
/// sweep, which never grows.
///
/// # Panics
/// `gram` has fewer than `n·n` entries or `cross` fewer than `n`.
fn hash_filter(
    gram: &[f64],
    cross: &[f64],
    w: &[f32],
    mut swept: impl FnMut(f64),
) -> (Vec<f64>, f64) {
    const SWEEPS: usize = 400;
    let n = w.len();
    let mut b: Vec<f64> = w.iter().map(|&x| f64::from(sign(x))).collect();
    // G b, kept up to date.
    let mut product: Vec<f64> = (0..n)
        .map(|i| gram[i * n..][..n].iter().zip(&b).map(|(g, b)| g * b).sum())
        .collect();
    let mut scale = 0.0;
    for _ in 0..SWEEPS {
        let linear: f64 = b.iter().zip(cross).map(|(b, c)| b * c).sum();
        let square: f64 = b.iter().zip(&product).map(|(b, p)| b * p).sum();
        if linear < 0.0 {
            b.iter_mut().chain(&mut product).for_each(|x| *x = -*x);
        }
        scale = if square > 0.0 {
            linear.abs() / square
        } else {
            0.0
        };
        let mut flipped = false;
        for j in 0..n {
            let others = product[j] - gram[j * n + j] * b[j];
            let wanted = cross[j] - scale * others;
            if wanted * b[j] < 0.0 && scale > 0.0 {
                b[j] = -b[j];
                (0..n).for_each(|i| product[i] += 2.0 * b[j] * gram[i * n + j]);
                flipped = true;
            }
        }
        let linear: f64 = b.iter().zip(cross).map(|(b, c)| b * c).sum();
        let square: f64 = b.iter().zip(&product).map(|(b, p)| b * p).sum();
        swept(scale * scale * square - 2.0 * scale * linear);
        if !flipped {
            break;
        }
    }
    (b, scale)
}

struct Hashed {
    w: Var,
    /// `[c_out]`.
    alpha: Var,
}

impl Hashed {
    fn place_scales(&self) -> Result<()> {
        let w = values(&self.w)?;
        let means = w.chunks(filter_len(&self.w)).map(mean_abs).collect();
        self.alpha.set(&like(means, &self.alpha)?)
    }

    fn frozen(&self) -> Result<Codes> {
        let levels = values(&self.w)?.into_iter().map(|x| sign(x) as i32);
        Ok(Codes {
            shape: self.w.dims().to_vec(),
            levels: levels.collect(),
            scale: Scale::Filter(values(&self.alpha)?),
        })
    }
}

impl Quantizer for Hashed {
    fn weight(&self) -> Result<Tensor> {
        let (codes, w, n) = (self.frozen()?, self.w.as_tensor(), filter_len(&self.w));
        let signs = like(codes.levels.iter().map(|&l| l as f32).collect(), w)?;
        let alpha = values(&self.alpha)?;
        let d = values(w)?.into_iter().enumerate();
        let d = d.map(|(i, x)| if x.abs() <= 1.0 { alpha[i / n] } else { 0.0 });
        let spread = self
            .alpha
            .reshape((w.dim(0)?, 1))?
            .broadcast_as((w.dim(0)?, n))?;
        let spread = spread.reshape(w.shape())?;
        let d = like(d.collect(), w)?;
        ste::ste(&like(codes.decode(), w)?, &[(&d, w), (&signs, &spread)])
    }

    /// A filter whose scale has become negative has both turned round: its weight stays.
    fn advance(&mut self, _: Progress) -> Result<()> {
        let (mut w, mut alpha) = (values(&self.w)?, values(&self.alpha)?);
        if alpha.iter().all(|&a| a >= 0.0) {
            return Ok(());
        }
        for (w, a) in w.chunks_mut(filter_len(&self.w)).zip(&mut alpha) {
            if *a < 0.0 {
                *a = -*a;
                // A latent of exactly 0 has the sign +1.
                w.iter_mut()
                    .for_each(|x| *x = if *x == 0.0 { -f32::MIN_POSITIVE } else { -*x });
            }
        }
        self.w.set(&like(w, &self.w)?)?;
        self.alpha.set(&like(alpha, &self.alpha)?)
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.w.set(weight)?;
        self.place_scales()
    }

    fn needs(&self) -> Needs {
        Needs {
            moments: true,
            ..Needs::default()
        }
    }

    fn calibrate(&self, inputs: &InputMoments) -> Result<()> {
        let (mut w, n) = (values(&self.w)?, filter_len(&self.w));
        if inputs.gram.len() != n * n || inputs.cross.len() != n * n {
            candle_core::bail!(
                "moments of {} and {} pairs of inputs, expected {n} x {n}",
                inputs.gram.len(),
                inputs.cross.len()
            )
        }
        let mut alpha = Vec::with_capacity(w.len() / n);
        for filter in w.chunks_mut(n) {
            let dot = |row: &[f64]| {
                row.iter()
                    .zip(&*filter)
                    .map(|(c, &w)| c * f64::from(w))
                    .sum()
            };
            let cross: Vec<f64> = inputs.cross.chunks(n).map(dot).collect();
            let (signs, scale) = hash_filter(&inputs.gram, &cross, filter, |_| ());
            alpha.push(scale as f32);
            for (w, b) in filter.iter_mut().zip(signs) {
                let size = w.abs().max(f32::MIN_POSITIVE);
                *w = if b > 0.0 { size } else { -size };
            }
        }
        self.w.set(&like(w, &self.w)?)?;
        self.alpha.set(&like(alpha, &self.alpha)?)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(1, KernelOp::SignFlip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    /// `X Xᵀ` and `X Xᵀ w` for inputs `x`, one row a weight.
    fn regression(x: &[Vec<f64>], w: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let gram: Vec<f64> = x
            .iter()
            .flat_map(|a| x.iter().map(move |b| dot(a, b)))
            .collect();
        let w: Vec<f64> = w.iter().map(|&w| w.into()).collect();
        let cross = gram.chunks(w.len()).map(|row| dot(row, &w)).collect();
        (gram, cross)
    }

    #[test]
    fn inputs_that_do_not_correlate_leave_the_signs_and_the_mean_size() {
        let w = [0.5, -1.5];
        let found = hash_filter(&[1., 0., 0., 1.], &[0.5, -1.5], &w, |_| ());
        assert_eq!(found, (vec![1., -1.], 1.0));
    }

    proptest! {
        #[test]
        fn the_objective_never_grows_and_no_single_flip_improves_it(
            x in proptest::collection::vec(proptest::collection::vec(0f64..1.0, 30), 6),
            w in proptest::collection::vec(-1f32..1.0, 6),
        ) {
            let (gram, cross) = regression(&x, &w);
            let mut objective = Vec::new();
            let (signs, scale) = hash_filter(&gram, &cross, &w, |value| objective.push(value));
            prop_assert!(objective.windows(2).all(|o| o[1] <= o[0] + 1e-9));
            prop_assert!(scale >= 0.0);
            let cost = |b: &[f64]| {
                let quadratic: f64 = (0..6).flat_map(|i| (0..6).map(move |j| (i, j)))
                    .map(|(i, j)| gram[i * 6 + j] * b[i] * b[j]).sum();
                let linear: f64 = b.iter().zip(&cross).map(|(b, c)| b * c).sum();
                scale * scale * quadratic - 2.0 * scale * linear
            };
            for j in 0..6 {
                let mut other = signs.clone();
                other[j] = -other[j];
                prop_assert!(cost(&other) >= cost(&signs) - 1e-9);
            }
        }
    }

    #[test]
    fn a_calibrated_layer_comes_nearer_to_the_pretrained_ones_outputs() -> Result<()> {
        // Inputs as behind a ReLU: their mean makes them correlate.
        let input = |i: i32, j: i32| 1.0 + 0.5 * (f64::from(i * 41 + j * 17) * 0.7).sin();
        let x: Vec<Vec<f64>> = (0..6)
            .map(|i| (0..40).map(|j| input(i, j)).collect())
            .collect();
        let w = [0.9f32, 0.05, 0.06, -0.7, 0.05, 0.4];
        let (gram, _) = regression(&x, &w);
        let error = |q: &Hashed| -> Result<f64> {
            let off: Vec<f64> = values(&q.weight()?)?
                .iter()
                .zip(w)
                .map(|(q, w)| f64::from(q - w))
                .collect();
            Ok((0..6)
                .flat_map(|i| (0..6).map(move |j| (i, j)))
                .map(|(i, j)| gram[i * 6 + j] * off[i] * off[j])
                .sum())
        };
        let q = Hashed {
            w: Var::new(&[[0f32; 6]], &Device::Cpu)?,
            alpha: Var::new(&[0f32], &Device::Cpu)?,
        };
        q.start_from(&Tensor::new(&[w], &Device::Cpu)?)?;
        let before = error(&q)?;
        let moments = InputMoments {
            cross: gram.clone(),
            gram: gram.clone(),
            patches: 40,
        };
        q.calibrate(&moments)?;
        // Five signs of six agree, so that mean|W| makes too much of the inputs' mean.
        assert!(error(&q)? < 0.5 * before, "{} {before}", error(&q)?);
        let wrong = InputMoments {
            gram: vec![0.0; 4],
            ..moments
        };
        let message = q.calibrate(&wrong).expect_err("4 of 36").to_string();
        assert!(message.contains("expected 6 x 6"), "{message}");
        Ok(())
    }

    #[test]
    fn the_scale_is_trained_and_a_negative_one_turns_its_filter_round() -> Result<()> {
        let w = Var::new(&[[0.5f32, -1.5], [0.25, 0.75]], &Device::Cpu)?;
        let mut q = Hashed {
            w: w.clone(),
            alpha: Var::new(&[0f32, 0.0], &Device::Cpu)?,
        };
        q.place_scales()?;
        let y = q.weight()?;
        assert_eq!(y.to_vec2::<f32>()?, [[1.0, -1.0], [0.5, 0.5]]);
        let g = (y * Tensor::new(&[[1f32, 2.], [4., 8.]], &Device::Cpu)?)?;
        let g = g.sum_all()?.backward()?;
        assert_eq!(values(g.get(&w).expect("grad"))?, [1.0, 0.0, 2.0, 4.0]);
        assert_eq!(values(g.get(&q.alpha).expect("grad"))?, [-1.0, 12.0]);
        q.alpha.set(&Tensor::new(&[-2f32, 0.5], &Device::Cpu)?)?;
        let before = values(&q.weight()?)?;
        q.advance(Progress {
            step: 0,
            steps: 1,
            epoch: 0,
            epochs: 1,
            seed: 0,
        })?;
        assert_eq!(values(&q.weight()?)?, before);
        assert_eq!(values(&q.alpha)?, [2.0, 0.5]);
        Ok(())
    }
}
