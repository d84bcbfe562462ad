//! Weights in full precision, of one shift, and as a sum of two planes.

use crate::weights::{Float, Planes};
use candle_core::Result;
use s3_core::s3::{S3, Start};
use s3_core::{Init, LayerSpec, Method, ParamKind, Params, Quantizer, Role};

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
