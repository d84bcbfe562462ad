//! Wider alphabets, as sums of packed matrices.
//!
//! A level is 0 or ±2^s with s up to 30. A [`WideMatrix`] writes `W = sum over p of 2^(s_p) W_p`, where
//! every `W_p` is a [`PackedMatrix`] of 2, 3 or 4 bits, its levels in `{0, ±1, .., ±64}`; so does
//! `x Wᵀ = sum over p of 2^(s_p) x W_pᵀ`, and every kernel serves wide weights too. A plane costs as
//! much as the matrix it is.
//!
//! Two planes hold the 5-bit codes of INQ (`±2^0 .. ±2^7`, up to a scale); three hold those of DeepShift
//! (`±2^0 .. ±2^14`). Planes are stored one by one, in the byte format of [`PackedMatrix`].

use alloc::vec::Vec;

use crate::error::{Error, check_len};
use crate::gemm::gemm;
use crate::packed::PackedMatrix;
use crate::packed::code::BitWidth;

/// The largest shift: `2^30` is the largest power of two of an `i32`.
const MAX_SHIFT: u32 = 30;

/// A matrix of levels 0 and `±2^s`, `s` from 0 to 30, as a sum of planes `2^(s_p) W_p`.
///
/// As for [`PackedMatrix`], it is proved when the matrix is made that no 8-bit input can make an
/// accumulator leave `i32`; no row can hold a level above `2^23`.
///
/// ```
/// use s3_kernels::{WideMatrix, gemm_wide};
///
/// let levels = [1, -128, 0, 16384];
/// let w = WideMatrix::from_levels(&levels, 2, 2)?;
/// assert_eq!(w.to_levels(), levels);
///
/// let mut y = [0; 2];
/// gemm_wide(&w, &[5, -128], 1, &mut y)?;
/// assert_eq!(y, [5 + 128 * 128, -128 * 16384]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WideMatrix {
    rows: usize,
    cols: usize,
    planes: Vec<(u32, PackedMatrix)>,
}

impl WideMatrix {
    /// Packs `levels`, `[rows, cols]` in row-major order, into as few planes as hold the shifts that
    /// occur, each as narrow as it can be.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where `levels` has not `rows * cols` elements; [`Error::Level`] where one is not
    /// 0 or a power of two up to `2^30`, with a sign; [`Error::Overflow`] where `rows * cols` does not fit,
    /// or where a row's `sum |level| * 255` exceeds `i32::MAX`.
    pub fn from_levels(levels: &[i32], rows: usize, cols: usize) -> Result<WideMatrix, Error> {
        let weights = rows
            .checked_mul(cols)
            .ok_or(Error::Overflow { what: "weights" })?;
        check_len("levels", weights, levels.len())?;
        let mut shifts = 0u32;
        for (index, &level) in levels.iter().enumerate() {
            let magnitude = level.unsigned_abs();
            if magnitude == 0 {
                continue;
            }
            if !magnitude.is_power_of_two() || magnitude > 1 << MAX_SHIFT {
                let bits = 6;
                return Err(Error::Level { index, level, bits });
            }
            shifts |= magnitude;
        }
        let mut planes = Vec::new();
        while shifts != 0 {
            let base = shifts.trailing_zeros();
            let highest = (base..=MAX_SHIFT.min(base + BitWidth::B4.t()))
                .rev()
                .find(|shift| shifts >> shift & 1 == 1)
                .unwrap_or(base);
            let held = (base..=highest).fold(0, |held, shift| held | 1 << shift);
            let bit_width = BitWidth::ALL
                .into_iter()
                .find(|width| width.t() >= highest - base)
                .unwrap_or(BitWidth::B4);
            let plane: Vec<i8> = levels
                .iter()
                .map(|&level| {
                    let inside = level.unsigned_abs() & held != 0;
                    if inside { (level >> base) as i8 } else { 0 }
                })
                .collect();
            planes.push((
                base,
                PackedMatrix::from_levels(&plane, rows, cols, bit_width)?,
            ));
            shifts &= !held;
        }
        WideMatrix::from_planes(planes, rows, cols)
    }

