//! Packed weight matrices: how they are made, stored, and read back.
//!
//! A [`PackedMatrix`] has two faces. In memory it is a list of 64-byte lines in the order in which
//! the kernels read them. As bytes it is a header and a bit stream that depend on no machine:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | `S3PM` |
//! | 4 | version, 1 |
//! | 5 | bits of a weight: 2, 3 or 4 |
//! | 6..8 | zero |
//! | 8..16 | rows, little endian |
//! | 16..24 | columns, little endian |
//! | 24.. | the [code](BitWidth::encode) of every weight, row after row |
//!
//! A code has as many bits as a weight, the lowest first; the last byte is filled up with zeros.

use alloc::vec::Vec;

/// What the operating system is asked for.
pub(crate) mod arch {
    pub(crate) mod pages;
}
pub(crate) mod code;
pub(crate) mod lines;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
pub(crate) mod ternary;
pub(crate) mod unpack;

use crate::error::{Error, check_len};
use code::BitWidth;
use lines::{Line, PackedLines};
use unpack::Unpack;

const MAGIC: [u8; 4] = *b"S3PM";
const VERSION: u8 = 1;
const HEADER: usize = 24;

/// A matrix of power-of-two levels, packed for the kernels: 2, 3 or 4 bits a weight.
///
/// Rows are outputs and columns are inputs: [`gemm`](crate::gemm) computes `y = x · wᵀ`. Any number
/// of rows and columns is served, 0 and 1 included. Rows are padded to a multiple of 64 and columns
/// to a multiple of 8 in memory, but not in the byte format.
///
/// Every row is proved when the matrix is made: no 8-bit input, signed or unsigned, can make its
/// accumulator leave `i32`.
///
/// ```
/// use s3_kernels::{BitWidth, PackedMatrix};
///
/// let levels = [1, 0, -4, 2, -1, 0];
/// let w = PackedMatrix::from_levels(&levels, 2, 3, BitWidth::B3)?;
/// assert_eq!((w.rows(), w.cols()), (2, 3));
/// assert_eq!(w.to_levels(), levels);
///
/// let bytes = w.to_bytes();
/// assert_eq!(bytes.len(), 24 + 3); // header, then 6 weights of 3 bits
/// assert_eq!(PackedMatrix::from_bytes(&bytes)?, w);
/// # Ok::<(), s3_kernels::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedMatrix {
    lines: PackedLines,
    row_sums: Vec<i32>,
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    ternary: ternary::Lazy,
}

impl PackedMatrix {
    /// Packs `levels`, `[rows, cols]` in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where `levels` has not `rows * cols` elements; [`Error::Level`] where one
    /// is not in the alphabet; [`Error::Overflow`] where `rows * cols` does not fit, or where a
    /// row's `sum |level| * 255` exceeds `i32::MAX`.
    ///
    /// ```
    /// use s3_kernels::{BitWidth, Error, PackedMatrix};
    /// let refused = PackedMatrix::from_levels(&[1, 3], 1, 2, BitWidth::B4);
    /// assert_eq!(refused, Err(Error::Level { index: 1, level: 3, bits: 4 }));
    /// ```
    pub fn from_levels(
        levels: &[i8],
        rows: usize,
        cols: usize,
        bit_width: BitWidth,
    ) -> Result<PackedMatrix, Error> {
        let weights = weight_count(rows, cols)?;
        check_len("levels", weights, levels.len())?;
        if let Some(index) = levels.iter().position(|&l| !bit_width.contains(l)) {
            return Err(Error::Level {
                index,
                level: levels[index].into(),
                bits: bit_width.bits(),
            });
        }
        PackedMatrix::build(rows, cols, bit_width, |index| Ok(levels[index]))
    }

