//! The instructions, as inline assembly: their intrinsics are not stable.
#![allow(unsafe_code, reason = "the instructions")]

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use super::sum::{Registers, Shape, Step, Sum};
use crate::train::scratch::Block;
use crate::train::simd::LANES;

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
    // SAFETY: system call 158 reads its two arguments and touches no memory of this process. Where
    // it grants the registers, signal frames grow by them; where a thread's signal stack is too
    // small for that, or the kernel does not know the call, it answers with an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") 158_i64 => answer,
            in("rdi") 0x1023_u64,
            in("rsi") 18_u64,
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

/// Registers 0 to 3 are `c`, row by row; 4 and 5 are `a`, 6 and 7 are `b`.
#[inline(always)]
pub(super) fn configure(registers: &mut Registers, shape: Shape) {
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
    palette.rows[..8].copy_from_slice(&[first, first, second, second, first, second, depth, depth]);
    // SAFETY: `Registers` proves AMX; the palette is valid: `Sum::new` checked 1 to 16 rows and
    // pairs.
    unsafe {
        asm!(
            "ldtilecfg [{}]",
            in(reg) &raw const palette,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
    registers.configured = shape;
}

/// Gives the registers back.
pub(super) fn release() {
    // SAFETY: only a `Registers`, which proves AMX, is dropped.
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
/// The registers are configured for the sum's shape; it has a step; `c` holds `A·B` places of as
/// many blocks as the rows of their tile of `a`.
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
                    "mov {at}, [{c} + 16]",
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
                    "mov {at}, [{c} + 16]",
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
