//! C for processors without a multiplier: a header and one file, C99, no heap.
//!
//! A sum is taken digit by digit. Each weight is a sum of signed powers of two, a packed one has one
//! digit; for each output channel the places of the digits in a window are listed once, by their shift,
//! and then, for every window,
//!
//! ```text
//! sum = 0
//! for each shift, the largest first:
//!     sum = sum + sum
//!     for each place with this digit: sum = sum + x[place] or sum - x[place]
//! ```
//!
//! so that a zero costs nothing, a packed weight one addition, and no variable is ever multiplied: factors
//! of the requantization are lists of digits as well, addresses are running sums, and the mean is divided
//! by subtractions. Windows read a copy of the image with a border of zeros. The values between the
//! layers share one array, laid out when the file is written.

pub(super) mod digits;
mod plan;
mod text;

use std::fmt::Write;

use s3_kernels::model::{Activations, Conv, Network, Node, Op, Requant, Then, Weight};

use self::digits::{digits, terms};
use self::plan::Plan;
use self::text::{array, is_identifier, remark};
use super::error::Error;
use super::shapes::{Shape, shapes};

/// The two files of a network in C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSource {
    /// `<name>.h`.
    pub header: String,
    /// `<name>.c`, which includes the header.
    pub source: String,
}

/// What the image's bytes are larger by in the C file, where every value is unsigned.
const FLIP: i64 = 128;

/// `network`, which has 8-bit activations, as `name.h` and `name.c`.
///
/// `void name_run(image, sums)` takes the 8-bit image, `[height][width][channels]`, and gives the sums of
/// the last layer, the runtime's integers for every image; `name_best(sums)` the class of the largest
/// score; `name_quantize(pixels, image)` the 8-bit image of pixels of 0 to 255, by a table. With the
/// macro `NAME_FLOAT` there is `name_scores(sums, scores)`, the only function that uses floats.
///
/// Memory is static, so that one call runs at a time. Compilers must shift negative numbers with their
/// sign, which the file checks.
///
/// # Errors
///
/// [`Error::Network`] for f32 activations, a name that is no lower-case identifier of C, or a network
/// that does not fit together; [`Error::Layer`] where a layer's numbers leave 32-bit sums or 64-bit
/// products.
pub fn c(network: &Network, name: &str) -> Result<CSource, Error> {
    if network.activations == Activations::F32 {
        return Err(Error::network(
            "C is written of networks with 8-bit activations, this one has f32 activations: choose u8 or \
             u8-shift activations when the run is exported",
        ));
    }
    if !is_identifier(name) {
        return Err(Error::network(format_args!(
            "name `{name}`: expected a lower-case letter, then lower-case letters, digits and _"
        )));
    }
    let shapes = shapes(network)?;
    let mut writer = Writer {
        network,
        plan: Plan::new(network, &shapes),
        shapes: &shapes,
        tables: String::new(),
        steps: String::new(),
        most_taps: 1,
        most_columns: 1,
        last_tap: 0,
        scratch: 0,
    };
    for (index, node) in network.nodes.iter().enumerate() {
        writer.node(index, node)?;
    }
    Ok(CSource {
        header: text::header(network, name),
        source: writer.source(name)?,
    })
}

/// The file while it is written, node by node.
struct Writer<'a> {
    network: &'a Network,
    plan: Plan,
    shapes: &'a [Shape],
    /// The constants of the layers.
    tables: String,
    /// The calls of `run`.
    steps: String,
    most_taps: usize,
    most_columns: usize,
    last_tap: usize,
    scratch: usize,
}

