//! Table 1 on CIFAR-10: every method on ResNet-20, with one recipe file each.

use serde_json::{Value, json};

use super::page::{Page, Runs, numbers, zeros};
use super::plan::{Plan, Row};
use super::sample::{mean, spread};

pub(super) const PLAN: Plan = Plan {
    name: "table1-cifar10",
    rows: ROWS,
    epochs: [&[10], &[200]],
    seeds: 1,
    layers: &[],
    page,
};

const fn row(name: &'static str, paper: &'static str, published: &'static str) -> Row {
    Row {
        paper,
        published,
        ..Row::of(name)
    }
}

const fn pretrained(name: &'static str, paper: &'static str, published: &'static str) -> Row {
    Row {
        start: Some("fp32"),
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
    row("s3-2bit-authors", "S3", "over 91 (the paper, 150 epochs)"),
    row("s3-3bit-authors", "S3", ""),
    row("s3-4bit-authors", "S3", ""),
    row("s3-2bit", "S3, narrow start", ""),
    row("s3-3bit", "S3, narrow start", ""),
    row("s3-4bit", "S3, narrow start", ""),
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

const COLUMNS: &[&str] = &[
    "row",
    "paper's row",
    "bits",
    "kernel operation",
    "starts from",
    "test top-1",
    "zeros",
    "n",
    "published, ResNet-20",
    "s an epoch",
    "bytes",
    "adds",
    "shifts",
    "flips",
    "multiplications",
];

/// What the columns are, before the tables.
const INTRODUCTION: &str = "\
# Table 1 on CIFAR-10, ResNet-20

Written by `cargo xtask repro table1-cifar10`, from the records of the runs in table1-cifar10.jsonl; `--check` compares.
Every row is one recipe, `xtask/experiments/cifar10/resnet20-ROW.toml`, which says where its settings come from: its
original's optimizer and schedule, scaled to the epochs of the table. The first convolution, the classifier and batch norms
are in full precision in every row. Accuracy is that of the last epoch on the 10,000 test images; no epoch, seed or sample
was chosen on them. Where the images are a JPEG copy of CIFAR-10, it costs every method alike: read a row against `fp32`
of its table, not against the published figure, which had 90 to 400 epochs.

- *starts from*: `random`, or the table's own `fp32` run of the same seed, whose epochs come on top.
- *test top-1*: mean over the seeds, and the smallest and largest where there are several; *zeros*, of the quantized
  weights, likewise.
- *s an epoch*: training alone, the fastest epoch of any seed, on the row's machine and instructions, listed at the end
  (`avx512` with bf16 is AVX512-BF16); other work shared the machines, so that only large differences on one of them mean
  anything.
- *bytes*: weights packed at their bits, biases, batch norms. *adds, shifts, flips, multiplications*: millions in one
  inference, batch norms included (docs/ARCHITECTURE.md, `cost.rs`).
";

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        table(page, runs);
        page.pictures(
            plan,
            "Accuracy over packed size, by the operation of the quantized layers",
            scatter(runs).into_iter().collect(),
        );
    })
}

/// The mean accuracy of every finished row over the bytes of its packed weights.
fn scatter(runs: &Runs<'_>) -> Option<Value> {
    let point = |row: &Row| {
        let first = runs.of(row).first().copied()?;
        let kib = first["bytes"].as_f64()? / 1024.0;
        let top1 = mean(&runs.top1(row.name)) / 100.0;
        let operation = first["operation"].as_str()?.replace('_', " ");
        Some(json!({"name": row.name, "group": operation, "x": kib, "y": top1}))
    };
    let points: Vec<Value> = runs.rows.iter().filter_map(point).collect();
    (!points.is_empty()).then(|| {
        json!({
            "file": format!("size-{}", runs.epochs), "kind": "labelled_points", "title": "", "size": [720, 480],
            "x": {"label": "packed size (KiB)", "scale": "log"}, "y": {"label": "test top-1", "scale": "percent"},
            "points": points,
        })
    })
}

fn table(page: &mut Page, runs: &Runs<'_>) {
    page.row(COLUMNS);
    page.row(&["---"; COLUMNS.len()]);
    for row in runs.rows {
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let (paper, published) = (or_dash(row.paper), or_dash(row.published));
        let done = runs.of(row);
        let Some(first) = done.first() else {
            let mut cells = vec![String::new(); COLUMNS.len()];
            cells[0] = row.name.to_owned();
            cells[1] = paper;
            cells[5] = runs.absence(row);
            cells[8] = published;
            page.row(&cells);
            continue;
        };
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
        page.row(&[
            row.name.to_owned(),
            paper,
            first["bits"].to_string(),
            first["operation"].as_str().unwrap_or("?").replace('_', " "),
            start.to_owned(),
            spread(&runs.top1(row.name)),
            spread(&zeros(&done)),
            runs.seeds(row),
            published,
            format!("{seconds:.0}"),
            first["bytes"].to_string(),
            millions("additions"),
            millions("shifts"),
            millions("sign_flips"),
            millions("multiplications"),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, seed: u32, top1: f64) -> Value {
        json!({
            "run": format!("cifar10/resnet20-{name}-0-s{seed}"),
            "experiment": format!("cifar10/resnet20-{name}"), "row": name,
            "seed": seed, "epochs": 10, "dtype": "bf16", "bits": 2, "operation": "sign_flip",
            "init_from": null, "zeros": 0.25, "test_top1": [0.1, top1], "images_per_second": [90.0, 135.0],
            "data": {"train_images": 1000},
            "bytes": 1000, "multiplications": 1_000_000, "additions": 2_500_000, "shifts": 0,
            "sign_flips": 0, "cpu": "C", "threads": 2, "isa": "avx2", "git_revision": "0123456789abcdef",
            "git_dirty": false, "began_unix": 0,
        })
    }

    #[test]
    fn seeds_become_mean_and_spread_and_missing_rows_say_so() {
        let failed = json!({
            "row": "ttq-2bit", "seed": 1, "epochs": 10, "error": "training diverged | at once",
        });
        let third = json!({
            "row": "twn", "seed": 3, "epochs": 10, "error": "training diverged",
        });
        let records = [record("twn", 2, 0.52), failed, record("twn", 1, 0.5), third];
        let page = page(&PLAN, &records).text;
        assert!(
            page.contains("| 2 | sign flip | random | 51.00 % (50.00 .. 52.00) | 25.00 % (25.00 .. 25.00) | 2, 1 diverged |"),
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
            page.contains("| s3-3bit-authors | S3 | | | | not run yet |"),
            "{page}"
        );
        assert!(page.contains("revision 0123456789ab, begun on 1970-01-01: twn (1), twn (2)."));
    }
}
