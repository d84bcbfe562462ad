//! What one inference costs: parameters, operations and bytes, per layer and in total.
//!
//! A network is a list of plain [`LayerCost`] descriptors; [`summarize`] counts. One inference is
//! one image, batch 1. With, for one layer,
//!
//! ```text
//! outputs = c_out * out_h * out_w                       elements of its output
//! MACs    = product(weight shape) * out_h * out_w       every tap counts, padding included
//! active  = terms * out_h * out_w                       taps with a non-zero term of a weight
//! ```
//!
//! A **plane** holds one term of each weight: 0 or a signed power of two. Most methods have one
//! plane; ShiftCNN and APoT at 4 and 5 bits add two, TTQ and LQ-Net scale and add as many as they
//! have bits. `terms` counts the terms that are not zero over all planes, so that a TTQ weight,
//! which is in one of its two planes at most, is one term or none, and an APoT level of one power
//! is one term. Known are the terms of trained weights alone; without them every plane is full but
//! for weights known to be zero, an upper bound:
//!
//! ```text
//! terms <= planes * (nonzero, if known, else all weights)
//! ```
//!
//! the operations are, by the kernel operation (the first column of the paper's Table 1):
//!
//! | kernel operation | multiplications | additions | shifts | sign flips |
//! | --- | --- | --- | --- | --- |
//! | multiplication | MACs | MACs | 0 | 0 |
//! | sign flip | 0 | active | 0 | active |
//! | shift + sign flip | 0 | active | active | active |
//! | sum of `b` sign flips | `b` outputs | active + (`b` - 1) outputs | 0 | active |
//! | sum of two shifts | 0 | active | active | active |
//! | batch norm | outputs | outputs | 0 | 0 |
//!
//! An addition into an accumulator counts also when the accumulator is zero. A multiplying kernel
//! is dense and does not skip zeros; the others do. A shift by 0 and a flip to the same sign
//! count: the data path does them. A layer whose only levels are 0 and ±2^p for one p shifts
//! nothing: its operation is a sign flip. A sum of `b` sign flips (LQ-Net, TTQ) has `b` planes of 0
//! and ±1, each scaled once per output. A bias adds `outputs` additions. A batch norm is that of
//! inference: one multiplication and one addition an element (its four vectors folded into two), no
//! MAC. The one float scale of a discrete weight is folded into the batch norm behind it and costs
//! nothing; those of several scaled planes cannot be ([`LayerCost::scales`]). Activations, pools
//! and the additions of shortcuts are not counted.
//!
//! What moves through memory and an estimate of energy: [`energy`].
//!
//! Bytes are those of the weights at `bits` each, packed without gaps and rounded up to a byte
//! per layer, plus 4 for each bias and each scale that stays, and 8 for each batch-norm channel;
//! compression is the bytes of the same network in 32-bit floats over that.
//!
//! ```
//! use s3_metrics::cost::{KernelOp, LayerCost, summarize};
//! let layers = [
//!     LayerCost::conv2d("conv1", [16, 3, 3, 3], [32, 32]),
//!     LayerCost::conv2d("conv2", [16, 16, 3, 3], [32, 32])
//!         .quantized(3, KernelOp::ShiftSignFlip)
//!         .with_nonzero(1000),
//!     LayerCost::linear("fc", 10, 64).with_bias(),
//! ];
//! let cost = summarize(&layers);
//! let counts = &cost.layers[1].counts;
//! assert_eq!((counts.macs, counts.shifts), (2304 * 1024, 1000 * 1024));
//! assert_eq!((counts.multiplications, counts.bytes), (0, 2304 * 3 / 8));
//! assert_eq!(cost.total.parameters, 432 + 2304 + 650);
//! assert!(cost.table().contains("shift + sign flip"));
//! ```

use serde::{Deserialize, Serialize};

pub mod energy;
mod operation;
mod table;

pub use operation::KernelOp;

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LayerKind {
    /// A convolution; weight shape `[c_out, c_in / groups, kh, kw]`.
    Conv2d,
    /// A matrix product; weight shape `[outputs, inputs]`.
    Linear,
    /// A batch norm; weight shape `[channels]`, two parameters (scale, offset) a channel.
    BatchNorm,
}

