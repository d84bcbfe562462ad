//! One HTML page of a run, or of several beside each other.

use super::data_dir;
use anyhow::{Result, ensure};
use clap::Args;
use s3_train::files::write_atomically;
use s3_train::report;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Run folders, finished or not.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in the run's folder]; needed for several runs.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leaves out the confusion matrix, misclassified images and filters, which need checkpoint and data.
    #[arg(long)]
    no_answers: bool,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    ensure!(
        args.output.is_some() || args.runs.len() == 1,
        "--output FILE: needed for several runs"
    );
    let runs = args
        .runs
        .iter()
        .map(|r| report::read(r))
        .collect::<Result<Vec<_>>>()?;
    let folder = data_dir(args.data_dir.as_ref());
    let mut answers = Vec::new();
    for run in &args.runs {
        let found = match args.no_answers {
            true => None,
            // A page without them is better than none: a run under way has no checkpoint yet.
            false => report::answers(run, Some(&folder))
                .map_err(|e| say!("without answers: {e:#}"))
                .ok(),
        };
        answers.push(found);
    }
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| args.runs[0].join("report.html"));
    write_atomically(&file, report::page(&runs, &answers).as_bytes())?;
    say!("{}", file.display());
    Ok(())
}
