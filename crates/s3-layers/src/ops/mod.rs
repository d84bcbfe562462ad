//! The ops below the layers. Each file holds one op twice: over the kernels of `s3-kernels` on the
//! CPU, and composed from candle's ops for other devices, which is also the oracle of its tests.

mod across;
mod conv;
mod norm;
mod pool;
mod relu;
mod shortcut;
#[cfg(test)]
mod testing;

pub use across::{AcrossRanks, batch_norm_across};
pub use conv::conv2d;
pub use norm::{batch_norm, scale_shift};
pub use pool::{global_avg_pool, max_pool2d};
pub use relu::relu;
pub(crate) use shortcut::SubsampleAndPad;
pub use shortcut::subsample_and_pad;

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use s3_kernels::Isa;
use s3_kernels::train::{Bf16, instructions};

/// The instructions that the CPU ops of activations in `dtype` run on: those of the widest instruction set
/// there is, or of the one that `S3_KERNELS_ISA` names ([`s3_kernels::train::instructions`]).
///
/// # Errors
/// The variable names one that this CPU does not have, or `S3_KERNELS_AMX` is not `0` or `1`.
pub fn instruction_set(dtype: DType) -> Result<&'static str> {
    // An empty variable is none; what is no UTF-8 is no name.
    let variable = |name| {
        std::env::var_os(name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let wanted = variable("S3_KERNELS_ISA");
    let available: Vec<&str> = Isa::available().map(Isa::name).collect();
    if !wanted.is_empty() && !available.contains(&wanted.as_str()) {
        bail!(
            "S3_KERNELS_ISA: `{wanted}` is not available, expected one of {}",
            available.join(", ")
        )
    }
    let amx = variable("S3_KERNELS_AMX");
    if !["", "0", "1"].contains(&amx.as_str()) {
        bail!("S3_KERNELS_AMX: expected 0 or 1, got `{amx}`")
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
