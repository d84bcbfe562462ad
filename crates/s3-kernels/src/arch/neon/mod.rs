//! Kernels for aarch64 with NEON: one driver, and a microkernel for each generation of CPUs.
//!
//! | microkernel | instruction | products |
//! | --- | --- | --- |
//! | [`widening`](microkernel::widening) | `smlal`, 16-bit sums for as long as they fit | 8 |
//! | [`dot`](microkernel::dot) | `sdot` | 16 |
//! | [`matrix`](microkernel::matrix) | `smmla`, two rows of `x` at a time | 32 |

mod decode;
pub(crate) mod gemm;
mod microkernel;
