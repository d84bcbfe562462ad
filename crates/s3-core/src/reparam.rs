//! Equations 5, 6, 8 and 9: from latents to the discrete weight, with straight-through gradients.
//!
//! With every Heaviside step given derivative 1 the derivatives of eq. 9 are, with `s` the sign,
//! `m` the sparsity gate, `h_j` the shift gates and `P = 2^{S_t}`:
//!
//! ```text
//! dW/dw_sign   = c_s · m · P                   c_s: the sign slope, 1 (the authors' code)
//!                                              or 2 (literal eq. 9)
//! dW/dw_sparse = s · P
//! dW/dw_j      = s · m · ln2 · P · dS_t/dw_j   dS_t/dw_j = (Π_{i>j} h_i) · (S_{j-1} + 1)
//! ```
//!
//! [`ShiftGradient::FiniteDifference`] replaces the last line by the exact change of `W` when the
//! gate flips: `P_0 = 1, P_j = 1 + h_j (2 P_{j-1} - 1)` has the same values, and
//! `dP_t/dh_j = (2 P_{j-1} - 1) · Π_{i>j} 2 h_i` holds no ln2.
//!
//! [`ShiftGradient::SquareRoot`] differentiates `s · m · √(S_t + 1)` instead: `√(S_t + 1)` stands
//! for `P` in the first two lines and `dS_t/dw_j / (2 √(S_t + 1))` for `ln2 · P · dS_t/dw_j`.
//!
//! A zero weight so passes its gradient to `w_sparse` alone, and a closed shift gate hides the
//! gates below it. With [`Surrogate::closed`] = λ > 0, which is ours, `max(m, λ)` and
//! `max(h_i, λ)` stand in the places of the factors `m` and `h_i` of the first and the last line
//! (`2 max(h_i, λ)` in that of `2 h_i`); `P`, `S_{j-1}` and the weight itself are as before.
//!
//! On the CPU one pass over the latents computes the weight and one pass the gradients; elsewhere
//! [`shift_weight_composed`] builds the same values from candle's own ops. A test holds the two
//! equal to the bit.

use crate::backend::is_fused;
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
    /// DenseShift's (Li et al., CVPR 2023): every latent is differentiated through
    /// `s · m · √(S_t + 1)` in the place of `s · m · 2^{S_t}`.
    SquareRoot,
}

/// The free choices of eq. 9's backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surrogate {
    /// `c_s`: 1 in the authors' code, 2 as the derivative of `2·1(w) - 1`.
    pub sign_slope: f32,
    /// The derivative of the shift gates.
    pub shift: ShiftGradient,
    /// λ: the share of its gradient that passes a closed gate, from 0 (eq. 9) to 1.
    pub closed: f32,
}

