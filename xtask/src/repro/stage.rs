//! The trainings at the paper's budget, cut into stages: which rows of which pages, at how many
//! epochs, of which seeds.
//!
//! | stage | what | for |
//! | --- | --- | --- |
//! | A | 150 epochs, seed 1: full precision, TWN, S3 with 2 and 3 bits from both starts | Figures 2 and 4, the headline |
//! | B | 10 epochs, 3 seeds: every row of the table with one recipe | Table 1 |
//! | C | 150 epochs, seeds 2 and 3: full precision, TWN, S3 with 2 and 3 bits | Figures 2 and 4, the headline |
//! | D | 30 epochs, 3 seeds: full precision, S3 with 3 bits; 10 epochs, 3 seeds: the penalty, the staircase | Tables 3, 4, 5, Figure 5 |
//!
//! A stage goes on where it stopped: what has a record is done, and what has a run folder below
//! `--out` is taken up at its last checkpoint. On another machine the records of the repository are
//! enough for all finished runs; the folder of an unfinished one may be copied there.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::options::How;
use super::plan::{Job, Plan};
use super::trainer::{Trainer, listen};
use super::work::{Work, say_plan, train_all};
use super::{fig2, fig4, fig5, table1a, table3, table4, table5};

#[derive(Args)]
pub(super) struct Options {
    /// Which
    #[arg(value_enum, ignore_case = true)]
    stage: Stage,
    #[command(flatten)]
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// 150 epochs, seed 1
    A,
    /// 10 epochs, three seeds, every method
    B,
    /// 150 epochs, seeds 2 and 3
    C,
    /// 30 epochs and the ablations, three seeds
    D,
}

/// Rows of a page, all of them where none is named.
struct Part {
    plan: &'static Plan,
    rows: &'static [&'static str],
    epochs: u32,
    seeds: &'static [u32],
}

impl Stage {
    fn parts(self) -> Vec<Part> {
        let part = |plan, rows, epochs, seeds| Part {
            plan,
            rows,
            epochs,
            seeds,
        };
        // Figure 4 first: its runs are those of the other pages too.
        let long = |seeds: &'static [u32]| {
            [
                part(&fig4::PLAN, &[], 150, seeds),
                part(&fig2::PLAN, &[], 150, seeds),
                part(&table4::PLAN, &["fp32", "s3-3bit"], 150, seeds),
            ]
        };
        const ALL: &[u32] = &[1, 2, 3];
        match self {
            Self::A => {
                let mut parts: Vec<Part> = long(&[1]).into();
                parts.push(part(&table4::PLAN, &["s3-3bit-authors"], 150, &[1]));
                parts
            }
            Self::B => vec![part(&table1a::PLAN, &[], 10, ALL)],
            Self::C => {
                let mut parts: Vec<Part> = long(&[2, 3]).into();
                // Of S3 with 2 bits the narrow start alone.
                parts[0].rows = &["fp32", "twn", "s3-2bit"];
                parts
            }
            Self::D => vec![
                part(&table4::PLAN, &[], 30, ALL),
                part(&fig5::PLAN, fig5::NARROW, 10, ALL),
                part(&table3::PLAN, table3::NARROW, 10, ALL),
                part(&table5::PLAN, table5::NARROW, 10, ALL),
            ],
        }
    }

    /// Seed by seed and row by row, so that the pages that share a run come one after the other.
    fn work(self) -> Vec<Work<'static>> {
        let mut work = Vec::new();
        for Part {
            plan,
            rows,
            epochs,
            seeds,
        } in self.parts()
        {
            for &seed in seeds {
                let wanted = plan
                    .rows
                    .iter()
                    .filter(|r| rows.is_empty() || rows.contains(&r.name));
                work.extend(wanted.map(|row| (plan, Job { row, epochs, seed })));
            }
        }
        work
    }
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let how = How {
        resume: true,
        ..options.how.clone()
    };
    let work = options.stage.work();
    if how.list {
        say_plan(&work, &how)?;
        return Ok(ExitCode::SUCCESS);
    }
    listen()?;
    let s3 = Trainer::new(&how)?;
    say_plan(&work, &how)?;
    train_all(&format!("stage {:?}", options.stage), &work, &s3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_a_stage_is_on_its_page() {
        for stage in Stage::value_variants() {
            for part in stage.parts() {
                for name in part.rows {
                    let known = part.plan.rows.iter().any(|r| r.name == *name);
                    assert!(known, "{stage:?}: {} has no row {name}", part.plan.name);
                }
            }
        }
    }

    #[test]
    fn stage_a_trains_six_networks_for_150_epochs() {
        let mut trained: Vec<&str> = Vec::new();
        for (_, job) in Stage::A.work() {
            assert_eq!((job.epochs, job.seed), (150, 1));
            if !trained.contains(&job.row.recipe) {
                trained.push(job.row.recipe);
            }
        }
        trained.sort_unstable();
        let six = [
            "fp32",
            "s3-2bit",
            "s3-2bit-authors",
            "s3-3bit",
            "s3-3bit-authors",
            "twn",
        ];
        assert_eq!(trained, six);
    }
}
