//! The contract of a matrix product's kernel: what it multiplies, and what it says of itself.

use core::fmt;
use core::ops::Range;

use super::rates::{Rates, Shape, Work};
use crate::error::{Error, check_len};
use crate::isa::{Extension, Isa};
use crate::packed::PackedMatrix;
use crate::packed::code::BitWidth;
use crate::packed::lines::PANEL;

/// A product whose lengths are checked: `y = x · wᵀ` for some panels of `w`.
pub(crate) struct Job<'a> {
    /// The weights. There are rows in `panels`, and columns, wherever a kernel is called.
    pub(crate) w: &'a PackedMatrix,
    /// The panels of `w` to compute; all are full, save perhaps the last of `w`.
    pub(crate) panels: Range<usize>,
    /// `[batch, cols]`; the batch is at least 1 wherever a kernel is called.
    pub(crate) x: &'a [i8],
    /// Rows of `x` and `y`.
    pub(crate) batch: usize,
    /// `[batch, rows of the panels]`. A kernel writes every element.
    pub(crate) y: &'a mut [i32],
}

impl<'a> Job<'a> {
    /// All of a product; checks the lengths.
    pub(crate) fn new(
        w: &'a PackedMatrix,
        x: &'a [i8],
        batch: usize,
        y: &'a mut [i32],
    ) -> Result<Job<'a>, Error> {
        let len = |what, length: usize| batch.checked_mul(length).ok_or(Error::Overflow { what });
        check_len("x", len("x", w.cols())?, x.len())?;
        check_len("y", len("y", w.rows())?, y.len())?;
        Ok(Job {
            w,
            panels: 0..w.rows().div_ceil(PANEL),
            x,
            batch,
            y,
        })
    }
}

/// One implementation of [`gemm`](crate::gemm).
///
/// [`gemm`](crate::gemm) picks by itself, the one that this CPU was measured to be fastest with
/// ([`Kernel::select`]); this is for tests and measurements.
///
/// ```
/// use s3_kernels::{BitWidth, Kernel, PackedMatrix};
///
/// let w = PackedMatrix::from_levels(&[1, -2, 0, 4], 2, 2, BitWidth::B3)?;
/// for kernel in Kernel::all().filter(|k| k.is_available() && k.serves(BitWidth::B3)) {
///     let mut y = [0; 2];
///     kernel.run(&w, &[100, -128], 1, &mut y)?;
///     assert_eq!(y, [356, -512], "{}", kernel.name());
/// }
/// # Ok::<(), s3_kernels::Error>(())
/// ```
pub struct Kernel {
    /// `{arch}-{width or "any"}-{variant}`.
    pub(crate) name: &'static str,
    pub(crate) isa: Isa,
    /// What it needs besides `isa`.
    pub(crate) extension: Extension,
    pub(crate) multiplication_free: bool,
    pub(crate) widths: &'static [BitWidth],
    /// The smallest batch that it is considered for.
    pub(crate) least_batch: usize,
    /// What a product asks of it.
    pub(crate) work: fn(&Shape) -> Work,
    /// Its rates for ternary weights on an AMD Zen 4; on AArch64, of which none was measured, in
    /// proportion.
    pub(crate) usual: Rates,
    /// Those of this CPU.
    #[cfg(feature = "std")]
    pub(crate) measured: &'static super::rates::Measured,
    pub(crate) run: fn(Job<'_>),
}

/// Whether there is a clock: WebAssembly has none of its own, and the standard library's panics
/// there.
#[cfg(feature = "std")]
const CLOCK: bool = !cfg!(all(target_family = "wasm", target_os = "unknown"));

impl Kernel {
    /// Its rates on this CPU, measured alone where they are not known.
    #[cfg(feature = "std")]
    pub(crate) fn rates(&'static self, width: BitWidth) -> Rates {
        Kernel::measure(core::iter::once(self), width);
        // Where there is no clock, nothing was measured.
        self.measured.get(width).unwrap_or(self.usual)
    }

    /// Measures, in turns, which of the rates of `kernels` for `width` are not known.
    #[cfg(feature = "std")]
    pub(crate) fn measure(kernels: impl Iterator<Item = &'static Kernel>, width: BitWidth) {
        use super::rates::PROBLEMS;
        use std::sync::{Mutex, PoisonError};
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        if !CLOCK {
            return;
        }
        let unknown = |kernel: &&Kernel| kernel.measured.get(width).is_none();
        let kernels: std::vec::Vec<_> = kernels.filter(unknown).collect();
        if kernels.is_empty() {
            return;
        }
        let turn = ONE_AT_A_TIME.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let kernels: std::vec::Vec<_> = kernels.into_iter().filter(unknown).collect();
        let weights = PROBLEMS.map(|shape| PackedMatrix::zeros(shape.rows, shape.cols, width));
        let most = |count: fn(&Shape) -> usize| PROBLEMS.iter().map(count).max().unwrap_or(0);
        // No zeros: all pages of them might be one, which the first-level cache holds.
        let x = std::vec![1; most(|shape| shape.batch * shape.cols)];
        let mut y = std::vec![0; most(|shape| shape.batch * shape.rows)];
        let work = |kernel: usize, shape: &Shape| (kernels[kernel].work)(shape);
        let rates = super::rates::rates(kernels.len(), work, |kernel: usize, problem: usize| {
            let Shape { rows, cols, batch } = PROBLEMS[problem];
            kernels[kernel].start(Job {
                w: &weights[problem],
                panels: 0..rows.div_ceil(PANEL),
                x: &x[..batch * cols],
                batch,
                y: &mut y[..batch * rows],
            });
        });
        for (kernel, rates) in kernels.into_iter().zip(rates) {
            kernel.measured.set(width, rates);
        }
    }

    /// Its rates: there is no clock.
    #[cfg(not(feature = "std"))]
    pub(crate) fn rates(&self, _: BitWidth) -> Rates {
        self.usual
    }

    /// Its name: the instruction set, the width, and what it does.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The instruction set it is written for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether its inner loops hold no multiply instruction.
    #[must_use]
    pub fn is_multiplication_free(&self) -> bool {
        self.multiplication_free
    }

    /// Whether this CPU can run it.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.isa.is_available() && self.extension.is_available()
    }

    /// Whether it reads weights of this width.
    #[must_use]
    pub fn serves(&self, bit_width: BitWidth) -> bool {
        self.widths.contains(&bit_width)
    }

    /// [`gemm`](crate::gemm), by this kernel.
    ///
    /// # Errors
    ///
    /// As [`gemm`](crate::gemm); [`Error::Kernel`] where this CPU cannot run the kernel, or the
    /// kernel does not serve the width.
    pub fn run(
        &self,
        w: &PackedMatrix,
        x: &[i8],
        batch: usize,
        y: &mut [i32],
    ) -> Result<(), Error> {
        if !self.is_available() || !self.serves(w.bit_width()) {
            return Err(Error::Kernel { name: self.name });
        }
        self.start(Job::new(w, x, batch, y)?);
        Ok(())
    }

    /// Runs a job that this kernel can run, on the current thread.
    pub(crate) fn start(&self, job: Job<'_>) {
        if job.w.cols() == 0 {
            job.y.fill(0);
        } else if !job.y.is_empty() {
            (self.run)(job);
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
