//! Which layers a method quantizes: the one place where "every convolution but the first" is
//! resolved.

use crate::Fp32;
use candle_core::Result;
use s3_core::{LayerSpec, Method, Params, Quantizer, Role};
use std::fmt;

/// A method that leaves the layers of some roles in full precision.
///
/// The paper quantizes every convolution but the first; its authors' code also keeps the classifier
/// in full precision: `full_precision = [First, Last]`.
pub struct ByRole {
    /// The method of every other layer.
    pub method: Box<dyn Method>,
    /// The roles that stay in full precision.
    pub full_precision: Vec<Role>,
}

impl fmt::Debug for ByRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ByRole");
        shown.field("full_precision", &self.full_precision);
        shown.finish_non_exhaustive()
    }
}

impl Method for ByRole {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        if self.full_precision.contains(&layer.role) {
            Fp32::default().quantizer(layer, params)
        } else {
            self.method.quantizer(layer, params)
        }
    }
}
