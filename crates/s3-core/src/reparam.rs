//! Equations 5, 6, 8 and 9: from latents to the discrete weight, with straight-through gradients.
//!
//! With every Heaviside step given derivative 1 the derivatives of eq. 9 are, with `s` the sign,
//! `m` the sparsity gate, `h_j` the shift gates and `P = 2^{S_t}`:
//!
//! ```text
//! dW/dw_sign   = c_s · m · P                   c_s: the sign slope, 1 (the authors' code) or 2 (literal eq. 9)
//! dW/dw_sparse = s · P
//! dW/dw_j      = s · m · ln2 · P · dS_t/dw_j   dS_t/dw_j = (Π_{i>j} h_i) · (S_{j-1} + 1)
//! ```
//!
//! [`ShiftGradient::FiniteDifference`] replaces the last line by the exact change of `W` when the
//! gate flips: `P_0 = 1, P_j = 1 + h_j (2 P_{j-1} - 1)` has the same values, and
//! `dP_t/dh_j = (2 P_{j-1} - 1) · Π_{i>j} 2 h_i` holds no ln2.
//!
//! On the CPU one pass over the latents computes the weight and one pass the gradients; elsewhere
//! [`shift_weight_composed`] builds the same values from candle's own ops. A test holds the two
//! equal to the bit.

use crate::host::{Host, slice};
use crate::ste::{heaviside, sign, ste};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The largest number of shift latents: 2^30 is the largest level that an i32 code holds.
pub const MAX_SHIFTS: usize = 30;

/// Elements that one task handles; fixed, so that results do not depend on the thread count.
const CHUNK: usize = 4096;

/// Which derivative a shift gate gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftGradient {
    /// `ln2 · 2^S · dS`: what autograd gives for `2^S`, and what the authors' code trains with.
    #[default]
    Analytic,
    /// The exact difference that flipping the gate makes; without ln2. Steadier for t = 6.
    FiniteDifference,
}

/// The free choices of eq. 9's backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surrogate {
    /// `c_s`: 1 in the authors' code, 2 as the derivative of `2·1(w) - 1`.
    pub sign_slope: f32,
    /// The derivative of the shift gates.
    pub shift: ShiftGradient,
}

impl Default for Surrogate {
    fn default() -> Self {
        Self {
            sign_slope: 1.0,
            shift: ShiftGradient::Analytic,
        }
    }
}

/// Eq. 5: the ternary quantizer of earlier work, `+1` where `delta <= w`, `-1` where `w < -delta`,
/// else 0, with the identity STE.
///
/// # Errors
/// Those of candle's comparisons.
///
/// ```
/// # use candle_core::{Device, Tensor};
/// let w = Tensor::new(&[0.5f32, 0.2, -0.5, -0.6], &Device::Cpu)?;
/// let q = s3_core::reparam::ternary_quantizer(&w, 0.5)?;
/// assert_eq!(q.to_vec1::<f32>()?, [1., 0., 0., -1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn ternary_quantizer(w: &Tensor, delta: f64) -> Result<Tensor> {
    let v = w.detach();
    let q = (v.ge(delta)?.to_dtype(w.dtype())? - v.lt(-delta)?.to_dtype(w.dtype())?)?;
    crate::ste::identity(&q, w)
}

/// Eq. 6: the ternary weight `1(w_sparse) · (2·1(w_sign) - 1)`; eq. 9 with no shift latents.
///
/// # Errors
/// As [`shift_weight`].
pub fn ternary_weight(sign: &Tensor, sparse: &Tensor) -> Result<Tensor> {
    shift_weight(sign, sparse, &[])
}

/// Eq. 8: the exponent `S_t` of the gates `shifts = [w_1, .., w_t]`, an integer in `0..=t`, with the
/// gradient `dS_t/dw_j = (Π_{i>j} h_i)(S_{j-1} + 1)`.
///
/// `S_t` is the length of the run of open gates counted down from `w_t`.
///
/// # Errors
/// No shift latent at all (the shape would be unknown), or a shape mismatch.
///
/// ```
/// # use candle_core::{Device, Tensor};
/// let w1 = Tensor::new(&[1f32, 1., -1.], &Device::Cpu)?;
/// let w2 = Tensor::new(&[1f32, -1., 1.], &Device::Cpu)?;
/// let s = s3_core::reparam::shift_exponent(&[w1, w2])?;
/// assert_eq!(s.to_vec1::<f32>()?, [2., 0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn shift_exponent(shifts: &[Tensor]) -> Result<Tensor> {
    let Some(first) = shifts.first() else {
        bail!("shift_exponent needs at least one shift latent")
    };
    let mut s = first.zeros_like()?;
    for w in shifts {
        s = crate::ste::identity(&heaviside(w)?, w)?.mul(&(s + 1.0)?)?;
    }
    Ok(s)
}

