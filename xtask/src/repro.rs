//! `repro NAME`: trains what a figure or a table of the paper needs, one process at a time, keeps a
//! record of each finished run, and writes the page from the records.
//!
//! ```text
//! rows x epochs x seeds --> s3 train --resume --> run folder --> s3 compare --json
//!                                                                        v
//!           NAME.md, NAME/*.svg <-- page, s3 plot <-- docs/results/NAME.jsonl
//! ```
//!
//! The records are small and tracked, so that the runs of a page may be made on several days and
//! machines: what has a record (of the same training, epochs and seed, on this page or another) is
//! not trained again until its line is removed. `--redraw` writes the page from the records alone,
//! `--check` compares, and without a NAME both are of every page. `--list` says what would train,
//! and for how long.
//!
//! A page is one file here with its rows, one line in [`Name`] and one in [`PLANS`]. A [`stage`] is
//! a list of rows of several pages.

mod fig2;
mod fig4;
mod fig5;
mod headline;
mod init;
mod networks;
mod networks_fidelity;
mod options;
mod page;
mod pages;
mod plan;
mod plans;
mod record;
mod records;
mod run;
mod runs;
mod seeds;
mod stage;
mod table1;
mod table1a;
mod table3;
mod table4;
mod table5;
mod trainer;
mod variants;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use options::Options;
use plans::PLANS;
use trainer::Trainer;
use work::train_all;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Repro {
    #[command(subcommand)]
    name: Option<Name>,
    /// Trains nothing: fails where a page, a picture or the README's table is not what the records
    /// say
    #[arg(long)]
    check: bool,
    /// Trains nothing: writes every page, its pictures and the README's table again from the
    /// records
    #[arg(long, conflicts_with = "check")]
    redraw: bool,
}

/// What can be reproduced.
#[derive(Subcommand)]
enum Name {
    /// A stage of the trainings at the paper's budget: A, B, C or D
    Stage(stage::Options),
    /// Table 1 on CIFAR-10: every method on ResNet-20
    #[command(name = "table1-cifar10")]
    Table1(Options),
    /// Table 1 on CIFAR-10 with one recipe and one number of epochs for every method
    #[command(name = "table1a-cifar10")]
    Table1a(Options),
    /// Figure 2: the density of full-precision and of ternary weights before their quantizer
    Fig2(Options),
    /// Figure 4: WSVR and WLVR of every layer, full precision, a ternary quantizer and S3
    Fig4(Options),
    /// Figure 5: training with and without the dense-weight penalty
    Fig5(Options),
    /// Table 3 on CIFAR-10: coefficient and decay of the dense-weight penalty
    #[command(name = "table3-cifar10")]
    Table3(Options),
    /// Table 4 on CIFAR-10, Figures 6 and 7: accuracy over the number of epochs
    #[command(name = "table4-cifar10", visible_alias = "epochs")]
    Table4(Options),
    /// Table 5 on CIFAR-10: S3's shifts against a staircase
    #[command(name = "table5-cifar10")]
    Table5(Options),
    /// How S3's latents should start, for how many epochs
    #[command(name = "init-cifar10")]
    Init(Options),
    /// What S3 gains by each mechanism that is ours, on validation images
    #[command(name = "s3-variants")]
    Variants(Options),
    /// Networks other than the paper's, three epochs each
    Networks(Options),
    /// What their files answer in other programs: needs a C compiler `cc` and a Python with numpy,
    /// onnx and onnxruntime, which S3_BENCH_PYTHON names
    NetworksFidelity(Options),
}

pub(crate) fn run(repro: &Repro) -> Result<ExitCode> {
    let (plan, options) = match &repro.name {
        None => return every_page(repro),
        Some(Name::Stage(options)) => return stage::run(options),
        Some(Name::Table1(options)) => (&table1::PLAN, options),
        Some(Name::Table1a(options)) => (&table1a::PLAN, options),
        Some(Name::Fig2(options)) => (&fig2::PLAN, options),
        Some(Name::Fig4(options)) => (&fig4::PLAN, options),
        Some(Name::Fig5(options)) => (&fig5::PLAN, options),
        Some(Name::Table3(options)) => (&table3::PLAN, options),
        Some(Name::Table4(options)) => (&table4::PLAN, options),
        Some(Name::Table5(options)) => (&table5::PLAN, options),
        Some(Name::Init(options)) => (&init::PLAN, options),
        Some(Name::Variants(options)) => (&variants::PLAN, options),
        Some(Name::Networks(options)) => (&networks::PLAN, options),
        Some(Name::NetworksFidelity(options)) => (&networks_fidelity::PLAN, options),
    };
    plan.run(options)
}

/// Checks or writes every page that has a record, and the README's table.
fn every_page(repro: &Repro) -> Result<ExitCode> {
    if !repro.check && !repro.redraw {
        bail!(
            "repro: expected the name of a page or stage (--help lists them), --check or --redraw"
        );
    }
    let how = Options::smoke(&PathBuf::new()).on_the_pages();
    let s3 = Trainer::new(&how)?;
    for plan in PLANS {
        if plan.records(None)?.is_empty() {
            continue;
        }
        match repro.redraw {
            true => plan.write_page(&s3)?,
            false => plan.check().and_then(|()| plan.check_plots(&s3))?,
        }
    }
    match repro.redraw {
        true => headline::write(&s3)?,
        false => headline::check(&s3)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains every page's runs at the smoke budget with this `s3`, and writes the pages, all in a
/// folder that is removed; then draws the plots of the pages in docs/results and compares.
///
/// # Errors
/// The first page with a run that has no record, or with another plot.
pub(crate) fn smoke(s3: PathBuf) -> Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let options = Options::smoke(folder.path());
    let how = options.how();
    let s3 = Trainer {
        binary: s3,
        how: &how,
    };
    PLANS.iter().try_for_each(|plan| {
        let jobs = plan.jobs(&options)?;
        let work: Vec<_> = jobs.into_iter().map(|job| (*plan, job)).collect();
        train_all(plan.name, &work, &s3)
            .map(drop)
            .with_context(|| plan.name)?;
        plan.check_plots(&s3).with_context(|| plan.name)
    })?;
    headline::check(&s3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    #[test]
    fn every_row_has_its_recipe() {
        for plan in PLANS {
            for row in plan.rows {
                let file = format!("xtask/experiments/{}.toml", row.experiment());
                let text = std::fs::read_to_string(root().join(&file)).expect(&file);
                let pretrained = text.contains("--init from:");
                assert_eq!(pretrained, row.start.is_some(), "{}: {file}", plan.name);
                if let Some(start) = row.start {
                    let of = plan.rows.iter().find(|r| r.name == start.row);
                    assert!(of.is_some_and(|r| r.start.is_none()), "{}", row.name);
                }
            }
        }
    }

    #[test]
    fn the_pages_are_what_their_records_say() {
        for plan in PLANS {
            if !plan.records(None).expect("records").is_empty() {
                plan.check().expect(plan.name);
            }
        }
        headline::check_text().expect("the README's table");
    }

    #[test]
    fn a_page_without_records_says_so() {
        for plan in PLANS {
            let page = (plan.page)(plan, &[]);
            assert!(page.text.contains("No run yet."), "{}", plan.name);
            assert!(page.plots.is_empty(), "{}", plan.name);
        }
    }
}
