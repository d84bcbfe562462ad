//! The runtime: a network that was checked, and the buffers that its runs share.

use std::boxed::Box;
use std::sync::{Mutex, PoisonError};
use std::vec;
use std::vec::Vec;

use super::check::plan;
use super::error::Error;
use super::float_conv::FloatWeights;
use super::graph::{Act, Layer, Op, Size};
use super::limits;
use super::network::{Activations, Frozen, Network, Then, Weight};
use super::plan::Plan;
use super::pool;
use crate::conv::conv2d_with;
use crate::conv::weights::Weights;
use crate::epilogue::requant::{RequantTable, Requantize};
use crate::float::conv2d_f32_with;
use crate::micro::bytes::Microkernel;
use crate::micro::float::FloatKernel;
use crate::{Activation, Epilogue, Isa, Scale};

/// A network that is ready to run: checked, its buffers planned, its numbers as the kernels read
/// them.
///
/// A run may be called from several threads at a time; each uses buffers of its own, which later
/// runs use again. With feature `rayon` one run uses the threads of the current pool as well.
/// Scores are the same for every number of threads and every batch; integer networks give the same
/// bits on every instruction set, and f32 ones too, provided that no product leaves the range of
/// f32.
///
/// ```
/// use s3_kernels::model::{
///     Activations, Frozen, Graph, Input, Layer, Model, Network, Numbers, Op, Size, Then, Weight,
/// };
///
/// // One pixel of two colours, one layer: scores 0.5 (x0 - 2 x1) and x1 + 1.
/// let weight = Weight::F32(vec![1.0, -2.0, 0.0, 1.0]);
/// let then = Then::Scale { scale: vec![0.5, 1.0], bias: vec![0.0, 1.0] };
/// let mut graph = Graph::new(Size { height: 1, width: 1, channels: 2 });
/// graph.push("fc", &[0], Op::Layer(Layer::new(2, [1, 1], Frozen { weight, then })));
/// let model = Model::new(Network {
///     name: "linear".into(),
///     input: Input {
///         mean: vec![0.0; 2],
///         std: vec![1.0; 2],
///         scale: 1.0,
///         numbers: Numbers::Bytes,
///         fit: None,
///     },
///     classes: vec!["cat".into(), "dog".into()],
///     activations: Activations::F32,
///     graph,
/// })?;
/// assert_eq!(model.run(&[3.0, 1.0, 0.0, -1.0], 2)?, [0.5, 2.0, 1.0, 0.0]);
/// # Ok::<(), s3_kernels::model::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    network: Network,
    plan: Plan,
    /// What each node reads besides the network.
    tables: Vec<Table>,
    isa: Isa,
    /// Buffers of no run in progress.
    idle: Mutex<Vec<Buffers>>,
}

/// Where a [`Act::Relu6`] ends.
const SIX: f32 = 6.0;

/// What a node's kernel reads besides the network.
#[derive(Debug)]
enum Table {
    None,
    Float(FloatWeights),
    Requant(Box<RequantTable>),
}

/// The buffers of one run.
#[derive(Debug, Default)]
struct Buffers {
    image: Vec<i8>,
    bytes: Vec<Vec<u8>>,
    floats: Vec<Vec<f32>>,
}

