//! Kernels for aarch64 with NEON: one driver, and a microkernel for each generation of CPUs.
//!
//! | microkernel | instruction | products |
//! | --- | --- | --- |
//! | [`widening`](tile::widening) | `smlal`, 16-bit sums for as long as they fit | 8 |
//! | [`dot`](tile::dot) | `sdot` | 16 |
//! | [`matrix`](tile::matrix) | `smmla`, two rows of `x` at a time | 32 |

mod decode;
pub(crate) mod gemm;
mod tile;
