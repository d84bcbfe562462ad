//! Registers: the matrix registers of x86-64's AMX, which multiply 16 × 32 bf16 with 32 × 16 at a
//! time.
//!
//! A tile of `a` holds up to 16 rows of up to 16 pairs, one of `b` a row of 16 pairs for every pair
//! of `a`, one of `c` 16 sums for every row of `a`:
//!
//! ```text
//! c[i][l] += Σ_k a[i][k].low · b[k][l].low + a[i][k].high · b[k][l].high
//! ```
//!
//! Low and high products are summed apart, from the first `k` to the last, and their sums then
//! added to `c`; all in f32, rounded to nearest, with denormals taken as zero. [`Sum`] lists the
//! tiles of a whole sum, so that `c` stays in its register.
#![allow(
    unsafe_code,
    reason = "the instructions, and pointers to what they read"
)]

#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    target_os = "linux",
    not(miri)
))]
mod amx;

/// Elsewhere there are no tiles.
#[cfg(not(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    target_os = "linux",
    not(miri)
)))]
#[path = "absent.rs"]
mod amx;

mod sum;

pub(in crate::train) use sum::{FULL, Registers, Sum};

use core::marker::PhantomData;

use crate::train::scratch::Block;
use sum::Shape;

/// Whether the CPU multiplies tiles of bf16, the operating system lets this process use them, and
/// `S3_KERNELS_AMX=0` does not forbid them: AVX512-BF16 then gives the bytes of a CPU without
/// tiles. The first call decides.
///
/// # Panics
///
/// Where the variable is neither empty nor `0` nor `1`.
pub(in crate::train) fn has_tiles() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        let value = std::env::var_os("S3_KERNELS_AMX").unwrap_or_default();
        match value.to_str() {
            Some("0") => false,
            Some("" | "1") => amx::permitted(),
            _ => panic!("S3_KERNELS_AMX: expected 0 or 1, got {}", value.display()),
        }
    })
}

std::thread_local! {
    /// Whether this thread is using its registers: one [`Registers`] a thread.
    static IN_USE: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

impl Registers {
    /// # Panics
    ///
    /// Where there are none ([`has_tiles`]), or this thread is using them.
    pub(in crate::train) fn new() -> Self {
        assert!(has_tiles(), "the CPU has AMX");
        assert!(!IN_USE.replace(true), "one user of a thread's tiles");
        Registers {
            configured: Shape {
                rows: [0; 2],
                depth: 0,
            },
            stays: PhantomData,
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        amx::release();
        IN_USE.set(false);
    }
}

impl<const A: usize, const B: usize> Sum<'_, A, B> {
    /// `c[2i + j] = Σ a_i · b_j`, or `+=` where `add`, and forgets the steps. Row `r` of tile `i`
    /// is block `r`; of one tile of `a` or `b` the other `c` are not touched.
    ///
    /// # Panics
    ///
    /// Where a `c` has fewer rows than its `a`.
    #[inline(always)]
    pub(in crate::train) fn finish(
        &mut self,
        registers: &mut Registers,
        c: [&mut [Block]; 4],
        add: bool,
    ) {
        let mut to = [core::ptr::null_mut::<Block>(); 4];
        for (at, c) in c.into_iter().enumerate() {
            let (i, j) = (at / 2, at % 2);
            if i < A && j < B {
                let c = &mut c[..self.shape.rows[i]];
                if self.count == 0 && !add {
                    c.fill(Block::ZERO);
                }
                to[at] = c.as_mut_ptr();
            }
        }
        if self.count == 0 {
            return;
        }
        if registers.configured != self.shape {
            amx::configure(registers, self.shape);
        }
        // SAFETY: `registers` proves them, which are configured for `shape`; `push` and the slices
        // above checked that every tile of that shape lies in a slice, which outlives `'a` or this
        // call.
        unsafe { amx::sum(self, to, add) };
        self.count = 0;
    }
}

#[cfg(test)]
#[allow(
    clippy::needless_range_loop,
    reason = "indices as in the definition of the sum"
)]
mod tests {
    use super::sum::MOST_STEPS;
    use super::{Block, FULL, Registers, Sum, has_tiles};
    use crate::train::bf16::Bf16;
    use crate::train::simd::LANES;

    /// Pairs of whole numbers from -8 to 8: every sum below is exact in f32.
    fn blocks(len: usize, seed: usize) -> Vec<Block> {
        let number = |i: usize| Bf16::from_f32(((i * 7919 + seed * 31) % 17) as f32 - 8.0);
        let pair =
            |i: usize| u32::from(number(i).to_bits()) << 16 | u32::from(number(i + 5).to_bits());
        let lane = |block: usize| core::array::from_fn(|l| f32::from_bits(pair(block * LANES + l)));
        (0..len).map(|block| Block(lane(block))).collect()
    }

