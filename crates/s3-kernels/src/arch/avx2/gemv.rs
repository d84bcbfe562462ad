//! Matrix-vector products from the resident form: codes are taken apart in registers.
//!
//! ```text
//! for each panel of 64 rows, each row of x:
//!     for each step of 8 columns, each half of 4 columns:
//!         x4 = the 4 activations, in every 4-byte lane
//!         for each of the 4 blocks: sum16[block] += maddubs(codes of the block, x4)
//!     every `flush` results: sum32[block] += pairs of sum16[block]
//! ```
//!
//! Ternary codes are not shifted into place one by one: `w & 0b1100` is the code of block 1 times
//! 4, and 16 such results fit 16 bits. One shift of 4 bits serves blocks 2 and 3. The sums of
//! blocks 1 and 3 come out 4 times too large, exactly.

use core::arch::x86_64::*;

use super::decode::half_step;
use super::{flush, offset, store_i32};
use crate::micro::kernel::Job;
use crate::micro::rates::{Shape, Work};
use crate::packed::code::BitWidth;
use crate::packed::lines::{Line, PANEL, STEP};

/// Sums of 8 rows each: `[side][block]`, rows `16 block + 8 side ..` of a panel.
type Sums = [[__m256i; 4]; 2];

/// Sums activations, and takes weights apart for each row.
pub(crate) fn work(shape: &Shape) -> Work {
    shape.work(shape.activations(), 1, PANEL)
}

/// Rows of `x` that meet a panel while it is in the cache.
const ROWS: usize = 16;

/// Serves every width and shape, one row of `x` after the other.
pub(crate) fn gemv(job: Job<'_>) {
    let run = match job.w.bit_width() {
        BitWidth::B2 => rows::<2>,
        BitWidth::B3 => rows::<3>,
        BitWidth::B4 => rows::<4>,
    };
    // SAFETY: a kernel is started only where the CPU has the instructions of its line in the table.
    unsafe { run(job) }
}

#[target_feature(enable = "avx2")]
fn rows<const BITS: u32>(job: Job<'_>) {
    let (rows, cols) = (job.y.len() / job.batch, job.w.cols());
    let blocks = job.x.chunks(ROWS * cols);
    for (x, y) in blocks.zip(job.y.chunks_mut(ROWS * rows)) {
        let mut excess = [0; ROWS];
        for (excess, x) in excess.iter_mut().zip(x.chunks_exact(cols)) {
            let total = x.iter().fold(0i32, |sum, &x| sum.wrapping_add(x.into()));
            *excess = total.wrapping_mul(offset(BITS));
        }
        for (at, panel) in job.panels.clone().enumerate() {
            let lines = job.w.lines().panel(panel);
            let columns = at * PANEL..rows.min((at + 1) * PANEL);
            let rows = x.chunks_exact(cols).zip(y.chunks_exact_mut(rows));
            for ((x, y), &excess) in rows.zip(&excess) {
                let (whole, rest) = x.as_chunks::<STEP>();
                let mut last = [0; STEP];
                last[..rest.len()].copy_from_slice(rest);
                let (body, tail) = lines.split_at(whole.len() * BITS as usize);
                let mut sums = [[_mm256_setzero_si256(); 4]; 2];
                if BITS == 2 {
                    ternary(body.as_chunks().0, whole, &mut sums);
                    ternary(tail.as_chunks().0, &[last], &mut sums);
                } else {
                    general::<BITS>(body, whole, &mut sums);
                    general::<BITS>(tail, &[last], &mut sums);
                }
                finish(&sums, _mm256_set1_epi32(excess), &mut y[columns.clone()]);
            }
        }
    }
}

/// Adds the products of some steps of a ternary panel. Sums that are 4 times too large are taken
/// over 256 columns at most, less than `2^19`, and shifted back.
#[inline]
#[target_feature(enable = "avx2")]
fn ternary(lines: &[[Line; 2]], x: &[[i8; STEP]], sums: &mut Sums) {
    // A step adds two results of each kind.
    const STEPS: usize = flush(2) / 2;
    for (lines, x) in lines.chunks(STEPS).zip(x.chunks(STEPS)) {
        let (plain, fours) = ternary_steps(lines, x);
        for side in 0..2 {
            for block in 0..2 {
                let [even, odd] = &mut sums[side].as_chunks_mut::<2>().0[block];
                *even = widen_add(*even, plain[side][block]);
                *odd = _mm256_add_epi32(*odd, _mm256_srai_epi32::<2>(fours[side][block]));
            }
        }
    }
}

