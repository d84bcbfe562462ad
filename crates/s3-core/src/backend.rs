//! Which of its two forms an op runs in.
//!
//! Every op of this project exists **fused**, over kernels with their own gradients, which is what
//! the CPU runs, and **composed** from candle's ops, which is what every other device runs. With
//! `S3_OPS=composed` in the environment the CPU runs the second form as well: all that a GPU
//! computes, candle's kernels for it aside, can then be checked on a machine without one.

use candle_core::{Device, Result, bail};
use std::sync::OnceLock;

const VARIABLE: &str = "S3_OPS";

fn wanted() -> &'static str {
    static WANTED: OnceLock<String> = OnceLock::new();
    let read = || std::env::var_os(VARIABLE).unwrap_or_default();
    // What is no UTF-8 is neither name, and refused as such.
    WANTED.get_or_init(|| read().to_string_lossy().into_owned())
}

/// Whether ops on `device` are fused. `S3_OPS` is read once a process.
#[must_use]
pub fn is_fused(device: &Device) -> bool {
    device.is_cpu() && wanted() != "composed"
}

/// Refuses a value of `S3_OPS` that means nothing.
///
/// # Errors
/// It is set, and neither `fused` nor `composed`.
pub fn check() -> Result<()> {
    match wanted() {
        "" | "fused" | "composed" => Ok(()),
        other => bail!("{VARIABLE}: expected fused or composed, got `{other}`"),
    }
}
