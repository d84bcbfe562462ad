//! Networks of random numbers.

use std::vec;
use std::vec::Vec;
use std::{format, string::String};

use crate::model::*;
use crate::{BitWidth, PackedMatrix};

/// A generator of test values: xorshift.
pub(super) struct Values(pub(super) u64);

impl Values {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    /// -1 to 1.
    pub(super) fn real(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }

    pub(super) fn reals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.real()).collect()
    }

    /// A factor of at most 4 signed digits, above `2^(bits - 1)` in magnitude.
    fn factor(&mut self, bits: usize) -> i32 {
        let mut factor = 1i32 << bits;
        for _ in 0..3 {
            let term = 1 << self.below(bits - 1);
            let more = if self.next() & 1 == 0 {
                factor + term
            } else {
                factor - term
            };
            if terms(more).count() <= MAX_TERMS as usize {
                factor = more;
            }
        }
        if self.next().is_multiple_of(7) {
            -factor
        } else {
            factor
        }
    }
}

pub(super) fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("class \"{i}\" ü")).collect()
}

/// The kind of a layer's weights.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Packed(BitWidth),
    Plain,
}

/// A convolution of random numbers, whose results are spread over what a byte holds.
pub(super) struct Maker {
    pub(super) values: Values,
    pub(super) activations: Activations,
}

impl Maker {
    pub(super) fn conv(
        &mut self,
        of: Of,
        [in_channels, out_channels, kernel, stride]: [usize; 4],
        residual: Option<usize>,
    ) -> Layer<Frozen> {
        let sides = [kernel; 2];
        Layer {
            stride,
            padding: kernel / 2,
            ..self.layer(of, [in_channels, out_channels, 1], sides, residual)
        }
    }

    /// The same of any kernel and so many groups, of stride 1 and without padding.
    fn layer(
        &mut self,
        of: Of,
        [in_channels, out_channels, groups]: [usize; 3],
        kernel: [usize; 2],
        residual: Option<usize>,
    ) -> Layer<Frozen> {
        let columns = kernel[0] * kernel[1] * in_channels / groups;
        let len = columns * out_channels;
        let v = &mut self.values;
        let weight = match of {
            Of::Packed(width) => {
                let all = width.levels();
                let levels: Vec<i8> = (0..len).map(|_| all[v.below(all.len())]).collect();
                let w = PackedMatrix::from_levels(&levels, out_channels, columns, width);
                Weight::Packed(w.unwrap())
            }
            Of::Plain if self.activations == Activations::F32 => Weight::F32(v.reals(len)),
            Of::Plain => {
                let levels = (0..len).map(|_| (v.below(129) as i16 - 64) as i8).collect();
                Weight::Dense(DenseMatrix::from_levels(levels, out_channels, columns).unwrap())
            }
        };
        let then = if self.activations == Activations::F32 {
            Then::Scale {
                scale: v.reals(out_channels),
                bias: v.reals(out_channels),
            }
        } else {
            let bits = 6 + v.below(4);
            let level = match of {
                Of::Packed(width) => 1 << width.t(),
                Of::Plain => 64,
            };
            // 100 sqrt(columns) levels become about 100 steps of 2^-8.
            let sum = (columns as f32).sqrt() * level as f32;
            let shift = (sum.log2() as i32 + bits as i32 - 8).clamp(0, 31) as u8;
            Then::Requant(Requant {
                bias: (0..out_channels)
                    .map(|_| (v.real() * 50.0 * sum) as i32)
                    .collect(),
                factor: (0..out_channels).map(|_| v.factor(bits)).collect(),
                shift: vec![shift; out_channels],
                residual_factor: if residual.is_some() { v.factor(8) } else { 0 },
                offset: (v.real() * 1000.0) as i32,
                zero_point: 0,
                high: 255,
            })
        };
        Layer {
            groups,
            add: residual,
            act: match v.next().is_multiple_of(2) {
                true => Act::Relu,
                false => Act::None,
            },
            ..Layer::new(out_channels, kernel, Frozen { weight, then })
        }
    }

    /// The same with an activation; what stands for 0 is `zero` in integers, and 6 is 200 steps
    /// more.
    fn active(&self, mut layer: Layer<Frozen>, act: Act, zero: u8) -> Layer<Frozen> {
        layer.act = act;
        if let Then::Requant(requant) = &mut layer.holds.then {
            requant.zero_point = zero;
            if act == Act::Relu6 {
                requant.high = zero.saturating_add(200);
            }
        }
        layer
    }

    /// A last layer.
    pub(super) fn classifier(&mut self, of: Of, from: usize, classes: usize) -> Layer<Frozen> {
        let v = &mut self.values;
        let (scale, bias) = (v.reals(classes), v.reals(classes));
        let mut layer = self.conv(of, [from, classes, 1, 1], None);
        layer.holds.then = Then::Scale { scale, bias };
        layer.act = Act::None;
        layer
    }
}

