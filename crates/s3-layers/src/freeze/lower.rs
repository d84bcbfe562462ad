//! From what trains to what packed networks have: fewer kinds of nodes, of which each does more.
//!
//! | node | becomes |
//! | --- | --- |
//! | `norm`, `add` | depthwise layers of one tap of weight 1: a factor and a bias a channel, a value added |
//! | `flatten` that linear layers read | nothing: they become convolutions whose kernel is the image |
//! | `dropout` | nothing |

use candle_core::{Error, Result};
use s3_kernels::model::{Act, DenseMatrix, Frozen, Graph, Layer, Node, Op, Size, Then, Weight};
use s3_kernels::{BitWidth, PackedMatrix};

/// A weight of 1 for each of `channels`, one tap: with `scale` and `bias` a map of each channel.
pub(crate) fn one_tap(scale: Vec<f32>, bias: Vec<f32>) -> Result<Frozen> {
    let channels = scale.len();
    let ones = PackedMatrix::from_levels(&vec![1; channels], channels, 1, BitWidth::B2);
    Ok(Frozen {
        weight: Weight::Packed(ones.map_err(Error::wrap)?),
        then: Then::Scale { scale, bias },
    })
}

/// The layer of [`one_tap`].
pub(crate) fn one_tap_layer(holds: Frozen, channels: usize) -> Layer<Frozen> {
    Layer {
        groups: channels,
        ..Layer::new(channels, [1, 1], holds)
    }
}

/// The same network of the nodes that packed networks have.
///
/// # Errors
/// Those of [`Graph::sizes`].
pub(super) fn lowered(graph: &Graph<Frozen>) -> Result<Graph<Frozen>> {
    let sizes = graph.sizes().map_err(Error::wrap)?;
    let sources = sources(graph);
    let flat = flattened(graph, &sources);
    let mut made = Graph::new(graph.image);
    // The value that now takes the place of each.
    let mut values = vec![Graph::<Frozen>::IMAGE];
    for (index, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<usize> = node.inputs.iter().map(|&value| values[value]).collect();
        let channels = sizes[index + 1].channels;
        let value = match &node.op {
            Op::Dropout(_) => inputs[0],
            Op::Flatten if flat[index + 1] => inputs[0],
            Op::Norm { holds, act } => {
                let layer = Layer {
                    act: *act,
                    ..one_tap_layer(holds.clone(), channels)
                };
                made.push(node.name.clone(), &inputs, Op::Layer(layer))
            }
            Op::Add { act } => sum(&mut made, node, &inputs, channels, *act)?,
            Op::Layer(layer) => {
                let read = sources[node.input()];
                let mut layer = match flat[read] {
                    true => over_image(layer, sizes[graph.nodes[read - 1].input()])?,
                    false => layer.clone(),
                };
                layer.add = layer.add.map(|value| values[value]);
                made.push(node.name.clone(), &inputs, Op::Layer(layer))
            }
            op => made.push(node.name.clone(), &inputs, op.clone()),
        };
        values.push(value);
    }
    Ok(made)
}

/// The value that each is where a dropout changes nothing.
fn sources(graph: &Graph<Frozen>) -> Vec<usize> {
    let mut sources = vec![Graph::<Frozen>::IMAGE];
    for (index, node) in graph.nodes.iter().enumerate() {
        sources.push(match node.op {
            Op::Dropout(_) => sources[node.input()],
            _ => index + 1,
        });
    }
    sources
}

/// Of every value whether it is the numbers of an image that linear layers alone read.
fn flattened(graph: &Graph<Frozen>, sources: &[usize]) -> Vec<bool> {
    let is_flat = graph
        .nodes
        .iter()
        .map(|node| matches!(node.op, Op::Flatten));
    let mut flat: Vec<bool> = [false].into_iter().chain(is_flat).collect();
    for node in &graph.nodes {
        match &node.op {
            Op::Dropout(_) => {}
            Op::Layer(layer) if is_linear(layer) => {
                let added = layer.add.iter();
                added.for_each(|&value| flat[sources[value]] = false);
            }
            _ => node.reads().for_each(|value| flat[sources[value]] = false),
        }
    }
    // The scores are read as they are.
    flat[sources[graph.nodes.len()]] = false;
    flat
}

fn is_linear(layer: &Layer<Frozen>) -> bool {
    let one_pixel = layer.kernel == [1, 1] && layer.stride == 1 && layer.padding == 0;
    one_pixel && layer.groups == 1
}

/// A linear layer of the numbers of images of `size`, channel by channel, as a convolution of the
/// images.
fn over_image(layer: &Layer<Frozen>, size: Size) -> Result<Layer<Frozen>> {
    let (rows, columns) = (layer.channels, size.len());
    let weight = match &layer.holds.weight {
        Weight::F32(w) => Weight::F32(turned(w, size)),
        Weight::Packed(w) => {
            let levels = turned(&w.to_levels(), size);
            let packed = PackedMatrix::from_levels(&levels, rows, columns, w.bit_width());
            Weight::Packed(packed.map_err(Error::wrap)?)
        }
        Weight::Dense(w) => {
            let dense = DenseMatrix::from_levels(turned(w.levels(), size), rows, columns);
            Weight::Dense(dense.map_err(Error::wrap)?)
        }
    };
    Ok(Layer {
        kernel: [size.height, size.width],
        holds: Frozen {
            weight,
            then: layer.holds.then.clone(),
        },
        ..layer.clone()
    })
}

/// Rows of `(channel, height, width)` as rows of `(height, width, channel)`.
fn turned<T: Copy>(rows: &[T], size: Size) -> Vec<T> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(size.len()) {
        for pixel in 0..size.pixels() {
            all.extend((0..size.channels).map(|c| row[c * size.pixels() + pixel]));
        }
    }
    all
}

/// Adds the sum of `inputs`: the first two, then each of the others.
fn sum(
    graph: &mut Graph<Frozen>,
    node: &Node<Frozen>,
    inputs: &[usize],
    channels: usize,
    act: Act,
) -> Result<usize> {
    let mut sum = inputs[0];
    for (number, &value) in inputs.iter().enumerate().skip(1) {
        let is_last = number + 1 == inputs.len();
        let name = match is_last {
            true => node.name.clone(),
            false => format!("{}.sum{}", node.name, number - 1),
        };
        let layer = Layer {
            add: Some(value),
            act: if is_last { act } else { Act::None },
            ..one_tap_layer(one_tap(vec![1.0; channels], vec![0.0; channels])?, channels)
        };
        sum = graph.push(name, &[sum], Op::Layer(layer));
    }
    Ok(sum)
}
