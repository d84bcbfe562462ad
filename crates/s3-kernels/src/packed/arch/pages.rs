//! Large pages for packed weights, where the operating system gives them.
//!
//! A weight matrix that comes from memory is read at the speed at which addresses are translated;
//! on Linux, pages of 2 MiB must be asked for.
#![allow(unsafe_code, reason = "one call of the C library, and its declaration")]

use alloc::vec::Vec;

/// An empty vector with room for `len` elements, in large pages where that is possible.
pub(crate) fn with_capacity<T>(len: usize) -> Vec<T> {
    let elements = Vec::with_capacity(len);
    #[cfg(all(feature = "std", target_os = "linux", not(miri)))]
    linux::ask_for_large_pages(&elements);
    elements
}

#[cfg(all(feature = "std", target_os = "linux", not(miri)))]
mod linux {
    use core::ffi::{c_int, c_void};

    use super::Vec;

    const LARGE: usize = 2 << 20;

    const MADV_HUGEPAGE: c_int = 14;

    unsafe extern "C" {
        /// Of the C library, to which `std` is linked on Linux.
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }

    /// Asks for the large pages that lie wholly inside the allocation. Refusal changes nothing.
    pub(super) fn ask_for_large_pages<T>(elements: &Vec<T>) {
        let start = elements.as_ptr().addr();
        let end = start + elements.capacity() * size_of::<T>();
        let first = start.next_multiple_of(LARGE);
        if first + LARGE <= end {
            let whole = (end - first) / LARGE * LARGE;
            let address = elements.as_ptr().with_addr(first).cast_mut().cast();
            // SAFETY: the range lies inside one allocation of this process, on page boundaries, and
            // this advice changes how memory is mapped but not what it holds.
            unsafe { madvise(address, whole, MADV_HUGEPAGE) };
        }
    }
}
