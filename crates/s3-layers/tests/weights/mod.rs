//! Weights in full precision and as a sum of two planes, for tests that know no method.
#![allow(dead_code, reason = "each test file uses its own part")]

use candle_core::{Result, Tensor, Var};
use s3_core::{Codes, KernelOp, Quantizer, Scale, WeightForm, ste};

/// In full precision.
pub(crate) struct Float(pub(crate) Var);

impl Quantizer for Float {
    fn weight(&self) -> Result<Tensor> {
        Ok(self.0.as_tensor().clone())
    }
    fn codes(&self) -> Result<Option<Codes>> {
        Ok(None)
    }
    fn form(&self) -> WeightForm {
        WeightForm::Float
    }
}

/// A weight is `a/4 + b/16`, `a` and `b` of -1, 0, 1.
pub(crate) struct Planes(pub(crate) Var);

const SCALES: [f32; 2] = [0.25, 0.0625];

impl Planes {
    fn codes_of_both(&self) -> Result<Vec<Codes>> {
        let latent = self.0.as_detached_tensor();
        let mut rest = latent.flatten_all()?.to_vec1::<f32>()?;
        let plane = |scale: f32| {
            let level = |v: &f32| (v / scale).round().clamp(-1.0, 1.0);
            let levels: Vec<f32> = rest.iter().map(level).collect();
            let less = rest.iter_mut().zip(&levels);
            less.for_each(|(v, level)| *v -= level * scale);
            Codes {
                shape: latent.dims().to_vec(),
                levels: levels.into_iter().map(|level| level as i32).collect(),
                scale: Scale::Layer(scale),
            }
        };
        Ok(SCALES.map(plane).to_vec())
    }
}

impl Quantizer for Planes {
    fn weight(&self) -> Result<Tensor> {
        let values = Codes::decode_sum(&self.codes_of_both()?);
        let values = Tensor::from_vec(values, self.0.shape(), self.0.device())?;
        ste::identity(&values, self.0.as_tensor())
    }
    fn codes(&self) -> Result<Option<Codes>> {
        Ok(None)
    }
    fn planes(&self) -> Result<Option<Vec<Codes>>> {
        self.codes_of_both().map(Some)
    }
    fn form(&self) -> WeightForm {
        WeightForm::discrete(4, KernelOp::SumOfTwoShifts)
    }
}
