//! What a network computes, whatever its layers hold: a list of nodes, each of which makes one
//! value.
//!
//! The same list is a plan of a network, a network in training and a packed one; they differ in
//! what a layer [holds](Layer::holds). What follows from the list alone is written here, once: the
//! size of every value, with every check of the wiring, and how long a value is needed.
//!
//! ```
//! use s3_kernels::model::{Act, Graph, Layer, Op, Size};
//!
//! let mut graph = Graph::new(Size { height: 8, width: 6, channels: 3 });
//! let conv = Layer { stride: 2, padding: 1, act: Act::Relu, ..Layer::new(16, [3, 3], ()) };
//! let x = graph.push("conv1", &[Graph::<()>::IMAGE], Op::Layer(conv));
//! let x = graph.push("pool", &[x], Op::MeanPool { shift: 0 });
//! graph.push("fc", &[x], Op::Layer(Layer::new(10, [1, 1], ())));
//!
//! let sizes = graph.sizes()?;
//! assert_eq!(sizes[1], Size { height: 4, width: 3, channels: 16 });
//! assert_eq!(sizes[3], Size { height: 1, width: 1, channels: 10 });
//! // The image is read by node 0 alone, its result by node 1.
//! assert_eq!(graph.last_reads()[..2], [0, 1]);
//! # Ok::<(), s3_kernels::model::Error>(())
//! ```

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

pub use crate::act::Act;

use crate::ConvShape;

/// The sides of one image's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Numbers of each pixel.
    pub channels: usize,
}

/// A network: value 0 is the image, node `i` makes value `i + 1` from values before it, and the
/// value of the last node is the result. Values are `[batch, height, width, channels]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph<L> {
    /// The size of value 0.
    pub image: Size,
    /// The nodes, in the order in which they run.
    pub nodes: Vec<Node<L>>,
}

/// One step of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node<L> {
    /// Its path, torch's: `layer1.0.conv1`.
    pub name: String,
    /// The values that it reads: several for a sum and a concatenation, else one.
    pub inputs: Vec<usize>,
    /// What it does with them.
    pub op: Op<L>,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "a network has some dozens of these, nearly all of them layers"
)]
pub enum Op<L> {
    /// A convolution and what follows it; a linear layer is a 1x1 convolution of one pixel.
    Layer(Layer<L>),
    /// A batch norm that follows no layer, then `act`.
    Norm {
        /// Its gains, biases and statistics.
        holds: L,
        /// What is done to the result.
        act: Act,
    },
    /// The sum of values of one size, then `act`.
    Add {
        /// What is done to the sum.
        act: Act,
    },
    /// The channels of all inputs, one after the other.
    Concat,
    /// The largest value of each window; padding never wins.
    MaxPool(Window),
    /// The mean of each window, zeros of the padding included.
    AvgPool(Window),
    /// The mean over all pixels. f32: the sum, first pixel first, divided by their number. u8:
    /// `min(floor((sum 2^shift + pixels / 2) / pixels), 255)` with `pixels / 2` rounded down.
    MeanPool {
        /// What 8-bit results are larger by; 0 where activations are f32.
        shift: u8,
    },
    /// One pixel of all numbers, channel by channel, as torch's `flatten` gives them.
    Flatten,
    /// Zeros around the image.
    Pad {
        /// Rows above, rows below, columns to the left, columns to the right.
        sides: [usize; 4],
    },
    /// In training each number is 0 with this probability and else divided by what is left.
    Dropout(f32),
    /// Every `stride`-th pixel, with zero channels on both sides so that there are `channels`:
    /// `(channels - c) / 2` of them, rounded down, before.
    Subsample {
        /// Step between pixels.
        stride: usize,
        /// Channels of the result.
        channels: usize,
    },
}

/// A convolution with what follows it in the same pass: a factor and a bias or a batch norm, a sum,
/// an activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer<L> {
    /// Channels of the result.
    pub channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: usize,
    /// Zeros on each side. They are the real number 0, whatever the value's zero point.
    pub padding: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// The value that is added, of the size of the result.
    pub add: Option<usize>,
    /// What is done last.
    pub act: Act,
    /// Its weights, and what follows them.
    pub holds: L,
}

/// The windows of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: usize,
    /// Pixels added on each side.
    pub padding: usize,
}

impl Size {
    /// Numbers of one image. [`Graph::sizes`] has shown that they are at most 2^26.
    #[must_use]
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of one image with `padding` zeros on each side.
    pub(crate) fn bordered(&self, padding: usize) -> usize {
        let side = |side: usize| side.saturating_add(padding.saturating_mul(2));
        side(self.height)
            .saturating_mul(side(self.width))
            .saturating_mul(self.channels)
    }

    /// Pixels of one image.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

impl<L> Layer<L> {
    /// A convolution of one group to `channels`, of stride 1, without padding, sum or activation.
    pub fn new(channels: usize, kernel: [usize; 2], holds: L) -> Self {
        Layer {
            channels,
            kernel,
            stride: 1,
            padding: 0,
            groups: 1,
            add: None,
            act: Act::None,
            holds,
        }
    }

    /// The same layer with other contents.
    fn with<M>(&self, holds: M) -> Layer<M> {
        Layer {
            channels: self.channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
            add: self.add,
            act: self.act,
            holds,
        }
    }

    /// The convolution of `batch` images of `size`.
    #[must_use]
    pub fn shape(&self, batch: usize, size: &Size) -> ConvShape {
        ConvShape {
            batch,
            height: size.height,
            width: size.width,
            in_channels: size.channels,
            out_channels: self.channels,
            kernel_h: self.kernel[0],
            kernel_w: self.kernel[1],
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
            ..ConvShape::default()
        }
    }
}

impl Window {
    /// A square window.
    #[must_use]
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Window {
        Window {
            kernel: [kernel; 2],
            stride,
            padding,
        }
    }

