//! Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017, in the form of MLPerf
//! Tiny: 49 slices of 10 numbers, a 10x4 convolution, and depthwise separable ones.

use std::borrow::ToOwned;
use std::format;
use std::string::String;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Example};
use super::error::Error;
use super::plan::{Plan, Role};
use crate::model::{Graph, Layer, Op, Size};

/// The settings of a DS-CNN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DsCnn {
    /// Channels of every layer.
    pub width: usize,
    /// Depthwise separable convolutions, at most 1,000.
    pub blocks: usize,
}

impl Default for DsCnn {
    fn default() -> Self {
        DsCnn {
            width: 64,
            blocks: 4,
        }
    }
}

/// More than any network has; the nodes of so many are made in no time.
const MOST_BLOCKS: usize = 1000;

/// Height and width of the first kernel.
const KERNEL: [usize; 2] = [10, 4];
/// Its step.
const STRIDE: usize = 2;

/// Zeros before and behind a side of so many pixels, so that the result has half of them, rounded
/// up: TensorFlow's "same".
fn same(side: usize, kernel: usize) -> [usize; 2] {
    let made = side.div_ceil(STRIDE);
    let needed = (made.saturating_sub(1) * STRIDE).saturating_add(kernel);
    let zeros = needed.saturating_sub(side);
    [zeros / 2, zeros - zeros / 2]
}

impl Architecture for DsCnn {
    const NAMES: &'static [&'static str] = &["ds_cnn"];
    const SUMMARY: &'static str = "keyword spotting of MLPerf Tiny, also for other images";
    const EXAMPLES: &'static [Example] = &[Example {
        side: 15,
        ..Example::new("ds_cnn", r#"{ "width": 6, "blocks": 2 }"#)
    }];

    fn resolved(self, _: &str) -> Result<Self, String> {
        if self.blocks > MOST_BLOCKS {
            let blocks = self.blocks;
            return Err(format!(
                "blocks: expected at most {MOST_BLOCKS}, got {blocks}"
            ));
        }
        match self.width {
            0 => Err("width: expected a number > 0, got 0".to_owned()),
            _ => Ok(self),
        }
    }

    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error> {
        let DsCnn { width, blocks } = self.clone().resolved(name)?;
        let mut graph = Graph::new(image);
        let [top, bottom] = same(image.height, KERNEL[0]);
        let [left, right] = same(image.width, KERNEL[1]);
        let sides = [top, bottom, left, right];
        let mut x = graph.push("pad", &[0], Op::Pad { sides });
        let stem = Layer {
            kernel: KERNEL,
            padding: 0,
            ..Layer::conv(width, 1).stride(STRIDE).role(Role::First)
        };
        x = graph.layer("conv1", x, stem.norm("bn1").relu());
        for block in 1..=blocks {
            x = graph.separable(&format!("layer{block}"), x, [width; 2], 1);
        }
        graph.mean_and_classifier("fc", x, classes);
        graph.classifying(classes)
    }
}
