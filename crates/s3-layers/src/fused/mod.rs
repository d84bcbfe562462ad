//! The trunk of a ResNet, from the image to the pooled features, as one op for training on the CPU.
//!
//! candle's backward pass allocates, zeroes and adds once for every tensor that a gradient flows
//! through, which for activations costs more than the batch norms. Inside one op the gradients
//! flow through buffers that are used again and again ([`scratch`]). The op computes what the layers
//! compute one by one, with the same kernels; a test holds the two equal.
//!
//! The parameters come as one flat tensor, `[weight, gain, bias]` of each convolution in order
//! (stem, then each block's main path and projection), so that candle still carries their
//! gradients to the latents.

pub(crate) mod block;
pub(crate) mod conv_bn;
pub(crate) mod scratch;

use crate::ops::kernel_error;
use block::{BlockSpec, KeptBlock};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use conv_bn::{ConvBnSpec, Grads, Kept, Moments};
use s3_core::host::{Host, slice};
use s3_kernels::train;
use scratch::{Buffer, Scratch};
use std::sync::{Arc, Mutex, PoisonError};

/// The geometry of a trunk.
#[derive(Clone, Debug)]
pub(crate) struct TrunkSpec {
    pub(crate) stem: ConvBnSpec,
    pub(crate) max_pool: bool,
    pub(crate) blocks: Vec<BlockSpec>,
    pub(crate) eps: f32,
}

/// Features `[n, c]` of the images `x: [n, h, w, c_in]`, and the moments of each batch norm in the
/// order of the parameters.
pub(crate) fn trunk(
    x: &Tensor,
    parameters: &Tensor,
    spec: &Arc<TrunkSpec>,
    scratch: &Arc<Scratch>,
) -> Result<(Tensor, Vec<Moments>)> {
    let kept = Arc::new(Mutex::new(None));
    let op = Trunk {
        spec: spec.clone(),
        scratch: scratch.clone(),
        kept: kept.clone(),
    };
    let y = x.contiguous()?.apply_op2(&parameters.contiguous()?, op)?;
    let guard = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(kept) = guard.as_ref() else {
        bail!("trunk: the forward pass kept nothing")
    };
    let blocks = kept.blocks.iter().flat_map(|b| &b.convs);
    let moments = std::iter::once(&kept.stem)
        .chain(blocks)
        .map(|k| k.moments.clone())
        .collect();
    Ok((y, moments))
}

struct KeptTrunk {
    stem: Kept,
    pool: Option<(train::PoolShape, Buffer, Vec<u32>)>,
    blocks: Vec<KeptBlock>,
}

impl KeptTrunk {
    /// The input of the first block.
    fn head(&self) -> &[f32] {
        self.pool.as_ref().map_or(&*self.stem.y, |(_, y, _)| y)
    }

    /// The input of block `i`.
    fn input(&self, i: usize) -> &[f32] {
        if i == 0 {
            self.head()
        } else {
            self.blocks[i - 1].y()
        }
    }
}

struct Trunk {
    spec: Arc<TrunkSpec>,
    scratch: Arc<Scratch>,
    kept: Arc<Mutex<Option<KeptTrunk>>>,
}

/// `(pixels, channels)` of the last activation.
fn last_size(spec: &TrunkSpec, kept: &KeptTrunk) -> Result<([usize; 3], usize)> {
    match (
        kept.blocks.last(),
        spec.blocks.last().and_then(|b| b.main.last()),
    ) {
        (Some(block), Some(conv)) => Ok((block.out_size()?, conv.c_out)),
        _ => bail!("trunk: no blocks"),
    }
}

