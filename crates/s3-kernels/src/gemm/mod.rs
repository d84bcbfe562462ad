//! Matrix products of packed weights with 8-bit activations, exact in `i32`.

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
pub(crate) mod blocked;
pub(crate) mod fused;

use crate::error::Error;
use crate::isa::Isa;
use crate::micro::kernel::{Job, Kernel};
use crate::packed::PackedMatrix;
use crate::parallel::Outputs;

/// `y = x · wᵀ`: `y[b, r]` is the sum over `c` of `w[r, c] * x[b, c]`.
///
/// # Shapes
///
/// `w`: `[rows, cols]`, `x`: `[batch, cols]`, `y`: `[batch, rows]`, row-major. Any of the three may
/// be 0 or 1; a batch of 1 is a matrix-vector product. `x` takes every value of `i8`, -128
/// included.
///
/// The result is exact: [`PackedMatrix`] proves that no sum can leave `i32`. It is the same on
/// every CPU, whichever kernel is chosen, and for any number of threads. With feature `rayon`,
/// products that are worth it are shared by the threads of the current pool.
///
/// # Errors
///
/// [`Error::Length`] where `x` or `y` has another length, [`Error::Overflow`] where a length does
/// not fit `usize`. `y` is then unchanged.
///
/// ```
/// use s3_kernels::{BitWidth, PackedMatrix, gemm};
///
/// let w = PackedMatrix::from_levels(&[1, -2, 0, 4], 2, 2, BitWidth::B3)?;
/// let mut y = [0; 4];
/// gemm(&w, &[100, -128, 1, 2], 2, &mut y)?;
/// assert_eq!(y, [356, -512, -3, 8]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn gemm(w: &PackedMatrix, x: &[i8], batch: usize, y: &mut [i32]) -> Result<(), Error> {
    let job = Job::new(w, x, batch, y)?;
    spread(Kernel::select(Isa::detect(), w, batch), job);
    Ok(())
}

/// Batch rows for each thread from which on threads share these, and each reads all weights; below
/// they share the weights.
const MANY: usize = 256;

/// Runs a job of a whole matrix on `kernel`, on the threads that it is worth.
pub(crate) fn spread(kernel: &Kernel, job: Job<'_>) {
    let (w, x, cols) = (job.w, job.x, job.w.cols());
    let outputs = Outputs {
        rows: job.batch,
        groups: 1,
        group_out: w.rows(),
    };
    if job.y.is_empty() {
        return;
    }
    outputs.for_each_part(cols, MANY, job.y, |batch, panels, y| {
        kernel.start(Job {
            w,
            panels,
            x: &x[batch.start * cols..batch.end * cols],
            batch: batch.len(),
            y,
        });
    });
}
