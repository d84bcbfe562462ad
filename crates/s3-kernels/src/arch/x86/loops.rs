//! The loops of [`crate::micro::loops`], compiled for an instruction set.

use super::simd::{Simd, Task, run};
use crate::micro::loops::{self, Strip};

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
