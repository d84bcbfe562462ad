//! Table 4 on CIFAR-10 with Figures 6 and 7: what more epochs give.

use serde_json::Value;

use super::fig5::curves;
use super::page::Page;
use super::plan::{Plan, Row};
use super::sample::{mean, spread};

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

fn page(plan: &Plan, records: &[Value]) -> Page {
    let mut page = Page::new(INTRODUCTION);
    let of = |name: &str, epochs: u64| -> Vec<f64> {
        let is = |r: &&Value| r["row"] == name && r["epochs"] == epochs;
        let found = records.iter().filter(is);
        found.filter_map(super::page::last_top1).collect()
    };
    let mut epochs: Vec<u64> = records
        .iter()
        .filter_map(|r| r["epochs"].as_u64())
        .collect();
    epochs.sort_unstable();
    epochs.dedup();
    if !epochs.is_empty() {
        page.line("");
        page.head(&[
            "epochs",
            S3,
            NARROW,
            FLOAT,
            "s3-3bit-authors less fp32",
            "narrow less fp32",
        ]);
        for &n in &epochs {
            let [s3, narrow, float] = [S3, NARROW, FLOAT].map(|name| of(name, n));
            let gap = |a: &[f64]| match (a.is_empty(), float.is_empty()) {
                (false, false) => format!("{:+.2}", mean(a) - mean(&float)),
                _ => "-".to_owned(),
            };
            let cells = [
                n.to_string(),
                spread(&s3),
                spread(&narrow),
                spread(&float),
                gap(&s3),
                gap(&narrow),
            ];
            page.row(&cells);
        }
    }
    page.sections(plan, records, |page, runs| {
        for name in [S3, NARROW] {
            page.line(&format!("- {}.", runs.comparison(name, FLOAT)));
        }
        curves(plan, page, runs);
    })
}