/// Eq. 9: the discrete weight, exactly one of {0, ±1, .., ±2^t}, with the straight-through
/// gradients of the module's head (sign slope 1, ln2 gradient).
///
/// # Shapes
/// `sign`, `sparse` and each of `shifts = [w_1, .., w_t]` share one shape, which is the result's;
/// f32. `t = 0` gives ternary weights, `t = 2` the paper's 3 bits, `t = 6` 4 bits.
///
/// Exact, and never `-0.0`. A latent that is exactly 0 has its gate closed (sign -1).
///
/// # Errors
/// A shape or dtype mismatch, or more than [`MAX_SHIFTS`] shift latents.
pub fn shift_weight(sign: &Tensor, sparse: &Tensor, shifts: &[Tensor]) -> Result<Tensor> {
    shift_weight_with(sign, sparse, shifts, Surrogate::default())
}

/// [`shift_weight`] with the free choices of its backward pass spelled out.
///
/// # Errors
/// As [`shift_weight`].
pub fn shift_weight_with(
    sign: &Tensor,
    sparse: &Tensor,
    shifts: &[Tensor],
    surrogate: Surrogate,
) -> Result<Tensor> {
    check(sign, sparse, shifts)?;
    if !sign.device().is_cpu() {
        return shift_weight_composed(sign, sparse, shifts, surrogate);
    }
    let latents: Vec<&Tensor> = [sign, sparse].into_iter().chain(shifts).collect();
    Tensor::stack(&latents, 0)?.apply_op1(Fused { surrogate })
}

/// Eq. 9 from candle's own ops: the same values and gradients as [`shift_weight_with`] on any
/// device, and the fused op's oracle.
///
/// # Errors
/// As [`shift_weight`].
pub fn shift_weight_composed(
    sign_latent: &Tensor,
    sparse: &Tensor,
    shifts: &[Tensor],
    surrogate: Surrogate,
) -> Result<Tensor> {
    check(sign_latent, sparse, shifts)?;
    let s = sign(sign_latent)?;
    let m = heaviside(sparse)?;
    let gates = shifts.iter().map(heaviside).collect::<Result<Vec<_>>>()?;

    // Forward recursions: exponents S_0..S_t and powers P_j = 2^{S_j}, both exact in f32.
    let mut exponents = vec![m.zeros_like()?];
    let mut powers = vec![m.ones_like()?];
    for h in &gates {
        let (exponent, power) = (exponents.last().expect("S_0"), powers.last().expect("P_0"));
        let (next_s, next_p) = (
            h.mul(&(exponent + 1.0)?)?,
            (h.mul(&power.affine(2.0, -1.0)?)? + 1.0)?,
        );
        exponents.push(next_s);
        powers.push(next_p);
    }
    let p = powers.last().expect("P_0").clone();
    let sm = s.mul(&m)?;
    let q = sm.mul(&p)?;

    let d_sign = m.mul(&p)?.affine(f64::from(surrogate.sign_slope), 0.0)?;
    let d_sparse = s.mul(&p)?;
    let mut d_shifts = Vec::with_capacity(shifts.len());
    let mut open_above = m.ones_like()?;
    for j in (0..shifts.len()).rev() {
        let (slope, growth) = match surrogate.shift {
            ShiftGradient::Analytic => (
                (exponents[j].affine(1.0, 1.0)?.affine(LN2.into(), 0.0)?).mul(&p)?,
                1.0,
            ),
            ShiftGradient::FiniteDifference => (powers[j].affine(2.0, -1.0)?, 2.0),
        };
        d_shifts.push(slope.mul(&open_above)?.mul(&sm)?);
        open_above = open_above.mul(&gates[j])?.affine(growth, 0.0)?;
    }
    d_shifts.reverse();

    let mut surrogates = vec![(&d_sign, sign_latent), (&d_sparse, sparse)];
    surrogates.extend(d_shifts.iter().zip(shifts));
    ste(&q, &surrogates)
}

const LN2: f32 = std::f32::consts::LN_2;

fn check(sign: &Tensor, sparse: &Tensor, shifts: &[Tensor]) -> Result<()> {
    if shifts.len() > MAX_SHIFTS {
        bail!(
            "shift_weight: {} shift latents, at most {MAX_SHIFTS}",
            shifts.len()
        )
    }
    for (name, w) in std::iter::once(("w_sparse", sparse)).chain(shifts.iter().map(|w| ("w_j", w)))
    {
        if w.shape() != sign.shape() {
            bail!(
                "shift_weight: {name} has shape {:?}, w_sign {:?}",
                w.shape(),
                sign.shape()
            )
        }
    }
    Ok(())
}

/// The fused op over the stacked latents `[t + 2, ..]`: sign, sparse, w_1..w_t.
struct Fused {
    surrogate: Surrogate,
}

