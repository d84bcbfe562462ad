//! How S3's latents should start, for how many epochs.

use serde_json::Value;

use super::fig5::curves;
use super::page::{Page, Runs, mean, mean_curve, spread, spread_of, zeros};
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
    let page = Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        table(page, runs);
        page.line("");
        for name in [DENSE, NARROW] {
            page.line(&format!("- {}.", runs.comparison(name, AUTHORS)));
        }
        curves(plan, page, runs);
    });
    advice(page, &Runs::by_epochs(plan, records))
}

/// What all budgets come to.
fn advice(mut page: Page, budgets: &[Runs<'_>]) -> Page {
    let gaps: Vec<(u64, f64)> = budgets
        .iter()
        .filter_map(|b| Some((b.epochs, gap(b)?)))
        .collect();
    let (Some(&(fewest, first)), Some(&(most, last))) = (gaps.first(), gaps.last()) else {
        return page;
    };
    page.line("\n## Which one to use\n");
    let list: Vec<String> = gaps
        .iter()
        .map(|(n, gap)| format!("{gap:+.1} at {n} epochs"))
        .collect();
    let wins = gaps.iter().filter(|(_, gap)| *gap > 0.0).count();
    page.line(&format!(
        "The narrow start against the authors', in points of mean test top-1: {}. It is the better one at {wins} of {} \
         budgets.",
        list.join(", "),
        gaps.len(),
    ));
    let trend = match (gaps.len(), last.abs() < first.abs()) {
        (1, _) => "one budget shows no trend".to_owned(),
        (_, true) => format!("the gap shrinks from {fewest} to {most} epochs"),
        (_, false) => format!("the gap does not shrink from {fewest} to {most} epochs"),
    };
    page.line(&match wins {
        0 => format!("Up to {most} epochs the authors' start is the one to use; {trend}."),
        n if n == gaps.len() => format!(
            "Up to {most} epochs *low_variance* is the one to use; {trend}, and nothing here speaks of more epochs than that."
        ),
        _ => format!("Neither is the one to use at every budget: choose by the table of yours; {trend}."),
    });
    if let Some(sentence) = budgets.last().and_then(moves) {
        page.line(&sentence);
    }
    page
}

/// How far the narrow start's mean is above the authors', in points.
fn gap(runs: &Runs<'_>) -> Option<f64> {
    let [narrow, authors] = [NARROW, AUTHORS].map(|name| runs.top1(name));
    (!narrow.is_empty() && !authors.is_empty()).then(|| mean(&narrow) - mean(&authors))
}

/// What the latents do meanwhile.
fn moves(runs: &Runs<'_>) -> Option<String> {
    let of = |name: &str| {
        let done = runs.named(name);
        let first = |r: &&Value| mean_curve(r, "wsvr_latent").first().map(|p| 100.0 * p.1);
        let signs: Vec<f64> = done.iter().filter_map(first).collect();
        let zeros = zeros(&done);
        (!signs.is_empty() && !zeros.is_empty()).then(|| (mean(&signs), mean(&zeros)))
    };
    let ((narrow, narrow_zeros), (authors, authors_zeros)) = (of(NARROW)?, of(AUTHORS)?);
    Some(format!(
        "In the first of {} epochs {narrow:.1} % of the sign latents change sides from the narrow start and {authors:.1} % from \
         the authors'; at the end {narrow_zeros:.0} % and {authors_zeros:.0} % of the weights are 0.",
        runs.epochs
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(row: &str, epochs: u32, top1: f64, signs: f64) -> Value {
        let layer = json!({
            "name": "layer1.0.conv1", "role": "hidden", "epochs": [0, 1],
            "wsvr": [null, 0.1], "wsvr_latent": [null, signs],
        });
        json!({
            "row": row, "seed": 1, "epochs": epochs, "test_top1": [0.1, top1], "zeros": 0.25,
            "train_losses": [2.0, 1.5], "layers": [layer],
        })
    }

    #[test]
    fn the_advice_follows_the_budgets() {
        let mut records = vec![
            record(AUTHORS, 4, 0.5, 0.01),
            record(NARROW, 4, 0.7, 0.3),
            record(AUTHORS, 10, 0.7, 0.02),
            record(NARROW, 10, 0.8, 0.2),
        ];
        let text = page(&PLAN, &records).text;
        for words in [
            "points of mean test top-1: +20.0 at 4 epochs, +10.0 at 10 epochs. It is the better one at 2 of 2 budgets.",
            "Up to 10 epochs *low_variance* is the one to use; the gap shrinks from 4 to 10 epochs",
            "In the first of 10 epochs 20.0 % of the sign latents change sides from the narrow start and 2.0 % from",
            "at the end 25 % and 25 % of the weights are 0.",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        records.push(record(NARROW, 150, 0.90, 0.1));
        records.push(record(AUTHORS, 150, 0.91, 0.1));
        let text = page(&PLAN, &records).text;
        assert!(
            text.contains("-1.0 at 150 epochs. It is the better one at 2 of 3 budgets."),
            "{text}"
        );
        assert!(
            text.contains("Neither is the one to use at every budget"),
            "{text}"
        );
        let alone = page(&PLAN, &records[..1]).text;
        assert!(!alone.contains("Which one to use"), "{alone}");
    }
}
