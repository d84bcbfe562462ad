//! Dense integer weights: those layers that keep more than a few levels.

use alloc::vec::Vec;

use crate::conv::weights::Weights;
use crate::error::check_len;
use crate::micro::bytes::NR;
use crate::packed::lines::Line;
use crate::packed::unpack::{QUAD, Unpack};
use crate::{BitWidth, Error};

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
    row_sums: Vec<i32>,
    /// The largest magnitude of a sum of u8 activations.
    bound: i64,
}

impl DenseMatrix {
    /// Takes `levels`, `[rows, cols]` in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where there are not `rows * cols` of them; [`Error::Level`] where one is
    /// above [`MAX_LEVEL`] in magnitude; [`Error::Overflow`] where `rows * cols` does not fit, or a
    /// row's `sum |level| * 255` exceeds `i32::MAX`.
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
        let (mut row_sums, mut bound) = (Vec::new(), 0);
        for row in levels.chunks_exact(cols.max(1)) {
            let magnitudes: i64 = row.iter().map(|l| i64::from(l.unsigned_abs())).sum();
            bound = bound.max(magnitudes.saturating_mul(255));
            if bound > i64::from(i32::MAX) {
                return Err(Error::Overflow {
                    what: "accumulator of a row",
                });
            }
            // No larger than the sum of the magnitudes.
            row_sums.push(row.iter().map(|&l| i32::from(l)).sum());
        }
        Ok(DenseMatrix {
            levels,
            rows,
            cols,
            row_sums,
            bound,
        })
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

impl Weights for DenseMatrix {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn bit_width(&self) -> BitWidth {
        // Its largest level is MAX_LEVEL.
        BitWidth::B4
    }

    fn row_sums(&self) -> &[i32] {
        &self.row_sums
    }

    fn accumulator_bound(&self) -> i64 {
        self.bound
    }

    fn to_levels(&self) -> Vec<i8> {
        self.levels.clone()
    }

    fn unpack(&self, _: Unpack, panel: usize, to: &mut [Line]) {
        to.fill(Line([0; 64]));
        let first = panel * NR;
        for lane in 0..NR.min(self.rows - first) {
            let row = &self.levels[(first + lane) * self.cols..][..self.cols];
            let (line, at) = (lane / 16, lane % 16 * 4);
            for (quad, levels) in to.chunks_exact_mut(QUAD).zip(row.chunks(4)) {
                for (to, &level) in quad[line].0[at..].iter_mut().zip(levels) {
                    *to = level as u8;
                }
            }
        }
    }
}
