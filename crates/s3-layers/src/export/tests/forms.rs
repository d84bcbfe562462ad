//! A small network of the nodes that ResNets have not: groups of channels, kernels of two sides,
//! ReLU6, concatenations, means and largest numbers of windows, pads, sums, and values with a zero
//! point.

use s3_kernels::model::{
    Act, Activations, DenseMatrix, Frozen, Graph, Input, Layer, Network, Numbers, Op, Requant,
    Size, Then, Weight, Window,
};
use s3_kernels::{BitWidth, PackedMatrix};

use super::networks::{Xorshift, few_digits};

/// What stands for 0 behind each layer without activation, and where a ReLU6 ends, in 8 bits.
const ZEROS: [u8; 3] = [128, 117, 90];
const HIGH: u8 = 200;

/// The network while it is written.
struct Forms {
    activations: Activations,
    width: BitWidth,
    random: Xorshift,
    network: Network,
}

/// As many pixels and classes as [`network`](super::networks::network) has.
pub(super) fn forms(activations: Activations, width: BitWidth, seed: u32) -> Network {
    let is_f32 = activations == Activations::F32;
    let network = Network {
        name: "every form".to_owned(),
        input: Input {
            mean: vec![0.5, 0.25, 0.4375],
            std: vec![0.25, 0.3, 0.2],
            scale: if is_f32 { 1.0 } else { 0.02 },
            numbers: Numbers::Bytes,
            fit: None,
        },
        classes: (0..10).map(|class| format!("{class}")).collect(),
        activations,
        graph: Graph::new(Size {
            height: 9,
            width: 7,
            channels: 3,
        }),
    };
    let mut forms = Forms {
        activations,
        width,
        random: Xorshift(0x51ed_270b ^ seed.wrapping_mul(0x0101_0107)),
        network,
    };
    forms.push_all();
    forms.network
}

impl Forms {
    fn push_all(&mut self) {
        let plain = |channels, kernel, padding| Layer {
            padding,
            ..Layer::new(channels, kernel, ())
        };
        let grouped = |layer: Layer<()>, groups| Layer { groups, ..layer };
        let act = |layer: Layer<()>, act| Layer { act, ..layer };
        let window = |kernel, stride, padding| Window {
            kernel,
            stride,
            padding,
        };
        let [image_zero, first_zero, second_zero] = ZEROS;
        // The image as a value with a zero point, and more of it: 11 x 9 x 3.
        let image = self.layer("shifted", 0, grouped(plain(3, [1, 1], 0), 3), image_zero);
        let image = self.op("edge", &[image], Op::Pad { sides: [1; 4] });
        // 9 x 5 x 8, twice, and their sum.
        let stem = self.layer("stem", image, act(plain(8, [3, 5], 0), Act::Relu6), 0);
        let depthwise = act(grouped(plain(8, [3, 3], 1), 8), Act::Relu6);
        let depthwise = self.layer("depthwise", stem, depthwise, 0);
        let sum = Layer {
            add: Some(stem),
            ..act(grouped(plain(8, [1, 1], 0), 8), Act::Relu6)
        };
        let sum = self.layer("sum", depthwise, sum, 0);
        // 5 x 3 x 12 without an activation: more of it is 6 x 6, and is read without padding.
        let wide = Layer {
            stride: 2,
            ..grouped(plain(12, [3, 3], 1), 2)
        };
        let wide = self.layer("grouped", sum, wide, first_zero);
        let pad = self.op(
            "pad",
            &[wide],
            Op::Pad {
                sides: [1, 0, 2, 1],
            },
        );
        // 4 x 6 x 9 and 4 x 6 x 5 beside each other.
        let one = self.layer("one", pad, act(plain(9, [3, 1], 0), Act::Relu), 0);
        let other = self.layer("other", pad, act(plain(5, [3, 1], 0), Act::Relu), 0);
        let both = self.op("both", &[other, one], Op::Concat);
        // 5 x 6 x 14.
        let mean = self.op("mean", &[both], Op::AvgPool(window([2, 3], 1, 1)));
        let norm = self.layer("norm", mean, grouped(plain(14, [1, 1], 0), 14), second_zero);
        // 3 x 3 x 14, 2 x 2 x 17, 2 x 3 x 17, and 102 numbers.
        let mean = self.op("zeros", &[norm], Op::AvgPool(window([3, 3], 2, 1)));
        let wide = self.op(
            "subsample",
            &[mean],
            Op::Subsample {
                stride: 2,
                channels: 17,
            },
        );
        let largest = self.op("largest", &[wide], Op::MaxPool(window([3, 2], 1, 1)));
        let flat = self.op("flat", &[largest], Op::Flatten);
        self.layer("fc", flat, grouped(plain(10, [1, 1], 0), 2), 0);
    }

    fn op(&mut self, name: &str, inputs: &[usize], op: Op<Frozen>) -> usize {
        self.network.graph.push(name, inputs, op)
    }

