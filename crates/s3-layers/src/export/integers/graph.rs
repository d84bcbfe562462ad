//! The graph while it is written: its tensors, their quantizers and its constants.

use s3_kernels::model::{Frozen, Network, Node, Op, Size};

use super::super::error::Error;
use super::super::graph::{self, Graph, IMAGE, SCORES, is_not_frozen};
use super::super::message::{self, QONNX, Version, integer, text};
use super::super::proto::{AttributeProto, ModelProto, ValueInfoProto};

/// Bits of a value between two layers.
pub(super) const BITS: u32 = 8;

/// A tensor of one image: `[channels, height, width]`, or `[numbers]` where it is flat.
#[derive(Clone)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) sides: Vec<usize>,
}

impl Tensor {
    pub(super) fn is_flat(&self) -> bool {
        self.sides.len() == 1
    }
}

/// Integers of `bits` bits in units of `2^unit`.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub(super) unit: i32,
    pub(super) bits: u32,
    pub(super) is_signed: bool,
    /// Without the lowest number.
    pub(super) is_narrow: bool,
}

impl Type {
    /// What a value between two layers is: 0 to 255.
    pub(super) const VALUE: Type = Type {
        unit: 0,
        bits: BITS,
        is_signed: false,
        is_narrow: false,
    };

    /// Signed integers in which `low` to `high` are.
    pub(super) fn of(low: i64, high: i64, unit: i32) -> Type {
        let bits = |number: i64| 65 - (number ^ (number >> 63)).leading_zeros();
        Type {
            unit,
            bits: bits(low).max(bits(high)).max(2),
            is_signed: true,
            is_narrow: false,
        }
    }
}

/// Half to even, or down.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    Even,
    Down,
}

pub(super) struct Writer<'a> {
    pub(super) sizes: Vec<Size>,
    pub(super) zeros: Vec<u8>,
    /// The image's unit is `2^unit`.
    pub(super) unit: i32,
    pub(super) nodes: &'a [Node<Frozen>],
    /// Every value so far.
    pub(super) values: Vec<Tensor>,
    graph: Graph,
    infos: Vec<ValueInfoProto>,
}

impl<'a> Writer<'a> {
    /// The image, quantized.
    pub(super) fn new(network: &'a Network, sizes: Vec<Size>, zeros: Vec<u8>, unit: i32) -> Self {
        let nodes = &network.graph.nodes;
        let image = Tensor {
            name: IMAGE.to_owned(),
            sides: sides(&sizes[0]),
        };
        let mut writer = Writer {
            sizes,
            zeros,
            unit,
            nodes,
            values: Vec::new(),
            graph: Graph::new(nodes),
            infos: Vec::new(),
        };
        let bytes = Type {
            unit,
            bits: BITS,
            is_signed: true,
            is_narrow: true,
        };
        let name = writer.free("image.i8");
        let image = writer.quant(&image, name, bytes, Rounding::Even);
        writer.values.push(image);
        writer
    }

    /// Adds what `node`, which makes value `index + 1`, does.
    pub(super) fn node(&mut self, index: usize, node: &Node<Frozen>) -> Result<(), Error> {
        let made = match &node.op {
            Op::Layer(layer) => self.layer(index, node, layer)?,
            Op::MaxPool(window) => self.max_pool(index, node, *window)?,
            Op::AvgPool(window) => self.avg_pool(index, node, *window)?,
            &Op::MeanPool { shift } => self.mean_pool(index, node, shift)?,
            &Op::Subsample { stride, .. } => self.subsample(index, node, stride)?,
            &Op::Pad { sides } => self.pad(index, node, sides)?,
            Op::Concat => self.concat(index, node),
            Op::Flatten => {
                let from = self.values[node.input()].clone();
                let numbers = from.sides.iter().product();
                let to = self.value(index);
                let axis = vec![integer("axis", 1)];
                self.made("Flatten", vec![from.name], to, &[numbers], axis)
            }
            other @ (Op::Norm { .. } | Op::Add { .. } | Op::Dropout(_)) => {
                return Err(Error::node(&node.name, is_not_frozen(other)));
            }
        };
        self.values.push(made);
        Ok(())
    }

    /// The name of what node `index` makes.
    pub(super) fn value(&self, index: usize) -> String {
        self.graph.value(index + 1).to_owned()
    }

    /// A name that nothing has.
    pub(super) fn free(&mut self, name: &str) -> String {
        self.graph.free(name.to_owned())
    }

    /// Adds a node that makes a tensor of `sides`.
    pub(super) fn made(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        name: String,
        sides: &[usize],
        attributes: Vec<AttributeProto>,
    ) -> Tensor {
        let domain = if operator == "Quant" { QONNX } else { "" };
        self.graph.node(operator, domain, inputs, &name, attributes);
        if name != SCORES {
            self.infos.push(message::image(&name, sides));
        }
        let sides = sides.to_vec();
        Tensor { name, sides }
    }

    /// Adds a quantizer behind a tensor of images.
    pub(super) fn quant(&mut self, x: &Tensor, name: String, to: Type, how: Rounding) -> Tensor {
        let (inputs, attributes) = self.quantizer(&x.name, &name, to, how);
        self.made("Quant", inputs, name, &x.sides, attributes)
    }

