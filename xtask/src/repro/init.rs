//! How S3's latents should start, for how many epochs.

use s3_metrics::finished::Measure;
use s3_metrics::paired::{MARGIN, Verdict, mean, spread, spread_of};

use super::fig5::curves;
use super::page::{Page, Runs, zeros};
use super::plan::{Plan, Row};
use super::record::Record;

const AUTHORS: &str = "authors";
const DENSE: &str = "dense";
const NARROW: &str = "low_variance";

pub(super) const PLAN: Plan = Plan {
    name: "init-cifar10",
    rows: &[
        Row::with(AUTHORS, "s3-3bit-authors", &[]),
        Row::with(DENSE, "s3-3bit-authors", &["method.init=\"dense\""]),
        Row::with(NARROW, "s3-3bit", &[]),
    ],
    epochs: [&[4, 10], &[10, 50, 150]],
    seeds: 3,
    layers: &[Measure::Wsvr.key(), Measure::WsvrLatent.key()],
    page,
};

const INTRODUCTION: &str = "\
# How S3's latents should start, for how many epochs

Written by `cargo xtask repro init-cifar10`, from the records of the runs in init-cifar10.jsonl; `--check` compares. The
network is ResNet-20 with 3-bit S3 weights, the recipe `xtask/experiments/cifar10/resnet20-s3-3bit.toml`; the rows differ in
`method.init` alone:

- *authors*: every latent from a normal distribution of variance 2/(k k c_out), as the authors' code has it; half of the
  weights start at 0.
- *dense*: the same with w_sparse positive, as the paper's text has it; no weight starts at 0.
- *low_variance*: every latent from a normal distribution of standard deviation 0.001 (DenseShift's start).

Half of the weights from the narrow start are 0 at first, too. But the penalty can move a closed gate by 0.0039 in an epoch,
four of its deviations, against 0.03 to 0.07 of the authors': the row tests signs that turn easily and an early opening of the
gates together. docs/results/table1-cifar10.md has full precision at 10 epochs.

*zeros, of all weights* counts each weight of the quantized layers. A mean over the layers is another figure, the larger one here,
since the small layers at the front have more zeros than the large ones at the end; docs/results/fig4.md has both of one run.

*WSVR* is the share of weights whose sign differs from that of the snapshot before, a mean over the quantized layers. It counts
only weights that are not 0 in both, so that rows with other shares of zeros cannot be compared by it; by that of *w_sign*
they can.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    let page = Page::new(INTRODUCTION)
        .with_differences()
        .sections(plan, records, |page, runs| {
            table(page, runs);
            page.line("");
            for name in [DENSE, NARROW] {
                page.line(&format!("- {}.", runs.comparison(name, AUTHORS)));
            }
            curves(plan, page, runs);
        });
    advice(page, &Runs::by_epochs(plan, records))
}

