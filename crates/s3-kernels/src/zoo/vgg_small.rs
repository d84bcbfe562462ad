//! VGG-Small, the CIFAR-10 network of many papers on low-bit weights (HWGQ, LQ-Net, IR-Net): three
//! stages of two 3x3 convolutions, each stage twice as wide as the one before and with a 2x2 max
//! pool behind it.

use std::borrow::ToOwned;
use std::format;
use std::string::String;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role};
use crate::model::{Graph, Layer, Op, Size, Window};

/// The settings of VGG-Small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VggSmall {
    /// Channels of the first stage, which every later stage doubles.
    pub width: usize,
}

impl Default for VggSmall {
    fn default() -> Self {
        VggSmall { width: 128 }
    }
}

impl Architecture for VggSmall {
    const NAMES: &'static [&'static str] = &["vgg_small"];
    const SUMMARY: &'static str = "six 3x3 convolutions and a linear layer, for images of 32x32";
    const EXAMPLES: &'static [Example] = &[Example {
        side: 16,
        ..Example::new("vgg_small", r#"{ "width": 4 }"#)
    }];

    fn resolved(self, _: &str) -> Result<Self, String> {
        match self.width {
            0 => Err("width: expected a number > 0, got 0".to_owned()),
            _ => Ok(self),
        }
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let settings = self.clone().resolved(name)?;
        let mut graph = Graph::new(image);
        let mut x = 0;
        for (i, factor) in [1, 1, 2, 2, 4, 4].into_iter().enumerate() {
            let role = if i == 0 { Role::First } else { Role::Hidden };
            let conv = Layer::conv(settings.width.saturating_mul(factor), 3).role(role);
            let conv = conv.norm(format!("bn{}", i + 1)).relu();
            x = graph.layer(format!("conv{}", i + 1), x, conv);
            if i % 2 == 1 {
                let pool = Op::MaxPool(Window::square(2, 2, 0));
                x = graph.push(format!("pool{}", i / 2 + 1), &[x], pool);
            }
        }
        x = graph.push("flatten", &[x], Op::Flatten);
        graph.layer("fc", x, Layer::linear(classes).role(Role::Last));
        graph.classifying(classes)
    }
}
