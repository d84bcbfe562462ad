//! What can be wrong with a call: the crate's one error type.

use core::fmt;

/// Why a kernel refused its arguments. No output is written when one is returned.
///
/// ```
/// use s3_kernels::{ConvShape, Error};
///
/// let shape = ConvShape { height: 2, kernel_h: 3, ..ConvShape::default() };
/// assert_eq!(shape.out_height(), Err(Error::KernelTooLarge { expected: 2, got: 3 }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A slice has not the length that the shape asks for.
    Length {
        /// Name of the argument.
        what: &'static str,
        /// Elements the shape asks for.
        expected: usize,
        /// Elements passed.
        got: usize,
    },
    /// A field of a shape has a value that the function does not serve.
    Unsupported {
        /// Name of the field.
        what: &'static str,
        /// The values it does serve.
        expected: &'static str,
        /// Value passed.
        got: usize,
    },
    /// The kernel, dilated, is longer than the padded input.
    KernelTooLarge {
        /// Length of the padded input: the most the kernel may cover.
        expected: usize,
        /// Length the kernel covers.
        got: usize,
    },
    /// The number of channels is not a multiple of the number of groups.
    Groups {
        /// The number of groups, of which `got` should be a multiple.
        expected: usize,
        /// The number of channels.
        got: usize,
    },
    /// A length does not fit `usize`, or a sum of products may not fit its accumulator.
    Overflow {
        /// Name of the quantity.
        what: &'static str,
    },
    /// A level is not in the alphabet.
    Level {
        /// Its place among the levels passed.
        index: usize,
        /// The level.
        level: i32,
        /// Bits per weight of the alphabet.
        bits: u32,
    },
    /// A code of a packed matrix stands for no level.
    Code {
        /// Its place among the codes.
        index: usize,
        /// The code.
        code: u8,
    },
    /// A field of a header has another value than the format prescribes.
    Header {
        /// Name of the field.
        what: &'static str,
        /// The value it must have.
        expected: u64,
        /// Value read.
        got: u64,
    },
    /// A kernel was asked for by name that this CPU cannot run, or that does not serve the width.
    Kernel {
        /// Name of the kernel.
        name: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Length {
                what,
                expected,
                got,
            } => {
                write!(f, "{what}: expected {expected} elements, got {got}")
            }
            Error::Unsupported {
                what,
                expected,
                got,
            } => {
                write!(f, "{what}: expected {expected}, got {got}")
            }
            Error::KernelTooLarge { expected, got } => {
                write!(
                    f,
                    "kernel: expected to cover at most {expected} padded inputs, got {got}"
                )
            }
            Error::Groups { expected, got } => {
                write!(
                    f,
                    "channels: expected a multiple of {expected} groups, got {got}"
                )
            }
            Error::Overflow { what } => write!(f, "{what}: too large to be represented"),
            Error::Level { index, level, bits } => {
                write!(f, "level {index}: {level} is not a level of {bits} bits")
            }
            Error::Code { index, code } => {
                write!(f, "code {index}: {code:#b} stands for no level")
            }
            Error::Header {
                what,
                expected,
                got,
            } => {
                write!(f, "{what}: expected {expected:#x}, got {got:#x}")
            }
            Error::Kernel { name } => {
                write!(f, "kernel {name}: not for this CPU or this width")
            }
        }
    }
}

impl core::error::Error for Error {}

/// `Ok` where `got == expected`, else [`Error::Length`].
pub(crate) fn check_len(what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got {
        Ok(())
    } else {
        Err(Error::Length {
            what,
            expected,
            got,
        })
    }
}
