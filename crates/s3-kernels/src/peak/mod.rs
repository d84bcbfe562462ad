//! The yardsticks of the integer kernels: how fast one core multiplies int8 at all, and reads memory.
//!
//! Benchmarks divide by these. The multiplier is asked in the widest instructions of the
//! CPU, whatever `S3_KERNELS_ISA` says: a path that holds back is measured against the machine.

mod arch;

/// Runs `rounds` rounds of independent int8 dot products on registers and returns the multiply-adds
/// done: the integer peak of the multiplier, where a product of two bytes and its addition count
/// as one. Without dot-product instructions that this function knows, it is 0.
///
/// ```
/// let done = s3_kernels::peak::int8_multiply_adds(1000);
/// assert_eq!(done % 1000, 0);
/// ```
#[must_use]
pub fn int8_multiply_adds(rounds: u64) -> u64 {
    arch::int8_multiply_adds(rounds)
}

/// Reads `bytes` once, in two streams that memory can serve at a time, and returns the exclusive or of
/// their 64-bit little-endian words; up to 15 bytes at the end are left out.
///
/// `bytes.len()` divided by the time is the bandwidth of the memory that holds them, in pages like those
/// of every other allocation.
///
/// ```
/// let mut bytes = vec![0u8; 640];
/// bytes[17] = 4;
/// assert_eq!(s3_kernels::peak::read(&bytes), 4 << 8);
/// ```
#[must_use]
pub fn read(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    let (first, second) = words.split_at(words.len() / 2);
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let pairs = first.iter().zip(second);
    pairs.fold(0, |all, (a, b)| all ^ word(a) ^ word(b))
}
