//! An 8-bit network node by node: what each makes, beside what the node of the packed network
//! makes, in f64, of the very numbers that the 8-bit one reads.
//!
//! Errors that are handed on do not count then, and each node has a bound of its own: the rounding
//! of its result, of its factors and of its weights, nothing else.

use super::parts::Outcome;
use s3_layers::int8::Unit;
use s3_layers::model::{
    Act, Activations, Frozen, Layer, MAX_LEVEL, Model, Network, Node, Op, Size, Then, Value,
    Weight, Window,
};
use std::error::Error;

/// `(acc + bias) factor` and a residual are rounded to this share of a step each.
const FRACTION: f64 = 1.0 / 256.0;
/// Of sums of f64 that are f32 elsewhere.
const SUMS: f64 = 1e-6;

/// A value: `[images, height, width, channels]`.
struct Numbers {
    size: Size,
    all: Vec<f64>,
}

impl Numbers {
    /// Number `(image, row, column, channel)`; `None` outside of the image.
    fn at(&self, image: usize, [y, x]: [isize; 2], channel: usize) -> Option<f64> {
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        let Size {
            height,
            width,
            channels,
        } = self.size;
        let pixel = (image * height + y) * width + x;
        (y < height && x < width).then(|| self.all[pixel * channels + channel])
    }
}

/// What a node should make, and how far from it each number may be.
struct Expected {
    value: f64,
    bound: f64,
}

/// Fails where a node of `integers`, whose values have `units`, makes something else than that of
/// `network`.
pub(crate) fn check(
    network: &Network,
    integers: &Network,
    units: &[Unit],
    images: &[f32],
) -> Outcome {
    let zeros: Vec<u8> = units.iter().map(|unit| unit.zero_point).collect();
    let scores = integers.graph.nodes.len();
    if zeros != integers.zero_points()?[..scores] {
        return Err("zero points: the units have others than the network".into());
    }
    let model = Model::new(integers.clone())?;
    let sizes = integers.sizes()?;
    let count = images.len() / sizes[0].len();
    let image = model.quantized(images).into_iter();
    let mut values = vec![Numbers {
        size: sizes[0],
        all: image.map(|q| f64::from(q) * units[0].scale).collect(),
    }];
    model.run_traced(images, count, &mut |node, value| {
        let real = |&q: &u8| {
            let Unit { scale, zero_point } = units[node + 1];
            (f64::from(q) - f64::from(zero_point)) * scale
        };
        let all = match value {
            Value::U8(all) => all.iter().map(real).collect(),
            Value::F32(all) => all.iter().map(|&v| f64::from(v)).collect(),
            _ => Vec::new(),
        };
        let size = sizes[node + 1];
        values.push(Numbers { size, all });
    })?;
    for (index, node) in integers.graph.nodes.iter().enumerate() {
        let is_it = |other: &&Node<Frozen>| other.name == node.name;
        let packed = network.graph.nodes.iter().find(is_it);
        let case = Case {
            integers,
            units,
            values: &values,
            node,
            index,
            weights: levels(&node.op),
            packed: packed.map_or_else(Vec::new, |node| levels(&node.op)),
            holds: packed.and_then(|node| holds(&node.op)),
        };
        let made = &values[index + 1];
        let Size {
            height,
            width,
            channels,
        } = made.size;
        let mut numbers = made.all.iter();
        for image in 0..count {
            for at in 0..height * width {
                for channel in 0..channels {
                    let at = [at / width, at % width];
                    let Expected { value, bound } = case.expected(image, at, channel)?;
                    let &made = numbers.next().ok_or("fewer numbers than the size says")?;
                    let bound = bound + 1e-9 * value.abs();
                    // A NaN is near to nothing.
                    let is_near = (made - value).abs() <= bound;
                    if !is_near {
                        let (form, name) = (integers.activations, &node.name);
                        return Err(format!(
                            "{form:?}: {name}: {made} at {at:?} of channel {channel} of image \
                             {image}, {value} of what it reads, at most {bound} apart"
                        )
                        .into());
                    }
                }
            }
        }
    }
    covered(network, integers, units, images)
}

/// That the 8-bit values reach as far as those of `network` do, which were observed.
fn covered(network: &Network, integers: &Network, units: &[Unit], images: &[f32]) -> Outcome {
    let mut ranges = Vec::new();
    let model = Model::new(network.clone())?;
    let count = images.len() / network.graph.image.len();
    model.run_traced(images, count, &mut |_, value| {
        if let Value::F32(all) = value {
            let low = all.iter().fold(0f32, |low, &v| low.min(v));
            let high = all.iter().fold(0f32, |high, &v| high.max(v));
            ranges.push((f64::from(low), f64::from(high)));
        }
    })?;
    for (node, (low, high)) in network.graph.nodes.iter().zip(ranges) {
        let is_it = |other: &Node<Frozen>| other.name == node.name;
        let index = integers
            .graph
            .nodes
            .iter()
            .position(is_it)
            .ok_or("a node is gone")?;
        let Some(Unit { scale, zero_point }) = units.get(index + 1) else {
            continue;
        };
        let steps = [low / scale, high / scale].map(|v| v + f64::from(*zero_point));
        if steps[0] < -1.0 || steps[1] > 256.0 {
            return Err(format!("{}: {low} to {high} are steps {steps:?}", node.name).into());
        }
    }
    Ok(())
}