impl Trunk {
    fn forward(&self, x: &[f32], size: [usize; 3], parameters: &[f32]) -> Result<KeptTrunk> {
        let (spec, scratch) = (&*self.spec, &self.scratch);
        let expected =
            spec.stem.parameters() + spec.blocks.iter().map(BlockSpec::parameters).sum::<usize>();
        if parameters.len() != expected {
            bail!(
                "trunk: {} parameters, expected {expected}",
                parameters.len()
            )
        }
        let (own, mut rest) = parameters.split_at(spec.stem.parameters());
        let stem = conv_bn::forward(&spec.stem, own, (x, size), None, (true, spec.eps), scratch)?;
        let [n, height, width] = stem.size()?;
        let pool = if spec.max_pool {
            let channels = spec.stem.c_out;
            let shape = train::PoolShape {
                batch: n,
                height,
                width,
                channels,
                kernel: 3,
                stride: 2,
                padding: 1,
            };
            let (h, w) = (
                shape.out_height().map_err(kernel_error)?,
                shape.out_width().map_err(kernel_error)?,
            );
            let mut y = scratch.take(n * h * w * channels);
            let mut argmax = vec![0u32; y.len()];
            train::max_pool2d_forward(&shape, &stem.y, &mut y, &mut argmax)
                .map_err(kernel_error)?;
            Some((shape, y, argmax))
        } else {
            None
        };
        let mut kept = KeptTrunk {
            stem,
            pool,
            blocks: Vec::with_capacity(spec.blocks.len()),
        };
        let mut size = match &kept.pool {
            Some((s, ..)) => [
                n,
                s.out_height().map_err(kernel_error)?,
                s.out_width().map_err(kernel_error)?,
            ],
            None => [n, height, width],
        };
        for (i, block_spec) in spec.blocks.iter().enumerate() {
            let (own, after) = rest.split_at(block_spec.parameters());
            let block = block::forward(block_spec, own, (kept.input(i), size), spec.eps, scratch)?;
            size = block.out_size()?;
            kept.blocks.push(block);
            rest = after;
        }
        Ok(kept)
    }

    /// Gradients of the parameters and, where it is wanted, of the images.
    fn backward(
        &self,
        (x, wants_dx): (&[f32], bool),
        parameters: &[f32],
        kept: KeptTrunk,
        d_features: &[f32],
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let (spec, scratch) = (&*self.spec, &self.scratch);
        let mut d_parameters = vec![0f32; parameters.len()];
        let ([_, h, w], channels) = last_size(spec, &kept)?;
        let mut dy = scratch.take(kept.input(spec.blocks.len()).len());
        train::global_avg_pool_backward(d_features, h * w, channels, &mut dy)
            .map_err(kernel_error)?;

        let mut kept = kept;
        let mut end = parameters.len();
        for (i, block_spec) in spec.blocks.iter().enumerate().rev() {
            let start = end - block_spec.parameters();
            let (own, d_own) = (&parameters[start..end], &mut d_parameters[start..end]);
            let Some(block) = kept.blocks.pop() else {
                bail!("trunk: a block was not kept")
            };
            dy = block::backward(block_spec, own, kept.input(i), &block, dy, d_own, scratch)?;
            end = start;
        }
        if let Some((shape, y, argmax)) = &kept.pool {
            let mut through = scratch.take(kept.stem.y.len());
            debug_assert_eq!(y.len(), dy.len());
            train::max_pool2d_backward(shape, &dy, argmax, &mut through).map_err(kernel_error)?;
            dy = through;
        }
        let mut dx = wants_dx.then(|| vec![0f32; x.len()]);
        let grads = Grads {
            parameters: &mut d_parameters[..end],
            x: dx.as_deref_mut(),
            residual: None,
        };
        conv_bn::backward(
            &spec.stem,
            &parameters[..end],
            x,
            &kept.stem,
            &dy,
            grads,
            scratch,
        )?;
        Ok((dx, d_parameters))
    }
}

impl CustomOp2 for Trunk {
    fn name(&self) -> &'static str {
        "resnet-trunk"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let &[n, h, w, c] = x_layout.dims() else {
            bail!(
                "trunk: x has shape {:?}, expected [n, h, w, c]",
                x_layout.dims()
            )
        };
        if c != self.spec.stem.c_in {
            bail!(
                "layer conv1: x has {c} channels, the weight expects {}",
                self.spec.stem.c_in
            )
        }
        let parameters = slice(parameters, parameters_layout)?;
        let kept = self.forward(slice(x, x_layout)?, [n, h, w], parameters)?;
        let ([_, h, w], channels) = last_size(&self.spec, &kept)?;
        let mut features = vec![0f32; n * channels];
        let last = kept.input(self.spec.blocks.len());
        train::global_avg_pool_forward(last, h * w, channels, &mut features)
            .map_err(kernel_error)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok((CpuStorage::F32(features), Shape::from((n, channels))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(kept) = kept else {
            bail!("trunk: one forward pass has one backward pass")
        };
        let dy = dy.contiguous()?;
        let (dx, d_parameters) = self.backward(
            (&Host::new(x)?, x.track_op()),
            &Host::new(parameters)?,
            kept,
            &Host::new(&dy)?,
        )?;
        let dx = dx
            .map(|dx| Tensor::from_vec(dx, x.shape(), x.device()))
            .transpose()?;
        let d_parameters = Tensor::from_vec(d_parameters, parameters.shape(), parameters.device())?;
        Ok((dx, Some(d_parameters)))
    }
}
