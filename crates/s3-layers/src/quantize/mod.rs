//! From f32 activations to 8-bit ones: an integer network, calibrated on images.
//!
//! ```text
//! y/s_y = (s_x s_w scale / s_y) Σ x q + bias/s_y + (s_r/s_y) r + z_y - (s_r/s_y) z_r
//! ```
//!
//! The image becomes a symmetric i8. Behind a ReLU a value is a u8 with zero at 0; the projection of a
//! shortcut, which is added and nothing else, has a zero point. Layers in full precision become
//! integers of ±64 with one factor a row; packed weights stay as they are. With
//! [`Activations::U8Shift`] every step is a power of two, so that a residual is shifted, and every
//! channel's factor is a sum of few shifts.

mod histogram;
mod requant;

use crate::quantized::in_layer;
use candle_core::{Result, bail};
use histogram::{Histogram, Stored, Unit};
use requant::{Channel, Factor, in_fractions};
use s3_kernels::PackedMatrix;
use s3_kernels::model::{
    Act, Activations, DenseMatrix, Frozen, Graph, Layer, MAX_LEVEL, Model, Network, Node, Op,
    Requant, Then, Value, Weight,
};

/// How the range of an 8-bit value is chosen from what was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calibration {
    /// All of it.
    MinMax,
    /// All but a ten-thousandth of the values on either side.
    Percentile,
    /// What makes the mean squared error least, of the range and its shares down to a fifth.
    Mse,
}

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

/// The integer network of `network`, whose values `observed` has seen.
///
/// # Errors
/// One line that names the layer: it reads a value that may be negative; a layer between the
/// first and the last is in full precision, where [`Activations::U8Shift`] allows no multiplication.
/// `activations` that are f32, or a network whose own are not.
pub fn quantize(
    network: &Network,
    observed: &Observed,
    activations: Activations,
    calibration: Calibration,
) -> Result<Network> {
    if network.activations != Activations::F32 || activations == Activations::F32 {
        bail!(
            "quantize: from f32 to u8 or u8-shift activations, got {:?} to {activations:?}",
            network.activations
        )
    }
    if observed.values.len() != network.graph.nodes.len() + 1 {
        bail!("quantize: what was observed belongs to another network")
    }
    let mut quantized = Quantized {
        observed: &observed.values,
        calibration,
        shifts: activations == Activations::U8Shift,
        units: Vec::with_capacity(observed.values.len()),
    };
    let input = quantized.unit(0, Stored::Signed);
    quantized.units.push(input);
    let last = network.graph.nodes.len().saturating_sub(1);
    let mut graph = Graph::new(network.graph.image);
    for (i, node) in network.graph.nodes.iter().enumerate() {
        let op = in_layer(&node.name, quantized.node(node, i, i == last))?;
        graph.push(node.name.clone(), &node.inputs, op);
    }
    let mut result = Network {
        activations,
        graph,
        ..network.clone()
    };
    result.input.scale = input.scale as f32;
    Ok(result)
}

/// The units of the values so far.
struct Quantized<'a> {
    observed: &'a [Histogram],
    calibration: Calibration,
    shifts: bool,
    units: Vec<Unit>,
}

