//! Packs a weight matrix, multiplies int8 activations with it, and checks the integers.
use s3_kernels::{BitWidth, Error, PackedMatrix, gemm};

fn main() -> Result<(), Error> {
    // Two outputs of three inputs. Three bits hold the levels 0, ±1, ±2 and ±4.
    let levels = [1, 0, -4, 2, -1, 4];
    let w = PackedMatrix::from_levels(&levels, 2, 3, BitWidth::B3)?;

    // Two rows of activations, any int8 each: y = x Wᵀ in exact 32-bit integers.
    let x = [10, -128, 127, 5, -6, 7];
    let mut y = [0; 4];
    gemm(&w, &x, 2, &mut y)?;
    let first = [10 - 4 * 127, 2 * 10 + 128 + 4 * 127];
    let second = [5 - 4 * 7, 2 * 5 + 6 + 4 * 7];
    assert_eq!(y, [first, second].as_flattened());

    // The bytes are the same on every CPU and are checked when they are read.
    let bytes = w.to_bytes();
    assert_eq!(PackedMatrix::from_bytes(&bytes)?.to_levels(), levels);
    assert!(PackedMatrix::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    Ok(())
}
