//! The ops below the layers. Each file holds one op twice: over the kernels of `s3-kernels` on the
//! CPU, and composed from candle's ops for other devices, which is also the oracle of its tests.

mod conv;
mod norm;
mod pool;
mod relu;
mod shortcut;
#[cfg(test)]
mod testing;

pub use conv::conv2d;
pub use norm::{batch_norm, scale_shift};
pub use pool::{global_avg_pool, max_pool2d};
pub use relu::relu;
pub(crate) use shortcut::SubsampleAndPad;
pub use shortcut::subsample_and_pad;

use candle_core::Error;

/// A kernel's refusal as a candle error.
pub(crate) fn kernel_error(e: s3_kernels::Error) -> Error {
    Error::Msg(e.to_string())
}
