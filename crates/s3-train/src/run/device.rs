//! Where tensors live: `cpu`, or the NVIDIA GPU `cuda:N`.
//!
//! A device is no part of what an experiment is, as the number of threads is none: a run's name
//! does not hold it, and `--resume` goes on with a run elsewhere. Its results do differ in the last
//! bits.

use anyhow::{Result, anyhow, bail};
use candle_core::Device;
use s3_core::backend;

/// The name of every device as a configuration resolves it: `cuda` is `cuda:0`.
///
/// # Errors
/// One line: none of `cpu`, `cuda` and `cuda:N`.
///
/// ```
/// assert_eq!(s3_train::device::resolve("cuda")?, "cuda:0");
/// assert!(s3_train::device::resolve("gpu").is_err());
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn resolve(name: &str) -> Result<String> {
    Ok(match gpu(name)? {
        None => "cpu".into(),
        Some(n) => format!("cuda:{n}"),
    })
}

/// The number of the GPU that `name` means; `None` for the CPU.
fn gpu(name: &str) -> Result<Option<usize>> {
    let number = match name {
        "cpu" => return Ok(None),
        "cuda" => Some(0),
        other => other.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    match number {
        Some(n) => Ok(Some(n)),
        None => bail!("device: expected cpu, cuda or cuda:N, got `{name}`"),
    }
}

/// The device called `name`. A GPU belongs to the thread that opens it: candle gives each thread a
/// stream of its own, and nothing waits between them.
///
/// # Errors
/// One line: the name means none, this program was built without the feature `cuda`, or the driver
/// has no such GPU; an `S3_OPS` that means nothing.
pub fn open(name: &str) -> Result<Device> {
    backend::check()?;
    let Some(number) = gpu(name)? else {
        return Ok(Device::Cpu);
    };
    if !cfg!(feature = "cuda") {
        bail!("device: {name}: this program was built without CUDA (cargo build --features cuda)")
    }
    Device::new_cuda(number).map_err(|e| {
        let text = e.to_string();
        anyhow!(
            "device: {name}: {}",
            text.lines().next().unwrap_or_default()
        )
    })
}

/// The device called `name` or, where this program or machine does not have it, the CPU: what a run
/// was trained on says nothing of who reads it.
///
/// # Errors
/// The name means no device.
pub fn open_or_cpu(name: &str) -> Result<Device> {
    if gpu(name)?.is_none() {
        return open(name);
    }
    Ok(open(name).unwrap_or_else(|e| {
        tracing::warn!("{e}; the CPU stands in");
        Device::Cpu
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_or_refused_in_one_line() -> Result<()> {
        for (name, want) in [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:7", "cuda:7")] {
            assert_eq!(resolve(name)?, want);
        }
        for name in [
            "", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda 0", "gpu", "metal",
        ] {
            let e = resolve(name).expect_err("no device").to_string();
            assert!(e.starts_with("device: expected cpu, cuda or cuda:N"), "{e}");
            assert!(open(name).is_err() && open_or_cpu(name).is_err());
        }
        Ok(())
    }

    #[test]
    fn a_gpu_that_is_not_there_is_one_line_and_the_cpu_stands_in() -> Result<()> {
        // No machine has this many.
        let e = open("cuda:4096").expect_err("no such GPU").to_string();
        assert!(
            e.starts_with("device: cuda:4096: ") && !e.contains('\n'),
            "{e}"
        );
        assert!(open_or_cpu("cuda:4096")?.is_cpu());
        Ok(())
    }
}