    /// The sum of `planes`, each a shift `s_p` and a matrix `W_p` of `rows` by `cols`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where a plane has another shape; [`Error::Unsupported`] where a shift is above 30;
    /// [`Error::Overflow`] where a row's `sum over p of 2^(s_p) sum |level| * 255` exceeds `i32::MAX`.
    pub fn from_planes(
        planes: Vec<(u32, PackedMatrix)>,
        rows: usize,
        cols: usize,
    ) -> Result<WideMatrix, Error> {
        let mut magnitudes = Vec::new();
        for (shift, plane) in &planes {
            check_len("rows of a plane", rows, plane.rows())?;
            check_len("columns of a plane", cols, plane.cols())?;
            if *shift > MAX_SHIFT {
                return Err(Error::Unsupported {
                    what: "shift of a plane",
                    expected: "at most 30",
                    got: *shift as usize,
                });
            }
            if cols == 0 {
                continue;
            }
            magnitudes.resize(rows, 0u64);
            for (sum, levels) in magnitudes.iter_mut().zip(plane.to_levels().chunks(cols)) {
                for level in levels {
                    *sum += u64::from(level.unsigned_abs()) << shift;
                }
            }
        }
        if magnitudes.iter().any(|&sum| sum > i32::MAX as u64 / 255) {
            return Err(Error::Overflow {
                what: "accumulator of a row",
            });
        }
        Ok(WideMatrix { rows, cols, planes })
    }

    /// Outputs: the rows of the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs: the columns of the matrix.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The planes: `s_p` and `W_p`.
    #[must_use]
    pub fn planes(&self) -> &[(u32, PackedMatrix)] {
        &self.planes
    }

    /// The levels, `[rows, cols]` in row-major order.
    #[must_use]
    pub fn to_levels(&self) -> Vec<i32> {
        let mut levels = alloc::vec![0; self.rows * self.cols];
        for (shift, plane) in &self.planes {
            for (level, part) in levels.iter_mut().zip(plane.to_levels()) {
                *level += i32::from(part) << shift;
            }
        }
        levels
    }
}

