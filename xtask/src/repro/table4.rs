//! Table 4 on CIFAR-10 with Figures 6 and 7: what more epochs give.

use s3_metrics::paired::spread;

use super::fig5::curves;
use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::record::Record;

const S3: &str = "s3-3bit-authors";
const NARROW: &str = "s3-3bit";
const FLOAT: &str = "fp32";

pub(super) const PLAN: Plan = Plan {
    name: "table4-cifar10",
    rows: &[Row::of(S3), Row::of(NARROW), Row::of(FLOAT)],
    epochs: [&[4, 10, 30], &[90, 120, 150, 180, 200]],
    seeds: 1,
    layers: &[],
    page,
};

const INTRODUCTION: &str = "\
# Table 4 on CIFAR-10: the number of epochs

Written by `cargo xtask repro table4-cifar10`, from the records of the runs in table4-cifar10.jsonl; `--check` compares.
Every run anneals its learning rate over its own epochs. The rows are the recipes
`xtask/experiments/cifar10/resnet20-ROW.toml`: S3 with 3 bits as the authors start it and from a narrow start, and full
precision. The curves are those of the paper's Figures 6 and 7. The paper's claim is that S3 gains by more epochs and then
closes the gap to full precision; its Table 4, ImageNet, top-1 in %:

| epochs | 90 | 120 | 150 | 180 | 200 | full precision |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| ResNet-18 | 68.45 | 69.24 | 69.28 | 69.63 | 69.83 | 69.6 |
| ResNet-50 | 74.67 | 75.47 | 75.76 | - | 75.75 | 76.00 |

Ours:
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    let mut page = Page::new(INTRODUCTION);
    let budgets = Runs::by_epochs(plan, records);
    if !budgets.is_empty() {
        page.line("");
        page.head(&[
            "epochs",
            S3,
            NARROW,
            FLOAT,
            "authors' start less fp32",
            "narrow less fp32",
            "pairs",
        ]);
        for runs in &budgets {
            let top1 = |name: &str| spread(&runs.top1(name));
            let [authors, narrow] = [S3, NARROW].map(|name| runs.difference(name, FLOAT));
            let pairs = [&authors, &narrow].map(|d| d.pairs.len().to_string());
            page.row(&[
                runs.epochs.to_string(),
                top1(S3),
                top1(NARROW),
                top1(FLOAT),
                authors.cell(),
                narrow.cell(),
                pairs.join(", "),
            ]);
        }
        page.line(
            "\nIn brackets: of an accuracy the smallest and the largest seed, of a \
                   difference its interval.",
        );
        gap(&mut page, &budgets);
    }
    let page = page.with_differences();
    page.sections(plan, records, |page, runs| {
        for name in [S3, NARROW] {
            page.line(&format!("- {}.", runs.comparison(name, FLOAT)));
        }
        curves(plan, page, runs);
    })
}

/// Whether more epochs close the gap to full precision, from the fewest to the most that have
/// pairs.
fn gap(page: &mut Page, budgets: &[Runs<'_>]) {
    for name in [S3, NARROW] {
        let gaps = budgets.iter().filter_map(|runs| {
            let difference = runs.difference(name, FLOAT);
            (!difference.pairs.is_empty())
                .then(|| format!("{} at {} epochs", difference.cell(), runs.epochs))
        });
        let gaps: Vec<String> = gaps.collect();
        if gaps.len() > 1 {
            page.line(&format!("\nThe gap of {name}: {}.", gaps.join(", ")));
        }
    }
}
