//! A network in training: a graph whose layers hold quantizers.
//!
//! Names are those of the graph, torch's (`conv1.weight`, `layer1.0.bn1.running_mean`, `fc.bias`),
//! so that checkpoints of other frameworks keep their keys.

mod trained;
mod value;

pub(crate) use trained::Trained;
pub use value::Trace;

use crate::fused::front::Front;
use crate::fused::{Buffers, step};
use crate::layer::{Mode, QuantLayer, in_layer};
use crate::norm::BatchNorm;
use crate::ops::{AllReduce, Draw};
use candle_core::{DType, Error, Result, Tensor, bail};
use candle_nn::ModuleT;
use s3_core::backend::is_fused;
use s3_core::{Method, Params, Progress, Role};
use s3_kernels::model::{Graph, Layer, Node, Op, Size};
use s3_kernels::zoo::Plan;
use std::fmt;
use std::sync::Arc;

/// A network over discrete weights.
pub struct Net {
    plan: Graph<Plan>,
    sizes: Vec<Size>,
    last_reads: Vec<usize>,
    pub(crate) graph: Graph<Trained>,
    /// The nodes that hold weights, front to end; a shortcut's come after those that it is added
    /// to.
    order: Vec<usize>,
    /// What of it trains as one op, and in which buffers.
    front: Arc<Front>,
    buffers: Buffers,
    /// What dropouts draw by.
    draw: Draw,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.layers().into_iter().map(|layer| &layer.spec.name);
        let mut shown = f.debug_struct("Net");
        shown.field("image", &self.plan.image);
        shown.field("layers", &names.collect::<Vec<_>>());
        shown.finish_non_exhaustive()
    }
}

impl Net {
    /// Builds the network of `plan` at `params`, `method` making each layer's weight. Activations
    /// and their gradients are stored in `dtype` while training: F32, or BF16 (mixed precision:
    /// sums, batch statistics, parameters and their gradients stay f32; weights are rounded, which
    /// changes no level of a shift network). Inference is in f32.
    ///
    /// # Errors
    /// Those of the method, with the layer's name; nodes that do not fit together, or that have no
    /// training form; a `dtype` other than F32 and BF16; BF16 with a method whose layers do more
    /// than multiply, or with a network that is the layer of the scores alone.
    pub fn new(
        plan: &Graph<Plan>,
        dtype: DType,
        method: &dyn Method,
        params: &Params,
    ) -> Result<Self> {
        let sizes = plan.sizes().map_err(Error::wrap)?;
        let graph = plan.map(|index, holds| {
            let node = &plan.nodes[index];
            let sides = [sizes[node.input()], sizes[index + 1]];
            Trained::new(node, holds, sides, method, params).map(|trained| (Vec::new(), trained))
        })?;
        let net = Self {
            order: order(plan),
            front: Arc::new(Front::of(plan, &sizes)),
            buffers: Buffers::new(dtype)?,
            draw: Draw::default(),
            last_reads: plan.last_reads(),
            plan: plan.clone(),
            sizes,
            graph,
        };
        if dtype == DType::BF16 {
            if let Some(layer) = net.front_weights().find(|layer| !layer.is_plain()) {
                bail!(
                    "dtype: expected \"f32\": layer {} draws outputs or quantizes inputs, which \
                     trains in f32 only",
                    layer.spec.name
                )
            }
            if let (0, Some(last)) = (net.front.len(), net.plan.nodes.last()) {
                bail!(
                    "dtype: expected \"f32\": nothing before layer {} trains in bf16",
                    last.name
                )
            }
        }
        Ok(net)
    }

    /// What the network was built from.
    pub fn plan(&self) -> &Graph<Plan> {
        &self.plan
    }

