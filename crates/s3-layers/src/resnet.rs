//! The paper's networks: ResNet-8 and -20 for small images, ResNet-18 and -50 for 224 pixels.
//!
//! Names are torch's (`conv1.weight`, `layer1.0.bn1.running_mean`, `layer2.0.downsample.0.weight`,
//! `fc.bias`), so that checkpoints of other frameworks keep their keys.

use crate::conv::QuantConv2d;
use crate::fused::block::{BlockSpec, ResidualSpec};
use crate::fused::conv_bn::ConvBnSpec;
use crate::fused::{self, Buffers, TrunkSpec};
use crate::linear::QuantLinear;
use crate::norm::{BatchNorm, EPS};
use crate::ops::{self, AcrossRanks, SubsampleAndPad};
use crate::quantized::{Mode, QuantLayer, in_layer};
use candle_core::{DType, Result, Tensor, bail};
use candle_nn::ModuleT;
use s3_core::backend::is_fused;
use s3_core::{Method, Params, Progress, Role};
use std::sync::Arc;

/// A network of He et al., 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Three stages of one basic block, 16-32-64 channels.
    ResNet8,
    /// Three stages of three basic blocks, 16-32-64 channels: the paper's CIFAR-10 network.
    ResNet20,
    /// Four stages of two basic blocks, 64-128-256-512 channels.
    ResNet18,
    /// Four stages of 3, 4, 6, 3 bottleneck blocks.
    ResNet50,
}

/// The shortcut between two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Option A: every second pixel, zero channels added; no parameters.
    A,
    /// Option B: a 1x1 convolution (quantized like the others) and a batch norm.
    B,
}

/// What a ResNet is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Which network.
    pub architecture: Architecture,
    /// Channels of the image.
    pub in_channels: usize,
    /// Outputs of the classifier.
    pub classes: usize,
    /// The shortcut between stages.
    pub shortcut: Shortcut,
    /// Channels of the first stage; every later stage has twice those before it.
    pub width: usize,
    /// What activations and their gradients are stored in while training: f32, or bf16 (mixed
    /// precision: sums, batch statistics, parameters and their gradients stay f32; weights are
    /// rounded, which changes no level of a shift network). Inference is in f32.
    pub dtype: DType,
}

impl Architecture {
    /// Every architecture, with the name that configurations use.
    pub const ALL: [(&'static str, Self); 4] = [
        ("resnet8", Self::ResNet8),
        ("resnet20", Self::ResNet20),
        ("resnet18", Self::ResNet18),
        ("resnet50", Self::ResNet50),
    ];

    /// The name that configurations use.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, a)| *a == self)
            .map_or("", |(name, _)| name)
    }

    /// Blocks of each stage.
    fn stages(self) -> &'static [usize] {
        match self {
            Self::ResNet8 => &[1, 1, 1],
            Self::ResNet20 => &[3, 3, 3],
            Self::ResNet18 => &[2, 2, 2, 2],
            Self::ResNet50 => &[3, 4, 6, 3],
        }
    }

    /// Whether the image goes through a 7x7 convolution and a max pool, and shortcuts default to B.
    fn is_large(self) -> bool {
        matches!(self, Self::ResNet18 | Self::ResNet50)
    }
}

impl ResNetConfig {
    /// The literature's form: shortcut A and 16 channels for the small networks, B and 64 for the
    /// large ones; in f32.
    pub fn new(architecture: Architecture, in_channels: usize, classes: usize) -> Self {
        let shortcut = if architecture.is_large() {
            Shortcut::B
        } else {
            Shortcut::A
        };
        Self {
            architecture,
            in_channels,
            classes,
            shortcut,
            width: if architecture.is_large() { 64 } else { 16 },
            dtype: DType::F32,
        }
    }

    /// The first convolution: channels, kernel, stride.
    pub(crate) fn stem(&self) -> (usize, usize, usize) {
        let (kernel, stride) = if self.max_pools() { (7, 2) } else { (3, 1) };
        (self.width, kernel, stride)
    }

    /// Whether a max pool of every second pixel follows the first convolution.
    pub(crate) fn max_pools(&self) -> bool {
        self.architecture.is_large()
    }

