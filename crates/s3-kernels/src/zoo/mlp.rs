//! Linear layers alone; by default the network that BinaryConnect (Courbariaux et al., 2015) trains
//! on MNIST: three hidden layers of 1024, each with a batch norm and a ReLU.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role};
use crate::model::{Graph, Layer, Op, Size};

/// The settings of an MLP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlp {
    /// Numbers of each hidden layer.
    pub hidden: Vec<usize>,
    /// Whether a batch norm stands behind each hidden layer, in place of its bias. Weights without
    /// a factor, those of S3 and DenseShift, need it.
    pub norm: bool,
}

impl Default for Mlp {
    fn default() -> Self {
        Mlp {
            hidden: vec![1024; 3],
            norm: true,
        }
    }
}

impl Architecture for Mlp {
    const NAMES: &'static [&'static str] = &["mlp"];
    const SUMMARY: &'static str = "linear layers alone";
    const EXAMPLES: &'static [Example] = &[
        Example::new("mlp", r#"{ "hidden": [12, 9] }"#),
        Example::new("mlp", r#"{ "hidden": [12, 9], "norm": false }"#),
    ];

    fn resolved(self, _: &str) -> Result<Self, String> {
        match self.hidden.iter().position(|&numbers| numbers == 0) {
            Some(layer) => Err(format!("hidden: expected numbers > 0, number {layer} is 0")),
            None => Ok(self),
        }
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let Mlp { hidden, norm } = self.clone().resolved(name)?;
        let mut graph = Graph::new(image);
        let mut x = graph.push("flatten", &[0], Op::Flatten);
        for (i, numbers) in hidden.into_iter().enumerate() {
            let role = if i == 0 { Role::First } else { Role::Hidden };
            let layer = Layer::linear(numbers).role(role);
            let layer = layer
                .norm_or_bias(norm.then(|| format!("bn{}", i + 1)))
                .relu();
            x = graph.layer(format!("fc{}", i + 1), x, layer);
        }
        graph.layer("fc", x, Layer::linear(classes).role(Role::Last));
        graph.classifying(classes)
    }
}
