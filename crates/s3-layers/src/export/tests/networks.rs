//! A small network that has every node and every way of joining them.

use s3_kernels::model::{
    Act, Activations, DenseMatrix, Frozen, Graph, Input, Layer, MAX_TERMS, Model, Network, Numbers,
    Op, Requant, Size, Then, Weight, Window, terms,
};
use s3_kernels::{BitWidth, PackedMatrix};

/// Random bits.
pub(super) struct Xorshift(pub(super) u32);

impl Xorshift {
    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// From `low` to `high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 8) as f32 / (1 << 24) as f32)
    }
}

/// The sizes of a convolution and what it is joined with.
struct Shape {
    sizes: [usize; 5],
    input: usize,
    residual: Option<usize>,
    zero_point: u8,
    residual_zero_point: u8,
}

/// Nine by seven pixels, eleven nodes, three strides, odd channels, a residual with a zero point.
pub(super) fn network(activations: Activations, width: BitWidth, seed: u32) -> Network {
    let random = &mut Xorshift(0x9e37_79b9 ^ seed.wrapping_mul(0x0101_0107));
    let integer = activations != Activations::F32;
    let mut graph = Graph::new(Size {
        height: 9,
        width: 7,
        channels: 3,
    });
    let mut conv = |sizes: [usize; 5], input, residual: Option<usize>, zero_points: [u8; 2]| {
        let shape = Shape {
            sizes,
            input,
            residual,
            zero_point: zero_points[0],
            residual_zero_point: zero_points[1],
        };
        (input, Op::Layer(layer(activations, width, &shape, random)))
    };
    let max_pool = Op::MaxPool(Window::square(3, 2, 1));
    let subsample = Op::Subsample {
        stride: 2,
        channels: 13,
    };
    let mean = Op::MeanPool {
        shift: if integer { 1 } else { 0 },
    };
    let mut add = |name: &str, (input, op): (usize, Op<Frozen>)| {
        graph.push(name, &[input], op);
    };
    // Sizes: channels in and out, kernel, stride, padding.
    add("conv1", conv([3, 8, 3, 1, 1], 0, None, [0, 0]));
    add("maxpool", (1, max_pool));
    add("layer1.0.conv1", conv([8, 8, 3, 1, 1], 2, None, [0, 0]));
    add("layer1.0.conv2", conv([8, 8, 3, 1, 1], 3, Some(2), [0, 0]));
    add("layer2.0.conv1", conv([8, 13, 3, 2, 1], 4, None, [0, 0]));
    add("layer2.0.shortcut", (4, subsample));
    add(
        "layer2.0.conv2",
        conv([13, 13, 3, 1, 1], 5, Some(6), [0, 0]),
    );
    let residual_zero = if integer { 117 } else { 0 };
    add(
        "layer3.0.shortcut",
        conv([13, 16, 1, 2, 0], 7, None, [residual_zero, 0]),
    );
    add("layer3.0.conv1", conv([13, 16, 3, 2, 1], 7, None, [0, 0]));
    add(
        "layer3.0.conv2",
        conv([16, 16, 3, 1, 1], 9, Some(8), [0, residual_zero]),
    );
    add("avgpool", (10, mean));
    let (_, last) = conv([16, 10, 1, 1, 0], 11, None, [0, 0]);
    add("fc", (11, last));
    Network {
        name: "every node".to_owned(),
        input: Input {
            mean: vec![0.5, 0.25, 0.4375],
            std: vec![0.25, 0.3, 0.2],
            scale: if integer { 0.02 } else { 1.0 },
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: (0..10).map(|class| format!("class \"{class}\"")).collect(),
        activations,
        graph,
    }
}

/// `batch` images, `[batch, 9, 7, 3]`.
pub(super) fn images(batch: usize) -> Vec<f32> {
    let mut random = Xorshift(7);
    (0..batch * 9 * 7 * 3)
        .map(|_| random.between(-2.5, 2.5))
        .collect()
}

fn layer(
    activations: Activations,
    width: BitWidth,
    shape: &Shape,
    random: &mut Xorshift,
) -> Layer<Frozen> {
    let [in_channels, out_channels, kernel, stride, padding] = shape.sizes;
    let columns = kernel * kernel * in_channels;
    let is_last = out_channels == 10;
    let is_outer = shape.input == 0 || is_last;
    let count = columns * out_channels;
    let is_f32 = activations == Activations::F32;
    let mut pick = |levels: &[i8]| levels[random.next() as usize % levels.len()];
    let dense: Vec<i8> = (-64..=64).collect();
    let alphabet = if is_outer { &dense[..] } else { width.levels() };
    let levels: Vec<i8> = (0..count).map(|_| pick(alphabet)).collect();
    let weight = if !is_outer {
        Weight::Packed(PackedMatrix::from_levels(&levels, out_channels, columns, width).unwrap())
    } else if is_f32 {
        Weight::F32(levels.iter().map(|&l| f32::from(l) / 300.0).collect())
    } else {
        Weight::Dense(DenseMatrix::from_levels(levels, out_channels, columns).unwrap())
    };
    let squares: f32 = alphabet.iter().map(|&l| f32::from(l) * f32::from(l)).sum();
    let spread = (squares / alphabet.len() as f32 * columns as f32).sqrt();
    let mut channels = |low: f32, high: f32| -> Vec<f32> {
        (0..out_channels)
            .map(|_| random.between(low, high))
            .collect()
    };
    let then = if is_f32 || is_last {
        let spread = if is_outer && is_f32 { 1.0 } else { spread };
        let scale = channels(0.5 / spread, 1.5 / spread);
        Then::Scale {
            scale,
            bias: channels(-0.2, 0.5),
        }
    } else {
        // About 80 steps of the result for a sum as large as most are.
        let ratio = 80.0 * 256.0 / (spread * 70.0) * 4096.0;
        let factor = channels(0.5 * ratio, 1.5 * ratio);
        let bias = channels(-20.0 * spread, 40.0 * spread);
        let residual_factor = if shape.residual.is_some() {
            0b1011_0100
        } else {
            0
        };
        let offset = 256 * i32::from(shape.zero_point)
            - residual_factor * i32::from(shape.residual_zero_point);
        Then::Requant(Requant {
            bias: bias.iter().map(|&b| b as i32).collect(),
            factor: factor
                .iter()
                .map(|&f| few_digits(activations, f as i32))
                .collect(),
            shift: (0..out_channels).map(|n| 12 - (n == 3) as u8).collect(),
            residual_factor,
            offset,
            zero_point: shape.zero_point,
            high: 255,
        })
    };
    let rectified = !is_last && shape.zero_point == 0;
    Layer {
        stride,
        padding,
        add: shape.residual,
        act: if rectified { Act::Relu } else { Act::None },
        ..Layer::new(out_channels, [kernel; 2], Frozen { weight, then })
    }
}

/// The largest digits of a factor, where it may have few.
pub(super) fn few_digits(activations: Activations, factor: i32) -> i32 {
    let all: Vec<_> = terms(factor).collect();
    let kept = match activations {
        Activations::U8Shift => MAX_TERMS as usize,
        _ => all.len(),
    };
    let term =
        |&(place, is_negative): &(u8, bool)| if is_negative { -1 << place } else { 1 << place };
    all.iter().rev().take(kept).map(term).sum()
}

/// The runtime of `network`.
pub(super) fn model(network: &Network) -> Model {
    Model::new(network.clone()).unwrap()
}

/// The sums of the last layer of an integer network: its scores where their scale is 1.
pub(super) fn sums(network: &Network, x: &[f32], batch: usize) -> Vec<i32> {
    let mut unscaled = network.clone();
    if let Some(Op::Layer(last)) = unscaled.graph.nodes.last_mut().map(|node| &mut node.op) {
        let (scale, bias) = (vec![1.0; last.channels], vec![0.0; last.channels]);
        last.holds.then = Then::Scale { scale, bias };
        last.act = Act::None;
    }
    // 16 * 64 * 255 is far below 2^24: f32 is exact.
    let scores = model(&unscaled).run(x, batch).unwrap();
    scores.into_iter().map(|score| score as i32).collect()
}
