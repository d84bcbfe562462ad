//! The constants and the calls of each layer.

use std::fmt::{Display, Write};

use s3_kernels::model::{Act, Frozen, Layer, Node, Op, Requant, Size, Then, Weight, terms};

use super::super::error::Error;
use super::super::graph::{has_no_form, served};
use super::Writer;
use super::text::{array, factor, remark};

/// What the image's bytes are larger by in the C file, where every value is unsigned.
const FLIP: i64 = 128;

/// Bytes of a packed matrix before its codes.
const PACKED_HEADER: usize = 24;

/// What the weights of one output can sum up to.
struct RowSum {
    sum: i64,
    /// The largest magnitude of a sum and of all before it.
    most: i64,
    taps: usize,
}

impl RowSum {
    fn of(row: &[i8]) -> RowSum {
        let all = || row.iter().flat_map(|&level| terms(level.into()));
        RowSum {
            sum: row.iter().map(|&level| i64::from(level)).sum(),
            most: all().map(|(places, _)| 255i64 << places).sum(),
            taps: all().count(),
        }
    }

    fn leaves_64_bits(&self, then: &Requant, channel: usize) -> bool {
        let magnitude = |v: i32| i128::from(v).abs();
        let sum = 2 * i128::from(self.most) + magnitude(then.bias[channel]);
        let scaled = sum * magnitude(then.factor[channel]) + (1 << 31);
        let shifted = scaled >> then.shift[channel];
        let added = 255 * magnitude(then.residual_factor) + magnitude(then.offset) + 128;
        scaled.max(shifted + added) > i64::MAX.into()
    }
}

