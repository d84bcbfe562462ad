//! f32 activations by multiply and add: a few rows by one or two registers of outputs, whose sums
//! stay in registers.

use core::marker::PhantomData;

use super::simd::{Simd, Task, run};
use crate::micro::float::{FloatLine, LINE, StripOperands};
use crate::packed::lines::Line;
use crate::packed::unpack::QUAD;

/// An order of products and sums.
pub(crate) trait Order {
    /// Neighbouring `k` that are taken together, at most three.
    const STEP: usize;

    /// Adds the products of the activations `k..k + N` of each row `x` with the weights of each `k`
    /// to the row's sums, `N` being at most [`STEP`](Order::STEP).
    ///
    /// # Safety
    ///
    /// Each of `x` is the first of `k + N` activations or more.
    unsafe fn add<S: Simd, const P: usize, const V: usize, const N: usize>(
        simd: S,
        sums: &mut [[S::F; V]; P],
        x: [*const f32; P],
        k: usize,
        w: &[[S::F; V]; N],
    );
}

/// The order of [`crate::gemm_f32`]. The products are exact, so a fused multiply-add rounds as the
/// addition of the definition does.
///
/// The registers of a row, or two rows of one, take turns, so that neighbouring instructions do not
/// wait for each other.
pub(crate) struct Triples;

impl Order for Triples {
    const STEP: usize = 3;

    #[inline(always)]
    unsafe fn add<S: Simd, const P: usize, const V: usize, const N: usize>(
        simd: S,
        sums: &mut [[S::F; V]; P],
        x: [*const f32; P],
        k: usize,
        w: &[[S::F; V]; N],
    ) {
        let mut t = [w[0]; P];
        for p in 0..P {
            for v in 0..V {
                // SAFETY: the caller's.
                t[p][v] = unsafe { simd.mul_at::<0>(x[p], k, w[0][v]) };
            }
        }
        if N > 1 {
            for p in 0..P {
                for v in 0..V {
                    // SAFETY: the caller's.
                    t[p][v] = unsafe { simd.mul_add_at::<1>(x[p], k, w[1][v], t[p][v]) };
                }
            }
        }
        if N > 2 {
            for p in 0..P {
                for v in 0..V {
                    // SAFETY: the caller's.
                    t[p][v] = unsafe { simd.mul_add_at::<2>(x[p], k, w[2][v], t[p][v]) };
                }
            }
        }
        for p in 0..P {
            for v in 0..V {
                sums[p][v] = simd.add_f32(sums[p][v], t[p][v]);
            }
        }
    }
}

/// One after the other, each product and each sum rounded: weights that are any f32.
#[cfg(feature = "model")]
pub(crate) struct Singles;

#[cfg(feature = "model")]
impl Order for Singles {
    const STEP: usize = 1;

    #[inline(always)]
    unsafe fn add<S: Simd, const P: usize, const V: usize, const N: usize>(
        simd: S,
        sums: &mut [[S::F; V]; P],
        x: [*const f32; P],
        k: usize,
        w: &[[S::F; V]; N],
    ) {
        let mut products = [w[0]; P];
        for p in 0..P {
            for v in 0..V {
                // SAFETY: the caller's.
                products[p][v] = unsafe { simd.mul_at::<0>(x[p], k, w[0][v]) };
            }
        }
        for p in 0..P {
            for v in 0..V {
                sums[p][v] = simd.add_f32(sums[p][v], products[p][v]);
            }
        }
    }
}

/// [`Widen`](crate::micro::float::Widen).
///
/// # Panics
///
/// Where the CPU lacks the instruction set.
pub(crate) fn widen<S: Simd>(levels: &[Line], first: usize, lines: usize, strip: &mut [FloatLine]) {
    struct Widen<'a>(&'a [Line], usize, usize, &'a mut [FloatLine]);
    impl Task for Widen<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Widen(levels, first, lines, strip) = self;
            let quads = levels.chunks_exact(QUAD);
            for (levels, strip) in quads.zip(strip.chunks_exact_mut(4 * lines)) {
                for (l, line) in levels[first..first + lines].iter().enumerate() {
                    for (v, bytes) in line.0.chunks_exact(S::BYTES).enumerate() {
                        let quads = simd.load(bytes);
                        for (j, left) in [24, 16, 8, 0].into_iter().enumerate() {
                            // Byte j of each lane, with its sign.
                            let byte = simd.shl_i32(quads, simd.splat(left));
                            let level = simd.to_f32(simd.shr_i32(byte, simd.splat(24)));
                            let to = &mut strip[j * lines + l].0;
                            simd.store_f32(level, &mut to[S::LANES * v..][..S::LANES]);
                        }
                    }
                }
            }
        }
    }
    run::<S>(Widen(levels, first, lines, strip));
}