/// What all budgets come to: a start is named where it is ahead of both others at each.
fn advice(mut page: Page, budgets: &[Runs<'_>]) -> Page {
    let rows = [AUTHORS, DENSE, NARROW];
    let complete = |runs: &&Runs<'_>| rows.iter().all(|row| runs.sample(row).seeds() > 0);
    let budgets: Vec<&Runs<'_>> = budgets.iter().filter(complete).collect();
    if budgets.is_empty() {
        return page;
    }
    page.line("\n## Which one to use\n");
    let ahead: Vec<Option<&str>> = budgets.iter().map(|runs| ahead(runs, rows)).collect();
    let first = ahead[0];
    page.line(&match first {
        Some(name) if ahead.iter().all(|other| *other == first) => format!(
            "At {} *{name}* is ahead of both other starts: use it for trainings of that length. \
             Nothing here speaks of longer trainings.",
            epochs_of(&budgets)
        ),
        _ => format!(
            "At {} no start is ahead of both others every time, by the intervals above: choose by \
             the table of your number of epochs.",
            epochs_of(&budgets)
        ),
    });
    for runs in &budgets {
        let means = rows.map(|row| {
            let sample = runs.sample(row);
            let lost = match sample.lost {
                0 => String::new(),
                n => format!(", {n} diverged"),
            };
            format!("{row} {}{lost}", spread(&sample.values()))
        });
        page.line(&format!("- {} epochs: {}.", runs.epochs, means.join("; ")));
        if let Some(sentence) = moves(runs) {
            page.line(&format!("  {sentence}"));
        }
    }
    page
}

/// The start that is ahead of the others.
fn ahead<'a>(runs: &Runs<'_>, rows: [&'a str; 3]) -> Option<&'a str> {
    rows.into_iter().find(|name| {
        let mut others = rows.iter().filter(|other| *other != name);
        others.all(|other| {
            let verdict = runs.difference(name, other).verdict(MARGIN);
            matches!(verdict, Verdict::Above { .. })
        })
    })
}

/// `4, 10 and 50 epochs`.
fn epochs_of(budgets: &[&Runs<'_>]) -> String {
    let all: Vec<String> = budgets.iter().map(|runs| runs.epochs.to_string()).collect();
    match all.split_last() {
        Some((last, before)) if !before.is_empty() => {
            format!("{} and {last} epochs", before.join(", "))
        }
        _ => format!("{} epochs", all.concat()),
    }
}

/// What the latents do meanwhile.
fn moves(runs: &Runs<'_>) -> Option<String> {
    let of = |name: &str| {
        let done = runs.named(name);
        let curves = done.iter().map(|r| r.mean_curve(Measure::WsvrLatent));
        let first: Vec<(f64, f64)> = curves.filter_map(|c| c.first().copied()).collect();
        let (epochs, signs): (Vec<f64>, Vec<f64>) = first.into_iter().unzip();
        let zeros = zeros(&done);
        let known = !signs.is_empty() && !zeros.is_empty();
        known.then(|| (mean(&epochs), 100.0 * mean(&signs), mean(&zeros)))
    };
    let (narrow, authors) = (of(NARROW)?, of(AUTHORS)?);
    Some(format!(
        "Until epoch {} {:.1} % of the sign latents change sides from the narrow start and {:.1} % \
         from the authors'; at the end {:.0} % and {:.0} % of the weights are 0.",
        narrow.0, narrow.1, authors.1, narrow.2, authors.2,
    ))
}

fn table(page: &mut Page, runs: &Runs<'_>) {
    let columns = [
        "test top-1",
        "zeros, of all weights",
        "WSVR, first interval, %",
        "WSVR, last interval, %",
        "of w_sign, first, %",
        "of w_sign, last, %",
    ];
    page.rows(runs, &columns, |row, done| {
        let rate = |measure: Measure, last: bool| {
            let end = |r: &&Record| {
                let curve = r.mean_curve(measure);
                let point = if last { curve.last() } else { curve.first() };
                point.map(|p| 100.0 * p.1)
            };
            let values: Vec<f64> = done.iter().filter_map(end).collect();
            spread_of(&values, 2)
        };
        vec![
            spread(&runs.top1(row.name)),
            spread(&zeros(done)),
            rate(Measure::Wsvr, false),
            rate(Measure::Wsvr, true),
            rate(Measure::WsvrLatent, false),
            rate(Measure::WsvrLatent, true),
        ]
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(row: &str, seed: u32, epochs: u32, top1: f64, signs: f64) -> Record {
        let layer = json!({
            "name": "layer1.0.conv1", "role": "hidden", "epochs": [0, 10],
            "wsvr": [null, 0.1], "wsvr_latent": [null, signs],
        });
        Record::of(json!({
            "row": row, "seed": seed, "epochs": epochs, "test_top1": [0.1, top1], "zeros": 0.25,
            "train_losses": [2.0, 1.5], "layers": [layer],
        }))
    }

    fn records(epochs: u32, [authors, dense, narrow]: [f64; 3]) -> Vec<Record> {
        let seeds = [1, 2].map(|seed| {
            let off = 0.01 * f64::from(seed);
            [
                record(AUTHORS, seed, epochs, authors + off, 0.02),
                record(DENSE, seed, epochs, dense + off, 0.02),
                record(NARROW, seed, epochs, narrow + off, 0.2),
            ]
        });
        seeds.into_iter().flatten().collect()
    }

    #[test]
    fn a_start_is_named_where_its_seeds_are_above_all_others_at_every_budget() {
        let mut all = records(4, [0.5, 0.5, 0.7]);
        all.extend(records(10, [0.7, 0.72, 0.8]));
        let text = page(&PLAN, &all).text;
        for words in [
            "At 4 and 10 epochs *low_variance* is ahead of both other starts",
            "- low_variance less authors: +10.00 points, interval +10.00 .. +10.00 of 2 pairs: \
             ahead.",
            "- 10 epochs: authors 71.50 % (71.00 .. 72.00);",
            "Until epoch 10 20.0 % of the sign latents change sides from the narrow start and 2.0 \
             % from the authors'",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let several = "no start is ahead of both others every time";
        assert!(!text.contains(several));
        // Another winner, none, or one that diverged.
        for more in [
            records(150, [0.95, 0.9, 0.9]),
            records(150, [0.9, 0.9, 0.9]),
        ] {
            let text = page(&PLAN, &[&all[..], &more[..]].concat()).text;
            assert!(
                text.contains(&format!("At 4, 10 and 150 epochs {several}")),
                "{text}"
            );
        }
        let lost = json!({"row": NARROW, "seed": 3, "epochs": 4, "error": "training diverged"});
        let text = page(&PLAN, &[&all[..], &[Record::of(lost)]].concat()).text;
        assert!(
            text.contains(several) && text.contains("(71.00 .. 72.00), 1 diverged"),
            "{text}"
        );
        let alone = page(&PLAN, &all[..2]).text;
        assert!(!alone.contains("Which one to use"), "{alone}");
    }
}