impl Quantized<'_> {
    /// The unit of value `value`, rounded as the file holds it.
    fn unit(&self, value: usize, stored: Stored) -> Unit {
        let unit = self.observed[value].unit(stored, self.calibration, self.shifts);
        Unit {
            scale: f64::from(unit.scale as f32),
            ..unit
        }
    }

    /// Node `index` in integers; adds the unit of its value.
    fn node(&mut self, node: &Node<Frozen>, index: usize, last: bool) -> Result<Op<Frozen>> {
        let x = self.units[node.input()];
        if x.zero_point != 0 {
            bail!("it reads a value that may be negative; only a residual may be")
        }
        let (op, unit) = match &node.op {
            Op::Layer(layer) if last => (Op::Layer(scores(layer, x)?), x),
            Op::Layer(layer) => {
                let stored = match layer.act {
                    Act::None => Stored::Shifted,
                    Act::Relu | Act::Relu6 => Stored::Positive,
                };
                let y = self.unit(index + 1, stored);
                (Op::Layer(self.hidden(layer, node.input(), y)?), y)
            }
            Op::MeanPool { .. } => {
                // As many more bits as the largest mean leaves room for.
                let most = self.observed[index + 1].high().max(f64::MIN_POSITIVE);
                let shift = (255.0 * x.scale / most).log2().floor();
                let shift = shift.clamp(0.0, MOST_MEAN_SHIFT) as u8;
                let scale = x.scale * (-f64::from(shift)).exp2();
                (Op::MeanPool { shift }, Unit { scale, ..x })
            }
            op @ (Op::MaxPool(_) | Op::Subsample { .. }) => (op.clone(), x),
            other => bail!("{}: has no integer form", other.word()),
        };
        self.units.push(unit);
        Ok(op)
    }

    fn hidden(&self, layer: &Layer<Frozen>, input: usize, y: Unit) -> Result<Layer<Frozen>> {
        let x = self.units[input];
        let (scale, bias) = scale_and_bias(&layer.holds)?;
        let (weight, factors) = integers(&layer.holds.weight, layer.channels)?;
        if self.shifts && input != 0 && matches!(weight, Weight::Dense(_)) {
            bail!(
                "its weights are in full precision: with u8-shift only the first and the last layer's may be"
            )
        }
        let factor = if self.shifts {
            Factor::few_digits
        } else {
            Factor::nearest
        };
        let largest = if input == 0 { 127 } else { 255 };
        let mut levels = levels(&weight);
        let columns = levels.len() / layer.channels.max(1);
        let channels: Vec<Channel> = (0..layer.channels)
            .map(|n| {
                let row = &mut levels[n * columns..(n + 1) * columns];
                let bound: i64 = row.iter().map(|l| i64::from(l.unsigned_abs())).sum();
                let gain = x.scale * factors[n] * f64::from(scale[n]) / y.scale;
                let channel =
                    Channel::new(gain, f64::from(bias[n]) / y.scale, bound * largest, factor);
                if channel.constant {
                    row.fill(0);
                }
                channel
            })
            .collect();
        let r = layer.add.map(|r| self.units[r]);
        let residual_factor = r.map_or(0, |r| in_fractions(r.scale / y.scale));
        let residual_zero = r.map_or(0, |r| i64::from(r.zero_point));
        let offset = i64::from(in_fractions(y.zero_point.into()))
            - i64::from(residual_factor) * residual_zero;
        let then = Then::Requant(Requant {
            bias: channels.iter().map(|c| c.bias).collect(),
            factor: channels.iter().map(|c| c.factor.factor).collect(),
            shift: channels.iter().map(|c| c.factor.shift).collect(),
            residual_factor,
            offset: offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            zero_point: y.zero_point,
        });
        let weight = if channels.iter().any(|c| c.constant) {
            with_levels(&weight, levels, layer.channels, columns)?
        } else {
            weight
        };
        Ok(Layer {
            holds: Frozen { weight, then },
            ..layer.clone()
        })
    }
}

/// The most that a mean is scaled up by: `2^7` of a u8 leaves room for `2^16` pixels in 31 bits.
const MOST_MEAN_SHIFT: f64 = 7.0;

/// The classifier: integers in, f32 scores out.
fn scores(layer: &Layer<Frozen>, x: Unit) -> Result<Layer<Frozen>> {
    let (scale, bias) = scale_and_bias(&layer.holds)?;
    let (weight, factors) = integers(&layer.holds.weight, layer.channels)?;
    let real = |(s, f): (&f32, &f64)| (x.scale * f * f64::from(*s)) as f32;
    let then = Then::Scale {
        scale: scale.iter().zip(&factors).map(real).collect(),
        bias: bias.to_vec(),
    };
    Ok(Layer {
        holds: Frozen { weight, then },
        ..layer.clone()
    })
}

fn scale_and_bias(holds: &Frozen) -> Result<(&[f32], &[f32])> {
    match &holds.then {
        Then::Scale { scale, bias } => Ok((scale, bias)),
        Then::Requant(_) => bail!("it is quantized already"),
    }
}

/// The layer's weights as integers, and the factor of each row. Packed weights stay; others are
/// rounded to ±64, the largest of each row exactly.
fn integers(weight: &Weight, rows: usize) -> Result<(Weight, Vec<f64>)> {
    let values = match weight {
        Weight::F32(values) => values,
        kept @ (Weight::Packed(_) | Weight::Dense(_)) => {
            return Ok((kept.clone(), vec![1.0; rows]));
        }
    };
    let columns = values.len() / rows.max(1);
    let mut levels = Vec::with_capacity(values.len());
    let mut factors = Vec::with_capacity(rows);
    for row in values.chunks_exact(columns.max(1)) {
        let most = row.iter().fold(0f32, |m, v| m.max(v.abs()));
        let factor = match f64::from(most) / f64::from(MAX_LEVEL) {
            0.0 => 1.0,
            f => f,
        };
        levels.extend(row.iter().map(|&v| (f64::from(v) / factor).round() as i8));
        factors.push(factor);
    }
    let dense = DenseMatrix::from_levels(levels, rows, columns);
    Ok((
        Weight::Dense(dense.map_err(candle_core::Error::wrap)?),
        factors,
    ))
}

fn levels(weight: &Weight) -> Vec<i8> {
    match weight {
        Weight::Packed(w) => w.to_levels(),
        Weight::Dense(w) => w.levels().to_vec(),
        Weight::F32(_) => Vec::new(),
    }
}

/// `levels` in the form of `weight`.
fn with_levels(weight: &Weight, levels: Vec<i8>, rows: usize, cols: usize) -> Result<Weight> {
    let result = match weight {
        Weight::Packed(w) => {
            PackedMatrix::from_levels(&levels, rows, cols, w.bit_width()).map(Weight::Packed)
        }
        _ => DenseMatrix::from_levels(levels, rows, cols).map(Weight::Dense),
    };
    result.map_err(candle_core::Error::wrap)
}
