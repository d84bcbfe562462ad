//! Benchmarks of the workspace: `cargo xtask bench NAME`, and criterion benches of single kernels.
#![forbid(unsafe_code)]
