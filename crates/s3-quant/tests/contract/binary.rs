//! Binary weights: a sign for each weight, a scale for each filter.
//!
//! ```text
//! α_i = mean |W_i| over filter i,   Ŵ_i = α_i · sign(W_i),   sign(0) = -1
//! ```
//!
//! The gradient of Ŵ goes to W unchanged (identity STE).

use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Quantizer, Scale,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// Binary weights have no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {}

impl MethodConfig for Binary {
    const NAME: &'static str = "binary";
    const SUMMARY: &'static str = "binary weights: a sign a weight, a scale a filter";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for Binary {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let (shape, init) = (layer.shape.as_slice(), Init::weight(&layer.shape));
        let w = params.get("", shape, init, ParamKind::Latent)?;
        Ok(Box::new(Signs(w)))
    }
}

/// One layer's latent.
struct Signs(Var);

impl Signs {
    fn frozen(&self) -> Result<Codes> {
        let w = self.0.flatten_all()?.to_vec1::<f32>()?;
        let filter = w.len() / self.0.dim(0)?;
        let mean = |w: &[f32]| w.iter().map(|x| f64::from(x.abs())).sum::<f64>() / w.len() as f64;
        Ok(Codes {
            shape: self.0.dims().to_vec(),
            levels: w.iter().map(|&x| if x > 0.0 { 1 } else { -1 }).collect(),
            scale: Scale::Filter(w.chunks(filter).map(|w| mean(w) as f32).collect()),
        })
    }
}

impl Quantizer for Signs {
    fn weight(&self) -> Result<Tensor> {
        let values = self.frozen()?.decode();
        let q = Tensor::from_vec(values, self.0.shape(), self.0.device())?;
        ste::identity(&q, self.0.as_tensor())
    }

    fn codes(&self) -> Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(1, KernelOp::SignFlip)
    }
}