/// A statement for each row of a tile, written out: the compiler leaves a loop over long ones as it
/// is, and an index that it does not know keeps sums in memory.
macro_rules! each_row {
    ($r:ident < $rows:expr, $body:block) => {
        each_row!($r $rows, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($r:ident $rows:expr, $body:block, $($at:literal)*) => {$(
        if $at < $rows {
            let $r: usize = $at;
            $body
        }
    )*};
}

macro_rules! tiles {
    ($registers:literal, [$($rows:literal)*], $operands:expr, $sums:expr) => {
        match $operands.rows() {
            $(..=$rows => run::<S>(Tile::<O, $rows, $registers> {
                operands: $operands,
                sums: $sums,
                order: PhantomData,
            }),)*
            rows => panic!("a tile of {rows} rows"),
        }
    };
}

/// [`StripKernel::run`](crate::micro::float::StripKernel::run) of AVX-512: at most sixteen rows
/// of one register, eleven of two.
///
/// # Panics
///
/// Where the CPU lacks it.
pub(crate) fn wide<S: Simd, O: Order>(operands: &StripOperands<'_>, sums: &mut [FloatLine]) {
    match operands.lines {
        1 => tiles!(1, [1 2 4 8 12 16], operands, sums),
        _ => tiles!(2, [1 2 4 6 8 10 11], operands, sums),
    }
}

/// [`StripKernel::run`](crate::micro::float::StripKernel::run) of AVX2: at most three rows.
///
/// # Panics
///
/// Where the CPU lacks it.
pub(crate) fn narrow<S: Simd, O: Order>(operands: &StripOperands<'_>, sums: &mut [FloatLine]) {
    tiles!(2, [1 2 3], operands, sums);
}

/// A tile of up to `R` rows and `V` registers of outputs. Rows that are not there repeat the first.
struct Tile<'a, O, const R: usize, const V: usize> {
    operands: &'a StripOperands<'a>,
    sums: &'a mut [FloatLine],
    order: PhantomData<O>,
}

impl<O: Order, const R: usize, const V: usize> Task for Tile<'_, O, R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lines = V * S::LANES / LINE;
        let StripOperands {
            seen,
            pieces,
            within,
            ..
        } = *self.operands;
        let count = self.operands.rows();
        assert!(count <= R && self.operands.lines == lines);
        let zero = simd.splat_f32(0.0);
        let sums = &mut self.sums[..count * lines];
        let mut kept = [[zero; V]; R];
        if !self.operands.fresh {
            each_row!(r < R, {
                if r < count {
                    kept[r] = registers(simd, &sums[r * lines..][..lines]);
                }
            });
        }
        let mut strip = self.operands.strip;
        let length = within.len();
        for piece in pieces.clone() {
            let mut rows = [seen.piece(0, piece, within).as_ptr(); R];
            each_row!(r < R, {
                if r < count {
                    rows[r] = seen.piece(r, piece, within).as_ptr();
                }
            });
            let (own, rest) = strip.split_at(length * lines);
            strip = rest;
            let whole = length / O::STEP * O::STEP;
            let mut k = 0;
            while k < whole {
                match O::STEP {
                    // SAFETY: `k + STEP <= length`, the length of every row, for each `k` of which
                    // the strip has `lines` lines.
                    1 => unsafe { step::<S, O, R, V, 1>(simd, rows, own, k, &mut kept) },
                    // SAFETY: as above.
                    _ => unsafe { step::<S, O, R, V, 3>(simd, rows, own, k, &mut kept) },
                }
                k += O::STEP;
            }
            match length - whole {
                0 => {}
                // SAFETY: `whole + 1` is the length.
                1 => unsafe { step::<S, O, R, V, 1>(simd, rows, own, whole, &mut kept) },
                // SAFETY: `whole + 2` is the length: `whole` is a multiple of `STEP`, at most 3.
                _ => unsafe { step::<S, O, R, V, 2>(simd, rows, own, whole, &mut kept) },
            }
        }
        each_row!(r < R, {
            if r < count {
                for v in 0..V {
                    let at = S::LANES * v;
                    let to = &mut sums[r * lines + at / LINE].0;
                    simd.store_f32(kept[r][v], &mut to[at % LINE..][..S::LANES]);
                }
            }
        });
    }
}

/// Adds the products of `N` neighbouring `k`.
///
/// # Safety
///
/// Every row is the first of `k + N` activations or more, and `strip` has lines for as many.
#[inline(always)]
unsafe fn step<S: Simd, O: Order, const R: usize, const V: usize, const N: usize>(
    simd: S,
    rows: [*const f32; R],
    strip: &[FloatLine],
    k: usize,
    kept: &mut [[S::F; V]; R],
) {
    let lines = V * S::LANES / LINE;
    // SAFETY: the caller's.
    let strip = unsafe { strip.get_unchecked(k * lines..(k + N) * lines) };
    let zero = simd.splat_f32(0.0);
    let mut w = [[zero; V]; N];
    for j in 0..N {
        w[j] = registers(simd, &strip[j * lines..][..lines]);
    }
    if V == 1 && R.is_multiple_of(2) {
        each_row!(r < R, {
            if r.is_multiple_of(2) {
                let mut two = [kept[r], kept[r + 1]];
                // SAFETY: the caller's.
                unsafe { O::add(simd, &mut two, [rows[r], rows[r + 1]], k, &w) }
                [kept[r], kept[r + 1]] = two;
            }
        });
        return;
    }
    each_row!(r < R, {
        let mut one = [kept[r]];
        // SAFETY: the caller's.
        unsafe { O::add(simd, &mut one, [rows[r]], k, &w) }
        [kept[r]] = one;
    });
}

/// The registers of some lines.
#[inline(always)]
fn registers<S: Simd, const V: usize>(simd: S, lines: &[FloatLine]) -> [S::F; V] {
    let mut registers = [simd.splat_f32(0.0); V];
    for v in 0..V {
        let at = S::LANES * v;
        registers[v] = simd.load_f32(&lines[at / LINE].0[at % LINE..][..S::LANES]);
    }
    registers
}