impl Writer<'_> {
    /// Adds node `index` of a network that was checked.
    pub(super) fn node(&mut self, index: usize, node: &Node<Frozen>) -> Result<(), Error> {
        served(node)?;
        let zeros = self.network.zero_points().map_err(Error::Invalid)?;
        if matches!(node.op, Op::Subsample { .. }) && zeros[node.input()] != 0 {
            return Err(Error::node(&node.name, "a zero point is not exported here"));
        }
        let name = remark(&node.name);
        let _ = writeln!(self.tables, "\n/* {index}: {name} */");
        let _ = writeln!(self.steps, "    /* {name} */");
        let (from, made) = (self.sizes[node.input()], self.sizes[index + 1]);
        let y = self.plan.address(index + 1);
        match &node.op {
            Op::Layer(layer) => return self.layer(index, node, layer),
            Op::MaxPool(w) => {
                let x = self.bordered(node.input(), w.padding);
                let window = window(from, made, w.kernel, w.stride, w.padding);
                self.constant("s3_window s3_window", index, &window);
                self.call("max_pool", format_args!("&s3_window_{index}, {x}, {y}"));
            }
            &Op::Subsample { stride, channels } => {
                let before = (channels - from.channels) / 2;
                self.constant(
                    "s3_window s3_window",
                    index,
                    &window(from, made, [1, 1], stride, 0),
                );
                let x = self.plan.address(node.input());
                self.call(
                    "subsample",
                    format_args!("&s3_window_{index}, {before}, {x}, {y}"),
                );
            }
            &Op::MeanPool { shift } => {
                let (pixels, channels) = (from.height * from.width, from.channels);
                if ((pixels * 255) << shift) + pixels > u32::MAX as usize {
                    return Err(Error::node(&node.name, "the sum of a mean leaves 32 bits"));
                }
                let x = self.plan.address(node.input());
                self.call(
                    "mean_pool",
                    format_args!("{pixels}, {channels}, {shift}, {x}, {y}"),
                );
            }
            other => return Err(Error::node(&node.name, has_no_form(other))),
        }
        Ok(())
    }

    fn layer(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        layer: &Layer<Frozen>,
    ) -> Result<(), Error> {
        let refuse = |what: &str| Error::node(&node.name, what);
        let (levels, codes, bits, top) = match &layer.holds.weight {
            Weight::Packed(w) => {
                let codes = w.to_bytes()[PACKED_HEADER..].to_vec();
                (
                    w.to_levels(),
                    codes,
                    w.bit_width().bits(),
                    w.bit_width().t(),
                )
            }
            Weight::Dense(w) => {
                let codes = w.levels().iter().map(|&l| l as u8).collect();
                (w.levels().to_vec(), codes, 8, 6)
            }
            Weight::F32(_) => return Err(refuse("expected integer weights, got f32")),
        };
        let (from, made) = (self.sizes[node.input()], self.sizes[index + 1]);
        let [height, width] = layer.kernel;
        let columns = height * width * from.channels;
        let rows: Vec<RowSum> = levels.chunks_exact(columns).map(RowSum::of).collect();
        if rows.iter().any(|row| row.most > i32::MAX.into()) {
            return Err(refuse("a sum leaves 32 bits on its way"));
        }
        let taps = rows.iter().map(|row| row.taps).max().unwrap_or(0);
        self.most_taps = self.most_taps.max(taps);
        self.most_columns = self.most_columns.max(columns);

        let x = self.bordered(node.input(), layer.padding);
        let pitch = (from.width + 2 * layer.padding) * from.channels;
        let last_tap = (height - 1) * pitch + width * from.channels - 1;
        self.last_tap = self.last_tap.max(last_tap);
        self.table("uint8_t s3_weights", index, &codes);
        let window = window(from, made, layer.kernel, layer.stride, layer.padding);
        let value =
            format!("{{\n    {window},\n    s3_weights_{index}, {columns}, {bits}, {top}}}");
        self.constant("s3_layer s3_layer", index, &value);

        // What the flipped image makes too large.
        let flip = if node.input() == 0 { FLIP } else { 0 };
        let bias = |(bias, row): (i64, &RowSum)| {
            i32::try_from(bias - flip * row.sum).map_err(|_| refuse("a bias leaves 32 bits"))
        };
        match &layer.holds.then {
            Then::Scale { .. } => {
                let biases: Result<Vec<i32>, _> = rows.iter().map(|row| bias((0, row))).collect();
                self.table("int32_t s3_bias", index, &biases?);
                self.call(
                    "sums",
                    format_args!("&s3_layer_{index}, s3_bias_{index}, {x}, sums"),
                );
            }
            Then::Requant(then) => {
                let mut channels = rows.iter().enumerate();
                if channels.any(|(channel, row)| row.leaves_64_bits(then, channel)) {
                    return Err(refuse("a product leaves 64 bits"));
                }
                let biases = then.bias.iter().map(|&b| i64::from(b)).zip(&rows).map(bias);
                self.requant(
                    index,
                    layer,
                    then,
                    &biases.collect::<Result<Vec<i32>, _>>()?,
                );
                let residual = layer.add.map(|value| self.plan.address(value));
                let residual = residual.unwrap_or("0".to_owned());
                let y = self.plan.address(index + 1);
                self.call(
                    "conv",
                    format_args!("&s3_layer_{index}, &s3_then_{index}, {x}, {residual}, {y}"),
                );
            }
        }
        Ok(())
    }

    fn requant(&mut self, index: usize, layer: &Layer<Frozen>, then: &Requant, biases: &[i32]) {
        let factors: Vec<u8> = then.factor.iter().flat_map(|&f| factor(f)).collect();
        self.table("int32_t s3_bias", index, biases);
        self.table("uint8_t s3_terms", index, &factors);
        self.table("uint8_t s3_shift", index, &then.shift);
        self.table("uint8_t s3_residual", index, &factor(then.residual_factor));
        let (offset, low) = (
            then.offset,
            if layer.act == Act::Relu {
                then.zero_point
            } else {
                0
            },
        );
        let tables = ["bias", "terms", "shift", "residual"].map(|t| format!("s3_{t}_{index}"));
        let value = format!("{{{}, {offset}, {low}}}", tables.join(", "));
        self.constant("s3_requant s3_then", index, &value);
    }

    /// The address of a value with a border of `padding` pixels; the image's bytes are flipped in it.
    fn bordered(&mut self, value: usize, padding: usize) -> String {
        if padding == 0 && value > 0 {
            return self.plan.address(value);
        }
        let from = self.sizes[value];
        let (x, flip) = match value {
            0 => ("(const uint8_t *)image".to_owned(), FLIP),
            _ => (self.plan.address(value), 0),
        };
        let (height, row, side) = (
            from.height,
            from.width * from.channels,
            padding * from.channels,
        );
        let pitch = row + 2 * side;
        let (first, bytes) = (padding * pitch + side, (height + 2 * padding) * pitch);
        self.scratch = self.scratch.max(bytes);
        self.call(
            "border",
            format_args!("{x}, {flip}, {height}, {row}, {first}, {pitch}, {bytes}, s3_scratch"),
        );
        "s3_scratch".to_owned()
    }

    fn table<T: Display>(&mut self, declaration: &str, index: usize, values: &[T]) {
        array(&mut self.tables, &format!("{declaration}_{index}"), values);
    }

    fn constant(&mut self, declaration: &str, index: usize, value: &str) {
        let _ = writeln!(self.tables, "static const {declaration}_{index} = {value};");
    }

    fn call(&mut self, function: &str, arguments: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.steps, "    s3_{function}({arguments});");
    }
}

fn window(from: Size, made: Size, kernel: [usize; 2], stride: usize, padding: usize) -> String {
    let pitch = (from.width + 2 * padding) * from.channels;
    let [height, width] = kernel;
    let row = width * from.channels;
    format!(
        "{{{}, {}, {}, {}, {height}, {row}, {}, {}, {}}}",
        made.height,
        made.width,
        made.channels,
        made.width * made.channels,
        pitch - row,
        stride * from.channels,
        stride * pitch
    )
}
