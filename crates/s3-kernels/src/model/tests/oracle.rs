//! A network as its definition says, number by number.

use std::vec;
use std::vec::Vec;

use crate::model::*;

/// A value of one image: height, width, channels, numbers. Those of integer networks are whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plain {
    pub(super) shape: [usize; 3],
    pub(super) numbers: Vec<Number>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Real(f32),
}

impl Number {
    fn whole(self) -> i64 {
        match self {
            Number::Whole(number) => number,
            Number::Real(_) => panic!("a whole number"),
        }
    }

    fn real(self) -> f32 {
        match self {
            Number::Real(number) => number,
            Number::Whole(_) => panic!("a real number"),
        }
    }
}

impl Plain {
    fn at(&self, y: isize, x: isize, c: usize) -> Option<Number> {
        let [height, width, channels] = self.shape;
        let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
        inside.then(|| self.numbers[(y as usize * width + x as usize) * channels + c])
    }

    /// The number of each place of `shape`.
    fn of(shape: [usize; 3], mut number: impl FnMut(usize, usize, usize) -> Number) -> Plain {
        let mut numbers = Vec::new();
        for y in 0..shape[0] {
            for x in 0..shape[1] {
                for c in 0..shape[2] {
                    numbers.push(number(y, x, c));
                }
            }
        }
        Plain { shape, numbers }
    }
}

/// Every value that `network` makes of one image, in the order of the nodes.
pub(super) fn values(network: &Network, image: &[f32]) -> Vec<Plain> {
    let (input, image_size) = (&network.input, network.graph.image);
    let number = |x: f32| match network.activations {
        Activations::F32 => Number::Real(x),
        _ => Number::Whole((x / input.scale).round_ties_even().clamp(-127.0, 127.0) as i64),
    };
    let mut values = vec![Plain {
        shape: [image_size.height, image_size.width, image_size.channels],
        numbers: image.iter().map(|&x| number(x)).collect(),
    }];
    for node in &network.graph.nodes {
        let from = &values[node.input()];
        let made = match &node.op {
            Op::Layer(layer) => convolved(layer, from, layer.add.map(|r| &values[r])),
            Op::MaxPool(w) => pooled(from, w.kernel[0], w.stride, w.padding),
            &Op::Subsample { stride, channels } => {
                let [height, width, c] = from.shape;
                let before = (channels - c) / 2;
                let shape = [height.div_ceil(stride), width.div_ceil(stride), channels];
                let zero = match from.numbers[0] {
                    Number::Whole(_) => Number::Whole(0),
                    Number::Real(_) => Number::Real(0.0),
                };
                Plain::of(shape, |y, x, n| match n.checked_sub(before) {
                    Some(n) if n < c => from
                        .at((y * stride) as isize, (x * stride) as isize, n)
                        .unwrap(),
                    _ => zero,
                })
            }
            &Op::MeanPool { shift } => mean(from, shift),
            other => panic!("a packed network has no {}", other.word()),
        };
        values.push(made);
    }
    values.remove(0);
    values
}

fn pooled(from: &Plain, kernel: usize, stride: usize, padding: usize) -> Plain {
    let side = |side: usize| (side + 2 * padding - kernel) / stride + 1;
    let shape = [side(from.shape[0]), side(from.shape[1]), from.shape[2]];
    Plain::of(shape, |y, x, c| {
        let mut seen = Vec::new();
        for i in 0..kernel {
            for j in 0..kernel {
                let at = |out: usize, tap: usize| (out * stride + tap) as isize - padding as isize;
                seen.extend(from.at(at(y, i), at(x, j), c));
            }
        }
        let larger = |a: Number, b: Number| match (a, b) {
            (Number::Whole(a), Number::Whole(b)) => Number::Whole(a.max(b)),
            (a, b) => Number::Real(a.real().max(b.real())),
        };
        seen.into_iter().reduce(larger).unwrap()
    })
}