impl Writer<'_> {
    fn node(&mut self, index: usize, node: &Node) -> Result<(), Error> {
        let (from, made) = (self.shapes[node.input], self.shapes[index + 1]);
        let is_last = index + 1 == self.network.nodes.len();
        if !matches!(node.op, Op::Conv(_)) && (node.input == 0 || is_last) {
            return Err(Error::layer(
                &node.name,
                "expected a convolution first and last, got a pool",
            ));
        }
        let _ = writeln!(self.tables, "\n/* {index}: {} */", remark(&node.name));
        let _ = writeln!(self.steps, "    /* {} */", remark(&node.name));
        match &node.op {
            Op::Conv(conv) => self.conv(index, node, conv, is_last),
            &Op::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let x = self.bordered(node.input, padding);
                let window = window(from, made, kernel, stride, padding);
                let _ = writeln!(self.tables, "static const s3_window s3_window_{index} = {window};");
                let y = self.plan.address(index + 1);
                let _ = writeln!(self.steps, "    s3_max_pool(&s3_window_{index}, {x}, {y});");
                Ok(())
            }
            &Op::SubsampleAndPad { stride, channels } => {
                let before = (channels - from.channels) / 2;
                let after = channels - from.channels - before;
                let window = window(from, made, 1, stride, 0);
                let _ = writeln!(self.tables, "static const s3_window s3_window_{index} = {window};");
                let (x, y) = (self.plan.address(node.input), self.plan.address(index + 1));
                let _ = writeln!(
                    self.steps,
                    "    s3_subsample(&s3_window_{index}, {before}, {after}, {x}, {y});"
                );
                Ok(())
            }
            &Op::MeanPool { shift } => {
                let pixels = from.height * from.width;
                let most = (pixels as u128 * 255 << shift.min(64)) + pixels as u128;
                if most > u32::MAX.into() {
                    return Err(Error::layer(&node.name, "the sum of a mean leaves 32 bits"));
                }
                let (x, y) = (self.plan.address(node.input), self.plan.address(index + 1));
                let channels = from.channels;
                let _ = writeln!(
                    self.steps,
                    "    s3_mean_pool({pixels}, {channels}, {shift}, {x}, {y});"
                );
                Ok(())
            }
        }
    }

    /// The address of a value with a border of `padding` pixels; the image's bytes are flipped in it.
    fn bordered(&mut self, value: usize, padding: usize) -> String {
        if padding == 0 && value > 0 {
            return self.plan.address(value);
        }
        let from = self.shapes[value];
        let (x, flip) = match value {
            0 => ("(const uint8_t *)image".to_owned(), FLIP),
            _ => (self.plan.address(value), 0),
        };
        let (row, side) = (from.width * from.channels, padding * from.channels);
        let above = padding * (row + 2 * side);
        self.scratch = self.scratch.max(2 * above + from.height * (row + 2 * side));
        let _ = writeln!(
            self.steps,
            "    s3_border({x}, {flip}, {}, {row}, {side}, {above}, s3_scratch);",
            from.height
        );
        "s3_scratch".to_owned()
    }

    fn conv(&mut self, index: usize, node: &Node, conv: &Conv, is_last: bool) -> Result<(), Error> {
        let refuse = |what: &str| Error::layer(&node.name, what);
        let (levels, codes, bits, top) = match &conv.weight {
            Weight::Packed(w) => {
                let (width, bytes) = (w.bit_width(), w.to_bytes());
                let codes = bytes[PACKED_HEADER..].to_vec();
                (w.to_levels(), codes, width.bits(), width.t())
            }
            Weight::Dense(w) => {
                let codes = w.levels().iter().map(|&l| l as u8).collect();
                (w.levels().to_vec(), codes, 8, 6)
            }
            Weight::F32(_) => return Err(refuse("expected integer weights, got f32 ones")),
        };
        let columns = conv.kernel * conv.kernel * conv.in_channels;
        if levels.len() != columns * conv.out_channels || columns == 0 {
            return Err(refuse("the number of weights is not that of the shape"));
        }
        let (from, made) = (self.shapes[node.input], self.shapes[index + 1]);
        let sums: Vec<RowSum> = levels.chunks_exact(columns).map(RowSum::of).collect();
        if sums.iter().any(|row| row.most > i32::MAX.into()) {
            return Err(refuse("a sum leaves 32 bits on its way"));
        }
        let taps = sums.iter().map(|row| row.taps).max().unwrap_or(0);
        self.most_taps = self.most_taps.max(taps);
        self.most_columns = self.most_columns.max(columns);
        let pitch = (from.width + 2 * conv.padding) * from.channels;
        let last = (conv.kernel - 1) * pitch + conv.kernel * from.channels - 1;
        self.last_tap = self.last_tap.max(last);

        let x = self.bordered(node.input, conv.padding);
        array(&mut self.tables, &format!("uint8_t s3_weights_{index}"), &codes);
        let window = window(from, made, conv.kernel, conv.stride, conv.padding);
        let _ = writeln!(
            self.tables,
            "static const s3_layer s3_layer_{index} = {{\n    {window},\n    \
             s3_weights_{index}, {columns}, {bits}, {top}}};"
        );
        // What the flipped image makes too large.
        let flip = if node.input == 0 { FLIP } else { 0 };
        let bias = |bias: i64, row: &RowSum| {
            i32::try_from(bias - flip * row.sum).map_err(|_| refuse("a bias leaves 32 bits"))
        };
        match &conv.then {
            Then::Scale { .. } if is_last && made.height * made.width == 1 => {
                let biases: Vec<i32> =
                    sums.iter().map(|row| bias(0, row)).collect::<Result<_, _>>()?;
                array(&mut self.tables, &format!("int32_t s3_bias_{index}"), &biases);
                let _ = writeln!(
                    self.steps,
                    "    s3_sums(&s3_layer_{index}, s3_bias_{index}, {x}, sums);"
                );
                Ok(())
            }
            Then::Requant(then) if !is_last => {
                if [then.bias.len(), then.factor.len(), then.shift.len()] != [conv.out_channels; 3] {
                    return Err(refuse("expected one bias, factor and shift a channel"));
                }
                if sums.iter().enumerate().any(|(n, row)| row.leaves_64_bits(then, n)) {
                    return Err(refuse("a product leaves 64 bits"));
                }
                let rows = then.bias.iter().zip(&sums);
                let biases: Vec<i32> =
                    rows.map(|(&b, row)| bias(b.into(), row)).collect::<Result<_, _>>()?;
                self.requant(index, conv, then, &biases);
                let residual = conv.residual.map_or("0".to_owned(), |r| self.plan.address(r));
                let y = self.plan.address(index + 1);
                let _ = writeln!(
                    self.steps,
                    "    s3_conv(&s3_layer_{index}, &s3_then_{index}, {x}, {residual}, {y});"
                );
                Ok(())
            }
            _ => Err(refuse("expected f32 results of one pixel from the last layer, u8 from others")),
        }
    }

    fn requant(&mut self, index: usize, conv: &Conv, then: &Requant, biases: &[i32]) {
        let factors: Vec<u8> = then.factor.iter().flat_map(|&f| terms(f.into())).collect();
        let low = if conv.relu { then.zero_point } else { 0 };
        array(&mut self.tables, &format!("int32_t s3_bias_{index}"), biases);
        array(&mut self.tables, &format!("uint8_t s3_terms_{index}"), &factors);
        array(&mut self.tables, &format!("uint8_t s3_shift_{index}"), &then.shift);
        let residual = terms(then.residual_factor.into());
        array(&mut self.tables, &format!("uint8_t s3_residual_{index}"), &residual);
        let _ = writeln!(
            self.tables,
            "static const s3_requant s3_then_{index} = {{s3_bias_{index}, s3_terms_{index}, \
             s3_shift_{index}, s3_residual_{index}, {}, {low}}};",
            then.offset
        );
    }
}

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
        let all = || row.iter().flat_map(|&level| digits(level.into()));
        RowSum {
            sum: row.iter().map(|&level| i64::from(level)).sum(),
            most: all().map(|digit| 255i64 << digit.places).sum(),
            taps: all().count(),
        }
    }

    fn leaves_64_bits(&self, then: &Requant, channel: usize) -> bool {
        let magnitude = |v: i32| i128::from(v).abs();
        let sum = 2 * i128::from(self.most) + magnitude(then.bias[channel]);
        let scaled = sum * magnitude(then.factor[channel]) + (1 << 31);
        let shifted = scaled >> then.shift[channel].min(63);
        let added = 255 * magnitude(then.residual_factor) + magnitude(then.offset) + 128;
        scaled.max(shifted + added) > i64::MAX.into() || then.shift[channel] > 31
    }
}

fn window(from: Shape, made: Shape, kernel: usize, stride: usize, padding: usize) -> String {
    let pitch = (from.width + 2 * padding) * from.channels;
    let row = kernel * from.channels;
    format!(
        "{{{}, {}, {}, {kernel}, {row}, {}, {}, {}}}",
        made.height,
        made.width,
        made.channels,
        pitch - row,
        stride * from.channels,
        stride * pitch
    )
}
