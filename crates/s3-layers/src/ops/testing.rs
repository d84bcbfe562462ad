//! What the tests of the ops share.

use candle_core::{Device, Result, Shape, Tensor, Var};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Two f32 evaluations of one sum in different orders: the terms here are O(1) and at most a few
/// hundred, so 1e-4 of the largest value is far above rounding and far below a wrong term.
const TOLERANCE: f64 = 1e-4;

pub(crate) struct Rng(ChaCha8Rng);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn normal(&mut self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let v: Vec<f32> = (0..shape.elem_count())
            .map(|_| StandardNormal.sample(&mut self.0))
            .collect();
        Tensor::from_vec(v, shape, &Device::Cpu)
    }
}

pub(crate) fn assert_close(a: &Tensor, b: &Tensor) -> Result<()> {
    assert_eq!(a.dims(), b.dims());
    let largest = f64::from(b.abs()?.max_all()?.to_scalar::<f32>()?).max(1.0);
    let apart = f64::from((a - b)?.abs()?.max_all()?.to_scalar::<f32>()?);
    assert!(
        apart <= TOLERANCE * largest,
        "{apart} apart, largest value {largest}"
    );
    Ok(())
}

/// Two evaluations agree, and so do their gradients to the same variables, each number of the
/// result weighted by chance.
pub(crate) fn close_with_gradients(
    rng: &mut Rng,
    vars: &[&Var],
    ours: &Tensor,
    theirs: &Tensor,
) -> Result<()> {
    assert_close(ours, theirs)?;
    let weights = rng.normal(ours.shape().clone())?;
    let gradients = |y: &Tensor| (y * &weights)?.sum_all()?.backward();
    let (a, b) = (gradients(ours)?, gradients(theirs)?);
    for v in vars {
        assert_close(a.get(v).expect("a gradient"), b.get(v).expect("a gradient"))?;
    }
    Ok(())
}