    /// Outputs: the rows of the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.lines.rows()
    }

    /// Inputs: the columns of the matrix, the length of the reduction.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.lines.cols()
    }

    /// The alphabet.
    #[must_use]
    pub fn bit_width(&self) -> BitWidth {
        self.lines.bit_width()
    }

    /// The levels, `[rows, cols]` in row-major order.
    #[must_use]
    pub fn to_levels(&self) -> Vec<i8> {
        let mut levels = Vec::with_capacity(self.rows() * self.cols());
        for row in 0..filled_rows(self.rows(), self.cols()) {
            levels.extend((0..self.cols()).map(|col| self.lines.level(row, col)));
        }
        levels
    }

    /// Bytes that [`to_bytes`](PackedMatrix::to_bytes) returns: 24, and `bits` bits a weight.
    ///
    /// ```
    /// use s3_kernels::{BitWidth, PackedMatrix};
    /// let w = PackedMatrix::from_levels(&[1; 100 * 100], 100, 100, BitWidth::B2)?;
    /// assert_eq!(w.packed_len(), 24 + 2500);
    /// # Ok::<(), s3_kernels::Error>(())
    /// ```
    #[must_use]
    pub fn packed_len(&self) -> usize {
        HEADER + code_bytes(self.rows() * self.cols(), self.bit_width())
    }

    /// The byte format, the same on every machine. The module's first lines lay it out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bits = self.bit_width().bits();
        let mut bytes = Vec::with_capacity(self.packed_len());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, bits as u8, 0, 0]);
        bytes.extend((self.rows() as u64).to_le_bytes());
        bytes.extend((self.cols() as u64).to_le_bytes());
        let (mut held, mut filled) = (0u32, 0);
        for row in 0..filled_rows(self.rows(), self.cols()) {
            for col in 0..self.cols() {
                let level = self.lines.level(row, col);
                // Every level of the matrix is in its alphabet.
                let code = self.bit_width().encode(level).unwrap_or(0);
                held |= u32::from(code) << filled;
                filled += bits;
                if filled >= 8 {
                    bytes.push(held as u8);
                    held >>= 8;
                    filled -= 8;
                }
            }
        }
        if filled > 0 {
            bytes.push(held as u8);
        }
        bytes
    }

    /// Reads the byte format, checking all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where bytes are missing or left over; [`Error::Header`] where the first
    /// bytes are of another format or version; [`Error::Code`] where a code stands for no level;
    /// [`Error::Overflow`] as [`from_levels`](PackedMatrix::from_levels).
    ///
    /// ```
    /// use s3_kernels::{BitWidth, Error, PackedMatrix};
    /// let mut bytes = PackedMatrix::from_levels(&[1, -1], 1, 2, BitWidth::B2)?.to_bytes();
    /// assert!(matches!(PackedMatrix::from_bytes(&bytes[..9]), Err(Error::Length { .. })));
    /// bytes[24] = 0b1001; // the second code becomes "negative zero"
    /// assert_eq!(PackedMatrix::from_bytes(&bytes), Err(Error::Code { index: 1, code: 0b10 }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<PackedMatrix, Error> {
        let Some((header, stream)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Error::Length {
                what: "packed header",
                expected: HEADER,
                got: bytes.len(),
            });
        };
        check_header("magic", word(header, 0, 4), word(&MAGIC, 0, 4))?;
        check_header("version", header[4].into(), VERSION.into())?;
        let bit_width = BitWidth::ALL
            .into_iter()
            .find(|width| width.bits() == u32::from(header[5]))
            .ok_or(Error::Unsupported {
                what: "bits of a packed weight",
                expected: "2, 3 or 4",
                got: header[5].into(),
            })?;
        check_header("reserved bytes", word(header, 6, 2), 0)?;
        let length =
            |what, at| usize::try_from(word(header, at, 8)).map_err(|_| Error::Overflow { what });
        let (rows, cols) = (length("rows", 8)?, length("columns", 16)?);
        let weights = weight_count(rows, cols)?;
        check_len("packed codes", code_bytes(weights, bit_width), stream.len())?;
        let bits = bit_width.bits() as usize;
        let used = weights % 8 * bits % 8;
        if let Some(&last) = stream.last()
            && used != 0
        {
            check_header("unused bits", (last >> used).into(), 0)?;
        }
        PackedMatrix::build(rows, cols, bit_width, |index| {
            let (byte, shift) = (
                index / 8 * bits + index % 8 * bits / 8,
                index % 8 * bits % 8,
            );
            let next = stream.get(byte + 1).copied().unwrap_or(0);
            let two = u16::from_le_bytes([stream[byte], next]);
            let code = (two >> shift) as u8 & ((1 << bits) - 1);
            bit_width.decode(code).ok_or(Error::Code { index, code })
        })
    }

    /// The lines that kernels read.
    pub(crate) fn lines(&self) -> &PackedLines {
        &self.lines
    }

    /// The sum of each row's levels; empty where there are no columns.
    pub(crate) fn row_sums(&self) -> &[i32] {
        &self.row_sums
    }

    /// A bound on the magnitude of every accumulator, whatever the activations.
    pub(crate) fn accumulator_bound(&self) -> i64 {
        let most = (self.cols() as u64).saturating_mul(255 << self.bit_width().t());
        i64::from(i32::try_from(most).unwrap_or(i32::MAX))
    }

    /// Fills `to` with the levels of panel `panel`, from its first column on; padding is level 0.
    ///
    /// `to` has at most as many quads as the panel has columns, rounded up.
    pub(crate) fn unpack(&self, unpack: Unpack, panel: usize, to: &mut [Line]) {
        unpack(self.bit_width(), self.lines().panel(panel), to);
    }

    /// Ternary weights as the table kernel reads them, made by the first call.
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    pub(crate) fn ternary(&self) -> &ternary::TernaryWords {
        self.ternary.get(&self.lines)
    }

    /// A matrix of zeros, for measurements; made at once, where [`from_levels`](Self::from_levels)
    /// looks at every level.
    ///
    /// # Panics
    ///
    /// Where its bytes do not fit `usize`.
    #[cfg(feature = "std")]
    pub(crate) fn zeros(rows: usize, cols: usize, bit_width: BitWidth) -> PackedMatrix {
        PackedMatrix {
            lines: PackedLines::zeros(rows, cols, bit_width).expect("a small matrix"),
            row_sums: std::vec![0; filled_rows(rows, cols)],
            #[cfg(target_arch = "x86_64")]
            ternary: ternary::Lazy::zeros(rows, cols),
        }
    }

    fn build(
        rows: usize,
        cols: usize,
        bit_width: BitWidth,
        level: impl Fn(usize) -> Result<i8, Error>,
    ) -> Result<PackedMatrix, Error> {
        let mut lines = PackedLines::zeros(rows, cols, bit_width).ok_or(Error::Overflow {
            what: "packed matrix",
        })?;
        let summed = filled_rows(rows, cols);
        let mut row_sums = Vec::with_capacity(summed);
        for row in 0..summed {
            let (mut sum, mut magnitudes) = (0i64, 0i64);
            for col in 0..cols {
                let level = level(row * cols + col)?;
                sum += i64::from(level);
                magnitudes += i64::from(level.unsigned_abs());
                if level != 0 {
                    lines.set_level(row, col, level);
                }
            }
            if magnitudes.saturating_mul(255) > i32::MAX.into() {
                return Err(Error::Overflow {
                    what: "accumulator of a row",
                });
            }
            row_sums.push(sum as i32);
        }
        Ok(PackedMatrix {
            lines,
            row_sums,
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            ternary: Default::default(),
        })
    }
}

/// The rows that hold a weight. Without columns the number of rows is bounded by nothing, so
/// nothing is kept for them and no loop runs over them.
fn filled_rows(rows: usize, cols: usize) -> usize {
    if cols == 0 { 0 } else { rows }
}

fn weight_count(rows: usize, cols: usize) -> Result<usize, Error> {
    rows.checked_mul(cols)
        .ok_or(Error::Overflow { what: "weights" })
}

/// Bytes of `weights` codes: `ceil(weights * bits / 8)`, computed so that nothing overflows.
fn code_bytes(weights: usize, bit_width: BitWidth) -> usize {
    let bits = bit_width.bits() as usize;
    weights / 8 * bits + (weights % 8 * bits).div_ceil(8)
}

/// `len` bytes from `at`, little endian.
fn word(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len]
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn check_header(what: &'static str, got: u64, expected: u64) -> Result<(), Error> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Header {
            what,
            expected,
            got,
        })
    }
}
