//! Table 3 on CIFAR-10: the coefficient of the dense-weight penalty and how it decays.

use serde_json::Value;

use super::fig5::{ablation, curves};
use super::page::{Page, spread};
use super::plan::{Plan, Row};

const RECIPE: &str = "s3-3bit";

pub(super) const PLAN: Plan = Plan {
    name: "table3-cifar10",
    rows: ROWS,
    epochs: [&[4], &[200]],
    seeds: 1,
    layers: &[],
    page,
};

/// A row with the paper's top-1 on ResNet-18 and ImageNet.
const fn row(name: &'static str, settings: &'static [&'static str], paper: &'static str) -> Row {
    Row {
        paper,
        ..Row::with(name, RECIPE, settings)
    }
}

const LINEAR: &str = "alpha.schedule=\"linear\"";
const COSINE: &str = "alpha.schedule=\"cosine\"";

const ROWS: &[Row] = &[
    row("none 1e-2", &["alpha.start=1e-2"], "69.78"),
    row("none 1e-3", &["alpha.start=1e-3"], "69.85"),
    row("none 1e-4", &["alpha.start=1e-4"], "69.84"),
    row("none 1e-5", &["alpha.start=1e-5"], "69.82"),
    row("none 1e-6", &["alpha.start=1e-6"], "69.83"),
    row("linear 1e-2", &[LINEAR, "alpha.start=1e-2"], "69.91"),
    row("linear 1e-3", &[LINEAR, "alpha.start=1e-3"], "69.68"),
    row("linear 1e-4", &[LINEAR, "alpha.start=1e-4"], "69.74"),
    row("linear 1e-5", &[LINEAR, "alpha.start=1e-5"], "69.62"),
    row("linear 1e-6", &[LINEAR, "alpha.start=1e-6"], "66.70"),
    row("cosine 1e-2", &[COSINE, "alpha.start=1e-2"], "69.91"),
    row("cosine 1e-3", &[COSINE, "alpha.start=1e-3"], "69.85"),
    row("cosine 1e-4", &[COSINE, "alpha.start=1e-4"], "69.85"),
    row("cosine 1e-5", &[COSINE, "alpha.start=1e-5"], "69.57"),
    row("cosine 1e-6", &[COSINE, "alpha.start=1e-6"], "65.82"),
];

const INTRODUCTION: &str = "\
# Table 3 on CIFAR-10: coefficient and decay of the dense-weight penalty

Written by `cargo xtask repro table3-cifar10`, from the records of the runs in table3-cifar10.jsonl; `--check` compares.
The recipe is `xtask/experiments/cifar10/resnet20-s3-3bit.toml` (S3 with 3 bits as the authors start it). The paper's figures
are top-1 of ResNet-18 on ImageNet: compare the order of the rows, not the numbers. The images are a JPEG copy of CIFAR-10.
";

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        page.line("Ours, and the paper's in brackets, in %:\n");
        page.head(&["decay", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]);
        for decay in ["none", "linear", "cosine"] {
            let mut cells = vec![decay.to_owned()];
            for row in runs.rows.iter().filter(|r| r.name.starts_with(decay)) {
                cells.push(format!("{} [{}]", spread(&runs.top1(row.name)), row.paper));
            }
            page.row(&cells);
        }
        page.line("");
        ablation(page, runs);
        curves(plan, page, runs);
    })
}
