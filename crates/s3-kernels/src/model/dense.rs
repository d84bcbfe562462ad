//! Dense integer weights: those layers that keep more than a few levels.

use alloc::vec::Vec;

use crate::Error;
use crate::error::check_len;

/// The largest magnitude of a level: two products with u8 activations fit an i16 sum, so that every
/// instruction set can be exact (`2 * 255 * 64 = 32640`).
pub const MAX_LEVEL: i8 = 64;

/// A matrix of integers of -64 to 64, row-major.
///
/// ```
/// use s3_kernels::model::DenseMatrix;
///
/// let w = DenseMatrix::from_levels(vec![64, -3, 0, 17], 2, 2)?;
/// assert_eq!((w.rows(), w.cols(), w.levels()[3]), (2, 2, 17));
/// assert!(DenseMatrix::from_levels(vec![65], 1, 1).is_err());
/// # Ok::<(), s3_kernels::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseMatrix {
    levels: Vec<i8>,
    rows: usize,
    cols: usize,
}

impl DenseMatrix {
    /// Takes `levels`, `[rows, cols]` in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where there are not `rows * cols` of them; [`Error::Level`] where one is above
    /// [`MAX_LEVEL`] in magnitude; [`Error::Overflow`] where `rows * cols` does not fit, or a row's
    /// `sum |level| * 255` exceeds `i32::MAX`.
    pub fn from_levels(levels: Vec<i8>, rows: usize, cols: usize) -> Result<DenseMatrix, Error> {
        let len = rows
            .checked_mul(cols)
            .ok_or(Error::Overflow { what: "weights" })?;
        check_len("levels", len, levels.len())?;
        let outside = |l: &i8| l.unsigned_abs() > MAX_LEVEL.unsigned_abs();
        if let Some(index) = levels.iter().position(outside) {
            let level = levels[index].into();
            return Err(Error::Level {
                index,
                level,
                bits: 8,
            });
        }
        for row in levels.chunks_exact(cols.max(1)) {
            let magnitudes: u64 = row.iter().map(|l| u64::from(l.unsigned_abs())).sum();
            if magnitudes.saturating_mul(255) > i32::MAX as u64 {
                return Err(Error::Overflow {
                    what: "accumulator of a row",
                });
            }
        }
        Ok(DenseMatrix { levels, rows, cols })
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of each output.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The integers, row-major.
    #[must_use]
    pub fn levels(&self) -> &[i8] {
        &self.levels
    }
}