    fn quantizer(
        &mut self,
        from: &str,
        name: &str,
        to: Type,
        how: Rounding,
    ) -> (Vec<String>, Vec<AttributeProto>) {
        let mut inputs = vec![from.to_owned()];
        for (what, number) in [
            ("scale", super::line::power(to.unit)),
            ("zero_point", 0.0),
            ("bits", to.bits as f32),
        ] {
            let constant = self.free(&format!("{name}_{what}"));
            self.graph.floats(&constant, &[], &[number]);
            inputs.push(constant);
        }
        let rounding = match how {
            Rounding::Even => "ROUND",
            Rounding::Down => "FLOOR",
        };
        let attributes = vec![
            text("rounding_mode", rounding),
            integer("signed", to.is_signed.into()),
            integer("narrow", to.is_narrow.into()),
        ];
        (inputs, attributes)
    }

    /// Adds a constant of integers of this type, behind its quantizer, and gives its name.
    pub(super) fn typed(
        &mut self,
        name: &str,
        dims: &[usize],
        numbers: &[i64],
        is: Type,
    ) -> String {
        let to = self.free(name);
        let plain = self.free(&format!("{name}_numbers"));
        // A number of at most 24 digits times a power of two: exact.
        let unit = super::line::power(is.unit);
        let floats: Vec<f32> = numbers.iter().map(|&n| n as f32 * unit).collect();
        self.graph.floats(&plain, dims, &floats);
        let (inputs, attributes) = self.quantizer(&plain, &to, is, Rounding::Even);
        self.graph.node("Quant", QONNX, inputs, &to, attributes);
        self.infos.push(message::constant(&to, dims));
        to
    }

    /// The same for numbers in units of `2^unit`, of the type of fewest bits.
    pub(super) fn constant(
        &mut self,
        name: &str,
        dims: &[usize],
        numbers: &[i64],
        unit: i32,
    ) -> String {
        let zeros = numbers
            .iter()
            .filter(|&&n| n != 0)
            .map(|n| n.trailing_zeros());
        let even = zeros.min().unwrap_or(0);
        let numbers: Vec<i64> = numbers.iter().map(|n| n >> even).collect();
        let low = numbers.iter().copied().min().unwrap_or(0);
        let high = numbers.iter().copied().max().unwrap_or(0);
        self.typed(
            name,
            dims,
            &numbers,
            Type::of(low, high, unit + even as i32),
        )
    }

    /// Adds a constant of f32 numbers, each exactly, and gives its name; `None` where they differ
    /// by more than a type of 63 bits holds.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], numbers: &[f32]) -> Option<String> {
        let unit = lowest(numbers);
        let scaled = numbers
            .iter()
            .map(|&n| f64::from(n) * f64::from(-unit).exp2());
        let fits = |n: f64| (n.abs() < f64::from(62).exp2()).then_some(n as i64);
        let numbers: Option<Vec<i64>> = scaled.map(fits).collect();
        Some(self.constant(name, dims, &numbers?, unit))
    }

    /// Adds a constant of one f32 number, and gives its name.
    pub(super) fn number(&mut self, name: &str, number: f32) -> String {
        let name = self.free(name);
        self.graph.floats(&name, &[], &[number]);
        name
    }

    /// Adds a constant of i64 numbers, and gives its name.
    pub(super) fn integers(&mut self, name: String, numbers: &[i64]) -> String {
        self.graph.integers(name, numbers)
    }

    /// A value as `[numbers]`.
    pub(super) fn flat(&mut self, value: usize) -> Tensor {
        let x = self.values[value].clone();
        if x.is_flat() {
            return x;
        }
        let name = self.free(&format!("{}.flat", x.name));
        let numbers = x.sides.iter().product();
        self.made(
            "Flatten",
            vec![x.name],
            name,
            &[numbers],
            vec![integer("axis", 1)],
        )
    }

    /// A value as `[channels, height, width]`.
    pub(super) fn image(&self, node: &str, value: usize) -> Result<Tensor, Error> {
        let x = self.values[value].clone();
        if x.is_flat() {
            return Err(Error::node(node, "expected an image, got flat numbers"));
        }
        Ok(x)
    }

    /// The whole file, of one image.
    pub(super) fn finish(self, network: &Network) -> ModelProto {
        let version = Version {
            ir: 8,
            opsets: vec![("", 13), (QONNX, 1)],
        };
        let from = &self.sizes[0];
        let image = message::image(IMAGE, &sides(from));
        let scores = message::image(SCORES, &[network.classes.len()]);
        graph::finish(self.graph, network, version, [image, scores], self.infos)
    }
}

/// The size of an image in ONNX's layout.
pub(super) fn sides(size: &Size) -> Vec<usize> {
    vec![size.channels, size.height, size.width]
}

/// The exponent of the lowest digit of all numbers, which are finite.
pub(super) fn lowest(numbers: &[f32]) -> i32 {
    let of = |number: &f32| {
        let bits = number.to_bits();
        let exponent = ((bits >> 23) & 0xff) as i32;
        let mantissa = bits & 0x7f_ffff;
        let (mantissa, exponent) = match exponent {
            0 => (mantissa, -149),
            _ => (mantissa | 0x80_0000, exponent - 150),
        };
        (mantissa != 0).then(|| exponent + mantissa.trailing_zeros() as i32)
    };
    numbers.iter().filter_map(of).min().unwrap_or(0)
}
