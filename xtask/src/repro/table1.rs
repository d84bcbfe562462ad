//! Table 1 on CIFAR-10: every method on ResNet-20, with one recipe file each.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Plan, Row};
use crate::bench::page::date_of;

pub(super) const PLAN: Plan = Plan {
    name: "table1-cifar10",
    rows: ROWS,
    float: "fp32",
    page,
};

const fn row(name: &'static str, paper: &'static str, published: &'static str) -> Row {
    Row {
        name,
        paper,
        from_float: false,
        only_f32: false,
        published,
    }
}

const fn pretrained(name: &'static str, paper: &'static str, published: &'static str) -> Row {
    Row {
        from_float: true,
        ..row(name, paper, published)
    }
}

/// The paper's rows in its order, then those it does not have. Figures are top-1 in %, weights alone unless
/// said.
const ROWS: &[Row] = &[
    row("fp32", "FP32", "91.79 (DeepShift's repository)"),
    pretrained(
        "ttq-2bit",
        "TTQ",
        "91.13 (ternarynet's repository, pre-activation network)",
    ),
    row("lqnet-2bit", "LQ-Net", "91.8 (its paper; not checked)"),
    row("lqnet-3bit", "LQ-Net", "92.0 (its paper; not checked)"),
    row("lqnet-4bit", "LQ-Net", ""),
    row("bwn-1bit", "BWN", "90.3 (csyhhu's collection)"),
    row("hwgq-1bit", "HWGQ", ""),
    pretrained("bwhn-1bit", "BWHN", ""),
    row("irnet-1bit", "IR-Net", "90.8 (its repository, 400 epochs)"),
    row("twn", "TWN", "89.79 (a third party, 90 epochs)"),
    Row {
        only_f32: true,
        ..pretrained("lrnet-2bit", "LR-Net", "")
    },
    row("sq-2bit", "SQ-TWN", ""),
    pretrained("inq-2bit", "INQ", ""),
    pretrained("inq-3bit", "INQ", ""),
    pretrained("inq-4bit", "INQ", ""),
    pretrained("inq-5bit", "INQ", ""),
    row("deepshift_q-6bit", "DeepShift-Q", ""),
    row("deepshift_ps-6bit", "DeepShift-PS", ""),
    row("s3-2bit", "S3", "over 91 (the paper, 150 epochs)"),
    row("s3-3bit", "S3", ""),
    row("s3-4bit", "S3", ""),
    row("s3-2bit-low_variance", "", ""),
    row("s3-3bit-low_variance", "", ""),
    row("s3-4bit-low_variance", "", ""),
    row("staircase-3bit", "Table 5", ""),
    row("twn-filter-2bit", "", ""),
    row("binary_connect-1bit", "", ""),
    row("deepshift_q-5bit", "", "89.85 (its repository, all layers)"),
    row("deepshift_q-4bit", "", ""),
    row("deepshift_q-3bit", "", ""),
    row("deepshift_q-2bit", "", ""),
    row(
        "deepshift_ps-5bit",
        "",
        "88.84 (its repository, all layers)",
    ),
    row("deepshift_ps-4bit", "", ""),
    row("deepshift_ps-3bit", "", ""),
    row("deepshift_ps-2bit", "", ""),
    row("denseshift-2bit", "", ""),
    row("denseshift-3bit", "", ""),
    row("denseshift-4bit", "", ""),
    pretrained("apot-2bit", "", "90.96 (its repository, activations too)"),
    pretrained("apot-3bit", "", "92.49 (its repository, activations too)"),
    pretrained("apot-4bit", "", "92.45 (its repository, activations too)"),
    pretrained("apot-5bit", "", ""),
    row("shiftcnn-8bit", "", ""),
];

/// What the columns are, before the tables.
const INTRODUCTION: &str = "\
# Table 1 on CIFAR-10, ResNet-20

Written by `cargo xtask repro table1-cifar10`, from the records of the runs in table1-cifar10.jsonl; `--check` compares.
Every row is one recipe, `xtask/experiments/cifar10/resnet20-ROW.toml`, which says where its settings come from: its
original's optimizer and schedule, scaled to the epochs of the table. The first convolution, the classifier and batch norms
are in full precision in every row. Accuracy is that of the last epoch on the 10,000 test images; no epoch, seed or sample
was chosen on them. The images are a JPEG copy of CIFAR-10, which costs every method alike: read a row against `fp32`
of its table, not against the published figure, which had 90 to 400 epochs.

- *starts from*: `random`, or the table's own `fp32` run of the same seed, whose epochs come on top.
- *test top-1*: mean over the seeds, and the smallest and largest where there are several.
- *s an epoch*: training alone, the fastest epoch of any seed; other work shared the machine, so that only large
  differences mean anything.
- *bytes*: weights packed at their bits, biases, batch norms. *adds, shifts, flips, multiplications*: millions in one
  inference, batch norms included (docs/ARCHITECTURE.md, `cost.rs`).
";

fn page(rows: &[Row], records: &[Value]) -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut budgets: Vec<u64> = records
        .iter()
        .filter_map(|r| r["epochs"].as_u64())
        .collect();
    budgets.sort_unstable();
    budgets.dedup();
    for epochs in budgets {
        let of_budget: Vec<&Value> = records.iter().filter(|r| r["epochs"] == epochs).collect();
        let _ = writeln!(page, "\n## {epochs} epochs\n");
        table(&mut page, rows, &of_budget);
        origins(&mut page, rows, &of_budget);
    }
    page
}

/// The records of a row, in the order of the seeds.
fn of_row<'a>(row: &Row, records: &[&'a Value]) -> Vec<&'a Value> {
    let experiment = row.experiment();
    let mut found: Vec<&Value> = records
        .iter()
        .copied()
        .filter(|r| r["experiment"] == experiment)
        .collect();
    found.sort_by_key(|r| r["seed"].as_u64());
    found
}