/// Products of one half step of a ternary panel: the line at `$line` and the 4 activations at `$x`.
/// `ymm0..4` and `ymm4..8` are the sums of the sides: `plain[0], four[0], plain[1], four[1]`.
macro_rules! ternary_half_step {
    ($line:literal, $x:literal) => {
        concat!(
            "vpbroadcastd ymm10, dword ptr [{x}+",
            $x,
            "]\n",
            "vmovdqa ymm12, ymmword ptr [{lines}+",
            $line,
            "]\n",
            "vmovdqa ymm13, ymmword ptr [{lines}+",
            $line,
            "+32]\n",
            "vpand ymm14, ymm12, ymm8\n",
            "vpand ymm15, ymm13, ymm8\n",
            "vpmaddubsw ymm14, ymm14, ymm10\n",
            "vpmaddubsw ymm15, ymm15, ymm10\n",
            "vpaddw ymm0, ymm0, ymm14\n",
            "vpaddw ymm4, ymm4, ymm15\n",
            "vpand ymm14, ymm12, ymm9\n",
            "vpand ymm15, ymm13, ymm9\n",
            "vpmaddubsw ymm14, ymm14, ymm10\n",
            "vpmaddubsw ymm15, ymm15, ymm10\n",
            "vpaddw ymm1, ymm1, ymm14\n",
            "vpaddw ymm5, ymm5, ymm15\n",
            "vpsrlw ymm12, ymm12, 4\n",
            "vpsrlw ymm13, ymm13, 4\n",
            "vpand ymm14, ymm12, ymm8\n",
            "vpand ymm15, ymm13, ymm8\n",
            "vpmaddubsw ymm14, ymm14, ymm10\n",
            "vpmaddubsw ymm15, ymm15, ymm10\n",
            "vpand ymm12, ymm12, ymm9\n",
            "vpand ymm13, ymm13, ymm9\n",
            "vpmaddubsw ymm12, ymm12, ymm10\n",
            "vpaddw ymm2, ymm2, ymm14\n",
            "vpmaddubsw ymm13, ymm13, ymm10\n",
            "vpaddw ymm6, ymm6, ymm15\n",
            "vpaddw ymm3, ymm3, ymm12\n",
            "vpaddw ymm7, ymm7, ymm13",
        )
    };
}

/// The inner loop of [`ternary`], for 32 steps at most: for each side, 16-bit sums of blocks 0 and
/// 2, and 32-bit sums of blocks 1 and 3 that are 4 times too large.
///
/// It is written in the order that keeps all four vector pipes of a core busy. Compilers join the
/// additions into trees, run out of registers and lose a tenth.
#[inline]
#[target_feature(enable = "avx2")]
fn ternary_steps(lines: &[[Line; 2]], x: &[[i8; STEP]]) -> ([[__m256i; 2]; 2], [[__m256i; 2]; 2]) {
    // Steps whose results, times 4, fit 16 bits.
    const FOURS: usize = flush(2) / 4 / 2;
    let zero = _mm256_setzero_si256();
    let (mut plain, mut fours) = ([[zero; 2]; 2], [[zero; 2]; 2]);
    let steps = lines.len().min(x.len());
    if steps > 0 {
        let [[p00, p01], [p10, p11]] = &mut plain;
        let (plain_mask, fours_mask) = (_mm256_set1_epi8(0b11), _mm256_set1_epi8(0b1100));
        let ones = _mm256_set1_epi16(1);
        // SAFETY: the loop takes `steps >= 1` steps. Each reads the 128 bytes of a step's lines,
        // which begin at multiples of 64, and its 8 activations; both slices have as many steps.
        // What it prefetches is nothing that a program sees, whatever the address. It reads and
        // writes the four registers of `fours`, which are aligned to their size. All registers that
        // it changes are named.
        unsafe {
            core::arch::asm!(
                "2:",
                "mov {now:e}, {most}",
                "cmp {steps}, {now}",
                "cmovb {now}, {steps}",
                "sub {steps}, {now}",
                "vpxor xmm1, xmm1, xmm1",
                "vpxor xmm3, xmm3, xmm3",
                "vpxor xmm5, xmm5, xmm5",
                "vpxor xmm7, xmm7, xmm7",
                ".p2align 5",
                "3:",
                "prefetcht0 byte ptr [{lines}+{ahead}]",
                "prefetcht0 byte ptr [{lines}+{ahead}+64]",
                ternary_half_step!(0, 0),
                ternary_half_step!(64, 4),
                "add {lines}, 128",
                "add {x}, 8",
                "dec {now}",
                "jnz 3b",
                "vpmaddwd ymm1, ymm1, ymm11",
                "vpmaddwd ymm3, ymm3, ymm11",
                "vpmaddwd ymm5, ymm5, ymm11",
                "vpmaddwd ymm7, ymm7, ymm11",
                "vpaddd ymm1, ymm1, ymmword ptr [{fours}]",
                "vpaddd ymm3, ymm3, ymmword ptr [{fours}+32]",
                "vpaddd ymm5, ymm5, ymmword ptr [{fours}+64]",
                "vpaddd ymm7, ymm7, ymmword ptr [{fours}+96]",
                "vmovdqa ymmword ptr [{fours}], ymm1",
                "vmovdqa ymmword ptr [{fours}+32], ymm3",
                "vmovdqa ymmword ptr [{fours}+64], ymm5",
                "vmovdqa ymmword ptr [{fours}+96], ymm7",
                "test {steps}, {steps}",
                "jnz 2b",
                most = const FOURS,
                ahead = const AHEAD * 64,
                now = out(reg) _,
                lines = inout(reg) lines.as_ptr() => _,
                x = inout(reg) x.as_ptr() => _,
                steps = inout(reg) steps => _,
                fours = in(reg) fours.as_mut_ptr(),
                inout("ymm0") *p00,
                out("ymm1") _,
                inout("ymm2") *p01,
                out("ymm3") _,
                inout("ymm4") *p10,
                out("ymm5") _,
                inout("ymm6") *p11,
                out("ymm7") _,
                in("ymm8") plain_mask,
                in("ymm9") fours_mask,
                out("ymm10") _,
                in("ymm11") ones,
                out("ymm12") _,
                out("ymm13") _,
                out("ymm14") _,
                out("ymm15") _,
                options(nostack),
            );
        }
    }
    (plain, fours)
}

