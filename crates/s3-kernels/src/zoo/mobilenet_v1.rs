//! Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
//! Applications", 2017: a 3x3 convolution and thirteen depthwise separable ones.
//!
//! Images of less than 64 pixels on a side keep their size in the first convolution, as in the
//! networks for CIFAR-10 that are derived from the paper's (its stride 2 would leave one pixel of
//! 32x32).

use std::format;
use std::string::String;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role, factor, is_small, scaled};
use crate::model::{Graph, Layer, Size};

/// The settings of a MobileNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MobileNetV1 {
    /// The paper's alpha: every number of channels is multiplied by it and rounded down.
    pub width: f64,
}

impl Default for MobileNetV1 {
    fn default() -> Self {
        MobileNetV1 { width: 1.0 }
    }
}

/// Channels, and the stride of the depthwise convolution.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

impl Architecture for MobileNetV1 {
    const NAMES: &'static [&'static str] = &["mobilenet_v1"];
    const SUMMARY: &'static str = "depthwise separable convolutions, Howard et al., 2017";
    const EXAMPLES: &'static [Example] = &[Example {
        side: 32,
        ..Example::new("mobilenet_v1", r#"{ "width": 0.0625 }"#)
    }];

    fn resolved(self, _: &str) -> Result<Self, String> {
        factor("width", self.width)?;
        Ok(self)
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let settings = self.clone().resolved(name)?;
        let width = |channels: usize| scaled(channels, settings.width);
        let mut graph = Graph::new(image);
        let stride = if is_small(&image) { 1 } else { 2 };
        let mut channels = width(32);
        let stem = Layer::conv(channels, 3).stride(stride).role(Role::First);
        let mut x = graph.layer("conv1", 0, stem.norm("bn1").relu());
        for (i, (made, stride)) in BLOCKS.into_iter().enumerate() {
            let made = width(made);
            x = graph.separable(&format!("layer{}", i + 1), x, [channels, made], stride);
            channels = made;
        }
        graph.mean_and_classifier("fc", x, classes);
        graph.classifying(classes)
    }
}
