//! Packed networks beside data sets: calibration, evaluation, and what each layer weighs.

use crate::data::{Dataset, Loader, LoaderConfig};
use crate::run::eval::{Answers, answers};
use crate::run::network::{check_images, class_difference};
use anyhow::{Context, Result, bail};
use s3_layers::int8::{Calibration, Observed, quantize};
use s3_layers::model::{
    self, Activations, Frozen, Layer, Model, Network, Node, Op, Size, Then, Weight,
};
use std::path::Path;
use std::sync::Arc;

/// Images of a calibration step; changes no result.
const BATCH: usize = 50;

/// Numbers that a batch may hold: 2 GiB of f32.
const MAX_NUMBERS: usize = 1 << 29;

/// As many images of a step, at most `wanted`, as memory holds of this network; changes no result.
fn batch(model: &Model, wanted: usize) -> usize {
    wanted.min((MAX_NUMBERS / model.numbers_held().max(1)).max(1))
}

/// What the first `images` images of `data` make of every value of `network`, whose activations are
/// f32. Labels are not read.
///
/// # Errors
/// Images of another shape; a value that is not finite.
pub fn observe(network: &Network, data: &Arc<Dataset>, images: usize) -> Result<Observed> {
    check(network, data)?;
    if images == 0 {
        bail!("calibration images: expected a number > 0, got 0")
    }
    let model = Model::new(network.clone())?;
    let mut observed = Observed::new(network);
    let mut left = images.min(data.len());
    for batch in Loader::new(
        data,
        &LoaderConfig::eval(batch(&model, BATCH).min(left)),
        0,
        0,
    )? {
        let batch = batch?;
        let n = batch.len().min(left);
        if n == 0 {
            continue;
        }
        observed.run(&model, &batch.images[..n * data.image_len()], n)?;
        left -= n;
        if left == 0 {
            break;
        }
    }
    Ok(observed)
}

/// `network` with `activations`, calibrated on the first `images` images of `data` where they are
/// 8-bit.
///
/// # Errors
/// As [`observe`], and those of [`quantize`].
pub fn with_activations(
    network: Network,
    activations: Activations,
    calibration: Calibration,
    data: &Arc<Dataset>,
    images: usize,
) -> Result<Network> {
    if activations == Activations::F32 {
        return Ok(network);
    }
    let observed = observe(&network, data, images)?;
    Ok(quantize(&network, &observed, activations, calibration)?)
}

/// Reads a packed network.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn load(path: &Path) -> Result<Model> {
    match Model::load(path) {
        Err(e @ model::Error::Io { .. }) => Err(e.into()), // names the file itself
        loaded => loaded.with_context(|| path.display().to_string()),
    }
}

/// What `model` answers on every image of `data`, normalised as the model says.
///
/// # Errors
/// Images of another shape, or labels of other classes.
pub fn evaluate(model: &Model, data: &Arc<Dataset>, batch_size: usize) -> Result<Answers> {
    evaluate_traced(model, data, batch_size, |_, _| Ok(()))
}

/// The same; `see` is given the images of each batch, `[n, h, w, c]` and normalised, and their
/// scores, `[n, classes]`.
///
/// # Errors
/// As [`evaluate`], and those of `see`.
pub fn evaluate_traced(
    model: &Model,
    data: &Arc<Dataset>,
    batch_size: usize,
    mut see: impl FnMut(&[f32], &[f32]) -> Result<()>,
) -> Result<Answers> {
    let network = model.network();
    check(network, data)?;
    if let Some(difference) = class_difference(&network.classes, &data.class_names) {
        bail!("{}: {difference}", data.name)
    }
    let mut data = Arc::clone(data);
    if (&data.mean, &data.std) != (&network.input.mean, &network.input.std) {
        let own = Arc::make_mut(&mut data);
        own.mean.clone_from(&network.input.mean);
        own.std.clone_from(&network.input.std);
    }
    answers(&data, batch(model, batch_size), |images, n| {
        let scores = model.run(&images, n)?;
        see(&images, &scores)?;
        Ok(scores)
    })
}

