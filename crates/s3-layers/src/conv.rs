//! A convolution whose weight is what a [`Quantizer`](s3_core::Quantizer) says.

use crate::layer::{Mode, QuantLayer};
use crate::ops;
use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use s3_core::{LayerSpec, Method, Params, Role};

/// `y[n,i,j,o] = Σ_{a,b,c} x[n, i·stride + a - padding, j·stride + b - padding, c] · w[o,c,a,b]`,
/// without a bias (a batch norm follows).
///
/// # Shapes
/// `x: [n, h, w, c_in]`, weight `[c_out, c_in, k, k]`, result
/// `[n, (h + 2·padding - k)/stride + 1, .., c_out]`.
#[derive(Debug)]
pub struct QuantConv2d {
    /// Name, shape, role and quantizer.
    pub layer: QuantLayer,
    stride: usize,
    padding: usize,
}

impl QuantConv2d {
    /// A `k`x`k` convolution `c_in -> c_out` whose weight lives at `params` + `.weight`.
    ///
    /// # Errors
    /// Those of the method.
    pub fn new(
        (c_in, c_out, k): (usize, usize, usize),
        stride: usize,
        padding: usize,
        role: Role,
        method: &dyn Method,
        params: &Params,
    ) -> Result<Self> {
        let spec = LayerSpec {
            name: params.path().to_string(),
            shape: vec![c_out, c_in, k, k],
            role,
        };
        Ok(Self {
            layer: QuantLayer::new(spec, method, &params.pp("weight"))?,
            stride,
            padding,
        })
    }

    /// The convolution of `x`.
    ///
    /// # Errors
    /// A shape that does not fit; the message names the layer.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (stride, padding) = (self.stride, self.padding);
        self.layer
            .apply(x, mode, |x, w| ops::conv2d(x, w, stride, padding))
    }
}

impl ModuleT for QuantConv2d {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.forward(xs, Mode::of(train))
    }
}
