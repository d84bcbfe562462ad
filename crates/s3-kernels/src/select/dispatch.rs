//! Which code of one form an instruction set runs: the stores of epilogues, the loops over f32.

#[cfg(feature = "model")]
use crate::arch::scalar;
#[cfg(all(feature = "model", target_arch = "wasm32", target_feature = "simd128"))]
use crate::arch::wasm;
#[cfg(target_arch = "x86_64")]
use crate::arch::x86;
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2::Avx2, avx512::Avx512};
#[cfg(feature = "model")]
use crate::epilogue::requant::Requantize;
use crate::epilogue::sealed::Store;
use crate::epilogue::{Narrow, Place, Scale, ShiftRequant, store_by_value};
use crate::isa::Isa;
use crate::micro::bytes::AccRow;
use crate::micro::float::FloatLine;
#[cfg(feature = "model")]
use crate::micro::float::StripKernel;
use crate::micro::loops;

/// `$call` with the registers `$V` of the instruction set, where it has some and `$holds`.
macro_rules! on_registers {
    ($isa:expr, if $holds:expr, $V:ident => $call:expr, else $other:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if $holds => {
                type $V = Avx512;
                $call
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if $holds => {
                type $V = Avx2;
                $call
            }
            _ => $other,
        }
    };
}

impl Store for Scale<'_> {
    fn store(&self, isa: Isa, _narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [f32]) {
        on_registers!(isa, if true, V => x86::epilogue::store::<V, _>(self, tile, place, y),
            else store_by_value(self, tile, place, y))
    }
}

impl Store for ShiftRequant<'_> {
    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        on_registers!(isa, if narrow.0, V => x86::epilogue::store::<V, _>(self, tile, place, y),
            else store_by_value(self, tile, place, y))
    }
}

#[cfg(feature = "model")]
impl Store for Requantize<'_> {
    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        if isa == Isa::Simd128 && narrow.0 {
            return wasm::requant::store(self, tile, place, y);
        }
        on_registers!(isa, if narrow.0, V => x86::epilogue::store::<V, _>(self, tile, place, y),
        else match narrow.0 && self.table.places.is_none() {
            true => self.store_narrow(tile, place, y),
            false => store_by_value(self, tile, place, y),
        })
    }
}

/// The loops of [`loops::depthwise`], compiled for `isa`.
pub(crate) fn float_depthwise(isa: Isa, strip: &loops::Strip<'_>, y: &mut [f32]) {
    on_registers!(isa, if true, V => x86::loops::depthwise::<V>(strip, y),
        else loops::depthwise(strip, y))
}

/// Stores what `epilogue` makes of sums that are f32, `lines` lines a row.
pub(crate) fn store_floats(
    isa: Isa,
    epilogue: &Scale<'_>,
    sums: &[FloatLine],
    lines: usize,
    place: &Place,
    y: &mut [f32],
) {
    on_registers!(isa, if true,
        V => x86::epilogue::store_floats::<V>(epilogue, sums, lines, place, y),
        else epilogue.store_floats(sums, lines, place, y))
}

/// The tile of weights that are any f32.
#[cfg(feature = "model")]
pub(crate) fn float_dense(isa: Isa) -> &'static StripKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &crate::arch::avx512::DENSE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &crate::arch::avx2::DENSE,
        _ => &scalar::float::DENSE,
    }
}
