//! A network as its definition says, number by number.

use std::vec;
use std::vec::Vec;

use crate::model::*;

/// A value of one image: height, width, channels, numbers. Those of integer networks are whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plain {
    pub(super) shape: [usize; 3],
    pub(super) numbers: Vec<Number>,
    /// What stands for 0.
    zero: Number,
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
    fn of(
        shape: [usize; 3],
        zero: Number,
        mut number: impl FnMut(usize, usize, usize) -> Number,
    ) -> Plain {
        let mut numbers = Vec::new();
        for y in 0..shape[0] {
            for x in 0..shape[1] {
                for c in 0..shape[2] {
                    numbers.push(number(y, x, c));
                }
            }
        }
        Plain {
            shape,
            numbers,
            zero,
        }
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
        zero: number(0.0),
    }];
    for node in &network.graph.nodes {
        let from = &values[node.input()];
        let made = match &node.op {
            Op::Layer(layer) => convolved(layer, from, layer.add.map(|r| &values[r])),
            Op::MaxPool(window) => pooled(from, window),
            Op::AvgPool(window) => averaged(from, window),
            Op::Concat => {
                let all: Vec<&Plain> = node.inputs.iter().map(|&value| &values[value]).collect();
                let channels = all.iter().map(|part| part.shape[2]).sum();
                let places = |part: &Plain| (0..part.shape[2]).collect::<Vec<_>>();
                let parts = all.iter().enumerate();
                let sources: Vec<(usize, usize)> = parts
                    .flat_map(|(i, part)| places(part).into_iter().map(move |c| (i, c)))
                    .collect();
                Plain::of(
                    [from.shape[0], from.shape[1], channels],
                    from.zero,
                    |y, x, n| {
                        let (part, channel) = sources[n];
                        all[part].at(y as isize, x as isize, channel).unwrap()
                    },
                )
            }
            Op::Flatten => {
                let [height, width, channels] = from.shape;
                Plain::of([1, 1, height * width * channels], from.zero, |_, _, n| {
                    let (channel, pixel) = (n / (height * width), n % (height * width));
                    from.numbers[pixel * channels + channel]
                })
            }
            &Op::Pad { sides } => {
                let [height, width, channels] = from.shape;
                let shape = [
                    height + sides[0] + sides[1],
                    width + sides[2] + sides[3],
                    channels,
                ];
                Plain::of(shape, from.zero, |y, x, c| {
                    let at = |out: usize, before| out as isize - before as isize;
                    let number = from.at(at(y, sides[0]), at(x, sides[2]), c);
                    number.unwrap_or(from.zero)
                })
            }
            &Op::Subsample { stride, channels } => {
                let [height, width, c] = from.shape;
                let before = (channels - c) / 2;
                let shape = [height.div_ceil(stride), width.div_ceil(stride), channels];
                Plain::of(shape, from.zero, |y, x, n| match n.checked_sub(before) {
                    Some(n) if n < c => from
                        .at((y * stride) as isize, (x * stride) as isize, n)
                        .unwrap(),
                    _ => from.zero,
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

/// What `make` says of the numbers of each window, none where it is in the padding.
fn windowed(from: &Plain, window: &Window, make: impl Fn(Vec<Option<Number>>) -> Number) -> Plain {
    let [tall, wide] = window.kernel;
    let side = |side: usize, kernel| (side + 2 * window.padding - kernel) / window.stride + 1;
    let shape = [
        side(from.shape[0], tall),
        side(from.shape[1], wide),
        from.shape[2],
    ];
    Plain::of(shape, from.zero, |y, x, c| {
        let mut seen = Vec::new();
        for i in 0..tall {
            for j in 0..wide {
                let at = |out, tap| (out * window.stride + tap) as isize - window.padding as isize;
                seen.push(from.at(at(y, i), at(x, j), c));
            }
        }
        make(seen)
    })
}

fn averaged(from: &Plain, window: &Window) -> Plain {
    windowed(from, window, |seen| {
        let count = seen.len();
        let all = seen.into_iter().map(|number| number.unwrap_or(from.zero));
        match from.zero {
            Number::Whole(_) => {
                let sum: i64 = all.map(Number::whole).sum();
                Number::Whole((sum + count as i64 / 2) / count as i64)
            }
            Number::Real(_) => {
                Number::Real(all.fold(0.0, |sum: f32, n| sum + n.real()) / count as f32)
            }
        }
    })
}

fn pooled(from: &Plain, window: &Window) -> Plain {
    windowed(from, window, |seen| {
        let larger = |a: Number, b: Number| match (a, b) {
            (Number::Whole(a), Number::Whole(b)) => Number::Whole(a.max(b)),
            (a, b) => Number::Real(a.real().max(b.real())),
        };
        seen.into_iter().flatten().reduce(larger).unwrap()
    })
}

fn mean(from: &Plain, shift: u8) -> Plain {
    let [height, width, channels] = from.shape;
    let pixels = height * width;
    let zero = match from.zero {
        Number::Whole(zero) => Number::Whole(zero << shift),
        real => real,
    };
    Plain::of([1, 1, channels], zero, |_, _, c| {
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
    let ([tall, wide], channels) = (layer.kernel, from.shape[2] / layer.groups);
    let side = |side: usize, kernel| (side + 2 * layer.padding - kernel) / layer.stride + 1;
    let shape = [
        side(from.shape[0], tall),
        side(from.shape[1], wide),
        layer.channels,
    ];
    let columns = tall * wide * channels;
    let zero = match &layer.holds.then {
        Then::Requant(requant) => Number::Whole(requant.zero_point.into()),
        Then::Scale { .. } => Number::Real(0.0),
    };
    let levels = match &layer.holds.weight {
        Weight::Packed(w) => w.to_levels(),
        Weight::Dense(w) => w.levels().to_vec(),
        Weight::F32(_) => Vec::new(),
    };
    let mut index = 0;
    Plain::of(shape, zero, |y, x, n| {
        let group = n / (layer.channels / layer.groups);
        let mut window = Vec::new();
        for i in 0..tall {
            for j in 0..wide {
                for c in 0..channels {
                    let at =
                        |out, tap| (out * layer.stride + tap) as isize - layer.padding as isize;
                    window.push(from.at(at(y, i), at(x, j), group * channels + c));
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
            Weight::Packed(_) if matches!(from.numbers[0], Number::Real(_)) => {
                let row = &levels[n * columns..][..columns];
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
            Weight::Packed(_) | Weight::Dense(_) => {
                whole(layer, &levels[n * columns..], &window, n, residual)
            }
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
    let low = match layer.act {
        Act::None => 0,
        Act::Relu | Act::Relu6 => r.zero_point,
    };
    Number::Whole(y.clamp(low.into(), r.high.into()) as i64)
}

fn scaled(layer: &Layer<Frozen>, sum: f32, n: usize, residual: Option<Number>) -> Number {
    let Then::Scale { scale, bias } = &layer.holds.then else {
        panic!("a scale");
    };
    let mut y = sum * scale[n] + bias[n];
    if let Some(residual) = residual {
        y += residual.real();
    }
    Number::Real(match layer.act {
        Act::None => y,
        Act::Relu => y.max(0.0),
        Act::Relu6 => y.clamp(0.0, 6.0),
    })
}
