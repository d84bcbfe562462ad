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
//!
//! Activations and their gradients are f32 or bf16 ([`Buffers`]); parameters, their gradients, batch
//! statistics and the features are f32 either way.

pub(crate) mod block;
pub(crate) mod conv_bn;
pub(crate) mod scratch;

use crate::ops::kernel_error;
use block::{BlockSpec, KeptBlock};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use conv_bn::{ConvBnSpec, Grads, InputGrad, Kept, Moments};
use s3_core::host::{Host, slice};
use s3_kernels::train::{self, Bf16, Element};
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

/// The store of a trunk's buffers, and with it the type of its activations.
pub(crate) enum Buffers {
    F32(Arc<Scratch<f32>>),
    Bf16(Arc<Scratch<Bf16>>),
}

impl Buffers {
    /// # Errors
    /// A type other than f32 and bf16.
    pub(crate) fn new(dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32(Arc::default())),
            DType::BF16 => Ok(Self::Bf16(Arc::default())),
            _ => bail!("activations of {dtype:?}: expected F32 or BF16"),
        }
    }
}

/// What activations can be.
trait Activation: Element {
    /// The images as elements: those themselves, or rounded into `buffer`.
    fn images<'a>(
        x: &'a [f32],
        buffer: &'a mut Option<Buffer<Self>>,
        scratch: &Arc<Scratch<Self>>,
    ) -> &'a [Self];
}

impl Activation for f32 {
    fn images<'a>(
        x: &'a [f32],
        _: &'a mut Option<Buffer<f32>>,
        _: &Arc<Scratch<f32>>,
    ) -> &'a [f32] {
        x
    }
}

impl Activation for Bf16 {
    fn images<'a>(
        x: &'a [f32],
        buffer: &'a mut Option<Buffer<Bf16>>,
        scratch: &Arc<Scratch<Bf16>>,
    ) -> &'a [Bf16] {
        buffer.get_or_insert_with(|| {
            let mut rounded = scratch.take(x.len());
            for (to, from) in rounded.iter_mut().zip(x) {
                *to = Bf16::from_f32(*from);
            }
            rounded
        })
    }
}

/// Features `[n, c]` of the images `x: [n, h, w, c_in]`, and the moments of each batch norm in the
/// order of the parameters.
pub(crate) fn trunk(
    x: &Tensor,
    parameters: &Tensor,
    spec: &Arc<TrunkSpec>,
    buffers: &Buffers,
) -> Result<(Tensor, Vec<Moments>)> {
    match buffers {
        Buffers::F32(scratch) => trunk_of(x, parameters, spec, scratch),
        Buffers::Bf16(scratch) => trunk_of(x, parameters, spec, scratch),
    }
}

fn trunk_of<T: Activation>(
    x: &Tensor,
    parameters: &Tensor,
    spec: &Arc<TrunkSpec>,
    scratch: &Arc<Scratch<T>>,
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

struct KeptTrunk<T> {
    /// The images, where they had to be rounded.
    images: Option<Buffer<T>>,
    stem: Kept<T>,
    pool: Option<(train::PoolShape, Buffer<T>, Vec<u32>)>,
    blocks: Vec<KeptBlock<T>>,
}

impl<T> KeptTrunk<T> {
    /// The input of the first block.
    fn head(&self) -> &[T] {
        self.pool.as_ref().map_or(&*self.stem.y, |(_, y, _)| y)
    }

    /// The input of block `i`.
    fn input(&self, i: usize) -> &[T] {
        if i == 0 {
            self.head()
        } else {
            self.blocks[i - 1].y()
        }
    }
}

struct Trunk<T> {
    spec: Arc<TrunkSpec>,
    scratch: Arc<Scratch<T>>,
    kept: Arc<Mutex<Option<KeptTrunk<T>>>>,
}

/// `(pixels, channels)` of the last activation.
fn last_size<T>(spec: &TrunkSpec, kept: &KeptTrunk<T>) -> Result<([usize; 3], usize)> {
    match (
        kept.blocks.last(),
        spec.blocks.last().and_then(|b| b.main.last()),
    ) {
        (Some(block), Some(conv)) => Ok((block.out_size()?, conv.c_out)),
        _ => bail!("trunk: no blocks"),
    }
}

impl<T: Activation> Trunk<T> {
    fn forward(&self, x: &[f32], size: [usize; 3], parameters: &[f32]) -> Result<KeptTrunk<T>> {
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
        let mut images = None;
        let x = T::images(x, &mut images, scratch);
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
            images,
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
        kept: KeptTrunk<T>,
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
        let mut images = kept.images.take();
        let x = T::images(x, &mut images, scratch);
        let mut dx = wants_dx.then(|| vec![T::default(); x.len()]);
        let grads = Grads {
            parameters: &mut d_parameters[..end],
            x: dx.as_deref_mut().map_or(InputGrad::None, InputGrad::Write),
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
        let dx = dx.map(|dx| dx.into_iter().map(T::to_f32).collect());
        Ok((dx, d_parameters))
    }
}

impl<T: Activation> CustomOp2 for Trunk<T> {
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
