//! The kernels, one folder or file for each instruction set. [`kernel`](crate::kernel) lists them.

pub(crate) mod scalar;