    /// The product of the low and of the high halves of two lanes, added.
    fn dot(a: f32, b: f32) -> f32 {
        let low = |x: f32| f32::from_bits(x.to_bits() << 16);
        let high = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
        low(a) * low(b) + high(a) * high(b)
    }

    /// `steps` steps against three loops, in lists as long as they may be.
    fn check<const A: usize, const B: usize>(
        rows: [usize; A],
        depth: usize,
        steps: usize,
        add: bool,
    ) {
        let row_step = 3;
        let a = blocks(FULL * row_step + 2 * steps, 1);
        let b = blocks(FULL + steps + 1, 2);
        let from = |step: usize, tile: usize| step + 5 * tile;
        let mut c = [[Block([3.0; LANES]); FULL]; 4];
        let mut expected = c;
        for i in 0..A {
            for j in 0..B {
                for r in 0..rows[i] {
                    for l in 0..LANES {
                        let mut sum = if add { 3.0 } else { 0.0 };
                        for step in 0..steps {
                            for k in 0..depth {
                                let at = from(step, i) + r * row_step * LANES + k;
                                let a = a[at / LANES].0[at % LANES];
                                sum += dot(a, b[step + j + k].0[l]);
                            }
                        }
                        expected[2 * i + j][r].0[l] = sum;
                    }
                }
            }
        }
        let mut registers = Registers::new();
        let mut sum = Sum::<A, B>::new(rows, row_step, depth);
        let mut more = add;
        for step in 0..steps {
            if sum.is_full() {
                sum.finish(&mut registers, c.each_mut().map(|c| &mut c[..]), more);
                more = true;
            }
            sum.push(
                core::array::from_fn(|i| (&a[..], from(step, i))),
                core::array::from_fn(|j| &b[step + j..]),
            );
        }
        sum.finish(&mut registers, c.each_mut().map(|c| &mut c[..]), more);
        assert_eq!(
            c, expected,
            "{rows:?} rows, {depth} pairs, {steps} steps, {add}"
        );
    }

    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    #[test]
    fn every_shape_of_tiles_gives_the_sum_of_products() {
        if !has_tiles() {
            eprintln!("no AMX here: tiles are not tested");
            return;
        }
        for (rows, depth, steps) in [
            (16, 16, 1),
            (1, 1, 3),
            (7, 9, 5),
            (16, 8, MOST_STEPS),
            (8, 16, 2 * MOST_STEPS + 3),
            (16, 16, 0),
        ] {
            for add in [false, true] {
                check::<1, 1>([rows], depth, steps, add);
                check::<1, 2>([rows], depth, steps, add);
                check::<2, 1>([rows, rows.div_ceil(2)], depth, steps, add);
                check::<2, 2>([rows, rows.div_ceil(2)], depth, steps, add);
            }
        }
    }

    /// What the proof of the instructions rests on.
    #[test]
    fn tiles_beyond_their_slices_and_shapes_are_refused() {
        let refused = |f: fn()| assert!(std::panic::catch_unwind(f).is_err());
        refused(|| {
            let _ = Sum::<1, 1>::new([17], 1, 1);
        });
        refused(|| {
            let _ = Sum::<1, 1>::new([0], 1, 1);
        });
        refused(|| {
            let _ = Sum::<2, 1>::new([16, 17], 1, 1);
        });
        refused(|| {
            let _ = Sum::<1, 1>::new([1], 1, 17);
        });
        refused(|| {
            let two = [Block::ZERO; 2];
            Sum::<1, 1>::new([2], 2, 1).push([(&two, 0)], [&two]);
        });
        refused(|| {
            let two = [Block::ZERO; 2];
            Sum::<1, 1>::new([2], 1, 2).push([(&two, 15)], [&two]);
        });
        refused(|| {
            let two = [Block::ZERO; 2];
            Sum::<1, 1>::new([1], 1, 1).push([(&two, usize::MAX)], [&two]);
        });
        refused(|| {
            let _ = Sum::<1, 1>::new([16], usize::MAX / LANES, 1);
        });
        refused(|| {
            let two = [Block::ZERO; 2];
            Sum::<1, 1>::new([2], 1, 3).push([(&two, 0)], [&two]);
        });
        refused(|| {
            let one = [Block::ZERO];
            let mut sum = Sum::<1, 1>::new([1], 1, 1);
            for _ in 0..=MOST_STEPS {
                sum.push([(&one, 0)], [&one]);
            }
        });
        if has_tiles() {
            refused(|| {
                let mut c = [Block::ZERO];
                let c = [&mut c[..], &mut [], &mut [], &mut []];
                Sum::<1, 1>::new([2], 1, 1).finish(&mut Registers::new(), c, false);
            });
            refused(|| {
                let _first = Registers::new();
                let _second = Registers::new();
            });
            // Both gave the registers back.
            drop(Registers::new());
        }
    }
}
