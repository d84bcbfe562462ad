//! Weights in full precision, of one shift, and as a sum of two planes.

use candle_core::{Result, Tensor, Var};
use s3_core::s3::{S3, Start};
use s3_core::{
    Codes, Init, LayerSpec, Method, ParamKind, Params, Quantizer, Role, Scale, WeightForm, ste,
};

/// What the layers between the first and the last hold; those two are in full precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    /// S3 of 2 bits.
    S3,
    /// The sum of two ternary weights.
    Planes,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Float, Kind::S3, Kind::Planes];
}

impl Method for Kind {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let is_outer = [Role::First, Role::Last].contains(&layer.role);
        let shape = layer.shape.as_slice();
        let latent = || params.get("", shape, Init::weight(shape), ParamKind::Latent);
        Ok(match self {
            Kind::S3 if !is_outer => {
                // Half of the weights are zero.
                let init = Start::Authors;
                return S3 { init, ..S3::new(2) }.quantizer(layer, params);
            }
            Kind::Planes if !is_outer => Box::new(Planes(latent()?)),
            _ => Box::new(Float(latent()?)),
        })
    }
}

struct Float(Var);

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
struct Planes(Var);

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
        WeightForm::Discrete {
            bits: 4,
            op: s3_core::KernelOp::SumOfTwoShifts,
        }
    }
}
