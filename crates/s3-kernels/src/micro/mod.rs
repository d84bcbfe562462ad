//! What a microkernel is: the operands and results of every kernel, whatever the instruction set.

pub(crate) mod bytes;
pub(crate) mod float;
pub(crate) mod kernel;
pub(crate) mod rates;
