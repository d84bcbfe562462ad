//! What one inference moves and an estimate of its energy: float, 8-bit and shift side by side.
//!
//! **A model, not a measurement.** It multiplies counts with published energies of single
//! operations in a 45 nm process at 0.9 V. It knows no control, no clock, no wires between units,
//! no reuse in registers and no leakage; a processor spends far more on an instruction than on its
//! arithmetic. It orders designs of the same kind; it says nothing of the CPU that runs this
//! program.
//!
//! # Traffic
//!
//! Each weight is read once, each layer reads its input and writes its output once:
//!
//! ```text
//! weights = packed bytes of the layer       inputs, outputs = elements * activation bits / 8
//! ```
//!
//! rounded up to a byte a layer. A batch norm works on the sums before they are written: it reads
//! its parameters and moves no activation. Shortcuts, pools and activations are not counted.
//!
//! # Energy
//!
//! Of an operation in picojoules, from Horowitz, "Computing's energy problem (and what we can do
//! about it)", ISSCC 2014, figure 1.1.9, but for the shift, which is not in that table; it is the
//! 32-bit one that You et al., "ShiftAddNet", NeurIPS 2020, table 1 is quoted with for 45 nm (0.024
//! pJ at 8 bits; the table itself was not at hand). It is the weakest number here: the 40 nm
//! library of Shao et al., "Aladdin", ISCA 2014, has 0.42 pJ for a 32-bit shifter, twice its adder,
//! because a shift by any amount needs a barrel of multiplexers. A shift network whose amounts are
//! fixed in wires needs none:
//!
//! | | float activations | integer activations |
//! | --- | --- | --- |
//! | multiplication with a weight | 3.7 (32-bit float) | 0.2 (8-bit integer) |
//! | addition into the sum | 0.9 (32-bit float) | 0.1 (32-bit integer) |
//! | shift | 0.03 (8-bit addition to the exponent) | 0.13 (32-bit) |
//! | sign flip | 0: the adder subtracts | 0: the adder subtracts |
//! | batch norm, scale of a plane | 3.7 (32-bit float) | 3.1 (32-bit integer) |
//!
//! A layer with float weights computes in floats whatever its activations are. A byte of memory
//! costs an eighth of a 64-bit access: [`Memory`].
//!
//! ```
//! use s3_metrics::cost::energy::{EnergyModel, report};
//! use s3_metrics::cost::{KernelOp, LayerCost};
//! let layers = [LayerCost::linear("fc", 10, 100).quantized(2, KernelOp::ShiftSignFlip)];
//! let report = report(&layers, &EnergyModel::default());
//! let [float, int8, shift] = &report.versions[..] else { panic!("three versions") };
//! assert!((float.energy.operations_pj - 1000.0 * (3.7 + 0.9)).abs() < 1e-9);
//! assert_eq!([float, int8, shift].map(|v| v.traffic.weights), [4000, 1000, 250]);
//! assert!((shift.energy.operations_pj - 1000.0 * (0.13 + 0.1)).abs() < 1e-9);
//! ```

use serde::{Deserialize, Serialize};

use super::{Counts, KernelOp, LayerCost, LayerKind, ModelCost};

const FLOAT_MULTIPLY: f64 = 3.7;
const FLOAT_ADD: f64 = 0.9;
const INT8_MULTIPLY: f64 = 0.2;
const INT32_MULTIPLY: f64 = 3.1;
const INT8_ADD: f64 = 0.03;
const INT32_ADD: f64 = 0.1;
const INT32_SHIFT: f64 = 0.13;

/// Where something is kept: the rows of Horowitz's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Memory {
    /// A cache of 8 KiB: 10 pJ for 64 bits.
    #[serde(rename = "cache_8_kib")]
    Cache8KiB,
    /// A cache of 32 KiB: 20 pJ for 64 bits.
    #[serde(rename = "cache_32_kib")]
    Cache32KiB,
    /// A cache of 1 MiB: 100 pJ for 64 bits.
    #[serde(rename = "cache_1_mib")]
    Cache1MiB,
    /// DRAM: 1.3 nJ for 64 bits, the lower end of the 1.3 to 2.6 nJ given.
    #[serde(rename = "dram")]
    Dram,
}

