//! Dispatch: every implementation there is, and the choice among them by instruction set and shape.
//!
//! All kernels of a list compute the same numbers for every shape; they differ in what they need
//! and where they are fast. To add one, write it under `arch/` and add its line to the list: the
//! tests walk the lists.

mod choice;
#[cfg(all(test, feature = "std", target_arch = "x86_64", target_os = "linux"))]
mod disassembly;
mod dispatch;
mod list;
#[cfg(all(test, feature = "std"))]
mod tests;

#[cfg(feature = "model")]
pub(crate) use dispatch::float_dense;
pub(crate) use dispatch::{float_depthwise, store_floats};
#[cfg(test)]
pub(crate) use list::{FLOAT_KERNELS, MICROKERNELS};
