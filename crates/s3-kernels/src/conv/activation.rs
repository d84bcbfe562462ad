//! The integers that activations are: i8 or u8.

/// Integer activations: `i8` or `u8`.
pub trait Activation: sealed::Activation {}

impl Activation for i8 {}
impl Activation for u8 {}

pub(crate) mod sealed {
    /// What kernels need of an activation.
    pub trait Activation: Copy + Into<i32> + Send + Sync {
        /// XORed with the bytes of the activations it gives u8: value plus [`Self::OFFSET`].
        #[doc(hidden)]
        const FLIP: u8;

        /// The same memory, as bytes.
        #[doc(hidden)]
        fn bytes(x: &[Self]) -> &[u8];
    }

    impl Activation for u8 {
        const FLIP: u8 = 0;

        fn bytes(x: &[u8]) -> &[u8] {
            x
        }
    }

    impl Activation for i8 {
        const FLIP: u8 = 0x80;

        fn bytes(x: &[i8]) -> &[u8] {
            crate::arch::as_bytes(x)
        }
    }
}
