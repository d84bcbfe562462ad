//! Dropout whose draws follow from seed, step, node and image alone.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;
use s3_core::Init;

/// What a training pass draws by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draw {
    /// The run's.
    pub(crate) seed: u64,
    /// The step's number.
    pub(crate) step: u64,
    /// Where the images of the pass lie in their step's batch.
    pub(crate) first_image: usize,
}

/// Each number of `x` is 0 with probability `share`, and else divided by `1 - share`; the products
/// are rounded once.
///
/// # Shapes
/// `x: [n, ..]`, result the same, of the type of `x`. The gradient passes where a number was kept.
///
/// # Errors
/// Those of candle.
pub(crate) fn dropout(x: &Tensor, share: f32, name: &str, draw: Draw) -> Result<Tensor> {
    let images = x.dim(0)?;
    let each = x.elem_count() / images.max(1);
    let factors = dropout_factors([images, each], share, name, draw);
    let factors = Tensor::from_vec(factors, x.shape(), x.device())?;
    x.to_dtype(DType::F32)?.mul(&factors)?.to_dtype(x.dtype())
}

/// What a [`dropout`] multiplies by, for so many images of so many numbers each. What is drawn for
/// an image depends on the seed, `name`, the step and the image's place in its batch, so that
/// threads, micro-batches and a resumed run change nothing.
pub(crate) fn dropout_factors(
    [images, each]: [usize; 2],
    share: f32,
    name: &str,
    draw: Draw,
) -> Vec<f32> {
    let (low, high) = (0.0, 1.0);
    let kept = 1.0 / (1.0 - share);
    let factors: Vec<Vec<f32>> = (0..images)
        .into_par_iter()
        .map(|i| {
            let stream = format!("{name}@{}#{}", draw.step, draw.first_image + i);
            let mut draws = Init::Uniform { low, high }.draw(draw.seed, &stream, each);
            for v in &mut draws {
                *v = if *v < share { 0.0 } else { kept };
            }
            draws
        })
        .collect();
    factors.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::Rng;
    use candle_core::Var;

    const DRAW: Draw = Draw {
        seed: 7,
        step: 3,
        first_image: 0,
    };

    #[test]
    fn numbers_are_zero_or_larger_and_so_are_their_gradients() -> Result<()> {
        let x = Var::from_tensor(&Rng::new(1).normal((4, 5, 5, 40))?)?;
        let y = dropout(&x, 0.25, "drop", DRAW)?;
        let factors = (&y / x.as_tensor())?.flatten_all()?.to_vec1::<f32>()?;
        let zeros = factors.iter().filter(|&&f| f == 0.0).count();
        assert!(
            factors
                .iter()
                .all(|f| *f == 0.0 || (f - 4.0 / 3.0).abs() < 1e-5)
        );
        // Of 4000 draws a quarter, within five standard deviations.
        assert!((865..=1135).contains(&zeros), "{zeros}");
        let gradients = y.sum_all()?.backward()?;
        let gradient = gradients.get(&x).expect("a gradient").flatten_all()?;
        for (g, f) in gradient.to_vec1::<f32>()?.into_iter().zip(factors) {
            assert!((g - f).abs() < 1e-5, "{g} {f}");
        }
        Ok(())
    }

    #[test]
    fn an_image_draws_the_same_in_a_micro_batch_and_something_else_in_another_step() -> Result<()> {
        let x = Tensor::ones((6, 50), DType::F32, &candle_core::Device::Cpu)?;
        let of = |x: &Tensor, name, draw| dropout(x, 0.5, name, draw)?.to_vec2::<f32>();
        let whole = of(&x, "drop", DRAW)?;
        let later = Draw {
            first_image: 4,
            ..DRAW
        };
        assert_eq!(of(&x.narrow(0, 4, 2)?, "drop", later)?, whole[4..]);
        let next = Draw { step: 4, ..DRAW };
        for other in [of(&x, "drop", next)?, of(&x, "drop2", DRAW)?] {
            assert!(other.iter().zip(&whole).all(|(a, b)| a != b));
        }
        Ok(())
    }
}
