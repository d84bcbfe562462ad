//! What S3 gains by each mechanism that is ours, at each width, chosen on validation images.

use s3_metrics::paired::{MARGIN, spread, spread_of};

use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::record::Record;

/// What every row holds out from training.
const HELD_OUT: &str = "validation_images=5000";

/// Flips are counted and nothing is moved.
const COUNTED: &str = "optimizer.flips={target={schedule=\"constant\", start=0.0}, gain=0.0}";
const AUTHORS: &str = "method.init=\"authors\"";
const DENSE: &str = "method.init=\"dense\"";
const QUARTER: &str = "method.gate_mean=-0.6745";
const DIFFERENCE: &str = "method.gradient=\"finite_difference\"";
const SOME: &str = "method.closed_gradient=0.3";
/// With [`UNTIL`]: all of its gradient passes a closed gate at the start, none at the end.
const OPEN: &str = "method.closed_gradient=1.0";
const UNTIL: &str = "method.closed_until=1.0";
/// Nothing keeps a weight from being zero.
const FREE: &str = "alpha.start=0.0";
/// A tenth of section 5.1's.
const LITTLE: &str = "alpha.start=1e-6";
const FORGET: &str = "optimizer.gate_decay=3e-3";

/// Flip-rate control: a share of the gates a step at the start, by a cosine none at the end.
macro_rules! flips {
    ($share:literal) => {
        concat!(
            "optimizer.flips={target={schedule=\"cosine\", start=",
            $share,
            "}}"
        )
    };
}

/// The same, of a shift gate a quarter of the share for each gate above it.
const DEEP: &str = "optimizer.flips={target={schedule=\"cosine\", start=1e-2}, depth_factor=0.25}";

macro_rules! rows {
    ($($name:literal: $recipe:literal $(, $setting:expr)*;)*) => {
        &[$(Row::with($name, $recipe, &[HELD_OUT $(, $setting)*])),*]
    };
}

const ROWS: &[Row] = rows! {
    "fp32": "fp32";
    "twn": "twn";
    "2 bits": "s3-2bit", COUNTED;
    "2 bits, authors": "s3-2bit", AUTHORS;
    "2 bits, open": "s3-2bit", OPEN, UNTIL;
    "2 bits, open, forget": "s3-2bit", OPEN, UNTIL, FORGET;
    "2 bits, flips 3e-3": "s3-2bit", flips!("3e-3");
    "2 bits, flips 1e-2": "s3-2bit", flips!("1e-2");
    "2 bits, open, flips 1e-2": "s3-2bit", OPEN, UNTIL, flips!("1e-2");
    "2 bits, open, flips 3e-3": "s3-2bit", OPEN, UNTIL, flips!("3e-3");
    "2 bits, open, flips 3e-2": "s3-2bit", OPEN, UNTIL, flips!("3e-2");
    "2 bits, open, no penalty, flips 1e-2": "s3-2bit", OPEN, UNTIL, FREE, flips!("1e-2");
    "2 bits, open, no penalty, flips 3e-3": "s3-2bit", OPEN, UNTIL, FREE, flips!("3e-3");
    "2 bits, authors, open, no penalty, flips 1e-2":
        "s3-2bit", AUTHORS, OPEN, UNTIL, FREE, flips!("1e-2");
    "2 bits, dense, open, no penalty, flips 1e-2":
        "s3-2bit", DENSE, OPEN, UNTIL, FREE, flips!("1e-2");
    "2 bits, authors, open, flips 1e-2": "s3-2bit", AUTHORS, OPEN, UNTIL, flips!("1e-2");
    "3 bits": "s3-3bit", COUNTED;
    "3 bits, authors": "s3-3bit", AUTHORS;
    "3 bits, dense": "s3-3bit", DENSE;
    "3 bits, closed 0.3": "s3-3bit", SOME;
    "3 bits, open": "s3-3bit", OPEN, UNTIL;
    "3 bits, forget": "s3-3bit", FORGET;
    "3 bits, open, forget": "s3-3bit", OPEN, UNTIL, FORGET;
    "3 bits, quarter open": "s3-3bit", QUARTER;
    "3 bits, finite difference": "s3-3bit", DIFFERENCE;
    "3 bits, flips 1e-2": "s3-3bit", flips!("1e-2");
    "3 bits, flips 3e-2": "s3-3bit", flips!("3e-2");
    "3 bits, authors, flips 1e-3": "s3-3bit", AUTHORS, flips!("1e-3");
    "3 bits, authors, flips 3e-3": "s3-3bit", AUTHORS, flips!("3e-3");
    "3 bits, authors, flips 1e-2": "s3-3bit", AUTHORS, flips!("1e-2");
    "3 bits, authors, flips 3e-2": "s3-3bit", AUTHORS, flips!("3e-2");
    "3 bits, authors, open, flips 1e-2": "s3-3bit", AUTHORS, OPEN, UNTIL, flips!("1e-2");
    "3 bits, open, flips 1e-2": "s3-3bit", OPEN, UNTIL, flips!("1e-2");
    "3 bits, open, no penalty, flips 1e-2": "s3-3bit", OPEN, UNTIL, FREE, flips!("1e-2");
    "3 bits, open, little penalty, flips 1e-2": "s3-3bit", OPEN, UNTIL, LITTLE, flips!("1e-2");
    "3 bits, dense, open, flips 1e-2": "s3-3bit", DENSE, OPEN, UNTIL, flips!("1e-2");
    "3 bits, dense, flips 1e-2": "s3-3bit", DENSE, flips!("1e-2");
    "3 bits, quarter open, open, deep flips 1e-2": "s3-3bit", QUARTER, OPEN, UNTIL, DEEP;
    "4 bits": "s3-4bit", COUNTED;
    "4 bits, three shifts": "s3-4bit", "method.shifts=3";
    "4 bits, three shifts, open, flips 1e-2":
        "s3-4bit", "method.shifts=3", OPEN, UNTIL, flips!("1e-2");
    "4 bits, open": "s3-4bit", OPEN, UNTIL;
    "4 bits, quarter open": "s3-4bit", QUARTER;
    "4 bits, finite difference": "s3-4bit", DIFFERENCE;
    "4 bits, flips 1e-2": "s3-4bit", flips!("1e-2");
    "4 bits, authors, flips 1e-2": "s3-4bit", AUTHORS, flips!("1e-2");
    "4 bits, open, flips 1e-2": "s3-4bit", OPEN, UNTIL, flips!("1e-2");
    "4 bits, difference, open, flips 1e-2": "s3-4bit", DIFFERENCE, OPEN, UNTIL, flips!("1e-2");
    "4 bits, quarter open, flips 1e-2": "s3-4bit", QUARTER, flips!("1e-2");
    "4 bits, quarter open, open, flips 1e-2": "s3-4bit", QUARTER, OPEN, UNTIL, flips!("1e-2");
    "4 bits, open, deep flips 1e-2": "s3-4bit", OPEN, UNTIL, DEEP;
    "4 bits, quarter open, open, deep flips 1e-2": "s3-4bit", QUARTER, OPEN, UNTIL, DEEP;
};

