//! From f32 activations to 8-bit ones: an integer network, calibrated on images.
//!
//! ```text
//! y/s_y = (s_x s_w scale / s_y) Σ x q + bias/s_y + (s_r/s_y) r + z_y - (s_r/s_y) z_r
//! ```
//!
//! The image becomes a symmetric i8, and one more value of u8 where others than layers read it.
//! Behind a ReLU a value is a u8 with zero at 0, behind nothing it has a zero point `z`, which its
//! readers take out of their biases, exactly: `bias -= z Σ q`. A layer with padding reads it behind
//! a pad, which writes `z`. What is concatenated has one unit. Layers in full precision become
//! integers of ±64 with one factor a row; packed weights stay as they are. With
//! [`Activations::U8Shift`] every step is a power of two, so that a residual is shifted, and every
//! channel's factor is a sum of few shifts.

mod histogram;
mod nodes;
mod requant;
mod units;

use crate::layer::in_layer;
use candle_core::{Result, bail};
pub use histogram::Calibration;
use histogram::Histogram;
pub use histogram::Unit;
use nodes::Quantized;
use s3_kernels::model::{Activations, Graph, Model, Network, Op, Value};
use units::Units;

/// Every value of a network with f32 activations, as images produce it.
#[derive(Clone, Debug)]
pub struct Observed {
    values: Vec<Histogram>,
}

impl Observed {
    /// Nothing seen yet of the values of `network`.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        Self {
            values: vec![Histogram::new(); network.graph.nodes.len() + 1],
        }
    }

    /// Counts elements of value `value`: 0 is the input, node `i` makes value `i + 1`.
    ///
    /// # Errors
    /// An element that is not finite; a value that the network has not.
    pub fn add(&mut self, value: usize, elements: &[f32]) -> Result<()> {
        let Some(histogram) = self.values.get_mut(value) else {
            bail!("calibration: the network has no value {value}")
        };
        if let Some(bad) = elements.iter().find(|v| !v.is_finite()) {
            bail!("calibration: value {value} of the network holds {bad}")
        }
        histogram.add(elements);
        Ok(())
    }

    /// Runs `images`, `[batch, height, width, channels]` and normalised, and counts every value.
    ///
    /// # Errors
    /// Another number of elements than `batch` images have, and those of [`add`](Self::add).
    pub fn run(&mut self, model: &Model, images: &[f32], batch: usize) -> Result<()> {
        self.add(0, images)?;
        let mut added = Ok(());
        let run = model.run_traced(images, batch, &mut |node, value| {
            if let (Value::F32(elements), true) = (value, added.is_ok()) {
                added = self.add(node + 1, elements);
            }
        });
        run.map_err(candle_core::Error::wrap)?;
        added
    }
}

/// Whether a network has an integer form, as far as its nodes say: before it is trained as well as
/// frozen.
///
/// # Errors
/// One line that names the node which makes the scores: it is no layer, or adds a value.
pub fn has_integer_form<L>(graph: &Graph<L>) -> std::result::Result<(), String> {
    let mut last = graph.nodes.last();
    // A dropout is gone from what is frozen.
    while let Some(node) = last.filter(|node| matches!(node.op, Op::Dropout(_))) {
        last = node.input().checked_sub(1).map(|node| &graph.nodes[node]);
    }
    let scores = "the scores of an integer network are";
    let Some(node) = last else {
        return Err(format!(
            "{scores} what a layer makes, here they are the image"
        ));
    };
    let adds = match &node.op {
        Op::Layer(layer) => layer.add.is_some(),
        // They are frozen to layers.
        Op::Norm { .. } => false,
        Op::Add { .. } => true,
        other => {
            let (name, word) = (&node.name, other.word());
            return Err(format!("layer {name}: {word}: {scores} what a layer makes"));
        }
    };
    match adds {
        true => Err(format!(
            "layer {}: {scores} one layer's: nothing is added to them",
            node.name
        )),
        false => Ok(()),
    }
}

