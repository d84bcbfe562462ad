//! What one inference of a row costs, as its record says; records older than the count by non-zero
//! terms are corrected where they hold what that needs.

use serde_json::Value;

/// Filters of the quantized layers of ResNet-20: six layers of 16, 32 and 64.
const FILTERS: u64 = 6 * (16 + 32 + 64);
/// Its quantized layers.
const LAYERS: u64 = 18;

/// How the counts of a record are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// By non-zero terms.
    Exactly,
    /// Every plane full.
    AtMost,
    /// From the share of zeros over all layers.
    About,
}

/// Operations of one inference, and bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) operation: String,
    pub(super) bytes: u64,
    counted: Counted,
    additions: f64,
    shifts: f64,
    sign_flips: f64,
    multiplications: f64,
}

impl Cost {
    pub(super) fn of(record: &Value) -> Self {
        let number = |key: &str| record[key].as_f64().unwrap_or(f64::NAN);
        let mut cost = Self {
            operation: record["operation"].as_str().unwrap_or("?").to_owned(),
            bytes: record["bytes"].as_u64().unwrap_or(0),
            counted: Counted::Exactly,
            additions: number("additions"),
            shifts: number("shifts"),
            sign_flips: number("sign_flips"),
            multiplications: number("multiplications"),
        };
        // A record says how many terms are not zero since they are counted.
        if record.get("terms").is_none() {
            cost.correct(record);
        }
        cost
    }

    fn correct(&mut self, record: &Value) {
        let bits = record["bits"].as_u64().unwrap_or(0);
        match (record["method"]["name"].as_str().unwrap_or(""), bits) {
            // Their one magnitude is the layer's scale.
            ("inq" | "deepshift_ps", 2) => {
                self.operation = "sign_flip".to_owned();
                self.shifts = 0.0;
            }
            // A scale a filter and plane.
            ("lqnet", _) => self.bytes += 4 * bits * FILTERS,
            // A weight is in one of the two planes at most; two scales a layer.
            ("ttq", _) => {
                let active =
                    0.5 * self.sign_flips * (1.0 - record["zeros"].as_f64().unwrap_or(0.0));
                self.additions += active - self.sign_flips;
                self.sign_flips = active;
                self.bytes += 4 * 2 * LAYERS;
                self.counted = Counted::About;
            }
            _ if self.operation == "sum_of_two_shifts" => self.counted = Counted::AtMost,
            _ => {}
        }
    }

    /// Additions, shifts, sign flips and multiplications.
    pub(super) fn millions(&self) -> [String; 4] {
        let say = |count: f64| {
            let millions = format!("{:.2}", count / 1e6);
            match self.counted {
                _ if count == 0.0 => millions,
                Counted::Exactly => millions,
                Counted::AtMost => format!("at most {millions}"),
                Counted::About => format!("about {millions}"),
            }
        };
        // Multiplications do not depend on what is zero.
        let exact = format!("{:.2}", self.multiplications / 1e6);
        [
            say(self.additions),
            say(self.shifts),
            say(self.sign_flips),
            exact,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(name: &str, bits: u64, operation: &str) -> Value {
        json!({
            "method": {"name": name}, "bits": bits, "operation": operation, "bytes": 1000,
            "zeros": 0.25,
            "additions": 81_000_000, "shifts": 80_000_000, "sign_flips": 80_000_000,
            "multiplications": 1_000_000,
        })
    }

    #[test]
    fn an_older_record_is_corrected_as_far_as_it_goes() {
        let of = |name, bits, operation| Cost::of(&record(name, bits, operation));
        let inq = of("inq", 2, "shift_sign_flip");
        assert_eq!((inq.operation.as_str(), inq.shifts), ("sign_flip", 0.0));
        let three = of("inq", 3, "shift_sign_flip");
        assert_eq!(
            (three.operation.as_str(), three.shifts),
            ("shift_sign_flip", 8e7)
        );
        let lqnet = [2, 3, 4].map(|bits| of("lqnet", bits, "sum_of_sign_flips").bytes);
        assert_eq!(lqnet, [1000 + 5376, 1000 + 8064, 1000 + 10752]);
        // Three of four of half of the flips.
        let ttq = of("ttq", 2, "sum_of_sign_flips");
        assert_eq!(ttq.bytes, 1000 + 144);
        assert_eq!(ttq.millions()[0], "about 31.00");
        assert_eq!(ttq.millions()[2], "about 30.00");
        let apot = of("apot", 4, "sum_of_two_shifts");
        assert_eq!(
            apot.millions(),
            ["at most 81.00", "at most 80.00", "at most 80.00", "1.00"]
        );
    }

    #[test]
    fn a_record_with_terms_is_taken_as_it_is() {
        let mut new = record("ttq", 2, "sum_of_sign_flips");
        new["terms"] = json!(200_000);
        let cost = Cost::of(&new);
        assert_eq!((cost.bytes, cost.millions()[0].as_str()), (1000, "81.00"));
    }
}
