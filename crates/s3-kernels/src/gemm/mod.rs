//! Matrix products of packed weights with 8-bit activations, exact in `i32`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod blocked;
pub(crate) mod fused;

use core::ops::Range;

use crate::error::{Error, check_len};
use crate::isa::Isa;
use crate::micro::kernel::{Job, Kernel};
use crate::packed::PackedMatrix;
use crate::packed::lines::PANEL;
use crate::parallel::Outputs;

/// `y = x · wᵀ`: `y[b, r]` is the sum over `c` of `w[r, c] * x[b, c]`.
///
/// # Shapes
///
/// `w`: `[rows, cols]`, `x`: `[batch, cols]`, `y`: `[batch, rows]`, row-major. Any of the three may be
/// 0 or 1; a batch of 1 is a matrix-vector product. `x` takes every value of `i8`, -128 included.
///
/// The result is exact: [`PackedMatrix`] proves that no sum can leave `i32`. It is the same on every
/// CPU, whichever kernel is chosen, and for any number of threads. With feature `rayon`, products that
/// are worth it are shared by the threads of the current pool.
///
/// # Errors
///
/// [`Error::Length`] where `x` or `y` has another length, [`Error::Overflow`] where a length does not
/// fit `usize`. `y` is then unchanged.
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
    let job = Job::new(w, 0..w.rows(), x, batch, y)?;
    spread(Kernel::select(Isa::detect(), w, batch), job);
    Ok(())
}

/// [`gemm`] for the rows `rows` of `w` alone and on the current thread, for callers that split the work
/// over their own threads.
///
/// `y` is `[batch, rows.len()]`. `rows.start` must be a multiple of [`ROW_PANEL`], and so must
/// `rows.end` unless it is `w.rows()`.
///
/// # Errors
///
/// As [`gemm`]; [`Error::Unsupported`] where `rows` is not made of whole panels, or ends after
/// `w.rows()`.
///
/// ```
/// use s3_kernels::{BitWidth, PackedMatrix, ROW_PANEL, gemm_rows};
///
/// let w = PackedMatrix::from_levels(&[1; 100], 100, 1, BitWidth::B2)?;
/// let mut y = [0; 100];
/// let (left, right) = y.split_at_mut(ROW_PANEL);
/// std::thread::scope(|threads| {
///     threads.spawn(|| gemm_rows(&w, 0..ROW_PANEL, &[5], 1, left).unwrap());
///     threads.spawn(|| gemm_rows(&w, ROW_PANEL..100, &[5], 1, right).unwrap());
/// });
/// assert_eq!(y, [5; 100]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn gemm_rows(
    w: &PackedMatrix,
    rows: Range<usize>,
    x: &[i8],
    batch: usize,
    y: &mut [i32],
) -> Result<(), Error> {
    let job = Job::new(w, rows, x, batch, y)?;
    Kernel::select(Isa::detect(), w, batch).start(job);
    Ok(())
}

/// Batch rows for each thread from which on threads share these, and each reads all weights; below they
/// share the weights.
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
    outputs.split(cols, MANY, job.y, |batch, panels, y| {
        kernel.start(Job {
            w,
            panels,
            x: &x[batch.start * cols..batch.end * cols],
            batch: batch.len(),
            y,
        });
    });
}

/// The rows that one panel of a [`PackedMatrix`] holds: where [`gemm_rows`] may cut.
pub const ROW_PANEL: usize = PANEL;

impl<'a> Job<'a> {
    /// Checks the arguments of a product.
    pub(crate) fn new(
        w: &'a PackedMatrix,
        rows: Range<usize>,
        x: &'a [i8],
        batch: usize,
        y: &'a mut [i32],
    ) -> Result<Job<'a>, Error> {
        for (what, cut) in [("first row", rows.start), ("last row", rows.end)] {
            if !(cut.is_multiple_of(PANEL) || cut == w.rows()) || cut > w.rows() {
                return Err(Error::Unsupported {
                    what,
                    expected: "a multiple of ROW_PANEL inside the matrix, or its end",
                    got: cut,
                });
            }
        }
        let len = |what, length: usize| batch.checked_mul(length).ok_or(Error::Overflow { what });
        check_len("x", len("x", w.cols())?, x.len())?;
        check_len("y", len("y", rows.len())?, y.len())?;
        Ok(Job {
            w,
            panels: rows.start.div_ceil(PANEL)..rows.end.div_ceil(PANEL),
            x,
            batch,
            y,
        })
    }
}
