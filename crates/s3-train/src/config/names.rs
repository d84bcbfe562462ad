//! Which nodes would have the same tensors in a checkpoint?
//!
//! A layer's weight is at `NAME.weight` or, where the method has several latents, below it; a batch
//! norm is at the path that `norm` says, as if it were a node of that name. Everything that goes by
//! these paths, as snapshots, `init_from` and `lr_factors` do, takes what lies at or below a weight
//! for its layer's.

use anyhow::{Result, bail};
use s3_layers::model::{Graph, Node, Op};
use s3_layers::zoo::Plan;
use std::collections::BTreeMap;

/// What a batch norm has at its path.
const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// Whose a tensor is.
#[derive(Clone, Copy)]
struct Owner<'a> {
    node: &'a str,
    /// Whether it is the batch norm's behind the node's layer.
    is_norm: bool,
}

impl Owner<'_> {
    /// What to call by another name.
    fn remedy(&self) -> String {
        match self.is_norm {
            true => format!("give the `norm` of `{}` another name", self.node),
            false => format!("give `{}` another name", self.node),
        }
    }
}

/// Refuses a network two of whose tensors have one path, or one of them a path below the other's,
/// and paths with a `/`, which are a checkpoint's own.
///
/// # Errors
/// One line that names the nodes, and what to call by another name.
pub(super) fn check(graph: &Graph<Plan>) -> Result<()> {
    let mut tensors: BTreeMap<String, Owner<'_>> = BTreeMap::new();
    let all = || graph.nodes.iter().flat_map(tensors_of);
    for (path, owner) in all() {
        if path.contains('/') {
            bail!(
                "`{}`: its tensor {path} has a `/`, which a checkpoint has in its own: {}",
                owner.node,
                owner.remedy()
            )
        }
        if let Some(other) = tensors.insert(path.clone(), owner) {
            let remedy = if other.is_norm && !owner.is_norm {
                other.remedy()
            } else {
                owner.remedy()
            };
            bail!(
                "{} would have the tensor {path} twice: {remedy}",
                both(other.node, owner.node)
            )
        }
    }
    for (path, owner) in all() {
        let dots = path.match_indices('.').map(|(at, _)| &path[..at]);
        let mut above = dots.filter_map(|above| Some((above, tensors.get(above)?)));
        if let Some((above, other)) = above.next_back() {
            bail!(
                "{} would have the tensor {path} below the tensor {above}: {}",
                both(other.node, owner.node),
                owner.remedy()
            )
        }
    }
    Ok(())
}

/// One node, or two.
fn both(a: &str, b: &str) -> String {
    match a == b {
        true => format!("`{a}`"),
        false => format!("`{a}` and `{b}`"),
    }
}

