//! The cost of a network, and its energy, as text.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::energy::{EnergyReport, Memory};
use super::{Counts, KernelOp, LayerKind, ModelCost};

const HEADER: [&str; 12] = [
    "layer",
    "weight",
    "output",
    "operation",
    "bits",
    "parameters",
    "MACs",
    "mult.",
    "additions",
    "shifts",
    "sign flips",
    "bytes",
];

impl ModelCost {
    /// The summary as a text table, a row a layer and one for the total; no colour.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_header(HEADER);
        for counted in &self.layers {
            let layer = &counted.layer;
            let [height, width] = layer.output_size;
            let mut row = vec![
                layer.name.clone(),
                layer
                    .weight_shape
                    .iter()
                    .map(u64::to_string)
                    .collect::<Vec<_>>()
                    .join("x"),
                format!("{height}x{width}"),
                operation(layer.kind, layer.operation).to_owned(),
                layer.bits.map_or("32".to_owned(), |bits| bits.to_string()),
            ];
            row.extend(numbers(&counted.counts));
            table.add_row(row);
        }
        let mut row = vec![
            "total".to_owned(),
            String::new(),
            String::new(),
            String::new(),
        ];
        row.push(String::new());
        row.extend(numbers(&self.total));
        table.add_row(row);
        for column in table.column_iter_mut().skip(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let float_bytes = grouped(self.total.float_bytes);
        let sparsity = self.sparsity.map_or(String::new(), |share| {
            format!(", {:.1} % of the quantized weights zero", 100.0 * share)
        });
        format!(
            "{table}\n{float_bytes} bytes as 32-bit floats, {:.2} times less here{sparsity}",
            self.compression
        )
    }
}

const ENERGY_HEADER: [&str; 10] = [
    "version",
    "mult.",
    "additions",
    "shifts",
    "weights (B)",
    "activations (B)",
    "operations (µJ)",
    "weights (µJ)",
    "activations (µJ)",
    "total (µJ)",
];

impl EnergyReport {
    /// The report as a text table, a row a version; no colour.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(UTF8_BORDERS_ONLY)
            .set_header(ENERGY_HEADER);
        for version in &self.versions {
            let (counts, traffic, energy) = (&version.counts, &version.traffic, &version.energy);
            let mut row = vec![version.name.clone()];
            row.extend([counts.multiplications, counts.additions, counts.shifts].map(grouped));
            row.extend([traffic.weights, traffic.inputs + traffic.outputs].map(grouped));
            let energies = [
                energy.operations_pj,
                energy.weights_pj,
                energy.activations_pj,
                energy.total_pj(),
            ];
            row.extend(energies.map(|pj| format!("{:.4}", pj / 1e6)));
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!(
            "{table}\nenergy: a model, not a measurement (45 nm; Horowitz 2014, the shift You et \
             al. 2020), weights in {}, activations in {}; shift: the network as it is, with \
             activations of {} bits",
            memory(self.model.weights),
            memory(self.model.activations),
            self.model.shift_activation_bits,
        )
    }
}

fn memory(memory: Memory) -> &'static str {
    match memory {
        Memory::Cache8KiB => "a cache of 8 KiB",
        Memory::Cache32KiB => "a cache of 32 KiB",
        Memory::Cache1MiB => "a cache of 1 MiB",
        Memory::Dram => "DRAM",
    }
}

fn operation(kind: LayerKind, operation: KernelOp) -> &'static str {
    match (kind, operation) {
        (LayerKind::BatchNorm, _) => "batch norm",
        (_, KernelOp::Multiply) => "multiplication",
        (_, KernelOp::SignFlip) => "sign flip",
        (_, KernelOp::SumOfSignFlips) => "sum of sign flips",
        (_, KernelOp::SumOfTwoShifts) => "sum of two shifts",
        (_, KernelOp::ShiftSignFlip) => "shift + sign flip",
    }
}

fn numbers(counts: &Counts) -> [String; 7] {
    [
        counts.parameters,
        counts.macs,
        counts.multiplications,
        counts.additions,
        counts.shifts,
        counts.sign_flips,
        counts.bytes,
    ]
    .map(grouped)
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        let text = [0, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(text, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