/// One layer of a network, as plain numbers.
///
/// As JSON: the field names, kinds and operations in snake case, `null` for an absent number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Name, as in the checkpoint.
    pub name: String,
    /// What it is.
    pub kind: LayerKind,
    /// Shape of the weight: see [`LayerKind`].
    pub weight_shape: Vec<u64>,
    /// Height and width of the output; `[1, 1]` for a linear layer behind the pool.
    pub output_size: [u64; 2],
    /// Bits of a weight; `None` is a 32-bit float.
    pub bits: Option<u32>,
    /// What it does for each weight.
    pub operation: KernelOp,
    /// Number of weights that are not zero, if known.
    pub nonzero: Option<u64>,
    /// Number of non-zero terms over the planes of all weights, where there are several planes and
    /// it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<u64>,
    /// Floats that scale its planes and that no batch norm can take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scales: u64,
    /// Whether it adds a 32-bit bias to each output channel.
    pub bias: bool,
    /// Elements of its input, where they are not those of an ungrouped layer of stride 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_elements: Option<u64>,
}

impl LayerCost {
    /// A float convolution without bias; shape `[c_out, c_in / groups, kh, kw]`, output `[h, w]`.
    pub fn conv2d(name: &str, weight_shape: [u64; 4], output_size: [u64; 2]) -> Self {
        Self::float(name, LayerKind::Conv2d, &weight_shape, output_size)
    }

    /// A float linear layer without bias, applied once.
    pub fn linear(name: &str, outputs: u64, inputs: u64) -> Self {
        Self::float(name, LayerKind::Linear, &[outputs, inputs], [1, 1])
    }

    /// A batch norm over `channels` planes of `[h, w]`.
    pub fn batch_norm(name: &str, channels: u64, output_size: [u64; 2]) -> Self {
        Self::float(name, LayerKind::BatchNorm, &[channels], output_size)
    }

    /// The same layer with weights of `bits` bits and the kernel operation they allow.
    #[must_use]
    pub fn quantized(self, bits: u32, operation: KernelOp) -> Self {
        Self {
            bits: Some(bits),
            operation,
            ..self
        }
    }

    /// The same layer with a known number of non-zero weights.
    #[must_use]
    pub fn with_nonzero(self, nonzero: u64) -> Self {
        Self {
            nonzero: Some(nonzero),
            ..self
        }
    }

    /// The same layer with a known number of non-zero terms over its planes, and the floats that
    /// scale these and stay.
    ///
    /// ```
    /// use s3_metrics::cost::{KernelOp, LayerCost};
    /// // TTQ's weights [W_p, 0, -W_n]: two masked sums of one weight each, scaled and added.
    /// let ttq = LayerCost::linear("fc", 1, 3).quantized(2, KernelOp::SumOfSignFlips);
    /// let counts = ttq.with_nonzero(2).with_planes(2, 2).counts();
    /// assert_eq!((counts.additions, counts.multiplications, counts.bytes), (3, 2, 1 + 8));
    /// ```
    #[must_use]
    pub fn with_planes(self, terms: u64, scales: u64) -> Self {
        Self {
            terms: Some(terms),
            scales,
            ..self
        }
    }

    /// The same layer with a bias on each output channel.
    #[must_use]
    pub fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// The same layer with a known number of input elements: of a strided or grouped convolution.
    #[must_use]
    pub fn with_input(self, elements: u64) -> Self {
        Self {
            input_elements: Some(elements),
            ..self
        }
    }

    /// Elements of its input: those given, else as many channels as the weight has, at the size of
    /// the output.
    fn inputs(&self) -> u64 {
        let channels = match self.kind {
            LayerKind::BatchNorm => self.weight_shape.first(),
            LayerKind::Conv2d | LayerKind::Linear => self.weight_shape.get(1),
        };
        let positions: u64 = self.output_size.iter().product();
        self.input_elements
            .unwrap_or(channels.copied().unwrap_or(0) * positions)
    }

    /// Elements of its output.
    fn outputs(&self) -> u64 {
        let channels = self.weight_shape.first().copied().unwrap_or(0);
        channels * self.output_size.iter().product::<u64>()
    }

