//! Matrix products of i8 or u8 activations with an epilogue.
//!
//! A few rows go to the kernels of [`gemm`](crate::gemm()): `sum w x = sum w (x - 128) + 128 sum w`
//! makes i8 of u8, exactly. Many rows go to the microkernel of the convolution, which is the same
//! product with the rows of `x` as its windows, and whose epilogue finds the sums in the
//! first-level cache.

use alloc::vec;

use super::spread;
use crate::conv::activation::Activation;
use crate::conv::conv2d_with;
use crate::epilogue::{Epilogue, Place, Steps};
use crate::error::{Error, check_len};
use crate::isa::Isa;
use crate::micro::bytes::{AccRow, Microkernel, NR};
use crate::micro::kernel::{Job, Kernel};
use crate::{ConvShape, PackedMatrix};

/// Batches from which on weights are unpacked once for all rows.
const MANY_ROWS: usize = 16;

/// [`gemm`](crate::gemm()) of i8 or u8 activations that stores what `epilogue` makes of the sums,
/// in the same call. Every output equals [`Epilogue::value`] of its exact sum.
///
/// # Errors
///
/// As [`gemm`](crate::gemm()); [`Error::Length`] and [`Error::Unsupported`] where the epilogue's
/// slices do not fit the output.
///
/// ```
/// use s3_kernels::{BitWidth, PackedMatrix, Scale, gemm_fused};
///
/// let w = PackedMatrix::from_levels(&[1, -2, 0, 4], 2, 2, BitWidth::B3)?;
/// let scale = Scale { scale: &[0.5, 0.25], bias: &[0.0, 1.0], relu: true, residual: None };
/// let mut y = [0.0; 2];
/// gemm_fused(&w, &[100i8, -128], 1, &scale, &mut y)?;
/// assert_eq!(y, [178.0, 0.0]);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub fn gemm_fused<X: Activation, E: Epilogue>(
    w: &PackedMatrix,
    x: &[X],
    batch: usize,
    epilogue: &E,
    y: &mut [E::Output],
) -> Result<(), Error> {
    gemm_with(
        Microkernel::of(Isa::detect()),
        MANY_ROWS,
        w,
        x,
        batch,
        epilogue,
        y,
    )
}

