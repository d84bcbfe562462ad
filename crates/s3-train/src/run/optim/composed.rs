//! The updates from candle's own ops, for every device but the CPU: the same formulas in the same
//! order.

use candle_core::{Result, Tensor, Var};

/// `g + decay · p`.
fn decayed(p: &Tensor, g: &Tensor, decay: f32) -> Result<Tensor> {
    g + (p * f64::from(decay))?
}

/// `p ← p - lr · step`.
fn descend(p: &Var, step: &Tensor, lr: f64) -> Result<()> {
    p.set(&(p.as_detached_tensor() - (step * lr)?)?)
}

/// One step of SGD; `v` is the velocity with the momentum it keeps of itself, and `nesterov` the
/// momentum that its form looks ahead with.
pub(super) fn sgd(
    p: &Var,
    v: Option<(&Var, f32)>,
    grad: &Tensor,
    (lr, decay): (f32, f32),
    nesterov: Option<f32>,
) -> Result<()> {
    let g = decayed(&p.as_detached_tensor(), grad, decay)?;
    let step = match v {
        None => g,
        Some((v, momentum)) => {
            let velocity = ((v.as_detached_tensor() * f64::from(momentum))? + &g)?;
            v.set(&velocity)?;
            match nesterov {
                None => velocity,
                Some(m) => (g + (velocity * f64::from(m))?)?,
            }
        }
    };
    descend(p, &step, f64::from(lr))
}

/// The two moments of Adam and RAdam, moved towards `g = grad + decay · p`.
pub(super) fn moments(
    p: &Var,
    (m, u): (&Var, &Var),
    grad: &Tensor,
    betas: [f64; 2],
    decay: f32,
) -> Result<()> {
    let g = decayed(&p.as_detached_tensor(), grad, decay)?;
    for (moment, beta, towards) in [(m, betas[0], &g), (u, betas[1], &g.sqr()?)] {
        let kept = (moment.as_detached_tensor() * beta)?;
        moment.set(&(kept + (towards * (1.0 - beta))?)?)?;
    }
    Ok(())
}

/// `p ← p - step · m / (√u / root + eps)`.
pub(super) fn adam(
    p: &Var,
    m: &Tensor,
    u: &Tensor,
    step: f64,
    (root, eps): (f64, f64),
) -> Result<()> {
    descend(p, &(m / ((u.sqrt()? / root)? + eps)?)?, step)
}

/// `p ← p - step · root · m / (√u + eps)`.
pub(super) fn radam(
    p: &Var,
    m: &Tensor,
    u: &Tensor,
    step: f64,
    (root, eps): (f64, f64),
) -> Result<()> {
    descend(p, &(m / (u.sqrt()? + eps)?)?, step * root)
}

/// `p ← p - step · m`.
pub(super) fn unadapted(p: &Var, m: &Tensor, step: f64) -> Result<()> {
    descend(p, m, step)
}
