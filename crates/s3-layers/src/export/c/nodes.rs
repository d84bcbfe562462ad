//! The calls of the nodes, and the constants of those that are no layers.

use std::fmt::{Display, Write};

use s3_kernels::model::{Frozen, Node, Op, Size, Window};

use super::super::error::Error;
use super::super::graph::is_not_frozen;
use super::lanes::Lanes;
use super::text::{array, remark};
use super::windows::{Frame, of_channels, of_one_channel_after_another, window};
use super::writer::Writer;

/// What the image's bytes are larger by in the C file, where every value is unsigned.
pub(super) const FLIP: i64 = 128;

/// Bytes that a layer's lanes may have however few are free beside the values.
const LEAST_OF_LANES: usize = 8192;

/// The bytes that `node` needs beside the values: a layer for its lanes, a window for a border.
pub(super) fn beside(node: &Node<Frozen>, from: Size, made: Size) -> Result<usize, Error> {
    let padding = match &node.op {
        Op::Layer(layer) => return Ok(Lanes::new(from, made, layer, LEAST_OF_LANES).bytes()),
        Op::MaxPool(window) | Op::AvgPool(window) => window.padding,
        _ => 0,
    };
    match padding {
        0 => Ok(0),
        _ => Ok(Frame::new(from, [padding; 4], &node.name)?.bytes),
    }
}

/// A sum of so many bytes, rounded, fits 32 bits.
const MAX_TAPS: usize = u32::MAX as usize / 256;

impl Writer<'_> {
    /// Adds node `index` of a network that was checked.
    pub(super) fn node(&mut self, index: usize, node: &Node<Frozen>) -> Result<(), Error> {
        let refuse = |what: &str| Error::node(&node.name, what);
        let name = remark(&node.name);
        let _ = writeln!(self.tables, "\n/* {index}: {name} */");
        let _ = writeln!(self.steps, "    /* {name} */");
        let read = node.input();
        let (from, made) = (self.sizes[read], self.sizes[index + 1]);
        let (zero, y) = (self.zeros[read], self.plan.address(index + 1));
        match &node.op {
            Op::Layer(layer) => self.layer(index, node, layer)?,
            Op::MaxPool(w) => {
                // A border of zeros is no larger than what lies in the image.
                let x = self.bordered(index, node, w.padding)?;
                let window = window(from, made, w.kernel, w.stride, w.padding);
                self.constant("s3_window s3_window", index, &window);
                self.call("max_pool", format_args!("&s3_window_{index}, {x}, {y}"));
            }
            Op::AvgPool(w) => {
                let x = self.bordered_by(index, node, w, zero)?;
                let taps = w.kernel[0] * w.kernel[1];
                if taps > MAX_TAPS {
                    return Err(refuse("the sum of a mean leaves 32 bits"));
                }
                let window = window(from, made, w.kernel, w.stride, w.padding);
                self.constant("s3_window s3_window", index, &window);
                self.call(
                    "avg_pool",
                    format_args!("&s3_window_{index}, {taps}, {x}, {y}"),
                );
            }
            &Op::Subsample { stride, channels } => {
                let before = (channels - from.channels) / 2;
                let window = window(from, made, [1, 1], stride, 0);
                self.constant("s3_window s3_window", index, &window);
                let x = self.plan.address(read);
                if zero == 0 {
                    self.call(
                        "subsample",
                        format_args!("&s3_window_{index}, {before}, {x}, {y}"),
                    );
                } else {
                    let to = self.plan.address_of(index + 1, before);
                    self.call("fill", format_args!("{zero}, {}, {y}", made.len()));
                    self.call("put", format_args!("&s3_window_{index}, {x}, {to}"));
                }
            }
            &Op::MeanPool { shift } => {
                let (pixels, channels) = (from.height * from.width, from.channels);
                if ((pixels * 255) << shift) + pixels > u32::MAX as usize {
                    return Err(refuse("the sum of a mean leaves 32 bits"));
                }
                let x = self.plan.address(read);
                self.call(
                    "mean_pool",
                    format_args!("{pixels}, {channels}, {shift}, {x}, {y}"),
                );
            }
            Op::Concat => {
                let mut first = 0;
                for (part, &value) in node.inputs.iter().enumerate() {
                    let from = self.sizes[value];
                    let at = format!("{index}_{part}");
                    let all = of_channels(from, made.channels);
                    self.constant("s3_window s3_window", &at, &all);
                    let x = self.plan.address(value);
                    let y = self.plan.address_of(index + 1, first);
                    self.call("put", format_args!("&s3_window_{at}, {x}, {y}"));
                    first += from.channels;
                }
            }
            Op::Flatten => {
                let all = of_one_channel_after_another(from);
                self.constant("s3_window s3_window", index, &all);
                let x = self.plan.address(read);
                self.call("put", format_args!("&s3_window_{index}, {x}, {y}"));
            }
            &Op::Pad { sides } => {
                let frame = Frame::new(from, sides, &node.name)?;
                self.constant("s3_window s3_window", index, &frame.rows());
                let x = self.plan.address(read);
                let to = self.plan.address_of(index + 1, frame.first);
                self.call("fill", format_args!("{zero}, {}, {y}", frame.bytes));
                self.call("put", format_args!("&s3_window_{index}, {x}, {to}"));
            }
            other @ (Op::Norm { .. } | Op::Add { .. } | Op::Dropout(_)) => {
                return Err(refuse(&is_not_frozen(other)));
            }
        }
        Ok(())
    }

    /// The address of what `node`, a window's, reads with a border of `padding` zeros.
    fn bordered(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        padding: usize,
    ) -> Result<String, Error> {
        let value = node.input();
        if padding == 0 {
            return Ok(self.plan.address(value));
        }
        let from = self.sizes[value];
        let frame = Frame::new(from, [padding; 4], &node.name)?;
        let (x, height, row) = (self.plan.address(value), from.height, frame.row());
        let Frame {
            first,
            pitch,
            bytes,
            ..
        } = frame;
        let scratch = self.plan.scratch(index);
        self.call(
            "border",
            format_args!("{x}, {height}, {row}, {first}, {pitch}, {bytes}, {scratch}"),
        );
        Ok(scratch)
    }

    /// The same of `zero`.
    fn bordered_by(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        window: &Window,
        zero: u8,
    ) -> Result<String, Error> {
        if zero == 0 || window.padding == 0 {
            return self.bordered(index, node, window.padding);
        }
        let value = node.input();
        let frame = Frame::new(self.sizes[value], [window.padding; 4], &node.name)?;
        self.constant("s3_window s3_frame", index, &frame.rows());
        let (x, first) = (self.plan.address(value), frame.first);
        let scratch = self.plan.scratch(index);
        self.call("fill", format_args!("{zero}, {}, {scratch}", frame.bytes));
        self.call(
            "put",
            format_args!("&s3_frame_{index}, {x}, {scratch} + {first}"),
        );
        Ok(scratch)
    }

    pub(super) fn table<T: Display>(&mut self, declaration: &str, index: usize, values: &[T]) {
        array(&mut self.tables, &format!("{declaration}_{index}"), values);
    }

    pub(super) fn constant(&mut self, declaration: &str, index: impl Display, value: &str) {
        let _ = writeln!(self.tables, "static const {declaration}_{index} = {value};");
    }

    pub(super) fn call(&mut self, function: &'static str, arguments: std::fmt::Arguments<'_>) {
        self.called.insert(function);
        let _ = writeln!(self.steps, "    s3_{function}({arguments});");
    }
}