impl Memory {
    /// Energy of a byte read or written, in picojoules.
    ///
    /// ```
    /// use s3_metrics::cost::energy::Memory;
    /// assert_eq!((Memory::Cache8KiB.pj_of_a_byte(), Memory::Dram.pj_of_a_byte()), (1.25, 162.5));
    /// ```
    pub fn pj_of_a_byte(self) -> f64 {
        match self {
            Self::Cache8KiB => 10.0 / 8.0,
            Self::Cache32KiB => 20.0 / 8.0,
            Self::Cache1MiB => 100.0 / 8.0,
            Self::Dram => 1300.0 / 8.0,
        }
    }
}

/// What the estimate assumes beside its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyModel {
    /// Where weights are read from.
    pub weights: Memory,
    /// Where activations are read from and written to.
    pub activations: Memory,
    /// Bits of an activation in the shift version: 32 is a float, fewer an integer.
    pub shift_activation_bits: u32,
}

impl Default for EnergyModel {
    /// Weights in DRAM, activations in a cache of 1 MiB, 8 bits an activation.
    fn default() -> Self {
        Self {
            weights: Memory::Dram,
            activations: Memory::Cache1MiB,
            shift_activation_bits: 8,
        }
    }
}

/// Bytes that one inference moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Weights and other parameters, read once.
    pub weights: u64,
    /// Inputs of the layers, read.
    pub inputs: u64,
    /// Outputs of the layers, written.
    pub outputs: u64,
}

impl Traffic {
    /// All bytes.
    pub fn total(&self) -> u64 {
        self.weights + self.inputs + self.outputs
    }
}

/// Estimated energy of one inference, in picojoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Of the arithmetic.
    pub operations_pj: f64,
    /// Of reading the weights.
    pub weights_pj: f64,
    /// Of reading and writing the activations.
    pub activations_pj: f64,
}

impl Energy {
    /// All of it.
    pub fn total_pj(&self) -> f64 {
        self.operations_pj + self.weights_pj + self.activations_pj
    }
}

/// One version of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// `float32`, `int8` or `shift`.
    pub name: String,
    /// Its counts.
    pub counts: Counts,
    /// The bytes it moves.
    pub traffic: Traffic,
    /// Its estimated energy.
    pub energy: Energy,
}

/// The versions of a network side by side, with what the estimate assumes.
///
/// As JSON: `{"kind":"model, not a measurement","model":{..},"versions":[{..},..]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnergyReport {
    /// Says in the file what the numbers are.
    pub kind: String,
    /// What was assumed.
    pub model: EnergyModel,
    /// `float32`, `int8`, `shift`, in this order.
    pub versions: Vec<Version>,
}

impl ModelCost {
    /// [`report`] of these layers.
    pub fn energy(&self, model: &EnergyModel) -> EnergyReport {
        let layers: Vec<LayerCost> = self.layers.iter().map(|l| l.layer.clone()).collect();
        report(&layers, model)
    }
}

/// Counts, traffic and energy of a network as it is (`shift`), in 32-bit floats and in 8 bits.
///
/// `float32` has every layer in floats. `int8` has every weight and activation in 8 bits, batch
/// norms as 32-bit multiplications of the sums. `shift` has the layers as they are given: their
/// bits, their operations, their non-zero weights; a layer without bits stays in floats, as the
/// paper keeps the first and the last.
///
/// # Shapes
/// `layers`: as for [`summarize`](super::summarize); for strided or grouped layers with
/// [`with_input`](LayerCost::with_input), without which an input is taken to have the size of the
/// output and as many channels as the weight.
#[must_use]
pub fn report(layers: &[LayerCost], model: &EnergyModel) -> EnergyReport {
    let float = |layer: &LayerCost| LayerCost {
        bits: None,
        operation: KernelOp::Multiply,
        nonzero: None,
        terms: None,
        scales: 0,
        ..layer.clone()
    };
    let int8 = |layer: &LayerCost| match layer.kind {
        LayerKind::BatchNorm => layer.clone(),
        LayerKind::Conv2d | LayerKind::Linear => float(layer).quantized(8, KernelOp::Multiply),
    };
    let versions = [
        ("float32", layers.iter().map(float).collect::<Vec<_>>(), 32),
        ("int8", layers.iter().map(int8).collect(), 8),
        ("shift", layers.to_vec(), model.shift_activation_bits),
    ];
    EnergyReport {
        kind: "model, not a measurement".to_owned(),
        model: *model,
        versions: versions
            .into_iter()
            .map(|(name, layers, bits)| version(name, &layers, bits, model))
            .collect(),
    }
}

