//! What happens to an accumulator between the last addition and the store.
//!
//! An epilogue takes the exact i32 sum of one output and gives what is stored, in the same call as
//! the product: no second pass over the outputs. Each of them is defined on integers (or, for
//! [`Scale`], as a fixed sequence of f32 roundings), so every instruction set stores the same bits.

#[cfg(feature = "model")]
pub(crate) mod requant;
mod scale;
#[cfg(any(
    test,
    all(feature = "model", target_arch = "wasm32", target_feature = "simd128")
))]
pub(crate) mod shared;
mod shift;
#[cfg(feature = "model")]
pub(crate) mod terms;

pub use scale::Scale;
pub use shift::ShiftRequant;

use crate::error::Error;
use crate::isa::Isa;
use crate::micro::bytes::AccRow;

/// Where a tile of accumulators lies among the outputs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The channel of the tile's first column.
    pub(crate) column: usize,
    /// Columns of the tile that exist, 1 to [`NR`].
    pub(crate) columns: usize,
    /// Index in the whole output of the tile's first value, and from a row of the tile to the next.
    pub(crate) whole: Steps,
    /// The same in the slice of outputs that is stored to.
    pub(crate) slice: Steps,
}

/// Indices that lie equally far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) first: usize,
    pub(crate) step: usize,
}

impl Place {
    /// Index in the whole output of row `r` of the tile.
    pub(crate) fn index(&self, r: usize) -> usize {
        self.whole.first + r * self.whole.step
    }

    /// Range in the slice of outputs of row `r` of the tile.
    pub(crate) fn stored(&self, r: usize) -> core::ops::Range<usize> {
        let start = self.slice.first + r * self.slice.step;
        start..start + self.columns
    }
}

/// How the accumulators of [`gemm_fused`](crate::gemm_fused()) and
/// [`conv2d_fused`](crate::conv2d_fused) become outputs.
///
/// | epilogue | stores | multiplies | formula |
/// | --- | --- | --- | --- |
/// | [`Raw`] | i32 | no | `acc` |
/// | [`ShiftRequant`] | u8 | no | `clamp((v + 2^(s-1)) >> s, 0, 255)` |
/// | [`Scale`] | f32 | yes | `acc scale + bias (+ residual)`, ReLU |
///
/// with `v = acc + bias + (residual << residual_shift)`, computed as if in unbounded integers.
///
/// # Example
///
/// ```
/// use s3_kernels::{Epilogue, ShiftRequant};
///
/// let epilogue = ShiftRequant { bias: &[0, 100], shift: &[2, 2], residual: None };
/// assert_eq!(epilogue.value(10, 0, 0), 3); // 2.5 rounds up
/// assert_eq!(epilogue.value(-10, 0, 0), 0); // ReLU: nothing below 0 is stored
/// assert_eq!(epilogue.value(4000, 1, 1), 255);
/// ```
pub trait Epilogue: sealed::Store {
    /// The stored value of accumulator `acc` of output channel `channel`; `index` is its position
    /// in the output, which a residual is read at. This is the definition that every kernel equals.
    ///
    /// # Panics
    ///
    /// Where `channel` or `index` lies outside the epilogue's slices.
    fn value(&self, acc: i32, channel: usize, index: usize) -> Self::Output;
}

pub(crate) mod sealed {
    use super::{AccRow, Error, Isa, Place};

    /// The part of an epilogue that kernels call.
    pub trait Epilogue: Sync {
        /// What is stored.
        type Output: Copy + Send + Sync + Default + PartialEq + core::fmt::Debug;

        /// Checks the lengths for a matrix of `rows` by `channels` outputs, whose accumulators do
        /// not exceed `bound` in magnitude, and says whether i32 arithmetic cannot overflow.
        ///
        /// # Errors
        ///
        /// [`Error::Length`] and [`Error::Unsupported`].
        #[doc(hidden)]
        fn prepare(&self, rows: usize, channels: usize, bound: i64) -> Result<Narrow, Error>;

