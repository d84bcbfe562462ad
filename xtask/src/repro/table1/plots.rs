//! The accuracy of every row as marks one below another, a plot for each kernel operation.

use s3_metrics::cost::KernelOp;
use s3_metrics::paired::{mean, range};
use s3_metrics::spec::{Axis, Shown, Spec, Valued};

use super::super::page::{Page, Runs};
use super::super::plan::{Plan, Row};
use super::cost::{Cost, word};

/// A row that is farther below full precision, in points, is named in the caption instead: one such
/// row would press the others together.
const FARTHEST: f64 = 25.0;

/// In the order of the paper's first column; what multiplies is the dashed line.
const OPERATIONS: [KernelOp; 4] = [
    KernelOp::SumOfSignFlips,
    KernelOp::SignFlip,
    KernelOp::ShiftSignFlip,
    KernelOp::SumOfTwoShifts,
];

/// Draws the rows, the best above.
pub(in super::super) fn plots(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
    let mut all: Vec<Drawn<'_>> = runs
        .rows
        .iter()
        .filter_map(|row| Drawn::of(row, runs))
        .collect();
    let float = runs.top1("fp32");
    let float = (!float.is_empty()).then(|| mean(&float));
    let least = float.unwrap_or(f64::NEG_INFINITY) - FARTHEST;
    let far = all.iter().filter(|d| d.mean < least);
    let far: Vec<String> = far
        .map(|d| format!("{} ({:.2} %)", d.name, d.mean))
        .collect();
    all.retain(|d| d.mean >= least);
    all.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    let ends = all.iter().flat_map(|d| [d.low, d.high]).chain(float);
    let (low, high) = range(ends);
    let room = (0.05 * (high - low)).max(0.5);
    let mut drawn = Vec::new();
    for operation in OPERATIONS {
        let of_operation = all.iter().filter(|d| d.operation == Some(operation));
        let rows: Vec<Valued> = of_operation.map(Drawn::valued).collect();
        if rows.is_empty() {
            continue;
        }
        let title = word(Some(operation));
        let x = Axis::percent("test top-1")
            .between((low - room) / 100.0, (high + room) / 100.0)
            .marked(&float.map(|f| f / 100.0).into_iter().collect::<Vec<_>>());
        drawn.push(Spec {
            file: format!("{}-{}", title.replace(' ', "-"), runs.epochs),
            title: title.to_owned(),
            size: Some((480, 250)),
            shown: Shown::ValueRows { x, rows },
        });
    }
    let left_out = match far.is_empty() {
        true => String::new(),
        false => format!("; too far to the left to be drawn: {}", far.join(", ")),
    };
    let caption = format!(
        "Accuracy of the rows of each kernel operation, the mean of the seeds and a line from the \
         smallest to the largest; dashed: fp32{left_out}"
    );
    page.plots(plan, &caption, drawn);
}

struct Drawn<'a> {
    name: &'a str,
    operation: Option<KernelOp>,
    mean: f64,
    low: f64,
    high: f64,
}

impl<'a> Drawn<'a> {
    fn of(row: &'a Row, runs: &Runs<'_>) -> Option<Self> {
        let first = runs.of(row).first().copied()?;
        let top1 = runs.top1(row.name);
        let (low, high) = range(top1.iter().copied());
        (!top1.is_empty()).then(|| Self {
            name: row.name,
            operation: Cost::of(first).operation,
            mean: mean(&top1),
            low,
            high,
        })
    }

    fn valued(&self) -> Valued {
        let ends = (self.low < self.high).then_some((self.low / 100.0, self.high / 100.0));
        Valued::new(self.name, word(self.operation), self.mean / 100.0, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Record;
    use super::super::PLAN;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_that_would_press_the_others_together_is_in_the_caption() {
        let record = |row: &str, operation: &str, top1: f64| {
            Record::of(json!({
                "row": row, "seed": 1, "epochs": 10, "operation": operation, "test_top1": [top1],
            }))
        };
        let records = [
            record("fp32", "multiply", 0.81),
            record("inq-2bit", "sign_flip", 0.38),
            record("twn", "sign_flip", 0.80),
            record("irnet-1bit", "sign_flip", 0.82),
            record("s3-3bit", "shift_sign_flip", 0.80),
        ];
        let runs = Runs::by_epochs(&PLAN, &records).remove(0);
        let mut page = Page::new("");
        plots(&PLAN, &mut page, &runs);
        assert!(
            page.text
                .contains("too far to the left to be drawn: inq-2bit (38.00 %)")
        );
        let rows = page.plots.iter().map(|plot| match &plot.shown {
            Shown::ValueRows { x, rows } => (x, rows),
            other => panic!("{other:?}"),
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), 2);
        let names: Vec<&str> = rows[0].1.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["irnet-1bit", "twn"]);
        assert_eq!(rows[1].0.marks, [0.81]);
    }
}
