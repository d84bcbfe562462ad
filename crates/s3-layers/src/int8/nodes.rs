//! Node by node from f32 to integers.

use super::histogram::Unit;
use super::requant::{Channel, Factor, in_fractions};
use super::units::Units;
use crate::freeze::lower::{one_tap, one_tap_layer};
use candle_core::{Result, bail};
use s3_kernels::PackedMatrix;
use s3_kernels::model::{
    Act, DenseMatrix, Frozen, Graph, Layer, MAX_LEVEL, Network, Node, Op, Requant, Then, Weight,
};

/// The integer graph so far.
pub(super) struct Quantized<'a> {
    network: &'a Network,
    units: Units<'a>,
    shifts: bool,
    /// The unit of the image as layers read it.
    pub(super) image: Unit,
    pub(super) graph: Graph<Frozen>,
    /// Of every value of the graph but the scores.
    pub(super) units_made: Vec<Unit>,
    /// Every value so far. Value 0 is the image as u8.
    made: Vec<Made>,
    /// Values with a border: `(value, pixels)` and what a pad has made of it.
    padded: Vec<((usize, usize), usize)>,
}

/// A value of the integer graph.
#[derive(Clone, Copy)]
struct Made {
    value: usize,
    unit: Unit,
    /// Whether no layer has made it of the image but such as see one number: what reads it is the
    /// first convolution.
    early: bool,
    /// The largest magnitude of a number.
    largest: i64,
}

impl<'a> Quantized<'a> {
    /// The image, which is one more value as u8 where others than layers read it.
    pub(super) fn new(network: &'a Network, units: Units<'a>, shifts: bool) -> Result<Self> {
        let graph = &network.graph;
        let image = units.image();
        let made = Made {
            value: Graph::<Frozen>::IMAGE,
            unit: image,
            early: true,
            largest: 127,
        };
        let mut quantized = Quantized {
            network,
            shifts,
            image,
            graph: Graph::new(graph.image),
            units_made: vec![image],
            made: vec![made],
            padded: Vec::new(),
            units,
        };
        let is_layer = |node: &Node<Frozen>| matches!(node.op, Op::Layer(_));
        let is_read = graph.nodes.iter().any(|node| {
            let inputs = node.inputs.iter().filter(|_| !is_layer(node)).copied();
            inputs
                .chain(node.reads().skip(node.inputs.len()))
                .any(|value| value == 0)
        });
        if is_read {
            let channels = graph.image.channels;
            let ones = one_tap(vec![1.0; channels], vec![0.0; channels])?;
            let layer = one_tap_layer(ones, channels);
            let y = quantized.units.made(0);
            let layer = quantized.hidden(&layer, made, y)?;
            let value = quantized.push("image.u8", &[0], Op::Layer(layer), Some(y));
            quantized.made[0] = Made {
                value,
                unit: y,
                largest: 255,
                ..made
            };
        }
        Ok(quantized)
    }

    /// Adds a node to the graph; the scores have no unit.
    fn push(&mut self, name: &str, inputs: &[usize], op: Op<Frozen>, unit: Option<Unit>) -> usize {
        self.units_made.extend(unit);
        self.graph.push(name, inputs, op)
    }

    /// Adds node `index` in integers.
    pub(super) fn node(&mut self, node: &Node<Frozen>, index: usize) -> Result<()> {
        let x = self.made[node.input()].unit;
        let last = index + 1 == self.network.graph.nodes.len();
        let inputs = node.inputs.iter().map(|&value| self.made[value].value);
        let inputs: Vec<usize> = inputs.collect();
        let (op, unit) = match &node.op {
            Op::Layer(layer) => return self.layer(node, layer, index, last),
            Op::MeanPool { .. } if x.zero_point != 0 || self.units.is_shared(index + 1) => {
                (Op::MeanPool { shift: 0 }, x)
            }
            Op::MeanPool { .. } => {
                // As many more bits as the largest mean leaves room for.
                let most = self.units.high(index + 1).max(f64::MIN_POSITIVE);
                let shift = (255.0 * x.scale / most).log2().floor();
                let shift = shift.clamp(0.0, MOST_MEAN_SHIFT) as u8;
                let scale = x.scale * (-f64::from(shift)).exp2();
                (Op::MeanPool { shift }, Unit { scale, ..x })
            }
            op @ (Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::Subsample { .. }
            | Op::Pad { .. }
            | Op::Flatten
            | Op::Concat) => (op.clone(), x),
            other => bail!("{}: has no integer form", other.word()),
        };
        let early = node.inputs.iter().all(|&value| self.made[value].early);
        let value = self.push(&node.name, &inputs, op, Some(unit));
        self.made.push(Made {
            value,
            unit,
            early,
            largest: 255,
        });
        Ok(())
    }

