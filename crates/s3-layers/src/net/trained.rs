//! What a layer, or a batch norm on its own, holds in training, and what it freezes to.

use crate::layer::QuantLayer;
use crate::norm::BatchNorm;
use candle_core::{Result, Var, bail};
use s3_core::{Init, LayerSpec, Method, ParamKind, Params};
use s3_kernels::model::{Node, Op, Size};
use s3_kernels::zoo::Plan;

/// The contents of a layer in training.
pub(crate) struct Trained {
    /// None of a batch norm on its own.
    pub(crate) weight: Option<QuantLayer>,
    pub(crate) norm: Option<BatchNorm>,
    pub(crate) bias: Option<Var>,
}

impl Trained {
    /// What `node` holds, which makes a value of size `made` from one of size `from`.
    pub(super) fn new(
        node: &Node<Plan>,
        plan: &Plan,
        [from, made]: [Size; 2],
        method: &dyn Method,
        params: &Params,
    ) -> Result<Self> {
        let at = params.pp(&node.name);
        let norm = plan.norm.as_ref();
        let norm = norm.map(|path| BatchNorm::new(made.channels, &params.pp(path)));
        let norm = norm.transpose()?;
        let Op::Layer(layer) = &node.op else {
            let (weight, bias) = (None, None);
            return Ok(Self { weight, norm, bias });
        };
        if layer.groups > 1 && !(layer.groups == from.channels && layer.groups == layer.channels) {
            bail!(
                "layer {}: groups: expected 1 or the {} channels of its input and of its result, \
                 got {}",
                node.name,
                from.channels,
                layer.groups
            )
        }
        let spec = LayerSpec {
            name: at.path().to_string(),
            shape: layer.weight_shape(&from),
            role: plan.role,
        };
        // torch's default of a bias: U(±1/√inputs).
        let inputs: usize = spec.shape.iter().skip(1).product();
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        let init = Init::Uniform {
            low: -bound,
            high: bound,
        };
        let bias = || at.get("bias", made.channels, init, ParamKind::Bias);
        let bias = plan.bias.then(bias).transpose()?;
        let weight = QuantLayer::new(spec, method, &at.pp("weight"))?;
        let weight = Some(weight);
        Ok(Self { weight, norm, bias })
    }
}
