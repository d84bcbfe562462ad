//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018. Names and
//! numbers of channels are torchvision's (`features.3.conv.1.0`, `classifier.1`).
//!
//! Images of less than 64 pixels on a side keep their size in the first convolution and in the
//! first block that would halve it, as in the networks for CIFAR-10 that are derived from the
//! paper's: 32x32 ends at 4x4.

use std::format;
use std::string::String;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role, factor, is_small, scaled};
use crate::model::{Graph, Layer, Size};

/// The settings of a MobileNetV2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MobileNetV2 {
    /// The factor of every number of channels, which is then rounded to a multiple of 8; the last
    /// convolution's 1280 are not made fewer.
    pub width: f64,
}

impl Default for MobileNetV2 {
    fn default() -> Self {
        MobileNetV2 { width: 1.0 }
    }
}

/// Expansion, channels, blocks, stride of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// torchvision's rounding: the nearest multiple of 8, or the next where that is less than nine
/// tenths.
fn multiple_of_8(channels: usize, width: f64) -> usize {
    let wanted = channels as f64 * width;
    let nearest = (scaled(channels, width).saturating_add(4) / 8 * 8).max(8);
    match (nearest as f64) < 0.9 * wanted {
        true => nearest.saturating_add(8),
        false => nearest,
    }
}

impl Architecture for MobileNetV2 {
    const NAMES: &'static [&'static str] = &["mobilenet_v2"];
    const SUMMARY: &'static str =
        "inverted residuals with linear bottlenecks, Sandler et al., 2018";
    const EXAMPLES: &'static [Example] = &[Example {
        side: 16,
        ..Example::new("mobilenet_v2", r#"{ "width": 0.125 }"#)
    }];

    fn resolved(self, _: &str) -> Result<Self, String> {
        factor("width", self.width)?;
        Ok(self)
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let settings = self.clone().resolved(name)?;
        let width = |channels| multiple_of_8(channels, settings.width);
        // A layer with torch's path of a convolution, a batch norm and a ReLU6 in sequence.
        let layer = |at: &str, layer: Layer<Plan>| layer.norm(format!("{at}.1")).relu6();
        let mut graph = Graph::new(image);
        let mut keeps = if is_small(&image) { 2 } else { 0 };
        let mut stride = |stride: usize| match stride {
            2 if keeps > 0 => {
                keeps -= 1;
                1
            }
            _ => stride,
        };
        let mut channels = width(32);
        let stem = Layer::conv(channels, 3).stride(stride(2)).role(Role::First);
        let mut x = graph.layer("features.0.0", 0, layer("features.0", stem));
        let mut number = 1;
        for (expansion, made, blocks, first) in STAGES {
            let made = width(made);
            for block in 0..blocks {
                let at = format!("features.{number}.conv");
                let stride = stride(if block == 0 { first } else { 1 });
                let inner = channels.saturating_mul(expansion);
                let mut part = 0;
                let mut y = x;
                if expansion > 1 {
                    let at = format!("{at}.{part}");
                    y = graph.layer(format!("{at}.0"), y, layer(&at, Layer::conv(inner, 1)));
                    part += 1;
                }
                let path = format!("{at}.{part}");
                let depthwise = Layer::depthwise(inner).stride(stride);
                y = graph.layer(format!("{path}.0"), y, layer(&path, depthwise));
                // The linear bottleneck: no activation.
                let bottleneck = Layer::conv(made, 1).norm(format!("{at}.{}", part + 2));
                let bottleneck = match stride == 1 && made == channels {
                    true => bottleneck.adding(x),
                    false => bottleneck,
                };
                x = graph.layer(format!("{at}.{}", part + 1), y, bottleneck);
                channels = made;
                number += 1;
            }
        }
        let last = Layer::conv(multiple_of_8(1280, settings.width.max(1.0)), 1);
        let at = format!("features.{number}");
        x = graph.layer(format!("{at}.0"), x, layer(&at, last));
        graph.mean_and_classifier("classifier.1", x, classes);
        graph.classifying(classes)
    }
}
