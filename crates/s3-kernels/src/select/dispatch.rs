//! Which code of one form an instruction set runs: the stores of epilogues, the loops over f32.

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
use crate::micro::loops;

impl Store for Scale<'_> {
    fn store(&self, isa: Isa, _narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [f32]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::epilogue::store::<Avx512, _>(self, tile, place, y),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::epilogue::store::<Avx2, _>(self, tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

impl Store for ShiftRequant<'_> {
    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if narrow.0 => x86::epilogue::store::<Avx512, _>(self, tile, place, y),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if narrow.0 => x86::epilogue::store::<Avx2, _>(self, tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

#[cfg(feature = "model")]
impl Store for Requantize<'_> {
    fn store(&self, isa: Isa, narrow: Narrow, tile: &[AccRow], place: &Place, y: &mut [u8]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if narrow.0 => x86::epilogue::store::<Avx512, _>(self, tile, place, y),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if narrow.0 => x86::epilogue::store::<Avx2, _>(self, tile, place, y),
            _ if narrow.0 && self.table.places.is_none() => self.store_narrow(tile, place, y),
            _ => store_by_value(self, tile, place, y),
        }
    }
}

/// The loops of [`loops::depthwise`], compiled for `isa`.
pub(crate) fn float_depthwise(isa: Isa, strip: &loops::Strip<'_>, y: &mut [f32]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::loops::depthwise::<Avx512>(strip, y),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::loops::depthwise::<Avx2>(strip, y),
        _ => loops::depthwise(strip, y),
    }
}

/// The loops of [`loops::dense`], compiled for `isa`.
#[cfg(feature = "model")]
pub(crate) fn float_dense(
    isa: Isa,
    windows: &[f32],
    panel: &[[f32; loops::LANES]],
    sums: &mut [[f32; loops::LANES]; loops::ROWS],
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::loops::dense::<Avx512>(windows, panel, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::loops::dense::<Avx2>(windows, panel, sums),
        _ => loops::dense(windows, panel, sums),
    }
}