impl Default for Surrogate {
    fn default() -> Self {
        Self {
            sign_slope: 1.0,
            shift: ShiftGradient::Analytic,
            closed: 0.0,
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

/// Eq. 8: the exponent `S_t` of the gates `shifts = [w_1, .., w_t]`, an integer in `0..=t`, with
/// the gradient `dS_t/dw_j = (Π_{i>j} h_i)(S_{j-1} + 1)`.
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
    if !is_fused(sign.device()) || sign.rank() == 0 {
        return shift_weight_composed(sign, sparse, shifts, surrogate);
    }
    let latents: Vec<&Tensor> = [sign, sparse].into_iter().chain(shifts).collect();
    let stack = Tensor::cat(&latents, 0)?;
    stack.apply_op1(Fused {
        surrogate,
        shape: sign.shape().clone(),
    })
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

    let root = (exponents.last().expect("S_0") + 1.0)?.sqrt()?;
    let size = match surrogate.shift {
        ShiftGradient::SquareRoot => &root,
        _ => &p,
    };
    let passes = |gate: &Tensor| gate.maximum(f64::from(surrogate.closed));
    let m = passes(&m)?;
    let sm = s.mul(&m)?;
    let d_sign = m.mul(size)?.affine(f64::from(surrogate.sign_slope), 0.0)?;
    let d_sparse = s.mul(size)?;
    let mut d_shifts = Vec::with_capacity(shifts.len());
    let mut open_above = m.ones_like()?;
    for j in (0..shifts.len()).rev() {
        let (slope, growth) = match surrogate.shift {
            ShiftGradient::Analytic => (
                (exponents[j].affine(1.0, 1.0)?.affine(LN2.into(), 0.0)?).mul(&p)?,
                1.0,
            ),
            ShiftGradient::FiniteDifference => (powers[j].affine(2.0, -1.0)?, 2.0),
            ShiftGradient::SquareRoot => (
                (exponents[j].affine(1.0, 1.0)?.affine(0.5, 0.0)?).div(&root)?,
                1.0,
            ),
        };
        d_shifts.push(slope.mul(&open_above)?.mul(&sm)?);
        open_above = open_above.mul(&passes(&gates[j])?.affine(growth, 0.0)?)?;
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

/// The fused op over the latents one after the other: sign, sparse, w_1..w_t, each of `shape`.
struct Fused {
    surrogate: Surrogate,
    shape: Shape,
}

/// `2^s` by its exponent bits; exact for `s` in `0..=127`.
fn power(s: u32) -> f32 {
    f32::from_bits((127 + s) << 23)
}

fn gate(w: f32) -> f32 {
    if w > 0.0 { 1.0 } else { 0.0 }
}

/// `S_j` from `S_{j-1}` and the gate's latent.
fn next_exponent(before: u32, w: f32) -> u32 {
    if w > 0.0 { before + 1 } else { 0 }
}

impl Fused {
    fn forward(&self, stack: &[f32], out: &mut [f32]) {
        let n = out.len();
        if n == 0 {
            return;
        }
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(c, out)| {
            let rows: Vec<&[f32]> = stack
                .chunks_exact(n)
                .map(|row| &row[c * CHUNK..][..out.len()])
                .collect();
            let (sign, sparse, shifts) = (rows[0], rows[1], &rows[2..]);
            // Zero, unless a latent is NaN or infinite: then NaN, so that divergence is seen.
            let mut poison = [0f32; CHUNK];
            let mut exponent = [0u32; CHUNK];
            for latent in shifts {
                for ((s, z), &w) in exponent.iter_mut().zip(&mut poison).zip(*latent) {
                    *s = next_exponent(*s, w);
                    *z += w * 0.0;
                }
            }
            for ((((y, &sign), &sparse), &s), &z) in out
                .iter_mut()
                .zip(sign)
                .zip(sparse)
                .zip(&exponent)
                .zip(&poison)
            {
                let magnitude = if sparse > 0.0 { power(s) } else { 0.0 };
                let value = if sign > 0.0 {
                    magnitude
                } else {
                    0.0 - magnitude
                };
                *y = value + (z + (sign * 0.0 + sparse * 0.0) + 0.0);
            }
        });
    }

    /// The gradients of the latents, in their order.
    fn backward(&self, stack: &[f32], grad: &[f32]) -> Vec<f32> {
        let (n, mut out) = (grad.len(), vec![0f32; stack.len()]);
        if n == 0 {
            return out;
        }
        // One task a chunk: its part of every latent and of every gradient.
        let mut rows: Vec<_> = out
            .chunks_exact_mut(n)
            .map(|row| row.chunks_mut(CHUNK))
            .collect();
        let tasks: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(CHUNK))
            .map(|_| rows.iter_mut().filter_map(Iterator::next).collect())
            .collect();
        tasks
            .into_par_iter()
            .zip(grad.par_chunks(CHUNK))
            .enumerate()
            .for_each(|(c, (out, g))| {
                let rows: Vec<&[f32]> = stack
                    .chunks_exact(n)
                    .map(|row| &row[c * CHUNK..][..g.len()])
                    .collect();
                self.backward_chunk(&rows, g, out);
            });
        out
    }

    /// One chunk: the latents' values, the gradient of the weight, the latents' gradients.
    fn backward_chunk(&self, latents: &[&[f32]], g: &[f32], mut out: Vec<&mut [f32]>) {
        let len = g.len();
        let (sign, sparse, shifts) = (latents[0], latents[1], &latents[2..]);
        // S_0..S_t, one row each.
        let mut exponents = vec![0u32; (shifts.len() + 1) * len];
        for (j, latent) in shifts.iter().enumerate() {
            let (before, after) = exponents[j * len..].split_at_mut(len);
            for ((s, &prev), &w) in after.iter_mut().zip(&*before).zip(*latent) {
                *s = next_exponent(prev, w);
            }
        }
        let last = &exponents[shifts.len() * len..];
        let passes = |latent: f32| gate(latent).max(self.surrogate.closed);
        // s · m of each weight, and the product of the gates above the one at hand.
        let mut scale = vec![0f32; len];
        let mut open_above = vec![1f32; len];
        let (d_sign, d_rest) = out.split_at_mut(1);
        let (d_sparse, d_shifts) = d_rest.split_at_mut(1);
        for i in 0..len {
            let (m, s) = (passes(sparse[i]), if sign[i] > 0.0 { 1.0 } else { -1.0 });
            let p = match self.surrogate.shift {
                ShiftGradient::SquareRoot => ((last[i] + 1) as f32).sqrt(),
                _ => power(last[i]),
            };
            d_sign[0][i] = g[i] * (m * p * self.surrogate.sign_slope);
            d_sparse[0][i] = g[i] * (s * p);
            scale[i] = s * m;
        }
        for j in (0..shifts.len()).rev() {
            let (before, latent) = (&exponents[j * len..][..len], &shifts[j][..len]);
            let d = &mut d_shifts[j][..len];
            match self.surrogate.shift {
                ShiftGradient::Analytic => {
                    for i in 0..len {
                        let slope = (before[i] + 1) as f32 * LN2 * power(last[i]);
                        d[i] = g[i] * (slope * open_above[i] * scale[i]);
                        open_above[i] *= passes(latent[i]);
                    }
                }
                ShiftGradient::FiniteDifference => {
                    for i in 0..len {
                        let slope = 2.0 * power(before[i]) - 1.0;
                        d[i] = g[i] * (slope * open_above[i] * scale[i]);
                        open_above[i] *= 2.0 * passes(latent[i]);
                    }
                }
                ShiftGradient::SquareRoot => {
                    for i in 0..len {
                        let slope = (before[i] + 1) as f32 * 0.5 / ((last[i] + 1) as f32).sqrt();
                        d[i] = g[i] * (slope * open_above[i] * scale[i]);
                        open_above[i] *= passes(latent[i]);
                    }
                }
            }
        }
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        "s3-shift-weight"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = vec![0f32; self.shape.elem_count()];
        self.forward(slice(storage, layout)?, &mut out);
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }

    fn bwd(&self, stack: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let out = self.backward(&Host::new(stack)?, &Host::new(&grad)?);
        Tensor::from_vec(out, stack.shape(), stack.device()).map(Some)
    }
}
