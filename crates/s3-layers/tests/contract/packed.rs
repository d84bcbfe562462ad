//! Which networks can be packed: the table of docs/NETWORKS.md. Those that cannot are left out of
//! the parts of the contract that pack; a line goes when what it says is packed.

use super::methods::Kind;
use s3_layers::model::{Act, Graph, Op};
use s3_layers::zoo::Plan;

/// Whether every node of a network can be packed.
pub(crate) fn is_packed(plan: &Graph<Plan>, kind: Kind) -> bool {
    let last = plan.nodes.len() - 1;
    plan.nodes
        .iter()
        .enumerate()
        .all(|(i, node)| match &node.op {
            Op::Layer(layer) => {
                let is_square = layer.kernel[0] == layer.kernel[1];
                let is_hidden_linear = layer.holds.is_linear && i < last;
                layer.groups == 1
                    && is_square
                    && layer.act != Act::Relu6
                    && !(kind == Kind::Planes && is_hidden_linear)
            }
            Op::MaxPool(window) => window.kernel[0] == window.kernel[1],
            Op::MeanPool { .. } | Op::Subsample { .. } => true,
            _ => false,
        })
}
