//! What [`super`] needs where there are no tiles.
#![allow(unsafe_code, reason = "one function is unsafe where there are")]

use super::sum::{Registers, Shape, Sum};
use crate::train::scratch::Block;

pub(super) fn permitted() -> bool {
    false
}

pub(super) fn configure(_: &mut Registers, _: Shape) {
    unreachable!("no tiles")
}

pub(super) fn release() {
    unreachable!("no tiles")
}

pub(super) unsafe fn sum<const A: usize, const B: usize>(
    _: &Sum<'_, A, B>,
    _: [*mut Block; 4],
    _: bool,
) {
    unreachable!("no tiles")
}
