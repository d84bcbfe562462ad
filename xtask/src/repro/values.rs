//! The numbers of a record: of its layers, and of the run.

use serde_json::Value;

use super::sample::mean;

/// The quantized layers of a record.
pub(super) fn quantized(record: &Value) -> Vec<&Value> {
    let layers = record["layers"].as_array().into_iter().flatten();
    let ends = ["first", "last"];
    layers
        .filter(|l| l["role"].as_str().is_some_and(|role| !ends.contains(&role)))
        .collect()
}

/// A layer's points `(epoch, value)` where it has a value.
pub(super) fn points(layer: &Value, key: &str) -> Vec<(f64, f64)> {
    let values = layer[key].as_array().into_iter().flatten();
    numbers(&layer["epochs"])
        .into_iter()
        .zip(values)
        .filter_map(|(epoch, v)| Some((epoch, v.as_f64()?)))
        .collect()
}

/// The mean over the quantized layers at each snapshot, `(epoch, value)`.
pub(super) fn mean_curve(record: &Value, key: &str) -> Vec<(f64, f64)> {
    let layers: Vec<_> = quantized(record)
        .into_iter()
        .map(|l| points(l, key))
        .filter(|p| !p.is_empty())
        .collect();
    let Some(first) = layers.first() else {
        return Vec::new();
    };
    let at = |i: usize| {
        let values: Vec<f64> = layers
            .iter()
            .filter_map(|l| l.get(i).map(|p| p.1))
            .collect();
        mean(&values)
    };
    first
        .iter()
        .enumerate()
        .map(|(i, p)| (p.0, at(i)))
        .collect()
}

/// The zero weights of the quantized layers at the end of each run, in %.
pub(super) fn zeros(records: &[&Value]) -> Vec<f64> {
    let zeros = records.iter().filter_map(|r| r["zeros"].as_f64());
    zeros.map(|z| 100.0 * z).collect()
}

pub(super) fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_f64).collect()
}

/// In %.
pub(super) fn last_top1(record: &Value) -> Option<f64> {
    numbers(&record["test_top1"]).last().map(|v| 100.0 * v)
}