/// The paths of a node's tensors, a layer's weight in the place of its latents.
fn tensors_of(node: &Node<Plan>) -> impl Iterator<Item = (String, Owner<'_>)> {
    let name = node.name.as_str();
    let plan = node.holds();
    let is_layer = matches!(node.op, Op::Layer(_));
    let weight = is_layer.then_some("weight");
    let bias = plan.filter(|plan| is_layer && plan.bias).map(|_| "bias");
    let of_layer = weight.into_iter().chain(bias);
    let of_layer = of_layer.map(move |leaf| (format!("{name}.{leaf}"), false));
    let norm = plan.and_then(|plan| plan.norm.as_deref()).into_iter();
    let of_norm = norm.flat_map(move |norm| NORM.map(|leaf| (format!("{norm}.{leaf}"), is_layer)));
    let all = of_layer.chain(of_norm);
    all.map(move |(path, is_norm)| {
        (
            path,
            Owner {
                node: name,
                is_norm,
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3_layers::model::{Act, Layer, Size};
    use s3_layers::zoo::{self, ARCHITECTURES};

    /// Layers of these names, each with a bias or with the batch norm of this path behind it.
    fn layers(named: &[(&str, Option<&str>)]) -> Graph<Plan> {
        let image = Size {
            height: 4,
            width: 4,
            channels: 1,
        };
        let mut graph = Graph::new(image);
        for (value, (name, norm)) in named.iter().enumerate() {
            let layer = Layer::conv(2, 3).norm_or_bias(norm.map(str::to_owned));
            graph.layer(*name, value, layer);
        }
        graph
    }

    #[test]
    fn tensors_that_would_meet_are_refused_with_their_nodes() {
        let own = |name| (name, None);
        for (named, said) in [
            (
                vec![own("a"), own("a.weight")],
                "`a` and `a.weight` would have the tensor a.weight.weight below the tensor \
                 a.weight: give `a.weight` another name",
            ),
            (
                vec![own("a.weight.w_sign"), own("x"), own("a")],
                "`a` and `a.weight.w_sign` would have the tensor a.weight.w_sign.weight below the \
                 tensor a.weight: give `a.weight.w_sign` another name",
            ),
            (
                vec![own("a"), own("a.bias")],
                "`a` and `a.bias` would have the tensor a.bias.weight below the tensor a.bias: \
                 give `a.bias` another name",
            ),
            (
                vec![own("a"), ("b", Some("a.weight"))],
                "`a` and `b` would have the tensor a.weight.weight below the tensor a.weight: give \
                 the `norm` of `b` another name",
            ),
            (
                vec![("a", Some("bn")), own("bn.running_mean")],
                "`a` and `bn.running_mean` would have the tensor bn.running_mean.weight below the \
                 tensor bn.running_mean: give `bn.running_mean` another name",
            ),
            (
                vec![("c1", Some("bn")), ("c2", Some("bn"))],
                "`c1` and `c2` would have the tensor bn.weight twice: give the `norm` of `c2` \
                 another name",
            ),
            (
                vec![("c1", Some("c1"))],
                "`c1` would have the tensor c1.weight twice: give the `norm` of `c1` another name",
            ),
            (
                vec![("c1", Some("fc")), own("fc")],
                "`c1` and `fc` would have the tensor fc.weight twice: give the `norm` of `c1` \
                 another name",
            ),
            (
                vec![own("b"), own("optimizer/momentum.b")],
                "`optimizer/momentum.b`: its tensor optimizer/momentum.b.weight has a `/`, which a \
                 checkpoint has in its own: give `optimizer/momentum.b` another name",
            ),
            (
                vec![own("b"), ("c", Some("snapshot/b"))],
                "`c`: its tensor snapshot/b.weight has a `/`, which a checkpoint has in its own: \
                 give the `norm` of `c` another name",
            ),
        ] {
            let refused = check(&layers(&named)).expect_err("refused").to_string();
            assert_eq!(refused, said);
        }
        let mut graph = layers(&[("a", Some("bn"))]);
        let mut norm = Layer::conv(1, 1).norm("bn").holds;
        norm.bias = false;
        let act = Act::None;
        graph.push("bn", &[1], Op::Norm { holds: norm, act });
        let refused = check(&graph).expect_err("refused").to_string();
        assert_eq!(
            refused,
            "`a` and `bn` would have the tensor bn.weight twice: give the `norm` of `a` another \
             name"
        );
    }

    #[test]
    fn tensors_that_do_not_meet_are_taken() {
        for named in [
            // A module in another, as torch has them.
            vec![("layer1", None), ("layer1.0", None)],
            vec![("a", None), ("a.w", None), ("a.weights", None)],
            // There is no a.bias.
            vec![("a", Some("bn")), ("a.bias", None)],
            vec![("weight", None), ("bias", Some("weight.bn"))],
        ] {
            check(&layers(&named)).expect("taken");
        }
        for entry in ARCHITECTURES {
            for example in entry.examples {
                let settings = serde_json::from_str(example.settings).expect("settings");
                let image = Size {
                    height: example.side,
                    width: example.side,
                    channels: 1,
                };
                let graph = zoo::graph(example.name, &settings, image, 3).expect(example.name);
                check(&graph).expect(example.name);
            }
        }
    }
}