    fn layer(
        &mut self,
        node: &Node<Frozen>,
        layer: &Layer<Frozen>,
        index: usize,
        last: bool,
    ) -> Result<()> {
        let mut x = self.made[node.input()];
        if node.input() == Graph::<Frozen>::IMAGE {
            x = Made {
                value: Graph::<Frozen>::IMAGE,
                unit: self.image,
                largest: 127,
                ..x
            };
        }
        let mut layer = layer.clone();
        if layer.padding > 0 && x.unit.zero_point != 0 {
            // A layer's own padding is the number 0, which is not the value's.
            x.value = self.bordered(&node.name, x.value, layer.padding);
            layer.padding = 0;
        }
        let (layer, y) = if last {
            (scores(&layer, x.unit)?, x.unit)
        } else {
            let y = self.units.made(index + 1);
            (self.hidden(&layer, x, y)?, y)
        };
        let columns = match &layer.holds.weight {
            Weight::Packed(w) => w.cols(),
            Weight::Dense(w) => w.cols(),
            Weight::F32(w) => w.len() / layer.channels,
        };
        let mut added = node.reads().map(|value| self.made[value].early);
        let early = columns == 1 && added.all(|early| early);
        let unit = (!last).then_some(y);
        let value = self.push(&node.name, &[x.value], Op::Layer(layer), unit);
        self.made.push(Made {
            value,
            unit: y,
            early,
            largest: 255,
        });
        Ok(())
    }

    /// A value with a border of `padding` pixels, for all that read it.
    fn bordered(&mut self, name: &str, value: usize, padding: usize) -> usize {
        let key = (value, padding);
        if let Some(&(_, padded)) = self.padded.iter().find(|(held, _)| *held == key) {
            return padded;
        }
        let sides = [padding; 4];
        let (name, unit) = (format!("{name}.pad"), self.units_made[value]);
        let padded = self.push(&name, &[value], Op::Pad { sides }, Some(unit));
        self.padded.push((key, padded));
        padded
    }

    /// A layer that reads `x` and makes numbers of unit `y`.
    fn hidden(&self, layer: &Layer<Frozen>, x: Made, y: Unit) -> Result<Layer<Frozen>> {
        let (scale, bias) = scale_and_bias(&layer.holds)?;
        let (weight, factors) = integers(&layer.holds.weight, layer.channels)?;
        let (x, early, largest) = (x.unit, x.early, x.largest);
        if self.shifts && !early && matches!(weight, Weight::Dense(_)) {
            bail!(
                "its weights are in full precision: with u8-shift only the first and the last \
                 layer's may be"
            )
        }
        let factor = if self.shifts {
            Factor::few_digits
        } else {
            Factor::nearest
        };
        let mut levels = levels(&weight);
        let columns = levels.len() / layer.channels.max(1);
        let channels: Vec<Channel> = (0..layer.channels)
            .map(|n| {
                let row = &mut levels[n * columns..(n + 1) * columns];
                let bound: i64 = row.iter().map(|l| i64::from(l.unsigned_abs())).sum();
                let gain = x.scale * factors[n] * f64::from(scale[n]) / y.scale;
                let mut channel =
                    Channel::new(gain, f64::from(bias[n]) / y.scale, bound * largest, factor);
                if channel.constant {
                    row.fill(0);
                }
                // What the zero point adds to every sum. With it no sum leaves i32: the bias has
                // left room for 255 times the weights, and the numbers less it are no larger.
                channel.bias -= (i64::from(x.zero_point) * sum(row)) as i32;
                channel
            })
            .collect();
        let r = layer.add.map(|r| self.made[r].unit);
        let residual_factor = r.map_or(0, |r| in_fractions(r.scale / y.scale));
        let residual_zero = r.map_or(0, |r| i64::from(r.zero_point));
        let offset = i64::from(in_fractions(y.zero_point.into()))
            - i64::from(residual_factor) * residual_zero;
        let high = match layer.act {
            Act::Relu6 => f64::from(y.zero_point) + (6.0 / y.scale).round(),
            Act::None | Act::Relu => 255.0,
        };
        let then = Then::Requant(Requant {
            bias: channels.iter().map(|c| c.bias).collect(),
            factor: channels.iter().map(|c| c.factor.factor).collect(),
            shift: channels.iter().map(|c| c.factor.shift).collect(),
            residual_factor,
            offset: offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            zero_point: y.zero_point,
            high: high.min(255.0) as u8,
        });
        let weight = if channels.iter().any(|c| c.constant) {
            with_levels(&weight, levels, layer.channels, columns)?
        } else {
            weight
        };
        Ok(Layer {
            holds: Frozen { weight, then },
            add: layer.add.map(|value| self.made[value].value),
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
    let scale: Vec<f32> = scale.iter().zip(&factors).map(real).collect();
    let levels = levels(&weight);
    let mut bias = bias.to_vec();
    if x.zero_point != 0 {
        let rows = levels.chunks_exact((levels.len() / layer.channels).max(1));
        for ((bias, scale), row) in bias.iter_mut().zip(&scale).zip(rows) {
            let zero = i64::from(x.zero_point) * sum(row);
            *bias = (f64::from(*bias) - f64::from(*scale) * zero as f64) as f32;
        }
    }
    let then = Then::Scale { scale, bias };
    Ok(Layer {
        holds: Frozen { weight, then },
        ..layer.clone()
    })
}

fn sum(row: &[i8]) -> i64 {
    row.iter().map(|&level| i64::from(level)).sum()
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