    /// A layer of weights by chance, whose results have this zero point in 8 bits.
    fn layer(&mut self, name: &str, input: usize, layer: Layer<()>, zero_point: u8) -> usize {
        let from = match input {
            0 => self.network.graph.image,
            _ => self.network.graph.sizes().unwrap()[input],
        };
        let (rows, is_last) = (layer.channels, name == "fc");
        let is_outer = ["shifted", "stem", "fc"].contains(&name);
        let columns = layer.kernel[0] * layer.kernel[1] * from.channels / layer.groups;
        let dense: Vec<i8> = (-64..=64).collect();
        let alphabet = if is_outer {
            &dense[..]
        } else {
            self.width.levels()
        };
        let random = &mut self.random;
        let mut pick = || alphabet[random.next() as usize % alphabet.len()];
        let levels: Vec<i8> = (0..rows * columns).map(|_| pick()).collect();
        let squares: f32 = alphabet.iter().map(|&l| f32::from(l).powi(2)).sum();
        let spread = (squares / alphabet.len() as f32 * columns as f32).sqrt();
        let is_f32 = self.activations == Activations::F32;
        let weight = match (is_outer, is_f32) {
            (false, _) => Weight::Packed(
                PackedMatrix::from_levels(&levels, rows, columns, self.width).unwrap(),
            ),
            (true, true) => Weight::F32(levels.iter().map(|&l| f32::from(l) / 300.0).collect()),
            (true, false) => {
                Weight::Dense(DenseMatrix::from_levels(levels, rows, columns).unwrap())
            }
        };
        let mut between =
            |low, high| -> Vec<f32> { (0..rows).map(|_| random.between(low, high)).collect() };
        let then = if is_f32 || is_last {
            let spread = if is_outer && is_f32 { 1.0 } else { spread };
            Then::Scale {
                scale: between(1.0 / spread, 3.0 / spread),
                bias: between(-0.2, 0.5),
            }
        } else {
            let ratio = 80.0 * 256.0 / (spread * 70.0) * 4096.0;
            let factor = between(0.5 * ratio, 1.5 * ratio);
            let residual_factor = if layer.add.is_some() { 0b1011_0100 } else { 0 };
            Then::Requant(Requant {
                bias: between(-20.0 * spread, 40.0 * spread)
                    .iter()
                    .map(|&b| b as i32)
                    .collect(),
                factor: factor
                    .iter()
                    .map(|&f| few_digits(self.activations, f as i32))
                    .collect(),
                shift: vec![12; rows],
                residual_factor,
                offset: 256 * i32::from(zero_point),
                zero_point,
                high: if layer.act == Act::Relu6 { HIGH } else { 255 },
            })
        };
        let layer = Layer {
            stride: layer.stride,
            padding: layer.padding,
            groups: layer.groups,
            add: layer.add,
            act: layer.act,
            ..Layer::new(rows, layer.kernel, Frozen { weight, then })
        };
        self.op(name, &[input], Op::Layer(layer))
    }
}

/// `network` with this activation behind its scores, all of which are smaller by `less`.
pub(super) fn ending_in(mut network: Network, ending: Act, less: f32) -> Network {
    if let Some(Op::Layer(last)) = network.graph.nodes.last_mut().map(|node| &mut node.op) {
        last.act = ending;
        if let Then::Scale { bias, .. } = &mut last.holds.then {
            bias.iter_mut().for_each(|bias| *bias -= less);
        }
    }
    network
}

#[test]
fn its_numbers_reach_both_ends_and_lie_between() {
    use s3_kernels::model::{Model, Value};
    for activations in [Activations::U8, Activations::U8Shift] {
        for width in BitWidth::ALL {
            let network = forms(activations, width, 5);
            let zeros = network.zero_points().unwrap();
            let model = Model::new(network.clone()).unwrap();
            let mut seen = 0;
            let x = super::networks::images(6);
            let mut look = |index: usize, value: Value<'_>| {
                let Value::U8(value) = value else { return };
                let name = network.graph.nodes[index].name.as_str();
                let zero = zeros[index + 1];
                assert!(value.iter().any(|&v| v > zero), "{name}");
                let high = if ["stem", "depthwise", "sum"].contains(&name) {
                    seen += 1;
                    HIGH
                } else {
                    255
                };
                assert!(value.iter().all(|&v| v <= high), "{name}");
                let different: std::collections::BTreeSet<_> = value.iter().collect();
                assert!(different.len() > 16, "{name}: {different:?}");
            };
            model.run_traced(&x, 6, &mut look).unwrap();
            assert_eq!(seen, 3);
            assert_eq!(zeros[1..3], [ZEROS[0]; 2]);
            assert_eq!(zeros[6..8], [ZEROS[1]; 2]);
            assert_eq!(zeros[12..17], [ZEROS[2]; 5]);
        }
    }
}