/// Whether `network` takes the images of `data`.
///
/// # Errors
/// Images of another shape, or bytes where it takes floats.
pub fn check(network: &Network, data: &Dataset) -> Result<()> {
    let Size {
        height,
        width,
        channels,
    } = network.graph.image;
    let shape = [height, width, channels];
    check_images(&network.name, shape, network.input.numbers, data)
}

/// What the weights of a layer are and weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSize {
    /// The layer's name.
    pub name: String,
    /// What its weights may be.
    pub levels: String,
    /// The number of weights.
    pub weights: usize,
    /// Bytes of the weights in the file.
    pub bytes: usize,
    /// Bytes of the factors and biases of its channels.
    pub channel_bytes: usize,
    /// Output channels.
    pub channels: usize,
    /// Whether it is one plane of several whose sum is a layer: the last of them stands for the
    /// layer's weights, the others add bytes alone.
    pub is_plane: bool,
}

impl LayerSize {
    /// Bytes of the layer as f32: its weights, and a scale and a bias a channel; 0 of a plane.
    #[must_use]
    pub fn f32_bytes(&self) -> usize {
        if self.is_plane {
            0
        } else {
            4 * self.weights + 8 * self.channels
        }
    }
}

/// The size of every layer that has weights, front to end.
#[must_use]
pub fn sizes(network: &Network) -> Vec<LayerSize> {
    let nodes = &network.graph.nodes;
    let layers = nodes
        .iter()
        .enumerate()
        .filter_map(|(i, node)| match &node.op {
            Op::Layer(layer) => Some((i, node, layer)),
            _ => None,
        });
    // A plane is added to the convolution behind it, which reads the same input.
    let is_plane = |i: usize| {
        nodes.get(i + 1).is_some_and(|next| {
            let added = matches!(&next.op, Op::Layer(l) if l.add == Some(i + 1));
            added && next.inputs == nodes[i].inputs
        })
    };
    let size = |(i, node, layer): (usize, &Node<Frozen>, &Layer<Frozen>)| {
        let weights = match &layer.holds.weight {
            Weight::Packed(w) => w.rows() * w.cols(),
            Weight::Dense(w) => w.rows() * w.cols(),
            Weight::F32(w) => w.len(),
        };
        let (levels, bytes) = match &layer.holds.weight {
            Weight::Packed(w) => {
                let most = 1 << w.bit_width().t();
                let levels = match most {
                    1 => "0, ±1".to_string(),
                    4 => "0, ±1, ±2, ±4".to_string(),
                    most => format!("0, ±1, ±2 .. ±{most}"),
                };
                (levels, w.packed_len())
            }
            Weight::Dense(_) => ("-64 .. 64".to_string(), weights),
            Weight::F32(_) => ("f32".to_string(), 4 * weights),
        };
        let channel_bytes = match &layer.holds.then {
            Then::Scale { scale, bias } => 4 * (scale.len() + bias.len()),
            Then::Requant(r) => 4 * (r.bias.len() + r.factor.len()) + r.shift.len(),
        };
        LayerSize {
            name: node.name.clone(),
            levels,
            weights,
            bytes,
            channel_bytes,
            channels: layer.channels,
            is_plane: is_plane(i),
        }
    };
    layers.map(size).collect()
}

/// Bytes of the whole network in full precision.
#[must_use]
pub fn f32_bytes(network: &Network) -> usize {
    sizes(network).iter().map(LayerSize::f32_bytes).sum()
}

/// The `k` classes of the largest of `scores`, with their share under a softmax; of equal scores
/// the first class comes first.
///
/// ```
/// let best = s3_train::packed::most_likely(&[0.0, 2.0f32.ln(), 0.0], 2);
/// assert_eq!((best[0].0, best[1].0), (1, 0));
/// assert!((best[0].1 - 0.5).abs() < 1e-6);
/// ```
#[must_use]
pub fn most_likely(scores: &[f32], k: usize) -> Vec<(usize, f64)> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = scores.iter().map(|&s| f64::from(s - most).exp());
    let mut classes: Vec<(usize, f64)> = powers.enumerate().collect();
    let sum: f64 = classes.iter().map(|(_, p)| p).sum();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable
    classes.truncate(k);
    classes.iter_mut().for_each(|(_, p)| *p /= sum);
    classes
}