/// What a node has made, `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// In networks of f32 activations, and the scores.
    F32(&'a [f32]),
    /// In networks of 8-bit activations.
    U8(&'a [u8]),
}

/// What is told of each node's value: the node's index and the value.
type Trace<'a> = &'a mut dyn FnMut(usize, Value<'_>);

impl Model {
    /// Checks `network` and prepares it.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] and [`Error::Node`], which name the field and the node: see
    /// `docs/EXPORT-FORMAT.md` for what is accepted.
    pub fn new(network: Network) -> Result<Model, Error> {
        Model::on(Isa::detect(), network)
    }

    /// [`Model::new`] that runs on `isa`, which this CPU has.
    pub(crate) fn on(isa: Isa, network: Network) -> Result<Model, Error> {
        let plan = plan(&network)?;
        let by_shifts = network.activations == Activations::U8Shift;
        let table = |op: &Op<Frozen>| match op {
            Op::Layer(layer) => Table::of(layer, by_shifts, isa),
            _ => Table::None,
        };
        let nodes = network.graph.nodes.iter();
        let tables = nodes.map(|node| table(&node.op)).collect();
        Ok(Model {
            network,
            plan,
            tables,
            isa,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Numbers that a run holds for each image of its batch, at most 2^26: what a batch is bounded
    /// by where a file may come from anywhere.
    #[must_use]
    pub fn numbers_held(&self) -> usize {
        limits::numbers(&self.network, &self.plan)
    }

    /// The scores of `batch` images.
    ///
    /// `x`: `[batch, height, width, channels]`, normalised as [`Input`](super::Input) says, finite.
    /// The result is `[batch, classes]`.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] where `x` is not of this size; [`Error::Kernel`] where a length does not
    /// fit `usize`.
    pub fn run(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.run_traced(x, batch, &mut |_, _| ())
    }

    /// [`Model::run`] that shows what each node has made, in the order of the nodes, with the
    /// node's index: for calibration and tests.
    ///
    /// # Errors
    ///
    /// As [`Model::run`].
    pub fn run_traced(&self, x: &[f32], batch: usize, trace: Trace<'_>) -> Result<Vec<f32>, Error> {
        let expected = batch.saturating_mul(self.plan.sizes[0].len());
        if x.len() != expected || expected == usize::MAX {
            return Err(Error::Input {
                expected,
                got: x.len(),
            });
        }
        let classes = self.network.classes.len();
        let mut scores = vec![0.0; batch.saturating_mul(classes)];
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = lock().pop().unwrap_or_default();
        let result = match self.network.activations {
            Activations::F32 => self.floats(x, batch, &mut buffers.floats, &mut scores, trace),
            Activations::U8 | Activations::U8Shift => {
                let Buffers { image, bytes, .. } = &mut buffers;
                image.resize(x.len(), 0);
                self.quantize(x, image);
                self.bytes(image, batch, bytes, &mut scores, trace)
            }
        };
        lock().push(buffers);
        result.map(|()| scores)
    }

    /// The 8-bit image that an integer network makes of `x`: `clamp(round(x / scale), -127, 127)`,
    /// ties to even. `x` is finite.
    ///
    /// ```
    /// # use s3_kernels::model::*;
    /// # let weight = Weight::Dense(DenseMatrix::from_levels(vec![1], 1, 1)?);
    /// # let then = Then::Scale { scale: vec![1.0], bias: vec![0.0] };
    /// # let mut graph = Graph::new(Size { height: 1, width: 1, channels: 1 });
    /// # graph.push("fc", &[0], Op::Layer(Layer::new(1, [1, 1], Frozen { weight, then })));
    /// # let (mean, std, numbers) = (vec![0.0], vec![1.0], Numbers::Bytes);
    /// # let input = Input { mean, std, scale: 0.5, numbers, fit: None };
    /// # let model = Model::new(Network { name: "one".into(), input, classes: vec!["a".into()],
    /// #     activations: Activations::U8, graph })?;
    /// // A scale of 0.5.
    /// assert_eq!(model.quantized(&[0.75, 1.25, -9.0, 100.0]), [2, 2, -18, 127]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn quantized(&self, x: &[f32]) -> Vec<i8> {
        let mut image = vec![0; x.len()];
        self.quantize(x, &mut image);
        image
    }

    fn quantize(&self, x: &[f32], image: &mut [i8]) {
        // Where the unit of the last place is 1 an addition rounds to integers, ties to even, and
        // the lowest byte of the sum's bits is the integer.
        const UNIT: f32 = 12_582_912.0;
        let scale = self.network.input.scale;
        for (to, x) in image.iter_mut().zip(x) {
            let clamped = (x / scale).clamp(-127.0, 127.0);
            *to = (clamped + UNIT).to_bits() as u8 as i8;
        }
    }

    fn floats(
        &self,
        x: &[f32],
        batch: usize,
        slots: &mut Vec<Vec<f32>>,
        scores: &mut [f32],
        trace: Trace<'_>,
    ) -> Result<(), Error> {
        self.resize(slots, batch);
        for (index, node) in self.network.graph.nodes.iter().enumerate() {
            let mut made = self.take(slots, index);
            let y = match self.made(index, batch) {
                Some(len) => &mut made[..len],
                None => &mut *scores,
            };
            let value = |value| match value {
                0 => x,
                value => self.held(slots, value, batch),
            };
            let from = value(node.input());
            match &node.op {
                Op::Layer(layer) => {
                    let added = layer.add.map(value);
                    self.float_conv(index, layer, from, batch, added, y)
                        .map_err(|e| Error::kernel(&node.name, e))?;
                }
                Op::Concat => {
                    let parts = node.inputs.iter().map(|&input| (value(input), input));
                    self.concat(index, parts, y);
                }
                op => pool::run(op, from, self.plan.sizes[node.input()], 0.0, y),
            }
            trace(index, Value::F32(y));
            self.put(slots, index, made);
        }
        Ok(())
    }

    fn bytes(
        &self,
        image: &[i8],
        batch: usize,
        slots: &mut Vec<Vec<u8>>,
        scores: &mut [f32],
        trace: Trace<'_>,
    ) -> Result<(), Error> {
        self.resize(slots, batch);
        for (index, node) in self.network.graph.nodes.iter().enumerate() {
            let mut made = self.take(slots, index);
            let len = self.made(index, batch);
            let y = &mut made[..len.unwrap_or(0)];
            let value = |value| self.held(slots, value, batch);
            match (&node.op, node.input()) {
                (Op::Layer(_), 0) => self.byte_conv(index, image, batch, slots, y, scores),
                (Op::Layer(_), from) => self.byte_conv(index, value(from), batch, slots, y, scores),
                (Op::Concat, _) => {
                    let parts = node.inputs.iter().map(|&input| (value(input), input));
                    self.concat(index, parts, y);
                    Ok(())
                }
                (op, from) => {
                    let (size, zero) = (self.plan.sizes[from], self.plan.zeros[from]);
                    pool::run(op, value(from), size, zero, y);
                    Ok(())
                }
            }
            .map_err(|e| Error::kernel(&node.name, e))?;
            let value = len.map_or(Value::F32(scores), |_| Value::U8(y));
            trace(index, value);
            self.put(slots, index, made);
        }
        Ok(())
    }

    /// The channels of `parts`, each a value and its index, one after the other.
    fn concat<'a, T: Copy + 'a>(
        &self,
        index: usize,
        parts: impl Iterator<Item = (&'a [T], usize)>,
        y: &mut [T],
    ) {
        let (channels, mut first) = (self.plan.sizes[index + 1].channels, 0);
        for (x, value) in parts {
            let own = self.plan.sizes[value].channels;
            pool::put(x, own, channels, first, y);
            first += own;
        }
    }

    /// Makes the buffers large enough for `batch` images.
    fn resize<T: Copy + Default>(&self, slots: &mut Vec<Vec<T>>, batch: usize) {
        slots.resize_with(self.plan.lengths.len(), Vec::new);
        for (slot, &size) in slots.iter_mut().zip(&self.plan.lengths) {
            let len = batch.saturating_mul(size);
            if slot.len() < len {
                slot.resize(len, T::default());
            }
        }
    }

    /// A value that a buffer holds.
    fn held<'a, T>(&self, slots: &'a [Vec<T>], value: usize, batch: usize) -> &'a [T] {
        &slots[self.plan.slots[value]][..batch * self.plan.sizes[value].len()]
    }

    /// Numbers of the value of node `index`; `None` for the last one, whose value is the scores.
    fn made(&self, index: usize, batch: usize) -> Option<usize> {
        let is_last = index + 1 == self.network.graph.nodes.len();
        (!is_last).then(|| batch * self.plan.sizes[index + 1].len())
    }

    /// The buffer of the value of node `index`; an empty one for the last node.
    fn take<T>(&self, slots: &mut [Vec<T>], index: usize) -> Vec<T> {
        if index + 1 == self.network.graph.nodes.len() {
            return Vec::new();
        }
        core::mem::take(&mut slots[self.plan.slots[index + 1]])
    }

    fn put<T>(&self, slots: &mut [Vec<T>], index: usize, made: Vec<T>) {
        if index + 1 < self.network.graph.nodes.len() {
            slots[self.plan.slots[index + 1]] = made;
        }
    }

    /// The size of the value that node `index` reads.
    fn size_read(&self, index: usize) -> &Size {
        &self.plan.sizes[self.network.graph.nodes[index].input()]
    }

    fn float_conv(
        &self,
        index: usize,
        layer: &Layer<Frozen>,
        x: &[f32],
        batch: usize,
        residual: Option<&[f32]>,
        y: &mut [f32],
    ) -> Result<(), crate::Error> {
        let shape = layer.shape(batch, self.size_read(index));
        let scale = scale(layer, residual)?;
        match (&layer.holds.weight, &self.tables[index]) {
            (Weight::Packed(w), _) => {
                let kernel = FloatKernel::of(self.isa, w.bit_width(), w.rows());
                conv2d_f32_with(kernel, w, x, &shape, Some(&scale), y)?;
            }
            (_, Table::Float(w)) => w.conv2d(x, &shape, &scale, y)?,
            _ => return Err(unexpected()),
        }
        cap(layer, y);
        Ok(())
    }

    /// A convolution of bytes: to the `scores` where it is followed by a scale, else to `y`.
    fn byte_conv<X: Activation>(
        &self,
        index: usize,
        x: &[X],
        batch: usize,
        slots: &[Vec<u8>],
        y: &mut [u8],
        scores: &mut [f32],
    ) -> Result<(), crate::Error> {
        let Op::Layer(layer) = &self.network.graph.nodes[index].op else {
            return Err(unexpected());
        };
        let shape = layer.shape(batch, self.size_read(index));
        match &self.tables[index] {
            Table::Requant(table) => {
                let residual = layer.add.map(|value| self.held(slots, value, batch));
                let epilogue = Requantize { table, residual };
                self.convolve(layer, x, &shape, &epilogue, y)
            }
            _ => {
                self.convolve(layer, x, &shape, &scale(layer, None)?, scores)?;
                cap(layer, scores);
                Ok(())
            }
        }
    }

    fn convolve<X: Activation, E: Epilogue>(
        &self,
        layer: &Layer<Frozen>,
        x: &[X],
        shape: &crate::ConvShape,
        epilogue: &E,
        y: &mut [E::Output],
    ) -> Result<(), crate::Error> {
        let (kernel, w): (_, &dyn Weights) = match &layer.holds.weight {
            Weight::Packed(w) => (Microkernel::of(self.isa), w),
            Weight::Dense(w) => (Microkernel::dense(self.isa), w),
            Weight::F32(_) => return Err(unexpected()),
        };
        conv2d_with(kernel, w, x, shape, epilogue, y)
    }
}

impl Table {
    fn of(layer: &Layer<Frozen>, by_shifts: bool, isa: Isa) -> Table {
        let bound = match (&layer.holds.weight, &layer.holds.then) {
            (Weight::F32(w), _) => return Table::Float(FloatWeights::new(isa, w, layer)),
            (_, Then::Scale { .. }) => return Table::None,
            (Weight::Packed(w), _) => w.accumulator_bound(),
            (Weight::Dense(w), _) => w.accumulator_bound(),
        };
        match &layer.holds.then {
            Then::Requant(requant) => {
                let (relu, added) = (layer.act != Act::None, layer.add.is_some());
                let table = RequantTable::new(requant, relu, added, by_shifts, bound);
                Table::Requant(Box::new(table))
            }
            Then::Scale { .. } => Table::None,
        }
    }
}

fn scale<'a>(
    layer: &'a Layer<Frozen>,
    residual: Option<&'a [f32]>,
) -> Result<Scale<'a>, crate::Error> {
    match &layer.holds.then {
        Then::Scale { scale, bias } => Ok(Scale {
            scale,
            bias,
            relu: layer.act != Act::None,
            residual,
        }),
        Then::Requant(_) => Err(unexpected()),
    }
}

/// Ends what a [`Act::Relu6`] has made at 6; the kernels have done the rest of it.
fn cap(layer: &Layer<Frozen>, y: &mut [f32]) {
    if layer.act == Act::Relu6 {
        y.iter_mut().for_each(|y| *y = y.min(SIX));
    }
}

/// What [`plan`] has ruled out.
fn unexpected() -> crate::Error {
    crate::Error::Unsupported {
        what: "kind of weight",
        expected: "one that fits the activations",
        got: 0,
    }
}
