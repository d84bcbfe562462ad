//! The microkernel of a CPU without multiplier: a product with a level is a shift and a sign.
//! Levels that are no powers of two have one that multiplies all the same.

use crate::isa::Isa;
use crate::micro::bytes::{AccRow, DepthwiseKernel, Microkernel, Operands, panel_lines, position};

pub(crate) const SHIFT: Microkernel = Microkernel {
    name: "scalar-u8s8-shift",
    isa: Isa::Scalar,
    available: || true,
    unpack: super::unpack::unpack,
    depthwise: &DEPTHWISE,
    order: |_| (),
    run: |operands, out| run(operands, out, shifted),
};

/// For integers of any kind.
#[cfg(feature = "model")]
pub(crate) const MULTIPLY: Microkernel = Microkernel {
    name: "scalar-u8s8-multiply",
    isa: Isa::Scalar,
    available: || true,
    unpack: super::unpack::unpack,
    depthwise: &DEPTHWISE_MULTIPLY,
    order: |_| (),
    run: |operands, out| run(operands, out, |x, level| x * i32::from(level)),
};

/// `x level`, without a multiplication. `level` is 0 or a power of two with a sign.
#[inline]
fn shifted(x: i32, level: i8) -> i32 {
    let magnitude = level.unsigned_abs();
    let shifted = x << (magnitude.trailing_zeros() & 7);
    let kept = if magnitude == 0 { 0 } else { shifted };
    if level < 0 { -kept } else { kept }
}

#[inline]
fn run(operands: &Operands<'_>, out: &mut [AccRow], product: impl Fn(i32, i8) -> i32) {
    operands.check(operands.taps.total_quads() * 4, out);
    let quads = operands.taps.quads();
    for (out, &start) in out.iter_mut().zip(operands.windows) {
        let mut sums = *operands.init;
        let mut panel = operands.panel.chunks_exact(4);
        for &tap in operands.taps.offsets() {
            let x = &operands.x[start + tap..][..4 * quads];
            for (x, lines) in x.chunks_exact(4).zip(&mut panel) {
                let levels = lines.iter().flat_map(|line| line.0.chunks_exact(4));
                for (sum, levels) in sums.0.iter_mut().zip(levels).take(operands.columns) {
                    for (&x, &level) in x.iter().zip(levels) {
                        *sum = sum.wrapping_add(product(i32::from(x ^ operands.flip), level as i8));
                    }
                }
            }
        }
        *out = sums;
    }
}

/// Where channels do not see each other.
pub(crate) const DEPTHWISE: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Scalar,
    unpack: super::unpack::unpack,
    run: |operands, out| depthwise(operands, out, shifted),
};

/// The same for integers of any kind.
#[cfg(feature = "model")]
const DEPTHWISE_MULTIPLY: DepthwiseKernel = DepthwiseKernel {
    isa: Isa::Scalar,
    unpack: super::unpack::unpack,
    run: |operands, out| depthwise(operands, out, |x, level| x * i32::from(level)),
};

#[inline]
fn depthwise(operands: &Operands<'_>, out: &mut [AccRow], product: impl Fn(i32, i8) -> i32) {
    let taps = operands.taps.offsets();
    operands.check(panel_lines(taps.len()), out);
    for (out, &start) in out.iter_mut().zip(operands.windows) {
        *out = *operands.init;
        for (t, &tap) in taps.iter().enumerate() {
            let x = &operands.x[start + tap..][..operands.columns];
            for (n, (sum, &x)) in out.0.iter_mut().zip(x).enumerate() {
                let (line, byte) = position(n, t);
                *sum += product(i32::from(x), operands.panel[line].0[byte] as i8);
            }
        }
    }
}
