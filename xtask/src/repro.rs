//! `repro NAME`: trains what a figure or a table of the paper needs, one process at a time, keeps a record of
//! each finished run, and writes the page from the records.
//!
//! ```text
//! rows x epochs x seeds --> s3 train --resume --> run folder --> s3 compare --json --> docs/results/NAME.jsonl
//!                                                      NAME.md, NAME/*.svg <-- page, s3 plot <--'
//! ```
//!
//! The records are small and tracked, so that the runs of a page may be made on several days and machines:
//! what has a record (of the same row, epochs and seed) is not trained again until its line is removed, and a
//! run that two pages need is trained once while its folder is there. `--redraw` writes the page from the records alone, and
//! `--check` compares.
//!
//! A page is one file here with its rows, and one line in [`Name`].

mod fig2;
mod fig4;
mod fig5;
mod init;
mod page;
mod plan;
mod sample;
mod seeds;
mod table1;
mod table3;
mod table4;
mod table5;
mod trainer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

use plan::{Options, Plan};
use trainer::Trainer;

/// What can be reproduced.
#[derive(Subcommand)]
pub(crate) enum Name {
    /// Table 1 on CIFAR-10: every method on ResNet-20
    #[command(name = "table1-cifar10")]
    Table1(Options),
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
}

pub(crate) fn run(name: &Name) -> Result<ExitCode> {
    let (plan, options) = match name {
        Name::Table1(options) => (&table1::PLAN, options),
        Name::Fig2(options) => (&fig2::PLAN, options),
        Name::Fig4(options) => (&fig4::PLAN, options),
        Name::Fig5(options) => (&fig5::PLAN, options),
        Name::Table3(options) => (&table3::PLAN, options),
        Name::Table4(options) => (&table4::PLAN, options),
        Name::Table5(options) => (&table5::PLAN, options),
        Name::Init(options) => (&init::PLAN, options),
    };
    plan.run(options)
}

/// Trains every page's runs at the smoke budget with this `s3`, and writes the pages, all in a folder that is
/// removed; then draws the pictures of the pages in docs/results and compares.
///
/// # Errors
/// The first page with a run that has no record, or with another picture.
pub(crate) fn smoke(s3: PathBuf) -> Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let options = Options::smoke(folder.path());
    let s3 = Trainer {
        binary: s3,
        options: &options,
    };
    PLANS.iter().try_for_each(|plan| {
        let jobs = plan.jobs(&options)?;
        plan.train_all(&jobs, &s3, &options)
            .map(drop)
            .with_context(|| plan.name)?;
        plan.check_pictures(&s3).with_context(|| plan.name)
    })
}

/// Every page, in the order of the paper; what the project adds comes last.
const PLANS: &[&Plan] = &[
    &table1::PLAN,
    &fig2::PLAN,
    &fig4::PLAN,
    &fig5::PLAN,
    &table3::PLAN,
    &table4::PLAN,
    &table5::PLAN,
    &init::PLAN,
];

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
            }
        }
    }

    #[test]
    fn the_pages_are_what_their_records_say() {
        for plan in PLANS {
            if plan.records_path(None).exists() {
                plan.check().expect(plan.name);
            }
        }
    }

    #[test]
    fn a_page_without_records_says_so() {
        for plan in PLANS {
            let page = (plan.page)(plan, &[]);
            assert!(page.text.contains("No run yet."), "{}", plan.name);
            assert!(page.pictures.is_empty(), "{}", plan.name);
        }
    }
}