    /// Every block, front to end: its stage and place in it, from 0, and the channels, kernel and stride of
    /// its convolutions. The channels of stage `s` are `width << s`, which must fit.
    pub(crate) fn blocks(
        &self,
    ) -> impl Iterator<Item = (usize, usize, Vec<(usize, usize, usize)>)> {
        let (bottleneck, width) = (self.architecture == Architecture::ResNet50, self.width);
        let stages = self.architecture.stages().iter().enumerate();
        let blocks = stages.flat_map(|(stage, &count)| (0..count).map(move |i| (stage, i)));
        blocks.map(move |(stage, i)| {
            let inner = width << stage;
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let convs = if bottleneck {
                vec![(inner, 1, 1), (inner, 3, stride), (4 * inner, 1, 1)]
            } else {
                vec![(inner, 3, stride), (inner, 3, 1)]
            };
            (stage, i, convs)
        })
    }
}

/// A convolution and its batch norm.
pub(crate) struct ConvBn {
    pub(crate) conv: QuantConv2d,
    pub(crate) bn: BatchNorm,
}

/// Sees each layer's input and output: `(layer name, x, y)`, `[n, h, w, c]` or `[n, c]`.
pub type Trace<'a> = &'a mut dyn FnMut(&str, &Tensor, &Tensor) -> Result<()>;

impl ConvBn {
    fn spec(&self) -> ConvBnSpec {
        let (shape, (stride, padding)) = (&self.conv.layer.spec.shape, self.conv.geometry());
        ConvBnSpec {
            c_in: shape[1],
            c_out: shape[0],
            kernel: shape[2],
            stride,
            padding,
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        relu: bool,
        mode: Mode,
        trace: Trace<'_>,
    ) -> Result<Tensor> {
        let sums = self.conv.forward(x, mode)?;
        trace(&self.conv.layer.spec.name, x, &sums)?;
        let y = self.bn.forward(&sums, residual, relu, mode)?;
        trace(self.bn.name(), &sums, &y)?;
        Ok(y)
    }
}

/// What the block's input goes through before it is added to the block's output.
pub(crate) enum Residual {
    Identity,
    SubsampleAndPad { stride: usize, channels: usize },
    Project(ConvBn),
}

pub(crate) struct Block {
    /// Two convolutions (basic) or three (bottleneck); a ReLU after each, the last after the sum.
    pub(crate) main: Vec<ConvBn>,
    pub(crate) residual: Residual,
}

impl Block {
    fn forward(&self, x: &Tensor, mode: Mode, trace: Trace<'_>) -> Result<Tensor> {
        let residual = match &self.residual {
            Residual::Identity => x.clone(),
            Residual::SubsampleAndPad { stride, channels } => {
                ops::subsample_and_pad(x, *stride, *channels)?
            }
            Residual::Project(conv) => conv.forward(x, None, false, mode, trace)?,
        };
        let mut y = x.clone();
        for (i, conv) in self.main.iter().enumerate() {
            let last = i + 1 == self.main.len();
            y = conv.forward(&y, last.then_some(&residual), true, mode, trace)?;
        }
        Ok(y)
    }

    fn spec(&self) -> BlockSpec {
        BlockSpec {
            main: self.main.iter().map(ConvBn::spec).collect(),
            residual: match &self.residual {
                Residual::Identity => ResidualSpec::Identity,
                &Residual::SubsampleAndPad { stride, channels } => {
                    ResidualSpec::SubsampleAndPad(SubsampleAndPad { stride, channels })
                }
                Residual::Project(conv) => ResidualSpec::Project(conv.spec()),
            },
        }
    }

    fn convs(&self) -> impl Iterator<Item = &ConvBn> {
        let projection = match &self.residual {
            Residual::Project(conv) => Some(conv),
            _ => None,
        };
        self.main.iter().chain(projection)
    }

    fn convs_mut(&mut self) -> impl Iterator<Item = &mut ConvBn> {
        let projection = match &mut self.residual {
            Residual::Project(conv) => Some(conv),
            _ => None,
        };
        self.main.iter_mut().chain(projection)
    }
}

/// A residual network over discrete weights.
pub struct ResNet {
    pub(crate) stem: ConvBn,
    pub(crate) max_pool: bool,
    pub(crate) blocks: Vec<Block>,
    pub(crate) fc: QuantLinear,
    /// The same geometry for the fused op, and its buffers.
    trunk: Arc<TrunkSpec>,
    buffers: Buffers,
}

/// Makes a convolution with its batch norm under torch's names.
struct Builder<'a> {
    method: &'a dyn Method,
}