/// [`gemm`] of a wide matrix: `y[b, r]` is the sum over `c` of `w[r, c] * x[b, c]`, exact.
///
/// Shapes are those of [`gemm`], which runs once for each plane.
///
/// # Errors
///
/// As [`gemm`].
pub fn gemm_wide(w: &WideMatrix, x: &[i8], batch: usize, y: &mut [i32]) -> Result<(), Error> {
    let len = |what, length: usize| batch.checked_mul(length).ok_or(Error::Overflow { what });
    check_len("x", len("x", w.cols)?, x.len())?;
    check_len("y", len("y", w.rows)?, y.len())?;
    y.fill(0);
    let mut part = Vec::new();
    for (shift, plane) in &w.planes {
        part.resize(y.len(), 0);
        gemm(plane, x, batch, &mut part)?;
        for (y, part) in y.iter_mut().zip(&part) {
            // No sum of some planes leaves i32, because the magnitudes of all of them do not.
            *y += part << shift;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::{WideMatrix, gemm_wide};
    use crate::{BitWidth, Error};

    /// Levels 0 and ±2^0 .. ±2^t, each in turn.
    fn levels(t: u32, len: usize) -> Vec<i32> {
        let of = |i: usize| match i % (2 * t as usize + 3) {
            0 => 0,
            i if i % 2 == 0 => 1 << ((i - 1) / 2),
            i => -(1 << ((i - 1) / 2)),
        };
        (0..len).map(|i| of(i * 7 + i / 11)).collect()
    }

    fn check(levels: &[i32], rows: usize, cols: usize, x: &[i8], batch: usize) {
        let w = WideMatrix::from_levels(levels, rows, cols).unwrap();
        assert_eq!(w.to_levels(), levels);
        let mut y = vec![7; batch * rows];
        gemm_wide(&w, x, batch, &mut y).unwrap();
        for b in 0..batch {
            for r in 0..rows {
                let products = (0..cols).map(|c| levels[r * cols + c] * i32::from(x[b * cols + c]));
                assert_eq!(y[b * rows + r], products.sum::<i32>(), "row {r} batch {b}");
            }
        }
    }

    #[test]
    fn every_level_times_every_activation() {
        for t in [0, 2, 6, 7, 8, 14, 22] {
            let levels = levels(t, 2 * t as usize + 3);
            let x: Vec<i8> = (i8::MIN..=i8::MAX).collect();
            check(&levels, levels.len(), 1, &x, 256);
        }
    }

    #[test]
    fn products_of_wide_rows_are_exact() {
        for (t, rows, cols, batch) in [
            (7, 70, 130, 3),
            (14, 5, 33, 9),
            (14, 65, 64, 1),
            (8, 1, 1, 1),
        ] {
            let x: Vec<i8> = (0..batch * cols).map(|i| (i * 37) as i8).collect();
            check(&levels(t, rows * cols), rows, cols, &x, batch);
            check(
                &levels(t, rows * cols),
                rows,
                cols,
                &vec![-128; batch * cols],
                batch,
            );
        }
        for (rows, cols) in [(0, 3), (3, 0), (2, 2)] {
            check(&vec![0; rows * cols], rows, cols, &vec![5; cols], 1);
        }
    }

    #[test]
    fn planes_are_as_few_and_as_narrow_as_the_shifts_that_occur() {
        let planes = |levels: &[i32]| -> Vec<(u32, BitWidth)> {
            let w = WideMatrix::from_levels(levels, 1, levels.len()).unwrap();
            w.planes()
                .iter()
                .map(|(s, w)| (*s, w.bit_width()))
                .collect()
        };
        assert_eq!(planes(&[0, 0]), []);
        assert_eq!(planes(&[8, -8]), [(3, BitWidth::B2)]);
        assert_eq!(planes(&[1, -64]), [(0, BitWidth::B4)]);
        assert_eq!(planes(&[1, 128]), [(0, BitWidth::B2), (7, BitWidth::B2)]);
        assert_eq!(
            planes(&levels(7, 100)),
            [(0, BitWidth::B4), (7, BitWidth::B2)]
        );
        assert_eq!(planes(&levels(14, 100)).len(), 3);
    }

    #[test]
    fn what_cannot_be_a_wide_matrix_is_an_error() {
        let error = |levels: &[i32]| WideMatrix::from_levels(levels, 1, levels.len()).unwrap_err();
        for level in [3, -5, i32::MIN, i32::MAX] {
            assert_eq!(
                error(&[1, level]),
                Error::Level {
                    index: 1,
                    level,
                    bits: 6
                }
            );
        }
        let overflow = Error::Overflow {
            what: "accumulator of a row",
        };
        assert_eq!(error(&[1 << 23, 1 << 16]), overflow);
        assert_eq!(error(&[-(1 << 30), 0]), overflow);
        assert!(WideMatrix::from_levels(&[1 << 23, -(1 << 14)], 1, 2).is_ok());
        assert!(matches!(
            WideMatrix::from_levels(&[1], 1, 2),
            Err(Error::Length { .. })
        ));
        let plane = crate::PackedMatrix::from_levels(&[1], 1, 1, BitWidth::B2).unwrap();
        for (shift, rows) in [(31, 1), (0, 2)] {
            assert!(WideMatrix::from_planes(vec![(shift, plane.clone())], rows, 1).is_err());
        }
        let w = WideMatrix::from_levels(&[1], 1, 1).unwrap();
        assert!(matches!(
            gemm_wide(&w, &[1], 2, &mut [0, 0]),
            Err(Error::Length { .. })
        ));
    }
}