    fn float(name: &str, kind: LayerKind, weight_shape: &[u64], output_size: [u64; 2]) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            weight_shape: weight_shape.to_vec(),
            output_size,
            bits: None,
            operation: KernelOp::Multiply,
            nonzero: None,
            terms: None,
            scales: 0,
            bias: false,
            input_elements: None,
        }
    }

    /// Terms of a weight: planes of its codes.
    fn planes(&self) -> u64 {
        match self.operation {
            KernelOp::Multiply | KernelOp::SignFlip | KernelOp::ShiftSignFlip => 1,
            KernelOp::SumOfTwoShifts => 2,
            KernelOp::SumOfSignFlips => u64::from(self.bits.unwrap_or(1)),
        }
    }

    /// Counts this layer, as the [module](self) defines.
    pub fn counts(&self) -> Counts {
        let elements: u64 = self.weight_shape.iter().product();
        let channels = self.weight_shape.first().copied().unwrap_or(0);
        let positions: u64 = self.output_size.iter().product();
        let outputs = self.outputs();
        if self.kind == LayerKind::BatchNorm {
            return Counts {
                parameters: 2 * elements,
                multiplications: outputs,
                additions: outputs,
                bytes: 8 * elements,
                float_bytes: 8 * elements,
                ..Counts::default()
            };
        }
        let macs = elements * positions;
        let planes = self.planes();
        let most = planes * self.nonzero.unwrap_or(elements);
        let active = self.terms.unwrap_or(most) * positions;
        let bits = u64::from(self.bits.unwrap_or(32));
        let biases = if self.bias { channels } else { 0 };
        let (multiplications, additions, shifts, sign_flips) = match self.operation {
            KernelOp::Multiply => (macs, macs, 0, 0),
            KernelOp::SignFlip => (0, active, 0, active),
            KernelOp::ShiftSignFlip | KernelOp::SumOfTwoShifts => (0, active, active, active),
            KernelOp::SumOfSignFlips => (
                planes * outputs,
                active + planes.saturating_sub(1) * outputs,
                0,
                active,
            ),
        };
        Counts {
            parameters: elements + biases,
            macs,
            multiplications,
            additions: additions + biases * positions,
            shifts,
            sign_flips,
            bytes: (elements * bits).div_ceil(8) + 4 * (biases + self.scales),
            float_bytes: 4 * (elements + biases),
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Counts of one layer or of a network, for one inference of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Trainable numbers an inference needs; a weight counts once, whatever latents it had.
    pub parameters: u64,
    /// Multiply-accumulates of the dense layer, the usual measure of a network's size.
    pub macs: u64,
    /// Multiplications.
    pub multiplications: u64,
    /// Additions and subtractions.
    pub additions: u64,
    /// Shifts by a constant.
    pub shifts: u64,
    /// Conditional negations.
    pub sign_flips: u64,
    /// Bytes of the parameters, packed.
    pub bytes: u64,
    /// Bytes of the same parameters as 32-bit floats.
    pub float_bytes: u64,
}

impl Counts {
    /// `float_bytes / bytes`; 1 where there are no parameters.
    ///
    /// ```
    /// use s3_metrics::cost::{KernelOp, LayerCost};
    /// let ternary = LayerCost::linear("fc", 8, 8).quantized(2, KernelOp::SignFlip);
    /// assert_eq!(ternary.counts().compression(), 16.0);
    /// ```
    pub fn compression(&self) -> f64 {
        if self.bytes == 0 {
            1.0
        } else {
            self.float_bytes as f64 / self.bytes as f64
        }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            parameters: self.parameters + other.parameters,
            macs: self.macs + other.macs,
            multiplications: self.multiplications + other.multiplications,
            additions: self.additions + other.additions,
            shifts: self.shifts + other.shifts,
            sign_flips: self.sign_flips + other.sign_flips,
            bytes: self.bytes + other.bytes,
            float_bytes: self.float_bytes + other.float_bytes,
        }
    }
}

/// The counts of a network: of each layer, and their sum.
///
/// As JSON: `{"layers":[{"layer":{..},"counts":{..},"compression":..},..],"total":{..},
/// "compression":..,"sparsity":..}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCost {
    /// Each layer with its counts, in the order given.
    pub layers: Vec<CountedLayer>,
    /// Sum over the layers.
    pub total: Counts,
    /// [`Counts::compression`] of the total.
    pub compression: f64,
    /// Zero weights over all weights of the layers whose `nonzero` is known; `None` without one.
    pub sparsity: Option<f64>,
}

/// A layer beside its counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountedLayer {
    /// The descriptor.
    pub layer: LayerCost,
    /// Its counts.
    pub counts: Counts,
    /// [`Counts::compression`] of the layer.
    pub compression: f64,
}

/// Counts every layer of a network and their sum.
#[must_use]
pub fn summarize(layers: &[LayerCost]) -> ModelCost {
    let layers: Vec<CountedLayer> = layers
        .iter()
        .map(|layer| {
            let counts = layer.counts();
            CountedLayer {
                layer: layer.clone(),
                counts,
                compression: counts.compression(),
            }
        })
        .collect();
    let total = layers
        .iter()
        .fold(Counts::default(), |sum, layer| sum.plus(&layer.counts));
    let (mut weights, mut nonzero) = (0u64, 0u64);
    for layer in layers.iter().map(|counted| &counted.layer) {
        if let Some(known) = layer.nonzero {
            weights += layer.weight_shape.iter().product::<u64>();
            nonzero += known;
        }
    }
    let sparsity = (weights > 0).then(|| 1.0 - nonzero as f64 / weights as f64);
    ModelCost {
        layers,
        total,
        compression: total.compression(),
        sparsity,
    }
}

#[cfg(test)]
mod tests;
