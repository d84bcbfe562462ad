//! Table 3 on CIFAR-10: the coefficient of the dense-weight penalty and how it decays.

use serde_json::Value;

use super::fig5::{ablation, curves};
use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::sample::{mean, spread};

const RECIPE: &str = "s3-3bit-authors";

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
The recipe is `xtask/experiments/cifar10/resnet20-s3-3bit-authors.toml` (S3 with 3 bits as the authors start it). The paper's figures
are top-1 of ResNet-18 on ImageNet. Its claims are that accuracy hardly depends on alpha and on the decay (13 of its 15 figures
lie within 0.35 points, so that their order says nothing), but for alpha 1e-6 with a decay, which loses 3 to 4 points.
";

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        page.line("Ours, and the paper's in brackets, in %:\n");
        page.head(&["decay", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]);
        for decay in ["none", "linear", "cosine"] {
            let mut cells = vec![decay.to_owned()];
            for row in runs.rows.iter().filter(|r| r.name.starts_with(decay)) {
                let ours = match runs.of(row).is_empty() {
                    true => runs.absence(row),
                    false => spread(&runs.top1(row.name)),
                };
                cells.push(format!("{ours} [{}]", row.paper));
            }
            page.row(&cells);
        }
        claims(page, runs);
        page.line("");
        ablation(page, runs);
        curves(plan, page, runs);
    })
}

/// The spread over the rows that the paper has alike, and the two cells that it has apart.
fn claims(page: &mut Page, runs: &Runs<'_>) {
    const APART: [&str; 2] = ["linear 1e-6", "cosine 1e-6"];
    let alike = runs.rows.iter().filter(|r| !APART.contains(&r.name));
    let means: Vec<f64> = alike
        .map(|row| runs.top1(row.name))
        .filter(|values| !values.is_empty())
        .map(|values| mean(&values))
        .collect();
    page.line(&format!(
        "\nThe {} rows that the paper has within 0.35 points: {}. Alpha 1e-6 with a decay and without:\n",
        means.len(),
        spread(&means)
    ));
    for name in APART {
        page.line(&format!("- {}.", runs.comparison(name, "none 1e-6")));
    }
}
