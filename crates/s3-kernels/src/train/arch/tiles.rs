//! Tiles: the matrix registers of x86-64's AMX, which multiply 16 × 32 bf16 with 32 × 16 at a time.
//!
//! A tile of `a` holds up to 16 rows of up to 16 pairs, one of `b` a row of 16 pairs for every pair of `a`,
//! one of `c` 16 sums for every row of `a`:
//!
//! ```text
//! c[i][l] += Σ_k a[i][k].low · b[k][l].low + a[i][k].high · b[k][l].high
//! ```
//!
//! Low and high products are summed apart, from the first `k` to the last, and their sums then added to
//! `c`; all in f32, rounded to nearest, with denormals taken as zero. [`Sum`] lists the tiles of a whole sum,
//! so that `c` stays in its register.
#![allow(
    unsafe_code,
    reason = "the instructions, and pointers to what they read"
)]

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::LANES;
use crate::train::scratch::Block;

/// Rows and pairs of a full tile.
pub(in crate::train) const FULL: usize = 16;

/// Steps that a list holds; a longer sum goes on where `c` was stored.
const MOST_STEPS: usize = 64;

/// Whether the CPU multiplies tiles of bf16, the operating system lets this process use them, and
/// `S3_KERNELS_AMX=0` does not forbid them: AVX512-BF16 then gives the bytes of a CPU without tiles.
pub(in crate::train) fn has_tiles() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        let forbidden = std::env::var_os("S3_KERNELS_AMX").is_some_and(|value| value == "0");
        !forbidden && amx::permitted()
    })
}

std::thread_local! {
    /// What tile registers this thread is using, if any: one [`Tiles`] a thread.
    static IN_USE: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// The tile registers of this thread, and proof that it has them.
pub(in crate::train) struct Tiles {
    configured: Shape,
    /// The registers are the thread's.
    stays: PhantomData<*mut ()>,
}

/// Rows of the tiles of `a`, and pairs that are summed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    rows: [usize; 2],
    depth: usize,
}

impl Tiles {
    /// # Panics
    ///
    /// Where there are none ([`has_tiles`]), or this thread is using them.
    pub(in crate::train) fn new() -> Self {
        assert!(has_tiles(), "the CPU has AMX");
        assert!(!IN_USE.replace(true), "one user of a thread's tiles");
        Tiles {
            configured: Shape {
                rows: [0; 2],
                depth: 0,
            },
            stays: PhantomData,
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        amx::release();
        IN_USE.set(false);
    }
}

/// Where the tiles of a step begin: `A` of `a`, then `B` of `b`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Step<const A: usize, const B: usize> {
    a: [*const f32; A],
    b: [*const Block; B],
}

/// A sum of products of tiles: `A` tiles of `a` with `B` of `b`, each with each.
pub(in crate::train) struct Sum<'a, const A: usize, const B: usize> {
    shape: Shape,
    /// Blocks from a row of `a` to the next.
    row_step: usize,
    /// The first `count` are there.
    steps: [MaybeUninit<Step<A, B>>; MOST_STEPS],
    count: usize,
    operands: PhantomData<&'a [Block]>,
}

impl<'a, const A: usize, const B: usize> Sum<'a, A, B> {
    /// Of nothing yet. Tile `i` of `a` has `rows[i]` rows, `row_step` blocks apart, of `depth` pairs.
    ///
    /// # Panics
    ///
    /// Where a number of rows or pairs is not one of `1..=16`.
    #[inline(always)]
    pub(in crate::train) fn new(rows: [usize; A], row_step: usize, depth: usize) -> Self {
        const { assert!(A >= 1 && A <= 2 && B >= 1 && B <= 2) };
        let fits = |n: usize| (1..=FULL).contains(&n);
        assert!(
            rows.iter().all(|&r| fits(r)) && fits(depth),
            "tiles of 1 to 16 rows and pairs"
        );
        Sum {
            shape: Shape {
                rows: [rows[0], rows[A - 1]],
                depth,
            },
            row_step,
            steps: [const { MaybeUninit::uninit() }; MOST_STEPS],
            count: 0,
            operands: PhantomData,
        }
    }

