//! What a layer of a described network will hold.

use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::model::{self, Act, Graph, Layer, Node, Op, Size};

/// Where a layer stands in its network; configurations choose by role which layers stay in full
/// precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The convolution that sees the image.
    First,
    /// A convolution on the main path.
    Hidden,
    /// A convolution of which each channel sees one channel.
    Depthwise,
    /// The 1x1 convolution of a shortcut.
    Shortcut,
    /// The classifier.
    Last,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [
        Role::First,
        Role::Hidden,
        Role::Depthwise,
        Role::Shortcut,
        Role::Last,
    ];
}

/// Whether an image has less than 64 pixels on a side: networks for photographs then halve it less
/// often.
pub(super) fn is_small(image: &Size) -> bool {
    image.height.min(image.width) < 64
}

/// So many channels times a factor, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates; what is too large is refused by the layer that has it"
)]
pub(super) fn scaled(channels: usize, factor: f64) -> usize {
    (channels as f64 * factor) as usize
}

/// Refuses what is no factor of a number of channels.
pub(super) fn factor(key: &str, value: f64) -> Result<(), String> {
    match value > 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(format!("{key}: expected a factor > 0, got {value}")),
    }
}

/// What a layer, or a batch norm on its own, will hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the layer stands.
    pub role: Role,
    /// The path of the batch norm behind it, `layer1.0.bn1`.
    pub norm: Option<String>,
    /// Whether it has a bias.
    pub bias: bool,
    /// Whether its weight has two sides, `[out, in]`, as a linear layer's, and not four.
    pub is_linear: bool,
}

/// Sugar for architectures.
impl Layer<Plan> {
    /// A convolution with a square kernel, padded so that stride 1 keeps the size where the kernel
    /// is odd.
    #[must_use]
    pub fn conv(channels: usize, kernel: usize) -> Self {
        let plan = Plan {
            role: Role::Hidden,
            norm: None,
            bias: false,
            is_linear: false,
        };
        let padding = if kernel % 2 == 1 { kernel / 2 } else { 0 };
        Layer {
            padding,
            ..Layer::new(channels, [kernel; 2], plan)
        }
    }

    /// A depthwise 3x3 convolution of a value of so many channels.
    #[must_use]
    pub fn depthwise(channels: usize) -> Self {
        Layer {
            groups: channels,
            ..Layer::conv(channels, 3).role(Role::Depthwise)
        }
    }

    /// A linear layer with a bias.
    #[must_use]
    pub fn linear(channels: usize) -> Self {
        let mut layer = Layer::conv(channels, 1);
        layer.holds.bias = true;
        layer.holds.is_linear = true;
        layer
    }

    /// With this step between windows.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Layer { stride, ..self }
    }

    /// With a batch norm of this path behind it.
    #[must_use]
    pub fn norm(mut self, path: impl Into<String>) -> Self {
        self.holds.norm = Some(path.into());
        self
    }

    /// With a batch norm of this path behind it in place of a bias; without one, with a bias.
    #[must_use]
    pub fn norm_or_bias(mut self, path: Option<String>) -> Self {
        self.holds.bias = path.is_none();
        self.holds.norm = path;
        self
    }

    /// With this value added.
    #[must_use]
    pub fn adding(self, value: usize) -> Self {
        let add = Some(value);
        Layer { add, ..self }
    }

    /// With a ReLU.
    #[must_use]
    pub fn relu(self) -> Self {
        let act = Act::Relu;
        Layer { act, ..self }
    }

    /// With a ReLU that ends at 6.
    #[must_use]
    pub fn relu6(self) -> Self {
        let act = Act::Relu6;
        Layer { act, ..self }
    }

    /// In this place.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.holds.role = role;
        self
    }

    /// Weights, where the layer reads a value of size `from`.
    fn weights(&self, from: &Size) -> u128 {
        let sides = self.weight_shape(from).into_iter();
        sides.fold(1, |product: u128, side| {
            product.saturating_mul(side as u128)
        })
    }

    /// The weight's shape, where the layer reads a value of size `from`:
    /// `[out, in / groups, height, width]` or `[out, in]`.
    #[must_use]
    pub fn weight_shape(&self, from: &Size) -> Vec<usize> {
        let [height, width] = self.kernel;
        let inputs = from.channels / self.groups.max(1);
        match self.holds.is_linear {
            true => vec![self.channels, inputs],
            false => vec![self.channels, inputs, height, width],
        }
    }
}

impl Graph<Plan> {
    /// Adds a layer that reads `input`, and gives the value that it makes.
    pub fn layer(&mut self, name: impl Into<String>, input: usize, layer: Layer<Plan>) -> usize {
        self.push(name, &[input], Op::Layer(layer))
    }

    /// Adds the depthwise separable convolution of MobileNet and DS-CNN: 3x3 on each of the
    /// `channels[0]` that `input` has, then 1x1 to `channels[1]`, a batch norm and a ReLU behind
    /// both. Gives the value that it makes.
    pub(super) fn separable(
        &mut self,
        at: &str,
        input: usize,
        [channels, made]: [usize; 2],
        stride: usize,
    ) -> usize {
        let depthwise = Layer::depthwise(channels).stride(stride);
        let depthwise = depthwise.norm(format!("{at}.bn1")).relu();
        let x = self.layer(format!("{at}.dw"), input, depthwise);
        let pointwise = Layer::conv(made, 1).norm(format!("{at}.bn2")).relu();
        self.layer(format!("{at}.pw"), x, pointwise)
    }