fn version(name: &str, layers: &[LayerCost], bits: u32, model: &EnergyModel) -> Version {
    let mut counts = Counts::default();
    let mut traffic = Traffic::default();
    let mut operations_pj = 0.0;
    for layer in layers {
        let of_layer = layer.counts();
        operations_pj += operations(layer, &of_layer, bits);
        counts = counts.plus(&of_layer);
        traffic.weights += of_layer.bytes;
        if layer.kind != LayerKind::BatchNorm {
            let bytes = |elements: u64| (elements * u64::from(bits)).div_ceil(8);
            traffic.inputs += bytes(layer.inputs());
            traffic.outputs += bytes(layer.outputs());
        }
    }
    let activations = (traffic.inputs + traffic.outputs) as f64;
    Version {
        name: name.to_owned(),
        counts,
        traffic,
        energy: Energy {
            operations_pj,
            weights_pj: traffic.weights as f64 * model.weights.pj_of_a_byte(),
            activations_pj: activations * model.activations.pj_of_a_byte(),
        },
    }
}

/// Picojoules of a layer's arithmetic.
fn operations(layer: &LayerCost, counts: &Counts, activation_bits: u32) -> f64 {
    let norm = layer.kind == LayerKind::BatchNorm;
    let float = activation_bits == 32 || (!norm && layer.bits.is_none());
    // What a multiplying layer multiplies are weights; the others multiply sums by scales.
    let of_sums = norm || layer.operation != KernelOp::Multiply;
    let multiply = match (float, of_sums) {
        (true, _) => FLOAT_MULTIPLY,
        (false, true) => INT32_MULTIPLY,
        (false, false) => INT8_MULTIPLY,
    };
    let (add, shift) = if float {
        (FLOAT_ADD, INT8_ADD)
    } else {
        (INT32_ADD, INT32_SHIFT)
    };
    counts.multiplications as f64 * multiply
        + counts.additions as f64 * add
        + counts.shifts as f64 * shift
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products and sums of counts below 1e6 with numbers of two digits.
    const ROUNDING: f64 = 1e-6;

    fn versions(layers: &[LayerCost], bits: u32) -> [Version; 3] {
        let model = EnergyModel {
            shift_activation_bits: bits,
            ..EnergyModel::default()
        };
        let versions = report(layers, &model).versions;
        versions.try_into().expect("three versions")
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < ROUNDING, "{a} is not {b}");
    }

    /// 4 filters of 2 x 3 x 3 over 8 x 8 outputs from 16 x 16 inputs: 4608 MACs.
    fn layer() -> LayerCost {
        LayerCost::conv2d("conv", [4, 2, 3, 3], [8, 8]).with_input(2 * 16 * 16)
    }

    #[test]
    fn traffic_is_that_written_by_hand() {
        let shift = layer().quantized(3, KernelOp::ShiftSignFlip);
        let [float, int8, shift] = versions(&[shift], 8).map(|v| v.traffic);
        let of = |weights, inputs, outputs| Traffic {
            weights,
            inputs,
            outputs,
        };
        assert_eq!(float, of(72 * 4, 512 * 4, 256 * 4));
        assert_eq!(int8, of(72, 512, 256));
        assert_eq!(shift, of(27, 512, 256));
        assert_eq!(shift.total(), 795);
    }

    #[test]
    fn each_version_costs_what_its_operations_cost() {
        let shift = layer().quantized(3, KernelOp::ShiftSignFlip);
        let [float, int8, dense] = versions(std::slice::from_ref(&shift), 8);
        near(float.energy.operations_pj, 4608.0 * 4.6);
        near(int8.energy.operations_pj, 4608.0 * 0.3);
        near(dense.energy.operations_pj, 4608.0 * 0.23);
        near(dense.energy.weights_pj, 27.0 * 162.5);
        near(dense.energy.activations_pj, 768.0 * 12.5);
        // Zeros are skipped by the shift version alone.
        let [float, int8, sparse] = versions(&[shift.with_nonzero(36)], 8);
        near(float.energy.operations_pj, 4608.0 * 4.6);
        near(int8.energy.operations_pj, 4608.0 * 0.3);
        near(sparse.energy.operations_pj, 2304.0 * 0.23);
    }

    #[test]
    fn a_shift_of_a_float_is_an_addition_to_its_exponent() {
        let shift = layer().quantized(3, KernelOp::ShiftSignFlip);
        let [_, _, shift] = versions(&[shift], 32);
        near(shift.energy.operations_pj, 4608.0 * 0.93);
        assert_eq!(shift.traffic.inputs, 4 * 512);
    }

    #[test]
    fn a_layer_without_bits_stays_in_floats() {
        let [float, _, shift] = versions(&[layer()], 8);
        assert_eq!(float.energy.operations_pj, shift.energy.operations_pj);
        assert_eq!(float.traffic.weights, shift.traffic.weights);
    }

    #[test]
    fn a_batch_norm_moves_its_parameters_alone() {
        let [float, int8, shift] = versions(&[LayerCost::batch_norm("bn", 4, [8, 8])], 8);
        near(float.energy.operations_pj, 256.0 * 4.6);
        near(int8.energy.operations_pj, 256.0 * 3.2);
        assert_eq!(int8.energy, shift.energy);
        assert_eq!((int8.traffic.total(), float.traffic.total()), (32, 32));
    }

    #[test]
    fn planes_multiply_sums_by_scales() {
        let [_, _, planes] = versions(&[layer().quantized(2, KernelOp::SumOfSignFlips)], 8);
        let (scales, additions) = (2.0 * 256.0, 2.0 * 4608.0 + 256.0);
        near(planes.energy.operations_pj, scales * 3.1 + additions * 0.1);
    }

    #[test]
    fn a_report_survives_json_and_says_what_it_is() {
        let layers = [layer().quantized(2, KernelOp::SignFlip)];
        let report = report(&layers, &EnergyModel::default());
        let json = serde_json::to_string(&report).expect("writes");
        let start = concat!(
            r#"{"kind":"model, not a measurement","#,
            r#""model":{"weights":"dram","activations":"cache_1_mib","#,
        );
        assert!(json.starts_with(start), "{json}");
        let back: EnergyReport = serde_json::from_str(&json).expect("reads");
        assert_eq!(back, report);
    }

    #[test]
    fn the_table_has_a_row_a_version_and_says_what_it_is() {
        let shift = layer().quantized(3, KernelOp::ShiftSignFlip);
        let table = report(&[shift], &EnergyModel::default()).table();
        let row = |name: &str| {
            let start = format!("│ {name} ");
            let line = table.lines().find(|line| line.starts_with(&start));
            let cells = line.expect("a row").split_whitespace();
            cells
                .filter(|cell| *cell != "│")
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            row("int8"),
            "int8 4,608 4,608 0 72 768 0.0014 0.0117 0.0096 0.0227"
        );
        assert_eq!(
            row("shift"),
            "shift 0 4,608 4,608 27 768 0.0011 0.0044 0.0096 0.0150"
        );
        assert!(table.contains("a model, not a measurement"));
    }

    #[test]
    fn an_empty_network_costs_nothing() {
        for version in versions(&[], 8) {
            assert_eq!(
                (version.traffic.total(), version.energy.total_pj()),
                (0, 0.0)
            );
        }
    }
}
