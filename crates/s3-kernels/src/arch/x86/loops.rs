//! The loops of [`crate::micro::loops`], compiled for an instruction set.

use super::simd::{Simd, Task, run};
use crate::micro::loops::{self, Strip};
#[cfg(feature = "model")]
use crate::micro::loops::{LANES, ROWS};

/// [`loops::depthwise`].
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn depthwise<S: Simd>(strip: &Strip<'_>, y: &mut [f32]) {
    struct Depthwise<'a>(&'a Strip<'a>, &'a mut [f32]);
    impl Task for Depthwise<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            loops::depthwise(self.0, self.1);
        }
    }
    run::<S>(Depthwise(strip, y));
}

/// [`loops::dense`].
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
#[cfg(feature = "model")]
pub(crate) fn dense<S: Simd>(
    windows: &[f32],
    panel: &[[f32; LANES]],
    sums: &mut [[f32; LANES]; ROWS],
) {
    struct Dense<'a>(&'a [f32], &'a [[f32; LANES]], &'a mut [[f32; LANES]; ROWS]);
    impl Task for Dense<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            loops::dense(self.0, self.1, self.2);
        }
    }
    run::<S>(Dense(windows, panel, sums));
}
