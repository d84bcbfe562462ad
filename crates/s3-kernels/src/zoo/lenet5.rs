//! LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, as it is built
//! today: every channel sees every channel, max pools, ReLU. Its images have 32x32 pixels; smaller
//! ones get a frame of 2.

use std::format;
use std::string::String;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role};
use crate::model::{Graph, Layer, Op, Size, Window};

/// The settings of LeNet-5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeNet5 {
    /// Whether a batch norm stands behind each layer but the last, in place of its bias. The paper
    /// has none; weights without a factor, those of S3 and DenseShift, need it.
    pub norm: bool,
}

impl Default for LeNet5 {
    fn default() -> Self {
        LeNet5 { norm: true }
    }
}

impl Architecture for LeNet5 {
    const NAMES: &'static [&'static str] = &["lenet5"];
    const SUMMARY: &'static str = "two convolutions and three linear layers, LeCun et al., 1998";
    const EXAMPLES: &'static [Example] = &[
        Example {
            side: 16,
            ..Example::new("lenet5", "{}")
        },
        Example {
            side: 16,
            ..Example::new("lenet5", r#"{ "norm": false }"#)
        },
    ];

    fn resolved(self, _: &str) -> Result<Self, String> {
        Ok(self)
    }

    fn graph(&self, _: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let norm = |name: &str| self.norm.then(|| format!("{name}.bn"));
        let mut graph = Graph::new(image);
        let pool = Op::MaxPool(Window::square(2, 2, 0));
        let is_framed = image.height.min(image.width) < 32;
        let conv1 = Layer {
            padding: if is_framed { 2 } else { 0 },
            ..Layer::conv(6, 5).role(Role::First)
        };
        let mut x = graph.layer("conv1", 0, conv1.norm_or_bias(norm("conv1")).relu());
        x = graph.push("pool1", &[x], pool.clone());
        let conv2 = Layer {
            padding: 0,
            ..Layer::conv(16, 5)
        };
        x = graph.layer("conv2", x, conv2.norm_or_bias(norm("conv2")).relu());
        x = graph.push("pool2", &[x], pool);
        x = graph.push("flatten", &[x], Op::Flatten);
        for (name, numbers) in [("fc1", 120), ("fc2", 84)] {
            let layer = Layer::linear(numbers).norm_or_bias(norm(name)).relu();
            x = graph.layer(name, x, layer);
        }
        graph.layer("fc3", x, Layer::linear(classes).role(Role::Last));
        graph.classifying(classes)
    }
}