/// A node of an 8-bit network.
struct Case<'a> {
    integers: &'a Network,
    units: &'a [Unit],
    values: &'a [Numbers],
    node: &'a Node<Frozen>,
    index: usize,
    /// Of a layer, and of that of the packed network.
    weights: Vec<f64>,
    packed: Vec<f64>,
    /// What the latter holds; `None` where it has no such layer: the image as u8, which is the
    /// image.
    holds: Option<&'a Frozen>,
}

/// What a layer holds.
fn holds(op: &Op<Frozen>) -> Option<&Frozen> {
    match op {
        Op::Layer(layer) => Some(&layer.holds),
        _ => None,
    }
}

/// The weights of a layer; of other nodes none.
fn levels(op: &Op<Frozen>) -> Vec<f64> {
    let of = |levels: &[i8]| levels.iter().map(|&l| l.into()).collect();
    match holds(op).map(|holds| &holds.weight) {
        Some(Weight::Packed(w)) => of(&w.to_levels()),
        Some(Weight::Dense(w)) => of(w.levels()),
        Some(Weight::F32(w)) => w.iter().map(|&v| v.into()).collect(),
        None => Vec::new(),
    }
}

impl Case<'_> {
    fn expected(
        &self,
        image: usize,
        [y, x]: [usize; 2],
        channel: usize,
    ) -> Result<Expected, Box<dyn Error>> {
        let read = &self.values[self.node.input()];
        let Size {
            height,
            width,
            channels,
        } = read.size;
        let exact = |value: f64| Expected { value, bound: 0.0 };
        let at = |y: usize, x: usize, channel| {
            let at = read.at(image, [y as isize, x as isize], channel);
            at.ok_or("a pixel outside of the image")
        };
        Ok(match &self.node.op {
            Op::Layer(layer) => return self.layer(layer, image, [y, x], channel),
            &Op::MaxPool(window) => {
                let seen = seen(read, window, image, [y, x], channel);
                exact(seen.into_iter().fold(f64::NEG_INFINITY, f64::max))
            }
            &Op::AvgPool(window) => {
                let seen = seen(read, window, image, [y, x], channel);
                let taps = window.kernel[0] * window.kernel[1];
                self.rounded(seen.iter().sum::<f64>() / taps as f64)
            }
            Op::MeanPool { .. } => {
                let mut sum = 0.0;
                for pixel in 0..height * width {
                    sum += at(pixel / width, pixel % width, channel)?;
                }
                self.rounded(sum / (height * width) as f64)
            }
            Op::Concat => {
                let mut own = channel;
                for &value in &self.node.inputs {
                    let value = &self.values[value];
                    if own < value.size.channels {
                        let number = value.at(image, [y as isize, x as isize], own);
                        return Ok(exact(number.ok_or("a pixel outside of an image")?));
                    }
                    own -= value.size.channels;
                }
                return Err("more channels than are read".into());
            }
            Op::Flatten => {
                let (own, pixel) = (channel / (height * width), channel % (height * width));
                exact(at(pixel / width, pixel % width, own)?)
            }
            Op::Pad { sides } => {
                let from = [
                    y as isize - sides[0] as isize,
                    x as isize - sides[2] as isize,
                ];
                exact(read.at(image, from, channel).unwrap_or(0.0))
            }
            &Op::Subsample {
                stride,
                channels: all,
            } => {
                match channel
                    .checked_sub((all - channels) / 2)
                    .filter(|c| *c < channels)
                {
                    Some(own) => exact(at(y * stride, x * stride, own)?),
                    None => exact(0.0),
                }
            }
            other => return Err(format!("{} in a packed network", other.word()).into()),
        })
    }

    /// `value` of 8 bits, which ends at 255.
    fn rounded(&self, value: f64) -> Expected {
        let Unit { scale, zero_point } = self.units[self.index + 1];
        let most = (255.0 - f64::from(zero_point)) * scale;
        Expected {
            value: value.min(most),
            bound: 0.5 * scale,
        }
    }

    fn layer(
        &self,
        layer: &Layer<Frozen>,
        image: usize,
        [y, x]: [usize; 2],
        channel: usize,
    ) -> Result<Expected, Box<dyn Error>> {
        let read = &self.values[self.node.input()];
        let [kernel_h, kernel_w] = layer.kernel;
        let groups = layer.groups;
        let inside = read.size.channels / groups;
        let first = channel * groups / layer.channels * inside;
        let columns = kernel_h * kernel_w * inside;
        let row = channel * columns..(channel + 1) * columns;
        let ones = vec![1.0; columns];
        let weights = self.packed.get(row.clone()).unwrap_or(&ones);
        let rounding = match self.holds.map(|holds| &holds.weight) {
            Some(Weight::F32(_)) => {
                let most = weights.iter().fold(0f64, |most, w| most.max(w.abs()));
                0.5 * most / f64::from(MAX_LEVEL)
            }
            _ => 0.0,
        };
        let (scale, bias) = match self.holds.map(|holds| &holds.then) {
            Some(Then::Scale { scale, bias }) => (scale[channel].into(), bias[channel].into()),
            _ => (1f64, 0f64),
        };
        let zero_point: f64 = self.units[self.node.input()].zero_point.into();
        let step = self.units[self.node.input()].scale;
        let (mut sum, mut read_sum, mut magnitude) = (0.0, 0.0, 0.0);
        let corner = [y, x].map(|at| (at * layer.stride) as isize - layer.padding as isize);
        for (tap, w) in weights.iter().enumerate() {
            let (pixel, own) = (tap / inside, tap % inside);
            let at = [
                corner[0] + (pixel / kernel_w) as isize,
                corner[1] + (pixel % kernel_w) as isize,
            ];
            let v = read.at(image, at, first + own).unwrap_or(0.0);
            sum += w * v;
            read_sum += v.abs();
            magnitude += w.abs() * (v.abs() + zero_point * step);
        }
        let of_weights = rounding * read_sum * scale.abs();
        let Some(&Unit {
            scale: unit,
            zero_point: zero,
        }) = self.units.get(self.index + 1)
        else {
            let value = apply(layer.act, sum * scale + bias);
            let bound = of_weights + SUMS * (magnitude * scale.abs() + bias.abs());
            return Ok(Expected { value, bound });
        };
        let Then::Requant(requant) = &layer.holds.then else {
            return Err("floats between layers".into());
        };
        // What one of the integer sum is worth: the row's largest weight is `MAX_LEVEL`.
        let of_one = match rounding {
            0.0 => step,
            rounding => step * 2.0 * rounding,
        } * scale.abs();
        let of_factor = match self.integers.activations {
            Activations::U8Shift => 1.0 / 81.0 + (-15f64).exp2(),
            _ => (-15f64).exp2(),
        };
        let is_zero = self.weights[row].iter().all(|&w| w == 0.0);
        // A channel whose sum is less than half a step is its bias.
        let left_out = match is_zero {
            true => (sum * scale).abs().min(0.5 * unit),
            false => 0.0,
        };
        let (added, of_added) = match layer.add {
            None => (0.0, 0.0),
            Some(value) => {
                let at = self.values[value].at(image, [y as isize, x as isize], channel);
                let added = at.ok_or("a pixel outside of what is added")?;
                let steps = added.abs() / self.units[value].scale;
                (added, 0.5 * FRACTION * steps * unit)
            }
        };
        let value = sum * scale + bias + added;
        let zero = f64::from(zero);
        let low = match layer.act {
            Act::None => -zero * unit,
            Act::Relu | Act::Relu6 => 0.0,
        };
        let high = match layer.act {
            Act::Relu6 => (6.0 / unit).round().min(255.0 - zero),
            Act::None | Act::Relu => 255.0 - zero,
        };
        if f64::from(requant.high) != high + zero {
            return Err(format!("{}: ends at {}", self.node.name, requant.high).into());
        }
        // To the nearest step, of numbers that are 256ths: of the product and, of tiny factors or
        // of a bias alone, once more.
        let bound = (0.5 + FRACTION) * unit
            + of_weights
            + of_factor * (sum.abs() * scale.abs() + of_weights)
            + 0.5 * of_one
            + left_out
            + of_added;
        Ok(Expected {
            value: value.clamp(low, high * unit),
            bound,
        })
    }
}

fn apply(act: Act, value: f64) -> f64 {
    match act {
        Act::None => value,
        Act::Relu => value.max(0.0),
        Act::Relu6 => value.clamp(0.0, 6.0),
    }
}

/// The numbers that a window sees.
fn seen(read: &Numbers, window: Window, image: usize, at: [usize; 2], channel: usize) -> Vec<f64> {
    let corner = at.map(|at| (at * window.stride) as isize - window.padding as isize);
    let [height, width] = window.kernel;
    let taps = (0..height * width).map(|tap| {
        let at = [(tap / width) as isize, (tap % width) as isize];
        read.at(image, [corner[0] + at[0], corner[1] + at[1]], channel)
    });
    taps.flatten().collect()
}
