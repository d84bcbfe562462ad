//! What a network computes, word for word as its definition says.

use s3_kernels::model::{Activations, Conv, FRACTION, Network, Op, Requant, Then, Weight};

use super::super::shapes::{Shape, shapes};

/// The scores of one image, and the sums of the last layer of an integer network.
pub(super) fn run(network: &Network, x: &[f32]) -> (Vec<f32>, Vec<i32>) {
    let shapes = shapes(network).unwrap();
    let is_integer = network.activations != Activations::F32;
    let image = |x: &f32| match is_integer {
        true => (x / network.input.scale).round_ties_even().clamp(-127.0, 127.0),
        false => *x,
    };
    // Integers of a network are far below 2^24, so that f64 is exact for them.
    let mut values: Vec<Vec<f64>> = vec![x.iter().map(image).map(f64::from).collect()];
    let mut sums = Vec::new();
    for (index, node) in network.nodes.iter().enumerate() {
        let (from, made) = (shapes[node.input], shapes[index + 1]);
        let value = &values[node.input];
        let result = match &node.op {
            Op::Conv(conv) => {
                let acc = convolution(conv, value, from, made);
                let residual = conv.residual.map(|r| values[r].clone());
                sums = acc.iter().map(|&acc| acc as i32).collect();
                then(conv, &acc, residual.as_deref())
            }
            op => pool(op, value, from, made, is_integer),
        };
        values.push(result);
    }
    let scores = values.pop().unwrap_or_default();
    (scores.iter().map(|&s| s as f32).collect(), sums)
}

fn at(shape: Shape, row: isize, column: isize, channel: usize) -> Option<usize> {
    let (row, column) = (usize::try_from(row).ok()?, usize::try_from(column).ok()?);
    let is_inside = row < shape.height && column < shape.width;
    is_inside.then_some((row * shape.width + column) * shape.channels + channel)
}

fn convolution(conv: &Conv, x: &[f64], from: Shape, made: Shape) -> Vec<f64> {
    let weights: Vec<f64> = match &conv.weight {
        Weight::Packed(w) => w.to_levels().into_iter().map(f64::from).collect(),
        Weight::Dense(w) => w.levels().iter().map(|&l| f64::from(l)).collect(),
        Weight::F32(w) => w.iter().map(|&w| f64::from(w)).collect(),
    };
    let mut sums = Vec::with_capacity(made.len());
    for (row, column) in (0..made.height).flat_map(|r| (0..made.width).map(move |c| (r, c))) {
        for weights in weights.chunks_exact(conv.kernel * conv.kernel * conv.in_channels) {
            let (mut sum, mut weight) = (0.0, weights.iter());
            for (i, j) in (0..conv.kernel).flat_map(|i| (0..conv.kernel).map(move |j| (i, j))) {
                let place = |out: usize, tap: usize| {
                    (out * conv.stride + tap) as isize - conv.padding as isize
                };
                for channel in 0..conv.in_channels {
                    let x = at(from, place(row, i), place(column, j), channel).map_or(0.0, |at| x[at]);
                    sum += weight.next().unwrap() * x;
                }
            }
            sums.push(sum);
        }
    }
    sums
}

fn then(conv: &Conv, acc: &[f64], residual: Option<&[f64]>) -> Vec<f64> {
    let relu = |y: f64| if conv.relu { y.max(0.0) } else { y };
    let channels = conv.out_channels;
    let one = |(index, &acc): (usize, &f64)| {
        let (channel, residual) = (index % channels, residual.map_or(0.0, |r| r[index]));
        match &conv.then {
            Then::Scale { scale, bias } => {
                let scaled = acc as f32 * scale[channel] + bias[channel];
                relu(f64::from(scaled + residual as f32))
            }
            Then::Requant(then) => requant(conv, then, channel, acc as i64, residual as i64),
        }
    };
    acc.iter().enumerate().map(one).collect()
}

fn requant(conv: &Conv, then: &Requant, channel: usize, acc: i64, residual: i64) -> f64 {
    let shift = then.shift[channel];
    let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
    let product = (acc + i64::from(then.bias[channel])) * i64::from(then.factor[channel]);
    let a = (product + half) >> shift;
    let added = residual * i64::from(then.residual_factor) + i64::from(then.offset);
    let low = if conv.relu { then.zero_point.into() } else { 0 };
    ((a + added + (1 << (FRACTION - 1))) >> FRACTION).clamp(low, 255) as f64
}

fn pool(op: &Op, x: &[f64], from: Shape, made: Shape, is_integer: bool) -> Vec<f64> {
    let mut y = Vec::with_capacity(made.len());
    for index in 0..made.len() {
        let (pixel, channel) = (index / made.channels, index % made.channels);
        let (row, column) = (pixel / made.width, pixel % made.width);
        y.push(match *op {
            Op::Conv(_) => 0.0,
            Op::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let place = |out: usize, tap| (out * stride + tap) as isize - padding as isize;
                (0..kernel)
                    .flat_map(|i| (0..kernel).map(move |j| (i, j)))
                    .filter_map(|(i, j)| at(from, place(row, i), place(column, j), channel))
                    .fold(f64::NEG_INFINITY, |most, at| most.max(x[at]))
            }
            Op::SubsampleAndPad { stride, channels } => channel
                .checked_sub((channels - from.channels) / 2)
                .filter(|&channel| channel < from.channels)
                .and_then(|c| at(from, (row * stride) as isize, (column * stride) as isize, c))
                .map_or(0.0, |at| x[at]),
            Op::MeanPool { shift } => {
                let sum: f64 = x[channel..].iter().step_by(from.channels).sum();
                let pixels = from.height * from.width;
                match is_integer {
                    true => ((((sum as usize) << shift) + pixels / 2) / pixels).min(255) as f64,
                    false => sum / pixels as f64,
                }
            }
        });
    }
    y
}