/// The latents of one chunk: `row(k)` is latent `k` of the stack.
fn rows<'a>(stack: &'a [f32], n: usize, start: usize, len: usize) -> impl Fn(usize) -> &'a [f32] {
    move |k| &stack[k * n + start..k * n + start + len]
}

/// `2^s` by its exponent bits; exact for `s` in `0..=127`.
fn power(s: u32) -> f32 {
    f32::from_bits((127 + s) << 23)
}

impl Fused {
    fn forward(&self, stack: &[f32], shifts: usize, out: &mut [f32]) {
        let n = out.len();
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(c, out)| {
            let row = rows(stack, n, c * CHUNK, out.len());
            let mut exponent = [0u32; CHUNK];
            for k in 0..shifts {
                for (s, &w) in exponent.iter_mut().zip(row(2 + k)) {
                    *s = if w > 0.0 { *s + 1 } else { 0 };
                }
            }
            for (((y, &sign), &sparse), &s) in out.iter_mut().zip(row(0)).zip(row(1)).zip(&exponent)
            {
                let magnitude = if sparse > 0.0 { power(s) } else { 0.0 };
                *y = if sign > 0.0 {
                    magnitude
                } else {
                    0.0 - magnitude
                };
            }
        });
    }

    fn backward(&self, stack: &[f32], shifts: usize, grad: &[f32]) -> Vec<f32> {
        let n = grad.len();
        let per_chunk: Vec<Vec<f32>> = grad
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(c, g)| self.backward_chunk(rows(stack, n, c * CHUNK, g.len()), shifts, g))
            .collect();
        let mut out = vec![0f32; stack.len()];
        out.par_chunks_mut(n).enumerate().for_each(|(k, row)| {
            for (chunk, dst) in per_chunk.iter().zip(row.chunks_mut(CHUNK)) {
                dst.copy_from_slice(&chunk[k * dst.len()..(k + 1) * dst.len()]);
            }
        });
        out
    }

    /// The gradients of one chunk, `[t + 2, len]`.
    fn backward_chunk<'a>(
        &self,
        row: impl Fn(usize) -> &'a [f32],
        shifts: usize,
        g: &[f32],
    ) -> Vec<f32> {
        let len = g.len();
        // exponents[j * len + i] = S_j of element i
        let mut exponents = vec![0u32; (shifts + 1) * len];
        for j in 0..shifts {
            let (before, after) = exponents[j * len..].split_at_mut(len);
            for ((s, &prev), &w) in after.iter_mut().zip(&*before).zip(row(2 + j)) {
                *s = if w > 0.0 { prev + 1 } else { 0 };
            }
        }
        let last = &exponents[shifts * len..];
        let mut out = vec![0f32; (shifts + 2) * len];
        let (d_sign, rest) = out.split_at_mut(len);
        let (d_sparse, d_shift) = rest.split_at_mut(len);
        for i in 0..len {
            let p = power(last[i]);
            let m = if row(1)[i] > 0.0 { 1.0 } else { 0.0 };
            let s = if row(0)[i] > 0.0 { 1.0 } else { -1.0 };
            d_sign[i] = g[i] * (m * p * self.surrogate.sign_slope);
            d_sparse[i] = g[i] * (s * p);
        }
        let mut open_above = vec![1f32; len];
        for j in (0..shifts).rev() {
            let before = &exponents[j * len..(j + 1) * len];
            let (sign, sparse, gate) = (row(0), row(1), row(2 + j));
            let (d, growth) = (
                &mut d_shift[j * len..(j + 1) * len],
                match self.surrogate.shift {
                    ShiftGradient::Analytic => 1.0,
                    ShiftGradient::FiniteDifference => 2.0,
                },
            );
            for i in 0..len {
                let slope = match self.surrogate.shift {
                    ShiftGradient::Analytic => (before[i] + 1) as f32 * LN2 * power(last[i]),
                    ShiftGradient::FiniteDifference => 2.0 * power(before[i]) - 1.0,
                };
                let m = if sparse[i] > 0.0 { 1.0 } else { 0.0 };
                let s = if sign[i] > 0.0 { 1.0 } else { -1.0 };
                d[i] = g[i] * (slope * open_above[i] * (s * m));
                open_above[i] *= if gate[i] > 0.0 { growth } else { 0.0 };
            }
        }
        out
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        "s3-shift-weight"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (latents, shape) = (layout.dims()[0], Shape::from(&layout.dims()[1..]));
        let mut out = vec![0f32; shape.elem_count()];
        self.forward(slice(storage, layout)?, latents - 2, &mut out);
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(&self, stack: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let out = self.backward(&Host::new(stack)?, stack.dim(0)? - 2, &Host::new(&grad)?);
        Tensor::from_vec(out, stack.shape(), stack.device()).map(Some)
    }
}
