//! One HTML page of a run, or of several beside each other.

use super::data_dir;
use anyhow::{Result, ensure};
use clap::Args;
use s3_train::files::write_atomically;
use s3_train::report;
use std::path::{Path, PathBuf};

/// The page of a run in its folder.
const PAGE: &str = "report.html";

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
    let folder = data_dir(args.data_dir.as_ref());
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| args.runs[0].join(PAGE));
    write(
        &args.runs,
        (!args.no_answers).then_some(folder.as_path()),
        &file,
    )?;
    say!("{}", file.display());
    Ok(())
}

/// Writes the page of a run into its folder, as `s3 report RUN` does.
pub(crate) fn of_run(run: &Path, data_dir: &Path) -> Result<()> {
    write(&[run.to_path_buf()], Some(data_dir), &run.join(PAGE))
}

/// Writes the page of `runs`; with what their checkpoints answer where the data's folder is given.
fn write(runs: &[PathBuf], data_dir: Option<&Path>, file: &Path) -> Result<()> {
    let held = runs
        .iter()
        .map(|r| report::read(r))
        .collect::<Result<Vec<_>>>()?;
    let mut answers = Vec::new();
    for run in runs {
        // A page without them is better than none: a run under way has no checkpoint yet.
        answers.push(data_dir.and_then(|folder| {
            report::answers(run, Some(folder))
                .map_err(|e| say!("without answers: {}", crate::one_line(&e)))
                .ok()
        }));
    }
    write_atomically(file, report::page(&held, &answers).as_bytes())
}
