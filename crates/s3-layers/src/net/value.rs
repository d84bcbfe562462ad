//! What one node makes of the values before it: layer by layer, from single ops.

use super::trained::Trained;
use crate::layer::{Mode, in_layer};
use crate::ops::{self, Draw, activated};
use candle_core::{Result, Tensor, bail};
use s3_kernels::model::{Act, Layer, Node, Op};

/// Sees each layer's input and output: `(layer name, x, y)`, `[n, h, w, c]` or `[n, c]`.
pub type Trace<'a> = &'a mut dyn FnMut(&str, &Tensor, &Tensor) -> Result<()>;

/// The value that `node` makes of `values`.
pub(super) fn of(
    node: &Node<Trained>,
    values: &[Option<Tensor>],
    (mode, draw): (Mode, Draw),
    trace: Trace<'_>,
) -> Result<Tensor> {
    let value = |value: usize| match values.get(value).and_then(Option::as_ref) {
        Some(x) => Ok(x),
        None => bail!("value {value} is not there"),
    };
    let x = in_layer(&node.name, value(node.input()))?;
    let made = match &node.op {
        Op::Layer(layer) => {
            let added = layer.add.map(value).transpose();
            return layer_of(layer, x, in_layer(&node.name, added)?, mode, trace);
        }
        Op::Norm { holds, act } => return norm_of(holds, x, *act, mode, trace),
        Op::MaxPool(w) => ops::max_pool2d(&image(x)?, w.kernel, w.stride, w.padding),
        &Op::Subsample { stride, channels } => ops::subsample_and_pad(&image(x)?, stride, channels),
        Op::MeanPool { .. } => ops::global_avg_pool(&image(x)?),
        Op::Add { act } => (|| {
            let mut sum = image(x)?;
            for &other in &node.inputs[1..] {
                sum = (sum + image(value(other)?)?)?;
            }
            activated(sum, *act)
        })(),
        Op::Concat => {
            let all: Result<Vec<Tensor>> = node.inputs.iter().map(|&v| image(value(v)?)).collect();
            all.and_then(|all| Tensor::cat(&all, 3))
        }
        &Op::Pad {
            sides: [top, bottom, left, right],
        } => image(x)?
            .pad_with_zeros(1, top, bottom)
            .and_then(|x| x.pad_with_zeros(2, left, right)),
        // torch's order: channel by channel.
        Op::Flatten => image(x)?.permute((0, 3, 1, 2))?.flatten_from(1),
        Op::AvgPool(w) => ops::avg_pool2d(&image(x)?, w.kernel, w.stride, w.padding),
        &Op::Dropout(share) => match mode {
            Mode::Train => ops::dropout(x, share, &node.name, draw),
            Mode::Eval => Ok(x.clone()),
        },
    };
    in_layer(&node.name, made)
}

/// `[n, h, w, c]`, also of what a mean or a linear layer has made.
fn image(x: &Tensor) -> Result<Tensor> {
    match *x.dims() {
        [n, c] => x.reshape((n, 1, 1, c)),
        _ => Ok(x.clone()),
    }
}

/// `[n, c]`, also of an image of one pixel.
pub(super) fn rows(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        2 => Ok(x.clone()),
        _ => x.flatten_from(1),
    }
}

fn layer_of(
    layer: &Layer<Trained>,
    x: &Tensor,
    added: Option<&Tensor>,
    mode: Mode,
    trace: Trace<'_>,
) -> Result<Tensor> {
    let Some(weight) = &layer.holds.weight else {
        bail!("a layer without weights")
    };
    let name = &weight.spec.name;
    let is_linear = weight.spec.shape.len() == 2;
    let x = &in_layer(name, if is_linear { rows(x) } else { image(x) })?;
    let mut y = weight.apply(x, mode, |x, w| match (is_linear, layer.groups) {
        (true, _) => x.to_dtype(w.dtype())?.matmul(&w.t()?)?.to_dtype(x.dtype()),
        (false, 1) => ops::conv2d(x, w, layer.stride, layer.padding),
        (false, _) => ops::depthwise_conv2d(x, w, layer.stride, layer.padding),
    })?;
    if let Some(bias) = &layer.holds.bias {
        let bias = match mode {
            Mode::Train => bias.as_tensor().clone(),
            Mode::Eval => bias.as_detached_tensor(),
        };
        let bias = bias.to_dtype(y.dtype())?;
        y = in_layer(name, y.broadcast_add(&bias))?;
    }
    trace(name, x, &y)?;
    let as_y = |r: &Tensor| if is_linear { rows(r) } else { image(r) };
    let added = in_layer(name, added.map(as_y).transpose())?;
    match &layer.holds.norm {
        Some(norm) => {
            let made = norm.forward(&y, added.as_ref(), layer.act, mode)?;
            trace(norm.name(), &y, &made)?;
            Ok(made)
        }
        None => {
            let sum = match added {
                Some(added) => y + added,
                None => Ok(y),
            };
            in_layer(name, sum.and_then(|sum| activated(sum, layer.act)))
        }
    }
}

fn norm_of(holds: &Trained, x: &Tensor, act: Act, mode: Mode, trace: Trace<'_>) -> Result<Tensor> {
    let Some(norm) = &holds.norm else {
        bail!("a norm without statistics")
    };
    let made = norm.forward(x, None, act, mode)?;
    trace(norm.name(), x, &made)?;
    Ok(made)
}
