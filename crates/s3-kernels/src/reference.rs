//! The specification of [`gemm`](crate::gemm) in three loops. Every kernel must equal it.

/// `y[b, r] = sum over c of w[r, c] * x[b, c]`, exact.
///
/// `w`: `[rows, cols]`, `x`: `[batch, cols]`, `y`: `[batch, rows]`, all row-major. `y.len()` must
/// be `batch * rows` and so on; `rows` and `cols` follow from the lengths only with `batch` and
/// `cols`.
///
/// # Panics
///
/// Where a slice is shorter than its shape, or (in a debug build) a sum leaves `i32`.
///
/// ```
/// let mut y = [0; 2];
/// s3_kernels::reference::gemm(&[1, -2, 0, 4], 2, 2, &[100, -128], 1, &mut y);
/// assert_eq!(y, [356, -512]);
/// ```
pub fn gemm(w: &[i8], rows: usize, cols: usize, x: &[i8], batch: usize, y: &mut [i32]) {
    for b in 0..batch {
        for r in 0..rows {
            let mut sum = 0;
            for c in 0..cols {
                sum += i32::from(w[r * cols + c]) * i32::from(x[b * cols + c]);
            }
            y[b * rows + r] = sum;
        }
    }
}
