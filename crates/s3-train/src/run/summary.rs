//! The cost of a network: its layers, their shapes and what one inference does; and in what it
//! cannot be packed.

use crate::data::{DataConfig, DataName, imagenet, own};
use anyhow::Result;
use s3_core::host::{Host, on_cpu};
use s3_core::{Codes, Scale, WeightForm};
use s3_layers::int8::has_integer_form;
use s3_layers::model::{Graph, Layer, Op, Size};
use s3_layers::zoo::Plan;
use s3_layers::{Mode, Net, QuantLayer};
use s3_metrics::cost::{KernelOp, LayerCost, ModelCost, summarize};
use std::collections::BTreeMap;

/// The size of a data set's images and its number of classes, known without loading it; of image
/// folders as many classes as ImageNet has, which is a guess ([`imagenet::classes`] counts those of
/// a folder). `None` of arrays, whose files say both
/// ([`arrays::shape`](crate::data::arrays::shape)).
#[must_use]
pub fn image_of(data: &DataConfig) -> Option<(Size, usize)> {
    let square = |side, channels| Size {
        height: side,
        width: side,
        channels,
    };
    Some(match data.name {
        DataName::Shapes | DataName::Cifar10 => (square(32, 3), 10),
        DataName::Mnist => (square(28, 1), 10),
        DataName::Imagenet => (square(data.size.unwrap_or(imagenet::SIZE), 3), 1000),
        DataName::Arrays => return None,
        DataName::Own(name) => {
            let entry = own::find(name)?;
            (entry.image, entry.classes)
        }
    })
}

/// The floats of several planes that stay beside a batch norm: where each plane has its own. Planes
/// of shifts share one, which the batch norm takes.
fn scales(op: KernelOp, planes: &[Codes]) -> u64 {
    let of = |codes: &Codes| match &codes.scale {
        Scale::One => 0,
        Scale::Layer(_) => 1,
        Scale::Filter(each) => each.len() as u64,
    };
    match op {
        KernelOp::SumOfSignFlips => planes.iter().map(of).sum(),
        _ => 0,
    }
}

/// That a network has no 8-bit form, and why, in a line.
///
/// ```
/// use s3_layers::model::Size;
/// use s3_layers::zoo;
/// use s3_train::summary::f32_alone;
///
/// let image = Size { height: 4, width: 4, channels: 2 };
/// let nodes = r#"{ "nodes": [{ "name": "p", "op": "mean_pool" }] }"#;
/// let graph = zoo::graph("nodes", &serde_json::from_str(nodes)?, image, 2)?;
/// let said = "layer p: mean_pool: the scores of an integer network are what a layer makes";
/// assert_eq!(f32_alone(&graph).unwrap(), format!("exported in f32 alone: {said}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn f32_alone(plan: &Graph<Plan>) -> Option<String> {
    let error = has_integer_form(plan).err()?;
    Some(format!("exported in f32 alone: {error}"))
}

/// Counts parameters, operations and bytes of `net` for one image.
///
/// # Errors
/// Those of the quantizers.
pub fn model_cost(net: &Net) -> Result<ModelCost> {
    let layers: BTreeMap<_, _> = net
        .layers()
        .into_iter()
        .map(|l| (l.spec.name.as_str(), l))
        .collect();
    let plan = net.plan();
    let sizes = plan.sizes()?;
    let mut costs = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let (from, made) = (sizes[node.input()], sizes[index + 1]);
        let pixels = [made.height as u64, made.width as u64];
        if let (Op::Layer(layer), Some(trained)) = (&node.op, layers.get(node.name.as_str())) {
            costs.push(cost_of(layer, trained, &from, pixels)?);
        }
        if let Some(norm) = node.holds().and_then(|plan| plan.norm.as_ref()) {
            costs.push(LayerCost::batch_norm(norm, made.channels as u64, pixels));
        }
    }
    Ok(summarize(&costs))
}

fn cost_of(
    layer: &Layer<Plan>,
    trained: &QuantLayer,
    from: &Size,
    pixels: [u64; 2],
) -> Result<LayerCost> {
    let (name, dim) = (&trained.spec.name, |i: usize| trained.spec.shape[i] as u64);
    let cost = if layer.holds.is_linear {
        LayerCost::linear(name, dim(0), dim(1))
    } else {
        LayerCost::conv2d(name, [dim(0), dim(1), dim(2), dim(3)], pixels)
    };
    let cost = if layer.holds.bias {
        cost.with_bias()
    } else {
        cost
    };
    let cost = cost.with_input(from.len() as u64);
    let weight = on_cpu(&trained.weight(Mode::Eval)?)?;
    let nonzero = Host::new(&weight)?.iter().filter(|&&v| v != 0.0).count() as u64;
    Ok(match trained.quantizer.form() {
        WeightForm::Float => cost,
        WeightForm::Discrete { bits, op } => {
            let cost = cost.quantized(bits, op).with_nonzero(nonzero);
            match trained.quantizer.planes()? {
                Some(planes) if planes.len() > 1 => {
                    let levels = planes.iter().flat_map(|p| &p.levels);
                    let terms = levels.filter(|l| **l != 0).count() as u64;
                    cost.with_planes(terms, scales(op, &planes))
                }
                _ => cost,
            }
        }
    })
}
