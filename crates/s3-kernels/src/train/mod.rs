//! Kernels that training on a CPU needs: convolution, batch norm, pools, sums, and their gradients.
//!
//! Activations are NHWC (channels last), in f32 or bf16 ([`Element`]); convolution weights are OIHW
//! (torch's layout) and, like statistics and parameters' gradients, f32. Every function takes
//! slices, checks their lengths, and writes every element of its outputs.
//!
//! Work is split over the current rayon pool, by sizes that depend on the shape alone, and partial
//! sums are added in a fixed order: **the same bytes come out for any number of threads**.
//! Different instruction sets may round differently.
//!
//! ```
//! use s3_kernels::{ConvShape, train};
//!
//! // One 2x2 image of one channel; a 1x1 kernel that doubles it.
//! let shape = ConvShape { height: 2, width: 2, ..ConvShape::default() };
//! let mut y = [0.0; 4];
//! train::conv2d_forward(&shape, &[1.0, 2.0, 3.0, 4.0], &[2.0], &mut y)?;
//! assert_eq!(y, [2.0, 4.0, 6.0, 8.0]);
//! # Ok::<(), s3_kernels::Error>(())
//! ```

mod arch;
mod batch_norm;
mod bf16;
mod conv;
mod element;
mod kernels;
mod peak;
mod pool;
mod prefetch;
mod scratch;
mod simd;
mod sum;
#[cfg(test)]
mod tests;

pub use crate::act::Act;
pub use batch_norm::saved::{BatchNormGrads, BatchNormSaved, BatchStats};
pub use batch_norm::{batch_norm_backward, batch_norm_forward, scale_shift};
pub use bf16::Bf16;
pub use conv::{
    conv2d_backward_input, conv2d_backward_input_add, conv2d_backward_weight, conv2d_forward,
};
pub use element::{Element, instructions};
pub use peak::multiply_adds;
pub use pool::{
    PoolShape, avg_pool2d_backward, avg_pool2d_forward, global_avg_pool_backward,
    global_avg_pool_forward, max_pool2d_backward, max_pool2d_forward,
};
pub use sum::{act_backward, add_assign, sum_forward};
