//! How S3's latents should start, for how many epochs.

use serde_json::Value;

use super::fig5::curves;
use super::page::{Page, Runs, mean_curve, spread, spread_of, zeros};
use super::plan::{Plan, Row};

const AUTHORS: &str = "authors";
const DENSE: &str = "dense";
const NARROW: &str = "low_variance";

pub(super) const PLAN: Plan = Plan {
    name: "init-cifar10",
    rows: &[
        Row::with(AUTHORS, "s3-3bit", &[]),
        Row::with(DENSE, "s3-3bit", &["method.init=\"dense\""]),
        Row::with(NARROW, "s3-3bit-low_variance", &[]),
    ],
    epochs: [&[4, 10], &[10, 50, 150]],
    seeds: 3,
    layers: &["wsvr", "wsvr_latent"],
    page,
};

const INTRODUCTION: &str = "\
# How S3's latents should start, for how many epochs

Written by `cargo xtask repro init-cifar10`, from the records of the runs in init-cifar10.jsonl; `--check` compares. The
network is ResNet-20 with 3-bit S3 weights, the recipe `xtask/experiments/cifar10/resnet20-s3-3bit.toml`; the rows differ in
`method.init` alone (METHODS.md 1.5):

- *authors*: every latent from a normal distribution of variance 2/(k k c_out), as the authors' code has it; half of the
  weights start at 0.
- *dense*: the same with w_sparse positive, as the paper's text has it; no weight starts at 0.
- *low_variance*: every latent from a normal distribution of standard deviation 0.001 (DenseShift's start).

*WSVR* is the share of weights whose sign differs from that of the snapshot before, a mean over the quantized layers; of
*w_sign* it also counts those behind a zero weight.
";

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        table(page, runs);
        page.line("");
        for name in [DENSE, NARROW] {
            page.line(&format!("- {}.", runs.comparison(name, AUTHORS)));
        }
        curves(plan, page, runs);
    })
}

fn table(page: &mut Page, runs: &Runs<'_>) {
    let columns = [
        "test top-1",
        "zero weights",
        "WSVR, first interval, %",
        "WSVR, last interval, %",
        "of w_sign, first, %",
        "of w_sign, last, %",
    ];
    page.rows(runs, &columns, |row, done| {
        let rate = |key: &str, last: bool| {
            let end = |r: &&Value| {
                let curve = mean_curve(r, key);
                let point = if last { curve.last() } else { curve.first() };
                point.map(|p| 100.0 * p.1)
            };
            let values: Vec<f64> = done.iter().filter_map(end).collect();
            spread_of(&values, 2)
        };
        vec![
            spread(&runs.top1(row.name)),
            spread(&zeros(done)),
            rate("wsvr", false),
            rate("wsvr", true),
            rate("wsvr_latent", false),
            rate("wsvr_latent", true),
        ]
    });
}