/// [`gemm_fused`] by a named microkernel from `many` rows on, below by a kernel of its instruction
/// set.
fn gemm_with<X: Activation, E: Epilogue>(
    kernel: &'static Microkernel,
    many: usize,
    w: &PackedMatrix,
    x: &[X],
    batch: usize,
    epilogue: &E,
    y: &mut [E::Output],
) -> Result<(), Error> {
    let product = |what, length| batch.checked_mul(length).ok_or(Error::Overflow { what });
    check_len("x", product("x", w.cols())?, x.len())?;
    check_len("y", product("y", w.rows())?, y.len())?;
    if batch >= many {
        let shape = ConvShape {
            batch,
            in_channels: w.cols(),
            out_channels: w.rows(),
            ..ConvShape::default()
        };
        return conv2d_with(kernel, w, x, &shape, epilogue, y);
    }
    let narrow = epilogue.prepare(batch, w.rows(), w.accumulator_bound())?;
    let signed: vec::Vec<i8> = X::bytes(x)
        .iter()
        .map(|&x| (x ^ X::FLIP ^ 0x80) as i8)
        .collect();
    let mut sums = vec![0; y.len()];
    let job = Job::new(w, &signed, batch, &mut sums)?;
    spread(Kernel::select(kernel.isa, w, batch), job);
    // Unsigned activations were made signed by taking 128 off.
    let offset = i32::from(X::FLIP ^ 0x80);
    let mut tile = [AccRow::ZERO];
    for row in 0..batch {
        for column in (0..w.rows()).step_by(NR) {
            let columns = (w.rows() - column).min(NR);
            let sums = &sums[row * w.rows() + column..][..columns];
            tile[0].0[..columns].copy_from_slice(sums);
            let rows = w.row_sums().get(column..).unwrap_or(&[]);
            for (sum, &row_sum) in tile[0].0.iter_mut().zip(rows) {
                *sum += offset * row_sum;
            }
            let at = Steps {
                first: row * w.rows() + column,
                step: w.rows(),
            };
            let place = Place {
                column,
                columns,
                whole: at,
                slice: at,
            };
            epilogue.store(kernel.isa, narrow, &tile, &place, y);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::{Activation, Epilogue, gemm_fused, gemm_with};
    use crate::select::MICROKERNELS;
    use crate::{BitWidth, Error, PackedMatrix, Raw, ShiftRequant};

    /// Compares both paths of every instruction set with `epilogue` of the definition's sums.
    fn check<X: Activation, E: Epilogue>(w: &PackedMatrix, x: &[X], batch: usize, epilogue: &E) {
        let (rows, cols, levels) = (w.rows(), w.cols(), w.to_levels());
        let mut expected = Vec::new();
        for b in 0..batch {
            for r in 0..rows {
                let products =
                    (0..cols).map(|c| i32::from(levels[r * cols + c]) * x[b * cols + c].into());
                expected.push(epilogue.value(products.sum(), r, b * rows + r));
            }
        }
        for kernel in MICROKERNELS.iter().filter(|kernel| (kernel.available)()) {
            for many in [0, usize::MAX] {
                let mut y = vec![E::Output::default(); expected.len()];
                gemm_with(kernel, many, w, x, batch, epilogue, &mut y).unwrap();
                let (name, width) = (kernel.name, w.bit_width());
                assert!(
                    y == expected,
                    "{name} {many} {rows} {cols} {batch} {width:?}"
                );
            }
        }
    }

    #[test]
    fn both_paths_are_exact_for_signed_and_unsigned_activations() {
        for (i, rows) in [0, 1, 15, 16, 17, 64, 65, 130].into_iter().enumerate() {
            for cols in [0, 1, 3, 4, 5, 8, 31, 70] {
                for batch in [0, 1, 5, 6, 7, 13] {
                    let width = BitWidth::ALL[(i + cols + batch) % 3];
                    let all = width.levels();
                    let levels: Vec<i8> = (0..rows * cols)
                        .map(|i| all[(i * 11 + i / 5) % all.len()])
                        .collect();
                    let w = PackedMatrix::from_levels(&levels, rows, cols, width).unwrap();
                    let x: Vec<u8> = (0..batch * cols).map(|i| (i * 91) as u8).collect();
                    let signed: Vec<i8> = x.iter().map(|&x| x as i8).collect();
                    check(&w, &x, batch, &Raw);
                    check(&w, &signed, batch, &Raw);
                    let bias = vec![70; rows];
                    let shift = vec![4; rows];
                    let requant = ShiftRequant {
                        bias: &bias,
                        shift: &shift,
                        residual: None,
                    };
                    check(&w, &x, batch, &requant);
                    check(&w, &signed, batch, &requant);
                }
            }
        }
    }

    #[test]
    fn sums_of_the_largest_levels_and_activations_are_exact() {
        for width in BitWidth::ALL {
            for sign in [1, -1] {
                let w =
                    PackedMatrix::from_levels(&[sign << width.t(); 1000], 1, 1000, width).unwrap();
                for batch in [1, 7] {
                    check(&w, &vec![255u8; 1000 * batch], batch, &Raw);
                    check(&w, &vec![-128i8; 1000 * batch], batch, &Raw);
                    check(&w, &vec![127i8; 1000 * batch], batch, &Raw);
                }
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        let w = PackedMatrix::from_levels(&[1, 0], 1, 2, BitWidth::B2).unwrap();
        for batch in [3, 40] {
            let call =
                |x: usize, y: usize| gemm_fused(&w, &vec![0u8; x], batch, &Raw, &mut vec![0; y]);
            assert_eq!(call(2 * batch, batch), Ok(()));
            let length = |what, expected, got| {
                Err(Error::Length {
                    what,
                    expected,
                    got,
                })
            };
            assert_eq!(
                call(2 * batch + 1, batch),
                length("x", 2 * batch, 2 * batch + 1)
            );
            assert_eq!(call(2 * batch, batch - 1), length("y", batch, batch - 1));
        }
    }
}