    /// Whether no step may be added.
    #[inline(always)]
    pub(in crate::train) fn is_full(&self) -> bool {
        self.count == MOST_STEPS
    }

    /// Adds a step: tile `i` of `a` begins with lane `a[i].1` of `a[i].0`, tile `j` of `b` with `b[j]`.
    ///
    /// # Panics
    ///
    /// Where a tile ends behind its slice, or the list is full.
    #[inline(always)]
    pub(in crate::train) fn push(&mut self, a: [(&'a [Block], usize); A], b: [&'a [Block]; B]) {
        let mut step = Step {
            a: [core::ptr::null(); A],
            b: [core::ptr::null(); B],
        };
        for i in 0..A {
            let (blocks, lane) = a[i];
            let rows = self.shape.rows[i];
            let end = lane + (rows - 1) * self.row_step * LANES + self.shape.depth;
            assert!(end <= blocks.len() * LANES, "a tile beyond its rows");
            step.a[i] = blocks.as_ptr().cast::<f32>().wrapping_add(lane);
        }
        for j in 0..B {
            step.b[j] = b[j][..self.shape.depth].as_ptr();
        }
        self.steps[self.count].write(step);
        self.count += 1;
    }

    /// `c[i][j] = Σ a_i · b_j`, or `+=` where `add`, and forgets the steps. Row `r` of tile `i` is block `r`.
    ///
    /// # Panics
    ///
    /// Where a `c` has fewer rows than its `a`.
    #[inline(always)]
    pub(in crate::train) fn finish(
        &mut self,
        tiles: &mut Tiles,
        c: [[&mut [Block]; B]; A],
        add: bool,
    ) {
        let mut to = [core::ptr::null_mut::<Block>(); 4];
        for (i, c) in c.into_iter().enumerate() {
            for (j, c) in c.into_iter().enumerate() {
                let c = &mut c[..self.shape.rows[i]];
                if self.count == 0 && !add {
                    c.fill(Block::ZERO);
                }
                to[i * B + j] = c.as_mut_ptr();
            }
        }
        if self.count == 0 {
            return;
        }
        if tiles.configured != self.shape {
            amx::configure(tiles, self.shape);
        }
        // SAFETY: `tiles` proves the registers, which are configured for `shape`; `push` and the slices
        // above checked that every tile of that shape lies in a slice, which outlives `'a` or this call.
        unsafe { amx::sum(self, to, add) };
        self.count = 0;
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod amx {
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count};

    use super::{Block, LANES, Shape, Step, Sum, Tiles};

    /// Linux lends the registers to a process that asks (`arch_prctl(ARCH_REQ_XCOMP_PERM, 18)`).
    pub(super) fn permitted() -> bool {
        if __cpuid(0).eax < 7 {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        // AMX-BF16 and AMX-TILE.
        if features >> 22 & 1 == 0 || features >> 24 & 1 == 0 {
            return false;
        }
        let answer: i64;
        // SAFETY: system call 158 reads its two arguments and changes nothing but what tile
        // instructions do in this process; a kernel that does not know it answers with an error.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") 158_i64 => answer,
                in("rdi") 0x1023,
                in("rsi") 18,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        answer == 0
    }

    /// The configuration as the instruction reads it.
    #[repr(C, align(64))]
    struct Palette {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Tiles 0 to 3 are `c`, row by row; 4 and 5 are `a`, 6 and 7 are `b`.
    #[inline(always)]
    pub(super) fn configure(tiles: &mut Tiles, shape: Shape) {
        let [first, second] = shape.rows.map(|rows| rows as u8);
        let depth = shape.depth as u8;
        let mut palette = Palette {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        palette.row_bytes[..8].fill(64);
        palette.row_bytes[4..6].fill(4 * u16::from(depth));
        palette.rows[..8]
            .copy_from_slice(&[first, first, second, second, first, second, depth, depth]);
        // SAFETY: `Tiles` proves AMX; the palette is valid: `Sum::new` checked 1 to 16 rows and pairs.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const palette,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
        tiles.configured = shape;
    }

    /// Gives the registers back.
    pub(super) fn release() {
        // SAFETY: only a `Tiles`, which proves AMX, is dropped.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// A loop over steps of `$size` bytes between loading or clearing tiles of `c` and storing them.
    macro_rules! kernel {
        ($sum:ident, $c:ident, $add:ident, $size:literal, [$($zero:literal),*], [$($load:literal),*],
         [$($step:literal),*], [$($store:literal),*]) => {
            asm!(
                "test {add:e}, {add:e}",
                "jnz 3f",
                $($zero,)*
                "jmp 2f",
                "3:",
                $($load,)*
                "2:",
                $($step,)*
                concat!("add {steps}, ", $size),
                "dec {count}",
                "jnz 2b",
                $($store,)*
                steps = inout(reg) $sum.steps.as_ptr() => _,
                count = inout(reg) $sum.count => _,
                add = in(reg) u32::from($add),
                c = in(reg) $c.as_ptr(),
                a_step = in(reg) $sum.row_step * LANES * size_of::<f32>(),
                line = in(reg) size_of::<Block>(),
                at = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }

    /// # Safety
    ///
    /// The registers are configured for the sum's shape; it has a step; `c` holds `A·B` places of as many
    /// blocks as the rows of their tile of `a`.
    #[inline(always)]
    pub(super) unsafe fn sum<const A: usize, const B: usize>(
        sum: &Sum<'_, A, B>,
        c: [*mut Block; 4],
        add: bool,
    ) {
        const { assert!(size_of::<Step<A, B>>() == 8 * (A + B)) };
        match (A, B) {
            // SAFETY: as the function's; the loop reads `count` steps.
            (1, 1) => unsafe {
                kernel!(
                    sum,
                    c,
                    add,
                    16,
                    ["tilezero tmm0"],
                    ["mov {at}, [{c}]", "tileloadd tmm0, [{at} + {line}*1]"],
                    [
                        "mov {at}, [{steps}]",
                        "tileloadd tmm4, [{at} + {a_step}*1]",
                        "mov {at}, [{steps} + 8]",
                        "tileloadd tmm6, [{at} + {line}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6"
                    ],
                    ["mov {at}, [{c}]", "tilestored [{at} + {line}*1], tmm0"]
                )
            },
            // SAFETY: as above.
            (1, 2) => unsafe {
                kernel!(
                    sum,
                    c,
                    add,
                    24,
                    ["tilezero tmm0", "tilezero tmm1"],
                    [
                        "mov {at}, [{c}]",
                        "tileloadd tmm0, [{at} + {line}*1]",
                        "mov {at}, [{c} + 8]",
                        "tileloadd tmm1, [{at} + {line}*1]"
                    ],
                    [
                        "mov {at}, [{steps}]",
                        "tileloadd tmm4, [{at} + {a_step}*1]",
                        "mov {at}, [{steps} + 8]",
                        "tileloadd tmm6, [{at} + {line}*1]",
                        "mov {at}, [{steps} + 16]",
                        "tileloadd tmm7, [{at} + {line}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tdpbf16ps tmm1, tmm4, tmm7"
                    ],
                    [
                        "mov {at}, [{c}]",
                        "tilestored [{at} + {line}*1], tmm0",
                        "mov {at}, [{c} + 8]",
                        "tilestored [{at} + {line}*1], tmm1"
                    ]
                )
            },
            // SAFETY: as above.
            (2, 1) => unsafe {
                kernel!(
                    sum,
                    c,
                    add,
                    24,
                    ["tilezero tmm0", "tilezero tmm2"],
                    [
                        "mov {at}, [{c}]",
                        "tileloadd tmm0, [{at} + {line}*1]",
                        "mov {at}, [{c} + 8]",
                        "tileloadd tmm2, [{at} + {line}*1]"
                    ],
                    [
                        "mov {at}, [{steps}]",
                        "tileloadd tmm4, [{at} + {a_step}*1]",
                        "mov {at}, [{steps} + 16]",
                        "tileloadd tmm6, [{at} + {line}*1]",
                        "mov {at}, [{steps} + 8]",
                        "tileloadd tmm5, [{at} + {a_step}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tdpbf16ps tmm2, tmm5, tmm6"
                    ],
                    [
                        "mov {at}, [{c}]",
                        "tilestored [{at} + {line}*1], tmm0",
                        "mov {at}, [{c} + 8]",
                        "tilestored [{at} + {line}*1], tmm2"
                    ]
                )
            },
            // SAFETY: as above.
            (2, 2) => unsafe {
                kernel!(
                    sum,
                    c,
                    add,
                    32,
                    [
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3"
                    ],
                    [
                        "mov {at}, [{c}]",
                        "tileloadd tmm0, [{at} + {line}*1]",
                        "mov {at}, [{c} + 8]",
                        "tileloadd tmm1, [{at} + {line}*1]",
                        "mov {at}, [{c} + 16]",
                        "tileloadd tmm2, [{at} + {line}*1]",
                        "mov {at}, [{c} + 24]",
                        "tileloadd tmm3, [{at} + {line}*1]"
                    ],
                    [
                        "mov {at}, [{steps}]",
                        "tileloadd tmm4, [{at} + {a_step}*1]",
                        "mov {at}, [{steps} + 16]",
                        "tileloadd tmm6, [{at} + {line}*1]",
                        "mov {at}, [{steps} + 24]",
                        "tileloadd tmm7, [{at} + {line}*1]",
                        "mov {at}, [{steps} + 8]",
                        "tileloadd tmm5, [{at} + {a_step}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7"
                    ],
                    [
                        "mov {at}, [{c}]",
                        "tilestored [{at} + {line}*1], tmm0",
                        "mov {at}, [{c} + 8]",
                        "tilestored [{at} + {line}*1], tmm1",
                        "mov {at}, [{c} + 16]",
                        "tilestored [{at} + {line}*1], tmm2",
                        "mov {at}, [{c} + 24]",
                        "tilestored [{at} + {line}*1], tmm3"
                    ]
                )
            },
            _ => unreachable!("one or two tiles of each"),
        }
    }
}

/// Elsewhere there are no tiles.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
mod amx {
    use super::{Block, Shape, Sum, Tiles};

    pub(super) fn permitted() -> bool {
        false
    }

    pub(super) fn configure(_: &mut Tiles, _: Shape) {
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
}

#[cfg(test)]
mod tests {
    use super::{Block, FULL, LANES, MOST_STEPS, Sum, Tiles, has_tiles};
    use crate::train::element::Bf16;

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
        let mut c = [[[Block([3.0; LANES]); FULL]; B]; A];
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
                        expected[i][j][r].0[l] = sum;
                    }
                }
            }
        }
        let mut tiles = Tiles::new();
        let mut sum = Sum::<A, B>::new(rows, row_step, depth);
        let mut more = add;
        for step in 0..steps {
            if sum.is_full() {
                sum.finish(
                    &mut tiles,
                    c.each_mut().map(|c| c.each_mut().map(|c| &mut c[..])),
                    more,
                );
                more = true;
            }
            sum.push(
                core::array::from_fn(|i| (&a[..], from(step, i))),
                core::array::from_fn(|j| &b[step + j..]),
            );
        }
        sum.finish(
            &mut tiles,
            c.each_mut().map(|c| c.each_mut().map(|c| &mut c[..])),
            more,
        );
        assert_eq!(
            c, expected,
            "{rows:?} rows, {depth} pairs, {steps} steps, {add}"
        );
    }

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
        refused(|| drop(Sum::<1, 1>::new([17], 1, 1)));
        refused(|| drop(Sum::<1, 1>::new([0], 1, 1)));
        refused(|| drop(Sum::<2, 1>::new([16, 17], 1, 1)));
        refused(|| drop(Sum::<1, 1>::new([1], 1, 17)));
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
                Sum::<1, 1>::new([2], 1, 1).finish(&mut Tiles::new(), [[&mut c]], false);
            });
            refused(|| {
                let _first = Tiles::new();
                let _second = Tiles::new();
            });
            // Both gave the registers back.
            drop(Tiles::new());
        }
    }
}