        /// Whether the numbers of channel `n` of few channels are those of `n + channels`,
        /// `n + 2 channels` and so on below [`NR`](crate::micro::bytes::NR) too, so that a tile may
        /// hold several pixels.
        #[doc(hidden)]
        fn repeats(&self) -> bool {
            false
        }
    }

    /// How an epilogue's outputs are stored on each instruction set.
    pub trait Store: Epilogue {
        /// Stores the outputs of one tile.
        #[doc(hidden)]
        fn store(
            &self,
            isa: Isa,
            narrow: Narrow,
            tile: &[AccRow],
            place: &Place,
            y: &mut [Self::Output],
        );
    }

    /// Whether an epilogue's integer arithmetic was shown to stay in i32.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Narrow(pub(crate) bool);
}

pub(crate) use sealed::Narrow;

/// The raw accumulators.
///
/// ```
/// use s3_kernels::{Epilogue, Raw};
/// assert_eq!(Raw.value(-7, 0, 0), -7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw;

impl Epilogue for Raw {
    fn value(&self, acc: i32, _channel: usize, _index: usize) -> i32 {
        acc
    }
}

impl sealed::Epilogue for Raw {
    type Output = i32;

    fn prepare(&self, _rows: usize, _channels: usize, _bound: i64) -> Result<Narrow, Error> {
        Ok(Narrow(true))
    }

    fn repeats(&self) -> bool {
        true
    }
}

impl sealed::Store for Raw {
    fn store(&self, _isa: Isa, _: Narrow, tile: &[AccRow], place: &Place, y: &mut [i32]) {
        for (r, row) in tile.iter().enumerate() {
            y[place.stored(r)].copy_from_slice(&row.0[..place.columns]);
        }
    }
}

/// An activation that joins the sum before it is requantized: the shortcut of a residual block.
///
/// It adds `values[i] << shift` to accumulator `i`: one unit of `values` is worth `2^shift` units
/// of the accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual<'a> {
    /// One value per output, in the output's layout.
    pub values: &'a [u8],
    /// How many places each value moves to the left, 0 to 31.
    pub shift: u8,
}

impl Residual<'_> {
    fn at(&self, index: usize) -> i64 {
        i64::from(self.values[index]) << self.shift
    }
}

/// The largest shift of every epilogue.
const MAX_SHIFT: u8 = 31;

/// Checks what the two requantizations share; gives a bound on `|acc + bias + residual|`.
fn check_sum(
    rows: usize,
    channels: usize,
    bound: i64,
    bias: &[i32],
    shift: &[u8],
    residual: Option<Residual<'_>>,
) -> Result<i64, Error> {
    crate::error::check_len("bias", channels, bias.len())?;
    crate::error::check_len("shift", channels, shift.len())?;
    let check_shift = |what, s: u8| match s {
        0..=MAX_SHIFT => Ok(()),
        _ => Err(Error::Unsupported {
            what,
            expected: "0 to 31",
            got: usize::from(s),
        }),
    };
    shift.iter().try_for_each(|&s| check_shift("shift", s))?;
    let mut most = bound + bias.iter().map(|&b| i64::from(b).abs()).max().unwrap_or(0);
    if let Some(residual) = residual {
        crate::error::check_len("residual", rows * channels, residual.values.len())?;
        check_shift("residual shift", residual.shift)?;
        most += 255 << residual.shift;
    }
    Ok(most)
}

/// Stores a tile value by value: the path of every instruction set that has no faster one.
pub(crate) fn store_by_value<E: Epilogue>(
    epilogue: &E,
    tile: &[AccRow],
    place: &Place,
    y: &mut [<E as sealed::Epilogue>::Output],
) {
    for (r, row) in tile.iter().enumerate() {
        let index = place.index(r);
        for (c, (out, &acc)) in y[place.stored(r)].iter_mut().zip(&row.0).enumerate() {
            *out = epilogue.value(acc, place.column + c, index + c);
        }
    }
}

#[cfg(test)]
mod tests;
