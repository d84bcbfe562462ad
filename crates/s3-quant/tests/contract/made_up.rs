//! A method that no one published, in one file: signs with a scale a filter that is rounded to a
//! power of two. One line in `main.rs` puts it under the contract.

use candle_core::{Result, Tensor, Var};
use s3_core::{
    Codes, Init, KernelOp, LayerSpec, Method, MethodConfig, ParamKind, Params, Quantizer, Scale,
    WeightForm, ste,
};
use serde::{Deserialize, Serialize};

/// No settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MadeUp {}

impl MethodConfig for MadeUp {
    const NAME: &'static str = "made_up";
    const SUMMARY: &'static str = "signs times a power of two a filter";
    const BITS: &'static [u32] = &[1];
    const OPERATION: KernelOp = KernelOp::SignFlip;
}

impl Method for MadeUp {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let (shape, init) = (layer.shape.as_slice(), Init::weight(&layer.shape));
        let w = params.get("", shape, init, ParamKind::Latent)?;
        Ok(Box::new(Signs(w)))
    }
}

struct Signs(Var);

impl Signs {
    fn frozen(&self) -> Result<Codes> {
        let w = self.0.flatten_all()?.to_vec1::<f32>()?;
        let filter = w.len() / self.0.dim(0)?;
        let scale = |w: &[f32]| {
            let mean = w.iter().map(|x| x.abs()).sum::<f32>() / w.len() as f32;
            mean.log2().round().exp2()
        };
        Ok(Codes {
            shape: self.0.dims().to_vec(),
            levels: w.iter().map(|&x| if x > 0.0 { 1 } else { -1 }).collect(),
            scale: Scale::Filter(w.chunks(filter).map(scale).collect()),
        })
    }
}

impl Quantizer for Signs {
    fn weight(&self) -> Result<Tensor> {
        let values = self.frozen()?.decode();
        let q = Tensor::from_vec(values, self.0.shape(), self.0.device())?;
        ste::identity(&q, self.0.as_tensor())
    }

    fn start_from(&self, weight: &Tensor) -> Result<()> {
        self.0.set(weight)
    }

    fn codes(&self) -> Result<Option<Codes>> {
        self.frozen().map(Some)
    }

    fn form(&self) -> WeightForm {
        WeightForm::discrete(1, KernelOp::SignFlip)
    }
}
