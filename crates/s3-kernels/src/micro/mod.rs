//! Contracts: what a microkernel takes and gives, whatever the instruction set.
//! [`arch`](crate::arch) implements them, [`select`](crate::select) chooses.

pub(crate) mod bytes;
pub(crate) mod float;
pub(crate) mod kernel;
pub(crate) mod loops;
pub(crate) mod rates;