    /// Adds the mean over all pixels and the classifier behind it.
    pub(super) fn mean_and_classifier(&mut self, name: &str, input: usize, classes: usize) {
        let mean = self.push("avgpool", &[input], Op::MeanPool { shift: 0 });
        self.layer(name, mean, Layer::linear(classes).role(Role::Last));
    }

    /// The graph, if it fits together and ends in one number a class, no value is made in vain, and
    /// every pool sees a number in each of its windows.
    ///
    /// # Errors
    /// Those of [`Graph::sizes`]; one line that names the node whose value nothing reads, the pool
    /// padded by more than half its kernel, as torch has it, or the last node.
    pub fn classifying(self, classes: usize) -> Result<Self, Error> {
        let sizes = self.sizes()?;
        let wanted = Size {
            height: 1,
            width: 1,
            channels: classes,
        };
        let refuse = |node: &str, what: &str| model::Error::node(node, what);
        let last_reads = self.last_reads();
        for (index, node) in self.nodes.iter().enumerate() {
            let is_last = index + 1 == self.nodes.len();
            if !is_last && last_reads[index + 1] == index {
                let what = "no node reads what it makes, and it is not the last";
                return Err(refuse(&node.name, what).into());
            }
            if let Op::MaxPool(window) | Op::AvgPool(window) = &node.op {
                let most = window.kernel[0].min(window.kernel[1]) / 2;
                if window.padding > most {
                    let what = format!(
                        "padding: expected at most half the kernel, {most}, got {}",
                        window.padding
                    );
                    return Err(refuse(&node.name, &what).into());
                }
            }
            if let Op::Layer(layer) = &node.op {
                let pixels = sizes[node.input()].pixels();
                if layer.holds.is_linear && pixels > 1 {
                    let what = format!(
                        "a linear layer reads one pixel, got {pixels}: flatten them or take their \
                         mean first"
                    );
                    return Err(refuse(&node.name, &what).into());
                }
            }
            if is_last && sizes[index + 1] != wanted {
                let got = sizes[index + 1];
                let what = format!(
                    "the last node: expected one pixel of {classes} classes, got {} x {} pixels of \
                     {} channels",
                    got.height, got.width, got.channels
                );
                return Err(refuse(&node.name, &what).into());
            }
        }
        match self.nodes.is_empty() {
            true => Err("nodes: expected at least one, got none".to_owned().into()),
            false => Ok(self),
        }
    }

    /// Weights of all layers, without biases and batch norms.
    ///
    /// # Errors
    /// Those of [`Graph::sizes`].
    pub fn weights(&self) -> Result<u128, Error> {
        let sizes = self.sizes()?;
        let of = |(node, layer): (&Node<Plan>, &Layer<Plan>)| layer.weights(&sizes[node.input()]);
        Ok(self.layers().map(of).fold(0, u128::saturating_add))
    }

    /// Parameters in full precision: weights, biases, and the gains and biases of batch norms.
    ///
    /// # Errors
    /// Those of [`Graph::sizes`].
    pub fn parameters(&self) -> Result<u128, Error> {
        let sizes = self.sizes()?;
        let mut count = self.weights()?;
        for (node, made) in self.nodes.iter().zip(&sizes[1..]) {
            let Some(plan) = node.holds() else { continue };
            let each = u128::from(plan.bias) + 2 * u128::from(plan.norm.is_some());
            count = count.saturating_add(each * made.channels as u128);
        }
        Ok(count)
    }

    /// Products of weight and activation of all layers, for one image.
    ///
    /// # Errors
    /// Those of [`Graph::sizes`].
    pub fn multiplications(&self) -> Result<u128, Error> {
        let sizes = self.sizes()?;
        let of = |(node, made): (&Node<Plan>, &Size)| match &node.op {
            Op::Layer(layer) => {
                let weights = layer.weights(&sizes[node.input()]);
                weights.saturating_mul(made.pixels() as u128)
            }
            _ => 0,
        };
        let nodes = self.nodes.iter().zip(&sizes[1..]);
        Ok(nodes.map(of).fold(0, u128::saturating_add))
    }

    /// Pixels of the smallest value that a batch norm sees: in training one image is so many values
    /// of each channel. The largest number where there is no batch norm.
    ///
    /// # Errors
    /// Those of [`Graph::sizes`].
    pub fn smallest_norm(&self) -> Result<u128, Error> {
        let sizes = self.sizes()?;
        let nodes = self.nodes.iter().zip(&sizes[1..]);
        let has_norm = |node: &Node<Plan>| node.holds().is_some_and(|plan| plan.norm.is_some());
        let seen = nodes.filter(|(node, _)| has_norm(node));
        let pixels = seen.map(|(_, made)| made.pixels() as u128);
        Ok(pixels.min().unwrap_or(u128::MAX))
    }
}