/// What S3 is read against.
const REFERENCES: [&str; 2] = ["fp32", "twn"];
/// The tables of S3's rows by how their names begin; the first row of each is today's recipe.
const WIDTHS: [&str; 3] = ["2 bits", "3 bits", "4 bits"];

pub(super) const PLAN: Plan = Plan {
    name: "s3-variants",
    rows: ROWS,
    epochs: [&[4], &[10, 30, 150]],
    seeds: 4,
    layers: &[],
    page,
};

const INTRODUCTION: &str = "\
# S3's own variants, on validation images

Written by `cargo xtask repro s3-variants`, from the records of the runs in s3-variants.jsonl; `--check` compares. ResNet-20 on CIFAR-10,
the recipes `xtask/experiments/cifar10/resnet20-{fp32,twn,s3-2bit,s3-3bit,s3-4bit}.toml` with one setting or a few beside them.
**Every row trains on 45,000 images and is judged on the 5,000 that are held out**, after its last epoch; the test set's
accuracy stands beside and chooses nothing. Every variant that was tried is a row, the ones that failed too. 4 epochs are for
discarding what loses, not for claims about longer trainings. What a variant costs in time is not here: the runs shared their
machine with others.

Why these. A weight sees of a latent only whether it is > 0, and the latent is its start plus a sum of learning rate times
gradient: the rate cancels but against the start and the decay, so that a start decides how often gates turn, which is what *flips*
takes out of its hands. And by eq. 9 a zero weight passes gradient to w_sparse alone: its sign cannot turn before it opens, where
the one latent of a ternary quantizer goes from -1 through 0 to 1. *open* lets it; the weight itself is that of eq. 9 at all times.

- *N bits* alone is today's recipe: latents from N(0, 1e-6). *authors* and *dense* are the authors' and the paper's starts.
- *closed 0.3*: three tenths of its gradient pass a closed gate at the start, in a straight line none after 70 % of the run.
- *open*: all of its gradient passes a closed gate at the start, in a straight line none at the end.
- *forget*: gates decay by 3e-3 instead of 1e-4 (`optimizer.gate_decay`).
- *quarter open*: shift gates start with a quarter of them open instead of half (`method.gate_mean`).
- *finite difference*: a shift gate's gradient is the change that its flip makes, without ln 2 (`method.gradient`).
- *no penalty*: alpha is 0. The dense-weight penalty is there since a zero weight is dead; behind open gates it is not.
  *little penalty*: alpha is 1e-6, a tenth of section 5.1's.