fn table(page: &mut String, rows: &[Row], records: &[&Value]) {
    page.push_str(
        "| row | paper's row | bits | kernel operation | starts from | test top-1 | n | published, ResNet-20 | s an epoch | bytes | adds | shifts | flips | multiplications |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let found = of_row(row, records);
        let failed = found.iter().find_map(|r| r["error"].as_str());
        let done: Vec<&Value> = found
            .iter()
            .copied()
            .filter(|r| r.get("error").is_none())
            .collect();
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let (paper, published) = (or_dash(row.paper), or_dash(row.published));
        let name = row.name;
        let Some(first) = done.first() else {
            let why = failed.map_or("not run yet".to_owned(), |e| e.replace('|', "/"));
            let _ = writeln!(
                page,
                "| {name} | {paper} | | | | {why} | | {published} | | | | | | |"
            );
            continue;
        };
        let seeds = match found.len() - done.len() {
            0 => done.len().to_string(),
            n => format!("{}, {n} diverged", done.len()),
        };
        let accuracies: Vec<f64> = done.iter().filter_map(|r| last_top1(r)).collect();
        let start = if first["init_from"].is_null() {
            "random"
        } else {
            "fp32"
        };
        // By the rate: the seconds of an epoch that was interrupted are those of its last sitting.
        let rates = done.iter().flat_map(|r| numbers(&r["images_per_second"]));
        let images = first["data"]["train_images"].as_f64().unwrap_or(f64::NAN);
        let seconds = images / rates.fold(0.0, f64::max);
        let millions = |key: &str| format!("{:.2}", first[key].as_f64().unwrap_or(f64::NAN) / 1e6);
        let _ = writeln!(
            page,
            "| {name} | {paper} | {} | {} | {start} | {} | {} | {published} | {seconds:.0} | {} | {} | {} | {} | {} |",
            first["bits"],
            first["operation"].as_str().unwrap_or("?").replace('_', " "),
            spread(&accuracies),
            seeds,
            first["bytes"],
            millions("additions"),
            millions("shifts"),
            millions("sign_flips"),
            millions("multiplications"),
        );
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

/// In %.
fn last_top1(record: &Value) -> Option<f64> {
    numbers(&record["test_top1"]).last().map(|v| 100.0 * v)
}

/// `81.26 %`, or `81.26 % (80.90 .. 81.60)` of several.
fn spread(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (least, most) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), &v| {
            (l.min(v), m.max(v))
        });
    if values.len() < 2 {
        format!("{mean:.2} %")
    } else {
        format!("{mean:.2} % ({least:.2} .. {most:.2})")
    }
}

/// Where the rows were made: a line for each machine, revision, type and day.
fn origins(page: &mut String, rows: &[Row], records: &[&Value]) {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        for r in of_row(row, records)
            .into_iter()
            .filter(|r| r.get("error").is_none())
        {
            let word = |key: &str| r[key].as_str().unwrap_or("?");
            let dirty = if r["git_dirty"] == true {
                ", with changes"
            } else {
                ""
            };
            let place = format!(
                "{}, {} threads, {}, activations {}, revision {}{dirty}, begun on {}",
                word("cpu"),
                r["threads"],
                word("isa"),
                word("dtype"),
                word("git_revision").get(..12).unwrap_or("?"),
                date_of(r["began_unix"].as_u64().unwrap_or(0)),
            );
            let seed = &r["seed"];
            groups
                .entry(place)
                .or_default()
                .push(format!("{} ({seed})", row.name));
        }
    }
    page.push_str("\nRows with their seeds, by where they were trained:\n\n");
    for (place, names) in groups {
        let _ = writeln!(page, "- {place}: {}.", names.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(name: &str, seed: u32, top1: f64) -> Value {
        json!({
            "run": format!("cifar10/resnet20-{name}-0-s{seed}"),
            "experiment": format!("cifar10/resnet20-{name}"),
            "seed": seed, "epochs": 10, "dtype": "bf16", "bits": 2, "operation": "sign_flip",
            "init_from": null, "test_top1": [0.1, top1], "images_per_second": [90.0, 135.0],
            "data": {"train_images": 1000},
            "bytes": 1000, "multiplications": 1_000_000, "additions": 2_500_000, "shifts": 0,
            "sign_flips": 0, "cpu": "C", "threads": 2, "isa": "avx2", "git_revision": "0123456789abcdef",
            "git_dirty": false, "began_unix": 0,
        })
    }

    #[test]
    fn seeds_become_mean_and_spread_and_missing_rows_say_so() {
        let failed = json!({
            "experiment": "cifar10/resnet20-ttq-2bit", "seed": 1, "epochs": 10, "error": "training diverged | at once",
        });
        let third = json!({
            "experiment": "cifar10/resnet20-twn", "seed": 3, "epochs": 10, "error": "training diverged",
        });
        let records = [record("twn", 2, 0.52), failed, record("twn", 1, 0.5), third];
        let page = page(ROWS, &records);
        assert!(
            page.contains("| 2 | sign flip | random | 51.00 % (50.00 .. 52.00) | 2, 1 diverged |"),
            "{page}"
        );
        assert!(
            page.contains("| 7 | 1000 | 2.50 | 0.00 | 0.00 | 1.00 |"),
            "{page}"
        );
        assert!(
            page.contains("| ttq-2bit | TTQ | | | | training diverged / at once |"),
            "{page}"
        );
        assert!(
            page.contains("| s3-3bit | S3 | | | | not run yet |"),
            "{page}"
        );
        assert!(page.contains("revision 0123456789ab, begun on 1970-01-01: twn (1), twn (2)."));
    }
}