/// The integer network of `network`, whose values `observed` has seen.
///
/// # Errors
/// One line that names the layer: a layer between the first and the last is in full precision,
/// where [`Activations::U8Shift`] allows no multiplication; those of [`has_integer_form`].
/// `activations` that are f32, or a network whose own are not.
pub fn quantize(
    network: &Network,
    observed: &Observed,
    activations: Activations,
    calibration: Calibration,
) -> Result<Network> {
    Ok(with_units(network, observed, activations, calibration)?.0)
}

/// The same, and the unit of every value of the result, the image's first, but for the scores,
/// which are f32.
///
/// # Errors
/// Those of [`quantize`].
pub fn with_units(
    network: &Network,
    observed: &Observed,
    activations: Activations,
    calibration: Calibration,
) -> Result<(Network, Vec<Unit>)> {
    if network.activations != Activations::F32 || activations == Activations::F32 {
        bail!(
            "quantize: from f32 to u8 or u8-shift activations, got {:?} to {activations:?}",
            network.activations
        )
    }
    if observed.values.len() != network.graph.nodes.len() + 1 {
        bail!("quantize: what was observed belongs to another network")
    }
    has_integer_form(&network.graph).map_err(candle_core::Error::msg)?;
    let shifts = activations == Activations::U8Shift;
    let units = Units::new(&network.graph, &observed.values, calibration, shifts);
    let mut quantized = Quantized::new(network, units, shifts)?;
    for (index, node) in network.graph.nodes.iter().enumerate() {
        in_layer(&node.name, quantized.node(node, index))?;
    }
    let mut result = Network {
        name: network.name.clone(),
        input: network.input.clone(),
        classes: network.classes.clone(),
        activations,
        graph: quantized.graph,
    };
    result.input.scale = quantized.image.scale as f32;
    let units = quantized.units_made;
    Ok((result, units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Net;
    use candle_core::{DType, Device};
    use s3_core::{Params, s3::S3};
    use s3_kernels::model::{Input, Numbers, Size};
    use s3_kernels::zoo;

    #[test]
    fn what_is_said_of_a_plan_is_what_quantizing_its_network_says() -> Result<()> {
        let conv = r#"{"name": "c", "op": "conv", "channels": 2, "kernel": 3}"#;
        let mean = r#"{"name": "p", "op": "mean_pool"}"#;
        let fc = r#"{"name": "fc", "op": "linear", "channels": 2}"#;
        let made = "the scores of an integer network are what a layer makes";
        let added = "the scores of an integer network are one layer's: nothing is added to them";
        for (nodes, said) in [
            (format!("{conv}, {mean}, {fc}"), None),
            (
                format!("{conv}, {mean}"),
                Some(format!("layer p: mean_pool: {made}")),
            ),
            (
                format!(
                    r#"{conv}, {mean}, {fc}, {{"name": "s", "op": "add", "inputs": ["fc", "p"]}}"#
                ),
                Some(format!("layer fc: {added}")),
            ),
        ] {
            let image = Size {
                height: 4,
                width: 4,
                channels: 1,
            };
            let settings = serde_json::from_str(&format!(r#"{{"nodes": [{nodes}]}}"#));
            let settings = settings.expect("JSON");
            let plan = zoo::graph("nodes", &settings, image, 2).expect("a network");
            let net = Net::new(
                &plan,
                DType::F32,
                &S3::new(2),
                &Params::new(1, &Device::Cpu),
            )?;
            let input = Input {
                mean: vec![0.0],
                std: vec![1.0],
                scale: 1.0,
                numbers: Numbers::Bytes,
                fit: None,
            };
            let frozen = net.freeze("two", input, vec!["cat".into(), "dog".into()])?;
            let model = Model::new(frozen.clone()).map_err(candle_core::Error::wrap)?;
            let mut observed = Observed::new(&frozen);
            observed.run(&model, &[0.5; 16], 1)?;
            let activations = Activations::U8;
            let quantized = quantize(&frozen, &observed, activations, Calibration::MinMax);
            // A backtrace may stand behind it.
            let refused = quantized.err().map(|error| error.to_string());
            let refused = refused.and_then(|error| Some(error.lines().next()?.to_owned()));
            for found in [has_integer_form(&plan).err(), refused] {
                assert_eq!(found, said, "{nodes}");
            }
        }
        Ok(())
    }
}
