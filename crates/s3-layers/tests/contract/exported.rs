//! Which networks ONNX, QONNX and C have: the table of docs/NETWORKS.md. The others are left out of the
//! parts of the contract that export; a line goes when what it says is exported.

use s3_layers::model::{Act, Graph, Op};
use s3_layers::zoo::Plan;

/// Whether every node of a network can be exported.
pub(crate) fn is_exported(plan: &Graph<Plan>) -> bool {
    plan.nodes.iter().all(|node| match &node.op {
        Op::Layer(layer) => layer.groups == 1 && layer.act != Act::Relu6,
        Op::MaxPool(_) | Op::MeanPool { .. } | Op::Subsample { .. } => true,
        _ => false,
    })
}
