//! The size of every value of a graph, with every check of its wiring.

use std::borrow::ToOwned;
use std::collections::BTreeSet;
use std::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::error::{Error, expect, require};
use super::graph::{Graph, Layer, Node, Op, Size};
use super::limits::MAX_NUMBERS;

/// The longest side of a window and the longest step.
const MAX_SIDE: usize = 1 << 28;

impl<L> Graph<L> {
    /// The size of every value, the image's first.
    ///
    /// # Errors
    /// One line that names the node: a name that is missing, there twice or not printable; a value
    /// that is not made yet; sizes that do not meet; a window that does not fit; a value of no or
    /// too many numbers.
    pub fn sizes(&self) -> Result<Vec<Size>, Error> {
        let image = self.image.check();
        image.map_err(|what| Error::network(format_args!("input: {what}")))?;
        let mut sizes = Vec::with_capacity(self.nodes.len() + 1);
        sizes.push(self.image);
        let mut names = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.name.is_empty() {
                return Err(Error::network(format_args!("node {index}: has no name")));
            }
            let refuse = |what| Error::node(&node.name, what);
            printable("name", &node.name).map_err(refuse)?;
            if !names.insert(node.name.as_str()) {
                let what = "expected names that differ, got this one twice";
                return Err(refuse(what.to_owned()));
            }
            sizes.push(node.size(&sizes).map_err(refuse)?);
        }
        Ok(sizes)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

impl Size {
    fn check(&self) -> Result<(), String> {
        let len = [self.height, self.width, self.channels]
            .iter()
            .try_fold(1usize, |len, &side| len.checked_mul(side));
        let fine = len.is_some_and(|len| (1..=MAX_NUMBERS).contains(&len));
        match fine {
            true => Ok(()),
            false => Err(format!(
                "shape: expected 1 to {MAX_NUMBERS} numbers, got {self}"
            )),
        }
    }
}

impl<L> Node<L> {
    /// The size of what it makes of the `sizes` before it.
    pub(crate) fn size(&self, sizes: &[Size]) -> Result<Size, String> {
        let made = self.made(sizes)?;
        made.check()?;
        Ok(made)
    }

    /// The same, of any number of numbers.
    fn made(&self, sizes: &[Size]) -> Result<Size, String> {
        let known = format!("a value before this node, 0 to {}", sizes.len() - 1);
        let known = |what, value: usize| require(value < sizes.len(), what, &known, value);
        self.inputs.iter().try_for_each(|&v| known("input", v))?;
        let count = self.inputs.len();
        match self.op {
            Op::Add { .. } | Op::Concat => require(count >= 2, "inputs", "two or more", count)?,
            _ => expect("inputs", 1, count)?,
        }
        let from = sizes[self.input()];
        match &self.op {
            Op::Layer(layer) => {
                let made = layer.size(&from)?;
                if let Some(value) = layer.add {
                    known("add", value)?;
                    let added = sizes[value];
                    if added != made {
                        return Err(format!("add: expected {made}, got {added}"));
                    }
                }
                Ok(made)
            }
            Op::Norm { .. } => Ok(from),
            Op::Add { .. } => {
                let others = self.inputs.iter().map(|&value| sizes[value]);
                match others.enumerate().find(|(_, other)| *other != from) {
                    None => Ok(from),
                    Some((i, other)) => {
                        let number = i + 1;
                        Err(format!(
                            "inputs: expected {from} as the first, got {other} of input {number}"
                        ))
                    }
                }
            }
            Op::Concat => {
                let mut channels = 0usize;
                for (i, other) in self.inputs.iter().map(|&value| sizes[value]).enumerate() {
                    if (other.height, other.width) != (from.height, from.width) {
                        return Err(format!(
                            "inputs: expected {}x{} pixels as the first, got {}x{} of input {}",
                            from.height,
                            from.width,
                            other.height,
                            other.width,
                            i + 1
                        ));
                    }
                    channels = channels.saturating_add(other.channels);
                }
                Ok(Size { channels, ..from })
            }
            Op::MaxPool(w) | Op::AvgPool(w) => {
                window(w.kernel, w.stride, w.padding)?;
                let fits = |side: usize, kernel| kernel <= side + 2 * w.padding;
                if !(fits(from.height, w.kernel[0]) && fits(from.width, w.kernel[1])) {
                    return Err(format!(
                        "kernel: expected at most the {}x{} pixels that it reads, with padding {}, \
                         got {}x{}",
                        from.height, from.width, w.padding, w.kernel[0], w.kernel[1]
                    ));
                }
                Ok(w.size(&from))
            }
            Op::MeanPool { .. } => Ok(Size {
                height: 1,
                width: 1,
                ..from
            }),
            Op::Flatten => Ok(Size {
                height: 1,
                width: 1,
                channels: from.len(),
            }),
            &Op::Pad { sides } => {
                let sane = sides.iter().all(|&side| side <= MAX_SIDE);
                require(sane, "sides", "at most 2^28", sides)?;
                Ok(Size {
                    height: from.height + sides[0] + sides[1],
                    width: from.width + sides[2] + sides[3],
                    ..from
                })
            }
            &Op::Dropout(share) => {
                let fine = (0.0..1.0).contains(&share);
                require(fine, "dropout", "0 or more and less than 1", share)?;
                Ok(from)
            }
            &Op::Subsample { stride, channels } => {
                require(stride > 0, "stride", "at least 1", stride)?;
                let fine = channels >= from.channels;
                require(fine, "channels", "no fewer than are read", channels)?;
                Ok(Size {
                    height: from.height.div_ceil(stride),
                    width: from.width.div_ceil(stride),
                    channels,
                })
            }
        }
    }
}

impl<L> Layer<L> {
    fn size(&self, from: &Size) -> Result<Size, String> {
        window(self.kernel, self.stride, self.padding)?;
        require(self.channels > 0, "channels", "1 or more", self.channels)?;
        let groups = self.groups;
        let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        for (what, channels) in [("input", from.channels), ("result", self.channels)] {
            let expected = format!("a divisor of the {channels} channels of its {what}");
            require(divides(channels), "groups", &expected, groups)?;
        }
        let shape = self.shape(1, from);
        let text = |error: crate::Error| format!("{error}");
        Ok(Size {
            height: shape.out_height().map_err(text)?,
            width: shape.out_width().map_err(text)?,
            channels: self.channels,
        })
    }
}

/// Names go to terminals, to comments and to formats of one name a line.
pub(crate) fn printable(what: &str, name: &str) -> Result<(), String> {
    let fine = !name.contains(char::is_control);
    require(fine, what, "no control characters", name)
}

fn window(kernel: [usize; 2], stride: usize, padding: usize) -> Result<(), String> {
    let sane = 1..=MAX_SIDE;
    for side in kernel {
        require(sane.contains(&side), "kernel", "1 to 2^28", side)?;
        require(padding < side, "padding", "less than the kernel", padding)?;
    }
    require(sane.contains(&stride), "stride", "1 to 2^28", stride)
}
