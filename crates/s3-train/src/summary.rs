//! The cost of a network: its layers, their shapes and what one inference does.

use crate::data::{DataConfig, DataName, imagenet};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use s3_core::WeightForm;
use s3_core::host::{Host, on_cpu};
use s3_layers::{Mode, ResNet};
use s3_metrics::cost::{KernelOp, LayerCost, ModelCost, summarize};
use std::collections::BTreeMap;

/// The `[height, width, channels]` of a data set's images and its number of classes, known without
/// loading it; of picture folders as many classes as ImageNet has, which is a guess
/// ([`imagenet::classes`] counts those of a folder).
pub fn image_of(data: &DataConfig) -> ([usize; 3], usize) {
    match data.name {
        DataName::Shapes | DataName::Cifar10 => ([32, 32, 3], 10),
        DataName::Mnist => ([28, 28, 1], 10),
        DataName::Imagenet => {
            let size = data.size.unwrap_or(imagenet::SIZE);
            ([size, size, 3], 1000)
        }
    }
}

/// Counts parameters, operations and bytes of `net` for one image of `[height, width, channels]`,
/// by running it once.
///
/// # Errors
/// A shape that does not fit.
pub fn model_cost(net: &ResNet, image: [usize; 3], device: &Device) -> Result<ModelCost> {
    let layers: BTreeMap<_, _> = net
        .layers()
        .into_iter()
        .map(|l| (l.spec.name.as_str(), l))
        .collect();
    let mut costs = Vec::new();
    let mut see = |name: &str, x: &Tensor, y: &Tensor| -> candle_core::Result<()> {
        let size = |d: usize| y.dims().get(d).copied().unwrap_or(1) as u64;
        let Some(layer) = layers.get(name) else {
            let channels = y.dims().last().copied().unwrap_or(0) as u64;
            costs.push(LayerCost::batch_norm(name, channels, [size(1), size(2)]));
            return Ok(());
        };
        let dim = |i: usize| layer.spec.shape[i] as u64;
        let cost = if layer.spec.shape.len() == 2 {
            LayerCost::linear(name, dim(0), dim(1)).with_bias()
        } else {
            LayerCost::conv2d(name, [dim(0), dim(1), dim(2), dim(3)], [size(1), size(2)])
        };
        let cost = cost.with_input(x.elem_count() as u64);
        let weight = on_cpu(&layer.weight(Mode::Eval)?)?;
        let nonzero = Host::new(&weight)?.iter().filter(|&&v| v != 0.0).count() as u64;
        costs.push(match layer.quantizer.form() {
            WeightForm::Float => cost,
            WeightForm::Discrete { bits, op } => {
                let op = match op {
                    s3_core::KernelOp::Multiply => KernelOp::Multiply,
                    s3_core::KernelOp::SignFlip => KernelOp::SignFlip,
                    s3_core::KernelOp::ShiftSignFlip => KernelOp::ShiftSignFlip,
                    s3_core::KernelOp::SumOfTwoShifts => KernelOp::SumOfTwoShifts,
                    s3_core::KernelOp::SumOfSignFlips => KernelOp::SumOfSignFlips,
                };
                cost.quantized(bits, op).with_nonzero(nonzero)
            }
        });
        Ok(())
    };
    let [h, w, c] = image;
    let x = Tensor::zeros((1, h, w, c), DType::F32, device)?;
    net.forward_traced(&x, Mode::Eval, &mut see)?;
    Ok(summarize(&costs))
}
