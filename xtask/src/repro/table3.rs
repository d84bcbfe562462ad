//! Table 3 on CIFAR-10: the coefficient of the dense-weight penalty and how it decays.

use s3_metrics::paired::{mean, spread};

use super::fig5::{ablation, curves};
use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::record::Record;

const RECIPE: &str = "s3-3bit-authors";
const NARROW_RECIPE: &str = "s3-3bit";

pub(super) const PLAN: Plan = Plan {
    name: "table3-cifar10",
    rows: ROWS,
    epochs: [&[4], &[200]],
    seeds: 1,
    layers: &[],
    page,
};

const LINEAR: &str = "alpha.schedule=\"linear\"";
const COSINE: &str = "alpha.schedule=\"cosine\"";

/// Each row with the paper's top-1 on ResNet-18 and ImageNet, then the same rows from the narrow
/// start.
macro_rules! rows {
    ($($name:literal, $settings:expr, $paper:literal;)*) => {
        const ROWS: &[Row] = &[
            $(Row { paper: $paper, ..Row::with($name, RECIPE, $settings) },)*
            $(Row {
                only_full: true,
                paper: $paper,
                ..Row::with(concat!("narrow ", $name), NARROW_RECIPE, $settings)
            },)*
        ];
        /// The rows of the narrow start.
        pub(super) const NARROW: &[&str] = &[$(concat!("narrow ", $name)),*];
    };
}

rows! {
    "none 1e-2", &["alpha.start=1e-2"], "69.78";
    "none 1e-3", &["alpha.start=1e-3"], "69.85";
    "none 1e-4", &["alpha.start=1e-4"], "69.84";
    "none 1e-5", &["alpha.start=1e-5"], "69.82";
    "none 1e-6", &["alpha.start=1e-6"], "69.83";
    "linear 1e-2", &[LINEAR, "alpha.start=1e-2"], "69.91";
    "linear 1e-3", &[LINEAR, "alpha.start=1e-3"], "69.68";
    "linear 1e-4", &[LINEAR, "alpha.start=1e-4"], "69.74";
    "linear 1e-5", &[LINEAR, "alpha.start=1e-5"], "69.62";
    "linear 1e-6", &[LINEAR, "alpha.start=1e-6"], "66.70";
    "cosine 1e-2", &[COSINE, "alpha.start=1e-2"], "69.91";
    "cosine 1e-3", &[COSINE, "alpha.start=1e-3"], "69.85";
    "cosine 1e-4", &[COSINE, "alpha.start=1e-4"], "69.85";
    "cosine 1e-5", &[COSINE, "alpha.start=1e-5"], "69.57";
    "cosine 1e-6", &[COSINE, "alpha.start=1e-6"], "65.82";
}

const INTRODUCTION: &str = "\
# Table 3 on CIFAR-10: coefficient and decay of the dense-weight penalty

Written by `cargo xtask repro table3-cifar10`, from the records of the runs in table3-cifar10.jsonl; `--check` compares.
The recipe is `xtask/experiments/cifar10/resnet20-s3-3bit-authors.toml` (S3 with 3 bits as the authors start it). The paper's figures
are top-1 of ResNet-18 on ImageNet. Its claims are that accuracy hardly depends on alpha and on the decay (13 of its 15 figures
lie within 0.35 points, so that their order says nothing), but for alpha 1e-6 with a decay, which loses 3 to 4 points.
Rows `narrow` are those of `resnet20-s3-3bit.toml`, from the narrow start.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    Page::new(INTRODUCTION)
        .with_differences()
        .sections(plan, records, |page, runs| {
            page.line("Ours, and the paper's in brackets, in %:\n");
            page.head(&["decay", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]);
            for decay in [
                "none",
                "linear",
                "cosine",
                "narrow none",
                "narrow linear",
                "narrow cosine",
            ] {
                let mut cells = vec![decay.to_owned()];
                let rows = runs.rows.iter().filter(|r| r.name.starts_with(decay));
                let rows: Vec<&Row> = rows.filter(|r| runs.shows(r)).collect();
                if rows.is_empty() {
                    continue;
                }
                for row in rows {
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

/// The spread over the rows that the paper has alike, and the two cells that it has apart; of each
/// start.
fn claims(page: &mut Page, runs: &Runs<'_>) {
    const APART: [&str; 2] = ["linear 1e-6", "cosine 1e-6"];
    for start in ["", "narrow "] {
        let of_start = |row: &&Row| row.name.starts_with("narrow") != start.is_empty();
        let apart = |row: &&Row| APART.iter().any(|name| row.name.ends_with(name));
        let alike = runs.rows.iter().filter(|r| of_start(r) && !apart(r));
        let means: Vec<f64> = alike
            .map(|row| runs.top1(row.name))
            .filter(|values| !values.is_empty())
            .map(|values| mean(&values))
            .collect();
        if means.is_empty() {
            continue;
        }
        page.line(&format!(
            "\nThe {} {start}rows that the paper has within 0.35 points: {}. Alpha 1e-6 with a \
             decay and without:\n",
            means.len(),
            spread(&means)
        ));
        for name in APART {
            let [decay, none] = [name, "none 1e-6"].map(|n| format!("{start}{n}"));
            page.line(&format!("- {}.", runs.comparison(&decay, &none)));
        }
    }
}
