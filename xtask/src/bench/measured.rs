//! One program on one case: what it says of itself, and how long it took.

use serde_json::Value;

use super::page::summary;

/// One program on one case.
pub(super) struct Measured {
    /// The case, as the line protocol spells it.
    pub(super) case: Value,
    /// What the program says of itself.
    pub(super) about: Value,
    /// The median call of each round, in microseconds.
    pub(super) us: Vec<f64>,
    /// The shortest call of all.
    pub(super) min_us: f64,
}

impl Measured {
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.about[key].as_f64().or_else(|| self.case[key].as_f64())
    }

    pub(super) fn word(&self, key: &str) -> &str {
        let of = |value: &'_ Value| value[key].is_string();
        let value = if of(&self.about) {
            &self.about
        } else {
            &self.case
        };
        value[key].as_str().unwrap_or_default()
    }

    /// What one call does of `unit`: `macs` or `bytes`. Thousands of it a microsecond: G a second.
    pub(super) fn giga_per_s(&self, unit: &str) -> Option<f64> {
        Some(self.number(unit)? / summary(&self.us).0 / 1e3)
    }
}
