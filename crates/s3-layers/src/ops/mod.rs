//! The ops below the layers. Each file holds one op twice: over the kernels of `s3-kernels` on the
//! CPU, and composed from candle's ops for other devices, which is also the oracle of its tests.

mod conv;
mod dropout;
mod norm;
mod pool;
mod relu;
mod shortcut;
mod synced_norm;
#[cfg(test)]
mod testing;
mod windows;

pub use conv::{conv2d, depthwise_conv2d};
pub(crate) use dropout::{Draw, dropout, dropout_factors};
pub use norm::{batch_norm, scale_shift};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};
pub(crate) use relu::activated;
pub use relu::{relu, relu6};
pub(crate) use shortcut::SubsampleAndPad;
pub use shortcut::subsample_and_pad;
pub use synced_norm::{AllReduce, batch_norm_across};

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use s3_kernels::train::{Bf16, instructions};
use s3_kernels::{Isa, Kernel};

/// The instructions that the CPU ops of activations in `dtype` run on: those of the widest
/// instruction set there is, or of the one that `S3_KERNELS_ISA` names
/// ([`s3_kernels::train::instructions`]).
///
/// # Errors
/// The variable names one that this CPU does not have, `S3_KERNELS_KERNEL` a kernel that it cannot
/// run, or `S3_KERNELS_AMX` or `S3_KERNELS_BF16` is not `0` or `1`.
pub fn instruction_set(dtype: DType) -> Result<&'static str> {
    let isas: Vec<&str> = Isa::available().map(Isa::name).collect();
    let kernels = Kernel::all().filter(|kernel| kernel.is_available());
    let kernels: Vec<&str> = kernels.map(Kernel::name).collect();
    for (variable, accepted) in [
        ("S3_KERNELS_ISA", &*isas),
        ("S3_KERNELS_KERNEL", &*kernels),
        ("S3_KERNELS_AMX", &["0", "1"]),
        ("S3_KERNELS_BF16", &["0", "1"]),
    ] {
        // An empty variable is none; what is no UTF-8 is no name.
        let wanted = std::env::var_os(variable).unwrap_or_default();
        let wanted = wanted.to_string_lossy();
        if !wanted.is_empty() && !accepted.contains(&&*wanted) {
            bail!(
                "{variable}: `{wanted}` is not available, expected one of {}",
                accepted.join(", ")
            )
        }
    }
    Ok(match dtype {
        DType::BF16 => instructions::<Bf16>(),
        _ => instructions::<f32>(),
    })
}

/// A kernel's refusal as a candle error.
pub(crate) fn kernel_error(e: s3_kernels::Error) -> Error {
    Error::Msg(e.to_string())
}

/// The indices `start, start + step, ..`, `n` of them.
fn indices(start: usize, step: usize, n: usize, device: &Device) -> Result<Tensor> {
    let index: Vec<u32> = (0..n).map(|i| (start + i * step) as u32).collect();
    Tensor::from_vec(index, n, device)
}
