//! Buffers of a call that outlive it, one set per thread: a fresh large allocation costs a page
//! fault for every 4 KiB, which is more time than the arithmetic of a small layer.

use alloc::vec::Vec;

use crate::micro::float::FloatLine;
use crate::packed::lines::Line;

/// The buffers. Their content is unspecified.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    floats: Vec<FloatLine>,
    places: Vec<usize>,
    copies: Vec<f32>,
}

impl Scratch {
    /// `bytes` bytes and `lines` lines.
    pub(crate) fn get(&mut self, bytes: usize, lines: usize) -> (&mut [u8], &mut [Line]) {
        if self.bytes.len() < bytes {
            self.bytes.resize(bytes, 0);
        }
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 64]));
        }
        (&mut self.bytes[..bytes], &mut self.lines[..lines])
    }

    /// `lines` lines of bytes and `floats` of floats, and what grows with use.
    pub(crate) fn get_floats(&mut self, lines: usize, floats: usize) -> FloatScratch<'_> {
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 64]));
        }
        if self.floats.len() < floats {
            self.floats.resize(floats, FloatLine::ZERO);
        }
        FloatScratch {
            lines: &mut self.lines[..lines],
            floats: &mut self.floats[..floats],
            places: &mut self.places,
            copies: &mut self.copies,
        }
    }
}

/// Buffers for f32 activations. Their content is unspecified.
pub(crate) struct FloatScratch<'a> {
    pub(crate) lines: &'a mut [Line],
    pub(crate) floats: &'a mut [FloatLine],
    pub(crate) places: &'a mut Vec<usize>,
    pub(crate) copies: &'a mut Vec<f32>,
}

/// Calls `f` with this thread's buffers; a call inside `f` gets others.
#[cfg(feature = "std")]
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    std::thread_local! {
        static KEPT: core::cell::Cell<Option<Scratch>> = const { core::cell::Cell::new(None) };
    }
    let mut scratch = KEPT.take().unwrap_or_default();
    let result = f(&mut scratch);
    KEPT.set(Some(scratch));
    result
}

/// Calls `f` with buffers: without `std` there are no threads to keep them for.
#[cfg(not(feature = "std"))]
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    f(&mut Scratch::default())
}
