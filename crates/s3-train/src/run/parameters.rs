//! A network's parameters: drawn by a configuration, set from a checkpoint.

use super::checkpoint::Tensors;
use super::dynamics;
use super::optim::PREFIX as OPTIMIZER;
use crate::config::Config;
use anyhow::{Result, bail};
use candle_core::{Device, Var};
use s3_core::Params;
use s3_layers::Net;
use s3_layers::model::Graph;
use s3_layers::zoo::Plan;
use std::path::Path;

/// The network `plan` with the methods of `config` and freshly drawn parameters.
///
/// # Errors
/// A bad configuration.
pub fn build(config: &Config, plan: &Graph<Plan>, device: &Device) -> Result<(Net, Params)> {
    let params = Params::new(config.seed, device);
    let net = Net::new(plan, config.activations()?, &config.method()?, &params)?;
    Ok((net, params))
}

/// Loads a checkpoint's parameters and buffers into `params`.
///
/// # Errors
/// A tensor that is missing, has another shape or belongs to no layer; the message names file and
/// tensor.
pub fn load_params(params: &Params, tensors: &Tensors, path: &Path) -> Result<()> {
    let params = params.all();
    let other = |name: &str| name.starts_with(OPTIMIZER) || name.starts_with(dynamics::PREFIX);
    if let Some(name) = tensors
        .keys()
        .find(|n| !params.contains_key(*n) && !other(n))
    {
        bail!(
            "{}: tensor {name} is none of this network's",
            path.display()
        )
    }
    for (name, p) in params {
        set(&p.var, tensors, &name, path)?;
    }
    Ok(())
}

pub(crate) fn set(var: &Var, tensors: &Tensors, name: &str, path: &Path) -> Result<()> {
    let Some(t) = tensors.get(name) else {
        bail!("{}: no tensor {name}", path.display())
    };
    if t.dims() != var.dims() {
        let (got, want) = (t.dims(), var.dims());
        bail!(
            "{}: tensor {name} has shape {got:?}, expected {want:?}",
            path.display()
        )
    }
    Ok(var.set(&t.to_device(var.device())?)?)
}