    /// Class scores of a batch of images.
    ///
    /// # Shapes
    /// `x: [n, height, width, channels]` f32, of the plan's image; result `[n, classes]`.
    ///
    /// # Errors
    /// Images of another shape; the message names the layer that reads them.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.check(x)?;
        let is_plain = self.front_weights().all(QuantLayer::is_plain);
        let is_local = !self.norms().any(BatchNorm::is_synchronised);
        if mode == Mode::Train
            && is_fused(x.device())
            && is_plain
            && is_local
            && self.front.len() > 0
        {
            let y = self.fused_step(x)?;
            return self.run(self.front.len(), y, mode, &mut |_, _, _| Ok(()));
        }
        // Composed ops give what they are given: the type of the images is that of all activations.
        let x = match (mode, &self.buffers) {
            (Mode::Train, Buffers::Bf16(_)) => &x.to_dtype(DType::BF16)?,
            _ => x,
        };
        self.forward_traced(x, mode, &mut |_, _, _| Ok(()))
    }

    /// [`forward`](Self::forward) layer by layer, showing `trace` the input and the output of each
    /// layer with weights and of each batch norm (with what is fused into it).
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and whatever `trace` returns.
    pub fn forward_traced(&self, x: &Tensor, mode: Mode, trace: Trace<'_>) -> Result<Tensor> {
        self.check(x)?;
        self.run(0, x.clone(), mode, trace)
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let Size {
            height,
            width,
            channels,
        } = self.plan.image;
        let fits = matches!(*x.dims(), [_, h, w, c] if [h, w, c] == [height, width, channels]);
        if !fits {
            let first = self.plan.nodes.first().map_or("", |node| &node.name);
            bail!(
                "layer {first}: expected images [n, {height}, {width}, {channels}], got {:?}",
                x.dims()
            )
        }
        Ok(())
    }

    /// The value that the front makes of `x`, in training, as one op.
    fn fused_step(&self, x: &Tensor) -> Result<Tensor> {
        let mut parameters = Vec::new();
        let mut norms = Vec::new();
        for trained in self.front_layers() {
            if let Some(weight) = &trained.weight {
                parameters.push(weight.weight(Mode::Train)?);
            }
            if let Some(norm) = &trained.norm {
                parameters.extend(norm.affine().map(Tensor::clone));
                norms.push(norm);
            }
            parameters.extend(trained.bias.as_ref().map(|bias| bias.as_tensor().clone()));
        }
        let (y, moments) = step::step(x, &parameters, &self.front, self.draw, &self.buffers)?;
        for (norm, m) in norms.into_iter().zip(moments) {
            let tensor = |v| Tensor::from_vec(v, m.mean.len(), x.device());
            let moved = norm.update(tensor(m.mean.clone())?, tensor(m.var)?, m.rows);
            in_layer(norm.name(), moved)?;
        }
        Ok(y)
    }

    /// The last value, from value `first` on, which is `x`: no node behind reads one before it.
    fn run(&self, first: usize, x: Tensor, mode: Mode, trace: Trace<'_>) -> Result<Tensor> {
        let mut values: Vec<Option<Tensor>> = vec![None; self.sizes.len()];
        values[first] = Some(x);
        for (index, node) in self.graph.nodes.iter().enumerate().skip(first) {
            if index + 1 == self.graph.nodes.len() {
                // Scores are f32, and so is what the last node reads.
                for read in node.reads() {
                    let x = values[read].take().map(|x| x.to_dtype(DType::F32));
                    values[read] = x.transpose()?;
                }
            }
            let y = value::of(node, &values, (mode, self.draw), trace)?;
            values[index + 1] = Some(y);
            // What is not read again need not be held: in evaluation that is most of the memory.
            for read in node.reads().filter(|&read| self.last_reads[read] == index) {
                values[read] = None;
            }
        }
        match values.pop().flatten() {
            Some(y) => value::rows(&y),
            None => bail!("a network of no nodes has no scores"),
        }
    }

    fn front_layers(&self) -> impl Iterator<Item = &Trained> {
        let nodes = self.graph.nodes[..self.front.len()].iter();
        nodes.filter_map(Node::holds)
    }

    fn front_weights(&self) -> impl Iterator<Item = &QuantLayer> {
        self.front_layers()
            .filter_map(|trained| trained.weight.as_ref())
    }

    fn norms(&self) -> impl Iterator<Item = &BatchNorm> {
        let holds = self.graph.nodes.iter().filter_map(Node::holds);
        holds.filter_map(|trained| trained.norm.as_ref())
    }

    /// Every layer with a quantizer, front to end; that of a shortcut follows the layer that adds
    /// it.
    pub fn layers(&self) -> Vec<&QuantLayer> {
        self.layers_with_nodes().map(|(layer, _)| layer).collect()
    }

    /// The same, each with its node.
    pub(crate) fn layers_with_nodes(&self) -> impl Iterator<Item = (&QuantLayer, &Layer<Trained>)> {
        self.order.iter().filter_map(|&index| {
            let Op::Layer(layer) = &self.graph.nodes[index].op else {
                return None;
            };
            Some((layer.holds.weight.as_ref()?, layer))
        })
    }

    fn holds_mut(&mut self) -> impl Iterator<Item = &mut Trained> {
        self.graph.nodes.iter_mut().filter_map(Node::holds_mut)
    }

    fn weights_mut(&mut self) -> impl Iterator<Item = &mut QuantLayer> {
        self.holds_mut()
            .filter_map(|trained| trained.weight.as_mut())
    }

    /// Lets every quantizer draw its randomness and update its buffers, and dropouts draw anew;
    /// call once before each step.
    ///
    /// # Errors
    /// Those of the quantizers.
    pub fn advance(&mut self, progress: Progress) -> Result<()> {
        let Progress { seed, step, .. } = progress;
        self.draw = Draw {
            seed,
            step,
            ..self.draw
        };
        self.weights_mut().try_for_each(|l| l.advance(progress))
    }

    /// Says that the next training passes see the images from `first` on of their step's batch:
    /// what a layer or a dropout draws for an image is then the same in a micro-batch as in the
    /// whole.
    pub fn start_at_image(&mut self, first: usize) {
        self.draw.first_image = first;
        self.weights_mut().for_each(|l| l.start_at_image(first));
    }

    /// Lets every batch norm take its training statistics over the batches of all processes that
    /// `across` adds up, or over its own batch again. Passes are then composed from single ops.
    ///
    /// # Errors
    /// A network that trains in bf16: these sums are taken of f32.
    pub fn synchronise(&mut self, across: Option<&AllReduce>) -> Result<()> {
        if across.is_some() && !matches!(self.buffers, Buffers::F32(_)) {
            bail!("dtype: expected \"f32\": batch norms over all processes train in f32 only")
        }
        let norms = self.holds_mut().filter_map(|trained| trained.norm.as_mut());
        norms.for_each(|norm| norm.synchronise(across.cloned()));
        Ok(())
    }

    /// The penalties of all layers that have one, in the order of [`layers`](Self::layers).
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

impl ModuleT for Net {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.forward(xs, Mode::of(train))
    }
}

/// The layers of `plan`, front to end, each shortcut behind the layer that adds it.
fn order(plan: &Graph<Plan>) -> Vec<usize> {
    let (mut order, mut held) = (Vec::new(), Vec::new());
    for (index, node) in plan.nodes.iter().enumerate() {
        let Op::Layer(layer) = &node.op else { continue };
        if layer.holds.role == Role::Shortcut {
            held.push(index);
            continue;
        }
        order.push(index);
        let is_added = |&shortcut: &usize| layer.add == Some(shortcut + 1);
        order.extend(held.extract_if(.., |shortcut| is_added(shortcut)));
    }
    order.extend(held);
    order
}