    /// The pixels of the result for an image of `size`, which a window fits in.
    #[must_use]
    pub fn size(&self, size: &Size) -> Size {
        let side = |side: usize, kernel| (side + 2 * self.padding - kernel) / self.stride + 1;
        Size {
            height: side(size.height, self.kernel[0]),
            width: side(size.width, self.kernel[1]),
            ..*size
        }
    }
}

impl<L> Op<L> {
    /// The word for it in messages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Op::Layer(_) => "layer",
            Op::Norm { .. } => "norm",
            Op::Add { .. } => "add",
            Op::Concat => "concat",
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool(_) => "avg_pool",
            Op::MeanPool { .. } => "mean_pool",
            Op::Flatten => "flatten",
            Op::Pad { .. } => "pad",
            Op::Dropout(_) => "dropout",
            Op::Subsample { .. } => "subsample",
        }
    }

    /// The same with what `make` gives for what a layer or a norm holds.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn map<M, E>(&self, make: impl FnOnce(&L) -> Result<M, E>) -> Result<Op<M>, E> {
        Ok(match self {
            Op::Layer(layer) => Op::Layer(layer.with(make(&layer.holds)?)),
            Op::Norm { holds, act } => Op::Norm {
                holds: make(holds)?,
                act: *act,
            },
            Op::Add { act } => Op::Add { act: *act },
            Op::Concat => Op::Concat,
            Op::MaxPool(window) => Op::MaxPool(*window),
            Op::AvgPool(window) => Op::AvgPool(*window),
            Op::MeanPool { shift } => Op::MeanPool { shift: *shift },
            Op::Flatten => Op::Flatten,
            Op::Pad { sides } => Op::Pad { sides: *sides },
            Op::Dropout(share) => Op::Dropout(*share),
            &Op::Subsample { stride, channels } => Op::Subsample { stride, channels },
        })
    }
}

impl<L> Node<L> {
    /// Every value that it reads, what its layer adds included.
    pub fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        let added = match &self.op {
            Op::Layer(layer) => layer.add,
            _ => None,
        };
        self.inputs.iter().copied().chain(added)
    }

    /// What its layer or norm holds.
    pub fn holds(&self) -> Option<&L> {
        match &self.op {
            Op::Layer(layer) => Some(&layer.holds),
            Op::Norm { holds, .. } => Some(holds),
            _ => None,
        }
    }

    /// The same, to change.
    pub fn holds_mut(&mut self) -> Option<&mut L> {
        match &mut self.op {
            Op::Layer(layer) => Some(&mut layer.holds),
            Op::Norm { holds, .. } => Some(holds),
            _ => None,
        }
    }

    /// The value that it reads first: the only one but for sums and concatenations. A graph that
    /// [`Graph::sizes`] accepts has one.
    #[must_use]
    pub fn input(&self) -> usize {
        self.inputs.first().copied().unwrap_or_default()
    }
}

impl<L> Graph<L> {
    /// The image's value.
    pub const IMAGE: usize = 0;

    /// A graph of no nodes.
    #[must_use]
    pub fn new(image: Size) -> Self {
        let nodes = Vec::new();
        Graph { image, nodes }
    }

    /// Adds a node, and gives the value that it makes.
    pub fn push(&mut self, name: impl Into<String>, inputs: &[usize], op: Op<L>) -> usize {
        self.nodes.push(Node {
            name: name.into(),
            inputs: inputs.to_vec(),
            op,
        });
        self.nodes.len()
    }

    /// Every layer with its node, front to end.
    pub fn layers(&self) -> impl Iterator<Item = (&Node<L>, &Layer<L>)> {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Layer(layer) => Some((node, layer)),
            _ => None,
        })
    }

    /// For every value the node that reads it last; for one that no node reads, the node that makes
    /// it.
    #[must_use]
    pub fn last_reads(&self) -> Vec<usize> {
        let made = (0..=self.nodes.len()).map(|value| value.saturating_sub(1));
        let mut last: Vec<usize> = made.collect();
        for (index, node) in self.nodes.iter().enumerate() {
            node.reads().for_each(|value| last[value] = index);
        }
        last
    }

    /// The same network with other contents: `make` gives what stands for those of node `index`, a
    /// layer or a norm. Those of a layer may be several planes, the last of which keeps the layer's
    /// name. Each of the others is a layer `name.plane0` and so on before it, and is added to the
    /// next; the activation is the last one's. A norm has one plane.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn map<M, E>(
        &self,
        mut make: impl FnMut(usize, &L) -> Result<(Vec<M>, M), E>,
    ) -> Result<Graph<M>, E> {
        let mut graph = Graph::new(self.image);
        // The value that now takes the place of each.
        let mut values = vec![0];
        for (index, node) in self.nodes.iter().enumerate() {
            let mut planes = Vec::new();
            let mut op = node.op.map(|holds| {
                let (before, last) = make(index, holds)?;
                planes = before;
                Ok(last)
            })?;
            let inputs: Vec<usize> = node.inputs.iter().map(|&value| values[value]).collect();
            if let Op::Layer(layer) = &mut op {
                let mut sum = layer.add.map(|value| values[value]);
                for (number, plane) in planes.into_iter().enumerate() {
                    let plane = Layer {
                        add: sum,
                        act: Act::None,
                        ..layer.with(plane)
                    };
                    let name = format!("{}.plane{number}", node.name);
                    sum = Some(graph.push(name, &inputs, Op::Layer(plane)));
                }
                layer.add = sum;
            }
            values.push(graph.push(node.name.clone(), &inputs, op));
        }
        Ok(graph)
    }
}