/// A network that has every kind of node: a stem, two blocks, the second of which halves the image.
pub(super) fn network(activations: Activations, width: BitWidth, seed: u64) -> Network {
    let mut maker = Maker {
        values: Values(seed * 2 + 1),
        activations,
    };
    let integer = activations != Activations::F32;
    let packed = Of::Packed(width);
    let (a, b) = (5 + maker.values.below(30), 40 + maker.values.below(50));
    let mut graph = Graph::new(Size {
        height: 21,
        width: 30,
        channels: 3,
    });
    let mut push = |name: &str, input, op| {
        graph.push(name, &[input], op);
    };
    push(
        "conv1",
        0,
        Op::Layer(maker.conv(Of::Plain, [3, a, 7, 2], None)),
    );
    push("maxpool", 1, Op::MaxPool(Window::square(3, 2, 1)));
    push(
        "a.conv1",
        2,
        Op::Layer(maker.conv(packed, [a, a, 3, 1], None)),
    );
    push(
        "a.conv2",
        3,
        Op::Layer(maker.conv(packed, [a, a, 3, 1], Some(2))),
    );
    push(
        "b.conv1",
        4,
        Op::Layer(maker.conv(packed, [a, b, 3, 2], None)),
    );
    push(
        "b.shortcut",
        4,
        Op::Subsample {
            stride: 2,
            channels: b,
        },
    );
    push(
        "b.conv2",
        5,
        Op::Layer(maker.conv(packed, [b, b, 3, 1], Some(6))),
    );
    // A shortcut with a zero point: it is a residual and nothing else.
    let mut shortcut = maker.conv(packed, [b, b, 1, 1], None);
    if let Then::Requant(requant) = &mut shortcut.holds.then {
        requant.zero_point = 77;
        shortcut.act = Act::None;
    }
    push("c.shortcut", 7, Op::Layer(shortcut));
    push(
        "c.conv",
        7,
        Op::Layer(maker.conv(packed, [b, b, 3, 1], Some(8))),
    );
    let shift = if integer { 2 } else { 0 };
    push("avgpool", 9, Op::MeanPool { shift });
    push("fc", 10, Op::Layer(maker.classifier(Of::Plain, b, 10)));
    Network {
        name: "tést".into(),
        input: Input {
            mean: maker.values.reals(3),
            std: vec![0.229, 0.224, 0.1 + maker.values.real().abs()],
            scale: if integer { 0.0173 } else { 1.0 },
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: names(10),
        activations,
        graph,
    }
}

/// A network of what [`network`] has not: values with a zero point, groups, kernels of two sides,
/// ReLU6.
pub(super) fn various(activations: Activations, width: BitWidth, seed: u64) -> Network {
    let mut maker = Maker {
        values: Values(seed * 2 + 1),
        activations,
    };
    let packed = Of::Packed(width);
    let outer = Of::Plain;
    // Multiplications between the first layer and the last.
    let inner = match activations {
        Activations::U8Shift => packed,
        Activations::F32 | Activations::U8 => Of::Plain,
    };
    let (a, b) = (
        2 * (2 + maker.values.below(15)),
        2 * (20 + maker.values.below(50)),
    );
    let mut graph = Graph::new(Size {
        height: 13,
        width: 11,
        channels: 3,
    });
    let image = maker.layer(packed, [3, 3, 3], [1, 1], None);
    let x = graph.push(
        "image",
        &[0],
        Op::Layer(maker.active(image, Act::None, 128)),
    );
    let sides = [1, 0, 2, 1];
    let x = graph.push("pad", &[x], Op::Pad { sides });
    let conv = Layer {
        stride: 2,
        ..maker.layer(outer, [3, a, 1], [5, 3], None)
    };
    let x = graph.push("conv", &[x], Op::Layer(maker.active(conv, Act::Relu6, 0)));
    for (name, of) in [("dw1", packed), ("dw2", inner)] {
        let dw = Layer {
            padding: 1,
            ..maker.layer(of, [a, a, a], [3, 3], None)
        };
        graph.push(
            name,
            &[graph.nodes.len()],
            Op::Layer(maker.active(dw, Act::Relu6, 0)),
        );
    }
    let x = x + 2;
    let twice = maker.layer(packed, [a, 2 * a, a], [2, 2], None);
    graph.push("twice", &[x], Op::Layer(maker.active(twice, Act::Relu, 5)));
    let grouped = maker.layer(inner, [a, b, 2], [1, 3], None);
    let x = graph.push(
        "grouped",
        &[x],
        Op::Layer(maker.active(grouped, Act::None, 31)),
    );
    let linear = maker.layer(packed, [b, b, 1], [1, 1], None);
    let y = graph.push(
        "linear",
        &[x],
        Op::Layer(maker.active(linear, Act::None, 77)),
    );
    let sum = maker.layer(packed, [b, b, 2], [1, 1], Some(x));
    let z = graph.push("sum", &[y], Op::Layer(maker.active(sum, Act::Relu6, 77)));
    let x = graph.push("both", &[y, z], Op::Concat);
    let window = |kernel, padding| Window {
        kernel,
        stride: 1,
        padding,
    };
    let x = graph.push("max", &[x], Op::MaxPool(window([2, 1], 0)));
    let x = graph.push("avg", &[x], Op::AvgPool(window([2, 3], 1)));
    let (stride, channels) = (2, 2 * b + 3);
    let x = graph.push("sub", &[x], Op::Subsample { stride, channels });
    let y = graph.push("mean", &[x], Op::MeanPool { shift: 0 });
    let x = graph.push("flat", &[x], Op::Flatten);
    let x = graph.push("numbers", &[x, y], Op::Concat);
    let numbers = 7 * channels;
    graph.push("fc", &[x], Op::Layer(maker.classifier(outer, numbers, 10)));
    Network {
        name: "various".into(),
        input: Input {
            mean: maker.values.reals(3),
            std: vec![0.25; 3],
            scale: match activations {
                Activations::F32 => 1.0,
                Activations::U8 | Activations::U8Shift => 0.0173,
            },
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: names(10),
        activations,
        graph,
    }
}

pub(super) fn images(network: &Network, batch: usize, seed: u64) -> Vec<f32> {
    let len = batch * network.graph.image.len();
    let mut values = Values(seed + 99);
    (0..len).map(|_| 2.5 * values.real()).collect()
}