impl Builder<'_> {
    fn conv_bn(
        &self,
        (c_in, c_out, k): (usize, usize, usize),
        stride: usize,
        role: Role,
        conv: &Params,
        bn: &Params,
    ) -> Result<ConvBn> {
        Ok(ConvBn {
            conv: QuantConv2d::new((c_in, c_out, k), stride, k / 2, role, self.method, conv)?,
            bn: BatchNorm::new(c_out, bn)?,
        })
    }

    /// A block at `params`: `convs` lists `(c_out, kernel, stride)` in order.
    fn block(
        &self,
        c_in: usize,
        convs: &[(usize, usize, usize)],
        shortcut: Shortcut,
        params: &Params,
    ) -> Result<Block> {
        let mut main = Vec::with_capacity(convs.len());
        let (mut c, mut stride) = (c_in, 1);
        for (i, &(c_out, k, s)) in convs.iter().enumerate() {
            let (conv, bn) = (
                params.pp(format!("conv{}", i + 1)),
                params.pp(format!("bn{}", i + 1)),
            );
            main.push(self.conv_bn((c, c_out, k), s, Role::Hidden, &conv, &bn)?);
            (c, stride) = (c_out, stride * s);
        }
        let residual = match shortcut {
            _ if c == c_in && stride == 1 => Residual::Identity,
            Shortcut::A => Residual::SubsampleAndPad {
                stride,
                channels: c,
            },
            Shortcut::B => {
                let at = params.pp("downsample");
                let role = Role::Shortcut;
                Residual::Project(self.conv_bn((c_in, c, 1), stride, role, &at.pp(0), &at.pp(1))?)
            }
        };
        Ok(Block { main, residual })
    }
}

impl ResNet {
    /// Builds the network at `params`, `method` making each layer's weight.
    ///
    /// # Errors
    /// Those of the method, with the layer's name; no channels or classes; option A with
    /// bottlenecks (their first shortcut widens without a stride, which option A does not define); a
    /// `dtype` other than F32 and BF16; BF16 with a method whose layers do more than multiply.
    pub fn new(config: &ResNetConfig, method: &dyn Method, params: &Params) -> Result<Self> {
        let &ResNetConfig {
            architecture,
            in_channels,
            classes,
            shortcut,
            width,
            dtype,
        } = config;
        if in_channels == 0 || classes == 0 || width == 0 {
            bail!(
                "a ResNet needs channels, classes and width, got {in_channels}, {classes} and {width}"
            )
        }
        if architecture == Architecture::ResNet50 && shortcut == Shortcut::A {
            bail!("resnet50 has no option A shortcut: use B")
        }
        let build = Builder { method };
        let (_, kernel, stride) = config.stem();
        let stem = build.conv_bn(
            (in_channels, width, kernel),
            stride,
            Role::First,
            &params.pp("conv1"),
            &params.pp("bn1"),
        )?;
        let mut blocks = Vec::new();
        let mut c = width;
        for (stage, index, convs) in config.blocks() {
            let at = params.pp(format!("layer{}", stage + 1)).pp(index);
            blocks.push(build.block(c, &convs, shortcut, &at)?);
            c = convs[convs.len() - 1].0;
        }
        let fc = QuantLinear::new(c, classes, Role::Last, method, &params.pp("fc"))?;
        let trunk = TrunkSpec {
            stem: stem.spec(),
            max_pool: config.max_pools(),
            blocks: blocks.iter().map(Block::spec).collect(),
            eps: EPS as f32,
        };
        let net = Self {
            stem,
            max_pool: config.max_pools(),
            blocks,
            fc,
            trunk: Arc::new(trunk),
            buffers: Buffers::new(dtype)?,
        };
        let special = net.convs().find(|c| !c.conv.layer.is_plain());
        if let (Some(c), Buffers::Bf16(_)) = (special, &net.buffers) {
            bail!(
                "dtype: expected \"f32\": layer {} draws outputs or quantizes inputs, which trains in f32 only",
                c.conv.layer.spec.name
            )
        }
        Ok(net)
    }

