//! Table 1 on CIFAR-10 with one recipe: every method on ResNet-20 with the same schedule and as
//! many epochs in all.

use super::page::{Page, Runs};
use super::plan::{Plan, Row, Start};
use super::record::Record;
use super::table1::{columns_say, plots, table};

pub(super) const PLAN: Plan = Plan {
    name: "table1a-cifar10",
    rows: ROWS,
    epochs: [&[10], &[150]],
    seeds: 3,
    layers: &[],
    page,
};

/// SGD with momentum and a cosine from 0.1 to 0: what the files of S3, TWN and full precision say
/// as they are.
const ONE: &[&str] = &[
    "optimizer={name=\"sgd\",momentum=0.9,weight_decay=1e-4}",
    "lr={schedule=\"cosine\",start=0.1}",
];
/// Of LR-Net's logits, which need another optimizer: its own, on the same cosine.
const LOGITS: &[&str] = &["lr={schedule=\"cosine\",start=0.01}"];

/// A file that has the recipe already.
const fn as_it_is(name: &'static str, recipe: &'static str) -> Row {
    Row::with(name, recipe, &[])
}

/// Another method's file with the recipe in the place of its own.
const fn set(name: &'static str) -> Row {
    Row::with(name, name, ONE)
}

/// From full precision, whose epochs are taken from the row's.
const fn pretrained(row: Row) -> Row {
    Row {
        start: Some(Start::within("fp32")),
        ..row
    }
}

const ROWS: &[Row] = &[
    Row::of("fp32"),
    pretrained(set("ttq-2bit")),
    as_it_is("lqnet-2bit", "lqnet-2bit-cosine"),
    as_it_is("lqnet-3bit", "lqnet-3bit-cosine"),
    as_it_is("lqnet-4bit", "lqnet-4bit-cosine"),
    as_it_is("bwn-1bit", "bwn-1bit-cosine"),
    set("hwgq-1bit"),
    pretrained(as_it_is("bwhn-1bit", "bwhn-1bit-fast")),
    Row::of("irnet-1bit"),
    Row::of("twn"),
    Row {
        only_f32: true,
        ..pretrained(Row::with("lrnet-2bit", "lrnet-2bit", LOGITS))
    },
    as_it_is("sq-2bit", "sq-2bit-cosine"),
    pretrained(as_it_is("inq-2bit", "inq-2bit-plain")),
    pretrained(set("inq-3bit")),
    pretrained(set("inq-4bit")),
    pretrained(set("inq-5bit")),
    as_it_is("deepshift_q-6bit", "deepshift_q-6bit-cosine"),
    pretrained(Row::of("deepshift_q-6bit-pretrained")),
    as_it_is("deepshift_ps-6bit", "deepshift_ps-6bit-fast"),
    pretrained(Row::of("deepshift_ps-6bit-pretrained")),
    Row::of("s3-2bit-authors"),
    Row::of("s3-3bit-authors"),
    Row::of("s3-4bit-authors"),
    Row::of("s3-2bit"),
    Row::of("s3-3bit"),
    Row::of("s3-4bit"),
    Row::of("s3-4bit-t3"),
    Row::of("staircase-3bit"),
    Row::of("staircase-3bit-narrow"),
    as_it_is("twn-filter-2bit", "twn-filter-2bit-cosine"),
    set("binary_connect-1bit"),
    as_it_is("deepshift_q-4bit", "deepshift_q-4bit-cosine"),
    as_it_is("deepshift_q-3bit", "deepshift_q-3bit-cosine"),
    as_it_is("deepshift_q-2bit", "deepshift_q-2bit-cosine"),
    as_it_is("deepshift_ps-4bit", "deepshift_ps-4bit-fast"),
    as_it_is("deepshift_ps-3bit", "deepshift_ps-3bit-fast"),
    as_it_is("deepshift_ps-2bit", "deepshift_ps-2bit-fast"),
    Row::of("denseshift-2bit"),
    Row::of("denseshift-3bit"),
    Row::of("denseshift-4bit"),
    pretrained(set("apot-2bit")),
    pretrained(set("apot-3bit")),
    pretrained(set("apot-4bit")),
    pretrained(set("apot-5bit")),
    Row::of("shiftcnn-8bit"),
];