/// Adds the products of some steps of a panel of any width, one side after the other: the sums of
/// both leave no registers for the codes.
#[inline]
#[target_feature(enable = "avx2")]
fn general<const BITS: u32>(lines: &[Line], x: &[[i8; STEP]], sums: &mut Sums) {
    // A step adds two results of each kind, of which 3 bits hold 16 in i16.
    const STEPS: usize = flush(3) / 2;
    for (lines, x) in lines.chunks(STEPS * BITS as usize).zip(x.chunks(STEPS)) {
        for (side, wide) in sums.iter_mut().enumerate() {
            let mut narrow = [_mm256_setzero_si256(); 4];
            let mut held = *wide;
            for (step, x) in lines.chunks_exact(BITS as usize).zip(x) {
                if side == 0 {
                    fetch_ahead(step);
                }
                for (half, x) in x.as_chunks::<4>().0.iter().enumerate() {
                    let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(i8::cast_unsigned)));
                    let codes = half_step::<BITS>(step, half, side);
                    for (block, code) in codes.into_iter().enumerate() {
                        let products = _mm256_maddubs_epi16(code, x);
                        if flush(BITS) == 1 {
                            held[block] = widen_add(held[block], products);
                        } else {
                            narrow[block] = _mm256_add_epi16(narrow[block], products);
                        }
                    }
                }
            }
            if flush(BITS) > 1 {
                held = core::array::from_fn(|block| widen_add(held[block], narrow[block]));
            }
            *wide = held;
        }
    }
}

/// Lines by which a kernel asks for weights before it reads them. A CPU left to itself reads one
/// stream at half the speed of its memory.
const AHEAD: usize = 48;

/// Asks for the lines that far behind `lines`.
#[inline]
#[target_feature(enable = "avx2")]
fn fetch_ahead(lines: &[Line]) {
    for line in lines {
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).wrapping_add(AHEAD).cast());
    }
}

/// `sum` plus the sums of neighbouring 16-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_add(sum: __m256i, narrow: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)))
}

/// Writes the rows of a panel, of which `y` may have fewer than 64.
#[inline]
#[target_feature(enable = "avx2")]
fn finish(sums: &Sums, excess: __m256i, y: &mut [i32]) {
    let mut out = [[0; 8]; PANEL / 8];
    for (side, sums) in sums.iter().enumerate() {
        for (block, &sum) in sums.iter().enumerate() {
            store_i32(&mut out[2 * block + side], _mm256_sub_epi32(sum, excess));
        }
    }
    y.copy_from_slice(&out.as_flattened()[..y.len()]);
}