    /// Class scores of a batch of images.
    ///
    /// # Shapes
    /// `x: [n, h, w, in_channels]` f32, result `[n, classes]`.
    ///
    /// # Errors
    /// A shape that does not fit; the message names the layer.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let is_plain = self.convs().all(|c| c.conv.layer.is_plain());
        let is_plain = is_plain && !self.stem.bn.is_synchronised();
        if mode == Mode::Train && is_fused(x.device()) && is_plain {
            return self.fc.forward(&self.fused_trunk(x)?, mode);
        }
        // Composed ops give what they are given: the type of the images is that of all activations.
        let x = match (mode, &self.buffers) {
            (Mode::Train, Buffers::Bf16(_)) => &x.to_dtype(DType::BF16)?,
            _ => x,
        };
        self.forward_traced(x, mode, &mut |_, _, _| Ok(()))
    }

    /// The pooled features of `x`, in training, as one op.
    fn fused_trunk(&self, x: &Tensor) -> Result<Tensor> {
        let mut parameters = Vec::new();
        for c in self.convs() {
            parameters.push(c.conv.layer.weight(Mode::Train)?.flatten_all()?);
            parameters.extend(c.bn.affine().map(Tensor::clone));
        }
        let parameters = Tensor::cat(&parameters, 0)?;
        let (features, moments) = fused::trunk(x, &parameters, &self.trunk, &self.buffers)?;
        for (c, m) in self.convs().zip(moments) {
            let tensor = |v| Tensor::from_vec(v, m.mean.len(), x.device());
            let moved = c.bn.update(tensor(m.mean.clone())?, tensor(m.var)?, m.rows);
            in_layer(c.bn.name(), moved)?;
        }
        Ok(features)
    }

    /// Every convolution with its batch norm, front to end.
    pub(crate) fn convs(&self) -> impl Iterator<Item = &ConvBn> {
        std::iter::once(&self.stem).chain(self.blocks.iter().flat_map(Block::convs))
    }

    /// [`forward`](Self::forward), showing `trace` the input and the output of each convolution, each
    /// batch norm (with what is fused into it) and the classifier.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and whatever `trace` returns.
    pub fn forward_traced(&self, x: &Tensor, mode: Mode, trace: Trace<'_>) -> Result<Tensor> {
        let mut y = self.stem.forward(x, None, true, mode, trace)?;
        if self.max_pool {
            y = ops::max_pool2d(&y, 3, 2, 1)?;
        }
        for block in &self.blocks {
            y = block.forward(&y, mode, trace)?;
        }
        let features = ops::global_avg_pool(&y)?;
        let logits = self.fc.forward(&features, mode)?;
        trace(&self.fc.layer.spec.name, &features, &logits)?;
        Ok(logits)
    }

    /// Every layer with a quantizer, front to end.
    pub fn layers(&self) -> Vec<&QuantLayer> {
        self.convs()
            .map(|c| &c.conv.layer)
            .chain([&self.fc.layer])
            .collect()
    }

    /// Lets every quantizer draw its randomness and update its buffers; call once before each step.
    ///
    /// # Errors
    /// Those of the quantizers.
    pub fn advance(&mut self, progress: Progress) -> Result<()> {
        self.layers_mut().try_for_each(|l| l.advance(progress))
    }

    fn convs_mut(&mut self) -> impl Iterator<Item = &mut ConvBn> {
        std::iter::once(&mut self.stem).chain(self.blocks.iter_mut().flat_map(Block::convs_mut))
    }

    fn layers_mut(&mut self) -> impl Iterator<Item = &mut QuantLayer> {
        let Self {
            stem, blocks, fc, ..
        } = self;
        let convs = std::iter::once(stem).chain(blocks.iter_mut().flat_map(Block::convs_mut));
        convs.map(|c| &mut c.conv.layer).chain([&mut fc.layer])
    }

    /// Says that the next training passes see the images from `first` on of their step's batch: what a
    /// layer draws for an image is then the same in a micro-batch as in the whole.
    pub fn start_at_image(&mut self, first: usize) {
        self.layers_mut().for_each(|l| l.start_at_image(first));
    }

    /// Lets every batch norm take its training statistics over the batches of all processes that `across`
    /// adds up, or over its own batch again. Passes are then composed from single ops.
    ///
    /// # Errors
    /// A network that trains in bf16: these sums are taken of f32.
    pub fn synchronise(&mut self, across: Option<&AcrossRanks>) -> Result<()> {
        if across.is_some() && !matches!(self.buffers, Buffers::F32(_)) {
            bail!("dtype: expected \"f32\": batch norms over all processes train in f32 only")
        }
        self.convs_mut()
            .for_each(|c| c.bn.synchronise(across.cloned()));
        Ok(())
    }

    /// The penalties of all layers that have one, front to end.
    ///
    /// # Errors
    /// Those of the quantizers.
    pub fn penalties(&self) -> Result<Vec<Tensor>> {
        let penalties = self.layers().into_iter().map(|l| l.quantizer.penalty());
        Ok(penalties
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }
}

impl ModuleT for ResNet {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.forward(xs, Mode::of(train))
    }
}