fn mean(from: &Plain, shift: u8) -> Plain {
    let [height, width, channels] = from.shape;
    let pixels = height * width;
    Plain::of([1, 1, channels], |_, _, c| {
        let all = from.numbers[c..].iter().step_by(channels);
        match from.numbers[0] {
            Number::Whole(_) => {
                let sum: i64 = all.map(|n| n.whole()).sum();
                let pixels = pixels as i64;
                Number::Whole((((sum << shift) + pixels / 2) / pixels).min(255))
            }
            Number::Real(_) => {
                Number::Real(all.fold(0.0, |sum: f32, n| sum + n.real()) / pixels as f32)
            }
        }
    })
}

fn convolved(layer: &Layer<Frozen>, from: &Plain, residual: Option<&Plain>) -> Plain {
    let (kernel, channels) = (layer.kernel[0], from.shape[2]);
    let side = |side: usize| (side + 2 * layer.padding - kernel) / layer.stride + 1;
    let shape = [side(from.shape[0]), side(from.shape[1]), layer.channels];
    let columns = kernel * kernel * channels;
    let mut index = 0;
    Plain::of(shape, |y, x, n| {
        let mut window = Vec::new();
        for i in 0..kernel {
            for j in 0..kernel {
                for c in 0..channels {
                    let at =
                        |out, tap| (out * layer.stride + tap) as isize - layer.padding as isize;
                    window.push(from.at(at(y, i), at(x, j), c));
                }
            }
        }
        let residual = residual.map(|r| r.numbers[index]);
        index += 1;
        match &layer.holds.weight {
            Weight::F32(w) => {
                let row = &w[n * columns..][..columns];
                let real = |x: &Option<Number>| x.map_or(0.0, |x| x.real());
                let sum = window
                    .iter()
                    .zip(row)
                    .fold(0.0, |sum, (x, w)| sum + w * real(x));
                scaled(layer, sum, n, residual)
            }
            Weight::Packed(w) if matches!(from.numbers[0], Number::Real(_)) => {
                let row = &w.to_levels()[n * columns..][..columns];
                let products: Vec<f32> = window
                    .iter()
                    .zip(row)
                    .map(|(x, &w)| f32::from(w) * x.map_or(0.0, |x| x.real()))
                    .collect();
                let three = |t: &[f32]| {
                    let of = |i: usize| t.get(i).copied().unwrap_or(0.0);
                    (of(0) + of(1)) + of(2)
                };
                let sum = products.chunks(3).map(three).reduce(|sum, t| sum + t);
                scaled(layer, sum.unwrap(), n, residual)
            }
            Weight::Packed(w) => whole(layer, &w.to_levels()[n * columns..], &window, n, residual),
            Weight::Dense(w) => whole(layer, &w.levels()[n * columns..], &window, n, residual),
        }
    })
}

fn whole(
    layer: &Layer<Frozen>,
    row: &[i8],
    window: &[Option<Number>],
    n: usize,
    residual: Option<Number>,
) -> Number {
    let pairs = window.iter().zip(row);
    let acc: i64 = pairs
        .map(|(x, &w)| x.map_or(0, |x| x.whole()) * i64::from(w))
        .sum();
    let Then::Requant(r) = &layer.holds.then else {
        return scaled(layer, acc as f32, n, residual);
    };
    let shift = r.shift[n];
    let round = if shift == 0 { 0 } else { 1i128 << (shift - 1) };
    let a = ((i128::from(acc) + i128::from(r.bias[n])) * i128::from(r.factor[n]) + round) >> shift;
    let residual = residual.map_or(0, |x| i128::from(x.whole()) * i128::from(r.residual_factor));
    let y = (a + residual + i128::from(r.offset) + (1 << (FRACTION - 1))) >> FRACTION;
    let low = if layer.act == Act::Relu {
        r.zero_point
    } else {
        0
    };
    Number::Whole(y.clamp(low.into(), 255) as i64)
}

fn scaled(layer: &Layer<Frozen>, sum: f32, n: usize, residual: Option<Number>) -> Number {
    let Then::Scale { scale, bias } = &layer.holds.then else {
        panic!("a scale");
    };
    let mut y = sum * scale[n] + bias[n];
    if let Some(residual) = residual {
        y += residual.real();
    }
    Number::Real(if layer.act == Act::None || y > 0.0 {
        y
    } else {
        0.0
    })
}
