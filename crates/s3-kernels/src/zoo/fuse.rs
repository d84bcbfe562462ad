//! A sum behind a layer becomes the layer's own, which kernels do in the same pass.

use std::vec;

use super::plan::Plan;
use crate::model::{Act, Graph, Node, Op};

impl Graph<Plan> {
    /// The same network where a sum of two values that follows a layer is done by the layer: the
    /// layer then adds the other value, which is made before it, and nothing else reads it.
    pub(super) fn fused(self) -> Self {
        let mut readers = vec![0usize; self.nodes.len() + 1];
        let read = self.nodes.iter().flat_map(Node::reads);
        read.for_each(|value| readers[value] += 1);
        let mut graph = Graph::new(self.image);
        // The value that now takes the place of each.
        let mut values = vec![Self::IMAGE];
        for mut node in self.nodes {
            let [first, second] = match (&node.op, &node.inputs[..]) {
                (Op::Add { .. }, &[a, b]) => [a.max(b), a.min(b)],
                _ => [0; 2],
            };
            let (sum, other) = (values[first], values[second]);
            let before = sum.checked_sub(1).and_then(|at| graph.nodes.get_mut(at));
            if let (&Op::Add { act }, Some(Op::Layer(layer))) =
                (&node.op, before.map(|n: &mut Node<Plan>| &mut n.op))
                && readers[first] == 1
                && first != second
                && layer.add.is_none()
                && layer.act == Act::None
            {
                layer.add = Some(other);
                layer.act = act;
                values.push(sum);
                continue;
            }
            node.inputs
                .iter_mut()
                .for_each(|value| *value = values[*value]);
            if let Op::Layer(layer) = &mut node.op {
                layer.add = layer.add.map(|value| values[value]);
            }
            values.push(graph.push(node.name, &node.inputs, node.op));
        }
        graph
    }
}