const INTRODUCTION: &str = "\
# Table 1 on CIFAR-10, ResNet-20: one recipe

Written by `cargo xtask repro table1a-cifar10`, from the records of the runs in table1a-cifar10.jsonl and of the same runs on other
pages; `--check` compares. docs/results/table1-cifar10.md has the recipes of the originals.

Every row has the same number of epochs in all, batches of 128 and a cosine to 0 over its own run: SGD with momentum 0.9, weight
decay 1e-4 and a rate of 0.1, but for what a method cannot do without: Adam at 0.01 for LR-Net's logits, RAdam for DeepShift-PS, at
0.1 from random weights and 0.01 from trained ones, no decay for INQ at 2 bits. What starts from `fp32` has two of five epochs taken
for that: at 10 epochs, 4 of full precision over their own cosine and 6 of its own. A row whose file has this recipe already is
the same run as in the other table. S3's narrow start was chosen by test accuracy (docs/results/init-cifar10.md); nothing else was
chosen on results. A rate that is yet to be chosen is chosen on `validation_images`.

The first convolution, the classifier and batch norms are in full precision in every row. Accuracy is that of the last epoch on
the 10,000 test images.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    let mut page = Page::new(INTRODUCTION);
    page.line("");
    page.text.push_str(columns_say());
    page.with_differences()
        .sections(plan, records, |page, runs| {
            table(page, runs);
            groups(page, runs);
            plots(plan, page, runs);
        })
}

/// S3 at its best against the rows that it is most often set beside.
fn groups(page: &mut Page, runs: &Runs<'_>) {
    page.line("");
    for (ours, other) in [
        ("s3-3bit", "fp32"),
        ("s3-2bit", "twn"),
        ("s3-3bit", "s3-3bit-authors"),
    ] {
        let difference = runs.difference(ours, other);
        if !difference.pairs.is_empty() {
            page.line(&format!("- {}.", runs.comparison(ours, other)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    /// The value of a key in a table of a file, without its comment.
    fn of<'a>(text: &'a str, table: &str, key: &str) -> Option<&'a str> {
        let body = text.split(&format!("[{table}]\n")).nth(1)?;
        let body = body.split("\n[").next()?;
        let line = body.lines().find(|l| l.starts_with(&format!("{key} = ")))?;
        Some(line.split(" = ").nth(1)?.split('#').next()?.trim())
    }

    #[test]
    fn every_row_has_the_one_schedule() {
        for row in ROWS {
            let file = root().join(format!("xtask/experiments/{}.toml", row.experiment()));
            let text = std::fs::read_to_string(&file).expect(row.name);
            if row.settings.is_empty() {
                assert_eq!(
                    of(&text, "lr", "schedule"),
                    Some("\"cosine\""),
                    "{}",
                    row.name
                );
                let radam = of(&text, "optimizer", "name") == Some("\"radam\"");
                let rate = of(&text, "lr", "start").expect("a rate");
                assert!(rate == "0.1" || (radam && rate == "0.01"), "{}", row.name);
                let decay = of(&text, "optimizer", "weight_decay");
                assert!(
                    decay == Some("1e-4") || row.name == "inq-2bit",
                    "{}",
                    row.name
                );
            } else {
                assert!(
                    row.settings[row.settings.len() - 1].starts_with("lr={schedule=\"cosine\"")
                );
            }
        }
    }

    #[test]
    fn what_has_the_recipe_is_the_run_of_the_other_table() {
        let theirs = super::super::table1::PLAN.rows;
        for name in [
            "fp32",
            "twn",
            "s3-2bit",
            "s3-3bit",
            "irnet-1bit",
            "shiftcnn-8bit",
        ] {
            let find = |rows: &'static [Row]| rows.iter().find(|r| r.name == name).expect(name);
            assert!(find(ROWS).trains_as(find(theirs)), "{name}");
        }
    }
}
