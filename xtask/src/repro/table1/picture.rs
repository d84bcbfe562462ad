//! The accuracy of every row as marks one below another, a picture for each kernel operation.

use serde_json::{Value, json};

use super::super::page::{Page, Runs};
use super::super::plan::{Plan, Row};
use super::super::sample::mean;
use super::cost::Cost;

/// A row that is farther below full precision, in points, is named in the caption instead: one such
/// row would press the others together.
const FARTHEST: f64 = 25.0;

/// In the order of the paper's first column; what multiplies is the dashed line.
const OPERATIONS: [&str; 4] = [
    "sum of sign flips",
    "sign flip",
    "shift sign flip",
    "sum of two shifts",
];

/// Draws the rows, the best above.
pub(in super::super) fn pictures(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
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
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    let room = (0.05 * (high - low)).max(0.5);
    let mut drawn = Vec::new();
    for operation in OPERATIONS {
        let of_operation = all.iter().filter(|d| d.operation == operation);
        let rows: Vec<Value> = of_operation.map(Drawn::json).collect();
        if rows.is_empty() {
            continue;
        }
        drawn.push(json!({
            "file": format!("{}-{}", operation.replace(' ', "-"), runs.epochs),
            "kind": "value_rows", "title": operation,
            "size": [480, 250],
            "x": {
                "label": "test top-1", "scale": "percent", "ends": [(low - room) / 100.0,
                (high + room) / 100.0],
                "marks": float.map(|f| f / 100.0).into_iter().collect::<Vec<_>>(),
            },
            "rows": rows,
        }));
    }
    let left_out = match far.is_empty() {
        true => String::new(),
        false => format!("; too far to the left to be drawn: {}", far.join(", ")),
    };
    let caption = format!(
        "Accuracy of the rows of each kernel operation, the mean of the seeds and a line from the \
         smallest to the largest; dashed: fp32{left_out}"
    );
    page.pictures(plan, &caption, drawn);
}

struct Drawn<'a> {
    name: &'a str,
    operation: String,
    mean: f64,
    low: f64,
    high: f64,
}

impl<'a> Drawn<'a> {
    fn of(row: &'a Row, runs: &Runs<'_>) -> Option<Self> {
        let first = runs.of(row).first().copied()?;
        let top1 = runs.top1(row.name);
        (!top1.is_empty()).then(|| Self {
            name: row.name,
            operation: Cost::of(first).operation.replace('_', " "),
            mean: mean(&top1),
            low: top1.iter().copied().fold(f64::INFINITY, f64::min),
            high: top1.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    fn json(&self) -> Value {
        let ends = (self.low < self.high).then_some([self.low / 100.0, self.high / 100.0]);
        json!({"name": self.name, "group": self.operation, "value": self.mean / 100.0,
            "ends": ends})
    }
}

#[cfg(test)]
mod tests {
    use super::super::PLAN;
    use super::*;

    #[test]
    fn a_row_that_would_press_the_others_together_is_in_the_caption() {
        let record = |row: &str, operation: &str, top1: f64| {
            json!({
                "row": row, "seed": 1, "epochs": 10, "operation": operation, "test_top1": [top1],
            })
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
        pictures(&PLAN, &mut page, &runs);
        assert!(
            page.text
                .contains("too far to the left to be drawn: inq-2bit (38.00 %)")
        );
        let names = |i: usize| -> Vec<String> {
            let rows = page.pictures[i]["rows"].as_array().expect("rows");
            rows.iter()
                .map(|r| r["name"].as_str().expect("a name").to_owned())
                .collect()
        };
        assert_eq!(page.pictures.len(), 2);
        assert_eq!(names(0), ["irnet-1bit", "twn"]);
        assert_eq!(page.pictures[1]["x"]["marks"], json!([0.81]));
    }
}