- *three shifts*: levels to ±8 in 4 bits.
- *flips R*: the step of each latent of each layer follows its flips, so that the share R of its gates changes sides in a step at
  the start, by a cosine none at the end (`optimizer.flips`, docs/CONFIG.md).
- *deep flips R*: the topmost shift gate has the rate R, each below it a quarter of that of the one above
  (`optimizer.flips.depth_factor`): a gate below d others changes its weight by 2^d at least.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    Page::new(INTRODUCTION)
        .with_differences()
        .sections(plan, records, |page, runs| {
            table(page, runs, "What S3 is read against", None, |name| {
                REFERENCES.contains(&name)
            });
            for width in WIDTHS {
                table(page, runs, width, Some(width), |name| {
                    name.starts_with(width)
                });
            }
        })
}

/// The rows of one table that have run, against `base` and against full precision.
fn table(
    page: &mut Page,
    runs: &Runs<'_>,
    title: &str,
    base: Option<&str>,
    holds: impl Fn(&str) -> bool,
) {
    let tried = |row: &&&Row| holds(row.name) && !runs.all_of(row).is_empty();
    let rows: Vec<&Row> = runs.rows.iter().filter(|row| tried(&row)).collect();
    if rows.is_empty() {
        return;
    }
    page.line(&format!("\n{title}:\n"));
    page.head(&[
        "row",
        "validation top-1",
        "less the first row",
        "",
        "less fp32",
        "test top-1",
        "zeros, %",
        "n",
    ]);
    let sample = |name: &str| runs.sample_of(name, |r| r.last_validation());
    for row in rows {
        let done = runs.of(row);
        let own = sample(row.name);
        let (less, word) = match base.filter(|base| *base != row.name) {
            Some(base) => {
                let difference = own.less(&sample(base));
                let word = difference.verdict(MARGIN).of_rows();
                (difference.cell(), word)
            }
            None => (String::new(), String::new()),
        };
        let of_fp32 = match row.name {
            "fp32" => String::new(),
            _ => own.less(&sample("fp32")).cell(),
        };
        let zeros: Vec<f64> = done.iter().filter_map(|r| r.zeros).collect();
        let zeros: Vec<f64> = zeros.iter().map(|z| 100.0 * z).collect();
        page.row(&[
            row.name.to_owned(),
            match done.is_empty() {
                true => runs.absence(row),
                false => spread(&own.values()),
            },
            less,
            word,
            of_fp32,
            spread(&runs.top1(row.name)),
            spread_of(&zeros, 0),
            runs.seeds(row),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(row: &str, seed: u32, validation: f64) -> Record {
        Record::of(json!({
            "row": row, "seed": seed, "epochs": 4, "test_top1": [0.1, 0.6],
            "validation_top1": [0.2, validation], "zeros": 0.25,
        }))
    }

    #[test]
    fn a_variant_is_read_against_todays_recipe_of_its_width_on_validation_images() {
        let both = |row: &str, validation: f64| {
            [1, 2].map(|seed| record(row, seed, validation + 0.01 * f64::from(seed)))
        };
        let records = [
            both("fp32", 0.7),
            both("3 bits", 0.65),
            both("3 bits, authors", 0.55),
            both("4 bits", 0.5),
        ];
        let text = page(&PLAN, records.as_flattened()).text;
        let line = "| 3 bits, authors | 56.50 % (56.00 .. 57.00) | -10.00 (-10.00 .. -10.00) \
                    | behind | -15.00 (-15.00 .. -15.00) | 60.00 % (60.00 .. 60.00) \
                    | 25 (25 .. 25) | 2 |";
        assert!(text.contains(line), "{text}");
        // Its own table's first row has none before it; a row that has not run has no line.
        assert!(
            text.contains("| 4 bits | 51.50 % (51.00 .. 52.00) | | | -20.00"),
            "{text}"
        );
        assert!(!text.contains("| 2 bits"), "{text}");
    }

    #[test]
    fn every_row_holds_images_out_and_has_its_table() {
        for row in ROWS {
            assert!(row.settings.contains(&HELD_OUT), "{}", row.name);
            let of = |table: &str| row.name == table || row.name.starts_with(&format!("{table},"));
            let tables = WIDTHS.iter().filter(|width| of(width)).count();
            let reference = REFERENCES.contains(&row.name);
            assert_eq!(tables + usize::from(reference), 1, "{}", row.name);
        }
    }
}
