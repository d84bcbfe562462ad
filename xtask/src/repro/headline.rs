//! The README's headline: what S3 reaches beside full precision at the longest budget with two
//! seeds of both, which is what an interval needs, or with one where none has two, as a small table
//! between two marks of README.md and one plot beside it.

use anyhow::{Context, Result, bail};
use s3_metrics::paired::{MARGIN, mean, range, spread};
use s3_metrics::spec::{Axis, Shown, Spec, Valued};

use super::page::Runs;
use super::record::folder;
use super::trainer::{Trainer, write as write_file};
use super::{fig4, table1a, table4};
use crate::cargo::root;

const BEGIN: &str = "<!-- headline: written by `cargo xtask repro --redraw` -->\n";
const END: &str = "<!-- end of the headline -->\n";
const FLOAT: &str = "fp32";
/// Rows with what they are. Those of the authors' start are a sentence below the table, so that it
/// stays on the first screen.
const ROWS: &[(&str, &str)] = &[
    (FLOAT, "full precision"),
    ("twn", "TWN, ternary"),
    ("s3-2bit", "S3, 2 bits"),
    ("s3-2bit-authors", "2 bits"),
    ("s3-3bit", "S3, 3 bits"),
    ("s3-3bit-authors", "3 bits"),
];

/// The text between the marks, and the plot where there is one.
fn headline() -> Result<(String, Option<Spec>)> {
    // Table 4 has full precision and 3 bits at every budget; TWN and 2 bits are in Figure 4 and in
    // Table 1.
    let table4 = table4::PLAN.records(None)?;
    let others = [&fig4::PLAN, &table1a::PLAN];
    let theirs = [others[0].records(None)?, others[1].records(None)?];
    let pairs = |runs: &Runs<'_>| {
        let of = |name: &str| runs.difference(name, FLOAT).pairs.len();
        of("s3-3bit").max(of("s3-3bit-authors"))
    };
    let budgets = Runs::by_epochs(&table4::PLAN, &table4);
    let with = |least: usize| budgets.iter().rfind(|runs| pairs(runs) >= least);
    let Some(longest) = with(2).or_else(|| with(1)) else {
        return Ok(("No run of S3 beside full precision yet.\n".to_owned(), None));
    };
    let epochs = longest.epochs;
    let other = |i: usize| {
        let mut all = Runs::by_epochs(others[i], &theirs[i]).into_iter();
        all.find(|runs| runs.epochs == epochs)
    };
    let [fig4, table1] = [other(0), other(1)];
    let mut text = format!(
        "ResNet-20 on {}, {epochs} epochs (the paper: 150); docs/results/ has every run:\n\n\
         | weights | test top-1 | n | less full precision, 95 % interval | |\n| --- | ---: | ---: \
         | ---: | --- |\n",
        longest.data()
    );
    let mut drawn = Vec::new();
    let mut aside = Vec::new();
    for (name, what) in ROWS {
        let runs = [Some(longest), fig4.as_ref(), table1.as_ref()];
        let runs = runs
            .into_iter()
            .flatten()
            .find(|runs| !runs.named(name).is_empty());
        let Some(runs) = runs else { continue };
        let top1 = runs.top1(name);
        let (n, values) = (top1.len(), spread(&top1));
        let (cell, word) = match *name {
            FLOAT => ("-".to_owned(), String::new()),
            _ => {
                let difference = runs.sample(name).less(&longest.sample(FLOAT));
                (difference.cell(), difference.verdict(MARGIN).of_rows())
            }
        };
        if name.ends_with("-authors") {
            aside.push(format!("{what} {values}, n {n}, {cell}: {word}"));
        } else {
            text += &format!("| {what} | {values} | {n} | {cell} | {word} |\n");
        }
        let (low, high) = range(top1.iter().copied());
        let ends = (low < high).then_some((low / 100.0, high / 100.0));
        let group = if *name == FLOAT {
            "full precision"
        } else {
            "shifts and signs"
        };
        drawn.push(Valued::new(name, group, mean(&top1) / 100.0, ends));
    }
    if !aside.is_empty() {
        text += &format!(
            "\nS3 starts from narrow latents here (docs/results/init-cifar10.md). From those of \
             its authors' code:\n{}.\n",
            aside.join(";\n")
        );
    }
    text += "\n<picture><source media=\"(prefers-color-scheme: dark)\" \
             srcset=\"docs/results/headline/top1-dark.svg\">\
             <img alt=\"Test accuracy of full precision and of S3\" \
             src=\"docs/results/headline/top1.svg\"></picture>\n";
    let (low, high) = range(drawn.iter().map(|row| row.value));
    let plot = Spec {
        file: "top1".to_owned(),
        title: String::new(),
        size: Some((480, 250)),
        shown: Shown::ValueRows {
            x: Axis::percent("test top-1").between(low - 0.02, high + 0.02),
            rows: drawn,
        },
    };
    Ok((text, Some(plot)))
}

/// The README with the headline in its place.
fn readme(headline: &str) -> Result<(String, String)> {
    let path = root().join("README.md");
    let found =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let place = found.split_once(BEGIN);
    let place = place.and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = place else {
        bail!(
            "README.md: expected the lines {} and {}",
            BEGIN.trim(),
            END.trim()
        )
    };
    let wanted = format!("{before}{BEGIN}{headline}{END}{after}");
    Ok((found, wanted))
}

/// Writes table and plot.
pub(super) fn write(s3: &Trainer<'_>) -> Result<()> {
    let (text, plot) = headline()?;
    if let Some(plot) = plot {
        s3.draw(&[plot], &folder(None).join("headline"))?;
    }
    let (_, wanted) = readme(&text)?;
    write_file(&root().join("README.md"), wanted.as_bytes())
}

/// # Errors
/// A table in the README that is not what the records say.
pub(super) fn check_text() -> Result<()> {
    let (found, wanted) = readme(&headline()?.0)?;
    if found != wanted {
        bail!(
            "README.md: its headline is not what the records say: cargo xtask repro --redraw \
             writes it"
        );
    }
    Ok(())
}

/// # Errors
/// The same, and a plot that this `s3` draws in another way.
pub(super) fn check(s3: &Trainer<'_>) -> Result<()> {
    check_text()?;
    let Some(plot) = headline()?.1 else {
        return Ok(());
    };
    let drawn = tempfile::tempdir().context("a temporary folder")?;
    s3.draw(&[plot], drawn.path())?;
    for file in ["top1.svg", "top1-dark.svg"] {
        let path = folder(None).join("headline").join(file);
        let found = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if found != std::fs::read(drawn.path().join(file)).context("reading what was drawn")? {
            bail!(
                "{}: not what the records say: cargo xtask repro --redraw writes it",
                path.display()
            );
        }
    }
    Ok(())
}
