//! What one inference of a row costs, as its record says; records older than the count by non-zero
//! terms are corrected where they hold what that needs.

use s3_metrics::cost::KernelOp;
use s3_metrics::finished::Finished;

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
    pub(super) operation: Option<KernelOp>,
    pub(super) bytes: u64,
    counted: Counted,
    additions: f64,
    shifts: f64,
    sign_flips: f64,
    multiplications: f64,
}

impl Cost {
    pub(super) fn of(run: &Finished) -> Self {
        let mut cost = Self {
            operation: run.operation,
            bytes: run.bytes,
            counted: Counted::Exactly,
            additions: run.additions as f64,
            shifts: run.shifts as f64,
            sign_flips: run.sign_flips as f64,
            multiplications: run.multiplications as f64,
        };
        // A record says how many terms are not zero since they are counted.
        if run.terms.is_none() {
            cost.correct(run);
        }
        cost
    }

    fn correct(&mut self, run: &Finished) {
        let bits = run.bits.unwrap_or(0);
        match (
            run.method
                .get("name")
                .and_then(|name| name.as_str())
                .unwrap_or(""),
            bits,
        ) {
            // Their one magnitude is the layer's scale.
            ("inq" | "deepshift_ps", 2) => {
                self.operation = Some(KernelOp::SignFlip);
                self.shifts = 0.0;
            }
            // A scale a filter and plane.
            ("lqnet", _) => self.bytes += 4 * u64::from(bits) * FILTERS,
            // A weight is in one of the two planes at most; two scales a layer.
            ("ttq", _) => {
                let active = 0.5 * self.sign_flips * (1.0 - run.zeros.unwrap_or(0.0));
                self.additions += active - self.sign_flips;
                self.sign_flips = active;
                self.bytes += 4 * 2 * LAYERS;
                self.counted = Counted::About;
            }
            _ if self.operation == Some(KernelOp::SumOfTwoShifts) => self.counted = Counted::AtMost,
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

/// An operation in words.
pub(super) fn word(operation: Option<KernelOp>) -> &'static str {
    operation.map_or("?", KernelOp::words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(name: &str, bits: u32, operation: KernelOp) -> Finished {
        let method = json!({ "name": name });
        Finished {
            method: method.as_object().cloned().expect("an object"),
            bits: Some(bits),
            operation: Some(operation),
            bytes: 1000,
            zeros: Some(0.25),
            additions: 81_000_000,
            shifts: 80_000_000,
            sign_flips: 80_000_000,
            multiplications: 1_000_000,
            ..Finished::default()
        }
    }

    #[test]
    fn an_older_record_is_corrected_as_far_as_it_goes() {
        let of = |name, bits, operation| Cost::of(&record(name, bits, operation));
        let inq = of("inq", 2, KernelOp::ShiftSignFlip);
        assert_eq!((word(inq.operation), inq.shifts), ("sign flip", 0.0));
        let three = of("inq", 3, KernelOp::ShiftSignFlip);
        assert_eq!(
            (word(three.operation), three.shifts),
            ("shift sign flip", 8e7)
        );
        let lqnet = [2, 3, 4].map(|bits| of("lqnet", bits, KernelOp::SumOfSignFlips).bytes);
        assert_eq!(lqnet, [1000 + 5376, 1000 + 8064, 1000 + 10752]);
        // Three of four of half of the flips.
        let ttq = of("ttq", 2, KernelOp::SumOfSignFlips);
        assert_eq!(ttq.bytes, 1000 + 144);
        assert_eq!(ttq.millions()[0], "about 31.00");
        assert_eq!(ttq.millions()[2], "about 30.00");
        let apot = of("apot", 4, KernelOp::SumOfTwoShifts);
        assert_eq!(
            apot.millions(),
            ["at most 81.00", "at most 80.00", "at most 80.00", "1.00"]
        );
    }

    #[test]
    fn a_record_with_terms_is_taken_as_it_is() {
        let mut new = record("ttq", 2, KernelOp::SumOfSignFlips);
        new.terms = Some(200_000);
        let cost = Cost::of(&new);
        assert_eq!((cost.bytes, cost.millions()[0].as_str()), (1000, "81.00"));
    }
}
