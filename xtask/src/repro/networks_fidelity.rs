//! The rows of [`super::networks`], cut short, and what every file that they become answers: that
//! files and programs agree needs no accuracy.

use s3_metrics::finished::Answered;

use super::networks::{DATA, FILES_ON, NETWORKS, ROWS as TRAINED};
use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::record::Record;

const ROWS: &[Row] = &{
    let mut rows = [const { Row::of("") }; TRAINED.len()];
    let mut i = 0;
    while i < rows.len() {
        rows[i] = Row {
            name: TRAINED[i].name,
            settings: &SETTINGS[i],
            only_f32: TRAINED[i].only_f32,
            files_on: FILES_ON[i],
            ..Row::of(TRAINED[i].recipe)
        };
        i += 1;
    }
    rows
};

/// A row's data and bits, and what cuts it short: small batches, so that batch norms see many.
static SETTINGS: [[&str; 5]; TRAINED.len()] = {
    let short = [
        "data.train_limit=2000",
        "data.test_limit=1000",
        "batch_size=32",
    ];
    let mut settings = [[""; 5]; TRAINED.len()];
    let mut i = 0;
    while i < settings.len() {
        let [data, bits] = TRAINED[i].settings else {
            panic!("expected data and bits")
        };
        settings[i] = [*data, *bits, short[0], short[1], short[2]];
        i += 1;
    }
    settings
};

pub(super) const PLAN: Plan = Plan {
    name: "networks-fidelity",
    rows: ROWS,
    epochs: [&[1], &[1]],
    seeds: 1,
    layers: &[],
    page,
};

const INTRODUCTION: &str = "\
# What the networks' files answer

Written by `cargo xtask repro networks-fidelity`, from the records of the runs in networks-fidelity.jsonl; `--check` compares. The
networks of networks.md, with 2 and 3 bits, on MNIST and CIFAR-10, one epoch of the first 2,000 training images each, in batches of
32: that files and programs agree needs no accuracy. Each is frozen, written as every kind of file and asked the first test images
by `s3 fidelity RUN --json --calibration mse --images N --python PYTHON --cc cc`: as many as the last column says, fewer of two
networks whose C takes long. Every answer is beside that of the trained network, as `s3 eval` gives it.

- *f32*, *ONNX int8*, *ONNX int4*: answers that differ, of the packed file in this project's runtime and of ONNX files, which passed
  onnx's full checker, in onnxruntime. *Score error*: the largest difference of a score in onnxruntime from the runtime's, over the
  largest score.
- *u8*, *u8-shift*: answers of the 8-bit networks that differ, and their top-1 less the trained network's, in points. Ranges are those
  of least squared error on the first 1,000 of the training images.
- *C scores*: scores of the C files of both 8-bit networks, compiled with -O2 -std=c99 -Wall -Werror, from the image's bytes on, that are
  other bits than the runtime's.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        for (data, title) in DATA {
            page.line(&format!("\n{title}:\n"));
            page.head(&[
                "network",
                "bits",
                "top-1",
                "f32",
                "ONNX int8",
                "ONNX int4",
                "score error",
                "u8",
                "u8-shift",
                "C scores",
                "images",
            ]);
            for network in NETWORKS {
                for bits in [2, 3] {
                    page.row(&line(runs, network, data, bits));
                }
            }
        }
        page.line(&format!("\nPrograms: {}.", programs(runs)));
    })
}

fn line(runs: &Runs<'_>, network: &str, data: &str, bits: u32) -> Vec<String> {
    let record = runs.named(&format!("{network} {data} {bits}"));
    let files = Files(record.first().map_or(&[], |r| r.files.as_slice()));
    let mut cells = vec![network.to_owned(), bits.to_string()];
    cells.push(files.said("trained", |f| format!("{:.1}", 100.0 * f.top1)));
    let others = |f: &Answered| f.other_answers.to_string();
    cells.extend(["f32", "onnx int8", "onnx int4"].map(|name| files.said(name, others)));
    cells.push(files.score_error());
    let beside = |f: &Answered| {
        let points = 100.0 * f.against_trained;
        format!("{} ({points:+.1})", f.other_answers)
    };
    cells.extend(["u8, mse", "u8-shift, mse"].map(|name| files.said(name, beside)));
    cells.push(files.c_scores());
    cells.push(files.said("trained", |f| f.images.to_string()));
    cells
}

/// What the files of a run answer.
struct Files<'a>(&'a [Answered]);

impl Files<'_> {
    /// What `say` makes of the file of this name, or a dash.
    fn said(&self, name: &str, say: impl Fn(&Answered) -> String) -> String {
        let found = self.0.iter().find(|f| f.network == name);
        found.map_or("-".to_owned(), say)
    }

    /// The largest of all files.
    fn score_error(&self) -> String {
        let errors = self.0.iter().filter_map(|f| f.score_error);
        let largest = errors.reduce(f64::max);
        largest.map_or("-".to_owned(), |error| format!("{error:.1e}"))
    }

    /// Those that differ, of all that C gives.
    fn c_scores(&self) -> String {
        let pairs = self.0.iter().filter_map(|f| f.other_scores);
        let sum = pairs.reduce(|[other, all], [o, a]| [other + o, all + a]);
        sum.map_or("-".to_owned(), |[other, all]| format!("{other} of {all}"))
    }
}

/// The programs that ran files, with their versions.
fn programs(runs: &Runs<'_>) -> String {
    let files = runs.records.iter().flat_map(|r| &r.files);
    let names = files.filter_map(|f| f.program.as_deref());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}
